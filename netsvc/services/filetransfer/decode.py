r"""Decodes the tutorials' JSON object piece by piece, as it comes from a peer. No I/O, and memory for one piece.

The object is ``{"filename": NAME, "filedata": BASE64}`` (RFC 8259; base64 of RFC 4648 section 4, padded and without
line breaks). Either key may come first; blanks may stand wherever JSON has them; any character may be written as an
escape (some encoders write ``\/``). What else stands in it is refused: another key, a key twice, a value that is no
string, anything behind the closing brace.
"""

from __future__ import annotations

import json
import re
from binascii import Error, a2b_base64
from collections.abc import Callable

from attrs import frozen

MAX_NAME = 6 * 255  # octets of a name as JSON, all of it escapes: NAME_MAX, limits.h
MAX_BLANKS = 64 * 1024  # octets of blanks in all; more are an attempt to keep a connection busy

_BLANKS = b" \t\n\r"
_KEYS = ("filename", "filedata")
_MAX_KEY = 6 * 8  # octets of a key as JSON, all of it escapes
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ESCAPED = re.compile(rb"\\u00([0-9A-Fa-f]{2})")
_BEGUN = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")


class BadObjectError(Exception):
    """It is not the object that was expected; the text says why, fit for the peer and for a log."""


@frozen
class Name:
    """The file's name: any text, which is for others to judge."""

    text: str


@frozen
class End:
    """The closing brace: all is there."""


Event = Name | bytes | End


class Decoder:
    """Takes the octets of one object; gives its name, the file's octets in order, and then the end."""

    def __init__(self) -> None:
        self._step: Callable[[bytes, list[Event]], bytes] = self._begin
        self._held = b""  # the beginning of a token whose rest has not come
        self._digits = b""  # fewer than four
        self._padded = False
        self._key = ""
        self._seen: set[str] = set()
        self._blanks = 0
        self.complete = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next octets.

        :raises BadObjectError: it is not such an object; nothing more may be fed.
        """
        found: list[Event] = []
        rest = self._held + data if self._held else data
        self._held = b""
        while rest:
            rest = self._step(rest, found)
        return found

    def finish(self) -> None:
        """The connection has ended.

        :raises BadObjectError: before the object did.
        """
        if not self.complete:
            raise BadObjectError("the connection ended before the object did")

    def _token(self, data: bytes) -> bytes:
        rest = data.lstrip(_BLANKS)
        self._blanks += len(data) - len(rest)
        if self._blanks > MAX_BLANKS:
            raise BadObjectError(f"more than {MAX_BLANKS} blanks")
        return rest

    def _expect(self, data: bytes, wanted: bytes, then: Callable[[bytes, list[Event]], bytes]) -> bytes:
        rest = self._token(data)
        if not rest:
            return b""
        if rest[:1] != wanted:
            raise BadObjectError(f"{wanted.decode()} was expected, but {rest[:1].decode('latin-1')!a} came")
        self._step = then
        return rest[1:]

    def _begin(self, data: bytes, _: list[Event]) -> bytes:
        return self._expect(data, b"{", self._before_key)

    def _before_key(self, data: bytes, _: list[Event]) -> bytes:
        return self._expect(data, b'"', self._in_key)

    def _in_key(self, data: bytes, _: list[Event]) -> bytes:
        text, rest = self._string(data, _MAX_KEY, "a key")
        if text is not None:
            if text not in _KEYS:
                raise BadObjectError("it has another key than filename and filedata")
            if text in self._seen:
                raise BadObjectError(f"it has {text} twice")
            self._key = text
            self._seen.add(text)
            self._step = self._before_colon
        return rest

    def _before_colon(self, data: bytes, _: list[Event]) -> bytes:
        return self._expect(data, b":", self._before_value)

    def _before_value(self, data: bytes, _: list[Event]) -> bytes:
        return self._expect(data, b'"', self._in_name if self._key == "filename" else self._in_data)

    def _in_name(self, data: bytes, found: list[Event]) -> bytes:
        text, rest = self._string(data, MAX_NAME, "the name")
        if text is not None:
            found.append(Name(text))
            self._step = self._after_value
        return rest

    def _string(self, data: bytes, limit: int, what: str) -> tuple[str | None, bytes]:
        """A string's text and what follows it; None when its end has not come."""
        match = _STRING.match(data)
        if (match.end() - 1 if match else len(data)) > limit:
            raise BadObjectError(f"{what} is too long")
        if match is None:
            self._held = data
            return None, b""
        try:
            return str(json.loads(b'"' + match[0])), data[match.end() :]
        except ValueError:
            raise BadObjectError(f"{what} is no JSON string") from None

    def _in_data(self, data: bytes, found: list[Event]) -> bytes:
        # A quotation mark is no digit, so the first one ends the string, or it is escaped and all is wrong anyway.
        end = data.find(b'"')
        part, rest = (data, b"") if end < 0 else (data[:end], data[end + 1 :])
        if b"\\" in part:
            part = self._unescaped(part, whole=end >= 0)
        part = self._digits + part
        odd = len(part) % 4
        self._digits = part[len(part) - odd :] if odd else b""
        octets = self._octets(part[: len(part) - odd] if odd else part)
        if octets:
            found.append(octets)
        if end >= 0:
            if self._digits:
                raise BadObjectError("filedata is cut: base64 has groups of four digits")
            self._step = self._after_value
        return rest

    def _unescaped(self, part: bytes, *, whole: bool) -> bytes:
        """Base64 digits without JSON's escapes; the beginning of one at the end is held unless that is the end."""
        if not whole and (begun := _BEGUN.search(part)):
            self._held, part = begun[0], part[: begun.start()]
        if b"\\\\" not in part:
            part = _ESCAPED.sub(lambda match: bytes((int(match[1], 16),)), part.replace(b"\\/", b"/"))
        if b"\\" in part:
            raise BadObjectError("filedata is not base64")
        return part

    def _octets(self, digits: bytes) -> bytes:
        if not digits:
            return b""
        if self._padded:
            raise BadObjectError("filedata goes on behind its padding")
        try:
            octets = a2b_base64(digits, strict_mode=True)
        except Error:
            raise BadObjectError("filedata is not base64") from None
        self._padded = digits.endswith(b"=")
        return octets

    def _after_value(self, data: bytes, found: list[Event]) -> bytes:
        if len(self._seen) < len(_KEYS):
            return self._expect(data, b",", self._before_key)
        rest = self._expect(data, b"}", self._behind)
        if self._step == self._behind:
            self.complete = True
            found.append(End())
        return rest

    def _behind(self, data: bytes, _: list[Event]) -> bytes:
        if self._token(data):
            raise BadObjectError("there is more behind the object")
        return b""
