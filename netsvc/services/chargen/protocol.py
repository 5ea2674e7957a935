"""Sends the pattern for as long as the peer reads; all connections send the same block, so none costs memory."""

from __future__ import annotations

from collections.abc import Callable
from random import randint
from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.interfaces import IDatagramResponder
from netsvc.net.drain import Drainable, DrainingFactory
from netsvc.services.chargen.wire import BLOCK, GREATEST_DATAGRAM, PATTERN


@implementer(IHalfCloseableProtocol, IPullProducer)
class Chargen(Protocol):
    """One connection of the character generator, RFC 864.

    It is asked for the next block when the last has left: a peer that does not read is sent no more.
    A peer that has half-closed still reads, and is sent more until it leaves.

    :param opened: the factory's open connections.
    """

    transport: Any

    def __init__(self, opened: set[Drainable]) -> None:
        self._opened = opened

    def connectionMade(self) -> None:
        self._opened.add(self)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.transport.write(BLOCK)

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    def dataReceived(self, data: bytes) -> None:
        """Input is ignored."""

    def readConnectionLost(self) -> None:
        """The peer sends no more; it may still read."""

    def writeConnectionLost(self) -> None:
        """Never comes: this side closes both directions at once."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._opened.discard(self)

    def drain(self) -> None:
        """Let the block that is on its way be the last; it ends with a whole line."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()


class ChargenFactory(DrainingFactory):
    """Makes connections of the character generator."""

    def buildProtocol(self, addr: IAddress | None) -> Chargen:
        return Chargen(self.open)


@implementer(IDatagramResponder)
class ChargenResponder:
    """Answers with a random number of characters, RFC 864, but never more than were sent.

    :param length: (lowest, highest) -> a whole number between them, both included.
    """

    greatest_answer = 0

    def __init__(self, length: Callable[[int, int], int] = randint) -> None:
        self._length = length

    def answer(self, request: bytes, peer: tuple[str, int], limit: int) -> bytes | None:
        """0 to 512 octets of the pattern from its start, at most `limit` and at most as many as came."""
        return PATTERN[: self._length(0, min(GREATEST_DATAGRAM, limit, len(request)))]
