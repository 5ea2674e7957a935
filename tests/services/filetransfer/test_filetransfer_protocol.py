"""What a peer of filetransfer gets, whatever it does."""

from __future__ import annotations

import json
import os
import socket
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.filetransfer import protocol as module
from netsvc.services.filetransfer.offer import Offer
from netsvc.services.filetransfer.protocol import BLOCK, IGNORED, LINGER, FileTransfer, FileTransferFactory
from tests.fakes import FakeRuntime
from tests.services.filetransfer.loopback import HandReactor, connect, read

BIG = 8 << 20  # octets; more than the socket buffers of a loopback connection hold


class AbortableTransport(StringTransport):
    """A transport that is not plain, as TLS is not; it knows how it was ended."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class FileTransferCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.runtime = FakeRuntime(name="filetransfer")
        self.runtime.reactor = HandReactor()  # type: ignore[assignment]
        self.path = Path(self.mktemp())
        self.events: list[dict[str, Any]] = []
        self.patch(module, "log", Logger(observer=self.events.append))  # type: ignore[arg-type]

    def protocol(self, data: bytes | None = b"the octets") -> FileTransfer:
        if data is not None:
            fresh = self.path.with_name("fresh")
            fresh.write_bytes(data)
            fresh.replace(self.path)
        self.data = data or b""
        factory = FileTransferFactory(Offer(self.path, "newest"), self.runtime)  # type: ignore[arg-type]
        return factory.buildProtocol(None)

    @property
    def whole(self) -> bytes:
        return json.dumps({"filename": self.path.name, "filedata": b64encode(self.data).decode()}).encode()

    def outcomes(self) -> dict[Any, float]:
        values = self.runtime.metrics.metrics["filetransfer_offers"].values
        return {dict(labels)["outcome"]: value for labels, value in values.items()}

    def assert_ended(self, outcome: str, event: str) -> None:
        self.assertEqual(self.outcomes(), {outcome: 1})
        self.assertEqual([one["event"] for one in self.events], [event])

    def assert_no_file_open(self) -> None:
        links = [os.path.realpath(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")]
        self.assertNotIn(str(self.path.absolute()), links)


class WrappedTransportTests(FileTransferCase):
    """On a transport that is not a plain socket."""

    def setUp(self) -> None:
        super().setUp()
        self.transport = AbortableTransport()

    def pull(self, times: int = 1000) -> None:
        for _ in range(times):
            if self.transport.producer is None:
                break
            self.transport.producer.resumeProducing()

    def test_whole(self) -> None:
        """The peer gets the object, and the connection is closed in good order."""
        self.protocol(os.urandom(2 * BLOCK + 1)).makeConnection(self.transport)
        self.pull()
        self.assertEqual(self.transport.value(), self.whole)
        self.assertTrue(self.transport.disconnecting)
        self.assert_ended("sent", "filetransfer-sent")
        self.assert_no_file_open()

    def test_one_piece_a_pull(self) -> None:
        """A peer that takes nothing is sent nothing more: one piece for each time that the transport asks."""
        self.protocol(os.urandom(10 * BLOCK)).makeConnection(self.transport)
        self.pull(2)
        self.assertTrue(self.transport.value().endswith(b'"filedata": "' + b64encode(self.data[:BLOCK])))

    def test_file_abuse_13_shrunk(self) -> None:
        """A file that shrinks while it is sent aborts the connection; what came does not decode."""
        self.protocol(os.urandom(3 * BLOCK)).makeConnection(self.transport)
        self.pull(2)
        os.truncate(self.path, BLOCK + 5)
        self.pull()
        self.assertTrue(self.transport.aborted)
        self.assertFalse(self.transport.disconnecting)
        self.assertRaises(ValueError, json.loads, self.transport.value())
        self.assert_ended("shrank", "filetransfer-cut")
        self.assert_no_file_open()

    def test_read_error(self) -> None:
        """A disk that fails to read aborts the connection."""
        self.protocol(os.urandom(3 * BLOCK)).makeConnection(self.transport)

        def fail(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        self.patch(os, "pread", fail)
        self.pull()
        self.assertTrue(self.transport.aborted)
        self.assert_ended("failed", "filetransfer-cut")

    def test_peer_leaves(self) -> None:
        """A peer that leaves in the middle costs nothing that stays: the file is closed, nothing is sent."""
        protocol = self.protocol(os.urandom(3 * BLOCK))
        protocol.makeConnection(self.transport)
        self.pull(1)
        producer = self.transport.producer
        producer.stopProducing()  # type: ignore[union-attr]
        producer.stopProducing()  # type: ignore[union-attr]
        protocol.connectionLost(Failure(ConnectionDone()))
        producer.resumeProducing()  # type: ignore[union-attr]
        self.assert_ended("left", "filetransfer-cut")
        self.assert_no_file_open()

    def test_nothing_to_offer(self) -> None:
        """With nothing to offer the connection is closed, with a log line that says why."""
        for make in (lambda: None, self.path.mkdir):
            self.events.clear()
            self.transport = AbortableTransport()
            make()
            self.protocol(None).makeConnection(self.transport)
            self.assertEqual(self.transport.value(), b"")
            self.assertTrue(self.transport.disconnecting)
            self.assertEqual([one["event"] for one in self.events], ["filetransfer-nothing-to-offer"])
        self.assertEqual(self.outcomes(), {"nothing": 2})

    def test_peer_talks(self) -> None:
        """What a peer sends is ignored up to a limit; one octet more and it is cut off, once."""
        protocol = self.protocol()
        protocol.makeConnection(self.transport)
        protocol.dataReceived(b"x" * IGNORED)
        self.assertFalse(self.transport.aborted)
        protocol.dataReceived(b"x")
        self.assertTrue(self.transport.aborted)
        protocol.connectionLost(Failure(ConnectionDone()))
        protocol.dataReceived(b"x")
        self.assertEqual([one["event"] for one in self.events], ["filetransfer-peer-sends"])

    def test_fault_of_ours(self) -> None:
        """An error that nobody foresaw is logged with its traceback and ends this connection only."""
        self.patch(Offer, "open", lambda self: 1 // 0)
        self.protocol().makeConnection(self.transport)
        self.assertTrue(self.transport.aborted)
        (event,) = self.events
        self.assertEqual((event["event"], event["log_failure"].type), ("filetransfer-fault", ZeroDivisionError))


class SlowOpenTests(FileTransferCase):
    """While a thread opens the file."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[tuple[Callable[[], Any], Deferred[Any]]] = []

        def in_thread(function: Callable[[], Any]) -> Deferred[Any]:
            self.calls.append((function, Deferred()))
            return self.calls[-1][1]

        self.patch(self.runtime, "in_thread", in_thread)

    def test_peer_leaves(self) -> None:
        """A peer that leaves before the file is open leaves no descriptor behind."""
        protocol = self.protocol()
        protocol.makeConnection(StringTransport())
        protocol.connectionLost(Failure(ConnectionDone()))
        ((function, opening),) = self.calls
        opening.callback(function())
        self.assert_no_file_open()
        self.assertEqual(self.events, [])

    def test_peer_leaves_and_nothing_to_offer(self) -> None:
        """A peer that has left is not closed again when there was nothing to offer."""
        protocol = self.protocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.calls[0][1].errback(FileNotFoundError(2, "No such file"))
        self.assertFalse(transport.disconnecting)


class PlainTransportTests(FileTransferCase):
    """On a real TCP connection."""

    @property
    def reactor(self) -> HandReactor:
        return self.runtime.reactor  # type: ignore[return-value]

    def connected(self, data: bytes, send_buffer: int | None = None) -> tuple[FileTransfer, socket.socket]:
        protocol = self.protocol(data)
        peer = connect(protocol, self.reactor, send_buffer)
        self.addCleanup(peer.close)
        self.addCleanup(protocol.transport.socket.close)
        return protocol, peer

    def test_whole(self) -> None:
        """A peer that reads to EOF has the object; when it closes too the connection is over, no timer is left."""
        for data in (b"", b"1", b"12", b"123", os.urandom(BIG + 1)):
            _, peer = self.connected(data)
            got, ended = read(peer, self.reactor)
            self.assertTrue(ended)
            self.assertEqual(got, self.whole)
            self.assertEqual(b64decode(json.loads(got)["filedata"]), data)
            peer.close()
            for _ in range(3):
                self.reactor.turn()
            self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_file_abuse_2_half_closed(self) -> None:
        """A peer that half-closes at once gets everything, and then the end without any wait."""
        protocol, peer = self.connected(os.urandom(BIG))
        self.assertTrue(IHalfCloseableProtocol.providedBy(protocol))
        peer.shutdown(socket.SHUT_WR)
        got, ended = read(peer, self.reactor)
        self.assertTrue(ended)
        self.assertEqual(got, self.whole)
        self.assertEqual(self.reactor.readers, set())

    def test_peer_that_sends(self) -> None:
        """Octets that the peer sent do not destroy the answer when the connection is closed."""
        _, peer = self.connected(os.urandom(BIG))
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
        got, ended = read(peer, self.reactor)
        self.assertTrue(ended)
        self.assertEqual(got, self.whole)

    def test_peer_that_stays(self) -> None:
        """A peer that has all and does not close is closed after a while."""
        _, peer = self.connected(b"data")
        read(peer, self.reactor)
        self.assertEqual(len(self.reactor.readers), 1)
        self.reactor.advance(LINGER)
        self.reactor.turn()
        self.assertEqual(self.reactor.readers, set())

    def test_file_abuse_33_peer_that_does_not_read(self) -> None:
        """A peer that reads nothing stops the reading of the file; others are served meanwhile."""
        protocol, slow = self.connected(os.urandom(BIG))
        for _ in range(1000):
            self.reactor.turn()
        held = protocol.transport
        self.assertEqual((len(held.dataBuffer), held._tempDataLen), (0, 0))
        self.assertEqual(self.outcomes() if self.events else {}, {})
        whole_of_slow = self.whole
        _, fast = self.connected(b"small")
        self.assertEqual(read(fast, self.reactor), (self.whole, True))
        self.assertEqual(read(slow, self.reactor), (whole_of_slow, True))

    def test_small_buffers(self) -> None:
        """Where the socket takes only a part of a piece, the rest follows in order."""
        _, peer = self.connected(os.urandom(BLOCK * 3), send_buffer=5000)
        self.assertEqual(read(peer, self.reactor), (self.whole, True))

    def test_file_abuse_12_replaced(self) -> None:
        """A file that is replaced while it is sent arrives as it was opened."""
        _, peer = self.connected(os.urandom(BIG))
        whole = self.whole
        self.reactor.turn()
        other = self.path.with_name("other")
        other.write_bytes(b"other")
        other.replace(self.path)
        self.assertEqual(read(peer, self.reactor), (whole, True))

    def test_file_abuse_13_shrunk(self) -> None:
        """A file that shrinks while it is sent resets the connection: the peer cannot take it for the whole."""
        _, peer = self.connected(os.urandom(BIG))
        self.reactor.turn()
        os.truncate(self.path, 100)
        self.assertRaises(ConnectionResetError, read, peer, self.reactor)
        self.assert_ended("shrank", "filetransfer-cut")

    def test_file_abuse_1_reset(self) -> None:
        """A peer that resets the connection ends it, and the file is closed."""
        _, peer = self.connected(os.urandom(BIG))
        self.reactor.turn()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        for _ in range(5):
            self.reactor.turn()
        self.assert_ended("left", "filetransfer-cut")
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        self.assert_no_file_open()
