"""A deadline that is moved with every command and seldom passes. No I/O; the clock is a parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Deadline:
    """One call of the clock, made once and moved: to cancel and make one for each command costs ten times as much.

    :param clock: an IReactorTime.
    :param passed: called when it has passed.
    """

    def __init__(self, clock: Any, passed: Callable[[], None]) -> None:
        self._clock = clock
        self._passed = passed
        self._call: Any = None
        self.runs = False

    def begin(self, seconds: float) -> None:
        """Let it pass so many seconds from now, whatever was said before."""
        self.runs = True
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._look)
        else:
            self._call.reset(seconds)

    def stop(self) -> None:
        """Do not let it pass; the call stays, and finds nothing to do."""
        self.runs = False

    def end(self) -> None:
        """Do not let it pass, and leave nothing with the clock."""
        self.runs = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        if self.runs:
            self.runs = False
            self._passed()
