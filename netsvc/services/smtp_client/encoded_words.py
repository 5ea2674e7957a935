"""Header fields in ASCII: RFC 2047 words and RFC 2231 parameters for what is not. No I/O, no Twisted.

The standard library's header parser takes minutes for some fields of 80 KiB; this runs on the reactor's thread and
takes time in proportion to the field. It changes only what is not ASCII, the blanks around it, and the folding.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

WORD_OCTETS = 39  # octets of UTF-8 in one encoded word, which is then 64 characters; RFC 2047 2 allows 75
LINE = 76  # characters of a line that holds an encoded word, RFC 2047 2

_ADDRESSES = re.compile(
    r"(?:resent-)?(?:from|to|cc|bcc|sender|reply-to)|return-path|disposition-notification-to|mail-followup-to", re.I
)
_PARAMETERS = re.compile(r"content-(?:type|disposition)", re.I)
_NAME = re.compile(r"[!-9;-~]+")  # ftext, RFC 5322 2.2
_BLANKS = re.compile(r"([ \t]+)")
_ADDRESS_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<angle><[^<>]*>)|(?P<comment>\((?:[^()\\]|\\.)*\))"""
    r"""|(?P<blank>[ \t]+)|(?P<special>[,:;@])|(?P<atom>[^ \t"<>(),:;@]+)"""
)
_PARAMETER = re.compile(r"""(;[ \t]*)([!#$&+\-^\w]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;\s"]+)""")
_ESCAPE = re.compile(r"\\(.)")

# ("text", ...) stands as it is, ("blank", ...) is white space, ("word", ...) is to be encoded.
Token = tuple[str, str]


class NotExpressibleError(Exception):
    """The field holds something outside ASCII where no encoding exists, such as in an address."""


def ascii_field(name: str, value: str) -> str:
    """A whole field with its CR LF.

    :param value: unfolded.
    """
    if not _NAME.fullmatch(name):
        raise NotExpressibleError
    if _PARAMETERS.fullmatch(name):
        value = _PARAMETER.sub(_parameter, value)
        if not value.isascii():
            raise NotExpressibleError
        tokens = [("blank" if at % 2 else "text", part) for at, part in enumerate(_BLANKS.split(value))]
    elif _ADDRESSES.fullmatch(name):
        tokens = _address_tokens(value)
    else:
        tokens = [
            ("blank" if at % 2 else "text" if part.isascii() else "word", part)
            for at, part in enumerate(_BLANKS.split(value))
        ]
    return _folded(f"{name}:", _encoded(tokens))


def _parameter(match: re.Match[str]) -> str:
    before, name, value = match.groups()
    if value.isascii():
        return match[0]
    return f"{before}{name}*=utf-8''{quote(_unquoted(value), safe='')}"


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _address_tokens(value: str) -> list[Token]:
    tokens: list[Token] = []
    at, last = 0, ("", "")  # last: the last token that is no blank
    while at < len(value):
        match = _ADDRESS_TOKEN.match(value, at)
        if match is None:
            raise NotExpressibleError  # a quote, bracket or comment without its end: one look, no second
        at, text, kind = match.end(), match[0], match.lastgroup
        if kind == "blank":
            tokens.append(("blank", text))
            continue
        if text.isascii():
            if text == "@" and last[0] == "word":
                raise NotExpressibleError
            tokens.append(("text", text))
        elif kind == "comment":
            tokens += [("text", "("), ("word", _ESCAPE.sub(r"\1", text[1:-1])), ("text", ")")]
        elif kind == "angle" or last[1] == "@":
            raise NotExpressibleError
        else:
            tokens.append(("word", _unquoted(text)))
        last = tokens[-1]
    return tokens


def _encoded(tokens: list[Token]) -> list[str]:
    """Pieces that may be folded between where they begin with a blank."""
    items: list[tuple[str, str, str]] = []  # kind, blanks before, text
    blank = ""
    for kind, text in tokens:
        if kind == "blank":
            blank += text
        elif text:
            if kind == "word" and items and items[-1][0] == "word":
                # Readers drop the blanks between two encoded words, so those belong inside (RFC 2047 6.2).
                _, before, begun = items.pop()
                items.append(("word", before, begun + blank + text))
            else:
                items.append((kind, blank, text))
            blank = ""
    pieces: list[str] = []
    nothing = ("", "", "")
    for (_, _, before_it), (kind, before, text), (_, gap, after_it) in zip(
        [nothing, *items], items, [*items[1:], nothing], strict=False
    ):
        if kind == "word":
            # As above, next to words that were encoded already.
            inner = (before if before_it.startswith("=?") else "") + text + (gap if after_it.startswith("=?") else "")
            words = _words(inner)
            pieces.append((before or ("" if before_it == "(" else " ")) + words[0])
            pieces += [f" {word}" for word in words[1:]]
        else:
            needs_blank = not pieces or (pieces[-1].endswith("?=") and text != ")")
            pieces.append((before or (" " if needs_blank else "")) + text)
    return pieces


def _words(text: str) -> list[str]:
    """Encoded words, split between characters (RFC 2047 5)."""
    chunks, chunk = [], b""
    for character in text:
        octets = character.encode()
        if len(chunk) + len(octets) > WORD_OCTETS:
            chunks.append(chunk)
            chunk = b""
        chunk += octets
    chunks.append(chunk)
    return [f"=?utf-8?b?{base64.b64encode(each).decode()}?=" for each in chunks]


def _folded(start: str, pieces: list[str]) -> str:
    lines = [start]
    for piece in pieces:
        if len(lines[-1]) + len(piece) > LINE and piece[:1] in {" ", "\t"} and lines[-1] != start:
            lines.append(piece)
        else:
            lines[-1] += piece
    return "\r\n".join(lines) + "\r\n"
