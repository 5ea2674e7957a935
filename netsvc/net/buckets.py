"""Token buckets by source: how often one source may do something, in bounded memory. No I/O; the clock is a parameter.

Each bucket is one number, the time at which it will be full again (the "theoretical arrival time" of the generic cell
rate algorithm, ITU-T I.371 annex A): taking a token moves it forward by period/count, and a token is there while the
bucket is not further than one period from full.

A full bucket says nothing and is forgotten. When all `capacity` buckets are in use by sources that are not full, the
one nearest to full is given up, not the oldest: whoever sprays addresses throws out other one-shot sources, while to
reset a source that is limited he would have to bring every other bucket down as far as that one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable

from netsvc.config.values import Rate

CAPACITY = 65536  # sources; about 10 MiB when all are in use

_SLOTS = 128  # slots in one period: how finely "nearest to full" is told apart
_FORGOTTEN_AT_ONCE = 2  # full buckets dropped with each take: more than one take can make, so they never pile up
_SLACK = 1e-3  # of one token: forgives the rounding of sums


def never_back(seconds: Callable[[], float]) -> Callable[[], float]:
    """A clock that starts at 0 and stands still while the given one is set back; the wall clock can be."""
    last, now = seconds(), 0.0

    def moved() -> float:
        nonlocal last, now
        read = seconds()
        if read > last:
            now += read - last
        last = read
        return now

    return moved


class Buckets:
    """One token bucket for each source.

    :param rate: `count` tokens a `period`; a bucket holds `count` at most, which is the burst.
    :param clock_seconds: the time in seconds, such as ``reactor.seconds``.
    :param capacity: buckets kept at most.
    """

    def __init__(self, rate: Rate, clock_seconds: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._seconds = never_back(clock_seconds)
        self._capacity = capacity
        self._token = rate.period / rate.count  # seconds that one token takes to come back
        self._furthest = rate.period - self._token * (1 - _SLACK)  # from full, with one token left
        self._width = rate.period / _SLOTS  # seconds
        self._full_at: dict[Hashable, float] = {}
        # The same sources by the slot of time in which they are full; the heap has each slot's number once.
        self._slots: dict[int, dict[Hashable, None]] = {}
        self._numbers: list[int] = []

    def __len__(self) -> int:
        """Buckets in memory."""
        return len(self._full_at)

    def take(self, key: Hashable) -> bool:
        """Take one token from a source's bucket; False when it has none."""
        now = self._seconds()
        self._forget_full(now)
        before = self._full_at.get(key)
        full_at = now if before is None or before < now else before
        if full_at - now > self._furthest:
            return False
        if before is not None:
            del self._slots[int(before / self._width)][key]
        elif len(self._full_at) >= self._capacity:
            self._give_up_one()
        self._put(key, full_at + self._token)
        return True

    def put_back(self, key: Hashable) -> None:
        """Give back one token that was taken."""
        before = self._full_at.pop(key, None)
        if before is not None:
            del self._slots[int(before / self._width)][key]
            self._put(key, before - self._token)

    def _put(self, key: Hashable, full_at: float) -> None:
        self._full_at[key] = full_at
        number = int(full_at / self._width)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heapq.heappush(self._numbers, number)
        slot[key] = None

    def _forget_full(self, now: float) -> None:
        current = int(now / self._width)
        for _ in range(_FORGOTTEN_AT_ONCE):
            if not self._numbers or self._numbers[0] >= current:
                return
            slot = self._slots[self._numbers[0]]
            if slot:
                del self._full_at[slot.popitem()[0]]
            else:
                del self._slots[heapq.heappop(self._numbers)]

    def _give_up_one(self) -> None:
        while not (slot := self._slots[self._numbers[0]]):
            del self._slots[heapq.heappop(self._numbers)]
        del self._full_at[slot.popitem()[0]]
