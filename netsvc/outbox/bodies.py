"""Large contents in files of their own, one directory, each named by its queue id. Blocking.

A database writes what it is given page by page, first into its log and then into itself. A file is written once: it is
on the disk before the commit of the row that needs it, and is removed only when the end of that row is on the disk.
What a death leaves between the two belongs to no row, and is removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from netsvc.outbox.directories import make_directories, sync_directory

DIRECTORY = "bodies"
LEAST = 256 << 10  # octets of a content that has a file; of a smaller one the syncs of a file cost more than its pages


class Bodies:
    """The files of one outbox, for the one thread that uses its database.

    :raises OSError: (all of it) the disk fails, or is full.
    """

    def __init__(self, queue: Path) -> None:
        self._directory = queue / DIRECTORY
        self._count = len(self._names())  # at most
        self._fresh: dict[str, int] = {}  # descriptors of what is not synced yet
        self._stray: list[str] = []  # whose commit failed

    @property
    def empty(self) -> bool:
        """There is nothing that could be removed."""
        return not self._count

    @property
    def fresh(self) -> tuple[str, ...]:
        """What was written since the last sync."""
        return tuple(self._fresh)

    def write(self, queue_id: str, content: bytes) -> None:
        """Write one, which is not on the disk before :meth:`sync`."""
        make_directories(self._directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._directory / queue_id, flags, 0o600)
        self._fresh[queue_id] = descriptor
        self._count += 1
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]

    def sync(self, needed: Collection[str]) -> None:
        """Bring to the disk what was written.

        :param needed: that has a row; the rest is removed.
        """
        for queue_id in self._fresh.keys() - needed:
            os.close(self._fresh.pop(queue_id))
            self.remove([queue_id])
        if not self._fresh:
            return
        for descriptor in self._fresh.values():
            os.fsync(descriptor)
        sync_directory(self._directory)
        # Until the commit they may be undone.

    def committed(self) -> None:
        """The rows of what was written are on the disk; so there are none any more of what was undone before."""
        self._close()
        stray, self._stray = self._stray, []
        self.remove(stray)

    def undone(self) -> None:
        """The commit failed. Its rows may come back with a death that is soon enough: until the next the files stay."""
        self._stray += self._close()

    def read(self, queue_id: str) -> bytes:
        """One that was written; empty when it is gone."""
        try:
            return (self._directory / queue_id).read_bytes()
        except FileNotFoundError:
            return b""

    def remove(self, queue_ids: Iterable[str]) -> None:
        """Remove some that are not needed; one that cannot be is left to the next start."""
        for queue_id in queue_ids:
            self._count -= 1
            with contextlib.suppress(OSError):
                (self._directory / queue_id).unlink()

    def sweep(self, needed: Callable[[list[str]], Collection[str]]) -> None:
        """Remove what belongs to no row; before anything is written.

        :param needed: says which of some names do.
        """
        names = self._names()
        kept = needed(names)
        self._count = len(names)
        self.remove([one for one in names if one not in kept])

    def _names(self) -> list[str]:
        return os.listdir(self._directory) if self._directory.exists() else []

    def _close(self) -> list[str]:
        fresh, self._fresh = self._fresh, {}
        for descriptor in fresh.values():
            os.close(descriptor)
        return list(fresh)
