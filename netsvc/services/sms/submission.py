"""The submission socket: one request at a time on each connection, and a deadline for each to arrive whole.

Each connection holds one line at most; while it is worked on, or while the peer does not read, nothing more is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.unix_peer import UnixPeer, unix_peer
from netsvc.services.sms.desk import Desk
from netsvc.services.sms.wire import LineReader, MalformedError, Refusal, encode, parse_request


@implementer(IHalfCloseableProtocol, IPushProducer)
class SubmissionProtocol(Protocol):
    """One connection. As a producer it is its own output: while the peer does not read, nothing more is answered."""

    def __init__(self, factory: SubmissionFactory) -> None:
        self._home = factory
        self._peer = UnixPeer(None)
        self._reader = LineReader()
        self._deadline: Any = None
        self._working = False  # a request is being answered
        self._peer_reads = True
        self._half_closed = False  # the peer will send no more
        self._draining = False  # the service stops: this request is the last
        self._closed = False

    # Twisted's calls

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._peer = self._home.peer(transport)
        self._home.connections.add(self)
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if not self._closed:
            self._reader.feed(data)
            self._go_on()

    def readConnectionLost(self) -> None:
        """The peer will send no more; what it is owed it still gets."""
        self._half_closed = True
        self._go_on()

    def writeConnectionLost(self) -> None:
        """The peer will read no more."""
        self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._closed = True
        self._home.connections.discard(self)
        self._stop_deadline()

    def pauseProducing(self) -> None:
        """The peer does not read: the transport's buffer is full."""
        self._peer_reads = False

    def resumeProducing(self) -> None:
        """The buffer is empty again."""
        self._peer_reads = True
        self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # Ours

    def drain(self) -> None:
        """Take no further request than the one that is under way."""
        self._draining = True
        if not self._closed and not self._working and self._reader.idle:
            self._close()

    def _go_on(self) -> None:
        if self._closed or self._working or not self._peer_reads:
            return
        transport: Any = self.transport
        try:
            line = self._reader.next()
            if line is None:
                if self._half_closed:
                    self._close()
                elif not self._reader.idle and self._deadline is None:
                    self._deadline = self._home.reactor.callLater(self._home.timeout, self._too_slow)
                return
            self._stop_deadline()
            request = parse_request(line)
        except MalformedError as refusal:
            self._say(self._home.desk.refuse(refusal, self._peer))
            self._close()
            return
        except Refusal as refusal:
            self._working = True
            transport.pauseProducing()
            self._answered(self._home.desk.refuse(refusal, self._peer))
            return
        self._working = True
        transport.pauseProducing()
        Deferred.fromCoroutine(self._home.desk.answer(request, self._peer)).addCallback(self._answered)

    def _answered(self, reply: dict[str, Any]) -> None:
        transport: Any = self.transport
        self._working = False
        if self._closed:
            return
        self._say(reply)
        transport.resumeProducing()
        if self._draining or (self._half_closed and self._reader.idle):
            self._close()
        elif not self._reader.idle:
            # From a new turn of the reactor, so that one peer with many requests does not keep the others waiting.
            self._home.reactor.callLater(0, self._go_on)

    def _say(self, reply: dict[str, Any]) -> None:
        transport: Any = self.transport
        transport.write(encode(reply))

    def _too_slow(self) -> None:
        self._deadline = None
        refusal = Refusal("4.4.2", f"the request did not arrive within {self._home.timeout:g} s")
        self._say(self._home.desk.refuse(refusal, self._peer))
        self._close()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_deadline()
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()


class SubmissionFactory(Factory):
    """Makes the connections of one submission socket.

    :param timeout: seconds that a request may take to arrive.
    :param reactor: the clock of deadlines.
    :param peer: transport -> UnixPeer.
    """

    noisy = False

    def __init__(
        self, desk: Desk, *, timeout: float, reactor: IReactorTime, peer: Callable[[Any], UnixPeer] = unix_peer
    ) -> None:
        self.desk = desk
        self.timeout = timeout
        self.reactor: Any = reactor
        self.peer = peer
        self.connections: set[SubmissionProtocol] = set()

    def buildProtocol(self, addr: object) -> SubmissionProtocol:  # noqa: ARG002
        """A protocol for a connection."""
        return SubmissionProtocol(self)

    def drain(self) -> None:
        """Let what is under way finish, and take nothing new."""
        for one in tuple(self.connections):
            one.drain()
