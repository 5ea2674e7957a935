"""The contents of what was accepted a moment ago, so that its attempt need not read them: few, for a short time."""

from __future__ import annotations

from collections.abc import Callable

KEPT = 60.0  # seconds; what is not claimed by then waits for something, and is read when it goes
SHARE = 16  # one content takes at most such a part of the room


class Recent:
    """Contents by queue id.

    :param room: octets that are kept at most.
    :param seconds: a monotonic clock.
    """

    def __init__(self, room: int, seconds: Callable[[], float]) -> None:
        self._most = room // SHARE
        self._room = room
        self._seconds = seconds
        self._contents: dict[str, tuple[float, bytes]] = {}  # with the time, the oldest first

    def keep(self, queue_id: str, content: bytes) -> None:
        """Keep one if there is room. What is there stays: it goes first."""
        now = self._seconds()
        while self._contents:
            oldest = next(iter(self._contents))
            if now - self._contents[oldest][0] <= KEPT:
                break
            self.take(oldest)
        if len(content) <= min(self._most, self._room):
            self._contents[queue_id] = (now, content)
            self._room -= len(content)

    def take(self, queue_id: str) -> bytes | None:
        """One that is kept, which is not kept any more; None: it is to be read."""
        kept = self._contents.pop(queue_id, None)
        if kept is None:
            return None
        self._room += len(kept[1])
        return kept[1]
