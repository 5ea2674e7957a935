"""What becomes of the object that a peer sends, whatever he does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.access import Access
from netsvc.filestore.terms import Terms
from netsvc.services.filetransfer import receiver as module
from netsvc.services.filetransfer.inbox import Inbox
from netsvc.services.filetransfer.receiver import LINGER, SETTLE, FileReceiver, FileReceiverFactory
from tests.fakes import FakeRuntime
from tests.services.filetransfer.loopback import HandReactor, connect, read

DATA = os.urandom(100_000)


def made(name: str = "a.bin", data: bytes = DATA) -> bytes:
    """The object of a file."""
    return json.dumps({"filename": name, "filedata": b64encode(data).decode()}).encode()


class CuttableTransport(StringTransport):
    """A transport that is not plain, and knows how it was ended."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class ReceiverCase(SynchronousTestCase):
    terms = Terms(access=Access.UPLOAD_ONLY)

    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="netsvc-inbox-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.runtime = FakeRuntime(name="filetransfer:inbox")
        self.events: list[dict[str, Any]] = []
        self.patch(module, "log", Logger(observer=self.events.append))  # type: ignore[arg-type]

    def protocol(self) -> FileReceiver:
        factory = FileReceiverFactory(Inbox(self.root, self.terms), self.runtime)  # type: ignore[arg-type]
        return factory.buildProtocol(None)

    def connected(self) -> tuple[FileReceiver, CuttableTransport]:
        protocol, transport = self.protocol(), CuttableTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def answer(self, transport: StringTransport) -> dict[str, Any]:
        """The one line that the peer got; {} for none."""
        lines = transport.value().splitlines()
        self.assertLessEqual(len(lines), 1)
        return json.loads(lines[0]) if lines else {}

    def names(self) -> list[str]:
        return sorted(one.name for one in self.root.iterdir())

    def outcomes(self) -> dict[Any, float]:
        values = self.runtime.metrics.metrics["filetransfer_receipts"].values
        return {dict(labels)["outcome"]: value for labels, value in values.items()}

    def assert_stored(self, name: str, data: bytes) -> None:
        self.assertEqual((self.root / name).read_bytes(), data)
        self.assertEqual([one for one in self.names() if one.startswith(".netsvc-")], [])

    def assert_nothing(self) -> None:
        self.assertEqual(self.names(), [])


class ReceiverTests(ReceiverCase):
    def send(self, whole: bytes, size: int | None = None) -> dict[str, Any]:
        """Send octets in pieces, then half-close; the answer."""
        protocol, transport = self.connected()
        step = size or max(len(whole), 1)
        for at in range(0, len(whole), step):
            protocol.dataReceived(whole[at : at + step])
        protocol.readConnectionLost()
        self.runtime.reactor.advance(SETTLE)
        answer = self.answer(transport)
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.runtime.reactor.getDelayedCalls(), [])
        return answer

    def test_drain(self) -> None:
        """When the service stops, who has sent nothing is not waited for; who has begun may finish."""
        idle, idle_transport = self.connected()
        idle._factory.drain()
        self.assertTrue(idle_transport.disconnecting)
        protocol, transport = self.connected()
        protocol.dataReceived(made()[:-1])
        protocol._factory.drain()
        self.assertFalse(transport.disconnecting)
        protocol.dataReceived(b"}")
        protocol.readConnectionLost()
        self.assertEqual(self.answer(transport)["stored"], "a.bin")
        protocol.connectionLost(Failure(ConnectionDone()))
        protocol._factory.drain()

    def test_stored(self) -> None:
        """A peer that sends an object and half-closes is told name, size and SHA-256 of what is durable."""
        self.assertTrue(IHalfCloseableProtocol.providedBy(self.protocol()))
        answer = self.send(made())
        self.assertEqual(answer, {"stored": "a.bin", "size": 100_000, "sha256": hashlib.sha256(DATA).hexdigest()})
        self.assert_stored("a.bin", DATA)
        self.assertEqual(self.outcomes(), {"stored": 1})
        self.assertEqual([one["event"] for one in self.events], ["filetransfer-stored"])

    def test_file_abuse_44_sizes(self) -> None:
        """Files of every length mod 3, the empty one too, are stored as they were, in pieces of any size."""
        for number, length in enumerate((0, 1, 2, 3, 4, 3000, 3001, 3002)):
            for size in (None, 1, 7):
                self.assertEqual(self.send(made(f"{number}-{size}", DATA[:length]), size)["size"], length)
                self.assert_stored(f"{number}-{size}", DATA[:length])

    def test_name_behind(self) -> None:
        """The octets may come before their name."""
        whole = json.dumps({"filedata": b64encode(DATA).decode(), "filename": "late"}).encode()
        for size in (None, 997):
            self.assertEqual(self.send(whole, size)["sha256"], hashlib.sha256(DATA).hexdigest())
            self.assert_stored("late", DATA)
            self.assertEqual([one for one in self.names() if not one.startswith(".")], ["late"])
            (self.root / "late").unlink()
        answer = self.send(whole.replace(b'"late"', b'"../late"'))
        self.assertIn("error", answer)
        self.assertFalse((self.root.parent / "late").exists())
        self.assertEqual([one for one in self.names() if not one.startswith(".netsvc")], [])

    def test_waits_for_the_answer(self) -> None:
        """A peer that only waits behind its object is answered after a moment; then the connection ends."""
        protocol, transport = self.connected()
        protocol.dataReceived(made())
        self.assertEqual(transport.value(), b"")
        self.runtime.reactor.advance(SETTLE)
        self.assertEqual(self.answer(transport)["stored"], "a.bin")
        self.assertTrue(transport.disconnecting)

    def test_trailing(self) -> None:
        """Anything but blanks behind the object, in the same piece or the next, and nothing is stored."""
        for more in (b"x", made("b"), b"\0"):
            for apart in (False, True):
                protocol, transport = self.connected()
                if apart:
                    protocol.dataReceived(made() + b"\r\n")
                    protocol.dataReceived(more)
                else:
                    protocol.dataReceived(made() + more)
                self.runtime.reactor.advance(SETTLE)
                self.assertIn("more behind", self.answer(transport)["error"])
                protocol.connectionLost(Failure(ConnectionDone()))
                self.assert_nothing()

    def test_closes_at_once(self) -> None:
        """A peer that sends everything and closes fully has its file stored, though nobody hears the answer."""
        protocol, _ = self.connected()
        protocol.dataReceived(made())
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assert_stored("a.bin", DATA)
        self.assertEqual(self.outcomes(), {"stored": 1})

    def test_file_abuse_1_rst(self) -> None:
        """A reset before the closing brace stores nothing and leaves nothing."""
        for cut in (5, len(made()) // 2, len(made()) - 1):
            protocol, _ = self.connected()
            protocol.dataReceived(made()[:cut])
            protocol.connectionLost(Failure(ConnectionLost()))
            self.assert_nothing()
        self.assertEqual(self.outcomes(), {"cut": 3})

    def test_file_abuse_2_fin(self) -> None:
        """An end before the closing brace stores nothing, and the peer that still listens is told so."""
        for cut in (0, 5, len(made()) // 2, len(made()) - 1):
            self.assertIn("ended before", self.send(made()[:cut])["error"])
            self.assert_nothing()

    def test_file_abuse_12_replaced_while_read(self) -> None:
        """With replace = yes the last one wins, and a reader keeps what he opened; without it the name is taken."""
        self.send(made())
        self.assertEqual(self.send(made(data=b"new")), {"error": "it exists"})
        self.assert_stored("a.bin", DATA)
        self.terms = Terms(access=Access.FULL)
        with (self.root / "a.bin").open("rb") as reader:
            self.assertEqual(self.send(made(data=b"new"))["size"], 3)
            self.assertEqual(reader.read(), DATA)
        self.assert_stored("a.bin", b"new")

    def test_file_abuse_15_16_names_that_leave(self) -> None:
        """A name with a separator, an absolute one, dots, and the store's own are refused, however they are escaped."""
        for name in ("../x", "/etc/x", "..", ".", "a/b", "a\\b", "..\\x", ".netsvc", ".netsvc-1.part", ".hidden", ""):
            for text in (json.dumps(name), '"' + "".join(f"\\u{ord(one):04x}" for one in name) + '"'):
                whole = made().replace(b'"a.bin"', text.encode())
                self.assertIn("error", self.send(whole), name)
                self.assert_nothing()

    def test_file_abuse_19_20_what_is_there_already(self) -> None:
        """A FIFO, a directory and a link of that name are not written to, and nothing waits for them."""
        outside = self.root.with_name(self.root.name + "-outside")
        outside.write_bytes(b"outside")
        self.addCleanup(outside.unlink)
        os.mkfifo(self.root / "fifo")
        (self.root / "directory").mkdir()
        (self.root / "link").symlink_to(outside)
        (self.root / "magic").symlink_to("/proc/self/fd/1")
        before = self.names()
        for terms in (Terms(access=Access.UPLOAD_ONLY), Terms()):
            self.terms = terms
            for name in ("fifo", "directory"):
                self.assertIn("error", self.send(made(name)), name)
                self.assertEqual(self.names(), before)
        self.terms = Terms(access=Access.UPLOAD_ONLY)
        for name in ("link", "magic"):
            self.assertIn("error", self.send(made(name)), name)
        self.assertEqual(outside.read_bytes(), b"outside")

    def test_file_abuse_21_controls(self) -> None:
        """NUL, newline, ESC and bidirectional controls in a name are refused; the log has the name for escaping."""
        for name in ("a\0b", "a\nb", "a\x1b[2Jb", "exe.\u202etxt", "a\u2028b", "a\x7f"):
            self.assertIn("error", self.send(made(name)), repr(name))
        self.assert_nothing()

    def test_file_abuse_22_twins(self) -> None:
        """A name in NFD is stored in NFC; its twin is then the same name."""
        self.assertEqual(self.send(made("e\u0301"))["stored"], "\u00e9")
        self.assert_stored("\u00e9", DATA)
        self.assertIn("error", self.send(made("\u00e9")))

    def test_file_abuse_23_long_names(self) -> None:
        """A name of 255 octets is taken, one of 256 is refused, and an endless one before it is in memory."""
        self.assertEqual(self.send(made("n" * 255))["stored"], "n" * 255)
        self.assertIn("error", self.send(made("n" * 256)))
        self.assertIn("error", self.send(made("é" * 128)))
        protocol, transport = self.connected()
        protocol.dataReceived(b'{"filename": "' + b"n" * 5000)
        self.assertIn("too long", self.answer(transport)["error"])

    def test_file_abuse_24_invalid_utf8(self) -> None:
        """Octets that are no UTF-8 and half a pair of surrogates are no name."""
        for text in (b'"\xff"', b'"\\ud83d"', b'"\xed\xa0\xbd"'):
            self.assertIn("error", self.send(made().replace(b'"a.bin"', text)))
        self.assert_nothing()

    def test_file_abuse_30_longer_than_allowed(self) -> None:
        """A file over max_file_size or the quota is refused where it passes that, and leaves nothing."""
        for terms in (Terms(max_file_size=99_999), Terms(quota=99_999), Terms(keep_free=1 << 60)):
            self.terms = terms
            self.assertIn("error", self.send(made(), 4096))
            self.assert_nothing()
        self.terms = Terms(max_file_size=100_000, quota=100_000)
        self.assertIn("stored", self.send(made(), 4096))

    def test_file_abuse_6_disk_full(self) -> None:
        """A disk that is full in the middle is told to the peer; nothing stays."""
        real = os.pwritev

        def full(descriptor: int, views: Any, offset: int) -> int:
            if offset >= 50_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, views, offset)

        self.patch(os, "pwritev", full)
        self.assertEqual(self.send(made(), 4096), {"error": "no space left"})
        self.assert_nothing()

    def test_fault_of_ours(self) -> None:
        """An error that nobody foresaw is logged with its traceback; the peer learns nothing of it."""
        self.patch(Inbox, "begin", lambda self, name: 1 // 0)
        self.assertEqual(self.send(made()), {"error": "a fault of the server"})
        self.assertEqual(self.events[0]["log_failure"].type, ZeroDivisionError)
        self.assertEqual(self.outcomes(), {"failed": 1})

    def test_refused_once(self) -> None:
        """What comes after a refusal is ignored: one answer, one line in the log."""
        protocol, transport = self.connected()
        protocol.dataReceived(b"nonsense")
        protocol.dataReceived(b"nonsense" * 1000)
        protocol.readConnectionLost()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertIn("{ was expected", self.answer(transport)["error"])
        self.assertEqual([one["event"] for one in self.events], ["filetransfer-not-stored"])


class SlowDiskTests(ReceiverCase):
    """While a thread works."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[tuple[Callable[[], Any], Deferred[Any]]] = []

        def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            self.calls.append((lambda: function(*arguments), Deferred()))
            return self.calls[-1][1]

        self.patch(self.runtime, "in_disk_thread", in_thread)

    def work(self) -> None:
        """Let the thread do all that it has."""
        while self.calls:
            function, done = self.calls.pop(0)
            try:
                done.callback(function())
            except Exception:
                done.errback(Failure())

    def test_file_abuse_33_memory(self) -> None:
        """While the disk is slow the peer has to wait: what is held stays under 2 MiB, and nothing is lost."""
        protocol, transport = self.connected()
        data = os.urandom(6 << 20)
        whole = made(data=data)
        at = 0
        while at < len(whole):
            sent = 0
            while transport.producerState == "producing" and at < len(whole):
                protocol.dataReceived(whole[at : at + 65536])
                at += 65536
                sent += 65536
            self.assertLess(sent, 2 << 20)
            self.work()
        protocol.readConnectionLost()
        self.work()
        self.assertEqual(self.answer(transport)["size"], len(data))
        self.assert_stored("a.bin", data)

    def test_leaves_while_it_begins(self) -> None:
        """A peer that leaves while its file is begun leaves nothing; one that had sent all has its file stored."""
        protocol, _ = self.connected()
        protocol.dataReceived(made()[:-1])
        protocol.connectionLost(Failure(ConnectionLost()))
        self.work()
        self.assert_nothing()
        protocol, _ = self.connected()
        protocol.dataReceived(made())
        protocol.connectionLost(Failure(ConnectionDone()))
        self.work()
        self.assert_stored("a.bin", DATA)

    def test_leaves_while_it_moves(self) -> None:
        """The same where the octets came before the name, at every step of the thread."""
        whole = json.dumps({"filedata": b64encode(DATA).decode(), "filename": "late"}).encode()
        for steps in range(5):
            protocol, _ = self.connected()
            protocol.dataReceived(whole[:-1])
            for _ in range(steps):
                if self.calls:
                    function, done = self.calls.pop(0)
                    done.callback(function())
            protocol.connectionLost(Failure(ConnectionLost()))
            self.work()
            self.assert_nothing()
        self.assertEqual([one["event"] for one in self.events], ["filetransfer-not-stored"] * 5)


class PlainTransportTests(ReceiverCase):
    """On a real TCP connection."""

    def setUp(self) -> None:
        super().setUp()
        self.runtime.reactor = HandReactor()  # type: ignore[assignment]

    @property
    def reactor(self) -> HandReactor:
        return self.runtime.reactor  # type: ignore[return-value]

    def peer(self) -> socket.socket:
        protocol = self.protocol()
        peer = connect(protocol, self.reactor)
        self.addCleanup(peer.close)
        self.addCleanup(protocol.transport.socket.close)
        return peer

    def push(self, peer: socket.socket, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[peer.send(view) :]
            except BlockingIOError:
                self.reactor.turn()

    def test_half_close(self) -> None:
        """The tutorial's client that half-closes reads the answer to its end; no timer and no socket is left."""
        peer = self.peer()
        self.push(peer, made())
        peer.shutdown(socket.SHUT_WR)
        got, ended = read(peer, self.reactor)
        self.assertTrue(ended)
        self.assertEqual(json.loads(got)["size"], len(DATA))
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), (set(), []))

    def test_refused_while_it_sends(self) -> None:
        """A peer that is refused in the middle can read why, although it has sent more than was read."""
        peer = self.peer()
        self.push(peer, b'{"filename": "../x", "filedata": "')
        for _ in range(5):
            self.reactor.turn()
        self.push(peer, b"QUJD" * 500_000)
        got, ended = read(peer, self.reactor)
        self.assertTrue(ended)
        self.assertIn("error", json.loads(got))
        self.reactor.advance(LINGER)
        self.assertEqual(self.reactor.readers, set())

    def test_file_abuse_1_rst(self) -> None:
        """A reset on a real connection before the brace stores nothing."""
        peer = self.peer()
        self.push(peer, made()[:-1])
        for _ in range(5):
            self.reactor.turn()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        for _ in range(5):
            self.reactor.turn()
        self.assert_nothing()
        self.assertEqual(self.outcomes(), {"cut": 1})
