"""Directories that outlive a power cut. Blocking."""

from __future__ import annotations

import os
from pathlib import Path


def make_directories(directory: Path) -> None:
    """Make a directory and its parents, private, so that they outlive a power cut."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_directory(one.parent)


def sync_directory(directory: Path) -> None:
    """Bring a directory's entries to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
