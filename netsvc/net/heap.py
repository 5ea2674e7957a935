"""Large pieces of memory go back to the system when they are free.

The C library of GNU learns from the first large piece that is freed to take the next from its heap (mallopt(3),
M_MMAP_THRESHOLD), where one small neighbour keeps it: a message of 30 MB that went hours ago is still in memory then.
"""

from __future__ import annotations

import ctypes
import os

LARGE = 4 << 20  # octets of a piece that is mapped on its own: for smaller ones the faults of fresh pages cost more
KEPT = 32 << 20  # octets at the end of the heap that are kept for the next

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3


def give_back() -> None:
    """Have it so in this process; not where the environment says something else, or the library is another."""
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE)
    mallopt(_M_TRIM_THRESHOLD, KEPT)
