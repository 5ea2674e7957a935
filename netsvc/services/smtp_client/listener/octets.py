"""Cuts what arrives on an SMTP connection into command lines, messages and chunks. No I/O.

Only CRLF ends a command (RFC 5321 2.3.8), and only CRLF "." CRLF a message (4.1.1.4). Servers that took LF "." CRLF for
an end too let a stranger hide a second message, of any sender, in the first (CVE-2023-51764 and its like). So a bare CR
or LF in a command ends the conversation; and where one makes something like an end of a message, nobody can say what
the octets behind it are, and the conversation ends there as well. Elsewhere in a message they are let pass, since curl
sends files so: a delivery makes every line end a CRLF and stuffs dots after that, so that no end comes of them later.
"""

from __future__ import annotations

import re

END = b"\r\n.\r\n"  # with the line end before it
_DOT = b"\r\n."
_NO_LINE_END = bytes(set(range(256)) - set(b"\r\n"))
_LIKE_AN_END = re.compile(rb"[\r\n]\.[\r\n]")


class BareLineEndError(Exception):
    """A CR or LF stands alone where a line may end."""


class LongLineError(Exception):
    """A command has no end where it must have one."""


def has_bare_line_end(octets: bytes | bytearray, start: int, end: int) -> bool:
    """Whether a CR or an LF stands alone. Two passes, which cost a fraction of one regular expression."""
    return len(octets[start:end].translate(None, _NO_LINE_END)) != 2 * octets.count(b"\r\n", start, end)


class LineReader:
    """The octets of a connection that nobody has read yet, and the command lines at their beginning."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._scanned = 0

    def __len__(self) -> int:
        return len(self._octets)

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._octets += data

    def take(self) -> bytes:
        """All there is, whatever it is."""
        taken = bytes(self._octets)
        self._octets.clear()
        self._scanned = 0
        return taken

    def line(self, longest: int) -> bytes | None:
        """The next line without its CRLF; None when it is not here yet.

        :param longest: octets with the CRLF.
        :raises BareLineEndError: it has a CR or LF that is not of a CRLF.
        :raises LongLineError: it is longer.
        """
        octets = self._octets
        if not octets:
            return None
        end = octets.find(b"\n", self._scanned, longest)
        if end < 0:
            seen = min(len(octets), longest)
            if octets.find(b"\r", 0, seen - 1) >= 0:
                raise BareLineEndError
            if len(octets) >= longest:
                raise LongLineError
            self._scanned = len(octets)
            return None
        if octets.find(b"\r", 0, end) != end - 1 or end == 0:
            raise BareLineEndError
        line = bytes(octets[: end - 1])
        del octets[: end + 1]
        self._scanned = 0
        return line


class DotReader:
    """One message up to its final dot (RFC 5321 4.5.2).

    :param largest: octets; of a larger one nothing is kept.
    :ivar ambiguous: it has something like an end that is none.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._most = largest * 4 // 3 + 2 * len(
            END
        )  # at most one octet of four is a dot that does not count (RFC 1870)
        self._octets = bytearray(b"\r\n")  # the end of the DATA line is the beginning of a first line's dot
        self._checked = 2  # up to here all line ends are CRLF
        self._kept = True
        self._dotted = False  # a line may begin with a dot, but the last
        self._bare = False  # a CR or LF stands alone
        self.ambiguous = False
        self.too_large = False

    @property
    def held(self) -> int:
        """Octets in memory."""
        return len(self._octets)

    @property
    def is_canonical(self) -> bool:
        """Every line end of it is CR LF, and the last is at its end."""
        return not self._bare

    def drop(self) -> None:
        """Keep nothing of this message, only look for its end."""
        self._kept = False

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived; what came behind the message once its end was there, else None."""
        octets = self._octets
        searched = max(0, len(octets) - len(END) + 1)
        octets += data
        dot = octets.find(_DOT, searched)
        at = octets.find(END, dot) if dot >= 0 else -1
        self._dotted = self._dotted or dot != at
        end = at + len(END) if at >= 0 else len(octets) - octets.endswith(b"\r")
        self._check(end, at)
        if len(octets) > self._most:
            self.too_large = True
            self._kept = False
        if at >= 0:
            rest = bytes(octets[end:])
            del octets[at + 2 :]
            return rest
        if not self._kept and len(octets) > len(END):
            cut = len(octets) - len(END) + 1
            del octets[:cut]
            self._checked = max(0, self._checked - cut)
        return None

    def message(self) -> bytes:
        """The message, whose end has come, without the dots that were stuffed; empty when nothing was kept."""
        if not self._kept:
            return b""
        octets, self._octets = self._octets, bytearray()
        if self._dotted:
            octets = octets.replace(_DOT, b"\r\n")
        if len(octets) - 2 > self._largest:
            self.too_large = True
            return b""
        with memoryview(octets) as all_of_it:  # one copy, of what may be large
            return bytes(all_of_it[2:])

    def _check(self, end: int, at: int) -> None:
        octets = self._octets
        if end > self._checked and not self._bare:
            self._bare = has_bare_line_end(octets, self._checked, end)
        if self._bare and not self.ambiguous:
            found = _LIKE_AN_END.search(octets, max(0, self._checked - 2), end)
            self.ambiguous = found is not None and found.start() != at + 1
        self._checked = max(self._checked, end)
