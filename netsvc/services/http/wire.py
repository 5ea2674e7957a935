"""Cuts what an HTTP/1.x peer sends into messages and bodies. No I/O, no Twisted.

Octets go in with ``receive``; events come out of ``next``, one at a time, so that whoever asks decides how far
pipelined requests are read. What is given back depends on the octets alone and not on how they were cut: the first rule
that is broken in the order of the octets is the one that is reported, once, and nothing is read after it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from attrs import frozen

from netsvc.services.http.chunked import ChunkedDecoder
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.head import Message, RejectedError, parse_head, request_line

MAX_LEADING_LINES = 2  # empty lines ignored before a request line; RFC 9112 2.2 wants at least one
LINE_SLACK = 32  # octets of a request line beside its target: the longest method, two spaces, the version
REMEMBERED_HEAD = 2048  # octets; longer heads are parsed each time
REMEMBERED_HEADS = 512  # so at most 1 MiB of octets and some times that in parsed fields

_TOKEN_START = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


@frozen(kw_only=True)
class Limits:
    """What a request may have.

    :param target: octets of the request target; RFC 9112 3 recommends 8,000 at least for the request line.
    :param head: octets of all fields together, with their line ends; nginx takes 32 KiB.
    :param fields: number of fields; Apache's LimitRequestFields is 100.
    :param body: octets of the decoded body.
    """

    target: int = 8192
    head: int = 32768
    fields: int = 100
    body: int = 1 << 20


class Heads:
    """Parses heads and remembers those that came before: browsers and proxies send the same head over and over.

    A parse is a function of the octets alone, so a remembered one is as good as a new one. Heads with credentials or
    bodies are not kept. Bounded: the oldest goes first.

    :param keys_of: see :func:`netsvc.services.http.head.parse_head`.
    """

    def __init__(self, keys_of: Callable[[RequestHead], tuple[bytes, bytes]] | None = None) -> None:
        self.known: dict[bytes, Message] = {}
        self._keys_of = keys_of

    def parse(self, octets: bytes, line_end: int) -> Message:
        """As :func:`netsvc.services.http.head.parse_head`."""
        message = self.known.get(octets)
        if message is None:
            message = parse_head(octets, line_end, self._keys_of)
            if message.cacheable and len(octets) <= REMEMBERED_HEAD:
                if len(self.known) >= REMEMBERED_HEADS:
                    del self.known[next(iter(self.known))]
                self.known[octets] = message
        return message


@frozen
class Body:
    """Some octets of the body, decoded.

    :param data: never empty.
    """

    data: bytes


class End:
    """The body is whole. Not given for a message without a body."""


END: Final = End()

Event = Message | Body | End | RejectedError


class _State(Enum):
    HEAD = "head"
    LENGTH = "length"
    CHUNKED = "chunked"
    END = "end"
    BROKEN = "broken"


class RequestReader:
    """The receiving half of one HTTP/1.x connection.

    :param limits: what a request may have.
    :param heads: where heads are parsed; shared between connections.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_fields",
        "_heads",
        "_leading",
        "_left",
        "_limits",
        "_line_end",
        "_method",
        "_scanned",
        "_state",
    )

    def __init__(self, limits: Limits, heads: Heads) -> None:
        self._limits = limits
        self._heads = heads
        self._buffer = b""
        self._restart()

    def _restart(self) -> None:
        self._state = _State.HEAD
        self._scanned = 0  # where the line that is being read starts
        self._line_end = -1  # where the request line ends, once it has come
        self._method = ""  # that it has
        self._leading = 0  # empty lines before it
        self._fields = 0
        self._left = 0
        self._decoder: ChunkedDecoder | None = None

    @property
    def buffered(self) -> int:
        """Octets received and not yet given out."""
        return len(self._buffer)

    @property
    def in_body(self) -> bool:
        """Whether a body is being read; False once End was given."""
        return self._state in (_State.LENGTH, _State.CHUNKED, _State.END)

    @property
    def left(self) -> int | None:
        """Octets of the body not yet given out; None when it is chunked."""
        return None if self._state is _State.CHUNKED else self._left

    def receive(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self._state is not _State.BROKEN:
            self._buffer = self._buffer + data if self._buffer else data

    def next(self) -> Event | None:
        """The next event, or None when more octets are needed."""
        try:
            if self._state is _State.HEAD:
                return self._head() if self._buffer else None
            if self._state is _State.LENGTH:
                return self._counted() if self._buffer else None
            if self._state is _State.CHUNKED:
                data = self._chunked()
                if data:
                    return Body(data)
            if self._state is _State.END:
                self._restart()
                return END
        except RejectedError as rejection:
            self._state = _State.BROKEN
            self._buffer = b""
            rejection.method = rejection.method or self._method
            return rejection
        return None

    def _counted(self) -> Event:
        data = self._buffer[: self._left]
        self._buffer = self._buffer[self._left :]
        self._left -= len(data)
        if not self._left:
            self._state = _State.END
        return Body(data)

    def _chunked(self) -> bytes:
        assert self._decoder is not None  # noqa: S101  (the state says so)
        buffer, self._buffer = self._buffer, b""
        data, self._buffer = self._decoder.feed(buffer)
        if self._decoder.done:
            self._state = _State.END
        return data

    def _head(self) -> Event | None:
        buffer = self._buffer
        if not self._scanned and self._line_end < 0:
            # The usual case: a whole head has come at once and is nowhere near a limit.
            end = buffer.find(b"\r\n\r\n") + 4
            if end >= 4:
                octets = buffer if end == len(buffer) else buffer[:end]
                line_end = octets.find(b"\r\n")
                lines = octets.count(b"\n")
                if (
                    0 < line_end <= self._limits.target
                    and end - line_end - 2 <= self._limits.head
                    and lines - 2 <= self._limits.fields
                    and lines == octets.count(b"\r\n")
                ):
                    return self._accept(octets, line_end)
        return self._scan()

    def _scan(self) -> Event | None:
        """Look at one line after the other, so that a fault is found where it is and not at the end of the head."""
        while True:
            buffer = self._buffer
            if self._line_end < 0 and buffer and buffer[0] not in _TOKEN_START and buffer[0] != 0x0D:
                raise RejectedError(400, "this is no HTTP request")
            newline = buffer.find(b"\n", self._scanned)
            have = newline + 1 if newline >= 0 else len(buffer)
            if self._line_end < 0:
                if have > self._limits.target + LINE_SLACK:
                    raise RejectedError(414, "the request target is too long")
            elif have - self._line_end - 2 > self._limits.head:
                raise RejectedError(431, "the fields are too long")
            if newline < 0:
                return None
            if newline == self._scanned or buffer[newline - 1] != 0x0D:
                raise RejectedError(400, "a line ends with a bare LF")
            message = self._line(newline)
            if message is not None:
                return message

    def _line(self, newline: int) -> Message | None:
        """Take the line that ends at newline; the Message when it was the last of the head."""
        empty = newline - 1 == self._scanned
        self._scanned = newline + 1
        if self._line_end >= 0:
            if empty:
                return self._accept(self._buffer[: newline + 1], self._line_end)
            self._fields += 1
            if self._fields > self._limits.fields:
                raise RejectedError(431, "too many fields")
        elif empty:
            self._leading += 1
            if self._leading > MAX_LEADING_LINES:
                raise RejectedError(400, "empty lines instead of a request")
            self._buffer = self._buffer[newline + 1 :]
            self._scanned = 0
        else:
            method, target, _ = request_line(self._buffer[: newline - 1])
            if len(target) > self._limits.target:
                raise RejectedError(414, "the request target is too long", method)
            self._line_end = newline - 1
            self._method = method
        return None

    def _accept(self, octets: bytes, line_end: int) -> Message:
        message = self._heads.parse(octets, line_end)
        self._buffer = self._buffer[len(octets) :]
        self._restart()
        if message.body_length is None:
            self._state = _State.CHUNKED
            self._decoder = ChunkedDecoder(self._limits.body)
        elif message.body_length:
            self._state = _State.LENGTH
            self._left = message.body_length
        return message
