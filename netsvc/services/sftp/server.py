"""SftpServer: one SFTP session on one channel. Requests come in as octets, answers go out as far as the peer takes any.

Requests are begun in their order. One that needs the disk is waited for before the next begins, but for CLOSE of what
was written: while it is synced and published, READs and WRITEs of other handles go on, and what names a path waits.
So all that happens to one file happens in the order of the requests.

Nothing is begun while the peer's window is closed. What waits then is octets in the buffer of
:class:`.wire.Packets`, and the peer is granted no more window: memory is bounded, whoever does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.errors import StoreError
from netsvc.services.sftp import wire
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.openings import Open
from netsvc.services.sftp.operations import EXTENSIONS, Operations
from netsvc.services.sftp.reads import Reader
from netsvc.services.sftp.refusals import RefusedError, status_of
from netsvc.services.sftp.wire import MAX_SPAN, SPAN_DATA, BadMessageError, Packets, Status, Type, UnusableStreamError
from netsvc.services.sftp.writes import Writer

if TYPE_CHECKING:
    from netsvc.filestore.store import FileStore

log = Logger()

WARM = 4  # files that are read ahead at once, two blocks of 1 MiB each
BACKLOG = 512 * 1024  # octets of requests that wait before the peer is granted no more window
FLUSH = 256 * 1024  # octets of answers that are joined into one write
TURN = 1000  # requests before other connections have their turn

_READ = int(Type.READ)
_WRITE = int(Type.WRITE)
_CLOSE = int(Type.CLOSE)
_INIT = int(Type.INIT)
_OF_HANDLES = frozenset({_CLOSE, int(Type.FSTAT), int(Type.FSETSTAT), int(Type.READDIR)})


class Channel(Protocol):
    """What a session is written on."""

    def write(self, data: bytes) -> None:
        """Send octets."""

    def room(self) -> int:
        """Octets of the peer's window and of the transport's buffer that may be used now; may be negative."""

    def pause(self) -> None:
        """Grant the peer no more window."""

    def resume(self) -> None:
        """Grant it again."""

    def end(self, status: int) -> None:
        """Tell an exit status and close the channel."""


class SftpServer:
    """One session.

    :param account: whose it is; all sessions of a connection share it.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param max_handles: files and directories that may be open at once; each may be a descriptor of the daemon.
    """

    def __init__(
        self,
        store: FileStore,
        channel: Channel,
        account: Account,
        *,
        in_thread: Callable[..., Deferred[Any]],
        max_handles: int,
    ) -> None:
        self._channel = channel
        self._in_thread = in_thread
        self._account = account
        self._operations = Operations(store, account, in_thread, self._run, max_handles=max_handles)
        self._handles = self._operations.handles
        self._packets = Packets()
        self._held: memoryview | None = None  # a request that is to be tried again
        self._out: list[bytes | memoryview] = []
        self._out_size = 0
        self._room = 0  # octets, when it was last asked for
        self._warm: list[Reader] = []
        self._written: Writer | None = None  # the last that octets came for
        self._greeted = False
        self._running = False
        self._busy = False  # with a request that must be done before the next begins
        self._starving = True  # for octets of the peer
        self._closing = 0  # uploads that are being published
        self._paused = False
        self._over = False

    def received(self, data: bytes) -> None:
        """Octets from the peer."""
        if not self._over:
            self._packets.feed(data)
            self._run()

    def room_grew(self) -> None:
        """The peer's window opened, or the transport's buffer was sent."""
        self._run()

    def closed(self) -> Deferred[Any]:
        """The connection is gone. Fires when what was being uploaded is kept for whoever continues it."""
        self._over = True
        self._out.clear()
        self._warm.clear()
        self._written = None
        self._held = None
        return self._operations.end()

    def _run(self) -> None:
        """Go on as far as it goes."""
        if self._running or self._over:
            return
        self._running = True
        try:
            self._work()
        except UnusableStreamError as error:
            self._give_up(str(error))
            return
        finally:
            self._running = False
        self._flush()
        self._pace()

    def _work(self) -> None:
        self._room = self._channel.room()
        self._starving = False
        for _ in range(TURN):
            if self._busy or self._over:
                return
            if self._out_size >= FLUSH or self._out_size >= self._room:
                self._flush()
                if self._room <= 0:
                    return
            packet = self._held
            if packet is None:
                packet = self._packets.next()
                self._starving = packet is None
                if packet is None:
                    return
            self._held = None
            if not self._take(packet):
                self._held = packet
                return
        self._busy = True
        self._in_thread(_nothing).addBoth(self._had_turn)

    def _had_turn(self, _: object) -> None:
        self._busy = False
        self._run()

    def _flush(self) -> None:
        if self._out:
            out, self._out, self._out_size = self._out, [], 0
            self._channel.write(b"".join(out))
        self._room = self._channel.room()

    def _pace(self) -> None:
        """Let the peer send more, or not. A packet that is not whole yet must become so."""
        waiting = self._packets.waiting
        if waiting > BACKLOG and not self._starving:
            if not self._paused:
                self._paused = True
                self._channel.pause()
        elif self._paused and (waiting < BACKLOG // 2 or self._starving):
            self._paused = False
            self._channel.resume()

    def _give_up(self, reason: str) -> None:
        log.info(
            "{user} at {peer} was cut off: {reason}",
            event="sftp-unusable",
            user=self._account.owner,
            peer=self._account.peer,
            reason=reason,
        )
        self._flush()
        self.closed()
        self._channel.end(1)

    def _take(self, packet: memoryview) -> bool:
        """Do what a packet asks for; False: it must be tried again."""
        kind, request = wire.number(packet)
        try:
            if kind == _READ:
                return self._read(request, packet)
            if kind == _WRITE:
                return self._write(request, packet)
            if kind == _INIT:
                self._greeted = True
                self._answer(wire.version(EXTENSIONS))
                return True
            if not self._greeted:
                raise UnusableStreamError("a request before INIT")
            if self._closing and kind not in _OF_HANDLES:
                return False
            answer = self._operations.perform(kind, request, packet)
        except UnusableStreamError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            self._answer(self._refusal(Failure(error), request, kind, packet))
            return True
        if isinstance(answer, bytes):
            self._answer(answer)
        elif kind == _CLOSE:
            self._closing += 1
            answer.addErrback(self._refusal, request, kind, packet).addCallback(self._closed)
        else:
            self._busy = True
            answer.addErrback(self._refusal, request, kind, packet).addCallback(self._done)
        return True

    def _closed(self, answer: bytes) -> None:
        self._closing -= 1
        self._answer(answer)
        self._run()

    def _done(self, answer: bytes) -> None:
        self._busy = False
        self._answer(answer)
        self._run()

    def _answer(self, answer: bytes) -> None:
        self._out.append(answer)
        self._out_size += len(answer)

    def _refusal(self, failure: Failure, request: int, kind: int, packet: memoryview) -> bytes:
        if isinstance(failure.value, StoreError):
            self._account.tell(self._operations.named(packet), failure.value)
        try:
            lookup = Operations.looks_up(kind, packet)
        except BadMessageError:
            lookup = False
        found = status_of(failure, lookup=lookup)
        if found is None:
            log.failure("a fault in sftp", failure, event="sftp-fault")
            found = Status.FAILURE, "an internal fault"
        return wire.status(request, *found)

    def _read(self, request: int, packet: memoryview) -> bool:
        handle, offset, length = wire.span(packet)
        one = self._handles.get(handle)
        if not isinstance(one, Reader):
            return self._read_written(request, one, offset, min(length, MAX_SPAN), packet)
        piece = one.read(offset, min(length, MAX_SPAN)) if length else b""
        if piece is None:
            self._warm_up(one)
            return False
        if len(piece):
            self._out.append(wire.data_header(request, len(piece)))
            self._out.append(piece)
            self._out_size += 13 + len(piece)
        else:
            self._answer(wire.status(request, Status.EOF, "end of file"))
        return True

    def _read_written(self, request: int, one: Open | None, offset: int, length: int, packet: memoryview) -> bool:
        """READ of a handle that was opened for writing."""
        if not isinstance(one, Writer):
            raise RefusedError("no such handle" if one is None else "it is a directory")
        if offset > wire.MAX_OFFSET - length:
            self._answer(wire.status(request, Status.EOF, "end of file"))
            return True
        self._busy = True
        read = one.in_turn(one.upload.read, offset, length)
        read.addCallback(_data, request).addErrback(self._refusal, request, _READ, packet).addCallback(self._done)
        return True

    def _warm_up(self, reader: Reader) -> None:
        """Read ahead for this one; of too many, not for the one any more that was so longest."""
        if reader in self._warm:
            self._warm.remove(reader)
        self._warm.append(reader)
        if len(self._warm) > WARM:
            self._warm.pop(0).forget()

    def _write(self, request: int, packet: memoryview) -> bool:
        handle, offset, length = wire.span(packet)
        one = self._handles.get(handle)
        if not isinstance(one, Writer):
            raise RefusedError("no such handle" if one is None else "it is not open for writing")
        data = packet[SPAN_DATA : SPAN_DATA + length]
        if len(data) < length:
            raise BadMessageError("the data are longer than their packet")
        if one is not self._written:
            if self._written is not None:
                self._written.leave()
            self._written = one
        if not one.write(offset, data):
            return False
        self._out.append(wire.ok(request))
        self._out_size += 21
        return True


def _data(octets: bytes, request: int) -> bytes:
    if not octets:
        return wire.status(request, Status.EOF, "end of file")
    return wire.data_header(request, len(octets)) + octets


def _nothing() -> None:
    """Done by a thread, so that the reactor does something else before it hears of it."""
