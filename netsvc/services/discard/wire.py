"""What of the discarded octets goes to the log, and how often. No I/O; the clock is a parameter."""

from __future__ import annotations

from collections.abc import Callable

from netsvc.config.values import Rate


def shown(data: bytes, longest: int) -> str:
    """The first `longest` octets as printable ASCII: what is not printable, and the backslash, is escaped."""
    return data[:longest].decode("latin-1").encode("unicode_escape").decode("ascii")


class LineBudget:
    """A token bucket for log lines.

    :param rate: lines by time, also the burst; None is no limit.
    :param clock: seconds, from any start.
    """

    def __init__(self, rate: Rate | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate.count) if rate else 0.0
        self._filled = clock()
        self._refused = 0

    def take(self) -> int | None:
        """None if no line may be written now, else how many were refused since the last that was."""
        if self._rate is not None:
            now = self._clock()
            earned = max(0.0, now - self._filled) * self._rate.per_second  # a clock set back earns nothing
            self._filled = now
            self._left = min(float(self._rate.count), self._left + earned)
            if self._left < 1.0:
                self._refused += 1
                return None
            self._left -= 1.0
        refused, self._refused = self._refused, 0
        return refused
