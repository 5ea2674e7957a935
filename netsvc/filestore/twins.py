"""Finds names in a directory that could be taken for another: they differ in case or composition only.

A directory is read once, and again when its time of change says that somebody else wrote there; what the store itself
changes is followed.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import normalize

from netsvc.filestore.errors import ExistsError
from netsvc.filestore.names import twin_key

DIRECTORIES = 64  # whose names are remembered, the least lately used is dropped
NAMES = 200_000  # in one directory that is remembered


class _Known:
    def __init__(self, modified: int, names: dict[str, str]) -> None:
        self.modified = modified
        self.names = names


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
            other = self._names(directory).get(twin_key(name), name)
        if other != name and (not case or normalize("NFC", other) == normalize("NFC", name)):
            raise ExistsError(f"{other!r} is there, which differs in case or composition only")

    def added(self, directory: int, name: str) -> None:
        """A name has come; within :meth:`changing`."""
        known = self._of(directory)
        if known is not None:
            known.names[twin_key(name)] = name

    def removed(self, directory: int, name: str) -> None:
        """A name is gone; within :meth:`changing`."""
        known = self._of(directory)
        if known is not None and known.names.get(twin_key(name)) == name:
            del known.names[twin_key(name)]

    def _of(self, directory: int) -> _Known | None:
        found = os.fstat(directory)
        return self._known.get((found.st_dev, found.st_ino))

    def _names(self, directory: int) -> dict[str, str]:
        found = os.fstat(directory)
        key = (found.st_dev, found.st_ino)
        known = self._known.get(key)
        if known is None or known.modified != found.st_mtime_ns:
            with os.scandir(directory) as entries:
                names = {twin_key(one.name): one.name for one in entries if not one.name.startswith(".")}
            known = _Known(found.st_mtime_ns, names)
            if len(names) > NAMES:
                return names
            self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > DIRECTORIES:
            self._known.popitem(last=False)
        return known.names
