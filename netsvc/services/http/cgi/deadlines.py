"""The two time limits of running scripts: `cgi_timeout` for all of it, `cgi_idle_timeout` for each silence.

One timer looks at all scripts of an engine; one for each would cost more than many a script. It runs only while there
are scripts. Limits are rounded up to its step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netsvc.services.http.cgi.process import ScriptProcess
from netsvc.services.http.cgi.settings import CgiSettings

STEP = 1.0  # seconds between two looks, at most; a quarter of a shorter limit


class Deadline:
    """The limits of one process.

    :param excused: whether it is not the script's turn, so that its silence does not count.
    :param over: called, at most once, with the option whose time is over.
    """

    __slots__ = ("_deadlines", "began", "excused", "over", "process", "waited_for")

    def __init__(
        self, deadlines: Deadlines, process: ScriptProcess, excused: Callable[[], bool], over: Callable[[str], None]
    ) -> None:
        self._deadlines = deadlines
        self.process = process
        self.excused = excused
        self.over = over
        self.waited_for = True
        self.began: float = process.moved_at

    def answered(self) -> None:
        """The answer is complete: silence is no fault any more."""
        self.waited_for = False

    def stop(self) -> None:
        """The script is gone."""
        self._deadlines.forget(self)


class Deadlines:
    """Looks at the clock for all scripts of one engine."""

    def __init__(self, reactor: Any, settings: CgiSettings) -> None:
        self._reactor = reactor
        self._whole = settings.cgi_timeout
        self._quiet = settings.cgi_idle_timeout
        self._step = min([STEP, *(limit / 4 for limit in (self._whole, self._quiet) if limit)])
        self._watched: dict[Deadline, None] = {}
        self._call: Any = None

    def watch(self, process: ScriptProcess, *, excused: Callable[[], bool], over: Callable[[str], None]) -> Deadline:
        """Watch a process from now on. The parameters are those of Deadline."""
        found = Deadline(self, process, excused, over)
        if self._whole or self._quiet:
            self._watched[found] = None
            if self._call is None:
                self._call = self._reactor.callLater(self._step, self._look)
        return found

    def forget(self, one: Deadline) -> None:
        """Watch it no more."""
        self._watched.pop(one, None)

    def stop(self) -> None:
        """There will be no more scripts."""
        if self._call is not None and not self._watched:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        now = self._reactor.seconds()
        for one in tuple(self._watched):
            if self._whole and now - one.began >= self._whole:
                self._ring(one, "cgi_timeout")
            elif self._quiet and one.waited_for:
                if one.excused():
                    one.process.touch()
                elif now - one.process.moved_at >= self._quiet:
                    self._ring(one, "cgi_idle_timeout")
        if self._watched:
            self._call = self._reactor.callLater(self._step, self._look)

    def _ring(self, one: Deadline, limit: str) -> None:
        if one in self._watched:  # another one's end can have been its end, too
            self.forget(one)
            one.over(limit)
