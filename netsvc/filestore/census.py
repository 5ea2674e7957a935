"""Counts the octets of all files beneath a root, while others go on to write, remove and rename there.

Who looks at one file after the other sees some of them before a change and some after it, and one that moves twice or
never. So of files that the store itself has to do with during a count their accounts say what they have, whatever was
seen of them. What cannot be told so is not done during a count; see :mod:`.room`.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define

from netsvc.filestore.records import HIDDEN

Key = tuple[int, int]  # device and inode


@define(eq=False)
class Account:
    """What one file has of the room of its root.

    :ivar octets: in the file, and claimed for it.
    :ivar users: how many have to do with it at this moment.
    """

    key: Key
    octets: int
    users: int = 0


def files_beneath(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file, partial ones too, with its path; no link is followed. What vanishes meanwhile is left out.

    The store's own directory is left out, too: its records come and go without any account of room.
    """
    pending = [str(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        if entry.name != HIDDEN:
                            pending.append(entry.path)
                    elif stat.S_ISREG(found.st_mode):
                        yield entry.path, found
        except OSError:
            continue


class Census:
    """What a count has seen: each name of a file, 24 octets of memory each."""

    def __init__(self) -> None:
        self._devices = array("Q")
        self._inodes = array("Q")
        self._sizes = array("Q")

    def saw(self, found: os.stat_result) -> None:
        """A file is there."""
        self._devices.append(found.st_dev)
        self._inodes.append(found.st_ino)
        self._sizes.append(found.st_size)

    def octets(self, accounts: Mapping[Key, Account]) -> int:
        """All octets.

        :param accounts: of files that speak for themselves.
        """
        seen = zip(self._devices, self._inodes, self._sizes, strict=True)
        others = sum(size for device, inode, size in seen if (device, inode) not in accounts)
        return others + sum(one.octets for one in accounts.values())
