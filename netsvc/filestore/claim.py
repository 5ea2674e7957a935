"""What one upload has of the room of its root: what is in its file, and what it may still write. No I/O."""

from __future__ import annotations

import os

from netsvc.filestore.errors import NoSpaceError, QuotaError
from netsvc.filestore.room import Room
from netsvc.filestore.terms import Terms

STEP = 1 << 20  # octets that are claimed at once where the size is not known


class Claim:
    """Its account with a Room.

    :param found: the state of its file: what is in that is in the room's account already.
    :ivar length: octets that are in the file.
    :ivar ahead: octets that were claimed and are not in the file.
    """

    def __init__(self, room: Room, terms: Terms, found: os.stat_result) -> None:
        self._room = room
        self._terms = terms
        self._account = room.open(found)
        self.length = found.st_size
        self.ahead = 0
        self._loose = 0  # those of them that the disk has not set aside

    def reach(self, stop: int, *, sized: bool) -> None:
        """Claim room up to there.

        :param sized: whether the file's size is known; else there are steps, which grow with the file.
        :raises StoreError: there is not so much.
        """
        missing = stop - self.length - self.ahead
        if missing <= 0:
            return
        step = missing if sized else max(missing, min(STEP, self.length))
        try:
            self._room.claim(step, self._terms, self._account)
        except (QuotaError, NoSpaceError):
            if step == missing:
                raise
            step = missing
            self._room.claim(step, self._terms, self._account)
        self.ahead += step
        self._loose += step

    def set_aside(self) -> None:
        """The disk has set aside all that was claimed."""
        self._settle(self._loose)

    def grown(self, stop: int) -> None:
        """The file reaches up to there now, if it did not before."""
        more = stop - self.length
        if more > 0:
            self.ahead -= more
            self._settle(max(0, self._loose - self.ahead))
            self.length = stop

    def cut(self, length: int) -> None:
        """The file is shorter now, and the disk has set aside nothing behind its end."""
        self._settle(self._loose - self.ahead)
        self._room.give_back(self.length - length, self._account)
        self.length = length

    def release(self, octets: int) -> None:
        """So much of what was claimed will not be written."""
        self._room.give_back(octets, self._account)
        self.ahead -= octets
        self._settle(max(0, self._loose - self.ahead))

    def remove(self) -> None:
        """The file is gone."""
        self.release(self.ahead)
        self._room.give_back(self.length, self._account)

    def close(self) -> None:
        """Nobody writes any more."""
        self._room.close(self._account)

    def _settle(self, octets: int) -> None:
        self._room.settled(octets)
        self._loose -= octets
