"""Reads and writes the data types of SSH (RFC 4251 5). No I/O."""

from __future__ import annotations

import struct

_UINT32 = struct.Struct(">L")


class MalformedError(ValueError):
    """A message does not have the form that its number promises."""


def string(octets: bytes) -> bytes:
    """A string: its length, then itself."""
    return _UINT32.pack(len(octets)) + octets


def uint32(number: int) -> bytes:
    """Four octets, the greatest first."""
    return _UINT32.pack(number)


def name_list(names: tuple[bytes, ...]) -> bytes:
    """Names with commas between them, as a string."""
    return string(b",".join(names))


class Octets:
    """Takes one field after the other from a message.

    :raises MalformedError: (every method) the message ends before the field does.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise MalformedError("the message is cut short")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def byte(self) -> int:
        """One octet, as a number."""
        return self._take(1)[0]

    def boolean(self) -> bool:
        """False for 0, True for all else."""
        return self.byte() != 0

    def uint32(self) -> int:
        """Four octets, the greatest first."""
        return int(_UINT32.unpack(self._take(4))[0])

    def string(self) -> bytes:
        """A string without its length."""
        return self._take(self.uint32())

    def mpint(self) -> int:
        """A multiple precision integer; a negative one is malformed, nothing in SSH needs it."""
        octets = self.string()
        if octets and octets[0] & 0x80:
            raise MalformedError("a number is negative")
        return int.from_bytes(octets, "big")

    def names(self) -> tuple[bytes, ...]:
        """A name-list."""
        octets = self.string()
        return tuple(octets.split(b",")) if octets else ()

    def rest(self) -> bytes:
        """All that was not taken yet."""
        return self._take(len(self._data) - self._at)

    def end(self) -> None:
        """Nothing may be left.

        :raises MalformedError: something is.
        """
        if self._at != len(self._data):
            raise MalformedError("the message is too long")
