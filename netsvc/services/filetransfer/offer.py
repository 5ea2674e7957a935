"""Chooses the file that is offered, opens it and reads it in blocks. Blocking; no Twisted.

A file is opened without waiting (O_NONBLOCK: a FIFO put there must not stop the daemon) and is used only if the
open descriptor is a regular file. The path in the settings is the operator's word and may be a symbolic link;
names inside a directory are looked up beneath its descriptor and never through a link, so that nobody who can
write there can offer what lies outside.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from errno import EACCES, ELOOP, ENOENT, ENXIO, EPERM
from pathlib import Path
from threading import Lock

from attrs import frozen

from netsvc.services.filetransfer.wire import usable_name

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PASSED_OVER = frozenset({EACCES, ELOOP, ENOENT, ENXIO, EPERM})  # this entry cannot be had; the next one may


class NothingToOfferError(Exception):
    """There is no file that could be sent; the text says why."""


class FileShrankError(Exception):
    """The file became shorter than it was when it was opened, or was written over: what was read is a mixture."""


@frozen
class OpenFile:
    """An open regular file; whoever holds it closes it.

    :param name: what the peer is told, one name without a directory.
    :param descriptor: open for reading.
    :param size: octets at the time of opening; no more than these are sent.
    :param modified: nanoseconds since the epoch, at the time of opening.
    """

    name: str
    descriptor: int
    size: int
    modified: int

    def blocks(self, length: int) -> Iterator[bytes]:
        """The file's octets in blocks of `length`, the last one shorter.

        One that has grown is taken for one that was appended to, a log perhaps, and ends where it ended.

        :raises FileShrankError: the file has become shorter, also where that was already read, or has other content.
        :raises OSError: it cannot be read.
        """
        position = 0
        while position < self.size:
            block = os.pread(self.descriptor, min(length, self.size - position), position)
            if not block:
                raise FileShrankError(f"it ends at octet {position} of {self.size}")
            position += len(block)
            yield block
        now = os.fstat(self.descriptor)
        if now.st_size < self.size:
            raise FileShrankError(f"it has {now.st_size} of {self.size} octets")
        if now.st_size == self.size and now.st_mtime_ns != self.modified:
            raise FileShrankError("it was written over")

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


class Offer:
    """What one service offers. Threads may share it.

    :param path: a file or a directory.
    :param order: ``newest`` or ``rotate``; for a directory only.
    """

    def __init__(self, path: Path, order: str) -> None:
        self._path = path
        self._order = order
        self._last = ""  # the name that was offered last; of use to rotate only
        self._lock = Lock()

    def open(self) -> OpenFile:
        """Open the file that the next peer gets.

        :raises NothingToOfferError: there is none.
        :raises OSError: the path cannot be used, or the system is out of something.
        """
        descriptor = os.open(self._path, _FILE)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return _regular(descriptor, self._path.name)
        try:
            if not stat.S_ISDIR(mode):
                raise NothingToOfferError("it is neither a file nor a directory")
            if self._order == "newest":
                return _first(descriptor, _newest_first(descriptor))
            with self._lock:
                found = _first(descriptor, _by_turns(descriptor, self._last))
                self._last = found.name
                return found
        finally:
            os.close(descriptor)


def _regular(descriptor: int, name: str) -> OpenFile:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    found = os.fstat(descriptor)
    return OpenFile(name, descriptor, found.st_size, found.st_mtime_ns)


def _first(directory: int, names: Iterable[str]) -> OpenFile:
    """The first of the names that is a regular file now that it is open."""
    for name in names:
        try:
            descriptor = os.open(name, _FILE | os.O_NOFOLLOW, dir_fd=directory)
        except OSError as error:
            if error.errno in _PASSED_OVER:
                continue
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return _regular(descriptor, name)
        os.close(descriptor)
    raise NothingToOfferError("the directory has no file to offer")


def _candidates(directory: int) -> Iterator[os.DirEntry[str]]:
    """Entries that look like files to offer: no hidden one, no link, no name that a peer could not use."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and usable_name(entry.name) and entry.is_file(follow_symlinks=False):
                yield entry


def _newest_first(directory: int) -> list[str]:
    """Names by time of last change, newest first; of the same time, the greatest name first."""
    dated = []
    for entry in _candidates(directory):
        try:
            dated.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        except FileNotFoundError:  # removed since it was listed
            continue
    return [name for _, name in sorted(dated, reverse=True)]


def _by_turns(directory: int, last: str) -> list[str]:
    """Names in order, from the one that follows `last` once around."""
    names = sorted(entry.name for entry in _candidates(directory))
    turn = bisect_right(names, last)
    return names[turn:] + names[:turn]
