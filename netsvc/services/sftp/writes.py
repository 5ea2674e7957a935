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
    from netsvc.services.sftp.account import Account

log = Logger()

BATCH = 512 * 1024  # octets that are worth a thread
BOUND = 2 * 1024 * 1024  # octets that wait or are being written; beyond it a WRITE waits
ALL = 8 * 1024 * 1024  # octets likewise, of all files of one session
A_WRITE = 512  # octets of memory that a WRITE costs beside its own


@define
class _Run:
    """Octets that follow one another."""

    offset: int
    end: int
    blocks: list[memoryview]


@define
class Intake:
    """What all files of one session have in memory.

    :ivar octets: that wait or are being written, with what they cost.
    :ivar held_up: whether a WRITE waits until they are fewer.
    """

    octets: int = 0
    held_up: bool = False


class Writer:
    """One file that is written.

    :param upload: where it goes.
    :param account: is told what goes wrong.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param ready: called when a WRITE that had to wait should be tried again.
    :param intake: of its session.
    :param append: whether WRITEs go to the end.
    :param changed: whether it differs from what is published; a copy that nobody changed is not published.
    """

    def __init__(
        self,
        upload: Upload,
        account: Account,
        in_thread: Callable[..., Deferred[Any]],
        ready: Callable[[], None],
        intake: Intake,
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
        self._account = account
        self._in_thread = in_thread
        self._ready = ready
        self._intake = intake
        self._append = append
        self._at_offsets = not append
        self._runs: list[_Run] = []
        self._waiting = 0  # octets in them, with what they cost
        self._batches: deque[tuple[int, list[_Run]]] = deque()  # what threads take, first come first served
        self._outstanding = 0  # octets in batches that no thread has told of
        self._turn = Lock()  # one thread after the other does something with the file
        self._busy = False
        self._left = False  # the peer writes something else now: what waits is not kept until there is more

    def write(self, offset: int, data: memoryview) -> bool:
        """Accept octets; False: not now, :attr:`ready` will be called.

        :raises StoreError: what went wrong before, or they cannot stand there.
        """
        if self.failure is not None:
            raise self.failure
        if self._waiting + self._outstanding >= BOUND or self._intake.octets >= ALL:
            self._intake.held_up = True
            self.leave()
            return False
        self._left = False
        if not self._at_offsets:
            offset = self._end_for(offset)
        end = offset + len(data)
        if end > MAX_OFFSET:
            raise TooLargeError("no file can be so long")
        whole: Any = data.obj
        if len(data) < len(whole) // 2:
            data = memoryview(bytes(data))  # a few octets do not keep all that they came with
        runs = self._runs
        if runs and runs[-1].end == offset:
            runs[-1].blocks.append(data)
            runs[-1].end = end
        else:
            runs.append(_Run(offset, end, [data]))
        cost = len(data) + A_WRITE
        self._waiting += cost
        self._intake.octets += cost
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

    def leave(self) -> None:
        """The peer goes on with another file: write what waits."""
        self._left = True
        if self._waiting:
            self._start()

    def _hand_over(self) -> None:
        if self._waiting:
            self._batches.append((self._waiting, self._runs))
            self._outstanding += self._waiting
            self._runs, self._waiting = [], 0

    def _start(self) -> None:
        if not self._busy:
            self._busy = True
            self.in_turn(_nothing).addCallback(self._written)

    def _written(self, _: object) -> None:
        self._busy = False
        if self._waiting >= BATCH or (self._left and self._waiting):
            self._start()
        self._go_on()

    def _after(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[int, Any]:
        """In a thread: nothing closes the file while something else is done with it."""
        with self._turn:
            written = self._drain()
            try:
                return written, function(*arguments)
            except Exception as error:  # noqa: BLE001 - it is the Deferred's
                self._tell(error)
                return written, Failure()

    def _drain(self) -> int:
        """In a thread: write what was handed over. Octets that need not be counted as waiting any more."""
        octets = 0
        while self._batches:
            length, runs = self._batches.popleft()
            octets += length
            try:
                for run in runs:
                    if self.failure is None:
                        self.upload.writev(run.offset, run.blocks)
            except StoreError as error:
                self.failure = error
                self._tell(error)
            except Exception:  # noqa: BLE001 - the octets are counted, whatever becomes of them
                log.failure("a fault in sftp", event="sftp-fault")
                self.failure = StoreError("an internal fault")
        return octets

    def _tell(self, error: Exception) -> None:
        self._account.tell("/".join(self.names), error)

    def _done(self, outcome: tuple[int, Any]) -> Any:
        octets, result = outcome
        self._outstanding -= octets
        self._intake.octets -= octets
        self._go_on()
        return result

    def _go_on(self) -> None:
        if self._intake.held_up:
            self._intake.held_up = False
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
