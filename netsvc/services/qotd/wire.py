"""Reads files of quotes. No I/O.

RFC 865, "Quote Syntax": "There is no specific syntax for the quote. It is recommended that it be limited to the
ASCII printing characters, space, carriage return, and line feed. The quote may be just one or up to several lines,
but it should be less than 512 characters."
"""

from __future__ import annotations

import bisect
import re

from attrs import frozen

LONGEST = 511  # octets with the last CRLF, RFC 865 ("less than 512")

_LINE_END = re.compile(rb"\r\n|\r|\n")

# Proverbs, older than any copyright.
PROVERBS = b"""\
A stitch in time saves nine.

Well begun is half done.

Many hands make light work.

Look before you leap.

Little strokes fell great oaks.

Measure twice, cut once.

Still waters run deep.

A chain is no stronger than its weakest link.

Do not put all your eggs in one basket.

Rome was not built in a day.

For want of a nail the shoe was lost;
for want of a shoe the horse was lost;
for want of a horse the rider was lost.
"""


@frozen
class Quotes:
    """Quotes ready to send.

    :param texts: each with CRLF line ends, from the shortest to the longest.
    :param too_long: how many of the file were left out because they are longer than LONGEST.
    """

    texts: tuple[bytes, ...]
    too_long: int = 0

    def fitting(self, limit: int) -> int:
        """How many, from the front, have at most `limit` octets."""
        return bisect.bisect_right(self.texts, limit, key=len)


def parse(data: bytes) -> Quotes:
    """Octets of a file -> its quotes, without those that are empty or too long.

    Where any line is a single ``%`` such lines separate, as in the files of fortune(6), and quotes may have blank
    lines; elsewhere blank lines separate. Line ends may be of any kind.
    """
    lines = [line.rstrip() for line in _LINE_END.split(data.removeprefix(b"\xef\xbb\xbf"))]
    separator = b"%" if b"%" in lines else b""
    quotes: list[list[bytes]] = [[]]
    for line in lines:
        if line == separator:
            quotes.append([])
        else:
            quotes[-1].append(line)
    # One that starts or ends with blank lines (between two % lines) loses them.
    texts = [b"\r\n".join(quote).strip(b"\r\n") + b"\r\n" for quote in quotes if any(quote)]
    fit = sorted((text for text in texts if len(text) <= LONGEST), key=len)
    return Quotes(tuple(fit), len(texts) - len(fit))
