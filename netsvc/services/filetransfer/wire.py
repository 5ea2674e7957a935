"""Encodes one file as the tutorials' JSON object, piece by piece. No I/O: the octets come from an iterable.

The object is ``{"filename": NAME, "filedata": BASE64}``, octet for octet what ``json.dumps`` makes of the
two (RFC 8259; base64 of RFC 4648 section 4, without line breaks). There is no newline after it; its end is
the end of the connection. A peer reads to EOF, decodes the JSON, then the base64.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from unicodedata import category

GROUP = 3  # octets that make four base64 digits, RFC 4648 section 4
END = b'"}'


# Turn the direction of what is shown after them, so that "exe.txt" may be read where "txt.exe" stands (Unicode TR 36).
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNUSABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, octets that are no UTF-8, line separators


def usable_name(name: str) -> bool:
    """Whether a peer could save a file under this name: any script, spaces and emoji, but nothing that deceives."""
    return not any(one in _TURNS or category(one) in _UNUSABLE for one in name)


def encode(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The object in pieces, each made when it is asked for: the name, one piece a block, the end.

    The iterable is asked for its next block only when the piece before was taken, so memory is that of one
    block however long the file is. Blocks may have any length; those of a multiple of three octets cost no copy.

    :param name: the file's name, without a directory.
    :param blocks: the file's octets, in order.
    """
    yield f'{{"filename": {json.dumps(name)}, "filedata": "'.encode("ascii")
    rest = b""
    for block in blocks:
        octets = rest + block if rest else block
        odd = len(octets) % GROUP
        rest = octets[-odd:] if odd else b""
        digits = b2a_base64(octets[:-odd] if odd else octets, newline=False)
        if digits:
            yield digits
    yield b2a_base64(rest, newline=False) + END
