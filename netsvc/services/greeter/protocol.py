"""Greeter: welcomes a peer and answers each piece of its input, after a pause if one is set.

While an answer is due, or more than the transport's 64 KiB wait for the peer to read, no more is read from it:
its memory is bounded and nobody else waits.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.drain import DrainingFactory
from netsvc.net.fast_write import fast_write
from netsvc.services.greeter.wire import Script


@implementer(IHalfCloseableProtocol, IPushProducer)
class Greeter(Protocol):
    """One conversation.

    :param factory: holds what all conversations share.
    """

    transport: Any

    def __init__(self, factory: GreeterFactory) -> None:
        self._factory = factory
        self._due: IDelayedCall | None = None  # the pause before the next answer
        self._held = b""  # input that still came while it ran: transports with buffers of their own, such as TLS
        self._full = False  # the peer does not read
        self._ending = False  # no more input is wanted: close when the answer that is due was sent
        self._closed = False  # the transport was told to close, or is gone

    def connectionMade(self) -> None:
        self._factory.open.add(self)
        self.transport.registerProducer(self, True)
        greeting = self._factory.greeting
        if greeting:
            fast_write(self.transport, greeting)
        if self._factory.close:
            self._close()

    def dataReceived(self, data: bytes) -> None:
        if self._ending:
            return
        if self._due is not None:
            data = self._held + data
            if self._factory.script.is_too_long(data):
                self._refuse()
            else:
                self._held = data
            return
        self._hear(data)

    def _hear(self, piece: bytes) -> None:
        script = self._factory.script
        if script.is_too_long(piece):
            self._refuse()
        elif script.is_exit(piece):
            self._close()
        elif self._factory.pause:
            self._due = self._factory.clock.callLater(self._factory.pause, self._answer, piece)
            self.transport.pauseProducing()
        else:
            fast_write(self.transport, script.answer(piece))

    def _answer(self, piece: bytes) -> None:
        """The pause is over."""
        self._due = None
        fast_write(self.transport, self._factory.script.answer(piece))
        held, self._held = self._held, b""
        if held:
            self._hear(held)
        if self._due is not None or self._closed:
            return
        if self._ending:
            self._close()
        elif not self._full:
            self.transport.resumeProducing()

    def _refuse(self) -> None:
        fast_write(self.transport, self._factory.script.refuse())
        self._close()

    def _close(self) -> None:
        """Send what is owed, then close."""
        self._ending = self._closed = True
        self._cancel()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _cancel(self) -> None:
        self._held = b""
        if self._due is not None:
            due, self._due = self._due, None
            due.cancel()

    def pauseProducing(self) -> None:
        self._full = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._full = False
        if self._due is None:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    def readConnectionLost(self) -> None:
        """The peer will say no more: it gets the answer that is due, then the connection closes."""
        self.drain()

    def writeConnectionLost(self) -> None:
        """Never comes: this side closes both directions at once."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._ending = self._closed = True
        self._cancel()
        self._factory.open.discard(self)

    def drain(self) -> None:
        """Give the answer that is due, then close."""
        self._ending = True
        if self._due is None and not self._closed:
            self._close()


class GreeterFactory(DrainingFactory):
    """Makes conversations.

    :param script: the words.
    :param close: whether the welcome is all there is.
    :param pause: seconds before each answer.
    :param clock: an IReactorTime.
    """

    def __init__(self, script: Script, *, close: bool, pause: float, clock: Any) -> None:
        super().__init__()
        self.script = script
        self.greeting = script.greeting()
        self.close = close
        self.pause = pause
        self.clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Greeter:
        return Greeter(self)
