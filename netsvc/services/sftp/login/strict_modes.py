"""Whether a file could have been written by others than those who may: sshd(8), StrictModes. No Twisted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def fault_of_place(path: Path) -> str | None:
    """What is wrong with who may write a file, or rename what is above it; None when nothing is.

    Links on the way to it are looked at as well: whoever owns one could lead from his own name to another's keys.

    :param path: absolute.
    :raises OSError: it is not there, or cannot be looked at.
    """
    real = Path(os.path.realpath(path))
    owners = {0, os.geteuid()}
    for place in dict.fromkeys((real, *real.parents, path, *path.parents)):
        status = os.stat(place)
        for owner in (status.st_uid, os.lstat(place).st_uid):
            if owner not in owners:
                what = "its owner" if place == real else f"the owner of {place}"
                return f"{what} is the user {owner}"
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_mode & _OTHERS and not sticky:
            what = "it" if place == real else str(place)
            return f"others may write {what} (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def fault_of_secret(path: Path) -> str | None:
    """What is wrong with who may read a private key; None when nothing is.

    :raises OSError: as above.
    """
    mode = stat.S_IMODE(os.stat(path).st_mode)
    return f"others may read it (mode {mode:04o}); it must be 0600" if mode & 0o077 else None
