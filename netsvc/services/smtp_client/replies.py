"""Reads SMTP replies (RFC 5321 4.2) from octets, whole or in pieces, in bounded memory. No I/O, no Twisted.

    Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
    Reply-code = %x32-35 %x30-35 %x30-39

Accepted beyond the grammar, because servers in use do it: lines that end in a bare LF, a second digit of 6 to 9,
text that is not ASCII. Not accepted: codes that differ within one reply, 1yz and codes of other lengths.
"""

from __future__ import annotations

import re

from attrs import frozen

MAX_LINE = 2048  # octets without line end; RFC 5321 4.5.3.1.5 says 512 with CRLF, Postfix's client takes 2,048
MAX_LINES = 128  # lines in a reply, ours; the longest EHLO replies in use have about 25
MAX_REPLY = 32 * 1024  # octets of one reply, ours
MAX_TEXT = 512  # characters of reply text that are kept, ours

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([- ])(.*))?\Z", re.DOTALL)
# RFC 2034 4, RFC 3463 2: class "." subject "." detail, without leading zeros
_STATUS = re.compile(r"([245])\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})(?=\s|\Z)\s*")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffd]+")
_OLD_AUTH = re.compile(r"(?i)\AAUTH=")
_LIMIT = re.compile(r"[1-9][0-9]{0,5}\Z")  # RFC 9422 4: six digits, no leading zero
_SIZE = re.compile(r"[0-9]{1,20}\Z")  # RFC 1870 4: up to 20 digits


class ReplyError(Exception):
    """What came is not a reply. The text names the rule that was broken and holds nothing that the peer sent."""


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Text of a peer for people and logs: control and direction characters become blanks, at most limit characters."""
    text = _UNPRINTABLE.sub(" ", text).strip()
    return text if len(text) <= limit else text[: limit - 3] + "..."


@frozen
class Reply:
    """One whole reply.

    :param code: 200 to 599.
    :param lines: the text of each line, undecodable octets replaced; not cleaned.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def severity(self) -> int:
        """The first digit: 2 done, 3 go on, 4 not now, 5 never (RFC 5321 4.2.1)."""
        return self.code // 100

    @property
    def enhanced(self) -> str | None:
        """The status code of RFC 3463 on the first line, if its class is that of the reply (RFC 2034 4)."""
        found = _STATUS.match(self.lines[0])
        return found[0].strip() if found and int(found[1]) == self.severity else None

    @property
    def text(self) -> str:
        """The words of all lines, without status codes, raw and unbounded. Clean it before it is shown."""
        return " ".join(_STATUS.sub("", line, count=1) if _STATUS.match(line) else line for line in self.lines)


class ReplyParser:
    """Octets in, replies out. After a ReplyError it yields nothing any more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._code = b""
        self._lines: list[str] = []
        self._octets = 0

    @property
    def residue(self) -> bool:
        """True when octets are here that belong to no reply yet taken."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> None:
        """Add octets as they arrived."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """Take the next whole reply; None when more octets are needed. ReplyError when it is none."""
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            if self._take(line.removesuffix(b"\r")):
                reply = Reply(int(self._code), tuple(self._lines))
                self._code, self._lines, self._octets = b"", [], 0
                return reply
        self._searched = len(self._buffer)
        if self._searched > MAX_LINE + 1:
            raise ReplyError(f"a reply line is longer than {MAX_LINE} octets")
        return None

    def _take(self, line: bytes) -> bool:
        """Add a line to the reply; True when it was the last."""
        if len(line) > MAX_LINE:
            raise ReplyError(f"a reply line is longer than {MAX_LINE} octets")
        match = _LINE.match(line)
        if match is None:
            raise ReplyError("a line begins with no reply code")
        code, separator, text = match.groups()
        if self._lines and code != self._code:
            raise ReplyError("the lines of a reply bear different codes")
        self._code = code
        self._octets += len(line) + 2
        self._lines.append((text or b"").decode("utf-8", "replace"))
        if separator != b"-":
            return True
        if len(self._lines) >= MAX_LINES or self._octets > MAX_REPLY:
            raise ReplyError(f"a reply is longer than {MAX_LINES} lines or {MAX_REPLY} octets")
        return False


@frozen
class Capabilities:
    """What a server said in answer to EHLO (RFC 5321 4.1.1.1); nothing after HELO.

    :param keywords: upper-case keyword -> its parameters, as they came.
    """

    keywords: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, reply: Reply) -> Capabilities:
        """Read the lines after the first. The old ``AUTH=PLAIN`` counts as ``AUTH PLAIN``."""
        keywords: dict[str, tuple[str, ...]] = {}
        for line in reply.lines[1:]:
            words = _OLD_AUTH.sub("AUTH ", line).split()
            if words:
                keyword = words[0].upper()
                keywords[keyword] = keywords.get(keyword, ()) + tuple(words[1:])
        return cls(keywords)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    @property
    def size_limit(self) -> int | None:
        """The greatest message in octets; None when unknown or unlimited (RFC 1870 4: 0)."""
        values = self.keywords.get("SIZE", ())
        return (int(values[0]) or None) if values and _SIZE.match(values[0]) else None

    def limit(self, name: str) -> int | None:
        """A limit that the server tells of itself, such as ``RCPTMAX`` or ``MAILMAX`` (RFC 9422); None: none."""
        for word in self.keywords.get("LIMITS", ()):
            key, _, value = word.partition("=")
            if key.upper() == name and _LIMIT.match(value):
                return int(value)
        return None

    @property
    def mechanisms(self) -> frozenset[str]:
        """The SASL mechanisms offered (RFC 4954 3)."""
        return frozenset(word.upper() for word in self.keywords.get("AUTH", ()))
