"""Facts about the daytime line."""

from __future__ import annotations

import calendar
import os
import time
from datetime import UTC, date, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.errors import BadValue
from netsvc.services.daytime.settings import DaytimeSettings, line_format
from netsvc.services.daytime.wire import check_pattern, formatter, nist, us_summer_time

RFC_EXAMPLE = calendar.timegm((1982, 2, 23, 1, 37, 43))  # "Tuesday, February 22, 1982 17:37:43-PST", but for the day


class FormatTests(SynchronousTestCase):
    def line(self, form: str, zone: str = "UTC", seconds: float = RFC_EXAMPLE) -> bytes:
        return formatter(form, zone)(seconds)

    def test_rfc867(self) -> None:
        """The popular syntax of RFC 867; its example is a Monday (the RFC says Tuesday)."""
        self.assertEqual(self.line("rfc867", "America/Los_Angeles"), b"Monday, February 22, 1982 17:37:43-PST\r\n")
        self.assertEqual(self.line("rfc867"), b"Tuesday, February 23, 1982 01:37:43-UTC\r\n")

    def test_zone_without_letters(self) -> None:
        """A zone that has only a number is told as its distance from UTC."""
        self.assertEqual(
            self.line("rfc867", "America/Sao_Paulo", 1_700_000_000.0), b"Tuesday, November 14, 2023 19:13:20-UTC-03\r\n"
        )

    def test_iso(self) -> None:
        """ISO 8601 with the distance from UTC, Z for UTC itself; no broken seconds."""
        self.assertEqual(self.line("iso", "America/Los_Angeles"), b"1982-02-22T17:37:43-08:00\r\n")
        self.assertEqual(self.line("iso", seconds=RFC_EXAMPLE + 0.75), b"1982-02-23T01:37:43Z\r\n")

    def test_nist(self) -> None:
        """NIST's line in UTC whatever the zone: Modified Julian Date, summer time code, our own label."""
        for zone in ("UTC", "Asia/Tokyo"):
            self.assertEqual(
                self.line("nist", zone, 1_687_965_096.0), b"60123 23-06-28 15:11:36 50 0 1 0.0 UTC(netsvc) *\r\n"
            )
        self.assertLessEqual(len(nist(datetime.now(UTC))) + 2, 64)

    def test_pattern(self) -> None:
        """A strftime pattern in the zone of the option; broken seconds change with every answer."""
        self.assertEqual(self.line("%d %b %Y, %H:%M %Z", "Europe/Berlin"), b"23 Feb 1982, 02:37 CET\r\n")
        line = formatter("%S.%f", "UTC")
        self.assertEqual((line(0.25), line(0.5)), (b"00.250000\r\n", b"00.500000\r\n"))
        self.assertEqual(self.line("Zeit: %H Uhr é %%"), "Zeit: 01 Uhr é %\r\n".encode())

    def test_once_a_second(self) -> None:
        """The line of a second is made once; the next second has its own."""
        line = formatter("iso", "UTC")
        self.assertIs(line(100.1), line(100.9))
        self.assertEqual(line(101.0), b"1970-01-01T00:01:41Z\r\n")
        self.assertEqual(line(100.0), b"1970-01-01T00:01:40Z\r\n")

    def test_local(self) -> None:
        """The zone called local is the process's."""
        before = os.environ.get("TZ")

        def restore() -> None:
            if before is None:
                os.environ.pop("TZ", None)
            else:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = "XYZ-3:30"
        time.tzset()
        self.assertEqual(self.line("rfc867", "local"), b"Tuesday, February 23, 1982 05:07:43-XYZ\r\n")
        self.assertEqual(self.line("iso", "local"), b"1982-02-23T05:07:43+03:30\r\n")

    @settings(derandomize=True, deadline=None)
    @given(st.floats(0, 253402300799 - 86400 * 2), st.sampled_from(["rfc867", "iso", "nist"]))
    def test_fits_a_datagram(self, seconds: float, form: str) -> None:
        """A named format is one line of printing ASCII within the 64 octets of a UDP answer, in any zone."""
        for zone in ("UTC", "America/Argentina/ComodRivadavia", "Asia/Kathmandu"):
            line = formatter(form, zone)(seconds)
            self.assertLessEqual(len(line), 64)
            self.assertTrue(line.endswith(b"\r\n") and line[:-2].decode("ascii").isprintable())


class SummerTimeTests(SynchronousTestCase):
    def test_codes(self) -> None:
        """NIST's code: 0 in winter, 50 in summer; in the month of a change it counts down to 51 or to 1."""
        for day, code in (
            (date(2026, 1, 1), 0),
            (date(2026, 3, 1), 58),
            (date(2026, 3, 7), 52),
            (date(2026, 3, 8), 51),
            (date(2026, 3, 9), 50),
            (date(2026, 7, 4), 50),
            (date(2026, 10, 31), 50),
            (date(2025, 11, 1), 2),
            (date(2026, 11, 1), 1),
            (date(2026, 11, 2), 0),
            (date(2026, 12, 31), 0),
        ):
            self.assertEqual(us_summer_time(day), code, day)

    def test_sundays(self) -> None:
        """The changes fall on the second Sunday of March and the first of November, in any year."""
        for year in range(2007, 2050):
            (begin,) = [day for day in range(1, 32) if us_summer_time(date(year, 3, day)) == 51]
            (end,) = [day for day in range(1, 31) if us_summer_time(date(year, 11, day)) == 1]
            self.assertEqual((date(year, 3, begin).weekday(), (begin - 1) // 7), (6, 1))
            self.assertEqual((date(year, 11, end).weekday(), (end - 1) // 7), (6, 0))


class PatternTests(SynchronousTestCase):
    def parse(self, text: str) -> str:
        return line_format().parse(text, Context(Path("/")))

    def test_good(self) -> None:
        """Names and patterns are taken; quotes keep spaces."""
        for text in ("rfc867", "iso", "nist", "%A, %-d %B %Y", "100%% %H", "%Y-%m-%dT%H:%M:%S%z"):
            self.assertEqual(self.parse(text), text)
        self.assertEqual(self.parse('"%H "'), "%H ")

    def test_bad(self) -> None:
        """What is no format is refused when the file is read, with the place and what was probably meant."""
        with self.assertRaises(BadValue) as caught:
            self.parse("rfc868")
        self.assertEqual(caught.exception.suggestion, "rfc867")
        for text, at in (("%H:%Q", 3), ("%", 0), ("%H %", 3), ("%n", 0), ("%t", 0), ("%H\x1b", 2), ("%-", 0)):
            with self.assertRaises(BadValue) as caught:
                self.parse(text)
            self.assertEqual(caught.exception.at, at, text)
        with self.assertRaises(BadValue):
            self.parse("%H" * 65)

    @settings(derandomize=True, deadline=None)
    @given(st.text("%AaHMSnt-_^#0fzZ \n", max_size=12) | st.text(max_size=12))
    def test_any(self, pattern: str) -> None:
        """A pattern that is let pass gives one line, of any time."""
        try:
            check_pattern(pattern)
        except BadValue:
            return
        line = formatter(pattern, "UTC")(1e9)
        self.assertEqual((line.count(b"\n"), line.count(b"\r")), (1, 1))

    def test_options(self) -> None:
        """Both options show their defaults as they would stand in a file."""
        known = {one.key: one for one in options(DaytimeSettings)}
        self.assertEqual((known["format"].default_text, known["timezone"].default_text), ("rfc867", "local"))
