"""A deadline that is moved with every command and seldom passes. No I/O; the clock is a parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Deadline:
    """One call of the clock, made once and moved: to cancel and make one for each command costs ten times as much.

    :param clock: an IReactorTime.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._call: Any = None
        self._passed: Callable[[], None] | None = (
            None  # only while it runs, so that nothing holds its owner in a circle
        )

    @property
    def runs(self) -> bool:
        """Whether it has begun, and has neither passed nor been stopped."""
        return self._passed is not None

    def begin(self, seconds: float, passed: Callable[[], None]) -> None:
        """Let it pass so many seconds from now, whatever was said before.

        :param passed: called then.
        """
        self._passed = passed
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._look)
        else:
            self._call.reset(seconds)

    def stop(self) -> None:
        """Do not let it pass; the call stays, and finds nothing to do."""
        self._passed = None

    def end(self) -> None:
        """Do not let it pass, and leave nothing with the clock."""
        self._passed = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        passed, self._call, self._passed = self._passed, None, None
        if passed is not None:
            passed()
