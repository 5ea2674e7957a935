"""Builds the head of an HTTP/1.x answer and its chunks. No I/O, no Twisted; the time is a parameter.

status-line = HTTP-version SP status-code SP [ reason-phrase ] CRLF   RFC 9112 4
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_YEAR_1 = -62135596800  # seconds; file systems have times before and after what a date can say
_YEAR_9999 = 253402300799
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",  # these are called otherwise before Python 3.13
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def reason_phrase(status: int) -> str:
    """The usual phrase of a status, or "" for one that has none."""
    return _PHRASES.get(status, "")


def http_date(seconds: float) -> bytes:
    """Seconds since the epoch as an IMF-fixdate (RFC 9110 5.6.7), which begins with the year 1 and ends with 9999."""
    return _date(int(min(max(seconds, _YEAR_1), _YEAR_9999) // 1))


@lru_cache(maxsize=1024)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode("ascii")


def status_line(status: int, reason: str | None = None) -> bytes:
    """A status line with its CRLF. The version is always 1.1 (RFC 9110 6.2: the server's own).

    A reason with anything but visible ASCII and spaces is replaced by the usual one.
    """
    if reason is None or not (reason.isascii() and reason.isprintable()):
        reason = reason_phrase(status)
    return b"HTTP/1.1 %d %s\r\n" % (status, reason.encode("ascii"))


def field_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header fields as lines.

    :raises ValueError: a name or value would break the message (CR, LF, NUL ...): an answer is never split.
    """
    lines = []
    for name, value in headers:
        if not _NAME.fullmatch(name) or _BAD_IN_VALUE.search(value):
            raise ValueError(f"a header field cannot be sent: {name!r}")
        lines.append(b"%s: %s\r\n" % (name, value))
    return b"".join(lines)


def may_have_body(method: str, status: int) -> bool:
    """Whether the answer has a body at all (RFC 9112 6.3, rule 1)."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)


def framing(method: str, status: int, length: int | None, version: tuple[int, int]) -> tuple[bytes, bool, bool]:
    """The fields that say how long the body is.

    HEAD gets what GET would get (RFC 9110 9.3.2).

    :param length: octets of the body, or None when that is not known.
    :return: (field lines, whether the body is chunked, whether only closing the connection ends it).
    """
    if status < 200 or status in (204, 304):  # RFC 9110 8.6; a 304 may have one, but says nothing with it
        return b"", False, False
    if length is not None:
        return b"Content-Length: %d\r\n" % length, False, False
    if version == (1, 0):
        return b"", False, method != "HEAD"
    return b"Transfer-Encoding: chunked\r\n", method != "HEAD", False


def connection_line(keep_alive: bool, version: tuple[int, int]) -> bytes:
    """The Connection field, where it says anything: 1.1 persists and 1.0 closes by default (RFC 9112 9.3)."""
    if not keep_alive:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if version == (1, 0) else b""


def chunk(data: bytes) -> bytes:
    """Data, not empty, as one chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)
