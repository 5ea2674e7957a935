"""FileTransfer: sends the offered file's object to a peer, then ends the connection so that all of it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from zope.interface import implementer

from netsvc.net.peer import shown
from netsvc.net.plain import is_plain
from netsvc.services.filetransfer import wire
from netsvc.services.filetransfer.offer import FileShrankError, NothingToOfferError, Offer, OpenFile
from netsvc.services.filetransfer.sender import PieceSender

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from netsvc.interfaces import IRuntime

log = Logger()

BLOCK = 48 * 1024  # octets read at once: a multiple of three; with its 64 KiB of base64 it fits a core's cache
IGNORED = 64 * 1024  # octets that a peer may send, although it has nothing to say, before it is cut off
LINGER = 2.0  # seconds after our end for the peer's; a close with its octets unread would destroy ours on the way


@implementer(IHalfCloseableProtocol)
class FileTransfer(Protocol):
    """One peer. What it sends is ignored, within bounds; its half-close too."""

    transport: Any

    def __init__(self, factory: FileTransferFactory, peer: IAddress | None) -> None:
        self._factory = factory
        self._peer = peer
        self._file: OpenFile | None = None
        self._ignored = 0
        self._gone = False
        self._peer_ended = False
        self._sent_all = False
        self._farewell: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._factory.open().addCallbacks(self._send, self._close_without).addErrback(self._broken)

    def dataReceived(self, data: bytes) -> None:
        self._ignored += len(data)
        if self._ignored > IGNORED and not self._gone:
            log.info(
                "{peer} was cut off: it sends, but should only read",
                event="filetransfer-peer-sends",
                peer=shown(self._peer),
            )
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        self._peer_ended = True
        if self._sent_all:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our end has left; the peer's is awaited."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._gone = True
        if self._farewell is not None and self._farewell.active():
            self._farewell.cancel()

    def _send(self, file: OpenFile) -> None:
        if self._gone:
            file.close()
            return
        self._file = file
        sender = PieceSender(self.transport, wire.encode(file.name, file.blocks(BLOCK)))
        sender.send().addBoth(self._close_file).addCallbacks(self._sent, self._failed).addErrback(self._broken)

    def _close_file(self, result: Any) -> Any:
        assert self._file is not None  # noqa: S101
        self._file.close()
        return result

    def _close_without(self, failure: Failure) -> Failure | None:
        if not isinstance(failure.value, NothingToOfferError | OSError):
            return failure
        log.warn(
            "nothing to offer to {peer}: {reason}",
            event="filetransfer-nothing-to-offer",
            peer=shown(self._peer),
            reason=failure.getErrorMessage(),
        )
        self._factory.count("nothing")
        if not self._gone:
            self.transport.loseConnection()
        return None

    def _sent(self, _: None) -> None:
        assert self._file is not None  # noqa: S101
        log.info(
            "sent {name} of {size} octets to {peer}",
            event="filetransfer-sent",
            name=self._file.name,
            size=self._file.size,
            peer=shown(self._peer),
        )
        self._factory.count("sent")
        self._sent_all = True
        if is_plain(self.transport) and not self._peer_ended:
            self.transport.loseWriteConnection()
            self._farewell = self._factory.reactor.callLater(LINGER, self.transport.loseConnection)
        else:
            self.transport.loseConnection()

    def _failed(self, failure: Failure) -> None:
        assert self._file is not None  # noqa: S101
        shrank = isinstance(failure.value, FileShrankError)
        left = isinstance(failure.value, ConnectionError)
        log.info(
            "{name} did not reach {peer} whole: {reason}",
            event="filetransfer-cut",
            name=self._file.name,
            peer=shown(self._peer),
            reason=failure.getErrorMessage(),
        )
        self._factory.count("shrank" if shrank else "left" if left else "failed")
        if not self._gone:
            self.transport.abortConnection()

    def _broken(self, failure: Failure) -> None:
        """A fault of ours: it ends this connection only, and the log has it whole."""
        log.failure("a fault in filetransfer", failure, event="filetransfer-fault", peer=shown(self._peer))
        if not self._gone:
            self.transport.abortConnection()


class FileTransferFactory(Factory):
    """Makes a FileTransfer for each peer.

    :param offer: what is offered.
    :param runtime: opens files in its threads, because a directory may be large and a disk slow.
    """

    noisy = False

    def __init__(self, offer: Offer, runtime: IRuntime) -> None:
        self.reactor: Any = runtime.reactor
        self._offer = offer
        self._runtime = runtime
        self._outcomes = runtime.metrics.counter(
            "filetransfer_offers", "Files offered to peers, by how it went.", ("service", "outcome")
        )

    def buildProtocol(self, addr: IAddress | None) -> FileTransfer:
        return FileTransfer(self, addr)

    def open(self) -> Deferred[OpenFile]:
        """Open the next file to send; fails with NothingToOfferError or OSError."""
        opening: Deferred[OpenFile] = self._runtime.in_thread(self._offer.open)
        return opening

    def count(self, outcome: str) -> None:
        """Count one peer: sent, left (by the peer), shrank, failed (to read) or nothing (to offer)."""
        self._outcomes.inc(service=self._runtime.name, outcome=outcome)
