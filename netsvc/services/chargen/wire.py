"""The pattern of the character generator. No I/O.

RFC 864, "Data Syntax": "one popular pattern is 72 character lines of the ASCII printing characters. There are 95
printing characters in the ASCII character set. Sort the characters into an ordered sequence and number the
characters from 0 through 94. Think of the sequence as a ring so that character number 0 follows character number 94.
On the first line (line 0) put the characters numbered 0 through 71. On the next line (line 1) put the characters
numbered 1 through 72. And so on."
"""

from __future__ import annotations

PRINTING = bytes(range(0x20, 0x7F))  # the 95 printing characters of ASCII
LINE = 72  # characters before CRLF, RFC 864
GREATEST_DATAGRAM = 512  # characters, RFC 864 "UDP Based Character Generator Service"
CYCLES = 9  # of the pattern in a block: the most that fit in the 64 KiB that a transport buffers


def line(number: int) -> bytes:
    """Line `number` (from 0; they repeat after 95), 72 characters and CRLF."""
    start = number % len(PRINTING)
    return (PRINTING * 2)[start : start + LINE] + b"\r\n"


PATTERN = b"".join(map(line, range(len(PRINTING))))
"""The 95 lines, 7,030 octets, after which they begin again."""

BLOCK = PATTERN * CYCLES
"""Whole patterns, 63,270 octets: blocks sent one after another are one unbroken pattern."""
