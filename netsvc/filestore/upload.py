"""One upload: octets go to a hidden partial file, and become a file of that name at once or not at all.

In order: write and digest; verify size and digest; keep the digest with the file; fsync; rename, or link where nothing
may be replaced; fsync the directory. Only then is it acknowledged. A partial file whose writer lives is locked
(flock), so that a sweeper of any process can tell it from one that a crash left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EIO
from typing import TYPE_CHECKING

from attrs import evolve

from netsvc.filestore import kernel
from netsvc.filestore.claim import Claim
from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import BrokenError, BusyError, MismatchError, StaleError, TooLargeError, store_error
from netsvc.filestore.pieces import Pieces
from netsvc.filestore.publishing import publish
from netsvc.filestore.records import Partial, part_name
from netsvc.filestore.running import Running

if TYPE_CHECKING:
    from netsvc.filestore.commons import Commons
    from netsvc.filestore.terms import Terms

SYNC_OCTETS = 64 << 20  # after so many the file is synced and its record written, so that a crash costs no more
SYNC_SECONDS = 5.0  # or after such a time
BEGUN = 8 << 20  # octets after which the kernel is told to write them: less disturbs it, more leaves the end to wait
AT_ONCE = 8 << 10  # octets: a file that is no longer is written before long, and needs nothing set aside
BLOCKS = 1024  # in one call, IOV_MAX of limits.h

Octets = bytes | bytearray | memoryview


class Upload:
    """Made by the store. Threads may share it: what they do is done one after the other.

    :param commons: of the root.
    :param directory: where the file will be, open; the upload closes it.
    :param descriptor: of the partial file, open for reading and writing, locked; likewise.
    :param partial: what is known of it; the first ``offset`` octets are in the file and were verified.
    :param running: the digest of those.
    :param resumable: whether it may be continued when its connection is lost.
    """

    def __init__(
        self,
        commons: Commons,
        terms: Terms,
        directory: int,
        descriptor: int,
        partial: Partial,
        *,
        running: hashlib._Hash,
        resumable: bool = True,
    ) -> None:
        self._commons = commons
        self._terms = terms
        self._directory = directory
        self._descriptor = descriptor
        self._partial = partial
        self._lock = threading.RLock()
        self._open = True
        self._pieces = Pieces(partial.offset)
        self._room = Claim(commons.room, terms, os.fstat(descriptor))
        self._digest = Running(descriptor, running, partial.offset)
        self._synced = (partial.offset, commons.steady_clock())
        self._closed_because = ""
        self._resumable = resumable
        self._has_record = bool(partial.prefix)
        self._held: int | None = None  # octets behind it are not vouched for
        self._begun = partial.offset  # octets that the kernel was told to write
        commons.begin(self)

    @property
    def id(self) -> str:
        """Unguessable."""
        return self._partial.id

    @property
    def names(self) -> tuple[str, ...]:
        """What it will be called."""
        return self._partial.names

    @property
    def offset(self) -> int:
        """Octets from the beginning on that have come without a gap."""
        return self._pieces.whole

    @property
    def length(self) -> int:
        """Octets up to the last that has come."""
        return self._room.length

    @property
    def size(self) -> int | None:
        """Octets that it will have, if that is known."""
        return self._partial.size

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return not self._open

    def partial(self) -> Partial:
        """What is known of it."""
        return evolve(self._partial, offset=self._pieces.whole)

    def declare(self, size: int) -> None:
        """Its size is known now.

        :raises StoreError: so much is not taken; it stays as it was.
        """
        with self._writing():
            if self._terms.max_file_size is not None and size > self._terms.max_file_size:
                raise TooLargeError(f"no file may be longer than {self._terms.max_file_size} octets")
            if size < self._room.length:
                raise MismatchError(f"{self._room.length} octets have come already")
            before = self._room.ahead
            self._room.reach(size, sized=True)
            try:
                if size > AT_ONCE and self._room.ahead and kernel.allocate(self._descriptor, size):
                    self._room.set_aside()
            except OSError:
                self._room.release(self._room.ahead - before)
                raise
            self._partial = evolve(self._partial, size=size)

    def write(self, offset: int, data: Octets) -> None:
        """Write octets anywhere.

        :raises StoreError: they are not taken. The upload stays as it is, but for a failed disk.
        """
        self.writev(offset, (data,))

    def writev(self, offset: int, blocks: Sequence[Octets]) -> None:
        """Write octets in several blocks, which follow one another."""
        with self._writing():
            stop = offset + sum(map(len, blocks))
            self._claim(stop)
            self._pieces.check(offset)
            follows = offset == self._digest.at
            self._digest.changed(offset)  # before it is tried: it may fail half-way
            self._put(offset, blocks)
            self._room.grown(stop)
            self._pieces.add(offset, stop)
            if follows:
                self._digest.follow(blocks)
                self._digest.reach(self._pieces.whole)  # those behind, which came before them
            if self._due():
                self.sync()

    def copy(self, source: int, length: int) -> None:
        """Begin with what another file has. What is half changed makes sense to nobody, so it is never continued.

        :param source: open for reading.
        """
        with self._writing():
            self._resumable = False
            self._claim(length)
            done = 0
            while done < length:
                octets = os.copy_file_range(source, self._descriptor, length - done, done, done)
                if not octets:
                    raise MismatchError("the file became shorter while it was copied")
                done += octets
            self._room.grown(length)
            self._pieces.add(0, length)

    def read(self, offset: int, length: int) -> bytes:
        """Read back what was written."""
        with self._writing():
            return os.pread(self._descriptor, length, offset) if offset < self._room.length else b""

    def truncate(self, length: int) -> None:
        """Cut it, or lengthen it with zeros."""
        with self._writing():
            self._claim(length)
            os.ftruncate(self._descriptor, length)
            if length <= self._room.length:
                self._room.cut(length)
                self._digest.changed(length)
                self._pieces.cut(length)
            else:
                self._room.grown(length)  # zeros that nobody wrote are no octets that have come

    def hold(self) -> None:
        """What comes from now on is not kept, nor written down to be continued, before somebody vouches for it."""
        self._held = self._pieces.whole

    def vouch(self) -> None:
        """What has come since then is what it should be."""
        self._held = None

    def sync(self) -> None:
        """Make what has come durable, and write down where it stands."""
        with self._writing():
            self._make_durable()
            # Else its digest would be computed anew each time, or it would be continued unvouched for.
            if self._digest.at == self._pieces.whole and self._held is None:
                self._record()

    def recorded(self) -> Partial:
        """What is written down of it now; ``prefix`` is empty where those octets were written once more since then."""
        with self._writing():
            self.sync()
            return self._partial if self._digest.at >= self._partial.offset else evolve(self._partial, prefix=b"")

    def commit(self, *, size: int | None = None, digest: bytes | None = None, modified: float | None = None) -> Entry:
        """Publish it.

        :param size: octets that it must have, if that is told only now.
        :param digest: SHA-256 that it must have, likewise.
        :param modified: the time of last change that it gets, seconds since the epoch.
        :raises StoreError: it was not published. After a MismatchError or a failed disk it is gone; otherwise it stays.
        """
        with self._writing():
            found = self._verified(size, digest)
            os.fchmod(self._descriptor, self._terms.file_mode)
            if modified is not None:
                nanoseconds = int(modified * 1_000_000_000)
                os.utime(self._descriptor, ns=(nanoseconds, nanoseconds))
            stat = os.fstat(self._descriptor)
            kept = self._commons.digests.keep(self._descriptor, found, stat)
            self._make_durable(whole=True)
            publish(self._commons, self._terms, self._directory, part_name(self.id), self._partial)
            self._room.release(self._room.ahead)
            try:
                os.fsync(self._directory)
            finally:
                self._close("the upload is finished")
            if not kept:
                self._commons.digests.index(self.names, stat, found)
            self._strike()
            return Entry(self.names[-1], False, stat.st_size, stat.st_mtime_ns, found)

    def keep(self, reason: str = "the upload is closed") -> None:
        """The connection is lost: what has come without a gap stays for whoever continues. Nothing stays of nothing.

        :raises StoreError: that could not be written down. It is closed all the same, and what was written down
            earlier stays.
        """
        with self._lock:
            if not self._open:
                return
            if not self._partial.lasting and not (self._resumable and self._pieces.whole):
                self.discard()
                return
            with self._writing():
                try:
                    self.truncate(self._pieces.whole if self._held is None else self._held)
                    self._make_durable()
                    self._record()
                    self._commons.remember(self.id, self._digest.copy(), os.fstat(self._descriptor))
                except BaseException:
                    if not self._partial.prefix:  # it has no record
                        self.discard()
                    raise
                finally:
                    if self._open:
                        self._room.release(self._room.ahead)
                        self._close(reason)

    def discard(self) -> None:
        """Remove it. Its room is free again."""
        with self._lock:
            if not self._open:
                return
            with contextlib.suppress(OSError), self._commons.twins.changing(self._directory):
                os.unlink(part_name(self.id), dir_fd=self._directory)
            self._room.remove()
            self._close("the upload was given up")
            with contextlib.suppress(OSError):
                self._strike()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One thread at a time, while it is open; errors of the system become the store's."""
        with self._lock:
            if not self._open:
                raise StaleError(self._closed_because)
            try:
                yield
            except OSError as error:
                found = store_error(error)
                if isinstance(found, BrokenError):
                    self.discard()
                raise found from error
            except MemoryError as error:
                raise BusyError("out of memory") from error

    def _fits(self, stop: int) -> None:
        if self._partial.size is not None and stop > self._partial.size:
            raise TooLargeError(f"longer than the {self._partial.size} octets that were declared")
        if self._terms.max_file_size is not None and stop > self._terms.max_file_size:
            raise TooLargeError(f"no file may be longer than {self._terms.max_file_size} octets")

    def _claim(self, stop: int) -> None:
        self._fits(stop)
        self._room.reach(stop, sized=self._partial.size is not None)

    def _put(self, offset: int, blocks: Sequence[Octets]) -> None:
        views = [memoryview(one) for one in blocks if len(one)]
        while views:
            written = os.pwritev(self._descriptor, views[:BLOCKS], offset)
            if not written:
                raise OSError(EIO, os.strerror(EIO))
            offset += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]
        if offset - self._begun >= BEGUN:
            kernel.begin_writing(self._descriptor, self._begun, offset - self._begun)
            self._begun = offset

    def _verified(self, size: int | None, digest: bytes | None) -> bytes:
        """The digest of all of it.

        :raises MismatchError: it is not what was promised.
        """
        for declared in (self._partial.size, size):
            if declared is not None and self._room.length != declared:
                self.discard()
                raise MismatchError(f"{self._room.length} octets came, {declared} were declared")
        if os.fstat(self._descriptor).st_size > self._room.length:  # of a write that failed half-way
            os.ftruncate(self._descriptor, self._room.length)
        self._digest.reach(self._room.length)
        found = self._digest.digest()
        for wanted in (self._partial.digest, digest):
            if wanted is not None and wanted != found:
                self.discard()
                raise MismatchError("the SHA-256 is not the one that was declared")
        return found

    def _make_durable(self, *, whole: bool = False) -> None:
        """Sync the file; `whole`: what stands in its inode, too.

        A sync that failed once may succeed the next time with the octets lost: there is no second try.
        """
        try:
            (os.fsync if whole else os.fdatasync)(self._descriptor)
        except OSError as error:
            self.discard()
            raise BrokenError(f"the disk failed ({error.strerror})") from error

    def _due(self) -> bool:
        if not self._resumable or self._held is not None or self._digest.at != self._pieces.whole:
            return False
        octets, at = self._synced
        return self._pieces.whole - octets >= SYNC_OCTETS or (
            self._pieces.whole > octets and self._commons.steady_clock() - at >= SYNC_SECONDS
        )

    def _record(self) -> None:
        whole = self._pieces.whole
        self._digest.changed(whole)
        self._digest.reach(whole)
        if not self._partial.prefix:  # its first record: from now on the partial file must be found
            os.fsync(self._directory)
        partial = evolve(
            self._partial,
            offset=whole,
            prefix=self._digest.digest(),
            expires=self._commons.wall_clock() + self._terms.keep_partials,
        )
        self._has_record = True
        self._commons.record(partial)
        self._partial = partial
        self._synced = (whole, self._commons.steady_clock())

    def _strike(self) -> None:
        if self._has_record:  # else there is nothing to be looked for
            self._commons.strike(self.id)

    def _close(self, reason: str) -> None:
        self._open = False
        self._closed_because = reason
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a process that was forked this moment has the file, too
        os.close(self._descriptor)
        os.close(self._directory)
        self._room.close()
        self._commons.end(self)
