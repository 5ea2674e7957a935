"""The entries of a directory, some at a time, so that a directory of any length costs no memory."""

from __future__ import annotations

import os
import stat
from errno import ENOENT

from netsvc.filestore.digests import Digests
from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import StoreError, store_error
from netsvc.filestore.names import readable
from netsvc.filestore.root import DIRECTORY, READ, Root


class Listing:
    """An open directory.

    Hidden names, and names that nobody could ask for, are left out; so is what is neither a file nor a directory. A
    symbolic link shows what it leads to, if that may be had.

    :param names: of the directory.
    :param digests: whether kept digests are told; None: not.
    :raises StoreError: it cannot be had.
    """

    def __init__(self, root: Root, names: tuple[str, ...], digests: Digests | None) -> None:
        self._root = root
        self._names = names
        self._digests = digests
        self._directory = root.open(names, DIRECTORY)
        try:
            self._entries = os.scandir(self._directory)
        except OSError as error:
            os.close(self._directory)
            raise store_error(error) from error
        self._open = True

    def read(self, count: int) -> list[Entry]:
        """The next entries, at most so many, in no order; none at the end.

        :raises StoreError: the directory cannot be read on.
        """
        found: list[Entry] = []
        if not self._open:
            return found
        try:
            for entry in self._entries:
                if readable(entry.name):
                    one = self._entry(entry)
                    if one is not None:
                        found.append(one)
                if len(found) == count:
                    break
        except OSError as error:
            raise store_error(error) from error
        return found

    def close(self) -> None:
        """Close it. It may be called twice."""
        if self._open:
            self._open = False
            self._entries.close()
            os.close(self._directory)

    def _entry(self, entry: os.DirEntry[str]) -> Entry | None:
        try:
            seen = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(seen.st_mode):
                seen = self._root.look((*self._names, entry.name))
        except StoreError:
            return None
        except OSError as error:
            if error.errno == ENOENT:  # removed since it was listed
                return None
            raise
        if stat.S_ISDIR(seen.st_mode):
            return Entry(entry.name, True, 0, seen.st_mtime_ns)
        if not stat.S_ISREG(seen.st_mode):
            return None
        return Entry(entry.name, False, seen.st_size, seen.st_mtime_ns, self._digest(entry.name))

    def _digest(self, name: str) -> bytes | None:
        if self._digests is None:
            return None
        try:
            descriptor = os.open(name, READ | os.O_NOFOLLOW, dir_fd=self._directory)
        except OSError:
            return None
        try:
            return self._digests.kept(descriptor, (*self._names, name), os.fstat(descriptor))
        finally:
            os.close(descriptor)
