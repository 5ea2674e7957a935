"""One HTTP/1.1 connection of the client: one exchange after the other, and word when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.services.fetch.download.exchange import Exchange

READ = 1 << 18  # octets read from the socket at once: a quarter of the turns that Twisted's 64 KiB take


@implementer(IHandshakeListener)
class Connection(Protocol):
    """A connection.

    :ivar ready: fires when it may be used: with TLS, when the certificate is good.
    :ivar served: exchanges that were begun.
    :param secure: whether TLS is spoken.
    :param lost: told when it is gone.
    """

    transport: Any

    def __init__(self, secure: bool, lost: Callable[[Connection], None]) -> None:
        self.ready: Deferred[None] = Deferred(lambda _: self.abort())
        self.served = 0
        self.is_lost = False
        self._secure = secure
        self._lost = lost
        self._exchange: Exchange | None = None

    def connectionMade(self) -> None:
        if not self._secure:
            self.ready.callback(None)

    def handshakeCompleted(self) -> None:
        """The certificate is good."""
        self.ready.callback(None)

    def ask(self, request: bytes) -> Exchange:
        """Send a request; the exchange before it must be over."""
        self.served += 1
        self._exchange = Exchange(self._flow, self.abort)
        self.transport.write(request)
        return self._exchange

    def read_at_once(self, octets: int) -> None:
        """How much one read takes at most. Under TLS it says how many encrypted octets."""
        transport = self.transport
        while (inner := getattr(transport, "transport", None)) is not None:
            transport = inner
        transport.bufferSize = octets

    @property
    def is_free(self) -> bool:
        """Whether another exchange may follow the last one."""
        one = self._exchange
        return not self.is_lost and (one is None or (one.ended and one.keeps and not one.is_held))

    def _flow(self, hold: bool) -> None:
        if self.is_lost:
            return
        if hold:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.ended:
            self.abort()  # nobody asked
        else:
            exchange.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        if not self.ready.called:
            self.ready.errback(reason)
        elif self._exchange is not None:
            self._exchange.connection_lost(reason.check(ConnectionDone) is not None)
        self._lost(self)

    def abort(self) -> None:
        """Cut it, unless it is gone."""
        if not self.is_lost and self.transport is not None:
            self.transport.abortConnection()
