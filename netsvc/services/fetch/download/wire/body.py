"""Where the body of an answer ends, RFC 9112 6 and 7: by a length, by chunks, or with the connection. No I/O.

A length and chunks at once, lengths that differ, and any other transfer coding are errors: whoever sends them does not
know himself how long the body is.
"""

from __future__ import annotations

import re
from typing import Protocol

from netsvc.services.fetch.download.wire.head import Head, WireError

LARGEST = (1 << 63) - 1  # octets: what a file's offset can say
MAX_CHUNK_LINE = 4096  # octets of a line with a chunk's size and its extensions, ours
MAX_TRAILERS = 1 << 14  # octets of the fields behind the last chunk, ours

_LENGTH = re.compile("[0-9]{1,19}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\0]*)?\r?")


class Body(Protocol):
    """A body that is being read.

    :ivar size: octets in all, or None while nobody knows.
    :ivar ended: whether it is whole.
    :ivar closes: whether the end of the connection is its end.
    """

    size: int | None
    ended: bool
    closes: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take octets of the connection.

        :return: octets of the body, and what stands behind its end.
        :raises WireError: it is not framed as it must be.
        """


class LengthBody:
    """A body of a length that was declared."""

    closes = False

    def __init__(self, size: int) -> None:
        self.size: int | None = size
        self._left = size
        self.ended = not size

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take octets."""
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        content, rest = (data, b"") if len(data) == self._left else (data[: self._left], data[self._left :])
        self._left = 0
        self.ended = True
        return content, rest


class OpenBody:
    """A body that ends with the connection."""

    closes = True

    def __init__(self) -> None:
        self.size: int | None = None
        self.ended = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take octets."""
        return data, b""


class ChunkedBody:
    """A body in chunks, RFC 9112 7.1.

    chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF; the last has size 0 and no data, then come trailers, which
    are left unread, and an empty line.
    """

    closes = False

    def __init__(self) -> None:
        self.size: int | None = None
        self.ended = False
        self._line = b""
        self._left = 0  # octets of the chunk that is being read
        self._in_data = False
        self._at_end = False  # of the chunk's data: its CRLF comes next
        self._trailers: int | None = None  # octets of them; None before the last chunk

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take octets."""
        content: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.ended:
            if self._in_data:
                piece = data[at : at + self._left]
                content.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._in_data, self._at_end = False, True
                continue
            newline = data.find(b"\n", at)
            stop = end if newline < 0 else newline
            if len(self._line) + stop - at > MAX_CHUNK_LINE:
                raise WireError("a line between the chunks of the answer is too long")
            self._line += data[at:stop]
            at = stop + 1
            if newline >= 0:
                line, self._line = self._line, b""
                self._line_came(line)
        return content[0] if len(content) == 1 else b"".join(content), data[at:]

    def _line_came(self, line: bytes) -> None:
        if self._at_end:
            if line.removesuffix(b"\r"):
                raise WireError("a chunk of the answer is longer than it says")
            self._at_end = False
        elif self._trailers is not None:
            if not line.removesuffix(b"\r"):
                self.ended = True
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS:
                raise WireError("the fields behind the last chunk of the answer are too long")
        else:
            found = _CHUNK.fullmatch(line)
            if found is None or (size := int(found[1], 16)) > LARGEST:
                raise WireError("the size of a chunk of the answer is malformed")
            if size:
                self._left, self._in_data = size, True
            else:
                self._trailers = 0


def body_of(head: Head) -> Body:
    """How the body of the answer to a GET is framed, RFC 9112 6.3.

    :raises WireError: contradictory, or unknown.
    """
    if head.status < 200 or head.status in {204, 304}:
        return LengthBody(0)
    codings = head.words("transfer-encoding")
    lengths = {one.strip() for value in head.values("content-length") for one in value.split(",")}
    if codings:
        if codings != ["chunked"] or lengths or head.minor < 1:
            raise WireError("the answer's Transfer-Encoding is not one that was asked for")
        return ChunkedBody()
    if not lengths:
        return OpenBody()
    length = lengths.pop()
    if lengths or not _LENGTH.fullmatch(length) or int(length) > LARGEST:
        raise WireError("the answer's Content-Length is malformed")
    return LengthBody(int(length))
