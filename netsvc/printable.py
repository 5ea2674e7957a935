"""Makes text of others safe for a terminal or a log. Imports nothing, so that the smallest command may use it."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with all that could move a terminal's cursor or fool an eye spelled out: ``\x1b``, ``\u202e``.

    What counts is :meth:`str.isprintable`: controls, formats (bidirectional overrides), lone surrogates and line
    breaks are not printable. Backslashes stay as they are: this is for people, not for parsing back.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
