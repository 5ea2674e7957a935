"""The rate limit that all downloads of a Downloader share: how long to wait after what has come. No I/O."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """A debt of time that octets make and time pays.

    :param seconds: the time.
    :param rate: octets a second, or None for no limit.
    """

    def __init__(self, seconds: Callable[[], float], rate: int | None) -> None:
        self._seconds = seconds
        self._rate = rate
        self._paid_at = 0.0

    def wait(self, octets: int) -> float:
        """Octets came: seconds until more may, 0 when at once."""
        if self._rate is None:
            return 0.0
        now = self._seconds()
        self._paid_at = max(self._paid_at, now) + octets / self._rate
        return self._paid_at - now

    @property
    def at_once(self) -> int | None:
        """Octets to read at once so that the flow is even: a tenth of a second's; None: as many as you like."""
        return None if self._rate is None else max(512, self._rate // 10)
