"""Facts about FileSender."""

from __future__ import annotations

import os
import tempfile
from typing import Any
from unittest import mock

from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.net.sendfile import READ_BLOCK, SENDFILE_BLOCK, FileSender, FileShrankError
from tests.net.turns import Loopback


class FileCase(SynchronousTestCase):
    def file_of(self, data: bytes) -> int:
        file = tempfile.TemporaryFile()  # noqa: SIM115
        self.addCleanup(file.close)
        file.write(data)
        file.flush()
        return file.fileno()

    def connect(self) -> Loopback:
        loopback = Loopback(Protocol())
        self.addCleanup(loopback.close)
        return loopback


class KernelTests(FileCase):
    """On a plain TCP transport."""

    def test_whole(self) -> None:
        """A file of several blocks arrives octet for octet, without passing through Python's write."""
        data = os.urandom(1024) * (3 * SENDFILE_BLOCK // 1024) + b"tail"
        loopback = self.connect()
        with mock.patch("os.pread") as pread:
            done = FileSender(loopback.transport, self.file_of(data), 0, len(data)).send()
            self.assertEqual(loopback.read(), data)
        pread.assert_not_called()
        self.assertIsNone(self.successResultOf(done))
        self.assertIsNone(loopback.transport.producer)

    def test_part(self) -> None:
        """Only [offset, offset + length) is sent."""
        loopback = self.connect()
        done = FileSender(loopback.transport, self.file_of(b"0123456789"), 3, 4).send()
        self.assertEqual(loopback.read(), b"3456")
        self.successResultOf(done)

    def test_nothing(self) -> None:
        """No octets are sent at once."""
        loopback = self.connect()
        self.successResultOf(FileSender(loopback.transport, self.file_of(b"abc"), 0, 0).send())
        self.assertEqual(loopback.read(), b"")

    def test_behind_headers(self) -> None:
        """What was written before comes before the file."""
        loopback = self.connect()
        loopback.transport.write(b"head:")
        done = FileSender(loopback.transport, self.file_of(b"body"), 0, 4).send()
        self.assertNoResult(done)
        self.assertEqual(loopback.read(), b"head:body")
        self.successResultOf(done)

    def test_written_meanwhile(self) -> None:
        """What is written while the file is on its way comes behind it; then the transport is as it was."""
        data = bytes(1 << 24)
        loopback = self.connect()
        done = FileSender(loopback.transport, self.file_of(data), 0, len(data)).send()
        self.assertIn("doWrite", vars(loopback.transport))
        loopback.transport.write(b"behind")
        loopback.transport.loseConnection()
        self.assertEqual(loopback.read(), data + b"behind")
        self.successResultOf(done)
        self.assertNotIn("doWrite", vars(loopback.transport))

    def test_peer_leaves_meanwhile(self) -> None:
        """A peer that leaves gets its transport's own end."""
        data = bytes(1 << 24)
        loopback = self.connect()
        done = FileSender(loopback.transport, self.file_of(data), 0, len(data)).send()
        loopback.transport.abortConnection()
        loopback.turns.turn(20)
        self.failureResultOf(done, ConnectionAbortedError)
        self.assertNotIn("doWrite", vars(loopback.transport))

    def test_a_peer_that_does_not_read(self) -> None:
        """A full socket is waited for: nothing is buffered here, and the rest follows when the peer reads."""
        data = bytes(1 << 25)
        loopback = self.connect()
        done = FileSender(loopback.transport, self.file_of(data), 0, len(data)).send()
        loopback.turns.turn(200)
        self.assertNoResult(done)
        self.assertEqual((loopback.transport.dataBuffer, loopback.transport._tempDataBuffer), (b"", []))
        self.assertEqual(len(loopback.read()), len(data))
        self.successResultOf(done)

    def test_shrinks(self) -> None:
        """A file that is shorter than promised resets the connection: the peer cannot take the part for the whole."""
        loopback = self.connect()
        done = FileSender(loopback.transport, self.file_of(b"short"), 0, 10).send()
        loopback.turns.turn()
        self.failureResultOf(done, FileShrankError)
        loopback.peer.setblocking(True)
        with self.assertRaises(ConnectionResetError):
            while loopback.peer.recv(99):
                pass

    def test_broken(self) -> None:
        """An error of sendfile(2) ends the connection and fails the Deferred with it."""
        loopback = self.connect()
        with mock.patch("os.sendfile", side_effect=OSError(5, "Input/output error")):
            done = FileSender(loopback.transport, self.file_of(b"data"), 0, 4).send()
        self.failureResultOf(done, OSError)
        loopback.turns.turn()
        self.assertTrue(loopback.transport.disconnected)

    def test_full(self) -> None:
        """A socket that is full at the moment is tried again when it has room."""
        loopback = self.connect()
        with mock.patch("os.sendfile", side_effect=BlockingIOError):
            done = FileSender(loopback.transport, self.file_of(b"data"), 0, 4).send()
        self.assertNoResult(done)
        self.assertEqual(loopback.read(), b"data")
        self.successResultOf(done)

    def test_peer_leaves(self) -> None:
        """A connection that is lost in the middle fails the Deferred, once."""
        loopback = self.connect()
        done = FileSender(loopback.transport, self.file_of(bytes(1 << 25)), 0, 1 << 25).send()
        loopback.transport.abortConnection()
        loopback.turns.advance(0)
        self.failureResultOf(done, ConnectionAbortedError)

    def test_called_again(self) -> None:
        """What comes after the end changes nothing."""
        loopback = self.connect()
        sender = FileSender(loopback.transport, self.file_of(b"data"), 0, 4)
        done = sender.send()
        loopback.read()
        sender.resumeProducing()
        sender.stopProducing()
        sender._break(ValueError())
        self.successResultOf(done)
        self.assertTrue(verifyObject(IPullProducer, sender))


class PythonTests(FileCase):
    """On any other transport."""

    def send(self, data: bytes, length: int | None = None) -> tuple[Any, Any, FileSender]:
        transport = StringTransport()
        sender = FileSender(transport, self.file_of(data), 0, len(data) if length is None else length)
        with mock.patch("os.sendfile") as sendfile:
            done = sender.send()
            while transport.producer is not None and not transport.disconnected:
                sender.resumeProducing()
        sendfile.assert_not_called()
        return transport, done, sender

    def test_blocks(self) -> None:
        """The file is read block by block, as the transport asks, and never by sendfile (it may be TLS)."""
        data = os.urandom(READ_BLOCK * 2 + 5)
        transport, done, _ = self.send(data)
        self.assertEqual(transport.value(), data)
        self.successResultOf(done)

    def test_shrinks(self) -> None:
        """A file that is shorter than promised aborts the connection."""
        transport, done, _ = self.send(b"short", 10)
        self.failureResultOf(done, FileShrankError)
        self.assertTrue(transport.disconnected)

    def test_unreadable(self) -> None:
        """A read error aborts the connection."""
        with mock.patch("os.pread", side_effect=OSError(5, "Input/output error")):
            transport, done, _ = self.send(b"data")
        self.failureResultOf(done, OSError)
        self.assertTrue(transport.disconnected)
