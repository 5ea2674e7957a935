"""Parses the head of what a script prints (RFC 3875, section 6). No I/O, no Twisted.

Rules, beyond the RFC's:

- Lines end with LF or CRLF. A CR elsewhere, a NUL or another control character in a line is a fault.
- A first line ``HTTP/1.1 404 Nope`` is status and reason. A ``Status`` field wins over it; of several the last.
- A line that begins with space or tab continues the one before, joined by a space (as RFC 9112, 5.2, for senders).
- No field at all, only the blank line, is an answer without a type. No blank line is a fault.
- ``Location`` with a path and no status is a local redirect, with a path and a fragment or anything else a client's.
  With a status it is an ordinary field of that answer.
- Fields that belong to the connection are removed, and those that the server itself sends.
- Content-Length is taken when every one of them is the same number, else dropped.

The output of nph- scripts is read by the same rules: their status line is the first line, and the server frames
the body anew, so that whatever they claim, the connection stays in step.
"""

from __future__ import annotations

import re

from attrs import frozen

from netsvc.services.http.exchange import Headers

MAX_HEAD = 64 * 1024  # octets, with the blank line; Apache: 8 KiB a line, nginx: one proxy buffer, 4 to 64 KiB
MAX_FIELDS = 200  # fields; http.client takes 100, Apache 100 from peers
MAX_LENGTH_DIGITS = 18  # digits of a Content-Length: below 2**63

_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/[0-9](?:\.[0-9])? ([0-9]{3})(?: +(.*))?\Z")
_STATUS = re.compile(rb"([0-9]{3})(?:[ \t]+(.*))?\Z")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")  # token, RFC 9110, 5.6.2
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_SERVER = frozenset({b"date", b"server"})


class BadOutputError(Exception):
    """What a script printed is no answer. The text is one clause for the log."""


@frozen(kw_only=True)
class ScriptHead:
    """The head of a script's output, checked.

    :param status: the code to answer with, 200 to 599.
    :param reason: the script's reason phrase, or None.
    :param headers: the fields to send, in order.
    :param length: what the script says its body has, octets, or None.
    :param local: where a local redirect goes, path and query, or None.
    :param typed: whether the answer has a Content-Type, or needs none.
    """

    status: int
    reason: str | None
    headers: Headers
    length: int | None
    local: bytes | None
    typed: bool


def _lines(octets: bytes) -> list[bytes]:
    """The lines of a head, unfolded."""
    found: list[bytes] = []
    for raw in octets.split(b"\n"):
        line = raw.removesuffix(b"\r")
        if _CONTROL.search(line):
            raise BadOutputError("a header line has a control character")
        if line[:1] in (b" ", b"\t") and found:
            found[-1] += b" " + line.strip(b" \t")
        elif line:
            found.append(line)
    return found


def _length(claims: list[bytes]) -> int | None:
    if len(set(claims)) != 1 or not claims[0].isdigit() or len(claims[0]) > MAX_LENGTH_DIGITS:
        return None
    return int(claims[0])


def _status(match: re.Match[bytes] | None) -> tuple[int, str | None]:
    if match is None or not 200 <= int(match[1]) <= 599:
        raise BadOutputError("its status is not one of 200 to 599")
    return int(match[1]), match[2].decode("latin-1") if match[2] else None


def _is_local(location: bytes) -> bool:
    """Whether a Location is RFC 3875's local-pathquery (6.2.2). Two slashes begin another host's name."""
    return location.startswith(b"/") and not location.startswith((b"//", b"/\\")) and b"#" not in location


def _head(octets: bytes) -> ScriptHead:
    lines = _lines(octets)
    if len(lines) > MAX_FIELDS:
        raise BadOutputError(f"it has more than {MAX_FIELDS} header lines")
    status: int | None = None
    reason: str | None = None
    if lines and lines[0].startswith(b"HTTP/"):
        status, reason = _status(_STATUS_LINE.match(lines.pop(0)))
    fields: list[tuple[bytes, bytes]] = []
    named: set[bytes] = set(_CONNECTION | _SERVER)
    claims: list[bytes] = []
    location: bytes | None = None
    typed = False
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.match(name):
            raise BadOutputError("a line of its head is not 'Name: value'")
        key, value = name.lower(), value.strip(b" \t")
        if key == b"status":
            status, reason = _status(_STATUS.match(value))
        elif key == b"content-length":
            claims.append(value)
        else:
            if not value and key in (b"content-type", b"location"):
                continue  # neither may be empty
            if key == b"connection":
                named.update(option.strip(b" \t").lower() for option in value.split(b","))
            elif key == b"location":
                location = value
            elif key == b"content-type":
                typed = True
            fields.append((name, value))
    local = location if location and status is None and _is_local(location) else None
    if status is None:
        status = 302 if location else 200
    bodiless = status in (204, 304)
    if status == 205:  # has no content, and says so (RFC 9110, 15.3.6)
        claims = [b"0"]
    return ScriptHead(
        status=status,
        reason=reason,
        headers=tuple((name, value) for name, value in fields if name.lower() not in named),
        length=_length(claims) if claims and not bodiless else None,
        local=local,
        typed=typed or bodiless or bool(location),
    )


class HeadParser:
    """Takes a script's output piece by piece until its head is whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[ScriptHead, bytes] | None:
        """Some more output; once the head is whole, the head and what of the body came with it.

        :raises BadOutputError: this will never be an answer.
        """
        searched = max(0, len(self._buffer) - 2)  # a blank line's LF CR may stand at the end of what came before
        self._buffer += data
        match = _BLANK_LINE.search(self._buffer, searched)
        if match is None:
            if len(self._buffer) > MAX_HEAD:
                raise BadOutputError(f"its head is longer than {MAX_HEAD} octets")
            return None
        if match.end() > MAX_HEAD:
            raise BadOutputError(f"its head is longer than {MAX_HEAD} octets")
        octets, rest = bytes(self._buffer[: match.start()]), bytes(self._buffer[match.end() :])
        return _head(octets), rest

    @property
    def started(self) -> bool:
        """Whether there was any output."""
        return bool(self._buffer)
