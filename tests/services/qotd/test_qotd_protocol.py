"""Facts about qotd and its book of quotes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.errors import StartError
from netsvc.interfaces import IDatagramResponder
from netsvc.services.qotd import KIND
from netsvc.services.qotd.book import LARGEST_FILE, Book
from netsvc.services.qotd.wire import PROVERBS, parse
from tests.fakes import FakeRuntime
from tests.net.turns import Loopback
from tests.services.small import PEER, connected, made


class QotdTests(SynchronousTestCase):
    def test_stream(self) -> None:
        """One quote, then the end; input is ignored."""
        stream, _, _ = made(KIND)
        protocol, transport = connected(stream)
        protocol.dataReceived(b"trailing")
        self.assertIn(transport.value(), parse(PROVERBS).texts)
        self.assertTrue(transport.disconnecting)

    def test_socket(self) -> None:
        """On a real socket the quote and the end are there at once."""
        stream, _, _ = made(KIND)
        loopback = Loopback(stream.buildProtocol(None))
        self.addCleanup(loopback.close)
        self.assertIn(loopback.read(), parse(PROVERBS).texts)
        self.assertTrue(loopback.transport.disconnected)

    def test_datagram(self) -> None:
        """A datagram is answered with a quote no longer than itself and the limit, or with silence."""
        _, datagram, _ = made(KIND)
        self.assertTrue(verifyObject(IDatagramResponder, datagram))
        shortest, *_, longest = parse(PROVERBS).texts
        for size in (0, 1, len(shortest) - 1):
            self.assertIsNone(datagram.answer(bytes(size), PEER, size))
        self.assertIsNone(datagram.answer(b"", PEER, 64))
        self.assertEqual(datagram.answer(bytes(len(shortest)), PEER, 512), shortest)
        for _ in range(100):
            self.assertLessEqual(len(datagram.answer(bytes(40), PEER, 40)), 40)
        told = {datagram.answer(bytes(512), PEER, 512) for _ in range(1000)}
        self.assertIn(longest, told)
        self.assertEqual(told, set(parse(PROVERBS).texts))

    def test_file(self) -> None:
        """The quotes of the file are told."""
        path = Path(self.mktemp())
        path.write_text("Ours.\n")
        stream, _, _ = made(KIND, file=str(path.absolute()))
        self.assertEqual(connected(stream)[1].value(), b"Ours.\r\n")

    def test_unusable_file(self) -> None:
        """A file that is missing, a directory, a FIFO, too large or without quotes ends the start in a clear line."""
        root = Path(self.mktemp())
        root.mkdir()
        (root / "empty").write_text("\n")
        os.mkfifo(root / "fifo")
        with (root / "large").open("wb") as large:
            large.truncate(LARGEST_FILE + 1)
        for name, why in (
            ("missing", "No such file"),
            (".", "directory"),
            ("fifo", "regular"),
            ("large", "larger than 16 MiB"),
            ("empty", "no quote"),
        ):
            with self.assertRaisesRegex(StartError, why):
                made(KIND, FakeRuntime(), file=str((root / name).absolute()))


class BookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.jobs: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """A thread that waits until the test lets it run."""
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, lambda: function(*args)))
        return done

    def run_jobs(self) -> None:
        for done, job in self.jobs:
            try:
                done.callback(job())
            except Exception:
                done.errback()
        self.jobs.clear()

    def book(self, text: str) -> Book:
        self.path.write_text(text)
        return Book(self.path, self.clock.seconds, self.in_thread, lambda count: count - 1)

    def logged(self, name: str) -> list[LogEvent]:
        return [event for event in self.events if event.get("event") == name]

    def test_changed(self) -> None:
        """A file that changed is read again in a thread; until it was, the old quotes are told."""
        book = self.book("Old.\n")
        self.path.write_text("New and longer.\n")
        self.assertEqual(book.quote(511), b"Old.\r\n")
        self.assertEqual(self.jobs, [])  # it was looked at within the last second
        self.clock.advance(1)
        self.assertEqual(book.quote(511), b"Old.\r\n")
        self.clock.advance(1)
        self.assertEqual(book.quote(511), b"Old.\r\n")
        self.assertEqual(len(self.jobs), 1)  # one reads it already
        self.run_jobs()
        self.assertEqual(book.quote(511), b"New and longer.\r\n")

    def test_unchanged(self) -> None:
        """A file that did not change is not read again."""
        book = self.book("Old.\n")
        for _ in range(5):
            self.clock.advance(1)
            book.quote(511)
        self.assertEqual(self.jobs, [])

    def test_becomes_unusable(self) -> None:
        """A file that vanishes is logged once and its quotes stay; when it is back it is read."""
        book = self.book("Old.\n")
        self.path.unlink()
        for _ in range(3):
            self.clock.advance(1)
            self.assertEqual(book.quote(511), b"Old.\r\n")
            self.run_jobs()
        (event,) = self.logged("quotes-unreadable")
        self.assertEqual(event["reason"], "No such file or directory")
        self.path.write_text("Back.\n")
        self.clock.advance(1)
        book.quote(511)
        self.run_jobs()
        self.assertEqual(book.quote(511), b"Back.\r\n")

    def test_fault_of_ours(self) -> None:
        """An error that is no fault of the file is logged as one, and the next change is read again."""
        book = self.book("Old.\n")
        self.path.write_text("Newer.\n")
        self.clock.advance(1)
        book.quote(511)
        ((done, _),) = self.jobs
        self.jobs.clear()
        done.errback(RuntimeError("the thread pool is gone"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.path.write_text("Newest of all.\n")
        self.clock.advance(1)
        book.quote(511)
        self.run_jobs()
        self.assertEqual(book.quote(511), b"Newest of all.\r\n")

    def test_too_long(self) -> None:
        """Quotes of 512 characters and more are left out with a log line that counts them."""
        book = self.book(f"Short.\n\n{'x' * 512}\n\n{'y' * 600}\n")
        self.assertEqual(book.quote(511), b"Short.\r\n")
        (event,) = self.logged("quotes-too-long")
        self.assertEqual(event["count"], 2)
