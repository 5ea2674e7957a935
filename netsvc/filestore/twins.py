"""Finds names in a directory that could be taken for another: they differ in case or composition only.

A directory is read once, and again when its time of change says that somebody else wrote there; what the store itself
changes is followed. Nothing is held while the store changes a directory, so that several threads may do so at once; a
change of somebody else's in that very moment cannot be told from theirs, which is why what was followed is read again
after a while. Of a name only a number is remembered, so that a million of them cost little; where numbers meet, the
names themselves are looked at.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unicodedata import normalize

from netsvc.filestore.errors import ExistsError
from netsvc.filestore.names import twin_key

DIRECTORIES = 256  # whose names are remembered; the least lately used is dropped
NAMES = 2_000_000  # that are remembered, 8 octets each
FOLLOWED = 1.0  # seconds for which a directory is followed before it is read again, at least
RARELY = 20.0  # times as long as the reading takes, at least: it may cost a twentieth of the time

# Which other characters are in NFC (KELVIN SIGN, GREEK QUESTION MARK, GREEK VARIA). No other character of ASCII is.
_COMPOSED = frozenset("K;`")

Place = tuple[int, int]  # device, inode


class _Known:
    def __init__(self, modified: int, keys: array[int], until: float) -> None:
        self.modified = modified  # when only the store itself has changed the directory since then
        self.keys = keys  # in order; one that is there twice belongs to two names, or came while they were read
        self.until = until  # when it must be read again, if it was changed
        self.changed = False  # by the store
        self.followed = True  # nobody else had written before the changes that are under way began


class Change:
    """What the store is doing to a directory."""

    def __init__(self, twins: Twins, place: Place, known: _Known | None) -> None:
        self._twins = twins
        self._place = place
        self._known = known

    def added(self, name: str) -> None:
        """A name has come that was not there."""
        self._twins.added(self._place, name)

    def removed(self, name: str) -> None:
        """A name is gone."""
        if self._known is not None:
            self._twins.removed(self._place, name, self._known)


class Twins:
    """What is known of the directories of one root. Threads may share it.

    :param clock: seconds, never turned back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # never held over a call that may wait for the disk, but for a reading
        self._known: OrderedDict[Place, _Known] = OrderedDict()
        self._busy: dict[Place, int] = {}  # changes that are under way

    @contextmanager
    def changing(self, directory: int, found: os.stat_result | None = None) -> Iterator[Change]:
        """The store itself changes a directory in here, so what is known of it stays known.

        :param found: what the directory says of itself, if that was asked this moment.
        """
        place = _place(os.fstat(directory) if found is None else found)
        with self._lock:
            known = self._known.get(place)
            busy = self._busy.get(place, 0)
            if known is not None:
                if not busy:
                    known.followed = known.modified == os.fstat(directory).st_mtime_ns
                known.changed = True
            self._busy[place] = busy + 1
        try:
            yield Change(self, place, known)
        finally:
            with self._lock:
                busy = self._busy.pop(place) - 1
                if busy:
                    self._busy[place] = busy
                elif (known := self._known.get(place)) is not None and known.followed:
                    known.modified = os.fstat(directory).st_mtime_ns

    def check(self, directory: int, name: str, *, case: bool) -> None:
        """Whether a new name may stand in a directory.

        :param case: whether names that differ in case only may stand there together.
        :raises ExistsError: another name is there that could be taken for it.
        """
        if case and name.isascii() and _COMPOSED.isdisjoint(name):
            return  # it is composed of nothing, and nothing else is composed so
        with self._lock:
            if not _at(self._keys(directory), _key(name))[1]:
                return
        for other in _shown(directory):
            twins = other != name and twin_key(other) == twin_key(name)
            if twins and (not case or normalize("NFC", other) == normalize("NFC", name)):
                raise ExistsError(f"{other!r} is there, which differs in case or composition only")

    def added(self, place: Place, name: str) -> None:
        """See :meth:`Change.added`."""
        with self._lock:
            known = self._known.get(place)
            if known is not None:
                known.keys.insert(_at(known.keys, _key(name))[0], _key(name))

    def removed(self, place: Place, name: str, before: _Known) -> None:
        """See :meth:`Change.removed`. Of what was read meanwhile, perhaps without it, nothing is taken."""
        with self._lock:
            known = self._known.get(place)
            if known is before:
                at, there = _at(known.keys, _key(name))
                if there:
                    del known.keys[at]

    def _keys(self, directory: int) -> array[int]:
        found = os.fstat(directory)
        place = _place(found)
        known = self._known.get(place)
        if known is None or not self._holds(known, place, found.st_mtime_ns):
            began = self._clock()
            keys = array("q", sorted(map(_key, _shown(directory))))
            now = self._clock()
            known = self._known[place] = _Known(found.st_mtime_ns, keys, now + max(FOLLOWED, RARELY * (now - began)))
            known.changed = place in self._busy
        self._known.move_to_end(place)
        while len(self._known) > DIRECTORIES or sum(len(one.keys) for one in self._known.values()) > NAMES:
            self._known.popitem(last=False)
        return known.keys

    def _holds(self, known: _Known, place: Place, modified: int) -> bool:
        if known.changed and self._clock() >= known.until:
            return False
        return known.followed if place in self._busy else known.modified == modified


def _place(found: os.stat_result) -> Place:
    return found.st_dev, found.st_ino


def _shown(directory: int) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for one in entries:
            if not one.name.startswith("."):
                yield one.name


def _key(name: str) -> int:
    """A number that names have in common which could be taken for each other, and hardly any other ones."""
    return hash(twin_key(name))


def _at(keys: array[int], key: int) -> tuple[int, bool]:
    """Where a key stands or would stand, and whether it is there."""
    at = bisect_left(keys, key)
    return at, at < len(keys) and keys[at] == key
