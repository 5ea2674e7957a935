"""A published file, open for reading. It stays what it was when it was opened, whatever is published meanwhile."""

from __future__ import annotations

import os

from netsvc.filestore.digests import Digests
from netsvc.filestore.errors import store_error


class StoredFile:
    """Whoever opened it closes it.

    :ivar descriptor: open for reading.
    :ivar stat: what it was when it was opened.
    """

    def __init__(self, names: tuple[str, ...], descriptor: int, stat: os.stat_result, digests: Digests) -> None:
        self.names = names
        self.descriptor = descriptor
        self.stat = stat
        self._digests = digests

    @property
    def size(self) -> int:
        """Octets, when it was opened."""
        return self.stat.st_size

    @property
    def modified_ns(self) -> int:
        """Nanoseconds since the epoch, when it was opened."""
        return self.stat.st_mtime_ns

    def digest(self) -> bytes | None:
        """Its SHA-256, if that is kept."""
        return self._digests.kept(self.descriptor, self.names, self.stat)

    def read(self, offset: int, length: int) -> bytes:
        """So many octets from there, fewer at its end.

        :raises StoreError: it cannot be read.
        """
        if offset + length >= 1 << 63:  # no file can be so long, no system call knows such a number
            return b""
        try:
            return os.pread(self.descriptor, length, offset)
        except OSError as error:
            raise store_error(error) from error

    def close(self) -> None:
        """Close it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
