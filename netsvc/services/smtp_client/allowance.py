"""The memory of one message that arrives, whose length may not be known: a share of the budget that can grow.

Who knows the length waits for all of it. Who does not is given a first share, and more as the message grows; there is
no waiting then, because messages that are half here could wait for each other for ever: growing may fail.
"""

from __future__ import annotations

from collections.abc import Callable

from netsvc.services.smtp_client.memory import Budget, Share

FIRST = 1 << 18  # octets for a message of unknown length: most mail is smaller


def _ignore() -> None:
    """A share that was not granted at once is given back before it could be."""


class Allowance:
    """What one connection has of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._shares: list[Share] = []

    def ask(self, octets: int | None, granted: Callable[[], None]) -> bool:
        """Ask for memory; False when `granted` will be called later.

        :param octets: None when the length is not known.
        """
        share = self._budget.take(FIRST if octets is None else octets, granted)
        self._shares.append(share)
        return share.granted

    def covers(self, octets: int) -> bool:
        """Whether there is memory for so many octets; asks for as much again when there is not."""
        have = sum(one.octets for one in self._shares)
        if octets <= have:
            return True
        share = self._budget.take(max(octets - have, have), _ignore)
        if not share.granted:
            share.give_back()
            return False
        self._shares.append(share)
        return True

    def give_back(self) -> None:
        """Return everything, or stop waiting."""
        shares, self._shares = self._shares, []
        for one in shares:
            one.give_back()
