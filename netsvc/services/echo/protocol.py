"""Echoes octets and datagrams. A peer that does not read is no longer read; nothing received is lost."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.interfaces import IDatagramResponder
from netsvc.net.drain import Drainable, DrainingFactory
from netsvc.net.fast_write import fast_write
from netsvc.net.last_words import close_at_once


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """One echo connection, RFC 862.

    The transport is its own producer: when 64 KiB wait for the peer to read, reading from it stops until
    they have left. Two such buffers are all the memory that a connection can hold.

    :param opened: the factory's open connections.
    """

    transport: Any

    def __init__(self, opened: set[Drainable]) -> None:
        self._opened = opened

    def connectionMade(self) -> None:
        self._opened.add(self)
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        fast_write(self.transport, data)

    def readConnectionLost(self) -> None:
        """The peer will send no more: it gets what it is owed, then the connection closes."""
        self.transport.unregisterProducer()  # a connection with a producer is never closed
        close_at_once(self.transport)

    def writeConnectionLost(self) -> None:
        """Never comes: this side closes both directions at once."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._opened.discard(self)

    def drain(self) -> None:
        """Read no more, send what is owed, then close."""
        self.transport.unregisterProducer()  # a connection with a producer is never closed
        self.transport.loseConnection()


class EchoFactory(DrainingFactory):
    """Makes echo connections."""

    def buildProtocol(self, addr: IAddress | None) -> Echo:
        return Echo(self.open)


@implementer(IDatagramResponder)
class EchoResponder:
    """Sends each payload back, RFC 862."""

    greatest_answer = 0

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes | None:
        """The request itself, or silence where the answer may not be so long."""
        return request if len(request) <= limit else None
