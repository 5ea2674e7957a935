"""The gateway's way to us on a transport: 200 means that the receipts are in the ledger, or none of ours.

Who calls shows the token at the end of the path, or signs, or both. One request on a connection, with a deadline for
arriving whole; what is refused says nothing of why.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.config.secrets import Secret
from netsvc.outbox.model import OutboxError
from netsvc.services.sms.receipts.book import Book
from netsvc.services.sms.receipts.meaning import ReceiptRules, arrived, read
from netsvc.services.sms.receipts.signature import is_signed
from netsvc.services.sms.receipts.wire import BadRequestError, Call, Connection

LINGER = 2.0  # seconds in which a peer may take its answer


@frozen(kw_only=True)
class CallRules:
    """Who may tell us of receipts, and how.

    :param path: of our URL, with the token, as it comes.
    :param url: our URL as the gateway was told it, with the token.
    :param signature: one of SIGNATURES.
    :param key: of the signature.
    :param thanks: what the gateway wants to hear.
    :param deadline: seconds for a request to arrive whole.
    """

    path: Secret
    url: Secret
    rules: ReceiptRules
    signature: str = "none"
    key: Secret | None = None
    thanks: str = "OK"
    deadline: float = 30.0
    now: Callable[[], float] = field(default=time.time)


@implementer(IHalfCloseableProtocol)
class ReceiptProtocol(Protocol):
    """One connection."""

    def __init__(self, factory: ReceiptFactory) -> None:
        self._home = factory
        self._wire = Connection()
        self._timer: Any = None
        self._is_whole = False  # the request is here, or was refused
        self._closed = False

    def connectionMade(self) -> None:
        self._home.connections.add(self)
        self._timer = self._home.reactor.callLater(self._home.rules.deadline, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        if self._is_whole or self._closed:
            return  # one request on a connection
        try:
            call = self._wire.receive(data)
        except BadRequestError as error:
            self._answer(error.status, b"")
            return
        transport: Any = self.transport
        if call is None:
            if go_ahead := self._wire.go_ahead():
                transport.write(go_ahead)
            return
        self._is_whole = True
        Deferred.fromCoroutine(self._home.take(call)).addCallback(lambda said: self._answer(*said))

    def readConnectionLost(self) -> None:
        """The peer will send no more; a request that is whole is answered."""
        if not self._is_whole:
            self._close()

    def writeConnectionLost(self) -> None:
        """The peer will read no more."""
        self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._home.connections.discard(self)
        if self._timer.active():
            self._timer.cancel()

    def drain(self) -> None:
        """Take no further request than the one that is under way."""
        if not self._is_whole:
            self._close()

    def _answer(self, status: int, body: bytes) -> None:
        if self._closed:
            return
        self._is_whole = True
        transport: Any = self.transport
        transport.write(self._wire.answer(status, body))
        if self._timer.active():
            self._timer.cancel()
        if ISSLTransport.providedBy(transport):  # whose direction cannot be closed alone
            self._close()
        else:
            self._timer = self._home.reactor.callLater(LINGER, self._close)
            transport.loseWriteConnection()

    def _too_slow(self) -> None:
        if self._is_whole:
            return  # it is being worked on
        self._answer(408, b"")

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            transport: Any = self.transport
            transport.loseConnection()


class ReceiptFactory(Factory):
    """Makes the connections by which a gateway tells us of receipts.

    :param reactor: the clock of deadlines.
    """

    noisy = False

    def __init__(self, book: Book, rules: CallRules, reactor: IReactorTime) -> None:
        self.rules = rules
        self.reactor: Any = reactor
        self.connections: set[ReceiptProtocol] = set()
        self._book = book
        self._log = Logger(namespace=__name__)

    def buildProtocol(self, addr: Any) -> ReceiptProtocol:
        """A protocol for a connection."""
        return ReceiptProtocol(self)

    def drain(self) -> None:
        """Let requests that are under way be answered, and take nothing new."""
        for one in tuple(self.connections):
            one.drain()

    async def take(self, call: Call) -> tuple[int, bytes]:
        """What to answer; never raises."""
        rules = self.rules
        if not hmac.compare_digest(call.path.encode(), rules.path.reveal().encode()):
            return self._refused(404, "its path is another")
        if not is_signed(
            rules.signature,
            rules.key.reveal() if rules.key else "",
            url=rules.url.reveal(),
            query=call.query,
            body=call.body,
            media_type=call.media_type,
            signature=call.headers.get("x-twilio-signature", ""),
            now=rules.now(),
        ):
            return self._refused(403, "its signature is wrong")
        try:
            await self._book.take(read(rules.rules, arrived(call.query, call.body, call.media_type)))
        except OutboxError as error:
            return self._refused(503, str(error))
        except Exception:  # noqa: BLE001 - one request's fault must not become the daemon's
            self._log.failure("a receipt failed by a fault of ours", event="sms-receipt-fault")
            return 500, b""
        return 200, rules.thanks.encode()

    def _refused(self, status: int, reason: str) -> tuple[int, bytes]:
        self._log.info(
            "refused a receipt with {status}: {reason}", event="sms-receipt-refused", status=status, reason=reason
        )
        return status, b""
