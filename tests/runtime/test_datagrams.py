"""The gate before datagram services."""

from __future__ import annotations

import ipaddress
from datetime import time
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import UdpAddress
from netsvc.config.server import ServerSettings
from netsvc.config.values import Rate
from netsvc.runtime.admission import Admission
from netsvc.runtime.datagrams import DatagramAdmission, DatagramGate
from tests.fakes import FakeMetrics

SETTINGS = ServerSettings(listen=(UdpAddress(port=0),), datagram_rate=Rate(1000, 1.0))


class Responder:
    """Answers with `reply` if it has one, else with the request."""

    greatest_answer = 0

    def __init__(self, reply: bytes | None = None) -> None:
        self.reply = reply
        self.asked: list[tuple[Any, ...]] = []

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes | None:
        self.asked.append((request, peer, limit))
        if request == b"break":
            raise ZeroDivisionError
        return request if self.reply is None else self.reply


class Socket:
    """A UDP transport."""

    def __init__(self, error: OSError | None = None) -> None:
        self.written: list[tuple[bytes, Any]] = []
        self.error = error

    def write(self, data: bytes, addr: Any) -> None:
        if self.error:
            raise self.error
        self.written.append((data, addr))


class DatagramTests(SynchronousTestCase):
    """DatagramGate and DatagramAdmission."""

    def build(self, responder: Any = None, error: OSError | None = None, **changes: Any) -> DatagramGate:
        settings = attrs.evolve(SETTINGS, **changes)
        clock = Clock()
        self.metrics = FakeMetrics()
        self.responder = responder or Responder()
        shared = DatagramAdmission(
            service="test",
            settings=settings,
            responder=self.responder,
            admission=Admission(settings, clock, lambda: time(12), None),
            own_ports={9090},
            clock=clock,
            metrics=self.metrics,
        )
        gate = DatagramGate(shared, on_loopback=True)
        self.wire = Socket(error)
        gate.transport = self.wire  # type: ignore[assignment]
        return gate

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.metrics[name].values.get(tuple(sorted({"service": "test", **labels}.items())), 0)

    def test_answered(self) -> None:
        """A datagram is answered to its sender, and counted."""
        gate = self.build()
        gate.datagramReceived(b"hello", ("192.0.2.1", 40000))
        self.assertEqual(self.wire.written, [(b"hello", ("192.0.2.1", 40000))])
        self.assertEqual(self.responder.asked, [(b"hello", ("192.0.2.1", 40000), 5)])
        self.assertEqual(self.count("datagrams_received"), 1)
        self.assertEqual(self.count("datagrams_answered"), 1)

    def test_mapped_sources_are_v4(self) -> None:
        """A v4-mapped source meets v4 rules; the answer goes to the address as the socket has it."""
        gate = self.build(deny=(ipaddress.ip_network("192.0.2.1/32"),))
        gate.datagramReceived(b"hello", ("::ffff:192.0.2.1", 40000, 0, 0))
        gate.datagramReceived(b"hello", ("::ffff:192.0.2.2", 40000, 0, 0))
        self.assertEqual(self.wire.written, [(b"hello", ("::ffff:192.0.2.2", 40000, 0, 0))])
        self.assertEqual(self.count("datagrams_dropped", reason="denied"), 1)

    def test_forged_sources_are_dropped(self) -> None:
        """Source ports below 1024 and this daemon's own, and sources that nobody can have, get silence."""
        gate = self.build()
        for source in (("192.0.2.1", 0), ("192.0.2.1", 7), ("192.0.2.1", 9090), ("224.0.0.1", 4000), ("0.0.0.0", 4000)):
            gate.datagramReceived(b"hello", source)
        self.assertEqual(self.wire.written, [])
        self.assertEqual(self.responder.asked, [])

    def test_rate(self) -> None:
        """Datagrams over the rate get silence; another source is still answered."""
        gate = self.build(datagram_rate=Rate(2, 1.0))
        for text in (b"a", b"b", b"c"):
            gate.datagramReceived(text, ("192.0.2.1", 40000))
        gate.datagramReceived(b"d", ("192.0.2.2", 40000))
        self.assertEqual([data for data, _ in self.wire.written], [b"a", b"b", b"d"])
        self.assertEqual(self.count("datagrams_dropped", reason="rate"), 1)

    def test_no_answer_is_longer(self) -> None:
        """An answer longer than its request is not sent; where the responder may say more, that bound holds."""
        gate = self.build(Responder(b"long answer"))
        gate.datagramReceived(b"hi", ("192.0.2.1", 40000))
        self.assertEqual(self.wire.written, [])
        self.assertEqual(self.count("datagrams_dropped", reason="amplification"), 1)
        responder = Responder(b"long answer")
        responder.greatest_answer = 64
        gate = self.build(responder)
        gate.datagramReceived(b"hi", ("192.0.2.1", 40000))
        self.assertEqual(len(self.wire.written), 1)

    def test_a_loop_ends(self) -> None:
        """Two daemons whose echo ports a forged datagram pointed at each other fall silent."""
        here, there = self.build(datagram_rate=None), self.build(datagram_rate=None)
        wire_here, wire_there = Socket(), Socket()
        here.transport, there.transport = wire_here, wire_there  # type: ignore[assignment]
        here.datagramReceived(b"ping", ("198.51.100.9", 9091))
        exchanged = 0
        while wire_here.written and exchanged < 10_000:
            there.datagramReceived(wire_here.written.pop()[0], ("198.51.100.8", 9092))
            if not wire_there.written:
                break
            here.datagramReceived(wire_there.written.pop()[0], ("198.51.100.9", 9091))
            exchanged += 1
        self.assertLess(exchanged, 1000)

    def test_failures_are_contained(self) -> None:
        """A responder that fails costs one datagram and one line in the log."""
        gate = self.build()
        gate.datagramReceived(b"break", ("192.0.2.1", 40000))
        gate.datagramReceived(b"hello", ("192.0.2.1", 40000))
        self.assertEqual(len(self.wire.written), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_cannot_be_sent_is_counted(self) -> None:
        """An answer that the kernel refuses is counted, not raised."""
        gate = self.build(error=OSError())
        gate.datagramReceived(b"hello", ("192.0.2.1", 40000))
        self.assertEqual(self.count("datagrams_dropped", reason="send-failed"), 1)
