"""Removes partial files that nobody knows: a crash left them behind before they had a record.

All files are looked at for that, so they are counted at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from netsvc.filestore.records import id_of_part

if TYPE_CHECKING:
    from netsvc.filestore.commons import Commons

YOUNG = 60.0  # seconds: a partial file is made, then locked; no sweeper comes between


def sweep(commons: Commons) -> int:
    """Remove them; how many there were. Those that another process writes to are locked, and stay."""
    now = commons.wall_clock()
    old: list[tuple[str, str]] = []

    def look(path: str, found: os.stat_result) -> None:
        upload_id = id_of_part(os.path.basename(path))
        if upload_id is not None and abs(now - found.st_mtime) >= YOUNG:
            old.append((path, upload_id))

    commons.room.count(look)
    return sum(_removed(commons, path) for path, upload_id in old if not _is_known(commons, upload_id))


def _is_known(commons: Commons, upload_id: str) -> bool:
    try:
        return commons.partial(upload_id) is not None
    except OSError:  # it has a record, which may be another user's
        return True


def _removed(commons: Commons, path: str) -> bool:
    """Whether nobody has the file locked, and it is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with commons.room.leaving(os.fstat(descriptor)):
                os.unlink(path)
            return True
        finally:
            os.close(descriptor)
    return False
