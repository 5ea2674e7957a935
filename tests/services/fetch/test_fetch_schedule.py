"""Facts about times, records, the manifest, and the socket's protocol."""

from __future__ import annotations

import itertools
import json
import tempfile
from datetime import UTC, datetime, time
from pathlib import Path
from shutil import rmtree
from typing import Any, get_args
from zoneinfo import ZoneInfo

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.net.json_lines import Refusal, encode
from netsvc.net.unix_peer import UnixPeer
from netsvc.services.fetch.book import Book, Record, Status
from netsvc.services.fetch.manifest import LATEST, QUIET, Manifest, line_of, record_of
from netsvc.services.fetch.orders import key_of
from netsvc.services.fetch.protocol import SocketFactory
from netsvc.services.fetch.schedule import Schedule, Times
from netsvc.services.fetch.wire import MAX_LINE, Request, parse_request

HOUR = 3600.0
LINES = st.binary(max_size=60) | st.dictionaries(
    st.sampled_from(["v", "command", "id", "limit", "x"]), st.sampled_from([1, 0, True, "run", "show", "0a", None])
).map(encode)


def moment(text: str, zone: str = "UTC") -> float:
    """A moment in seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


class TimesTests(SynchronousTestCase):
    def test_once(self) -> None:
        """Without times a list is run once; another list is run again; one that waits to be told never is."""
        times = Times()
        self.assertEqual(times.due(last=None, same=False, since=5.0, now=5.0), 5.0)
        self.assertIsNone(times.due(last=1.0, same=True, since=5.0, now=5.0))
        self.assertEqual(times.due(last=1.0, same=False, since=5.0, now=5.0), 5.0)
        self.assertIsNone(Times(once=False).due(last=None, same=False, since=5.0, now=5.0))

    def test_every(self) -> None:
        """From the beginning of one run to the next, over restarts and clocks set back; at once when there was none."""
        times = Times(every=HOUR)
        self.assertEqual(times.due(last=None, same=False, since=5.0, now=5.0), 5.0)
        self.assertEqual(times.due(last=100.0, same=True, since=2000.0, now=2000.0), 100.0 + HOUR)
        self.assertEqual(times.due(last=9e9, same=True, since=2000.0, now=2000.0), 2000.0 + HOUR)

    def test_at(self) -> None:
        """At times of the day; over the change to summer time at the time that there is."""
        times = Times(at=(time(3), time(15, 30)), zone=UTC)
        last = moment("2026-11-21T03:00")
        self.assertEqual(times.due(last=last, same=True, since=0.0, now=9e9), moment("2026-11-21T15:30"))
        self.assertEqual(
            times.due(last=None, same=True, since=moment("2026-11-21T16:00"), now=9e9), moment("2026-11-22T03:00")
        )
        berlin = Times(at=(time(2, 30),), zone=ZoneInfo("Europe/Berlin"))
        before = moment("2026-03-29T00:00", "Europe/Berlin")
        self.assertEqual(
            berlin.due(last=before, same=True, since=0.0, now=9e9), moment("2026-03-29T03:30", "Europe/Berlin")
        )


class ScheduleTests(SynchronousTestCase):
    def begin(self, times: Times, last: float | None = None) -> None:
        self.clock, self.last, self.ordered = Clock(), last, list[float]()
        self.can = True

        def order() -> Deferred[bool]:
            if self.can:
                self.last = self.clock.seconds()
                self.ordered.append(self.last)
            return succeed(self.can)

        self.schedule = Schedule(
            times, reactor=self.clock, now=self.clock.seconds, last=lambda: (self.last, True), order=order
        )
        self.schedule.startService()
        self.clock.advance(0)

    def test_every(self) -> None:
        """Every hour from the start, and no more once it is stopped."""
        self.begin(Times(every=HOUR))
        self.clock.pump([30.0] * 240)
        self.assertEqual(self.ordered, [0.0, HOUR, 2 * HOUR])
        self.schedule.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_again(self) -> None:
        """What cannot be ordered is ordered some seconds later."""
        self.begin(Times(every=HOUR), last=-1e9)
        self.can = False
        self.last = -1e9
        self.clock.pump([60.0] * 60)
        self.can = True
        self.clock.advance(5)
        self.assertEqual(len(self.ordered), 2)


class BookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, self.directory)
        self.path = self.directory / "records"

    def book(self) -> Book:
        book = Book(self.path, execute)
        book.open()
        self.addCleanup(book.close)
        return book

    def test_there_and_back(self) -> None:
        """The last word on each URL is there after a restart, and when the list was run."""
        book = self.book()
        for record in (
            Record(key="1", url="a", name="x"),
            Record(key="2", url="b"),
            Record(key="1", url="a", name="y"),
        ):
            self.successResultOf(book.put(record))
        self.successResultOf(book.ran(12.5, "this"))
        again = self.book()
        self.assertEqual([one.name for one in again.records()], ["y", ""])
        self.assertEqual((again.owner("y"), again.owner("x")), ("1", None))
        self.assertEqual((again.last_run, again.last_list), (12.5, "this"))

    def test_torn(self) -> None:
        """A line that a crash cut is passed over, at any octet, and what is written behind it is read."""
        book = self.book()
        self.successResultOf(book.put(Record(key="1", url="a")))
        whole = self.path.read_bytes()
        self.successResultOf(book.put(Record(key="2", url="b")))
        both = self.path.read_bytes()
        for end in range(len(whole), len(both)):
            self.path.write_bytes(both[:end])
            torn = self.book()
            self.assertIsNotNone(torn.get("1"))
            self.successResultOf(torn.put(Record(key="3", url="c")))
            self.assertLessEqual({"1", "3"}, {one.key for one in self.book().records()})

    def test_history_goes(self) -> None:
        """A file that is mostly history is written anew when it is opened."""
        book = self.book()
        for number in range(1200):
            book.put(Record(key="1", url="a", size=number))
        self.assertEqual(self.book().records()[0].size, 1199)
        self.assertEqual(len(self.path.read_bytes().splitlines()), 1)

    def test_together(self) -> None:
        """What comes while the disk writes is written together, behind it; a fault of the disk is told to all of it."""
        calls: list[Any] = []
        done: list[Deferred[Any]] = []

        def in_thread(function: Any, *args: Any) -> Deferred[Any]:
            calls.append((function, args))
            done.append(Deferred())
            return done[-1]

        book = Book(self.path, in_thread)
        book.open()
        self.addCleanup(book.close)
        first, second, third = (book.put(Record(key=key, url=key)) for key in "123")
        self.assertEqual(len(calls), 1)
        done[0].callback(None)
        self.successResultOf(first)
        self.assertEqual(len(calls), 2)
        done[1].errback(OSError(28, "full"))
        self.failureResultOf(second, OSError)
        self.failureResultOf(third, OSError)


class ManifestTests(SynchronousTestCase):
    def test_when(self) -> None:
        """It is written when it has been quiet, or after half a minute, and is whole; a fault of the disk is logged."""
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, directory)
        clock, records = Clock(), [Record(key="1", url="http://a/ü", name="ü")]
        manifest = Manifest(FileStore(directory, Terms()), "m.jsonl", "fetch", lambda: records, clock, execute)
        manifest.changed()
        clock.advance(QUIET - 0.1)
        manifest.changed()
        clock.advance(QUIET - 0.1)
        self.assertFalse((directory / "m.jsonl").exists())
        for _ in range(int(LATEST / (QUIET / 2))):
            manifest.changed()
            clock.advance(QUIET / 2)
        (line,) = (directory / "m.jsonl").read_text().splitlines()
        self.assertEqual(json.loads(line)["name"], "ü")
        self.assertIn("ü", line)
        self.successResultOf(manifest.flush())
        (directory / "m.jsonl").unlink()
        (directory / "m.jsonl").mkdir()
        manifest.changed()
        self.successResultOf(manifest.flush())

    @given(
        st.builds(
            Record,
            key=st.just(""),
            url=st.text(),
            name=st.text(),
            size=st.integers(0),
            sha256=st.text(min_size=1),
            etag=st.none() | st.text(),
            last_modified=st.none() | st.text(),
            fetched=st.integers(0, 1 << 35).map(float),
            status=st.sampled_from(get_args(Status)),
            reason=st.text(),
        )
    )
    def test_there_and_back(self, record: Record) -> None:
        """What a line says of a file is what was written."""
        self.assertEqual(record_of(line_of(record)), evolve(record, key=key_of(record.url)))

    @given(
        st.text()
        | st.dictionaries(st.sampled_from(["url", "name", "size", "x"]), st.text() | st.none()).map(json.dumps)
    )
    def test_any_line(self, line: str) -> None:
        """What is no line of a manifest is nothing, whatever it is."""
        self.assertIsNone(record_of(line))

    def test_wrong_types(self) -> None:
        """A line with a value of another type is nothing."""
        whole = json.loads(line_of(Record(key="", url="u", name="n", sha256="0")))
        for name, value in itertools.product(whole, (["x"], {"x": 1}, 1.5)):
            self.assertIsNone(record_of(json.dumps({**whole, name: value})), name)

    def test_none(self) -> None:
        """Without a name there is none."""
        clock: Any = Clock()
        store: Any = None
        manifest = Manifest(store, None, "fetch", list, clock, execute)
        manifest.changed()
        self.successResultOf(manifest.flush())
        self.assertEqual(clock.getDelayedCalls(), [])


class SocketTests(SynchronousTestCase):
    def connect(self, answer: Any = None) -> tuple[Any, StringTransport]:
        async def usual(request: Request, peer: UnixPeer) -> dict[str, Any]:
            return {"ok": True, "command": request.command}

        self.clock = Clock()
        self.factory = SocketFactory(answer or usual, self.clock, lambda _: UnixPeer(0))
        protocol, transport = self.factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def test_requests(self) -> None:
        """Requests are answered in turn, whole or octet by octet, also those behind a half-close."""
        data = encode({"v": 1, "command": "run"}) + encode({"v": 1, "command": "audit"})
        for size in (len(data), 1):
            protocol, transport = self.connect()
            for at in range(0, len(data), size):
                protocol.dataReceived(data[at : at + size])
                self.clock.advance(0)
            protocol.readConnectionLost()
            self.clock.advance(0)
            found = [json.loads(line)["command"] for line in transport.value().splitlines()]
            self.assertEqual((found, transport.disconnecting), (["run", "audit"], True))

    def test_malformed(self) -> None:
        """What is against the form is answered and ends the connection; so is a line without end."""
        for data in (b"x\n", b"x" * (MAX_LINE + 1)):
            protocol, transport = self.connect()
            protocol.dataReceived(data)
            self.assertEqual(json.loads(transport.value())["code"], "5.5.2")
            self.assertTrue(transport.disconnecting)

    def test_drain(self) -> None:
        """A drain ends an idle connection at once, a busy one behind its answer, and takes nothing more."""
        held: Deferred[dict[str, Any]] = Deferred()

        async def answer(request: Request, peer: UnixPeer) -> dict[str, Any]:
            return await held

        protocol, transport = self.connect(answer)
        protocol.dataReceived(encode({"v": 1, "command": "run"}) * 2)
        self.factory.drain()
        self.assertFalse(transport.disconnecting)
        held.callback({"ok": True})
        self.clock.advance(0)
        self.assertEqual(len(transport.value().splitlines()), 1)
        self.assertTrue(transport.disconnecting)

    def test_deadline(self) -> None:
        """A request that does not come whole within 30 s is answered so, and ends its connection; one at rest stays."""
        protocol, transport = self.connect()
        self.clock.advance(1000)
        protocol.dataReceived(encode({"v": 1, "command": "run"})[:-1])
        self.clock.advance(29)
        self.assertEqual((transport.value(), transport.disconnecting), (b"", False))
        self.clock.advance(1)
        self.assertEqual((json.loads(transport.value())["code"], transport.disconnecting), ("4.4.2", True))

    def test_drain_half_way(self) -> None:
        """A drain does not wait for the rest of a request."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"{")
        self.factory.drain()
        self.assertTrue(transport.disconnecting)

    def test_slow_reader(self) -> None:
        """A peer that does not read is answered no further request."""
        protocol, transport = self.connect()
        protocol.pauseProducing()
        protocol.dataReceived(encode({"v": 1, "command": "run"}))
        self.assertEqual(transport.value(), b"")
        protocol.resumeProducing()
        self.assertNotEqual(transport.value(), b"")

    @given(LINES)
    def test_any_line(self, line: bytes) -> None:
        """Any line is a request or refused."""
        try:
            parse_request(line)
        except Refusal as refusal:
            self.assertEqual(refusal.code, "5.5.2")
