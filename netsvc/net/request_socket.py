"""A UNIX socket that answers lines of JSON: one request at a time on each connection, and a deadline for each.

While a request is worked on, or the peer does not read, nothing more is read from it: what a connection holds is one
request and what came with its end. What is malformed, or too slow, is answered and ends the connection. The peer is who
the kernel says. How many connections there may be, ``max_connections`` of the ServerSettings says that the factory is
served with: admission is the runtime's.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Generic

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.config.listen import MAX_UNIX_PATH, UnixAddress
from netsvc.errors import StartError
from netsvc.net.json_lines import MalformedError, R, Refusal, RequestReader, encode, refused
from netsvc.net.unix_peer import UnixPeer, unix_peer

Reply = dict[str, Any]


class Share(typing.Protocol):
    """Room for the octets that a request announced, granted or waited for."""

    granted: bool

    def give_back(self) -> None:
        """Return the room, or stop waiting for it."""


Room = Callable[[int, Callable[[], None]], Share]


def own_socket(section: str, path: Path, mode: int) -> UnixAddress:
    """Where the socket of a section listens.

    :raises StartError: the kernel takes no path so long.
    """
    if len(bytes(path)) > MAX_UNIX_PATH:
        raise StartError(f"[{section}] the socket {path} is longer than {MAX_UNIX_PATH} octets; set socket")
    return UnixAddress(path=path, mode=mode)


def _just_say(refusal: Refusal, _: UnixPeer) -> Reply:
    return refused(refusal)


@implementer(IHalfCloseableProtocol, IPushProducer)
class RequestProtocol(protocol.Protocol, Generic[R]):
    """One connection. As a producer it is its own output: while the peer does not read, nothing more is answered."""

    def __init__(self, factory: RequestFactory[R]) -> None:
        self._home = factory
        self._peer = UnixPeer(None)
        self._reader = factory.reader()
        self._share: Share | None = None
        self._deadline: Any = None
        self._working = False  # a request is being answered
        self._is_due = False  # more has come, and waits for its turn
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

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:  # noqa: ARG002
        self._closed = True
        self._home.connections.discard(self)
        self._settle_up()

    def pauseProducing(self) -> None:
        """The peer does not read: the transport's buffer is full."""
        self._peer_reads = False
        self._read_or_not()

    def resumeProducing(self) -> None:
        """The buffer is empty again."""
        self._peer_reads = True
        self._read_or_not()
        self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # Ours

    def drain(self) -> None:
        """Take no further request than the one that is under way."""
        self._draining = True
        if not self._working and (self._reader.idle or not self._home.patient):
            self._close()

    def _go_on(self) -> None:
        if self._closed or self._working or not self._peer_reads:
            return
        try:
            request = self._reader.next()
        except MalformedError as refusal:
            self._end_with(refusal)
            return
        except Refusal as refusal:
            self._answered(self._home.refuse(refusal, self._peer))
            return
        if request is None:
            self._wait_for_more()
            return
        self._stop_deadline()
        self._working = True
        self._read_or_not()
        Deferred.fromCoroutine(self._home.answer(request, self._peer)).addCallback(self._answered)

    def _wait_for_more(self) -> None:
        """What has come of a request has its deadline, and the octets that it announced their room."""
        if self._half_closed:
            self._close()
            return
        home = self._home
        if not self._reader.idle and self._deadline is None:
            self._deadline = home.reactor.callLater(home.deadline, self._too_slow)
        if home.room is not None and self._reader.announced and self._share is None:
            self._share = home.room(self._reader.announced, self._read_or_not)
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read, or leave what nothing can be done with to the kernel, which makes the peer wait."""
        if self._closed:
            return
        transport: Any = self.transport
        has_room = self._share is None or self._share.granted
        if has_room and self._peer_reads and not self._working and not self._is_due:
            transport.resumeProducing()
        else:
            transport.pauseProducing()

    def _answered(self, reply: Reply) -> None:
        transport: Any = self.transport
        self._working = False
        self._settle_up()
        if self._closed:
            return
        transport.write(encode(reply))
        if self._draining or (self._half_closed and self._reader.idle):
            self._close()
            return
        if not self._reader.idle and not self._is_due:
            # From a new turn of the reactor, so that one peer with many requests does not keep the others waiting.
            self._is_due = True
            self._home.reactor.callLater(0, self._take_turn)
        self._read_or_not()

    def _take_turn(self) -> None:
        self._is_due = False
        self._go_on()

    def _too_slow(self) -> None:
        self._deadline = None
        self._end_with(Refusal("4.4.2", f"the request did not arrive within {self._home.deadline:g} s"))

    def _end_with(self, refusal: Refusal) -> None:
        transport: Any = self.transport
        transport.write(encode(self._home.refuse(refusal, self._peer)))
        self._close()

    def _settle_up(self) -> None:
        self._stop_deadline()
        if self._share is not None:
            share, self._share = self._share, None
            share.give_back()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._settle_up()
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()


class RequestFactory(protocol.Factory, Generic[R]):
    """Makes the connections of one socket.

    :param reader: makes what reads the requests of one connection.
    :param answer: the reply to a request; never raises.
    :param reactor: the clock of deadlines.
    :param deadline: seconds that a request may take to arrive, from its first octet.
    :param refuse: the reply to what is malformed, refused as it is read, or too slow; for those who log and count.
    :param room: gives room for the octets that a request announced; who gets none at once is not read until he does.
    :param patient: when the service drains, a request that has begun to arrive may still come whole.
    :param peer: who is at the other end of a transport.
    """

    noisy = False

    def __init__(
        self,
        reader: Callable[[], RequestReader[R]],
        answer: Callable[[R, UnixPeer], Coroutine[Any, Any, Reply]],
        reactor: IReactorTime,
        *,
        deadline: float,
        refuse: Callable[[Refusal, UnixPeer], Reply] = _just_say,
        room: Room | None = None,
        patient: bool = True,
        peer: Callable[[Any], UnixPeer] = unix_peer,
    ) -> None:
        self.reader = reader
        self.answer = answer
        self.reactor: Any = reactor
        self.deadline = deadline
        self.refuse = refuse
        self.room = room
        self.patient = patient
        self.peer = peer
        self.connections: set[RequestProtocol[R]] = set()

    def buildProtocol(self, addr: object) -> RequestProtocol[R]:  # noqa: ARG002
        """A protocol for a connection."""
        return RequestProtocol(self)

    def drain(self) -> None:
        """Let what is under way finish, and take nothing new."""
        for one in tuple(self.connections):
            one.drain()
