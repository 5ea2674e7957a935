"""When a list is run: every so often, at times of the day, or once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred

LONGEST_SLEEP = 60.0  # seconds: after a jump of the clock what is due is found within a minute
AGAIN = 5.0  # seconds until a run that could not be ordered is ordered again


@frozen(kw_only=True)
class Times:
    """When runs are due.

    :param every: seconds from the beginning of one run to the next one's; None: not so.
    :param at: times of the day.
    :param zone: whose times; None: this machine's.
    :param once: without either: a list that was never run is run at the start.
    """

    every: float | None = None
    at: tuple[time, ...] = ()
    zone: tzinfo | None = None
    once: bool = True

    def due(self, *, last: float | None, same: bool, since: float, now: float) -> float | None:
        """When the next run is due, wall clock; None: never.

        :param last: when the last run began, or None; behind `now` when the clock was set back.
        :param same: whether that was of this very list.
        :param since: what times of the day are counted from when there was no run.
        """
        if self.every is None and not self.at:
            return since if self.once and not (same and last is not None) else None
        found = []
        if self.every is not None:
            found.append(since if last is None else min(last, now) + self.every)
        begin = since if last is None else min(last, now)
        found += [self._next(one, begin) for one in self.at]
        return min(found)

    def _next(self, moment: time, after: float) -> float:
        """The next time of that name behind a moment; one that a clock is put forward over comes that much later."""
        day = datetime.fromtimestamp(after, self.zone).date()
        while True:
            found = datetime.combine(day, moment, self.zone).timestamp()
            if found > after:
                return found
            day += timedelta(days=1)


class Schedule(Service):
    """Orders runs when they are due.

    :param reactor: IReactorTime.
    :param now: wall clock, seconds.
    :param last: when the last run was ordered, and whether it was of this list.
    :param order: orders one; what it remembers changes `last`.
    """

    def __init__(
        self,
        times: Times,
        *,
        reactor: Any,
        now: Callable[[], float],
        last: Callable[[], tuple[float | None, bool]],
        order: Callable[[], Awaitable[bool]],
    ) -> None:
        self._times = times
        self._reactor = reactor
        self._now = now
        self._last = last
        self._order = order
        self._timer: Any = None
        self._since = 0.0

    def startService(self) -> None:
        """Begin to look at the clock."""
        super().startService()  # type: ignore[no-untyped-call]
        self._since = self._now()
        self._timer = self._reactor.callLater(0, self._look)

    def stopService(self) -> None:
        """Order nothing more."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        last, same = self._last()
        now = self._now()
        due = self._times.due(last=last, same=same, since=self._since, now=now)
        if due is None:
            return
        wait = due - now
        if wait > 0:
            self._sleep(min(wait, LONGEST_SLEEP))
        else:
            Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        ordered = await self._order()
        if self.running:
            self._sleep(0.0 if ordered else AGAIN)

    def _sleep(self, seconds: float) -> None:
        self._timer = self._reactor.callLater(seconds, self._look)
