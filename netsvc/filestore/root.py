"""A directory that no name leads out of.

Where the kernel has openat2(2) it resolves the whole way beneath the root; elsewhere each name is opened relative to
the directory before it, and no symbolic link is followed at all. Either way what was checked is what was opened,
whatever is renamed meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EAGAIN
from pathlib import Path

from netsvc.filestore import kernel
from netsvc.filestore.errors import NotPermittedError, WrongTypeError, store_error

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY  # a FIFO must not block, a terminal not become ours
LOOK = os.O_PATH | os.O_CLOEXEC

RACES = 64  # tries: the kernel gives up with EAGAIN where something beneath the root is renamed during a ".."

Open = Callable[[int, bytes, int], int]


def beneath(resolve: int) -> Open:
    """Opens by openat2(2)."""

    def opened(root: int, path: bytes, flags: int) -> int:
        for _ in range(RACES):
            try:
                return kernel.openat2(root, path, flags, kernel.BENEATH | kernel.NO_MAGICLINKS | resolve)
            except OSError as error:
                if error.errno != EAGAIN:
                    raise
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))

    return opened


def walk(root: int, path: bytes, flags: int) -> int:
    """Open name by name, and follow no link."""
    *way, last = path.split(b"/")
    at = root
    try:
        for name in way:
            below = os.open(name, LOOK | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            if at != root:
                os.close(at)
            at = below
        descriptor = os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    finally:
        if at != root:
            os.close(at)
    if flags & os.O_PATH and stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPermittedError("a symbolic link that is not followed")
    return descriptor


def way_of(follow: str) -> Open:
    """How paths are opened here.

    :param follow: ``inside`` or ``no``: see :class:`.terms.Terms`.
    """
    if not kernel.has_openat2():
        return walk
    return beneath(kernel.NO_SYMLINKS if follow == "no" else 0)


class Root:
    """The root of one store. It may itself be reached by links, and may be exchanged while the daemon runs.

    :param path: absolute.
    :param open_path: how: :func:`way_of` says what is right here.
    """

    def __init__(self, path: Path, open_path: Open) -> None:
        self.path = path
        self._open = open_path

    def open(self, names: tuple[str, ...], flags: int) -> int:
        """Open what is there.

        :return: a descriptor, which the caller closes.
        :raises StoreError: it cannot be had.
        """
        try:
            if not names:
                return os.open(self.path, flags | os.O_DIRECTORY | os.O_CLOEXEC)
            root = os.open(self.path, LOOK | os.O_DIRECTORY)
            try:
                return self._open(root, os.fsencode("/".join(names)), flags)
            finally:
                os.close(root)
        except OSError as error:
            raise store_error(error) from error

    def open_file(self, names: tuple[str, ...]) -> tuple[int, os.stat_result]:
        """Open a regular file for reading; the descriptor and what it says of itself.

        :raises StoreError: it cannot be had, or is something else.
        """
        descriptor = self.open(names, READ)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return descriptor, found
        os.close(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise WrongTypeError("a directory")
        raise NotPermittedError("not a regular file")

    def look(self, names: tuple[str, ...]) -> os.stat_result:
        """What stands there.

        :raises StoreError: nothing, or it cannot be had.
        """
        descriptor = self.open(names, LOOK)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def directory(self, names: tuple[str, ...]) -> Iterator[int]:
        """A directory, open; closed at the end.

        :raises StoreError: it cannot be had, or is none.
        """
        descriptor = self.open(names, DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
