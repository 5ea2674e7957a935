"""Facts about fast_write and is_plain."""

from __future__ import annotations

import select
import socket
from typing import Any
from unittest import mock

from twisted.internet import abstract, tcp, unix
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.fast_write import fast_write
from netsvc.net.plain import is_plain
from tests.net.turns import Loopback


class FastWriteTests(SynchronousTestCase):
    def connect(self) -> Loopback:
        loopback = Loopback(Protocol())
        self.addCleanup(loopback.close)
        return loopback

    def peer_gets(self, loopback: Loopback) -> bytes:
        """What reached the peer without a turn of the reactor."""
        select.select([loopback.peer], [], [], 0.5)
        try:
            return loopback.peer.recv(1 << 20)
        except BlockingIOError:
            return b""

    def test_at_once(self) -> None:
        """Octets for an idle connection leave before the reactor turns, and nothing is queued."""
        loopback = self.connect()
        fast_write(loopback.transport, b"now")
        self.assertEqual(self.peer_gets(loopback), b"now")
        self.assertFalse(loopback.turns.writers)

    def test_order(self) -> None:
        """What is written while older octets are queued waits behind them."""
        loopback = self.connect()
        loopback.transport.write(b"first ")
        fast_write(loopback.transport, b"second")
        self.assertEqual(self.peer_gets(loopback), b"")
        self.assertEqual(loopback.read(), b"first second")

    def test_more_than_the_socket_takes(self) -> None:
        """Octets that the socket does not take are queued and follow, none lost, none twice."""
        loopback = self.connect()
        data = bytes(range(256)) * 65536
        fast_write(loopback.transport, data)
        self.assertTrue(loopback.transport._tempDataBuffer)
        fast_write(loopback.transport, b"end")
        self.assertEqual(loopback.read(), data + b"end")

    def test_full_socket(self) -> None:
        """A socket that takes nothing leaves the octets to the transport."""
        loopback = self.connect()
        with mock.patch("os.write", side_effect=BlockingIOError):
            fast_write(loopback.transport, b"late")
        self.assertEqual(loopback.transport._tempDataBuffer, [b"late"])

    def test_broken(self) -> None:
        """A connection that the peer has reset ends in the transport, not in an exception."""
        loopback = self.connect()
        loopback.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        loopback.peer.close()
        fast_write(loopback.transport, b"to nobody")
        loopback.turns.turn()
        self.assertTrue(loopback.transport.disconnected)

    def test_closing(self) -> None:
        """A connection that is closing queues as Twisted's write does, and the octets still arrive."""
        loopback = self.connect()
        loopback.transport.loseConnection()
        fast_write(loopback.transport, b"last")
        self.assertEqual(self.peer_gets(loopback), b"")
        self.assertEqual(loopback.read(), b"last")

    def test_half_closed(self) -> None:
        """After this side has half-closed, octets are dropped as Twisted's write drops them."""
        loopback = self.connect()
        loopback.transport.loseWriteConnection()
        loopback.turns.turn()
        fast_write(loopback.transport, b"too late")
        self.assertEqual(loopback.read(), b"")

    def test_gone(self) -> None:
        """After the connection is lost, octets are dropped."""
        loopback = self.connect()
        loopback.transport.abortConnection()
        loopback.turns.advance(0)
        fast_write(loopback.transport, b"nobody")
        self.assertTrue(loopback.transport.disconnected)

    def test_nothing(self) -> None:
        """No octets, no system call."""
        loopback = self.connect()
        with mock.patch("os.write") as write:
            fast_write(loopback.transport, b"")
        write.assert_not_called()

    def test_other_transports(self) -> None:
        """A transport of any other type is given the octets through its own write."""
        transport = StringTransport()
        fast_write(transport, b"through")
        self.assertEqual(transport.value(), b"through")

    def test_producer_is_paused(self) -> None:
        """Flow control sees what fast_write queues: beyond 64 KiB a push producer is paused."""
        loopback = self.connect()
        loopback.transport.registerProducer(loopback.transport, True)
        fast_write(loopback.transport, bytes(1 << 24))
        self.assertNotIn(loopback.transport, loopback.turns.readers)
        loopback.read()
        self.assertIn(loopback.transport, loopback.turns.readers)
        loopback.transport.unregisterProducer()


class PinTests(SynchronousTestCase):
    """The names of Twisted's that netsvc.net relies on though they are private; a new Twisted fails here first."""

    def test_buffers(self) -> None:
        """Both dataBuffer and _tempDataBuffer are empty when nothing waits; one is not when something does."""
        loopback = Loopback(Protocol())
        self.addCleanup(loopback.close)
        transport: Any = loopback.transport
        self.assertEqual((transport.dataBuffer, transport._tempDataBuffer), (b"", []))
        transport.write(b"x" * (1 << 24))
        self.assertTrue(transport._tempDataBuffer)
        loopback.turns.turn()
        self.assertTrue(transport.dataBuffer)
        loopback.read()
        self.assertEqual((transport.dataBuffer, transport._tempDataBuffer), (b"", []))

    def test_write_disconnected(self) -> None:
        """_writeDisconnected is what write looks at after a half-close."""
        self.assertIs(abstract.FileDescriptor._writeDisconnected, False)
        self.assertIn("_writeDisconnected", abstract.FileDescriptor.write.__code__.co_names)

    def test_states(self) -> None:
        """The states are plain attributes; socket and fileno go away with the connection."""
        loopback = Loopback(Protocol())
        self.addCleanup(loopback.close)
        transport: Any = loopback.transport
        self.assertEqual((transport.connected, transport.disconnecting), (1, 0))
        self.assertEqual(transport.fileno(), transport.socket.fileno())
        transport.loseConnection()
        self.assertEqual(transport.disconnecting, 1)
        loopback.turns.turn()
        self.assertEqual(transport.connected, 0)
        self.assertFalse(hasattr(transport, "socket"))


class PlainTests(SynchronousTestCase):
    def test_exact_types(self) -> None:
        """TCP and UNIX servers and clients are plain; a subclass of one is not, for it may wrap."""

        class Sub(tcp.Server):
            pass

        for kind in (tcp.Server, tcp.Client, unix.Server, unix.Client):
            self.assertTrue(is_plain(kind.__new__(kind)))
        self.assertFalse(is_plain(Sub.__new__(Sub)))
        self.assertFalse(is_plain(StringTransport()))

    def test_tls(self) -> None:
        """A TCP transport that was switched to TLS is not plain."""
        transport = tcp.Server.__new__(tcp.Server)
        transport.TLS = True
        self.assertFalse(is_plain(transport))
