"""How ``netsvc mail`` shows times, sizes and text of others: as wide as the terminal, and harmless for it."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterator
from datetime import datetime

from netsvc.printable import printable

WIDTH = 80  # columns, where the terminal does not say


def width() -> int:
    """Columns to write in; whoever reads a pipe gets the same as on a small terminal."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH


def columns(text: str) -> int:
    """How many columns a text takes: East Asian wide characters take two (Unicode Annex 11), combining ones none."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def lines(text: str, *, indent: int, limit: int) -> Iterator[str]:
    """Text of others on lines of their own, each indented, broken at blanks; a word longer than a line stays whole."""
    line = ""
    for word in printable(text.replace("\n", " ")).split():
        if line and indent + columns(line) + 1 + columns(word) > limit:
            yield " " * indent + line
            line = ""
        line = f"{line} {word}" if line else word
    if line:
        yield " " * indent + line


def time(seconds: float) -> str:
    """A time on the wall, of this place."""
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # a clock that was far off when it was written
        return f"{seconds:g}"


def span(seconds: float) -> str:
    """A length of time, roughly: two units at most."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left}s"
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or parts:
            parts.append(f"{number}{unit}")
    return " ".join(one for one in parts[:2] if not one.startswith("0"))


def counted(number: int, what: str) -> str:
    """How many there are: ``1 message``, ``2 messages``."""
    return f"{number} {what}{'s' * (number != 1)}"


def size(octets: int) -> str:
    """Octets, in a unit that keeps the number short."""
    number, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def reason(one: dict[str, object]) -> str:
    """Code, status and words of a reply, as far as there are any."""
    return " ".join(str(part) for part in (one["code"], one["enhanced"], one["text"]) if part)
