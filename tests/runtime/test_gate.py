"""The gate: who gets in, what ends a connection, how a service drains."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import tempfile
from datetime import time
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.config.listen import TcpAddress
from netsvc.config.server import ServerSettings
from netsvc.config.tls import Tls
from netsvc.config.values import Rate
from netsvc.runtime.admission import Admission
from netsvc.runtime.connections import Admitted
from netsvc.runtime.gate import Door, Gate, GateFactory
from tests.fakes import FakeMetrics
from tests.runtime.certificates import make_certificate, secured

ALICE = IPv4Address("TCP", "192.0.2.1", 40000)
BOB = IPv4Address("TCP", "192.0.2.2", 40000)
SETTINGS = ServerSettings(listen=(TcpAddress(port=0),), idle_timeout=40.0, drain_timeout=5.0, handshake_timeout=3.0)


class Recorder(Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """One that hears of half-closes."""

    halves: tuple[str, ...] = ()

    def readConnectionLost(self) -> None:
        self.halves += ("read",)

    def writeConnectionLost(self) -> None:
        self.halves += ("write",)


class Recorders(Factory):
    """Makes recorders and remembers them."""

    noisy = False

    def __init__(self, protocol: type[Recorder] | None = Recorder) -> None:
        self.kind = protocol
        self.made: list[Recorder] = []
        self.peers: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        self.peers.append(addr)
        if self.kind is None:
            return None
        self.made.append(self.kind())
        return self.made[-1]


class Wire(StringTransport):
    """A transport with a kernel's count of octets that tests set."""

    def __init__(self, peer: Any = ALICE) -> None:
        super().__init__(peerAddress=peer)
        self.socket = self
        self.moved: int | None = 0
        self.protocol: Any = None
        self.aborting = False
        self.unix, self.other = socket.socketpair()
        self.unix.setblocking(False)

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        if self.moved is None:
            raise OSError
        return b"\0" * 120 + self.moved.to_bytes(8, "little") + b"\0" * 8

    def abortConnection(self) -> None:
        self.aborting = True

    def fileno(self) -> int:
        return self.unix.fileno()


class GateCase(SynchronousTestCase):
    """Builds a gate, and connections through it."""

    def build(self, factory: Any = None, **changes: Any) -> Gate:
        settings = attrs.evolve(SETTINGS, **changes)
        self.clock = Clock()
        self.metrics = FakeMetrics()
        self.factory = factory if factory is not None else Recorders()
        self.door = Door(self.factory)
        admission = Admission(settings, self.clock, lambda: time(12), None)
        self.gate = Gate(
            service="test",
            settings=settings,
            factory=self.factory,
            admission=admission,
            reactor=self.clock,
            metrics=self.metrics,
        )
        self.admission = admission
        return self.gate

    def connect(self, peer: Any = ALICE, door: Door | None = None) -> Wire | None:
        wire = Wire(peer)
        self.addCleanup(wire.unix.close)
        self.addCleanup(wire.other.close)
        protocol = GateFactory(self.gate, door or self.door).buildProtocol(peer)
        if protocol is None:
            return None
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return wire

    def connected(self, peer: Any = ALICE, door: Door | None = None) -> Wire:
        wire = self.connect(peer, door)
        assert wire is not None
        return wire

    def end(self, wire: Wire, error: type[Exception] = ConnectionDone) -> None:
        wire.protocol.connectionLost(Failure(error()))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.metrics[name].values.get(tuple(sorted({"service": "test", **labels}.items())), 0)


class AdmissionTests(GateCase):
    """Who gets in."""

    def test_octets_reach_the_protocol(self) -> None:
        """An admitted peer's octets go to the protocol, which sees the very transport."""
        self.build()
        wire = self.connected()
        wire.protocol.dataReceived(b"hello")
        made = self.factory.made[0]
        self.assertEqual(made.received, b"hello")
        self.assertIs(made.transport, wire)
        self.assertEqual(self.count("connections_accepted"), 1)
        self.assertEqual(self.count("connections_open"), 1)
        self.assertEqual(wire.protocol.logPrefix(), "test")

    def test_end_is_counted_and_frees_the_place(self) -> None:
        """A connection that ended is no longer open and its source may come again."""
        self.build(max_connections_per_source=1)
        wire = self.connected()
        self.assertIsNone(self.connect())
        self.end(wire, ConnectionLost)
        self.assertTrue(self.factory.made[0].lost.check(ConnectionLost))
        self.assertEqual(len(self.gate), 0)
        self.assertEqual(self.count("connections_closed", reason="lost"), 1)
        self.assertEqual(self.count("connections_refused", reason="max-connections-per-source"), 1)
        self.connected()

    def test_only_the_offender_is_refused(self) -> None:
        """When one address has used its rate, another is still let in."""
        self.build(rate=Rate(1, 60.0))
        self.connected()
        self.assertIsNone(self.connect())
        self.connected(BOB)

    def test_mapped_addresses_are_v4(self) -> None:
        """A v4-mapped peer meets v4 rules, and protocol and factory see it as v4."""
        self.build(allow=(ipaddress.ip_network("192.0.2.0/24"),))
        wire = self.connected(IPv6Address("TCP", "::ffff:192.0.2.1", 40000))
        self.assertEqual(wire.getPeer(), ALICE)
        self.assertEqual(self.factory.peers, [ALICE])
        self.assertIsNone(self.connect(IPv6Address("TCP", "::ffff:198.51.100.1", 40000)))

    def test_a_factory_that_declines_frees_the_place(self) -> None:
        """When the service's factory gives no protocol, nothing stays counted."""
        self.build(Recorders(None))
        self.assertIsNone(self.connect())
        self.assertEqual(self.admission.open, 0)

    def test_a_factory_that_fails_frees_the_place(self) -> None:
        """An exception in the service's factory leaves no place taken."""

        class Broken(Recorders):
            def buildProtocol(self, addr: Any) -> Any:
                raise ZeroDivisionError

        self.build(Broken())
        self.assertRaises(ZeroDivisionError, self.connect)
        self.assertEqual(self.admission.open, 0)

    def test_half_closes_are_passed_on(self) -> None:
        """A protocol that hears of half-closes hears of them through the gate; another one shows no such interface."""
        self.build(Recorders(HalfCloseable))
        wire = self.connected()
        self.assertTrue(IHalfCloseableProtocol.providedBy(wire.protocol))
        wire.protocol.readConnectionLost()
        wire.protocol.writeConnectionLost()
        self.assertEqual(self.factory.made[0].halves, ("read", "write"))
        self.build()
        self.assertFalse(IHalfCloseableProtocol.providedBy(self.connected().protocol))

    def test_no_room(self) -> None:
        """That accepting pauses is counted each time and logged once, until there was room for a minute."""
        self.build()
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for wait in (0, 1, 59, 61):
            self.clock.advance(wait)
            self.gate.no_room(OSError(24, "Too many open files"))
        self.assertEqual(len([event for event in logged if event.get("event") == "accept-paused"]), 2)
        self.assertEqual(self.count("accept_pauses"), 4)

    def test_start_and_stop_reach_the_factory(self) -> None:
        """The service's factory is told when its listener starts and stops."""
        self.build()
        outer = GateFactory(self.gate, self.door)
        outer.doStart()
        self.assertEqual(self.factory.numPorts, 1)
        outer.doStop()
        self.assertEqual(self.factory.numPorts, 0)
        self.assertEqual(outer.logPrefix(), "test")


class IdleTests(GateCase):
    """Time limits by the kernel's count of octets."""

    def test_an_idle_peer_sees_a_clean_end(self) -> None:
        """After idle_timeout without an octet the connection is closed in good order."""
        self.build()
        wire = self.connected()
        self.clock.pump([10] * 4)
        self.assertFalse(wire.disconnecting)
        self.clock.pump([10] * 2)
        self.assertTrue(wire.disconnecting)
        self.end(wire)
        self.assertEqual(self.count("connections_closed", reason="idle"), 1)

    def test_one_that_cannot_end_is_cut(self) -> None:
        """An idle connection whose last octets nobody takes is cut at the next sweep."""
        self.build()
        wire = self.connected()
        self.clock.pump([10] * 7)
        self.assertTrue(wire.aborting)

    def test_octets_in_either_direction_keep_it(self) -> None:
        """A download to a silent peer is not idle."""
        self.build()
        wire = self.connected()
        for _ in range(20):
            assert wire.moved is not None
            wire.moved += 1
            self.clock.advance(10)
        self.assertFalse(wire.disconnecting)

    def test_slow_peers_are_cut(self) -> None:
        """Fewer octets than lowest_rate over an idle_timeout: cut as slow."""
        self.build(lowest_rate=10)
        slow, fast = self.connected(), self.connected(BOB)
        for _ in range(7):
            assert slow.moved is not None
            assert fast.moved is not None
            slow.moved += 1
            fast.moved += 200
            self.clock.advance(10)
        self.assertTrue(slow.aborting)
        self.assertFalse(fast.disconnecting)
        self.end(slow, ConnectionAborted)
        self.assertEqual(self.count("connections_closed", reason="slow"), 1)

    def test_unix_connections_are_counted_here(self) -> None:
        """Where the kernel keeps no count, octets that arrive, or are read by the peer, count."""
        self.build()
        wire = self.connected(UNIXAddress(None), Door(self.factory, counted=False))
        wire.moved = None
        for _ in range(10):
            wire.protocol.dataReceived(b"x")
            self.clock.advance(10)
        self.assertEqual(self.factory.made[0].received, b"x" * 10)
        self.assertFalse(wire.disconnecting)
        self.clock.pump([10] * 6)
        self.assertTrue(wire.disconnecting)

    def test_no_limit(self) -> None:
        """idle_timeout 0 is never, and no sweep is scheduled."""
        self.build(idle_timeout=0.0)
        self.connected()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sweeps_end_with_the_last_connection(self) -> None:
        """Without connections nothing is scheduled."""
        self.build()
        self.end(self.connected())
        self.clock.pump([10] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ProxyTests(GateCase):
    """PROXY headers."""

    def proxied(self, **changes: Any) -> Door:
        self.build(proxy_from=(ipaddress.ip_network("192.0.2.1/32"),), **changes)
        return Door(self.factory, haproxy=True)

    def test_the_clients_address_is_seen(self) -> None:
        """Behind a trusted proxy the protocol sees the client and the address it connected to, and what follows the
        header arrives, however the octets were cut.
        """
        octets = b"PROXY TCP4 198.51.100.7 203.0.113.1 1234 80\r\nhello"
        for pieces in ([octets], [octets[at : at + 1] for at in range(len(octets))]):
            door = self.proxied()
            wire = self.connected(door=door)
            for piece in pieces:
                wire.protocol.dataReceived(piece)
            self.assertEqual(self.factory.made[0].received, b"hello")
            self.assertEqual(wire.getPeer(), IPv4Address("TCP", "198.51.100.7", 1234))
            self.assertEqual(wire.getHost(), IPv4Address("TCP", "203.0.113.1", 80))
            self.assertIsInstance(wire.protocol, Admitted)

    def test_rules_are_for_the_client(self) -> None:
        """A deny rule meets the client behind the proxy, not the proxy."""
        door = self.proxied(deny=(ipaddress.ip_network("198.51.100.7/32"),))
        wire = self.connected(door=door)
        wire.protocol.dataReceived(b"PROXY TCP4 198.51.100.7 203.0.113.1 1234 80\r\n")
        self.assertTrue(wire.aborting)
        self.assertEqual(self.count("connections_refused", reason="denied"), 1)

    def test_only_trusted_sources(self) -> None:
        """A source outside proxy_from is refused before it says anything."""
        door = self.proxied()
        self.assertIsNone(self.connect(BOB, door))
        self.assertEqual(self.count("connections_refused", reason="proxy-source"), 1)

    def test_local_keeps_the_proxys_address(self) -> None:
        """A health check of the proxy itself (UNKNOWN) is the proxy's own connection."""
        wire = self.connected(door=self.proxied())
        wire.protocol.dataReceived(b"PROXY UNKNOWN\r\n")
        self.assertEqual(self.factory.peers, [ALICE])

    def test_rubbish_ends_the_connection(self) -> None:
        """What is no PROXY header is counted and cut."""
        wire = self.connected(door=self.proxied())
        wire.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(wire.aborting)
        self.assertEqual(self.count("connections_refused", reason="proxy-header"), 1)

    def test_silence_ends_the_connection(self) -> None:
        """A header that does not come within handshake_timeout ends it."""
        wire = self.connected(door=self.proxied())
        self.clock.advance(3)
        self.assertTrue(wire.aborting)
        self.assertEqual(self.count("connections_refused", reason="handshake"), 1)

    def test_one_time_for_both_handshakes(self) -> None:
        """A slow header leaves so much less time for the TLS handshake."""
        self.proxied()
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        wrapped: Any = secured(Tls(*make_certificate(directory, "one")), self.factory, self.clock)
        wire = self.connected(door=Door(wrapped, tls=True, haproxy=True))
        self.clock.advance(2)
        wire.protocol.dataReceived(b"PROXY TCP4 198.51.100.7 192.0.2.9 5000 80\r\n")
        self.clock.advance(0.9)
        self.assertFalse(wire.aborting)
        self.clock.advance(0.2)
        self.assertTrue(wire.aborting)
        self.assertEqual(self.factory.made[0].received, b"")

    def test_who_closes_at_once_gets_no_more(self) -> None:
        """A protocol that closes as soon as it is connected is not given what followed the header."""

        class Short(Recorder):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.loseConnection()

        self.build(Recorders(Short), proxy_from=(ipaddress.ip_network("192.0.2.1/32"),))
        wire = self.connected(door=Door(self.factory, haproxy=True))
        wire.protocol.dataReceived(b"PROXY UNKNOWN\r\nhello")
        self.assertEqual(self.factory.made[0].received, b"")

    def test_a_peer_that_leaves_is_forgotten(self) -> None:
        """A proxy that goes away before its header leaves nothing behind."""
        wire = self.connected(door=self.proxied())
        self.assertEqual(wire.protocol.logPrefix(), "test")
        self.end(wire)
        self.assertEqual(self.gate.waiting, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiting_connections_are_bounded(self) -> None:
        """Connections that have not sent their header count against max_connections."""
        door = self.proxied(max_connections=1)
        self.connected(door=door)
        self.assertIsNone(self.connect(door=door))

    def test_drained_when_the_protocol_has_been_told(self) -> None:
        """The drain ends behind the last connectionLost, so that what is begun there is known to whoever waits."""
        self.build(Recorders())
        wire = self.connected()
        order: list[bool] = []
        self.gate.drain().addCallback(lambda _: order.append(self.factory.made[0].lost is not None))
        self.end(wire)
        self.assertEqual(order, [True])

    def test_drain_cuts_waiting_connections(self) -> None:
        """A stop does not wait for headers."""
        wire = self.connected(door=self.proxied())
        self.successResultOf(self.gate.drain())
        self.assertTrue(wire.aborting)


class DrainTests(GateCase):
    """Stopping."""

    def test_nothing_open(self) -> None:
        """Without connections a drain is over at once, and nobody gets in any more."""
        self.build()
        self.successResultOf(self.gate.drain())
        self.assertIsNone(self.connect())

    def test_connections_finish(self) -> None:
        """Connections are closed in good order; the drain ends with the last."""
        self.build()
        first, second = self.connected(), self.connected(BOB)
        drained = self.gate.drain()
        self.assertTrue(first.disconnecting)
        self.assertFalse(first.aborting)
        self.end(first)
        self.assertNoResult(drained)
        self.end(second)
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_handshakes_are_not_waited_for(self) -> None:
        """A stop cuts connections whose TLS handshake is not done: they owe and are owed nothing."""
        self.build()
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        wrapped: Any = secured(Tls(*make_certificate(directory, "one")), self.factory, self.clock)
        wire = self.connected(door=Door(wrapped, tls=True))
        self.gate.drain()
        self.assertTrue(wire.aborting)

    def test_a_factory_that_drains_itself(self) -> None:
        """A factory with drain() decides how its connections finish."""

        class Draining(Recorders):
            drained = 0

            def drain(self) -> None:
                self.drained += 1

        self.build(Draining())
        wire = self.connected()
        self.gate.drain()
        self.assertEqual(self.factory.drained, 1)
        self.assertFalse(wire.disconnecting)

    def test_time_is_up(self) -> None:
        """After drain_timeout what is still open is cut, and counted so."""
        self.build()
        wire = self.connected()
        drained = self.gate.drain()
        self.clock.advance(5)
        self.assertTrue(wire.aborting)
        self.end(wire, ConnectionAborted)
        self.successResultOf(drained)
        self.assertEqual(self.count("connections_closed", reason="drain"), 1)

    def test_twice(self) -> None:
        """A second drain waits for the first."""
        self.build()
        wire = self.connected()
        self.gate.drain()
        again = self.gate.drain()
        self.end(wire)
        self.successResultOf(again)
