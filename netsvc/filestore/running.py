"""The SHA-256 of the beginning of a file, which is computed as its octets come and only where it must be by reading."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from netsvc.filestore.digests import sha256_of


class Running:
    """It has the octets from the beginning to `at`. They stand in the file before it is told of them.

    :ivar at: how many it has.
    :param descriptor: of the file, open for reading.
    :param value: the digest of the first octets.
    :param at: how many those are.
    """

    def __init__(self, descriptor: int, value: hashlib._Hash, at: int) -> None:
        self._descriptor = descriptor
        self._value = value
        self.at = at

    def changed(self, offset: int) -> None:
        """The file is another from here on: what it has of that is void."""
        if offset < self.at:
            self._value, self.at = hashlib.sha256(), 0

    def follow(self, blocks: Sequence[bytes | bytearray | memoryview]) -> None:
        """These octets follow."""
        for block in blocks:
            self._value.update(block)
            self.at += len(block)

    def reach(self, stop: int) -> None:
        """Go on by reading, at least so far.

        :raises OSError: it cannot be read; it has what it had.
        """
        if self.at < stop:
            running = self._value.copy()  # the reading may fail half-way
            sha256_of(self._descriptor, self.at, stop, running)
            self._value, self.at = running, stop

    def digest(self) -> bytes:
        """The digest of the octets that it has."""
        return self._value.digest()

    def copy(self) -> hashlib._Hash:
        """The state of it, for who goes on later."""
        return self._value.copy()
