"""The short way: a head that came before, to an answer in memory. No I/O, no Twisted.

A block of HPACK that leaves the peer's dynamic table as it was means the same as long as that table does not change;
browsers and load generators send such blocks over and over. What was read of them once is remembered.
"""

from __future__ import annotations

from typing import Any

from netsvc.services.http.head import Message
from netsvc.services.http.http2.fields import field, fields, status_field
from netsvc.services.http.http2.wire import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    HAS_PRIORITY,
    HEADERS,
    MAX_FRAME,
    Frame,
    frame_head,
)
from netsvc.services.http.static.ready import Ready

REMEMBERED = 64  # heads of a connection
REMEMBERED_OCTETS = 1024  # encoded; longer ones are read each time

_WHOLE = END_HEADERS | END_STREAM
_OK = status_field(200)
_NOT_MODIFIED = status_field(304)


class Packed:
    """A Ready as HTTP/2 sends it.

    :param ready: the answer.
    """

    __slots__ = ("_blocks", "_body", "_common", "_fields", "_unchanged")

    def __init__(self, ready: Ready) -> None:
        self._fields = fields(ready.headers) + field(b"content-length", b"%d" % ready.length)
        self._unchanged = fields(ready.not_modified)
        self._body = memoryview(ready.rest)[len(ready.rest) - ready.length :]
        self._common = b""
        self._blocks = (b"", b"")

    def _block(self, common: bytes, changed: bool) -> bytes:
        if self._common is not common:
            self._common = common
            self._blocks = (_NOT_MODIFIED + common + self._unchanged, _OK + common + self._fields)
        return self._blocks[changed]

    def frames(self, stream: int, common: bytes, first: bytes, *, changed: bool) -> list[bytes | memoryview]:
        """The answer.

        :param common: the fields of Server and Date; one object for as long as they are the same.
        :param first: what the next block of the connection begins with.
        :param changed: False for a 304.
        """
        block = first + self._block(common, changed)
        length = len(self._body) if changed else 0
        if not length:
            return [frame_head(len(block), HEADERS, _WHOLE, stream), block]
        head = frame_head(len(block), HEADERS, END_HEADERS, stream)
        if length <= MAX_FRAME:
            return [head, block, frame_head(length, DATA, END_STREAM, stream), self._body]
        found: list[bytes | memoryview] = [head, block]
        for at in range(0, length, MAX_FRAME):
            part = self._body[at : at + MAX_FRAME]
            last = END_STREAM if at + MAX_FRAME >= length else 0
            found += (frame_head(len(part), DATA, last, stream), part)
        return found


def packed(ready: Ready) -> Packed:
    """The packed form, made when it is first asked for."""
    found = ready.packed
    if found is None:
        found = ready.packed = Packed(ready)
    return found  # type: ignore[no-any-return]


class RememberedHeads:
    """Plain requests of one connection by their encoded fields.

    :param table: the dynamic table of the connection's decoder.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._known: dict[bytes, Message] = {}
        self._length = 0
        self._newest: Any = None

    def find(self, frame: Frame) -> Message | None:
        """The request in a HEADERS frame, if it is known, and whole."""
        block = _block(frame)
        return None if block is None else self._known.get(block)

    def table_unchanged(self) -> bool:
        """Call when a head was read: whether it left the table as it was; else what is known is forgotten."""
        entries = self._table.dynamic_entries
        newest = entries[0] if entries else None
        if newest is self._newest and len(entries) == self._length:
            return True
        self._newest, self._length = newest, len(entries)
        self._known.clear()
        return False

    def learn(self, frame: Frame, message: Message) -> None:
        """Remember a request.

        :param frame: with its head, the table unchanged by it.
        """
        block = _block(frame)
        if block is not None and len(block) <= REMEMBERED_OCTETS:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[block] = message


def _block(frame: Frame) -> bytes | None:
    """The encoded fields of a request that is one frame, without padding."""
    flags = frame.flags
    if flags == _WHOLE:
        return frame.octets[FRAME_HEAD:]
    if flags == _WHOLE | HAS_PRIORITY:
        return frame.octets[FRAME_HEAD + 5 :]
    return None
