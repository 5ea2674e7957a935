"""Facts about the send buffer towards peers that are near."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from typing import Any
from unittest import mock

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net import near
from netsvc.net.accepted import AcceptedConnection
from netsvc.net.near import NEAR, SEND_BUFFER, shorten_send_buffer, shortest_round_trip
from netsvc.net.sendfile import LARGE, FileSender
from tests.net.turns import Loopback, Turns


def info(microseconds: int, length: int = 160) -> bytes:
    """A struct tcp_info with a shortest round trip."""
    return struct.pack("148xI8x", microseconds)[:length]


class Told:
    """A socket that says what the kernel would."""

    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer
        self.options: list[tuple[int, int, int]] = []

    def getHandle(self) -> Any:
        return self

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer[:length]

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append((level, option, value))


SHORT = [(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)]


class RoundTripTests(SynchronousTestCase):
    """Whose send buffer becomes small."""

    def test_near_and_far(self) -> None:
        """A round trip of 100 microseconds is near, one of 101 is not."""
        for time, expected in ((NEAR, SHORT), (NEAR + 1, [])):
            told = Told(info(time))
            shorten_send_buffer(told)
            self.assertEqual(told.options, expected)

    def test_unknown(self) -> None:
        """What the kernel does not know is not near: no time yet, an older kernel, a socket of another kind."""
        for answer in (info(0xFFFFFFFF), info(1, 104), OSError("not supported")):
            told = Told(answer)
            shorten_send_buffer(told)
            self.assertEqual(told.options, [])

    def test_unix_sockets(self) -> None:
        """A UNIX socket has no round trip."""
        one, other = socket.socketpair()
        with one, other:
            self.assertIsNone(shortest_round_trip(one))

    def test_kernel(self) -> None:
        """The kernel tells the round trip of a connection over loopback where this module looks for it."""
        loopback = Loopback(Protocol())
        self.addCleanup(loopback.close)
        time = shortest_round_trip(loopback.transport.getHandle())
        assert time is not None
        self.assertLess(time, 1_000_000)


class FileTests(SynchronousTestCase):
    """When a FileSender makes it small."""

    def sent(self, length: int) -> int:
        """The send buffer after so many octets to a peer that is near."""
        loopback = Loopback(Protocol())
        self.addCleanup(loopback.close)
        with tempfile.TemporaryFile() as file, mock.patch.object(near, "shortest_round_trip", return_value=30):
            file.truncate(length)
            FileSender(loopback.transport, file.fileno(), 0, length).send()
            self.assertEqual(len(loopback.read()), length)
        found: int = loopback.transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return found

    def test_large(self) -> None:
        """A large file goes out through a small buffer, whole."""
        self.assertEqual(self.sent(3 * LARGE), 2 * SEND_BUFFER)

    def test_small(self) -> None:
        """For less than a MiB the kernel's choice stays."""
        self.assertGreater(self.sent(LARGE - 1), 2 * SEND_BUFFER)


class PullTests(SynchronousTestCase):
    """An AcceptedConnection with a pull producer."""

    def test_no_write_of_nothing(self) -> None:
        """It is asked for more without a write of no octets; and what it writes leaves by write."""
        loopback = Loopback(Protocol())
        self.addCleanup(loopback.close)
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        turns = Turns()
        protocol = Protocol()
        connection = AcceptedConnection(ours, protocol, ("127.0.0.1", 1), None, 0, turns)
        protocol.makeConnection(connection)
        self.addCleanup(ours.close)
        with tempfile.TemporaryFile() as file, mock.patch.object(connection, "writeSomeData") as write:
            file.write(data := os.urandom(5000))
            file.flush()
            done = FileSender(connection, file.fileno(), 0, 5000).send()
            turns.turn()
            self.successResultOf(done)
            write.assert_not_called()
        self.assertEqual(theirs.recv(10_000), data)
        connection.write(b"more")
        turns.turn()
        self.assertEqual(theirs.recv(10), b"more")
