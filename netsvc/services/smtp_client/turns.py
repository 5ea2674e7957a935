"""Who may send now: so many at once, and so many to one destination; the others wait in their order.

The outbox leases more attempts than may be sent. Those that wait here are ready, so that a connection that comes free
has its next message at once, and not after the way to the queue and back.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred

AHEAD = 2  # attempts leased for each that may be sent


class Turns:
    """Turns of one process.

    :param total: at once.
    :param each: of these, to one destination.
    """

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._taken = 0
        self._busy: Counter[str] = Counter()
        self._waiting: dict[Deferred[None], str] = {}  # in their order

    def take(self, destination: str) -> Deferred[None] | None:
        """Begin one's turn; :meth:`leave` must follow.

        :return: what fires when it has come, and may be cancelled before; None when it is now.
        """
        if self._taken < self._total and self._busy[destination] < self._each:
            self._begin(destination)
            return None
        turn: Deferred[None] = Deferred(self._give_up)
        self._waiting[turn] = destination
        return turn

    def leave(self, destination: str) -> None:
        """End one's turn; the next one's begins."""
        self._taken -= 1
        self._busy[destination] -= 1
        if not self._busy[destination]:
            del self._busy[destination]
        for turn, wanted in self._waiting.items():
            if self._busy[wanted] < self._each:
                del self._waiting[turn]
                self._begin(wanted)
                turn.callback(None)
                return

    def _give_up(self, turn: Deferred[None]) -> None:
        self._waiting.pop(turn, None)

    def _begin(self, destination: str) -> None:
        self._taken += 1
        self._busy[destination] += 1
