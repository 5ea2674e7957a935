"""The access log: what a line says, that no peer can forge one, and that no disk stops the service."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.errors import BadValue, StartError
from netsvc.services.http.access_log import file as access_log_file
from netsvc.services.http.access_log import lines as access_log_lines
from netsvc.services.http.access_log.file import AccessLogFile
from netsvc.services.http.access_log.lines import Record, apache_time, escaped, line_format, rfc3339
from netsvc.services.http.access_log.log import EventLog, FileLog, access_log
from netsvc.services.http.access_log.settings import AccessLogSettings, yes_no_or_file
from netsvc.services.http.exchange import RequestHead
from tests.fakes import FakeMetrics
from tests.services.http.http_rig import NOW, Rig, hello, request, wait, write

# Apache's own description of the format, as a reader of logs has it.
COMBINED = re.compile(
    r'(?P<host>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" '
    r'(?P<status>\d{3}) (?P<octets>\d+|-) "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"'
)


def head(target: bytes = b"/a?b", **fields: bytes) -> RequestHead:
    """The head of a GET."""
    headers = tuple((name.replace("_", "-").encode(), value) for name, value in fields.items())
    return RequestHead(
        method="GET", target=target, path=target, query=b"", version=(1, 1), headers=headers, host="example.com"
    )


def record(**fields: Any) -> Record:
    """A record of a request that went well."""
    return Record(**{"when": NOW + 0.25, "peer": "192.0.2.7", "status": 200, "octets": 12, "head": head(), **fields})


class LineTests(SynchronousTestCase):
    def setUp(self) -> None:
        before = os.environ.get("TZ")
        os.environ["TZ"] = "Europe/Berlin"
        time.tzset()
        self.addCleanup(self.back, before)

    def back(self, zone: str | None) -> None:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
        time.tzset()

    def test_static_access_log_combined(self) -> None:
        """A combined line is Apache's, with the user; an aborted request is a 499."""
        line = line_format("combined")
        self.assertEqual(
            line(record(user="alice", head=head(referer=b"http://x/", user_agent=b"curl/8"))),
            '192.0.2.7 - alice [15/Jan/2027:09:00:00 +0100] "GET /a?b HTTP/1.1" 200 12 "http://x/" "curl/8"',
        )
        self.assertEqual(
            line(record(octets=0, aborted=True)),
            '192.0.2.7 - - [15/Jan/2027:09:00:00 +0100] "GET /a?b HTTP/1.1" 499 - "-" "-"',
        )
        self.assertEqual(
            line(Record(when=NOW, peer="", status=400, reason="x")),
            '- - - [15/Jan/2027:09:00:00 +0100] "-" 400 - "-" "-"',
        )

    def test_static_access_log_text(self) -> None:
        """A text line is a combined one with the real status, then request id, seconds, and aborted."""
        line = line_format("text")
        start = '192.0.2.7 - - [15/Jan/2027:09:00:00 +0100] "GET /a?b HTTP/1.1" 200 12 "-" "-" '
        self.assertEqual(line(record()), start + "- -")
        self.assertEqual(line(record(request_id="ab12", seconds=0.5)), start + "ab12 0.500000")
        self.assertEqual(line(record(request_id="ab12", seconds=0.5, aborted=True)), start + "ab12 0.500000 aborted")

    def test_static_access_log_json(self) -> None:
        """A JSON line is one ASCII object with all that is known, and null for what is not."""
        line = line_format("json")
        found = line(
            record(
                port=40000, user="caf\u00e9", request_id="ab12", seconds=0.1234567, secure=True,
                head=head(b"/\x7f", referer=b"\xff\xe9\x1b", user_agent="\u202e".encode()),
            )
        )  # fmt: skip
        self.assertTrue(found.isascii() and found.isprintable(), found)
        self.assertEqual(
            json.loads(found),
            {
                "time": "2027-01-15T08:00:00.250Z",
                "request_id": "ab12",
                "peer": "192.0.2.7",
                "port": 40000,
                "user": "caf\u00e9",
                "method": "GET",
                "target": "/\x7f",
                "host": "example.com",
                "version": "1.1",
                "status": 200,
                "octets": 12,
                "seconds": 0.123457,
                "referer": "\\xff\\xe9\x1b",
                "user_agent": "\u202e",
                "tls": True,
                "aborted": False,
            },
        )
        bad = json.loads(line(Record(when=NOW, peer="", status=400, reason="malformed", request_id="x")))
        self.assertEqual((bad["method"], bad["target"], bad["reason"]), (None, None, "malformed"))

    def test_static_access_log_escapes(self) -> None:
        """Quotes, backslashes, controls and octets beyond ASCII are spelled out as by Apache; a user has no space."""
        self.assertEqual(
            escaped(b'a"b\\c\n\r\t\v\b\x00\x1b\x7f\xe9~ !'), 'a\\"b\\\\c\\n\\r\\t\\v\\b\\x00\\x1b\\x7f\\xe9~ !'
        )
        line = line_format("combined")(record(user='a b"\n\u00e9'))
        self.assertIn(' - a\\x20b\\"\\n\\xc3\\xa9 [', line)

    def test_static_access_log_times(self) -> None:
        """Local time with its offset, whole minutes on both sides of UTC; RFC 3339 is cut, not rounded up."""
        os.environ["TZ"] = "America/St_Johns"
        time.tzset()
        self.assertEqual(apache_time(NOW), "[15/Jan/2027:04:30:00 -0330]")
        self.assertEqual(rfc3339(0.9999), "1970-01-01T00:00:00.999Z")

    @given(st.lists(st.binary(max_size=30), min_size=4, max_size=4))
    @settings(derandomize=True, deadline=None, max_examples=300)
    def test_static_access_log_cannot_be_forged(self, parts: list[bytes]) -> None:
        """Whatever a peer sends: one line of visible ASCII with the right number of fields, and nothing shifted."""
        target, referer, agent, user = parts
        said = record(
            head=head(target, referer=referer, user_agent=agent), user=user.decode("utf-8", "surrogateescape")
        )
        for name in ("combined", "text"):
            line = line_format(name)(said)
            self.assertTrue(line.isascii() and line.isprintable())
            match = COMBINED.match(line)
            assert match is not None, line
            self.assertEqual(match["status"], "200")
            self.assertEqual(match["request"], f"GET {escaped(target)} HTTP/1.1")
            self.assertEqual(match["agent"], escaped(agent) or "-")
        line = line_format("json")(said)
        self.assertTrue(line.isascii() and line.isprintable())
        json.loads(line)

    def test_static_access_log_parts_are_remembered_within_bounds(self) -> None:
        """The parts of so many heads are kept as there are heads in memory."""
        line = line_format("combined")
        for at in range(access_log_lines._REMEMBERED + 5):
            self.assertIn(f"GET /{at} ", line(record(head=head(b"/%d" % at))))
        self.assertEqual(len(line._parts), access_log_lines._REMEMBERED)  # type: ignore[attr-defined]
        same = head(b"/same")
        self.assertEqual(line(record(head=same)), line(record(head=same)))


class Threads:
    """Runs work when told to, as a thread would; fails when told to."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append(lambda: maybeDeferred(function, *arguments).chainDeferred(done))
        return done

    def run(self) -> None:
        """Do what waits now."""
        work, self.work = self.work, []
        for one in work:
            one()


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.clock = MemoryReactorClock()
        self.metrics = FakeMetrics()
        self.threads = Threads()
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.file = AccessLogFile(
            self.path, clock=self.clock, in_thread=self.threads, metrics=self.metrics, service="http"
        )

    def open(self) -> None:
        self.file.open()
        self.addCleanup(self.close)

    def close(self) -> None:
        done = self.file.close()
        self.threads.run()
        self.threads.run()
        self.successResultOf(done)

    def second(self) -> None:
        self.clock.advance(1.0)
        self.threads.run()

    def logged(self) -> list[str]:
        return [one["event"] for one in self.events if str(one.get("event", "")).startswith("http-access-log")]

    def lost(self) -> float:
        return self.metrics.metrics["http_access_log_lost"].values.get((("service", "http"),), 0)

    def test_static_access_log_file(self) -> None:
        """Lines are written together, a second after the first; no timer runs while there are none."""
        self.open()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.file.add("one")
        self.file.add("two")
        self.assertEqual((self.path.read_text(), len(self.clock.getDelayedCalls())), ("", 1))
        self.second()
        self.assertEqual(self.path.read_text(), "one\ntwo\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_static_access_log_many(self) -> None:
        """Many lines are written at once, one write at a time; those that come meanwhile follow."""
        self.open()
        line = "x" * 1000
        for _ in range(150):
            self.file.add(line)
        self.assertEqual(len(self.threads.work), 1)
        self.threads.run()
        self.assertEqual(len(self.threads.work), 1)
        self.threads.run()
        self.file.add("last")
        self.second()
        self.assertEqual(self.path.read_text().count(line + "\n"), 150)
        self.assertTrue(self.path.read_text().endswith("last\n"))

    def test_static_access_log_moved_away(self) -> None:
        """A file that was moved away or removed is followed by a new one; nothing is lost, no signal is needed."""
        self.open()
        self.file.add("one")
        self.second()
        old = self.path.with_suffix(".1")
        self.file.add("two")
        self.path.rename(old)
        self.second()
        self.assertEqual((old.read_text(), self.path.read_text()), ("one\n", "two\n"))
        self.path.unlink()
        self.file.add("three")
        self.second()
        self.assertEqual(self.path.read_text(), "three\n")
        self.path.write_text("")  # as logrotate's copytruncate
        self.file.add("four")
        self.second()
        self.assertEqual(self.path.read_text(), "four\n")
        self.assertEqual(self.logged(), [])

    def test_static_access_log_cannot_be_opened_anew(self) -> None:
        """When the new file cannot be made, the old one goes on, and that is told once."""
        self.open()
        old = self.path.with_suffix(".1")
        self.path.rename(old)
        self.path.mkdir()
        for word in ("one", "two"):
            self.file.add(word)
            self.second()
        self.assertEqual((old.read_text(), self.logged()), ("one\ntwo\n", ["http-access-log-failed"]))
        self.path.rmdir()
        self.file.add("three")
        self.second()
        self.assertEqual(self.path.read_text(), "three\n")
        self.assertEqual(self.logged(), ["http-access-log-failed", "http-access-log-back"])
        self.assertEqual(self.lost(), 0)
        with mock.patch("os.stat", side_effect=PermissionError(13, "Permission denied")):
            self.file.add("four")
            self.second()
        self.assertEqual(self.path.read_text(), "three\nfour\n")

    def test_static_access_log_disk_full(self) -> None:
        """Lines that a full disk does not take are counted, and that is told once; a torn line is ended."""
        self.open()
        real = os.write

        def full(descriptor: int, octets: Any) -> int:
            if len(octets) > 3:
                return real(descriptor, bytes(octets[:3]))
            raise OSError(28, "No space left on device")

        self.file.add("first")
        self.second()
        with mock.patch("os.write", full):
            for _ in range(2):
                self.file.add("ab")
                self.file.add("c")
                self.second()
        self.assertEqual((self.lost(), self.logged()), (4, ["http-access-log-failed"]))
        self.file.add("after")
        self.second()
        self.assertEqual(self.path.read_text(), "first\nab\n\nab\nafter\n")
        self.assertEqual(self.logged(), ["http-access-log-failed", "http-access-log-back"])

    def test_static_access_log_disk_hangs(self) -> None:
        """While a write hangs memory is bounded: further lines are lost and counted."""
        self.patch(access_log_file, "MOST", 100)
        self.open()
        self.file.add("x" * 10)
        self.clock.advance(1.0)
        for _ in range(20):
            self.file.add("y" * 10)
        self.assertEqual((self.lost(), self.logged()), (9, ["http-access-log-failed"]))
        self.threads.run()
        self.second()
        self.assertEqual(self.path.read_text().count("\n"), 12)

    def test_static_access_log_end(self) -> None:
        """At the end what is left is written, also behind a write that is under way, and the file is closed."""
        self.file.open()
        self.file.add("one")
        self.clock.advance(1.0)
        self.file.add("two")
        done = self.file.close()
        self.assertNoResult(done)
        self.threads.run()
        self.threads.run()
        self.successResultOf(done)
        self.assertEqual(self.path.read_text(), "one\ntwo\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.file.close())

    def test_static_access_log_start(self) -> None:
        """What is no regular file ends the start with a clear line."""
        self.path.mkdir()
        with self.assertRaises(StartError) as caught:
            self.file.open()
        self.assertIn(f"cannot keep the access log in {str(self.path)!r}", str(caught.exception))
        self.successResultOf(self.file.close())


class ServiceTests(SynchronousTestCase):
    """Through the whole of a connection."""

    def lines(self, rig: Rig) -> list[dict[str, Any]]:
        record = rig.factory.access_log
        assert isinstance(record, FileLog)
        self.successResultOf(record.close())
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def rig(self, **options: Any) -> Rig:
        self.path = Path(self.mktemp()).absolute()
        rig = Rig(access_log=self.path, access_log_format="json", **options)
        assert rig.factory.access_log is not None
        rig.factory.access_log.open()
        return rig

    def test_static_access_log_requests(self) -> None:
        """Each request is one line, also what was none; the id is that of the error page."""
        rig = self.rig(route=hello)
        rig.ask(request("/a?b", "Referer: r", "User-Agent: u"))
        (answer,) = rig.ask(b"nonsense\r\n")
        first, second = self.lines(rig)
        self.assertEqual(
            [first[key] for key in ("peer", "port", "target", "status", "octets", "referer", "user_agent", "host")],
            ["192.0.2.7", 40000, "/a?b", 200, 2, "r", "u", "example.com"],
        )
        self.assertEqual((second["status"], second["method"]), (400, None))
        self.assertIn(second["request_id"].encode(), answer.body)

    def test_static_access_log_aborted(self) -> None:
        """An answer that was cut is marked, with what was sent of it and the user."""
        rig = self.rig(route=wait)
        peer = rig.connect()
        peer.send(request())
        rig.exchanges[0].user = "alice"
        rig.exchanges[0].begin(200, (), 10)
        rig.exchanges[0].write(b"abc")
        peer.leave()
        (line,) = self.lines(rig)
        self.assertEqual((line["aborted"], line["octets"], line["user"], line["status"]), (True, 3, "alice", 200))

    def test_static_access_log_answers_from_memory(self) -> None:
        """An answer from memory is recorded as well."""
        root = Path(self.mktemp())
        write(root, "a.txt", b"hello")
        rig = self.rig(root=root.absolute())
        peer = rig.connect()
        for _ in range(3):
            peer.send(request("/a.txt"))
        found = self.lines(rig)
        self.assertEqual([(one["target"], one["status"], one["octets"]) for one in found], [("/a.txt", 200, 5)] * 3)
        self.assertGreater(rig.factory.served, 0)

    def test_static_access_log_choices(self) -> None:
        """No log, the daemon's log, or a file."""
        made: dict[str, Any] = {"clock": None, "in_thread": maybeDeferred, "metrics": FakeMetrics(), "service": "http"}
        self.assertIsNone(access_log(AccessLogSettings(access_log=False), **made))
        log = access_log(AccessLogSettings(), **made)
        assert isinstance(log, EventLog)
        log.open()
        self.successResultOf(log.close())
        self.assertIsInstance(access_log(AccessLogSettings(access_log=Path("/x")), **made), FileLog)

    def test_static_access_log_unix(self) -> None:
        """A peer on a UNIX socket has no address: a dash stands there, as in the combined form."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        log = EventLog()
        log.request("", head(), 200, 12)
        log.bad_request("", 400, "no request", "rq1")
        self.assertEqual([event["peer"] for event in events], ["-", "-"])

    def test_static_access_log_value(self) -> None:
        """The option is yes, no or a path, and shown as it was."""
        value = yes_no_or_file()
        context = Context(Path("/etc"))
        for text, meaning, shown in (
            ("yes", True, "yes"),
            ("Off", False, "no"),
            ("./yes", Path("/etc/yes"), "/etc/yes"),
            ("/var/log/x", Path("/var/log/x"), "/var/log/x"),
        ):
            found = value.parse(text, context)
            self.assertEqual((found, value.show(found)), (meaning, shown))
        self.assertRaises(BadValue, value.parse, "", context)
