"""The socket of a list: one request at a time on each connection. What is malformed is answered, and ends it.

A connection holds one line at most; while a request is worked on, or while the peer does not read, nothing is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.unix_peer import UnixPeer, unix_peer
from netsvc.services.fetch.wire import MAX_LINE, Refusal, Request, encode, parse_request, refused

Answer = Callable[[Request, UnixPeer], Awaitable[dict[str, Any]]]


@implementer(IHalfCloseableProtocol, IPushProducer)
class SocketProtocol(Protocol):
    """One connection."""

    def __init__(self, factory: SocketFactory) -> None:
        self._home = factory
        self._peer = UnixPeer(None)
        self._buffer = bytearray()
        self._working = False
        self._peer_reads = True
        self._no_more = False  # the peer sends nothing more, or the service stops
        self._closed = False

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._peer = self._home.peer(transport)
        self._home.connections.add(self)
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if not self._closed:
            self._buffer += data
            self._go_on()

    def readConnectionLost(self) -> None:
        self._no_more = True
        self._go_on()

    def writeConnectionLost(self) -> None:
        self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._home.connections.discard(self)

    def pauseProducing(self) -> None:
        self._peer_reads = False

    def resumeProducing(self) -> None:
        self._peer_reads = True
        self._go_on()

    def stopProducing(self) -> None: ...

    def drain(self) -> None:
        """Take no further request than the one that is under way."""
        self._no_more = True
        self._buffer.clear()
        self._go_on()

    def _go_on(self) -> None:
        if self._closed or self._working or not self._peer_reads:
            return
        end = self._buffer.find(b"\n", 0, MAX_LINE + 1)
        if end < 0 and len(self._buffer) > MAX_LINE:
            self._refuse(Refusal("5.5.2", f"the request is longer than {MAX_LINE} octets"))
        elif end < 0:
            if self._no_more:
                self._close()
        else:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            request = parse_request(line)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        transport: Any = self.transport
        self._working = True
        transport.pauseProducing()

        async def work() -> None:
            reply = await self._home.answer(request, self._peer)
            self._working = False
            if not self._closed:
                transport.write(encode(reply))
                transport.resumeProducing()
                # From a new turn of the reactor, so that one peer with many requests does not keep others waiting.
                self._home.reactor.callLater(0, self._go_on)

        Deferred.fromCoroutine(work())

    def _refuse(self, refusal: Refusal) -> None:
        transport: Any = self.transport
        transport.write(encode(refused(refusal)))
        self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()


class SocketFactory(Factory):
    """Makes the connections.

    :param answer: the reply to a request; never raises.
    :param peer: transport -> UnixPeer.
    """

    noisy = False

    def __init__(self, answer: Answer, reactor: Any, peer: Callable[[Any], UnixPeer] = unix_peer) -> None:
        self.answer = answer
        self.reactor = reactor
        self.peer = peer
        self.connections: set[SocketProtocol] = set()

    def buildProtocol(self, addr: object) -> SocketProtocol:
        """A protocol for a connection."""
        return SocketProtocol(self)

    def drain(self) -> None:
        """Let what is under way finish, and take nothing new."""
        for one in tuple(self.connections):
            one.drain()
