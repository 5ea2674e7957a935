"""The two log formats: one event a line, nothing forged, nothing raised."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, LogPublisher, formatEvent
from twisted.logger._legacy import publishToNewObserver
from twisted.python.failure import Failure
from twisted.python.log import textFromEventDict
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.errors import printable
from netsvc.runtime.logs import (
    LONGEST_FIELD,
    LONGEST_MESSAGE,
    Observer,
    as_text,
    json_observer,
    show_time,
    text_observer,
)

NASTY = "\r\n2026-01-01T00:00:00.000Z info forged \x1b[2J\x07\x9b31m\u202e\u2028\x00\x7f\ud800"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warn|error|critical) .*")


class Broken:
    """Has neither str nor repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Output:
    """An observer of each kind and what it wrote, fed by one logger."""

    def __init__(self, level: str = "info") -> None:
        self.text_stream, self.json_stream = io.StringIO(), io.StringIO()
        self.observers = [text_observer(self.text_stream, level), json_observer(self.json_stream, level)]
        self.publisher = LogPublisher(*self.observers)
        self.log = Logger(namespace="netsvc.test", observer=self.publisher)

    def legacy(self, *message: str, **event: Any) -> None:
        """An event of twisted.python.log."""
        made = {"message": message, "time": 0.0, "system": "-", "isError": 0, **event}
        publishToNewObserver(self.publisher, made, textFromEventDict)

    @property
    def text(self) -> str:
        return self.text_stream.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.json_stream.getvalue().splitlines()]


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = Output()

    def failure(self, words: str = "broken") -> Failure:
        try:
            raise ValueError(words)
        except ValueError:
            return Failure()


class TextTests(LogTests):
    def test_rooms(self) -> None:
        """A line names the kind or room that it is about, not a module."""
        for namespace, room in (
            ("netsvc.services.http.protocol", "http"),
            ("netsvc.outbox.runner", "outbox"),
            ("netsvc", "netsvc"),
            ("twisted.internet.base", "twisted"),
            ("finger.service", "finger.service"),
        ):
            event = {"log_format": "hello", "log_namespace": namespace}
            self.assertIn(f" [{room}] hello\n", as_text(event, LogLevel.info))

    def test_line(self) -> None:
        """An event is one line: time, level, namespace, message."""
        self.out.publisher(
            {
                "log_time": 1769860800.1239,
                "log_level": LogLevel.warn,
                "log_namespace": "netsvc.x",
                "log_format": "a {b}",
                "b": 1,
            }
        )
        self.assertEqual(self.out.text, "2026-01-31T12:00:00.123Z warn [x] a 1\n")

    def test_service(self) -> None:
        """An event of a service says which, once."""
        self.out.log.info("refused", service="echo")
        self.out.log.info("[{service}] refused", service="echo")
        for line in self.out.lines:
            self.assertRegex(line, r"Z info \[echo\] refused$")

    def test_forgery(self) -> None:
        """A peer's text makes no line of its own and holds nothing that drives a terminal."""
        self.out.log.info("from {peer}", peer=NASTY, event="x", service=NASTY)
        self.assertEqual(len(self.out.lines), 1)
        self.assertTrue(self.out.lines[0].isprintable())
        self.assertIn(r"from \r\n2026-01-01T00:00:00.000Z info forged \x1b[2J", self.out.lines[0])
        self.out.text.encode()

    def test_languages(self) -> None:
        """Text in any script stays readable."""
        self.out.log.info("{text}", text="汇总数据 žluťoučký 🙂")
        self.assertIn("汇总数据 žluťoučký 🙂", self.out.text)
        self.assertIn("汇总数据 žluťoučký 🙂", self.out.json_stream.getvalue())

    def test_failure(self) -> None:
        """A traceback follows its line, indented; the text of the exception cannot leave the indent."""
        self.out.log.failure("it broke", self.failure(f"oh\n2026-01-01T00:00:00.000Z info forged{NASTY}"))
        self.assertRegex(self.out.lines[0], r"critical \[test\] it broke$")
        self.assertGreater(len(self.out.lines), 3)
        for line in self.out.lines[1:]:
            self.assertTrue(line.startswith("    "))
            self.assertTrue(line.isprintable())
        self.assertIn("    builtins.ValueError: oh", self.out.lines)
        self.assertIn("ValueError", self.out.json[0]["traceback"])

    def test_silent(self) -> None:
        """An event without words is not written, unless it has a name, and then only in JSON."""
        self.out.publisher({"log_level": LogLevel.info})
        self.out.publisher({"log_level": LogLevel.info, "event": "named"})
        self.assertEqual(self.out.text, "")
        self.assertEqual([one["event"] for one in self.out.json], ["named"])

    def test_long(self) -> None:
        """What is very long is cut, and says by how much."""
        self.out.log.info("{text}", text="x" * 1_000_000)
        self.assertLess(len(self.out.text), LONGEST_MESSAGE + 200)
        self.assertIn(f"... ({1_000_000 - LONGEST_MESSAGE} characters more)", self.out.text)
        self.assertLess(len(self.out.json[0]["text"]), LONGEST_FIELD + 100)

    def test_times(self) -> None:
        """Times are UTC with milliseconds; what is no time is a dash."""
        self.assertEqual(show_time(0), "1970-01-01T00:00:00.000Z")
        self.assertEqual(show_time(0.9996), "1970-01-01T00:00:00.999Z")
        self.assertEqual(show_time(-0.001), "1969-12-31T23:59:59.999Z")
        for nothing in (None, "x", 1e30, float("nan"), float("inf")):
            self.assertEqual(show_time(nothing), "-")


class JsonTests(LogTests):
    def test_object(self) -> None:
        """An event is one object with its own fields as they are."""
        self.out.log.info(
            "refused {peer}: {count}", event="refused", peer="192.0.2.1", count=3, share=0.5, new=True, none=None
        )
        found = self.out.json[0]
        self.assertRegex(found.pop("time"), r"^\d{4}-.*Z$")
        self.assertEqual(
            found,
            {
                "level": "info",
                "namespace": "netsvc.test",
                "event": "refused",
                "message": "refused 192.0.2.1: 3",
                "peer": "192.0.2.1",
                "count": 3,
                "share": 0.5,
                "new": True,
                "none": None,
            },
        )

    def test_odd_values(self) -> None:
        """What JSON does not have becomes text."""
        self.out.log.info(
            "x",
            path=Path("/x"),
            octets=b"\xffa",
            big=1 << 80,
            nan=float("nan"),
            infinite=float("inf"),
            many=[1, {"a": 2}],
            broken=Broken(),
        )
        found = self.out.json[0]
        self.assertEqual(found["path"], "/x")
        self.assertEqual(found["octets"], r"\xffa")
        self.assertEqual(found["big"], str(1 << 80))
        self.assertEqual((found["nan"], found["infinite"]), ("nan", "inf"))
        self.assertEqual(found["many"], "[1, {'a': 2}]")
        self.assertEqual(found["broken"], "<Broken without text: RuntimeError>")

    def test_exact(self) -> None:
        """A field comes back exactly; its line is ready for a terminal all the same."""
        self.out.log.info("{peer}", peer=NASTY + "\U000e0001")
        line = self.out.json_stream.getvalue()
        self.assertTrue(line.removesuffix("\n").isprintable())
        line.encode()
        self.assertEqual(json.loads(line)["peer"], NASTY + "\U000e0001")

    def test_reserved(self) -> None:
        """A field cannot take the name of one of the object's own."""
        forged = dict.fromkeys(["level", "namespace", "time", "message", "traceback"], "forged")
        self.out.publisher({"log_format": "true", "log_level": LogLevel.info, **forged})
        found = self.out.json[0]
        self.assertNotIn("forged", found.values())
        self.assertEqual(found["message"], "true")

    def test_odd_names(self) -> None:
        """Names of fields are made printable; those that are no text are left out."""
        self.out.publisher({"log_format": "x", "log_level": LogLevel.info, "a\nb": 1, 7: 2})
        self.assertEqual({name for name in self.out.json[0] if "a" in name}, {"namespace", "message", r"a\nb"})


class SecretTests(LogTests):
    def test_secret(self) -> None:
        """A secret is named by its reference in either format, in the message and as a field."""
        self.out.log.info("{s} {s!r}", s=Secret("env:X", "hunter2"), many=(Secret("env:X", "hunter2"),))
        written = self.out.text + self.out.json_stream.getvalue()
        self.assertIn("<Secret from env:X>", written)
        self.assertNotIn("hunter2", written)


class NeverRaisesTests(LogTests):
    def test_broken_format(self) -> None:
        """A format that does not fit its fields is logged as such."""
        for words in ("{missing}", "{", "{0}", "{a.b.c}", "{a:d}", b"\xff{", 7):
            self.out.publisher({"log_format": words, "log_level": LogLevel.info, "a": "x"})
        self.assertEqual(len(self.out.lines), 7)
        self.assertEqual(len(self.out.json), 7)
        for line in self.out.lines:
            self.assertTrue(line.startswith("- info [-] ") and line.isprintable())
        self.assertEqual([observer.lost for observer in self.out.observers], [0, 0])

    def test_broken_value(self) -> None:
        """A value without words costs no more than its words."""
        self.out.log.info("{x}", x=Broken())
        self.assertEqual(len(self.out.lines), 1)
        self.assertRegex(self.out.lines[0], LINE)

    def test_broken_failure(self) -> None:
        """A failure that cannot be shown is logged as such; so is one that is none."""
        broken = self.failure()
        broken.getTraceback = lambda: 1 / 0  # type: ignore[assignment, method-assign]
        for failure in (broken, "words", Broken()):
            self.out.publisher({"log_format": "x", "log_failure": failure})
        self.assertEqual(
            [line.strip() for line in self.out.lines if line.startswith(" ")],
            ["(no traceback: ZeroDivisionError)", "words", "<Broken without text: RuntimeError>"],
        )
        self.assertEqual({one["level"] for one in self.out.json}, {"critical"})

    def test_broken_event(self) -> None:
        """An event whose parts are of the wrong types is still a line."""
        self.out.publisher({"log_format": "x", "log_level": "info", "log_time": "now", "log_namespace": 7})
        self.assertEqual(self.out.text, "- info [7] x\n")

    @settings(derandomize=True, deadline=None)
    @given(
        st.text(),
        st.dictionaries(
            st.text() | st.sampled_from(["log_level", "log_time", "log_namespace", "log_failure", "event", "why", "a"]),
            st.none() | st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.text()) | st.just(Broken()),
            max_size=6,
        ),
    )
    def test_any_event(self, words: str, fields: dict[str, Any]) -> None:
        """Any event is at most one line (and a traceback) in each format, and loses nothing."""
        out = Output()
        out.publisher({"log_format": words, **fields})
        for line in out.lines:
            self.assertTrue(line.isprintable())
        self.assertLessEqual(len([line for line in out.lines if not line.startswith("    ")]), 1)
        self.assertLessEqual(len(out.json), 1)
        self.assertEqual([observer.lost for observer in out.observers], [0, 0])


class FormatTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                ["a", "b", "c", "0", "{", "}", "{{", "}}", "!r", "!s", "!x", ":>5", "()", ".real", "[0]", " "]
            )
        ),
        st.dictionaries(
            st.sampled_from(["a", "b", "c"]), st.none() | st.text() | st.integers() | st.lists(st.text()) | st.just(len)
        ),
    )
    def test_as_twisted(self, words: list[str], fields: dict[str, Any]) -> None:
        """A message is what Twisted makes of the format, whatever that is: names, conversions, calls, mistakes."""
        for form in ("".join(words), "{" + "".join(words) + "}", "{a} {b!r} {{" + "".join(words)):
            event = {"log_format": form, **fields}
            expected = formatEvent(event)
            if expected:
                self.assertEqual(as_text(event, LogLevel.info), f"- info [-] {printable(expected)}\n")


class LevelTests(LogTests):
    def test_filter(self) -> None:
        """Events below the level are not written; the level can be changed."""
        self.out.log.debug("a")
        self.out.log.info("b")
        for observer in self.out.observers:
            observer.level = LogLevel.error
        self.out.log.warn("c")
        self.out.log.error("d")
        self.assertEqual([one["message"] for one in self.out.json], ["b", "d"])
        self.assertEqual(len(self.out.lines), 2)

    def test_constant(self) -> None:
        """The level may be given as twisted.logger has it."""
        self.assertIs(text_observer(io.StringIO(), LogLevel.warn).level, LogLevel.warn)
        self.assertIs(text_observer(io.StringIO(), "warn").level, LogLevel.warn)

    def chatter(self, out: Output) -> None:
        out.legacy("EchoFactory starting on 9090")
        out.legacy("(TCP Port 9090 Closed)")
        out.legacy("(UNIX Port '/run/x' Closed)")
        out.legacy("(Port 9090 Closed)")
        out.legacy("<class 'x.Responder'> starting on 9090")
        out.legacy("Starting protocol <Responder on 9090>")
        out.legacy("Stopping protocol <Responder on 9090>")
        out.log.info("Starting factory {factory!r}", factory=self)
        out.log.info("Stopping factory {factory!r}", factory=self)
        Logger(namespace="twisted.conch.ssh.session", observer=out.publisher).info("a packet")

    def test_chatter(self) -> None:
        """Twisted's talk of each factory, port and packet is for debugging."""
        self.chatter(self.out)
        self.assertEqual(self.out.text, "")
        debug = Output("debug")
        self.chatter(debug)
        self.assertEqual({one["level"] for one in debug.json}, {"debug"})
        self.assertEqual(len(debug.lines), 10)

    def test_not_chatter(self) -> None:
        """What operators want to know of Twisted stays."""
        self.out.legacy("Received SIGTERM, shutting down.")
        self.out.legacy("Main loop terminated.")
        Logger(namespace="twisted.application.app", observer=self.out.publisher).info("reactor class: x")
        Logger(namespace="twisted.conch.x", observer=self.out.publisher).warn("odd")
        self.assertEqual(len(self.out.lines), 4)


class LegacyTests(LogTests):
    def test_message(self) -> None:
        """A message of twisted.python.log is an event; what its bridge added is not a field."""
        self.out.legacy("hello", "there", own=1)
        self.assertRegex(self.out.lines[0], r"info \[log_legacy\] hello there$")
        self.assertEqual(set(self.out.json[0]), {"time", "level", "namespace", "message", "own"})

    def test_why(self) -> None:
        """An error of twisted.python.log has its `why` as message and its traceback once."""
        self.out.legacy(failure=self.failure(), why="it broke", isError=1)
        self.out.legacy(failure=self.failure(), why=None, isError=1)
        self.assertEqual([one["message"] for one in self.out.json], ["it broke", "Unhandled Error"])
        self.assertEqual({one["level"] for one in self.out.json}, {"critical"})
        self.assertEqual(self.out.text.count("builtins.ValueError: broken"), 2)


class StreamTests(SynchronousTestCase):
    def observer(self, stream: Any) -> tuple[Observer, list[int]]:
        lost: list[int] = []
        return text_observer(stream, on_lost=lambda: lost.append(1)), lost

    def test_closed(self) -> None:
        """A log that cannot be written raises nothing; lost events are counted."""
        stream = io.StringIO()
        stream.close()
        observer, lost = self.observer(stream)
        for _ in range(3):
            observer({"log_format": "x"})
        self.assertEqual((observer.lost, len(lost)), (3, 3))
        text_observer(stream)({"log_format": "x"})

    def test_stream_that_logs(self) -> None:
        """A stream that itself logs, as twistd's sys.stdout, does not go round for ever."""

        class Loud(io.StringIO):
            def write(self, text: str) -> int:
                observer({"log_format": "again"})
                return super().write(text)

        stream = Loud()
        observer, lost = self.observer(stream)
        observer({"log_format": "x"})
        self.assertEqual(stream.getvalue().count("\n"), 1)
        self.assertEqual(len(lost), 1)
