"""How many messages may go, to one number, of one template, in all: sliding windows in memory. No I/O.

When the daemon starts they are filled from the records: see :mod:`netsvc.services.sms.desk`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from netsvc.config.values import Rate

SWEEP = 4096  # keys that are added between two looks for those that nothing is remembered of


class Windows:
    """The messages of the past, by key, as far back as the rates reach.

    :param rates: each of which holds; none allows everything.
    """

    def __init__(self, rates: tuple[Rate, ...]) -> None:
        self._rates = rates
        self._longest = max((one.period for one in rates), default=0.0)
        self._times: dict[str, deque[float]] = {}
        self._sweep_at = SWEEP

    @property
    def reach(self) -> float:
        """Seconds that are remembered; 0 when there is no rate."""
        return self._longest

    def wait(self, key: str, count: int, now: float) -> float:
        """Seconds until so many more may go; 0 when they may now, infinity when they never may at once."""
        longest = 0.0
        times = self._times.get(key, ())
        for rate in self._rates:
            within = [one for one in times if one > now - rate.period]
            too_many = len(within) + count - rate.count
            if count > rate.count:
                return math.inf
            if too_many > 0:
                longest = max(longest, within[too_many - 1] + rate.period - now)
        return longest

    def add(self, key: str, count: int, now: float) -> None:
        """Remember that so many went."""
        if not self._rates:
            return
        times = self._times.setdefault(key, deque())
        self._forget(times, now)
        times.extend([now] * count)
        if len(self._times) >= self._sweep_at:
            for old in list(self._times):
                self._forget(self._times[old], now)
                if not self._times[old]:
                    del self._times[old]
            self._sweep_at = len(self._times) + SWEEP

    def take_back(self, key: str, count: int) -> None:
        """Forget the newest: they did not go."""
        times = self._times.get(key)
        for _ in range(min(count, len(times)) if times else 0):
            self._times[key].pop()

    def _forget(self, times: deque[float], now: float) -> None:
        while times and times[0] <= now - self._longest:
            times.popleft()


class Limits:
    """The three limits together: a message counts in all of them or in none."""

    def __init__(
        self, *, per_number: tuple[Rate, ...], per_template: tuple[Rate, ...], total: tuple[Rate, ...]
    ) -> None:
        self._number = Windows(per_number)
        self._template = Windows(per_template)
        self._total = Windows(total)

    def take(self, numbers: Iterable[str], template: str, now: float) -> tuple[str, float] | None:
        """Count a message; or, when a limit forbids it, which one and for how many seconds.

        :param now: a clock that never goes back, seconds.
        """
        each = tuple(numbers)
        waits = [("limit_per_number", self._number.wait(one, 1, now)) for one in each]
        if template:
            waits.append(("limit_per_template", self._template.wait(template, len(each), now)))
        waits.append(("limit_total", self._total.wait("", len(each), now)))
        worst = max(waits, key=lambda one: one[1])
        if worst[1] > 0:
            return worst
        for one in each:
            self._number.add(one, 1, now)
        if template:
            self._template.add(template, len(each), now)
        self._total.add("", len(each), now)
        return None

    @property
    def reach(self) -> float:
        """Seconds that the windows reach back; 0 when there is no limit."""
        return max(self._number.reach, self._template.reach, self._total.reach)

    @property
    def by_number(self) -> bool:
        """Whether numbers are told apart."""
        return self._number.reach > 0

    def recall(self, numbers: Iterable[str], template: str, count: int, at: float) -> None:
        """Count a message of the past; the oldest first, before any is taken.

        :param numbers: as far as they are known.
        :param count: how many they are.
        :param at: by the clock of `take`.
        """
        for one in numbers:
            self._number.add(one, 1, at)
        if template:
            self._template.add(template, count, at)
        self._total.add("", count, at)

    def take_back(self, numbers: Iterable[str], template: str) -> None:
        """A message that was counted was not taken after all."""
        each = tuple(numbers)
        for one in each:
            self._number.take_back(one, 1)
        self._template.take_back(template, len(each))
        self._total.take_back("", len(each))
