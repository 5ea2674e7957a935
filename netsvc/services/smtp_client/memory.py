"""A budget of octets that many share: who finds no room waits his turn, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Share:
    """Part of a budget, granted or waited for. Give it back once, whatever became of it."""

    def __init__(self, budget: Budget, octets: int, granted: Callable[[], None]) -> None:
        self._budget = budget
        self.octets = octets
        self.tell = granted
        self.granted = False

    def give_back(self) -> None:
        """Return the octets, or stop waiting for them."""
        self._budget.give_back(self)


class Budget:
    """Octets to share. A share larger than all of it is granted alone.

    :param octets: how much at the same time.
    """

    def __init__(self, octets: int) -> None:
        self._octets = octets
        self._used = 0
        self._waiting: deque[Share] = deque()

    def take(self, octets: int, granted: Callable[[], None]) -> Share:
        """A share; when it is not granted at once, `granted` is called when it is."""
        share = Share(self, octets, granted)
        if self._waiting or not self._fits(share):
            self._waiting.append(share)
        else:
            self._grant(share)
        return share

    def give_back(self, share: Share) -> None:
        """See :meth:`Share.give_back`."""
        if share.granted:
            share.granted = False
            self._used -= share.octets
        else:
            self._waiting.remove(share)
        while self._waiting and self._fits(self._waiting[0]):
            next_one = self._waiting.popleft()
            self._grant(next_one)
            next_one.tell()

    def _fits(self, share: Share) -> bool:
        return not self._used or self._used + share.octets <= self._octets

    def _grant(self, share: Share) -> None:
        share.granted = True
        self._used += share.octets
