"""Cuts a text into the segments that a network sends: GSM 7-bit where every character allows it, else UCS-2. No I/O.

A short message has 140 octets: 160 septets or 70 UTF-16 units. Of several, each gives 6 octets to the header that joins
them (3GPP TS 23.040, 9.2.3.24.1): 153 or 67 remain. A character of the extension table is two septets, one beyond
the basic plane two UTF-16 units; neither is split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import frozen

Alphabet = Literal["gsm7", "ucs2"]

# 3GPP TS 23.038, 6.2.1 without ESC, and 6.2.1.1.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")

# alphabet -> (units of a lone segment, units of each of several)
ROOM: dict[Alphabet, tuple[int, int]] = {"gsm7": (160, 153), "ucs2": (70, 67)}


@frozen
class Segments:
    """A text as it is sent.

    :param units: septets, or UTF-16 units, without headers.
    :param parts: at least one, also of an empty text.
    :param left: units that are free in the last part.
    """

    alphabet: Alphabet
    units: int
    parts: tuple[str, ...]
    left: int


def alphabet_of(text: str) -> Alphabet:
    """What the text is sent in."""
    return "gsm7" if all(one in _BASIC or one in _EXTENSION for one in text) else "ucs2"


def foreign(text: str) -> tuple[str, ...]:
    """The characters, each once, for which a text needs UCS-2."""
    return tuple(dict.fromkeys(one for one in text if one not in _BASIC and one not in _EXTENSION))


def _septets(one: str) -> int:
    return 2 if one in _EXTENSION else 1


def _utf16_units(one: str) -> int:
    return 2 if ord(one) > 0xFFFF else 1


def cut(text: str) -> Segments:
    """The segments of a text."""
    alphabet = alphabet_of(text)
    width: Callable[[str], int] = _septets if alphabet == "gsm7" else _utf16_units
    alone, each = ROOM[alphabet]
    units = sum(map(width, text))
    if units <= alone:
        return Segments(alphabet, units, (text,), alone - units)
    parts = []
    start = used = 0
    for at, one in enumerate(text):
        if used + width(one) > each:
            parts.append(text[start:at])
            start, used = at, 0
        used += width(one)
    parts.append(text[start:])
    return Segments(alphabet, units, tuple(parts), each - used)
