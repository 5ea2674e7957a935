"""What a queue that redacts puts before each content, so that nothing of it is left once it is deleted. Pure.

SQLite zeroes what is deleted, but when it moves rows between pages it leaves copies of them in the free space of the
old ones, and never looks there again. Pages of overflow are never moved, and are zeroed when they are free
(sqlite.org/fileformat2.html, 1.6; secure_delete). The veil is longer than what can lie in a page with other rows, so
the content lies in overflow pages only. So does the salt at the veil's end: the digest that stands with the item is of
all this, and tells nothing of a short text any more when the salt is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

PAGE: Final = 4096  # octets; what of a row lies outside overflow pages is less
SALT: Final = 32  # octets, as many as the digest has

LENGTH: Final = PAGE + SALT


def veiled(content: bytes, random: Callable[[int], bytes]) -> bytes:
    """The octets to store.

    :param random: gives so many octets that nobody can guess.
    """
    return bytes(PAGE) + random(SALT) + content


def unveiled(octets: bytes, size: int) -> bytes:
    """The content again; also of what was stored without a veil.

    :param size: of the content, octets.
    """
    return octets[LENGTH:] if len(octets) == LENGTH + size else octets
