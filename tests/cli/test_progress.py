"""What a command shows of transfers: bars, JSON lines, nothing."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.progress import Bars, JsonLines, Progress, progress_for, size_text, time_text


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def plain(shown: str) -> str:
    """What is written, without what moves the cursor and colours it."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


class Time:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class TextTests(SynchronousTestCase):
    def test_sizes(self) -> None:
        """Sizes have three digits and a binary unit, also where rounding would make it four."""
        shown = {size: size_text(size) for size in (0, 1, 999, 1000, 1024, 1536, 10_240, 1048064, 1 << 20, 5 << 40)}
        self.assertEqual(
            list(shown.values()),
            ["0 B", "1 B", "999 B", "0.98 KiB", "1.00 KiB", "1.50 KiB", "10.0 KiB", "1.00 MiB", "1.00 MiB", "5.00 TiB"],
        )

    def test_times(self) -> None:
        """Times are minutes and seconds, with hours where there are some."""
        self.assertEqual(
            [time_text(one) for one in (-1, 0, 59.6, 61, 7200)], ["0:00", "0:00", "1:00", "1:01", "2:00:00"]
        )


class JsonLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out, self.err, self.time = io.StringIO(), io.StringIO(), Time()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def test_life(self) -> None:
        """A transfer that resumes: its start, what moved once a second, its end with the facts."""
        with JsonLines(self.out, self.err, clock=self.time) as progress:
            task = progress.add("a", at=5)
            progress.expect(task, 20, at=5)
            progress.advance(task, 1)
            self.time.now += 1
            progress.advance(task, 4)
            progress.advance(task, 10)
            progress.done(task, sha256="00")
        self.assertEqual(
            self.lines(),
            [
                {"event": "start", "name": "a", "size": None, "octets": 5},
                {"event": "progress", "name": "a", "size": 20, "octets": 10},
                {"event": "done", "name": "a", "size": 20, "octets": 20, "seconds": 1.0, "sha256": "00"},
            ],
        )

    def test_brief(self) -> None:
        """With --quiet only the ends are told; a failure has its reason, without control characters."""
        progress = progress_for(self.out, True, True, errors=self.err)
        progress.failed(progress.add("a\x1b[2J", 1), "no\nmore")
        (line,) = self.lines()
        self.assertEqual((line["event"], line["name"], line["reason"]), ("failed", "a\\x1b[2J", "no\\nmore"))
        self.assertEqual(self.err.getvalue(), "")


class BarsTests(SynchronousTestCase):
    def test_lines_that_stay(self) -> None:
        """When the bars are gone there is one line for each transfer that is done, and those that were said."""
        terminal, time = Terminal(), Time()
        self.patch_environment()
        bars = progress_for(terminal, False, False)
        self.assertIsInstance(bars, Bars)
        bars._clock = time
        with bars:
            one, two, three = bars.add("[red]one\x1b", 10), bars.add("two" * 100), bars.add("three", 2, at=1)
            bars.advance(one, 10)
            time.now += 2
            bars.expect(two, 100, at=0)
            bars.done(one)
            bars.say("netsvc get: two\x07: broken")
            bars.failed(two, "broken")
            bars.advance(three, 1)
            bars.done(three)
        shown = terminal.getvalue()
        for line in (
            "[red]one\\x1b: 10 B in 0:02, 5 B/s\n",
            "get: two\\x07: broken\n",
            "three: 2 B in 0:02, 0 B/s, 1 B of it",
        ):
            self.assertIn(line, shown)
        self.assertNotIn("one\x1b", shown)
        self.assertNotIn("\x07", shown)

    def test_nothing_before_it_moves(self) -> None:
        """Until something moves nothing is written, and nothing between two transfers: ssh may be asking there."""
        terminal = Terminal()
        self.patch_environment()
        with progress_for(terminal, False, False) as bars:
            for name in ("one", "two"):
                task, before = bars.add(name), terminal.getvalue()
                self.assertEqual(before, terminal.getvalue())
                self.assertTrue(before == "" or before.endswith("\n"))
                bars.expect(task, 10, at=0)
                self.assertNotEqual(before, terminal.getvalue())
                bars.advance(task, 10)
                bars.done(task)

    def test_lines_fit(self) -> None:
        """A line has room for ^C behind it, however narrow the terminal, and all its numbers; long names give way."""
        from rich.cells import cell_len

        for width, numbers in ((120, "0 B of 999 KiB"), (80, "0 B of 999 KiB"), (72, "0 B of 999 KiB"), (40, "0%")):
            terminal = Terminal()
            self.patch_environment(width)
            with progress_for(terminal, False, False) as bars:
                task = bars.add("a name with \u6f22\u5b57" + "\u6f22" * 60 + ".iso")
                bars.expect(task, 999 << 10, at=0)
            (line, *_) = [one for one in re.split(r"[\r\n]", plain(terminal.getvalue())) if numbers in one]
            self.assertLessEqual(cell_len(line), width - 3)
            self.assertIn(".iso ", line)
            self.assertNotIn("\u2026", line)

    def test_other_name(self) -> None:
        """Where a file is called otherwise than what was asked for, the line that stays says how."""
        terminal = Terminal()
        self.patch_environment()
        with progress_for(terminal, False, False) as bars:
            for name, file in (("netsvc://h:1/", "in/a\x1b.txt"), ("b.txt", "in/b.txt")):
                bars.done(bars.add(name), file=file)
        self.assertIn("netsvc://h:1/: 0 B in 0:00, as a\\x1b.txt\n", terminal.getvalue())
        self.assertIn("b.txt: 0 B in 0:00\n", terminal.getvalue())

    def patch_environment(self, width: int = 120) -> None:
        import os

        environ = patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": str(width), "LINES": "30"})
        environ.start()  # rich keeps the dictionary itself
        self.addCleanup(environ.stop)


class ChoiceTests(SynchronousTestCase):
    def test_choice(self) -> None:
        """Bars need a terminal; without one, or when asked to be quiet, only what is said is shown."""
        for stream, quiet in ((io.StringIO(), False), (Terminal(), True)):
            errors = io.StringIO()
            with progress_for(stream, False, quiet, errors=errors) as progress:
                self.assertIs(type(progress), Progress)
                task = progress.add("a", 1)
                progress.advance(task, 1)
                progress.done(task)
                progress.say("line\x1b")
            self.assertEqual((stream.getvalue(), errors.getvalue()), ("", "line\\x1b\n"))

    def test_rich_is_for_bars(self) -> None:
        """Rich is not imported where there are no bars."""
        program = (
            "import sys, io; from netsvc.cli.progress import progress_for; progress_for(io.StringIO(), False, False);"
            "progress_for(sys.stdout, True, False); sys.exit('rich' in sys.modules)"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", program]).returncode, 0)
