"""What SFTP says of files and directories: attributes, and lines as ``ls -l`` prints them; whole directories in blocks.

Blocking, but for the pure functions; a directory of any length is read some entries at a time, as the peer asks.
"""

from __future__ import annotations

import stat
import time
from collections import deque
from typing import TYPE_CHECKING

from netsvc.services.sftp import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsvc.filestore.entry import Entry
    from netsvc.filestore.listing import Listing

FILE_MODE = stat.S_IFREG | 0o644
DIRECTORY_MODE = stat.S_IFDIR | 0o755

MAX_ENTRIES = 100  # in one NAME; as OpenSSH's server
MAX_OCTETS = 30_000  # in one NAME; the draft, section 3, wants every peer to take packets of 34,000
AT_ONCE = 1000  # entries that are read from a directory at a time

_RECENT = 365 * 86400 / 2  # seconds; ls shows the time of day of what is younger, the year of what is older


def attributes(entry: Entry) -> bytes:
    """The attributes of an entry, as they stand in ATTRS and NAME."""
    mode = DIRECTORY_MODE if entry.directory else FILE_MODE
    return wire.attributes(entry.size, mode, entry.modified_ns // 1_000_000_000)


class LongNames:
    """Lines of ``ls -l``.

    :param owner: shown as user and as group.
    :param wall_clock: seconds since the epoch.
    """

    def __init__(self, owner: str, wall_clock: Callable[[], float]) -> None:
        self._owner = f"{owner:<8} {owner:<8}"
        self._wall_clock = wall_clock
        self._minute = (-1, "")

    def line(self, entry: Entry) -> str:
        """One entry's line."""
        kind = "drwxr-xr-x" if entry.directory else "-rw-r--r--"
        return f"{kind}  {1:3} {self._owner} {entry.size:8} {self._time(entry.modified_ns)} {entry.name}"

    def _time(self, modified_ns: int) -> str:
        seconds = modified_ns // 1_000_000_000
        minute, text = self._minute
        if seconds // 60 != minute:  # files that were made together share one
            form = "%b %e %H:%M" if self._wall_clock() - seconds < _RECENT else "%b %e  %Y"
            text = time.strftime(form, time.localtime(seconds))
            self._minute = (seconds // 60, text)
        return text


class Directory:
    """One open directory, in the form of NAMEs.

    :param names: its way below the root.
    :param listing: open; :meth:`close` closes it.
    """

    def __init__(self, names: tuple[str, ...], listing: Listing, long_names: LongNames) -> None:
        self.names = names
        self._listing = listing
        self._long_names = long_names
        self._blocks: deque[tuple[int, bytes]] = deque()

    def ready(self) -> tuple[int, bytes] | None:
        """The next block, if it was read already: a number of entries, and they."""
        return self._blocks.popleft() if self._blocks else None

    def read(self) -> tuple[int, bytes] | None:
        """The next block, from the disk; None at the end. It blocks.

        :raises StoreError: it cannot be read.
        """
        entries = self._listing.read(AT_ONCE)
        if not entries:
            return None
        block: list[bytes] = []
        octets = 0
        for entry in entries:
            name = entry.name.encode()
            one = wire.name_entry(name, self._long_names.line(entry).encode(), attributes(entry))
            if octets + len(one) > MAX_OCTETS or len(block) == MAX_ENTRIES:
                self._blocks.append((len(block), b"".join(block)))
                block, octets = [], 0
            block.append(one)
            octets += len(one)
        self._blocks.append((len(block), b"".join(block)))
        return self._blocks.popleft()

    def close(self) -> None:
        """Close it."""
        self._listing.close()
