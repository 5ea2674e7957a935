"""Reads a file ahead of a peer that reads it from one end to the other.

A thread reads about 1 MiB at once while the block before it is sent, so that most READs are answered out of
memory and without a thread. Two blocks are held at most. A peer that jumps about gets what it asks for and no more is
read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from netsvc.services.sftp.wire import MAX_OFFSET

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from netsvc.filestore.stored import StoredFile

BLOCK = 1 << 20  # octets read at once, as far as the READs of a peer go into it without a rest


class Reader:
    """One open file. All but what it gives to threads happens in the reactor's.

    :param file: open; :meth:`close` closes it.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param ready: called when a READ that had to wait should be tried again.
    """

    def __init__(self, file: StoredFile, in_thread: Callable[..., Deferred[Any]], ready: Callable[[], None]) -> None:
        self.file = file
        self.sent = 0  # octets
        self._in_thread = in_thread
        self._ready = ready
        self._blocks: list[tuple[int, memoryview]] = []  # by offset, each behind the one before
        self._next = 0  # where a peer goes on that reads from one end to the other
        self._end: int | None = None  # where the file ended when it was last looked at
        self._filling = False
        self._asked: int | None = None  # the offset that a READ waits for
        self._failure: Failure | None = None
        self._age = 0  # counts how often all was forgotten: what was read for an older one is not wanted
        self._closing = False
        self._lent = 0

    def read(self, offset: int, length: int) -> memoryview | bytes | None:
        """The octets there; fewer, or none, where the file ends; None: not yet, :attr:`ready` will be called.

        :param length: not 0.
        :raises Exception: what the store says; the next one may do.
        """
        piece = self._held(offset, length)
        if piece is not None:
            self._next = offset + len(piece)
            self.sent += len(piece)
            return piece
        if self._filling:
            return None
        if self._failure is not None:
            failure, self._failure, self._asked = self._failure, None, None
            failure.raiseException()
        if offset == self._asked or offset > MAX_OFFSET - length:  # it was just looked for: there is nothing
            self._asked = None
            return b""
        self._asked = offset
        self._blocks.clear()
        steady = offset in (0, self._next)
        self._fill(offset, _block(length) if steady else length)
        return None if self._filling else self.read(offset, length)

    def _held(self, offset: int, length: int) -> memoryview | bytes | None:
        """The octets if they are in memory."""
        blocks = self._blocks
        for index, (start, block) in enumerate(blocks):
            begin = offset - start
            if not 0 <= begin < len(block):
                continue
            piece = block[begin : begin + length]
            last = index + 1 == len(blocks)
            if last and not self._filling and self._end is None and (begin or len(piece) < len(block)):
                self._fill(start + len(block), _block(length))
            if len(piece) == length:
                return piece
            if not last:
                return b"".join((piece, blocks[index + 1][1][: length - len(piece)]))
            if self._end == start + len(block):
                return piece
            if len(blocks) > index + 1:  # the block behind it came at once
                return self._held(offset, length)
        return None

    def _fill(self, offset: int, length: int) -> None:
        self._filling = True
        self._in_thread(self.file.read, offset, length).addBoth(self._filled, offset, length, self._age)

    def _filled(self, result: bytes | Failure, offset: int, length: int, age: int) -> None:
        self._filling = False
        if self._closing:
            self._close_if_unused()
            return
        if isinstance(result, Failure):
            self._failure = result
        elif age == self._age:
            self._end = offset + len(result) if len(result) < length else None
            if result:
                self._blocks = [*self._blocks[-1:], (offset, memoryview(result))]
                self._asked = None
        self._ready()

    def forget(self) -> None:
        """Let go of what was read ahead: others need the memory."""
        self._blocks.clear()
        self._age += 1
        self._asked = None

    def close(self) -> None:
        """Close the file, when no thread reads it."""
        self._closing = True
        self._blocks.clear()
        self._close_if_unused()

    def lend(self) -> None:
        """Others read the file in a thread: it is not closed until they have given it back."""
        self._lent += 1

    def give_back(self) -> None:
        """They read it no more."""
        self._lent -= 1
        if self._closing:
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self._filling and not self._lent:
            self._in_thread(self.file.close)


def _block(length: int) -> int:
    """About BLOCK octets, so that READs of this length divide it."""
    return max(BLOCK // length, 1) * length
