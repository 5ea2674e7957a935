"""Takes what a peer writes to a file, and has threads write it to the disk in batches.

A WRITE is accepted when it is in memory, within a bound; what waits goes to a thread as a whole, one batch after the
other. An error comes out later: at the next write, at fsync, and at close, which then publishes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.errors import NoSpaceError, OffsetError, QuotaError, StoreError, TooLargeError
from netsvc.services.sftp.wire import MAX_OFFSET

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from netsvc.filestore.upload import Upload

log = Logger()

BATCH = 512 * 1024  # octets that are worth a thread
BOUND = 2 * 1024 * 1024  # octets that wait or are being written; beyond it a WRITE waits


@define
class _Run:
    """Octets that follow one another."""

    offset: int
    end: int
    blocks: list[memoryview]


class Writer:
    """One file that is written.

    :param upload: where it goes.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param ready: called when a WRITE that had to wait should be tried again.
    :param append: whether WRITEs go to the end.
    :param changed: whether it differs from what is published; a copy that nobody changed is not published.
    """

    def __init__(
        self,
        upload: Upload,
        in_thread: Callable[..., Deferred[Any]],
        ready: Callable[[], None],
        *,
        append: bool,
        changed: bool,
    ) -> None:
        self.upload = upload
        self.names = upload.names
        self.length = upload.length  # octets, with those that wait
        self.began = upload.length  # octets that were there before
        self.modified: float | None = None  # the time of last change that it gets, seconds since the epoch
        self.failure: StoreError | None = None
        self.changed = changed
        self._in_thread = in_thread
        self._ready = ready
        self._append = append
        self._at_offsets = not append
        self._runs: list[_Run] = []
        self._waiting = 0  # octets in them
        self._batches: deque[tuple[int, list[_Run]]] = deque()  # what threads take, first come first served
        self._outstanding = 0  # octets in batches that no thread has told of
        self._turn = Lock()  # threads write one batch after the other
        self._busy = False
        self._held_up = False

    def write(self, offset: int, data: memoryview) -> bool:
        """Accept octets; False: not now, :attr:`ready` will be called.

        :raises StoreError: what went wrong before, or they cannot stand there.
        """
        if self.failure is not None:
            raise self.failure
        if self._waiting + self._outstanding >= BOUND:
            self._held_up = True
            return False
        if not self._at_offsets:
            offset = self._end_for(offset)
        end = offset + len(data)
        if end > MAX_OFFSET:
            raise TooLargeError("no file can be so long")
        runs = self._runs
        if runs and runs[-1].end == offset:
            runs[-1].blocks.append(data)
            runs[-1].end = end
        else:
            runs.append(_Run(offset, end, [data]))
        self._waiting += len(data)
        self.length = max(self.length, end)
        self.changed = True
        if self._waiting >= BATCH:
            self._start()
        return True

    def _end_for(self, offset: int) -> int:
        """Where the octets of a WRITE go in a file that was opened to be appended to.

        At its end, whatever the offset says, section 6.3. But OpenSSH's ``reput`` counts from the beginning of the
        file and believes to know where that ends: if it is wrong, octets would be missing or come twice.

        :raises OffsetError: the peer counts from elsewhere.
        """
        if offset == self.length:
            self._at_offsets = bool(offset)
        elif offset and self.length == self.began:
            raise OffsetError(self.length)
        return self.length

    def in_turn(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run something in a thread when all that was accepted is written, or :attr:`failure` is set; its result.

        It is one piece of work for one thread: when the daemon stops, what was handed to threads is still done, and
        nothing that would have to come after.
        """
        self._hand_over()
        return self._in_thread(self._after, function, arguments).addCallback(self._done)

    def check(self) -> None:
        """Tell what went wrong.

        :raises StoreError: so it is.
        """
        if self.failure is not None:
            raise self.failure

    def _hand_over(self) -> None:
        if self._waiting:
            self._batches.append((self._waiting, self._runs))
            self._outstanding += self._waiting
            self._runs, self._waiting = [], 0

    def _start(self) -> None:
        if not self._busy:
            self._busy = True
            self.in_turn(_nothing).addBoth(self._written)

    def _written(self, result: object) -> None:
        self._busy = False
        if isinstance(result, Failure):
            log.failure("a fault in sftp", result, event="sftp-fault")
            self.failure = StoreError("an internal fault")
        elif self._waiting >= BATCH:
            self._start()
        self._go_on()

    def _after(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[int, Any]:
        """In a thread."""
        written = self._drain()
        try:
            return written, function(*arguments)
        except Exception:  # noqa: BLE001 - it is the Deferred's
            return written, Failure()

    def _drain(self) -> int:
        """In a thread: write what was handed over. Octets that need not be counted as waiting any more."""
        octets = 0
        with self._turn:
            while self._batches:
                length, runs = self._batches.popleft()
                octets += length
                try:
                    for run in runs:
                        if self.failure is None:
                            self.upload.writev(run.offset, run.blocks)
                except StoreError as error:
                    self.failure = error
        return octets

    def _done(self, outcome: tuple[int, Any]) -> Any:
        octets, result = outcome
        self._outstanding -= octets
        self._go_on()
        return result

    def _go_on(self) -> None:
        if self._held_up:
            self._held_up = False
            self._ready()

    def truncate(self, length: int) -> None:
        """Cut the file or lengthen it with zeros. In a thread, in turn.

        :raises StoreError: it cannot be so long, or what went wrong before.
        """
        self.check()
        if length > MAX_OFFSET:
            raise TooLargeError("no file can be so long")
        self.upload.truncate(length)
        self.length = length
        self.changed = True

    def give_up(self) -> None:
        """In a thread: end an upload that failed. What failed for want of room gives its room back."""
        if isinstance(self.failure, TooLargeError | QuotaError | NoSpaceError):
            self.upload.discard()
        else:
            self.upload.keep()


def _nothing() -> None:
    """What is to be done when all is written, if nothing else is."""
