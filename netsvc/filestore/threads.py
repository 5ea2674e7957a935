"""One upload that comes over a connection: octets are written in threads, and the peer waits when they are slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import BrokenError, StaleError, StoreError
from netsvc.filestore.upload import Octets, Upload

log = Logger()

HIGH = 1 << 20  # octets that wait for the disk before the peer has to
LOW = 1 << 19  # octets below which it may go on

InThread = Callable[..., "Deferred[Any]"]


class Inflow:
    """The octets follow one another from the upload's offset on.

    :param in_thread: as IRuntime.in_thread.
    :param pause: called when the peer should send no more.
    :param resume: called when it may again.
    :param failed: called at most once, with the StoreError after which nothing more is written; ``finish`` fails with
        it as well. None: only that.
    """

    def __init__(
        self,
        upload: Upload,
        in_thread: InThread,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        failed: Callable[[StoreError], None] | None = None,
    ) -> None:
        self.upload = upload
        self._in_thread = in_thread
        self._pause = pause
        self._resume = resume
        self._tell_failed = failed
        self._offset = upload.offset
        self._blocks: list[Octets] = []
        self._waiting = 0
        self._paused = False
        self._busy = False
        self._error: StoreError | None = None
        self._ends: deque[tuple[Callable[[], Any], Deferred[Any], bool]] = deque()  # what is done when all is written
        self._in_flight = 0  # octets that a thread writes at this moment

    @property
    def offset(self) -> int:
        """Where the next octet goes: all before it came, though perhaps not yet to the disk."""
        return self._offset + self._waiting + self._in_flight

    @property
    def error(self) -> StoreError | None:
        """What the store refused, since when nothing was written; None so far."""
        return self._error

    def write(self, data: Octets) -> None:
        """Octets that are nobody else's and will not change."""
        if self._error is not None or not len(data):
            return
        self._blocks.append(data)
        self._waiting += len(data)
        if self._waiting >= HIGH and not self._paused:
            self._paused = True
            self._pause()
        self._go_on()

    def finish(
        self, *, size: int | None = None, digest: bytes | None = None, modified: float | None = None
    ) -> Deferred[Entry]:
        """Publish what came. As :meth:`.upload.Upload.commit`."""
        return self._at_end(lambda: self.upload.commit(size=size, digest=digest, modified=modified), fails=True)

    def sync(self) -> Deferred[None]:
        """Make what came durable."""
        return self._at_end(self.upload.sync, fails=True)

    def keep(self) -> Deferred[int]:
        """The connection is lost: keep what came. Fires with the offset at which it may be continued."""

        def keep() -> int:
            self.upload.keep()
            return self.upload.offset

        self._give_up()
        return self._at_end(keep, fails=False)

    def discard(self) -> Deferred[None]:
        """Remove what came."""
        self._drop_waiting()
        self._give_up()
        return self._at_end(self.upload.discard, fails=False)

    def _drop_waiting(self) -> None:
        self._blocks.clear()
        self._waiting = 0
        if self._paused:
            self._paused = False
            self._resume()

    def _give_up(self) -> None:
        """What was asked for and has not begun is not done."""
        ends, self._ends = self._ends, deque()
        for _, done, _ in ends:
            done.errback(StaleError("the upload was given up"))

    def _at_end(self, action: Callable[[], Any], *, fails: bool) -> Deferred[Any]:
        """Do something when all that came is written.

        :param fails: whether it is not done after a failed write.
        """
        done: Deferred[Any] = Deferred()
        self._ends.append((action, done, fails))
        self._go_on()
        return done

    def _acted(self, result: Any) -> Any:
        self._busy = False
        self._go_on()
        return result

    def _go_on(self) -> None:
        if self._busy:
            return
        if self._blocks:
            self._write()
        elif self._ends:
            action, done, fails = self._ends.popleft()
            if fails and self._error is not None:
                done.errback(self._error)
                self._go_on()
            else:
                self._busy = True
                self._in_thread(action).addBoth(self._acted).chainDeferred(done)

    def _write(self) -> None:
        blocks, self._blocks = self._blocks, []
        self._in_flight, self._waiting = self._waiting, 0
        self._busy = True
        self._in_thread(self.upload.writev, self._offset, blocks).addCallbacks(self._written, self._failed)

    def _written(self, _: None) -> None:
        self._busy = False
        self._offset += self._in_flight
        self._in_flight = 0
        if self._paused and self._waiting < LOW:
            self._paused = False
            self._resume()
        self._go_on()

    def _failed(self, failure: Failure) -> None:
        self._busy = False
        error = failure.value
        if not isinstance(error, StoreError):
            log.failure("a fault in an upload", failure, event="filestore-fault")
            error = BrokenError("an internal fault")
        self._error = error
        self._in_flight = 0
        self._drop_waiting()
        if self._tell_failed is not None:
            self._tell_failed(error)
        self._go_on()
