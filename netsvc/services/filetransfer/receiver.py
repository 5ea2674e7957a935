"""FileReceiver: takes the tutorials' object from a peer and stores the file, whole or not at all.

The peer sends and then closes, half-closes, or only waits. The file is stored when the object is complete and the peer
has ended, or has been quiet for a moment: more behind the object is a fault, and nothing is stored then. The answer is
one line of JSON: ``{"stored": NAME, "size": OCTETS, "sha256": HEX}`` when the file is durable under its name, or
``{"error": REASON}``; whoever has closed is not answered, but what he had sent whole is stored all the same. An end
before the closing brace stores nothing.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from zope.interface import implementer

from netsvc.filestore.errors import StoreError
from netsvc.filestore.threads import Inflow
from netsvc.net.drain import DrainingFactory
from netsvc.net.peer import shown
from netsvc.net.plain import is_plain
from netsvc.services.filetransfer.decode import BadObjectError, Decoder, End, Event, Name
from netsvc.services.filetransfer.inbox import Inbox

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from netsvc.filestore.entry import Entry
    from netsvc.filestore.upload import Upload
    from netsvc.interfaces import IRuntime

log = Logger()

SETTLE = 0.2  # seconds of silence behind a whole object after which the peer waits for its answer
LINGER = 2.0  # seconds after our end for the peer's; a close with its octets unread would destroy the answer


@implementer(IHalfCloseableProtocol)
class FileReceiver(Protocol):
    """One peer and one file. What came is taken in its order: the name, the octets, the end."""

    transport: Any

    def __init__(self, factory: FileReceiverFactory, peer: IAddress | None) -> None:
        self._factory = factory
        self._peer = peer
        self._decoder = Decoder()
        self._events: deque[Event] = deque()
        self._inflow: Inflow | None = None
        self._name = ""
        self._begun = False  # something has come
        self._busy = False  # a thread opens or moves the upload: what comes meanwhile waits
        self._whole = False  # all of the object is in the inflow
        self._over = False  # it is decided: being stored, or refused
        self._answered = False
        self._gone = False
        self._peer_ended = False
        self._waits = False  # the peer has nothing more to say
        self._timer: IDelayedCall | None = None

    def drain(self) -> None:
        """The service stops: a peer that has begun may finish, one that has not is not waited for."""
        if not self._begun:
            self.transport.loseConnection()

    # What the peer does

    def connectionMade(self) -> None:
        self._factory.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        self._begun = True
        if self._over:
            return
        try:
            self._events.extend(self._decoder.feed(data))
        except BadObjectError as error:
            self._refuse(str(error), "refused")
            return
        self._take()

    def readConnectionLost(self) -> None:
        self._peer_ended = True
        self._end()
        if self._answered:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our end has left; the peer's is awaited."""

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002
        self._gone = True
        self._factory.open.discard(self)
        self._stop_timer()
        self._end()

    def _end(self) -> None:
        """Nothing more comes."""
        if self._over:
            return
        try:
            self._decoder.finish()
        except BadObjectError as error:
            self._refuse(str(error), "cut")
            return
        self._waits = True
        self._store()

    # What is done with it

    def _take(self) -> None:
        while self._events and not self._busy and not self._over:
            event = self._events[0]
            if isinstance(event, Name):
                self._events.popleft()
                self._name = event.text
                if self._inflow is None:
                    self._call(self._factory.inbox.begin, event.text)
                else:
                    self._busy = True
                    self._inflow.sync().addCallbacks(self._move, self._failed).addErrback(self._failed)
            elif isinstance(event, End):
                self._events.popleft()
                self._whole = True
                self._store()
            elif self._inflow is None:
                self._call(self._factory.inbox.begin_unnamed)
            else:
                self._events.popleft()
                self._inflow.write(event)

    def _call(self, function: Any, *arguments: Any) -> None:
        """Have a thread open an upload; the peer waits."""
        self._busy = True
        self._pause()
        opening: Deferred[Upload] = self._factory.in_thread(function, *arguments)
        opening.addCallbacks(self._opened, self._failed).addErrback(self._failed)

    def _move(self, _: None) -> None:
        """The octets came before their name: now they go where they belong."""
        if self._over or self._inflow is None:
            return
        upload, self._inflow = self._inflow.upload, None
        self._call(self._factory.inbox.move, upload, self._name)

    def _opened(self, upload: Upload) -> None:
        self._busy = False
        if self._over:
            self._factory.give_up(upload)
            return
        self._inflow = Inflow(
            upload, self._factory.in_thread, pause=self._pause, resume=self._resume, failed=self._not_written
        )
        self._resume()
        self._take()

    def _store(self) -> None:
        """Publish the file if all is there, now or after a moment of silence."""
        if not self._whole or self._over:
            return
        if not self._waits:
            self._timer = self._factory.reactor.callLater(SETTLE, self._settled)
            return
        self._over = True
        self._stop_timer()
        assert self._inflow is not None  # noqa: S101 - a whole object has a name
        self._inflow.finish().addCallbacks(self._stored, self._failed).addErrback(self._failed)

    def _settled(self) -> None:
        self._waits = True
        self._store()

    def _stored(self, entry: Entry) -> None:
        assert entry.digest is not None  # noqa: S101 - the store has just computed it
        log.info(
            "stored {name} of {size} octets from {peer}",
            event="filetransfer-stored",
            name=entry.name,
            size=entry.size,
            peer=shown(self._peer),
        )
        self._answered = True
        self._factory.count("stored")
        self._answer({"stored": entry.name, "size": entry.size, "sha256": entry.digest.hex()})

    def _not_written(self, error: StoreError) -> None:
        self._refuse(error.reason, "refused")

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, StoreError):
            self._refuse(failure.value.reason, "refused")
            return
        log.failure("a fault in filetransfer", failure, event="filetransfer-fault", peer=shown(self._peer))
        self._refuse("a fault of the server", "failed")

    def _refuse(self, reason: str, outcome: str) -> None:
        """Store nothing, and say why."""
        self._busy = False
        if self._answered:
            return
        self._answered = self._over = True
        self._events.clear()
        self._stop_timer()
        inflow, self._inflow = self._inflow, None
        if inflow is not None:
            inflow.discard().addErrback(self._factory.not_given_up)
        log.info(
            "nothing of {peer} is stored under the name {name}: {reason}",
            event="filetransfer-not-stored",
            peer=shown(self._peer),
            name=self._name,
            reason=reason,
        )
        self._factory.count(outcome)
        self._answer({"error": reason})

    def _answer(self, line: dict[str, Any]) -> None:
        if self._gone:
            return
        self.transport.write(json.dumps(line).encode("ascii") + b"\n")
        self._resume()
        if is_plain(self.transport) and not self._peer_ended:
            self.transport.loseWriteConnection()
            self._timer = self._factory.reactor.callLater(LINGER, self.transport.abortConnection)
        else:
            self.transport.loseConnection()

    def _pause(self) -> None:
        if not self._gone:
            self.transport.pauseProducing()

    def _resume(self) -> None:
        if not self._gone:
            self.transport.resumeProducing()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class FileReceiverFactory(DrainingFactory):
    """Makes a FileReceiver for each peer.

    :param inbox: where the files go.
    :param runtime: does what blocks in its threads.
    """

    def __init__(self, inbox: Inbox, runtime: IRuntime) -> None:
        super().__init__()
        self.reactor: Any = runtime.reactor
        self.inbox = inbox
        self.in_thread: Any = runtime.in_disk_thread
        self._name = runtime.name
        self._outcomes = runtime.metrics.counter(
            "filetransfer_receipts", "Files that peers sent, by how it went.", ("service", "outcome")
        )

    def buildProtocol(self, addr: IAddress | None) -> FileReceiver:
        return FileReceiver(self, addr)

    def give_up(self, upload: Upload) -> None:
        """Remove an upload that nobody wants any more."""
        discarding: Deferred[None] = self.in_thread(upload.discard)
        discarding.addErrback(self.not_given_up)

    def not_given_up(self, failure: Failure) -> None:
        """A part that could not be removed stays until it is swept."""
        log.warn(
            "a part that is not wanted stays for now: {reason}",
            event="filetransfer-part-stays",
            reason=failure.getErrorMessage(),
        )

    def count(self, outcome: str) -> None:
        """Count one peer: stored, cut (by the peer), refused (by us), failed (a fault of ours)."""
        self._outcomes.inc(service=self._name, outcome=outcome)
