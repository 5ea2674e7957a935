"""What all stores of one root share within a process: its room, its uploads, its names and digests.

Two doors that lead to one directory are two stores with one Commons, so that a quota counts both, and an upload that
was begun at one is known at the other.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary, finalize

from attrs import evolve

from netsvc.filestore.digests import Digests
from netsvc.filestore.held import Held, key_of
from netsvc.filestore.publishing import state
from netsvc.filestore.records import HIDDEN, Partial, Records, part_name
from netsvc.filestore.room import Room
from netsvc.filestore.twins import Change, Twins

if TYPE_CHECKING:
    from netsvc.filestore.upload import Upload

_JUMP = 3600.0  # seconds by which the wall clock may differ from the steady one before it has jumped

_REMEMBERED = 1024  # digests of kept uploads; each some hundred octets


_known: WeakValueDictionary[tuple[Path, int, int], Commons] = WeakValueDictionary()  # by path, device, inode
_known_lock = threading.Lock()


def commons_of(root: Path, wall_clock: Callable[[], float], steady_clock: Callable[[], float]) -> Commons:
    """The one Commons of a directory, by whatever links it is reached. Of one that took its place there is another.

    :raises OSError: the directory is not there.
    """
    path = root.resolve(strict=True)
    found = path.stat()
    key = path, found.st_dev, found.st_ino
    with _known_lock:
        one = _known.get(key)
        if one is None:
            one = _known[key] = Commons(path, wall_clock, steady_clock)
        return one


class Commons:
    """Shared by threads.

    :param root: absolute, links resolved.
    :param wall_clock: seconds since the epoch; it may jump.
    :param steady_clock: seconds since whenever; it does not.
    """

    def __init__(
        self,
        root: Path,
        wall_clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.wall_clock = wall_clock
        self.steady_clock = steady_clock
        self.room = Room(root)
        self.twins = Twins(steady_clock)
        self.digests = Digests(root / HIDDEN / "digests.sqlite")
        finalize(self, self.digests.close)
        self.held = Held()  # names that change hands: conditions are checked meanwhile
        self._records = Records(root)
        self._lock = threading.RLock()
        self._partials: dict[str, Partial] | None = None  # by id; read when they are first asked for
        self._active: dict[str, Upload] = {}
        self._running: dict[str, tuple[hashlib._Hash, tuple[int, ...]]] = {}
        self._clocks = (wall_clock(), steady_clock())
        self._is_anchored = False

    def anchor(self) -> None:
        """Make the name of the root itself durable, which may be as new as what is put into it. Once for each root.

        :raises OSError: the disk failed.
        """
        if self._is_anchored:
            return
        try:
            above = os.open(self.root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # then it was not this process that made it
            return
        try:
            os.fsync(above)
        finally:
            os.close(above)
        self._is_anchored = True

    @contextmanager
    def changing(self, directory: int, *names: str) -> Iterator[Change]:
        """The store itself changes an open directory in here. Who would change one of these names, too, waits."""
        found = os.fstat(directory)
        place = found.st_dev, found.st_ino
        with self.held.holding(*(key_of(place, one) for one in names)), self.twins.changing(directory, found) as change:
            yield change

    @contextmanager
    def moving(self, here: int, old: str, there: int, new: str) -> Iterator[tuple[Change, Change]]:
        """As :meth:`changing`, of two names at once, each in an open directory."""
        from_, to = os.fstat(here), os.fstat(there)
        keys = key_of((from_.st_dev, from_.st_ino), old), key_of((to.st_dev, to.st_ino), new)
        with (
            self.held.holding(*keys),
            self.twins.changing(here, from_) as leaving,
            self.twins.changing(there, to) as coming,
        ):
            yield leaving, coming

    def begin(self, upload: Upload) -> None:
        """An upload is written to from now on."""
        with self._lock:
            self._active[upload.id] = upload

    def end(self, upload: Upload) -> None:
        """It is written to no more."""
        with self._lock:
            if self._active.get(upload.id) is upload:
                del self._active[upload.id]

    def active(self, upload_id: str) -> Upload | None:
        """The upload that is written to at this moment under this id."""
        with self._lock:
            return self._active.get(upload_id)

    def record(self, one: Partial) -> None:
        """Write down where an upload stands.

        :raises OSError: it cannot be written.
        """
        with self._lock:
            partials = self._read()  # first: it removes what it finds half written
        self._records.write(one)  # it waits for the disk: nobody else must wait for that
        with self._lock:
            partials[one.id] = one

    def strike(self, upload_id: str) -> None:
        """There is no such upload any more."""
        self._records.remove(upload_id)
        with self._lock:
            if self._partials is not None:
                self._partials.pop(upload_id, None)

    def remember(self, upload_id: str, running: hashlib._Hash, found: os.stat_result) -> None:
        """A kept upload's digest as far as it has come, so that whoever continues soon need not have it read again."""
        with self._lock:
            self._running[upload_id] = (running, state(found))
            while len(self._running) > _REMEMBERED:
                del self._running[next(iter(self._running))]

    def recall(self, upload_id: str, found: os.stat_result) -> hashlib._Hash | None:
        """That digest, if nobody has touched the file since."""
        with self._lock:
            running, before = self._running.pop(upload_id, (None, None))
            return running if before == state(found) else None

    def partial(self, upload_id: str) -> Partial | None:
        """What is known of an upload: of one that is written to, as far as it is.

        Of others, what the disk says: perhaps another process wrote to it last.

        :raises OSError: the disk does not say.
        """
        active = self.active(upload_id)
        if active is not None:
            return active.partial()
        found = self._records.find(upload_id)
        return found if found is not None and self._has_part(found) else None

    def partials(self) -> Iterable[Partial]:
        """All that are written to, or have a record.

        :raises OSError: the records cannot be read.
        """
        with self._lock:
            found = dict(self._read())
            found.update((one.id, one.partial()) for one in self._active.values())
            return found.values()

    def kept(self, names: tuple[str, ...], owner: str) -> list[Partial]:
        """The owner's uploads of this name that nobody writes to, and that no one has the id of.

        :raises OSError: the records cannot be read.
        """
        with self._lock:
            found = self._read().values()
            return [
                one
                for one in found
                if one.names == names and one.owner == owner and not one.lasting and one.id not in self._active
            ]

    def expired(self, keep: float) -> list[Partial]:
        """Those whose time is over and that nobody writes to.

        A wall clock that jumped ends nobody's time: what it jumped by is added to all of them. One that stands far in
        the future, because the clock was wrong when it was made, is cut to what it may be.

        :param keep: the longest time that one may wait, seconds.
        """
        with self._lock:
            wall, steady = self.wall_clock(), self.steady_clock()
            jump = (wall - self._clocks[0]) - (steady - self._clocks[1])
            self._clocks = (wall, steady)
            partials = self._read()
            for upload_id in partials.keys() - self._active.keys():  # those write down themselves how long they wait
                one = self._records.find(upload_id)
                if one is None or not self._has_part(one):
                    del partials[upload_id]  # another process has published it or given it up, or its directory is gone
                    self._records.remove(upload_id)
                    continue
                until = one.expires + (jump if abs(jump) > _JUMP else 0.0)
                if until > wall + keep + _JUMP:
                    until = wall + keep
                if until != one.expires:
                    one = evolve(one, expires=until)
                    self._records.write(one)
                partials[upload_id] = one
            return [one for one in partials.values() if one.expires <= wall and one.id not in self._active]

    def _has_part(self, one: Partial) -> bool:
        return self.root.joinpath(*one.names[:-1], part_name(one.id)).is_file()

    def _read(self) -> dict[str, Partial]:
        if self._partials is None:
            found = {}
            for one in self._records.read():
                if self._has_part(one):
                    found[one.id] = one
                else:  # it was published, and then came a crash
                    self._records.remove(one.id)
            self._partials = found
        return self._partials
