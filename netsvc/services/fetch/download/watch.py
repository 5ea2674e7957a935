"""The deadlines of one download: by phase, then idleness and speed of the body, and the whole.

One timer serves them all and is moved only when a deadline comes nearer; what happened since is looked at when it
fires. Time in which octets are held back here (a slow disk, the rate limit) is not the peer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netsvc.services.fetch.download.errors import DownloadError, Transient
from netsvc.services.fetch.download.terms import Terms


class Watch:
    """Deadlines.

    :param clock: IReactorTime.
    :param cut: ends the attempt with an error.
    """

    def __init__(self, clock: Any, terms: Terms, cut: Callable[[DownloadError], None]) -> None:
        self._clock = clock
        self._terms = terms
        self._cut = cut
        self._timer: Any = None
        self._phase: tuple[float, str] | None = None  # its deadline, and what to say
        self._end: float | None = None  # of the whole; it begins with the first phase
        self._is_held: Callable[[], bool] | None = None  # asked while there is a body
        self._moved_at = 0.0
        self._window = (0.0, 0)  # when it ends, octets before it
        self._octets = 0
        self._is_excused = False

    def phase(self, seconds: float, what: str) -> None:
        """From now on something must be over in so many seconds."""
        self._is_held = None
        now = self._clock.seconds()
        if self._end is None and self._terms.total_timeout is not None:
            self._end = now + self._terms.total_timeout
        until = now + seconds
        self._phase = until, f"{what} took longer than {seconds:g} s"
        self._arm(until)

    def body(self, is_held: Callable[[], bool]) -> None:
        """The body comes now.

        :param is_held: whether it is held back here.
        """
        self._phase = None
        self._is_held = is_held
        self._moved_at = now = self._clock.seconds()
        self._window = now + self._terms.speed_window, 0
        self._octets = 0
        self._is_excused = False
        self._arm(now + self._terms.idle_timeout)

    def moved(self, octets: int) -> None:
        """Octets of the body came."""
        self._octets += octets
        self._moved_at = self._clock.seconds()

    def excuse(self) -> None:
        """They are held back here: this window's speed says nothing of the peer."""
        self._is_excused = True

    def released(self) -> None:
        """They may come again."""
        self._is_excused = True
        self._moved_at = self._clock.seconds()

    def stop(self) -> None:
        """Nothing is waited for now; the whole is looked at again with the next phase."""
        self._is_held = self._phase = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, until: float) -> None:
        if self._is_held is not None and self._terms.lowest_speed:
            until = min(until, self._window[0])
        if self._end is not None:
            until = min(until, self._end)
        now = self._clock.seconds()
        if self._timer is None:
            self._timer = self._clock.callLater(max(0.0, until - now), self._look)
        elif self._timer.getTime() > until:
            self._timer.reset(max(0.0, until - now))

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        reason = self._reason(now)
        if reason:
            self._cut(Transient(reason))
        else:
            self._arm(self._phase[0] if self._phase else self._moved_at + self._terms.idle_timeout)

    def _reason(self, now: float) -> str:
        terms = self._terms
        if self._end is not None and now >= self._end:
            return f"the download took longer than {terms.total_timeout:g} s"
        if self._phase is not None:
            return self._phase[1] if now >= self._phase[0] else ""
        if self._is_held is not None and self._is_held():
            self._moved_at = now
            self._is_excused = True
        if now - self._moved_at >= terms.idle_timeout:
            return f"nothing came for {terms.idle_timeout:g} s"
        end, before = self._window
        if now >= end and terms.lowest_speed:
            slow = self._octets - before < terms.lowest_speed * terms.speed_window
            if slow and not self._is_excused:
                return f"it was slower than {terms.lowest_speed} octets/s for {terms.speed_window:g} s"
            self._window = now + terms.speed_window, self._octets
            self._is_excused = False
        return ""
