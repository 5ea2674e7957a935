"""Ports that the reactor gets, on real sockets of the loopback interface."""

from __future__ import annotations

import errno
import select
import socket
from typing import Any

from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.runtime.ports import (
    DATAGRAMS_A_TURN,
    PAUSE,
    ListeningSocket,
    adopt_datagram_port,
    adopt_stream_port,
    reply_from,
)

BOUND = 5.0  # seconds in which the kernel delivers over loopback


class Refusing(Factory):
    """Closes every connection at once, and counts them."""

    def __init__(self) -> None:
        self.arrived = 0

    def buildProtocol(self, addr: Any) -> None:
        self.arrived += 1


class StreamPortTests(SynchronousTestCase):
    """adopt_stream_port."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.bound = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.bound.close)
        self.factory = Refusing()
        self.errors: list[OSError] = []
        self.port = adopt_stream_port(self.reactor, self.bound, 5, self.factory, self.errors.append)
        self.addCleanup(self.close)

    def close(self) -> None:
        stopped = self.port.stopListening()
        self.reactor.advance(0)
        if stopped is not None:
            self.successResultOf(stopped)

    def exhaust(self, number: int) -> None:
        """Let accept fail from now on."""

        def fail() -> None:
            raise OSError(number, "no")

        self.patch(socket.socket, "accept", lambda _: fail())

    def test_no_descriptors(self) -> None:
        """Out of descriptors or memory nothing is accepted for a while and said once a try; peers wait."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.exhaust(number)
            self.port.doRead()
            self.assertEqual([one.errno for one in self.errors], [number])
            self.assertNotIn(self.port, self.reactor.getReaders())
            self.reactor.advance(PAUSE)
            self.assertIn(self.port, self.reactor.getReaders())
            self.errors.clear()
        self.assertEqual(self.factory.arrived, 0)

    def test_other_errors(self) -> None:
        """A peer that left before it was accepted stops nothing."""
        self.exhaust(errno.ECONNABORTED)
        self.port.doRead()
        self.assertEqual(self.errors, [])
        self.assertIn(self.port, self.reactor.getReaders())

    def test_accepts(self) -> None:
        """What waits is accepted, and the original socket stays open when the port has closed."""
        with socket.create_connection(self.bound.getsockname(), BOUND):
            select.select([self.bound], [], [], BOUND)
            self.port.doRead()
        self.assertEqual(self.factory.arrived, 1)
        self.assertIsInstance(self.port.socket, ListeningSocket)
        self.close()
        self.assertTrue(self.bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    def test_stopped_in_a_pause(self) -> None:
        """A port that was closed while accepting paused stays closed."""
        self.exhaust(errno.EMFILE)
        self.port.doRead()
        self.close()
        self.reactor.advance(PAUSE)
        self.assertEqual(self.reactor.getReaders(), [])


class Echoes(DatagramProtocol):
    """Echoes, and remembers who asked."""

    def __init__(self) -> None:
        self.senders: list[Any] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.senders.append(addr)
        self.transport.write(datagram, addr)


class DatagramPortTests(SynchronousTestCase):
    """adopt_datagram_port."""

    def open(self, host: str) -> int:
        """A port on an address; its number."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(bound.close)
        bound.setblocking(False)
        bound.bind((host, 0))
        self.protocol = Echoes()
        self.port = adopt_datagram_port(MemoryReactorClock(), bound, self.protocol)
        self.addCleanup(self.port.socket.close)
        return int(bound.getsockname()[1])

    def ask(self, host: str, port: int, *data: bytes) -> socket.socket:
        """A client that takes answers only from where it asked; its questions have arrived."""
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(BOUND)
        client.connect((host, port))
        for one in data:
            client.send(one)
        select.select([self.port.socket], [], [], BOUND)
        return client

    def test_turns(self) -> None:
        """However small the datagrams, after some of them others have a turn."""
        client = self.ask("127.0.0.1", self.open("127.0.0.1"), *[b""] * (DATAGRAMS_A_TURN + 1))
        self.port.doRead()
        self.assertEqual(len(self.protocol.senders), DATAGRAMS_A_TURN)
        self.port.doRead()
        self.assertEqual(len(self.protocol.senders), DATAGRAMS_A_TURN + 1)
        self.assertEqual(client.recv(10), b"")

    def test_wildcard(self) -> None:
        """An answer leaves from the address that was asked, whichever of this machine's it is."""
        for wild, asked in (("0.0.0.0", "127.0.0.2"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::", "127.0.0.2")):
            client = self.ask(asked, self.open(wild), b"who are you?")
            self.port.doRead()
            self.assertEqual(client.recv(100), b"who are you?")

    def test_what_to_reply_with(self) -> None:
        """Multicast addresses are nobody's to answer from, and other ancillary data is none of ours."""
        group = bytes.fromhex("ff02" + "0" * 27 + "1") + (3).to_bytes(4, "little")
        self.assertEqual(reply_from([(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, group)]), [])
        self.assertEqual(reply_from([(socket.SOL_SOCKET, 1, b"")]), [])
        self.assertEqual(reply_from([]), [])
