"""The partial files of a store under a running daemon: any may be gone between two looks."""

from __future__ import annotations

import contextlib
from pathlib import Path


def sizes(directory: Path) -> list[int]:
    """Octets that each has."""
    found = []
    for one in directory.glob(".netsvc-*.part"):
        with contextlib.suppress(FileNotFoundError):  # it is published, or given up, since the directory was read
            found.append(one.stat().st_size)
    return found
