"""Keeps request bodies of unknown length in unnamed files until a script can have them; so much of all and no more."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


class SpoolFullError(Exception):
    """The bodies of all requests together are too long."""


class Spool:
    """Makes the files of one engine.

    :param most: octets in all files together.
    :param directory: where they are made, the system's place for temporary files where it cannot be; None for that.
    """

    def __init__(self, most: int, directory: Path | None = None) -> None:
        self._left = most
        self._directory = directory

    def open(self) -> SpoolFile:
        """A new file.

        :raises OSError: no descriptor or no disk is left.
        """
        if self._directory is not None and not self._directory.is_dir():
            with contextlib.suppress(OSError):
                self._directory.mkdir(mode=0o700, parents=True)
        place = self._directory if self._directory is not None and os.access(self._directory, os.W_OK) else None
        return SpoolFile(self, place)

    def take(self, octets: int) -> None:
        """Reserve room.

        :raises SpoolFullError: there is none.
        """
        if octets > self._left:
            raise SpoolFullError("cgi_max_spool is used up")
        self._left -= octets

    def give_back(self, octets: int) -> None:
        """Room is free again."""
        self._left += octets


class SpoolFile:
    """One body."""

    def __init__(self, spool: Spool, directory: Path | None) -> None:
        self._spool = spool
        self._size = 0
        # No name: nothing is left, however the daemon ends.
        self._file = tempfile.TemporaryFile(prefix="netsvc-cgi-", buffering=0, dir=directory)  # noqa: SIM115

    def fileno(self) -> int:
        """The open file."""
        return self._file.fileno()

    def write(self, data: bytes) -> None:
        """Add to its end.

        :raises SpoolFullError: all bodies together are too long.
        :raises OSError: the disk is full.
        """
        self._spool.take(len(data))
        self._size += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Drop it."""
        self._file.close()
        self._spool.give_back(self._size)
        self._size = 0
