"""Facts about discard."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.config.values import Rate
from netsvc.interfaces import IDatagramResponder
from netsvc.services.discard import KIND
from netsvc.services.discard.wire import LineBudget, shown
from tests.services.small import PEER, connected, lose, made


class ShownTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=300), st.integers(1, 300))
    def test_printable(self, data: bytes, longest: int) -> None:
        """Whatever arrives is shown in printable ASCII that tells every octet, up to the limit."""
        text = shown(data, longest)
        self.assertTrue(text.isascii() and (text.isprintable()))
        self.assertEqual(text.encode("ascii").decode("unicode_escape").encode("latin-1"), data[:longest])


class LineBudgetTests(SynchronousTestCase):
    def test_rate(self) -> None:
        """After the burst lines are refused, earned again with time, and the refused are counted."""
        clock = Clock()
        budget = LineBudget(Rate(2, 1.0), clock.seconds)
        self.assertEqual([budget.take() for _ in range(5)], [0, 0, None, None, None])
        clock.advance(0.5)
        self.assertEqual([budget.take() for _ in range(2)], [3, None])
        clock.advance(100)
        self.assertEqual([budget.take() for _ in range(3)], [1, 0, None])

    def test_no_rate(self) -> None:
        """Without a rate every line is written."""
        budget = LineBudget(None, Clock().seconds)
        self.assertEqual({budget.take() for _ in range(1000)}, {0})

    def test_clock_set_back(self) -> None:
        """A clock that is set back neither earns nor costs lines."""
        clock = Clock()
        clock.advance(100)
        budget = LineBudget(Rate(1, 1.0), clock.seconds)
        clock.rightNow = 50.0
        self.assertEqual([budget.take(), budget.take()], [0, None])
        clock.advance(1)
        self.assertEqual(budget.take(), 1)


class DiscardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def logged(self) -> list[Any]:
        return [event for event in self.events if event.get("event") == "octets-discarded"]

    def test_silence(self) -> None:
        """Whatever arrives, nothing is written and nothing logged by default."""
        stream, datagram, _ = made(KIND)
        protocol, transport = connected(stream)
        protocol.dataReceived(b"anything")
        self.assertEqual(transport.value(), b"")
        self.assertIsNone(datagram.answer(b"anything", PEER, 8))
        self.assertEqual(self.logged(), [])
        self.assertTrue(verifyObject(IDatagramResponder, datagram))

    def test_log(self) -> None:
        """With log = yes a piece is logged as fields: who, how much, what of it, escaped and cut."""
        stream, datagram, _ = made(KIND, log="yes", log_longest="4B")
        protocol, transport = connected(stream)
        protocol.dataReceived(b"\x1b[2J wiped")
        (event,) = self.logged()
        self.assertEqual(event["peer"], "192.0.2.7:40007")
        self.assertEqual((event["octets"], event["text"], event["cut"], event["unlogged"]), (10, "\\x1b[2J", True, 0))
        self.assertEqual(transport.value(), b"")
        self.assertIsNone(datagram.answer(b"ab", ("2001:db8::1", 5), 2))
        self.assertEqual((self.logged()[1]["peer"], self.logged()[1]["text"]), ("2001:db8::1:5", "ab"))

    def test_log_rate(self) -> None:
        """Connections and datagrams share one rate of lines."""
        stream, datagram, runtime = made(KIND, log="yes", log_rate="2/s")
        protocol, _ = connected(stream)
        for _ in range(5):
            protocol.dataReceived(b"x")
            datagram.answer(b"y", PEER, 1)
        self.assertEqual([event["text"] for event in self.logged()], ["x", "y"])
        runtime.reactor.advance(1)
        protocol.dataReceived(b"z")
        self.assertEqual(self.logged()[-1]["unlogged"], 8)

    def test_unix_peer(self) -> None:
        """A peer without an address is logged too."""
        stream, _, _ = made(KIND, log="yes")
        protocol, _ = connected(stream, StringTransport(peerAddress=UNIXAddress(None)))
        protocol.dataReceived(b"x")
        self.assertEqual(self.logged()[0]["peer"], "unix")

    def test_drain(self) -> None:
        """A stop closes open connections; lost ones are forgotten."""
        stream, _, _ = made(KIND)
        (gone, _), (_, transport) = connected(stream), connected(stream)
        lose(gone)
        stream.drain()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(len(stream.open), 1)
