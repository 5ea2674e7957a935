"""Decodes the chunked transfer coding of a request. No I/O, no Twisted.

    chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF                 RFC 9112 7.1
    last-chunk = 1*("0") [ chunk-ext ] CRLF trailer-section CRLF

Strict: hex digits only, CRLF only, extensions skipped and bounded, trailers checked, bounded and dropped (RFC 9110
6.5.1: never merged into the fields).
"""

from __future__ import annotations

import re
from enum import Enum

from netsvc.services.http.head import RejectedError

MAX_CHUNK_LINE = 1024  # octets with CRLF; hex digits and extensions; AWS signs chunks with about 100
MAX_EXTENSIONS = 16384  # octets of extensions in one body; Go's net/http allows as much ("excess")
MAX_TRAILERS = 8192  # octets of the trailer section; Apache's LimitRequestFieldSize is 8190 a line
_DIGITS = 15  # hexadecimal digits of a size: 60 bits, so that no sum overflows anything

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d})([ \t]*;[\t -~\x80-\xff]*)?\r\n" % _DIGITS)
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n")


class _State(Enum):
    SIZE = "size"
    DATA = "data"
    CRLF = "crlf"
    TRAILER = "trailer"
    DONE = "done"


class ChunkedDecoder:
    """Takes octets, gives back the body's.

    :param limit: the most octets that the decoded body may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._state = _State.SIZE
        self._buffer = b""  # never more than a line
        self._left = 0
        self._total = 0
        self._extensions = 0
        self._trailers = 0
        self._broken: RejectedError | None = None

    @property
    def done(self) -> bool:
        """Whether the body and its trailers are whole."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take some octets. What stands before a broken rule is given out first; the next call raises.

        :return: (octets of the body, octets behind the body's end: only when done).
        :raises RejectedError: 400, 413 when the body is longer than the limit, 431 for long trailers.
        """
        if self._broken is not None:
            raise self._broken
        found: list[bytes] = []
        try:
            rest = self._decode(self._buffer + data if self._buffer else data, found)
        except RejectedError as rejection:
            if not found:
                raise
            self._broken = rejection
            return b"".join(found), b""
        if self.done:
            return b"".join(found), rest
        self._buffer = rest
        return b"".join(found), b""

    def _decode(self, data: bytes, found: list[bytes]) -> bytes:
        """Append the body's octets in data to found; the rest of data that is not used yet."""
        at = 0
        while self._state is not _State.DONE:
            if self._state is _State.DATA:
                piece = data[at : at + self._left]
                if not piece:
                    break
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _State.CRLF
                continue
            if self._state is _State.CRLF:
                ending = data[at : at + 2]
                if not b"\r\n".startswith(ending):
                    raise RejectedError(400, "no CRLF after a chunk")
                if len(ending) < 2:
                    break
                at += 2
                self._state = _State.SIZE
                continue
            end = data.find(b"\n", at) + 1
            self._check_line(len(data) - at if not end else end - at)
            if not end:
                break
            line = data[at:end]
            at = end
            if self._state is _State.SIZE:
                self._size(line)
            else:
                self._trailer(line)
        return data[at:]

    def _check_line(self, length: int) -> None:
        if self._state is _State.SIZE:
            if length > MAX_CHUNK_LINE:
                raise RejectedError(400, "the line of a chunk's size is too long")
        elif self._trailers + length > MAX_TRAILERS:
            raise RejectedError(431, "the trailer section is too long")

    def _size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise RejectedError(400, "malformed chunk size")
        self._left = int(match[1], 16)
        self._total += self._left
        if self._total > self._limit:
            raise RejectedError(413, "the body is too large")
        if match[2]:
            self._extensions += len(match[2])
            if self._extensions > MAX_EXTENSIONS:
                raise RejectedError(400, "the chunk extensions are too long")
        self._state = _State.DATA if self._left else _State.TRAILER

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if line == b"\r\n":
            self._state = _State.DONE
        elif not _TRAILER.fullmatch(line):
            raise RejectedError(400, "malformed trailer")
