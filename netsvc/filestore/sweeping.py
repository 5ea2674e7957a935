"""Removes partial files that nobody knows: a crash left them behind before they had a record.

All files are looked at for that, so they are counted at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from errno import EWOULDBLOCK
from typing import TYPE_CHECKING

from netsvc.filestore.records import id_of_part
from netsvc.filestore.room import files_beneath

if TYPE_CHECKING:
    from netsvc.filestore.commons import Commons

YOUNG = 60.0  # seconds: a partial file is made, then locked; no sweeper comes between


def sweep(commons: Commons) -> int:
    """Remove them; how many there were. Those that another process writes to are locked, and stay."""
    changes = commons.room.changes
    octets = removed = 0
    now = commons.wall_clock()
    for path, found in files_beneath(commons.root):
        octets += found.st_size
        upload_id = id_of_part(os.path.basename(path))
        if upload_id is None or abs(now - found.st_mtime) < YOUNG or _is_known(commons, upload_id):
            continue
        freed = _removed(path)
        if freed is not None:
            commons.room.give_back(freed)
            removed += 1
    commons.room.counted(octets, changes)
    return removed


def _is_known(commons: Commons, upload_id: str) -> bool:
    try:
        return commons.partial(upload_id) is not None
    except OSError:  # it has a record, which may be another user's
        return True


def _removed(path: str) -> int | None:
    """Octets of the file, if nobody has it locked and it is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
            return os.fstat(descriptor).st_size
        except OSError as error:
            if error.errno != EWOULDBLOCK:
                raise
        finally:
            os.close(descriptor)
    return None
