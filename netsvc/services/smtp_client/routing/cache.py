"""Keeps things for as long as they hold, and no more than so many. No I/O; the clock is a parameter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """What was looked up. When it is full, what was asked for longest ago goes.

    :param now: seconds, growing.
    :param most: how many entries.
    """

    def __init__(self, now: Callable[[], float], most: int) -> None:
        self._now = now
        self._most = most
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What was kept, if it still holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._now():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: K, value: V, seconds: float) -> None:
        """Keep it for so long; for no time, not at all."""
        self._entries.pop(key, None)
        if seconds <= 0:
            return
        while len(self._entries) >= self._most:
            self._entries.popitem(last=False)
        self._entries[key] = (self._now() + seconds, value)
