"""Counts identical bounces instead of mailing each. Pure; the clock is a parameter.

Identical: the same sender, recipient, action and status within a window that begins with the first. That one is mailed
at once; what follows is counted, and one notice tells of all of them when the window ends, with the last one's facts.
The windows are in memory; what was counted is not: each count is a new edition of that notice, which the outbox takes
in with the settlement that it tells of and keeps until the window ends. A restart only begins new windows. When there
is no room for more, mail goes as if nothing were collapsed.
"""

from __future__ import annotations

from attrs import define, frozen

from netsvc.services.smtp_client.bounce.facts import SUCCESS, ItemFacts, TargetFacts

MAX_KEYS = 10_000  # windows at the same time, ours: about 10 MB

_Key = tuple[str, str, str, str]


@frozen
class Counted:
    """What was counted in one window so far.

    :param name: of the window, for ever.
    :param count: bounces that were not mailed, at least one.
    :param ends: when the window does, on the clock of :meth:`Collapse.count`.
    """

    name: str
    count: int
    ends: float


@define
class _Window:
    first: str  # the queue id of what was mailed: an attempt that is settled twice is mailed twice, with one key
    index: int  # of the recipient in that
    ends: float
    count: int = 0


class Collapse:
    """The windows that are open.

    :param window: seconds; 0 collapses nothing.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._open: dict[_Key, _Window] = {}

    def count(self, item: ItemFacts, target: TargetFacts, now: float) -> Counted | None:
        """Count one; None: it is to be mailed.

        :param now: seconds on a clock that only this object is told.
        """
        if not self._window or target.action in SUCCESS:
            return None
        self._close(now)
        key = (item.sender.lower(), target.address.lower(), str(target.action), target.status)
        window = self._open.get(key)
        if window is None:
            if len(self._open) < MAX_KEYS:
                self._open[key] = _Window(item.queue_id, target.index, now + self._window)
            return None
        if window.first == item.queue_id:
            return None
        window.count += 1
        name = f"{window.first}:{window.index}:{target.action}:{target.status}"
        return Counted(name, window.count, window.ends)

    def _close(self, now: float) -> None:
        over = []
        for key, window in self._open.items():  # all are equally long: the oldest ends first
            if window.ends > now:
                break
            over.append(key)
        for key in over:
            del self._open[key]
