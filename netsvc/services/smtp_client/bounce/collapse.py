"""Counts identical bounces instead of mailing each. Pure; the clock is a parameter.

Identical: the same sender, recipient, action and status within a window that begins with the first. That one is mailed
at once; what follows is counted, and when the window ends one notice tells of all of them, with the last one's facts.
In memory: a restart forgets the counts, and every single failure stands in the ledger and the log. When there is no
room for more, mail goes as if nothing were collapsed.
"""

from __future__ import annotations

from attrs import define, frozen

from netsvc.services.smtp_client.bounce.facts import SUCCESS, ItemFacts, TargetFacts

MAX_KEYS = 10_000  # windows at the same time, ours: about 10 MB

_Key = tuple[str, str, str, str]


@frozen
class Counted:
    """What was counted in one window, and the last of it.

    :param count: bounces that were not mailed, at least one.
    """

    item: ItemFacts
    target: TargetFacts
    count: int


@define
class _Window:
    first: str  # the queue id of what was mailed: an attempt that is settled twice is mailed twice, with one key
    ends: float
    last: Counted | None = None


class Collapse:
    """The windows that are open.

    :param window: seconds; 0 collapses nothing.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._open: dict[_Key, _Window] = {}

    def is_mailed(self, item: ItemFacts, target: TargetFacts, now: float) -> bool:
        """Whether this one is to be mailed; else it is counted.

        :param now: seconds on a clock that only this object is told.
        """
        if not self._window or target.action in SUCCESS:
            return True
        key = (item.sender.lower(), target.address.lower(), str(target.action), target.status)
        window = self._open.get(key)
        if window is None:
            if len(self._open) < MAX_KEYS:
                self._open[key] = _Window(item.queue_id, now + self._window)
            return True
        if window.first == item.queue_id:
            return True
        count = window.last.count if window.last else 0
        window.last = Counted(item, target, count + 1)
        return False

    @property
    def next_end(self) -> float | None:
        """When the first window ends; None when none is open."""
        return next((one.ends for one in self._open.values()), None)  # all are equally long: the oldest ends first

    def ended(self, now: float) -> tuple[Counted, ...]:
        """Close the windows that are over; what was counted in them."""
        over = []
        for key, window in self._open.items():
            if window.ends > now:
                break
            over.append((key, window))
        for key, _ in over:
            del self._open[key]
        return tuple(window.last for _, window in over if window.last is not None)
