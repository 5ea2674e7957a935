"""Keeps transfers together under a rate. Threads share it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock

BURST = 0.1  # seconds' worth of octets that may go at once


class Pace:
    """So many octets a second, of all who share it.

    :param rate: octets a second; None for no limit.
    :param clock: seconds that only go forward.
    """

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = Lock()
        self._free_at = clock()  # when what was taken so far has been paid for

    @property
    def piece(self) -> int:
        """Octets that are well moved at once."""
        return 1 << 18 if self._rate is None else max(1, min(1 << 18, int(self._rate * BURST)))

    def take(self, octets: int, stop: Event) -> None:
        """Wait until these octets were allowed, or until the stop."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - BURST) + octets / self._rate
            wait = self._free_at - now
        if wait > 0:
            stop.wait(wait)
