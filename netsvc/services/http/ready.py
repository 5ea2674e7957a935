"""ReadyAnswers: small files kept in memory as whole answers, each checked against the file before every use.

The check is one stat, which also sees a change of mode, owner or content by the change time. A file is kept only once
it has been still for a while, since a clock of the file system that ticks in steps could hide a change within one step;
and the whole way to it is walked anew every second, so that a link that appears on the way is seen.
"""

from __future__ import annotations

import os
from collections import OrderedDict

STILL = 2.1  # seconds since the last change; the coarsest file system clock (FAT) has steps of 2
WALK_AGAIN = 1.0  # seconds
LAG = 2.0  # seconds that the caller's time may be behind, and more than it is; a clock that was set back is further
_OVERHEAD = 1024  # octets that an entry costs beside its answer, about

Identity = tuple[int, int, int, int, int]


def identity(found: os.stat_result) -> Identity:
    """What changes when a file does."""
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


class Ready:
    """One answer, but for its status line and the fields that change with time.

    :param path: the file's absolute name.
    :param rest: octets of the answer from the fields of the file to the end of the body.
    :param length: octets of the body.
    """

    __slots__ = ("identity", "lead", "length", "octets", "path", "rest", "walked")

    def __init__(self, path: bytes, identity: Identity, rest: bytes, length: int, walked: float) -> None:
        self.path = path
        self.identity = identity
        self.rest = rest
        self.length = length
        self.walked = walked
        self.lead = b""
        self.octets = b""

    def with_lead(self, lead: bytes) -> bytes:
        """The whole answer; made once for each `lead` object."""
        if self.lead is not lead:
            self.lead = lead
            self.octets = lead + self.rest
        return self.octets

    @property
    def cost(self) -> int:
        """Octets of memory."""
        return 2 * len(self.rest) + _OVERHEAD


class ReadyAnswers:
    """Answers by raw path.

    :param limit: octets of memory, about; the least recently used go first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[bytes, Ready] = OrderedDict()

    @property
    def size(self) -> int:
        """Octets of memory in use, about."""
        return self._size

    def find(self, path: bytes, now: float) -> Ready | None:
        """The answer to a plain GET of this raw path, if the file is what it was.

        :param now: seconds since the epoch; may lag a second behind.
        """
        entry = self._entries.get(path)
        if entry is None:
            return None
        if -LAG < now - entry.walked < WALK_AGAIN:
            try:
                found = os.stat(entry.path)
            except OSError:
                found = None
            if (
                found is not None
                and (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev) == entry.identity
            ):
                self._entries.move_to_end(path)
                return entry
        self.drop(path)
        return None

    def may_keep(self, found: os.stat_result, now: float) -> bool:
        """Whether a file has been still for long enough.

        :param now: seconds since the epoch, from before the file was read.
        """
        return now - max(found.st_mtime, found.st_ctime) >= STILL

    def add(self, key: bytes, entry: Ready) -> None:
        """Keep an answer."""
        self.drop(key)
        if entry.cost > self._limit:
            return
        self._entries[key] = entry
        self._size += entry.cost
        while self._size > self._limit:
            _, oldest = self._entries.popitem(last=False)
            self._size -= oldest.cost

    def drop(self, key: bytes) -> None:
        """Forget one, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.cost
