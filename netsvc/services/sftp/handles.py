"""What a session has open, by the four octets that its peer names it with. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Generic, TypeVar

T = TypeVar("T")

_FORM = Struct(">I")


class TooManyHandlesError(Exception):
    """The session has as many open as it may."""


class Handles(Generic[T]):
    """A table that does not grow over its bound. A handle that was closed does not come again for 2**32 others.

    :param limit: how many may be open at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[bytes, T] = {}
        self._next = 0

    def __iter__(self) -> Iterator[T]:
        return iter(self._open.values())

    def check(self) -> None:
        """Whether one more may be opened.

        :raises TooManyHandlesError: not before one is closed.
        """
        if len(self._open) >= self._limit:
            raise TooManyHandlesError(f"{self._limit} handles are open, no more are allowed")

    def add(self, thing: T) -> bytes:
        """The handle under which it can be found from now on."""
        handle = _FORM.pack(self._next)
        self._next = (self._next + 1) % 2**32
        self._open[handle] = thing
        return handle

    def get(self, handle: bytes) -> T | None:
        """What it stands for; None: for nothing."""
        return self._open.get(handle)

    def take(self, handle: bytes) -> T | None:
        """What it stood for, and stands for no more."""
        return self._open.pop(handle, None)

    def clear(self) -> list[T]:
        """All that is open, and is so no more."""
        things = list(self._open.values())
        self._open.clear()
        return things
