"""Facts about what an agent does with what it is told."""

from __future__ import annotations

import os
import pickle
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.model import Lease, Outcome
from netsvc.services.smtp_client.agents import program, wire
from netsvc.services.smtp_client.agents.program import AgentProtocol
from tests.outbox.test_outbox_rules import lease


class FakeWay:
    """Delivers all."""

    def __init__(self) -> None:
        self.went: list[tuple[Lease, bytes]] = []

    def __call__(self, one: Lease, content: bytes) -> Deferred[Any]:
        self.went.append((one, content))
        return succeed((Outcome(target="a", result="delivered"),))

    def notified(self, one: Lease) -> frozenset[str]:
        return frozenset()


class Told(SynchronousTestCase):
    def setUp(self) -> None:
        self.way = FakeWay()
        self.patch(program, "make_way", lambda *_, **__: self.way)
        self.clock = Clock()
        self.agent = AgentProtocol(self.clock, self.fail)
        self.transport = StringTransport()
        self.agent.makeConnection(self.transport)
        settings = pickle.dumps(SimpleNamespace(delivery_processes=1))
        self.agent.dataReceived(wire.frame(wire.SETTINGS, ("mail", "/"), settings))

    def said(self) -> list[wire.Frame]:
        self.clock.advance(0)
        return list(wire.Frames().feed(self.transport.value()))

    def test_attempts(self) -> None:
        """The content of an attempt is in its frame, or behind the descriptor that comes before it."""
        self.assertTrue(IFileDescriptorReceiver.providedBy(self.agent))
        for octets in (b"one", b"two"):
            descriptor = os.memfd_create("test")
            os.write(descriptor, octets)
            self.agent.fileDescriptorReceived(descriptor)
        frames = (wire.large_attempt(1, lease()), wire.attempt(2, lease(), b"small"), wire.large_attempt(3, lease()))
        self.agent.dataReceived(b"".join(frames))
        self.assertEqual([content for _, content in self.way.went], [b"one", b"small", b"two"])
        self.assertEqual([one.item.size for one, _ in self.way.went], [3, 5, 3])
        ready, *answers = self.said()
        self.assertEqual(ready.kind, wire.READY)
        self.assertEqual([wire.read_outcomes(one.head)[0] for one in answers], [1, 2, 3])
