"""Finds names in a directory that could be taken for another: they differ in case or composition only.

A directory is read once, and again when its time of change says that somebody else wrote there; what the store itself
changes is followed. Of a name only a number is remembered, so that a million of them cost little; where numbers meet,
the names themselves are looked at.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import normalize

from netsvc.filestore.errors import ExistsError
from netsvc.filestore.names import twin_key

DIRECTORIES = 256  # whose names are remembered; the least lately used is dropped
NAMES = 2_000_000  # that are remembered, 8 octets each


class _Known:
    def __init__(self, modified: int, keys: array[int]) -> None:
        self.modified = modified
        self.keys = keys  # in order; one that is there twice belongs to two names


class Twins:
    """What is known of the directories of one root. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._known: OrderedDict[tuple[int, int], _Known] = OrderedDict()

    @contextmanager
    def changing(self, directory: int) -> Iterator[None]:
        """The store itself changes a directory in here, so what is known of it stays known."""
        with self._lock:
            before = os.fstat(directory)
            known = self._known.get((before.st_dev, before.st_ino))
            try:
                yield
            finally:
                if known is not None and known.modified == before.st_mtime_ns:
                    known.modified = os.fstat(directory).st_mtime_ns

    def check(self, directory: int, name: str, *, case: bool) -> None:
        """Whether a new name may stand in a directory.

        :param case: whether names that differ in case only may stand there together.
        :raises ExistsError: another name is there that could be taken for it.
        """
        with self._lock:
            if not _at(self._keys(directory), _key(name))[1]:
                return
        for other in _shown(directory):
            twins = other != name and twin_key(other) == twin_key(name)
            if twins and (not case or normalize("NFC", other) == normalize("NFC", name)):
                raise ExistsError(f"{other!r} is there, which differs in case or composition only")

    def added(self, directory: int, name: str) -> None:
        """A name has come that was not there; within :meth:`changing`."""
        keys = self._known_keys(directory)
        if keys is not None:
            keys.insert(_at(keys, _key(name))[0], _key(name))

    def removed(self, directory: int, name: str) -> None:
        """A name is gone; within :meth:`changing`."""
        keys = self._known_keys(directory)
        if keys is not None:
            at, there = _at(keys, _key(name))
            if there:
                del keys[at]

    def _known_keys(self, directory: int) -> array[int] | None:
        found = os.fstat(directory)
        known = self._known.get((found.st_dev, found.st_ino))
        return known.keys if known is not None else None

    def _keys(self, directory: int) -> array[int]:
        found = os.fstat(directory)
        key = (found.st_dev, found.st_ino)
        known = self._known.get(key)
        if known is None or known.modified != found.st_mtime_ns:
            known = self._known[key] = _Known(found.st_mtime_ns, array("q", sorted(map(_key, _shown(directory)))))
        self._known.move_to_end(key)
        while len(self._known) > DIRECTORIES or sum(len(one.keys) for one in self._known.values()) > NAMES:
            self._known.popitem(last=False)
        return known.keys


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
