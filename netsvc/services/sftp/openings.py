"""What one session has open: how it comes to be so, and what becomes of it at CLOSE or when the connection is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.errors import StoreError
from netsvc.printable import printable
from netsvc.services.sftp import wire
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.door import Door, Names, Opened, names_of
from netsvc.services.sftp.handles import Handles
from netsvc.services.sftp.listing import Directory, LongNames
from netsvc.services.sftp.reads import Reader
from netsvc.services.sftp.refusals import RefusedError
from netsvc.services.sftp.wire import Fields
from netsvc.services.sftp.writes import Intake, Writer

if TYPE_CHECKING:
    from netsvc.filestore.stored import StoredFile

log = Logger()

Answer = bytes | Deferred[bytes]
Open = Reader | Writer | Directory


class Openings:
    """Files and directories.

    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param ready: called when a READ or a WRITE that had to wait should be tried again.
    :param max_handles: so many may be open at once.
    :ivar over: whether the session has ended.
    """

    def __init__(
        self,
        door: Door,
        account: Account,
        in_thread: Callable[..., Deferred[Any]],
        ready: Callable[[], None],
        *,
        max_handles: int,
    ) -> None:
        self.handles: Handles[Open] = Handles(max_handles)
        self._door = door
        self._account = account
        self._in_thread = in_thread
        self._ready = ready
        self._long_names = LongNames(account.owner, door.wall_clock)
        self._intake = Intake()
        self._finishing: list[Deferred[None]] = []  # uploads that are being published
        self.over = False

    def get(self, handle: bytes) -> Open:
        """What a handle stands for.

        :raises RefusedError: for nothing.
        """
        one = self.handles.get(handle)
        if one is None:
            raise RefusedError("no such handle")
        return one

    def end(self) -> Deferred[Any]:
        """The session is over: close all; uploads stay for whoever continues them. Fires when that is done."""
        self.over = True
        return DeferredList([*self._finishing, *(self._abandon(one) for one in self.handles.clear())])

    def _awaited(self, finishing: Deferred[Any]) -> Deferred[Any]:
        """It, which the end of the session waits for."""
        finished: Deferred[None] = Deferred()
        self._finishing.append(finished)

        def over(result: Any) -> Any:
            self._finishing.remove(finished)
            finished.callback(None)
            return result

        return finishing.addBoth(over)

    def written(self, names: Names) -> Writer | None:
        """What this session writes under that name."""
        composed = tuple(normalize("NFC", one) for one in names)
        for one in self.handles:
            if isinstance(one, Writer) and one.names == composed:
                return one
        return None

    def open(self, request: int, fields: Fields) -> Answer:
        """OPEN, section 6.3."""
        names, flags, wanted = names_of(fields.string()), fields.u32(), fields.attributes()
        self.handles.check()
        if flags & (wire.WRITE | wire.APPEND | wire.CREATE | wire.TRUNCATE):
            opened = self._in_thread(self._door.write, names, flags)
            return opened.addCallback(self._opened_to_write, request, flags, wanted)
        return self._in_thread(self._door.store.open, names).addCallback(self._opened, request)

    def _opened(self, file: StoredFile, request: int) -> bytes:
        return self._add(Reader(file, self._in_thread, self._ready), request)

    def _opened_to_write(self, opened: Opened, request: int, flags: int, wanted: wire.Attributes) -> bytes:
        append = bool(flags & wire.APPEND)
        writer = Writer(
            opened.upload,
            self._account,
            self._in_thread,
            self._ready,
            self._intake,
            append=append,
            changed=opened.changed,
        )
        writer.modified = wanted.modified
        return self._add(writer, request)

    def open_directory(self, request: int, fields: Fields) -> Answer:
        """OPENDIR, section 6.7."""
        names = names_of(fields.string())
        self.handles.check()
        opened = self._in_thread(self._door.store.listing, names)
        return opened.addCallback(lambda listing: self._add(Directory(names, listing, self._long_names), request))

    def _add(self, one: Open, request: int) -> bytes:
        if self.over:
            self._abandon(one)
            return b""
        return wire.handle(request, self.handles.add(one))

    def close(self, request: int, fields: Fields) -> Answer:
        """CLOSE. What was written is published; its answer is the acknowledgement."""
        one = self.handles.take(fields.string())
        if isinstance(one, Writer):
            return self._awaited(one.in_turn(self._finish, one)).addCallback(lambda _: wire.ok(request))
        if one is None:
            raise RefusedError("no such handle")
        self._abandon(one)
        return wire.ok(request)

    def _finish(self, writer: Writer) -> None:
        """In a thread: publish what was written."""
        upload = writer.upload
        try:
            writer.check()
            if writer.changed:
                entry = upload.commit(modified=writer.modified)
                log.info(
                    "{user} stored {name}, {size} octets, from {peer}",
                    event="sftp-stored",
                    user=self._account.owner,
                    peer=self._account.peer,
                    name=printable("/".join(writer.names)),
                    size=entry.size,
                )
                return
        except StoreError as error:
            writer.failure = error
            writer.give_up()
            raise
        upload.discard()
        if writer.modified is not None:
            self._door.store.set_modified(writer.names, writer.modified)

    def _abandon(self, one: Open) -> Deferred[Any]:
        if isinstance(one, Writer):
            return one.in_turn(self._keep, one).addErrback(self._fault)
        if isinstance(one, Directory):
            return self._in_thread(one.close).addErrback(self._fault)
        one.close()
        if one.sent:
            log.info(
                "{user} read {octets} octets of {name} from {peer}",
                event="sftp-read",
                user=self._account.owner,
                peer=self._account.peer,
                name=printable("/".join(one.file.names)),
                octets=one.sent,
            )
        return succeed(None)

    def _keep(self, writer: Writer) -> None:
        """In a thread: the peer is gone before its CLOSE."""
        if not writer.changed:
            writer.upload.discard()
            return
        writer.give_up()
        log.info(
            "{user}'s upload of {name} from {peer} was cut off at octet {octets}",
            event="sftp-cut-off",
            user=self._account.owner,
            peer=self._account.peer,
            name=printable("/".join(writer.names)),
            octets=writer.length,
        )

    @staticmethod
    def _fault(failure: Failure) -> None:
        if not failure.check(StoreError):
            log.failure("a fault in sftp", failure, event="sftp-fault")
