"""The types of value: what they accept, what they refuse and where, and that what they show they accept again."""

from __future__ import annotations

import ipaddress
import os
from datetime import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config import values
from netsvc.config.access_times import Span, spans
from netsvc.config.options import Context, ValueType
from netsvc.config.values import Rate
from netsvc.errors import BadValue

CONTEXT = Context(Path("/etc/netsvc"))
RELAXED = settings(derandomize=True, deadline=None)

EVERY_TYPE: dict[str, ValueType[Any]] = {
    "integer": values.integer(0, 100),
    "boolean": values.boolean(),
    "text": values.text(longest=20),
    "choice": values.choice("one", "two"),
    "choices": values.choices("one", "two"),
    "duration": values.duration(0, 1e9),
    "size": values.size(0, 1 << 50),
    "rate": values.rate(),
    "networks": values.networks(),
    "path": values.path(),
    "mode": values.octal_mode(),
    "timezone": values.timezone(),
    "spans": spans(),
    "optional": values.optional(values.size(1, 10)),
}


class ValueTests(SynchronousTestCase):
    def accepted(self, kind: ValueType[Any], text: str, value: Any) -> None:
        self.assertEqual(kind.parse(text, CONTEXT), value)

    def refused(self, kind: ValueType[Any], text: str, at: int = 0, suggestion: str | None = None) -> str:
        with self.assertRaises(BadValue) as caught:
            kind.parse(text, CONTEXT)
        self.assertEqual((caught.exception.at, caught.exception.suggestion), (at, suggestion), caught.exception.message)
        return caught.exception.message

    def test_integer(self) -> None:
        """Whole numbers within the bounds, both included; no other spelling that int() would take."""
        kind = values.integer(-5, 5)
        self.accepted(kind, "-5", -5)
        self.accepted(kind, "5", 5)
        for text in ("6", "-6", "", "1.0", "0x1", "1_0", "+1", "٣", "9" * 5000):
            self.refused(kind, text)
        self.assertEqual(kind.bounds, "-5 to 5")

    def test_boolean(self) -> None:
        """Four words for each, in any case."""
        for yes, no in (("yes", "no"), ("true", "False"), ("on", "OFF"), ("1", "0")):
            self.accepted(values.boolean(), yes, True)
            self.accepted(values.boolean(), no, False)
        self.refused(values.boolean(), "maybe")
        self.assertEqual((values.boolean().show(True), values.boolean().show(False)), ("yes", "no"))

    def test_text(self) -> None:
        """One pair of quotes is taken off; too long and, where said so, empty texts are refused."""
        for text, value in (("a", "a"), ('" a "', " a "), ('""', ""), ('"', '"'), ('"a', '"a'), ('"a"b"', 'a"b')):
            self.accepted(values.text(), text, value)
        self.assertIn("more than 3", self.refused(values.text(longest=3), "abcd"))
        self.assertIn("empty", self.refused(values.text(empty=False), '""'))

    def test_choice(self) -> None:
        """A word that is none of them is refused with the nearest one."""
        self.accepted(values.choice("text", "json"), "json", "json")
        self.refused(values.choice("text", "json"), "jsn", suggestion="json")
        self.refused(values.choice("text", "json"), "zzzz")

    def test_choices(self) -> None:
        """Words in any order, each fault at its own offset; 'none' is none, nothing is a fault."""
        kind = values.choices("low", "high")
        self.accepted(kind, "high, low\nlow", frozenset({"low", "high"}))
        self.accepted(kind, "none", frozenset())
        self.refused(kind, "high, lwo", at=6, suggestion="low")
        self.refused(kind, " , ")
        self.assertEqual(kind.show(frozenset({"high", "low"})), "low high")
        self.assertEqual(kind.show(frozenset()), "none")

    def test_duration(self) -> None:
        """A number with a unit, exactly; zero needs none."""
        kind = values.duration(0, 7200)
        for text, seconds in (
            ("30s", 30.0),
            ("1.5m", 90.0),
            ("0", 0.0),
            ("100ms", 0.1),
            ("2 h", 7200.0),
            ("0.1s", 0.1),
        ):
            self.accepted(kind, text, seconds)
        self.assertIn("0s to 2h", self.refused(kind, "3h"))
        self.assertIn("needs a unit", self.refused(kind, "30"))
        self.refused(kind, "5 M", at=2, suggestion="5m")
        self.refused(kind, "5q", at=1)
        for text in ("", "s", "-1s", "1e3s", "1s2m", "." * 5, "9" * 400 + "s"):
            self.refused(kind, text)

    def test_size(self) -> None:
        """Whole octets with a unit, exactly; a value no float can hold is refused like others."""
        kind = values.size(1, 1 << 40)
        for text, octets in (("1B", 1), ("1.5KiB", 1536), ("64KiB", 65536), ("1TiB", 1 << 40), ("0.25MiB", 262144)):
            self.accepted(kind, text, octets)
        self.assertIn("not a whole number", self.refused(kind, "0.3B"))
        self.refused(kind, "64kib", at=2, suggestion="64KiB")
        self.refused(kind, "64KB", at=2, suggestion="64KiB")
        for text in ("0", "2TiB", "9" * 18 + "TiB", "9" * 400 + "B"):
            self.refused(kind, text)

    def test_rate(self) -> None:
        """A count by a time, or none."""
        kind = values.rate(most=1000)
        for text, rate in (
            ("10/s", Rate(10, 1.0)),
            ("100/5m", Rate(100, 300.0)),
            ("1 / ms", Rate(1, 0.001)),
            ("none", None),
        ):
            self.accepted(kind, text, rate)
        self.refused(kind, "5/S", at=2, suggestion="5/s")
        self.refused(kind, "5/xyz", at=2)
        for text in ("", "10", "0/s", "1001/s", "1/0s", "1/" + "9" * 400 + "s", "-1/s"):
            self.refused(kind, text)
        self.assertEqual(
            [kind.show(one) for one in (None, Rate(10, 1.0), Rate(1, 90.0), Rate(3, 0.001))],
            ["none", "10/s", "1/90s", "3/ms"],
        )
        self.assertEqual(Rate(10, 5.0).per_second, 2.0)

    def test_networks(self) -> None:
        """CIDR and addresses; v4-mapped ones are v4; host bits are a fault with what was meant."""
        kind = values.networks()
        self.accepted(
            kind,
            "192.0.2.0/24, ::1\n::ffff:198.51.100.7 ::ffff:0:0/96",
            tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "::1/128", "198.51.100.7/32", "0.0.0.0/0"))),
        )
        self.accepted(kind, "", ())
        self.refused(kind, "::1, 192.0.2.1/24", at=5, suggestion="192.0.2.0/24")
        self.refused(kind, "localhost")

    def test_path(self) -> None:
        """A relative path starts at the file's directory; NUL, nothing and unknown homes are refused."""
        self.accepted(values.path(), "a b/c", Path("/etc/netsvc/a b/c"))
        self.accepted(values.path(), "/x", Path("/x"))
        self.accepted(values.path(), "~/x", Path(os.path.expanduser("~/x")))
        for text in ("", "a\0b", "~nobody-has-this-name/x"):
            self.refused(values.path(), text)

    def test_mode(self) -> None:
        """Three octal digits, with or without a zero before them."""
        self.accepted(values.octal_mode(), "0660", 0o660)
        self.accepted(values.octal_mode(), "644", 0o644)
        for text in ("888", "1777", "66", "0o660"):
            self.refused(values.octal_mode(), text)
        self.assertEqual(values.octal_mode().show(0o60), "0060")

    def test_timezone(self) -> None:
        """Names of the IANA database, UTC and local; a path out of the database is refused."""
        for text in ("local", "UTC"):
            self.accepted(values.timezone(), text, text)
        for text in ("", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "a\0b", "x" * 5000, "Europe"):
            self.refused(values.timezone(), text)

    def test_optional(self) -> None:
        """Any type may be made one that also takes 'none'."""
        kind = values.optional(values.integer(1, 5))
        self.accepted(kind, "none", None)
        self.accepted(kind, "3", 3)
        self.refused(kind, "9")
        self.assertEqual(
            (kind.show(None), kind.show(3), kind.none, kind.bounds), ("none", "3", "none", "none, or 1 to 5")
        )
        self.assertEqual(values.optional(values.path()).bounds, "or none")

    def test_nearest(self) -> None:
        """The nearest word, but neither the word itself nor anything for what no one mistypes."""
        self.assertEqual(values.nearest("ecco", ["echo", "time"]), "echo")
        self.assertIsNone(values.nearest("echo", ["echo"]))
        self.assertIsNone(values.nearest("e" * 65, ["e" * 64]))

    @RELAXED
    @given(st.sampled_from(sorted(EVERY_TYPE)), st.text())
    def test_any_text(self, name: str, text: str) -> None:
        """Any text is a value or a BadValue with an offset in it; what a value shows is read again."""
        kind = EVERY_TYPE[name]
        try:
            value = kind.parse(text, CONTEXT)
        except BadValue as bad:
            self.assertTrue(0 <= bad.at <= len(text))
        else:
            hash(value)
            self.assertEqual(kind.parse(kind.show(value), CONTEXT), value)

    @RELAXED
    @given(st.floats(0, 1e9, allow_nan=False).filter(lambda one: one == 0 or one > 1e-6))
    def test_durations_round_trip(self, seconds: float) -> None:
        """Every duration is shown exactly."""
        self.assertEqual(values.duration(0, 1e9).parse(values.show_duration(seconds), CONTEXT), seconds)

    @RELAXED
    @given(st.integers(0, 1 << 50))
    def test_sizes_round_trip(self, octets: int) -> None:
        """Every size is shown exactly."""
        self.assertEqual(values.size(0, 1 << 50).parse(values.show_size(octets), CONTEXT), octets)

    @RELAXED
    @given(st.text(st.sampled_from('ab "\t'), max_size=20))
    def test_texts_round_trip(self, text: str) -> None:
        """Every text of a line is shown so that it is read again."""
        kind = values.text()
        self.assertEqual(kind.parse(kind.show(text).strip(" \t"), CONTEXT), text)

    @RELAXED
    @given(st.text(st.sampled_from("0123456789./:smhKiB n"), max_size=12))
    def test_likely_text(self, text: str) -> None:
        """Near misses of every type are refused cleanly."""
        for kind in EVERY_TYPE.values():
            try:
                kind.parse(text, CONTEXT)
            except BadValue as bad:
                self.assertTrue(0 <= bad.at <= len(text))


class AccessTimesTests(SynchronousTestCase):
    def spans(self, text: str) -> tuple[Span, ...]:
        return spans().parse(text, CONTEXT)

    def test_span(self) -> None:
        """The start is included, the end is not."""
        (span,) = self.spans("8:00-18:30")
        held = [span.holds(one) for one in (time(7, 59), time(8), time(18, 29, 59), time(18, 30))]
        self.assertEqual(held, [False, True, True, False])

    def test_over_midnight(self) -> None:
        """A span that ends before it starts runs over midnight."""
        (span,) = self.spans("22:00-06:00")
        self.assertEqual(
            [span.holds(one) for one in (time(21, 59), time(23), time(0), time(6))], [False, True, True, False]
        )

    def test_whole_day(self) -> None:
        """24:00 is the end of the day, its last microsecond included, and is shown as such."""
        (span,) = self.spans("00:00-24:00")
        self.assertTrue(span.holds(time.max))
        self.assertEqual(str(span), "00:00-24:00")

    def test_refused(self) -> None:
        """What is no span of a day is refused at its own offset."""
        for text in ("8-9", "24:00-25:00", "08:60-09:00", "08:00-24:30", "08:00-08:00"):
            with self.assertRaises(BadValue) as caught:
                self.spans(f"07:00-08:00, {text}")
            self.assertEqual(caught.exception.at, 13)
