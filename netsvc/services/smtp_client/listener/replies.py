"""Writes SMTP replies: well-formed whatever their text is (RFC 5321 4.2, enhanced codes of RFC 2034). No I/O."""

from __future__ import annotations

from collections.abc import Sequence

MAX_TEXT = 400  # octets of a reply's text; a line has 512 with code and CRLF, RFC 5321 4.5.3.1.5

# Reply codes at the end of a message, RFC 5321 4.2.3; by the first figures of RFC 3463.
_FINAL = {"4.3.1": 452, "5.3.4": 552}


def reply(code: int, status: str, text: str) -> bytes:
    """A reply of one line.

    :param status: RFC 3463, or empty.
    """
    return b"%d %s\r\n" % (code, _clean(f"{status} {text}" if status else text))


def lines(code: int, texts: Sequence[str]) -> bytes:
    """A reply of several lines."""
    last = len(texts) - 1
    return b"".join(b"%d%s%s\r\n" % (code, b" " if at == last else b"-", _clean(one)) for at, one in enumerate(texts))


def final_code(status: str) -> int:
    """The reply code for a message that is not taken."""
    return _FINAL.get(status, 451 if status.startswith("4") else 554)


def _clean(text: str) -> bytes:
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "?" for one in text)
    return text.encode("ascii", "backslashreplace")[:MAX_TEXT]
