"""Names that are held while something happens to them. Who wants one of them waits; all others go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from netsvc.filestore.names import twin_key

Key = tuple[int, int, str]  # device and inode of a directory, and what twins have in common


def key_of(directory: tuple[int, int], name: str) -> Key:
    """Under what a name is held: together with all that could be taken for it."""
    return *directory, twin_key(name)


class Held:
    """The names of one root. Shared by threads; who holds one asks for no other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._held: set[Key] = set()
        self._waiting = 0

    @contextmanager
    def holding(self, *keys: Key) -> Iterator[None]:
        """Hold names, all of them at once, so that nobody waits for another in a circle."""
        wanted = set(keys)
        with self._lock:
            while not self._held.isdisjoint(wanted):
                self._waiting += 1
                self._free.wait()
                self._waiting -= 1
            self._held |= wanted
        try:
            yield
        finally:
            with self._lock:
                self._held -= wanted
                if self._waiting:
                    self._free.notify_all()
