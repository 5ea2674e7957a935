"""What a command shows of transfers while they run: bars on a terminal, JSON lines for programs, or nothing.

All three are a :class:`Progress` and may be told things by several threads at once. Names and reasons come from peers:
what could move a cursor is spelled out. `rich` is imported when there are bars to show, and not before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from attrs import define, field

from netsvc.errors import printable

if TYPE_CHECKING:
    from rich.progress import Task, TaskID

BETWEEN = 1.0  # seconds between two JSON lines of one transfer
REFRESH = 10  # times a second that bars are drawn
NARROW = 72  # columns; below that the bar itself leaves its place to the numbers, which are fewer
ROOMY = 100  # columns; from there on a bar is long
MARGIN = 3  # columns that stay free at the end of a line
NUMBERS = 47  # columns: "1000 KiB of 60.0 MiB  7.85 MiB/s  2:05:00 left"
SHORT_NUMBERS = 25  # columns: "100%  7.85 MiB/s  2:05:00"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(octets: float) -> str:
    """Octets for people, three digits and a unit: ``1.50 MiB``."""
    value, unit = float(octets), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    if unit == 0:
        return f"{value:.0f} B"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {_UNITS[unit]}"


def time_text(seconds: float) -> str:
    """A span for people: ``0:07``, ``2:05:00``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


@define
class _Account:
    task: int
    name: str
    total: int | None
    began: float  # monotonic, seconds
    at: int  # octets there, those of an earlier run included
    spoke: float  # when a line was printed last
    moved: int = 0  # octets of this run
    reason: str | None = None  # why it failed
    facts: dict[str, Any] = field(factory=dict)


class Progress:
    """Transfers that run; a context manager. A task is the number that :meth:`add` gave. This one shows nothing.

    :param errors: where :meth:`say` writes lines for people.
    :param clock: seconds that only go forward.
    """

    def __init__(self, errors: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._errors = errors
        self._clock = clock
        self._lock = Lock()
        self._accounts: dict[int, _Account] = {}
        self._next = 0

    def add(self, name: str, total: int | None = None, *, at: int = 0) -> int:
        """A transfer begins.

        :param total: octets of the whole; None while nobody knows.
        :param at: octets that are there from an earlier run.
        """
        with self._lock:
            task, self._next = self._next, self._next + 1
            now = self._clock()
            account = self._accounts[task] = _Account(task, printable(name), total, now, at, now)
        self._began(account)
        return task

    def expect(self, task: int, total: int | None, *, at: int) -> None:
        """The whole length is known now, and from where it goes on: 0 when it begins anew."""
        account = self._accounts[task]
        with self._lock:
            account.total, account.at = total, at
        self._moved(account)

    def advance(self, task: int, octets: int) -> None:
        """So many octets more have moved."""
        account = self._accounts[task]
        with self._lock:
            account.at += octets
            account.moved += octets
        self._moved(account)

    def done(self, task: int, **facts: Any) -> None:
        """It is complete.

        :param facts: what a program may want to know, such as the digest; for JSON.
        """
        with self._lock:
            account = self._accounts.pop(task)
            account.facts = facts
        self._ended(account)

    def failed(self, task: int, reason: str, **facts: Any) -> None:
        """It is not, and why."""
        with self._lock:
            account = self._accounts.pop(task)
            account.reason, account.facts = printable(reason), facts
        self._ended(account)

    def say(self, line: str) -> None:
        """One line for people, which does not disturb what is shown."""
        print(printable(line), file=self._errors, flush=True)

    def close(self) -> None:
        """Nothing moves any more; the terminal is as it was."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _began(self, account: _Account) -> None: ...

    def _moved(self, account: _Account) -> None: ...

    def _ended(self, account: _Account) -> None: ...


class JsonLines(Progress):
    """One JSON object a line: ``event`` is start, progress (once a second at most), done or failed.

    Each has ``name``, ``size`` (of the whole, or null) and ``octets`` (that are there).

    :param stream: where the lines go.
    :param brief: only what is done and what failed.
    """

    def __init__(
        self, stream: TextIO, errors: TextIO, *, brief: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(errors, clock)
        self._stream = stream
        self._brief = brief
        self._writing = Lock()

    def _line(self, event: str, account: _Account, **more: Any) -> None:
        whole = {"event": event, "name": account.name, "size": account.total, "octets": account.at, **more}
        with self._writing:
            print(json.dumps(whole), file=self._stream, flush=True)

    def _began(self, account: _Account) -> None:
        if not self._brief:
            self._line("start", account)

    def _moved(self, account: _Account) -> None:
        with self._lock:
            now = self._clock()
            due = not self._brief and now - account.spoke >= BETWEEN
            if due:
                account.spoke = now
        if due:
            self._line("progress", account)

    def _ended(self, account: _Account) -> None:
        seconds = round(self._clock() - account.began, 3)
        if account.reason is None:
            self._line("done", account, seconds=seconds, **account.facts)
        else:
            self._line("failed", account, reason=account.reason, seconds=seconds, **account.facts)


class Bars(Progress):
    """A bar for each transfer that moves, with octets, rate and time left; one line stays of each that is done.

    Nothing is drawn before something moves: until then ssh may ask for a password on the same terminal.

    :param stream: a terminal.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.cells import cell_len
        from rich.console import Console, RenderableType
        from rich.constrain import Constrain
        from rich.progress import BarColumn, ProgressColumn, TextColumn
        from rich.progress import Progress as Display
        from rich.text import Text

        super().__init__(stream, clock)
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        wide = console.width >= NARROW

        class Numbers(ProgressColumn):
            """How much there is, of how much, how fast, and how long it takes."""

            def render(self, task: Task) -> Text:
                whole = "" if task.total is None else f" of {size_text(task.total)}"
                rate = "" if task.speed is None else f"  {size_text(task.speed)}/s"
                left = "" if task.time_remaining is None else f"  {time_text(task.time_remaining)}"
                if wide:
                    return Text(f"{size_text(task.completed)}{whole}{rate}{left and left + ' left'}", no_wrap=True)
                share = f"{task.percentage:.0f}%" if task.total else size_text(task.completed)
                return Text(f"{share}{rate}{left}", no_wrap=True)

        class Fitting(Display):
            """Leaves the end of each line free: a ^C that the terminal writes there must not begin another line."""

            def get_renderables(self) -> Iterable[RenderableType]:
                yield Constrain(self.make_tasks_table(self.tasks), max(1, console.width - MARGIN))

        bar = 0 if not wide else 10 if console.width < ROOMY else 20
        self._room = max(8, console.width - MARGIN - (bar + 1 + NUMBERS if wide else SHORT_NUMBERS) - 1)
        self._width = cell_len
        self._console = console
        columns = [TextColumn("{task.description}", markup=False), *([BarColumn(bar)] if wide else []), Numbers()]
        self._display = Fitting(*columns, console=console, refresh_per_second=REFRESH, transient=True)
        self._bars: dict[int, TaskID] = {}
        self._drawing = Lock()

    def close(self) -> None:
        self._display.stop()

    def say(self, line: str) -> None:
        self._console.print(printable(line), soft_wrap=True)

    def _bar(self, account: _Account) -> TaskID:
        with self._drawing:
            if account.task not in self._bars:
                name = account.name
                if self._width(name) > self._room:
                    while self._width(name) > self._room - 3:
                        name = name[1:]
                    name = f"...{name}"
                if not self._bars:
                    self._display.start()
                self._bars[account.task] = self._display.add_task(name, total=account.total, completed=account.at)
            return self._bars[account.task]

    def _moved(self, account: _Account) -> None:
        bar = self._bar(account)
        if account.moved == 0:
            self._display.reset(bar, total=account.total, completed=account.at)
        else:
            self._display.update(bar, total=account.total, completed=account.at)

    def _ended(self, account: _Account) -> None:
        with self._drawing:
            bar = self._bars.pop(account.task, None)
            if bar is not None:
                self._display.remove_task(bar)
            if not self._bars:
                self._display.stop()
        if account.reason is None:
            seconds = max(self._clock() - account.began, 1e-3)
            rate = f", {size_text(account.moved / seconds)}/s" if account.moved else ""
            before = "" if account.moved == account.at else f", {size_text(account.at - account.moved)} of it before"
            file = printable(os.path.basename(account.facts.get("file", account.name)))
            called = "" if file == os.path.basename(account.name) else f", as {file}"
            self.say(f"{account.name}: {size_text(account.at)} in {time_text(seconds)}{rate}{before}{called}")


def progress_for(stream: TextIO, json: bool, quiet: bool, *, errors: TextIO | None = None) -> Progress:
    """The way of showing that fits.

    :param stream: where it is shown: bars if it is a terminal, else nothing; with `json` the lines go there.
    :param json: asked for JSON lines; with `quiet` only those of the end of each transfer.
    :param quiet: asked for nothing but errors.
    :param errors: where lines for people go; standard error when not given.
    """
    errors = sys.stderr if errors is None else errors
    if json:
        return JsonLines(stream, errors, brief=quiet)
    if quiet or not stream.isatty():
        return Progress(errors)
    return Bars(stream)
