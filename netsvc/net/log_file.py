"""Opens what is a log file and nothing else: only regular files, at their end, and no link is followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MODE = 0o640  # the group reads, as with syslog's files; the umask may take more away


def open_at_end(path: Path) -> int:
    """A descriptor that appends to a regular file, which is made if need be.

    :raise OSError: it cannot be opened, or is a device, pipe, directory or symbolic link.
    """
    # O_NOFOLLOW: root must not be led by a link that another user put into the log directory.
    # O_NONBLOCK: a pipe without a reader fails at once instead of holding the start up.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
    if path.is_symlink():
        raise OSError("is a symbolic link")
    descriptor = os.open(path, flags, MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("is not a regular file")
    return descriptor
