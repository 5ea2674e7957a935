"""How much may still be written: a quota, and a floor of free space. Room is claimed before it is used."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from netsvc.filestore.errors import NoSpaceError, QuotaError, store_error
from netsvc.filestore.records import HIDDEN
from netsvc.filestore.terms import Terms


@frozen(kw_only=True)
class Space:
    """What statvfs(3) says, for this account: blocks and files, of which it may use so many."""

    block_size: int
    blocks: int
    free: int
    available: int
    files: int
    files_free: int


def files_beneath(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file, partial ones too, with its path; no link is followed. What vanishes meanwhile is left out.

    The store's own directory is left out, too: its records come and go without any account of room.
    """
    pending = [str(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        if entry.name != HIDDEN:
                            pending.append(entry.path)
                    elif stat.S_ISREG(found.st_mode):
                        yield entry.path, found
        except OSError:
            continue


class Room:
    """The room of one root, for all who write there.

    :param statvfs: os.statvfs, a parameter for tests.
    """

    def __init__(self, root: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._root = root
        self._statvfs = statvfs
        self._lock = threading.Lock()
        self._used: int | None = None  # octets of all files; counted when a quota is first asked about
        self._promised = 0  # octets that were granted and are not written yet
        self._changes = 0
        self._unallocated = 0  # those of them that the disk has not set aside, so that statvfs counts them as free

    def claim(self, octets: int, terms: Terms) -> None:
        """Claim room for what is to be written.

        :raises QuotaError: the account has not so much.
        :raises NoSpaceError: the disk has not.
        """
        if octets <= 0:
            return
        with self._lock:
            if terms.quota is not None and self._count() + octets > terms.quota:
                raise QuotaError(f"the quota of {terms.quota} octets is used up")
            try:
                found = self._statvfs(self._root)
            except OSError as error:
                raise store_error(error) from error
            if found.f_bavail * found.f_frsize - self._unallocated - octets < terms.keep_free:
                raise NoSpaceError("no space left")
            self._changes += 1
            self._promised += octets
            self._unallocated += octets
            if self._used is not None:
                self._used += octets

    def settled(self, octets: int) -> None:
        """So much of what was claimed statvfs counts as free no longer, or must not; negative: it does again."""
        with self._lock:
            self._unallocated -= octets

    def written(self, octets: int) -> None:
        """What was claimed is in the file now."""
        with self._lock:
            self._promised -= octets

    def release(self, octets: int) -> None:
        """What was claimed will not be written."""
        self.written(octets)
        self.give_back(octets)

    def give_back(self, octets: int) -> None:
        """Octets of files were removed. Each name of a file counts."""
        with self._lock:
            self._changes += 1
            if self._used is not None:
                self._used = max(0, self._used - octets)

    @property
    def changes(self) -> int:
        """How often anything was claimed or given back."""
        return self._changes

    def counted(self, octets: int, changes: int) -> None:
        """All files were counted, since others may write past the store, while nobody had to wait for that.

        It holds if nobody wrote meanwhile through the store. Where the quota seems used up, soon nobody does.

        :param changes: their number when the counting began.
        """
        with self._lock:
            if self._used is not None and self._changes == changes and not self._promised:
                self._used = octets

    def space(self, terms: Terms) -> Space:
        """What is free for the account.

        :raises StoreError: the disk does not say.
        """
        try:
            found = self._statvfs(self._root)
        except OSError as error:
            raise store_error(error) from error
        size = found.f_frsize
        floor = -(-terms.keep_free // size)
        blocks, free, available = found.f_blocks, max(0, found.f_bfree - floor), max(0, found.f_bavail - floor)
        if terms.quota is not None:
            with self._lock:
                left = max(0, terms.quota - self._count()) // size
            blocks, free, available = min(blocks, terms.quota // size), min(free, left), min(available, left)
        return Space(
            block_size=size,
            blocks=blocks,
            free=free,
            available=available,
            files=found.f_files,
            files_free=found.f_favail,
        )

    def _count(self) -> int:
        """Octets of all files, and of what was promised to files that are being written."""
        if self._used is None:
            self._used = sum(found.st_size for _, found in files_beneath(self._root)) + self._promised
        return self._used
