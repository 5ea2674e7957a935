"""SASLprep (RFC 4013): one form for names and passwords, however they were typed. No I/O, no Twisted."""

from __future__ import annotations

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """The prepared text. ValueError, without the text, for what RFC 4013 prohibits.

    Code points that Unicode 3.2 did not know are let pass: passwords made of them exist.
    """
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(prohibited(char) for char in prepared for prohibited in _PROHIBITED):
        raise ValueError("a character that SASLprep prohibits")
    if any(map(stringprep.in_table_d1, prepared)):  # RFC 3454 6: text that runs from right to left
        ends_so = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends_so or any(map(stringprep.in_table_d2, prepared)):
            raise ValueError("directions are mixed in a way that SASLprep prohibits")
    return prepared
