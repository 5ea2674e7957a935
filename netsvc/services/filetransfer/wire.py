"""Encodes one file as the tutorials' JSON object, piece by piece. No I/O: the octets come from an iterable.

The object is ``{"filename": NAME, "filedata": BASE64}``, octet for octet what ``json.dumps`` makes of the
two (RFC 8259; base64 of RFC 4648 section 4, without line breaks). There is no newline after it; its end is
the end of the connection. A peer reads to EOF, decodes the JSON, then the base64.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Iterable, Iterator

GROUP = 3  # octets that make four base64 digits, RFC 4648 section 4
END = b'"}'


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


def encoded_size(name: str, size: int) -> int:
    """How many octets the object has for a file of `size` octets."""
    return len(json.dumps(name)) + len('{"filename": , "filedata": "') + (size + 2) // GROUP * 4 + len(END)
