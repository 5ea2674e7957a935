"""Http2Connection: one HTTP/2 connection (RFC 9113) on a TLS transport; many exchanges at a time, to the same routes.

Streams take turns, one frame each. What is not yet sent waits in the exchanges, whose producers pause; a peer that
takes nothing while octets for it are queued is not read. Every wait has a deadline, looked at once a tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.services.http.flow import queued
from netsvc.services.http.http2.exchange import Http2Exchange
from netsvc.services.http.http2.floods import Floods
from netsvc.services.http.http2.head import LINE_SLACK
from netsvc.services.http.http2.streams import LAST_STREAM, Streams
from netsvc.services.http.http2.wire import (
    DATA,
    GOAWAY,
    PRIORITY,
    RST_STREAM,
    FrameError,
    FrameReader,
    ServerConnection,
    goaway,
)
from netsvc.services.http.pace import FOREVER, AnswerPace

if TYPE_CHECKING:
    from netsvc.services.http.factory import HttpFactory

log = Logger()

CONTROL_BACKLOG = 1 << 18  # octets queued at the transport past which the peer is not read
WINDOWS = 4  # bodies of so many streams may wait in full before the connection's window is shut
LINGER = 5.0  # seconds that a connection is read on after its last frame
LINGER_OCTETS = 1 << 20  # octets read and dropped in that time


@implementer(IHalfCloseableProtocol, IPushProducer)
class Http2Connection(Protocol):
    """One connection.

    :param factory: what all connections of the service share.
    """

    factory: HttpFactory
    transport: Any

    def __init__(self, factory: HttpFactory) -> None:
        settings, limits = factory.settings, factory.limits
        self.factory = factory
        list_size = limits.target + limits.head + (32 - LINE_SLACK) * limits.fields + 256
        window = settings.http2_body_window
        self._h2 = ServerConnection(streams=settings.http2_max_streams, window=window, list_size=list_size)
        self._reader = FrameReader(list_size)
        self._floods = Floods(factory.clock.seconds)
        self._streams = Streams(self, self._h2, self._floods)
        self._turns = self._streams.turns
        self._deaf = False  # the peer is not read
        self._busy = False  # more will be written before what is queued is sent
        self._closing = False
        self._leaving = False  # the connection ends with its last stream
        self._draining = False  # the peer was told that the service stops
        self._head_deadline = FOREVER  # when a head that has begun must be whole
        self._linger_deadline = FOREVER
        self._discarded = 0
        self._answer_pace = AnswerPace(settings.send_timeout, settings.send_rate)

    # Of the transport

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's address."""
        address = self.transport.getPeer()
        return getattr(address, "host", ""), getattr(address, "port", 0)

    @property
    def local(self) -> tuple[str, int]:
        """Where the peer connected to."""
        address = self.transport.getHost()
        return getattr(address, "host", ""), getattr(address, "port", 0)

    def connectionMade(self) -> None:
        factory = self.factory
        factory.opened(self)
        self._streams.idle_deadline = factory.after(factory.settings.head_timeout)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.transport.write(self._h2.open(WINDOWS * factory.settings.http2_body_window))

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            self._discard(data)
            return
        self._busy = True
        try:
            self._read(data)
        except FrameError as error:
            self._break(error.code, error.reason, told=error.told)
        except Exception:  # noqa: BLE001  (a fault of ours or of h2's costs this connection, not the service)
            log.failure("HTTP/2 of {peer} failed", event="http2-failed", peer=self.peer[0])
            self._break(ErrorCodes.INTERNAL_ERROR, "failed")
        finally:
            self._busy = False
        self.settle()

    def readConnectionLost(self) -> None:
        """The peer has said all. It still gets every answer that it asked for, as far as its windows are open."""
        self._leaving = True
        if self._closing:
            self.transport.loseConnection()
            return
        for exchange in tuple(self._streams.open.values()):
            if not exchange.body_ended:
                exchange.fail(400)
        self.settle()

    def writeConnectionLost(self) -> None:
        """Never comes under TLS."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._closing = True
        self.factory.closed(self)
        self._streams.cut_all()

    def write(self, octets: bytes) -> None:
        """Give octets to the transport."""
        self.transport.write(octets)

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._turns.full = True

    def resumeProducing(self) -> None:
        """The transport has sent all."""
        self._turns.full = False
        if self._deaf:
            self._deaf = False
            self.transport.resumeProducing()
        self.settle()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # From octets to exchanges

    def _read(self, data: bytes) -> None:
        reader, streams = self._reader, self._streams
        reader.receive(data)
        while not self._closing and (streams.open or not self._leaving):
            frame = reader.next()
            if frame is None:
                return
            kind = frame.kind
            self._floods.frame(frame, stray=kind == DATA and frame.stream not in streams.open)
            if kind == PRIORITY:  # RFC 9113 5.3.2: deprecated
                continue
            if kind == GOAWAY:  # the peer opens no more streams; those that are open end as they would
                self._leaving = True
            elif kind == RST_STREAM and frame.stream > self._h2.highest_inbound_stream_id:
                raise FrameError(ErrorCodes.PROTOCOL_ERROR, "RST_STREAM of an idle stream")
            else:
                streams.received(frame)

    def settle(self) -> None:
        """Send what can be sent, and set what follows: reading, deadlines, the end."""
        if self._closing or self._busy:
            return
        self._busy = True
        try:
            self._turns.take()
        finally:
            self._busy = False
        self._turns.flush()
        if self._turns.full and not self._deaf and queued(self.transport) > CONTROL_BACKLOG:
            self._deaf = True
            self.transport.pauseProducing()
        if self._leaving and not self._streams.open:
            self._close()

    # The end

    def _break(self, code: int, reason: str, *, told: bool = False) -> None:
        """The peer, or we, cannot go on.

        :param told: the GOAWAY is written.
        """
        self._closing = True
        log.info("{peer}: {reason}", event="http2-broken", peer=self.peer[0], reason=reason)
        if not told:
            self._turns.send(goaway(self._h2.highest_inbound_stream_id, code))
        self._streams.cut_all()
        self._hang_up()

    def _close(self) -> None:
        """Say that no stream will be served any more, send what is owed and close."""
        self._closing = True
        self._turns.send(goaway(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR))
        self._hang_up()

    def _hang_up(self) -> None:
        self._turns.flush()
        self._linger_deadline = self.factory.now + LINGER
        if self._deaf:
            self._deaf = False
            self.transport.resumeProducing()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > LINGER_OCTETS:
            self.transport.abortConnection()

    def drain(self) -> None:
        """The service stops. The peer is told, and a tick later that what comes now is not served any more."""
        if not (self._closing or self._draining):
            self._draining = True
            self._turns.send(goaway(LAST_STREAM, ErrorCodes.NO_ERROR))
            self.settle()

    # Time

    def look(self, now: float) -> None:
        """Once a tick: whether a deadline is over, and whether the peer brings and takes what it should."""
        if self._closing:
            if not queued(self.transport):
                if now >= self._linger_deadline:
                    self.transport.abortConnection()
                return
        elif self._draining and not self._leaving:
            self._leaving = True
            self._streams.last = self._h2.highest_inbound_stream_id
            self._turns.send(goaway(self._streams.last, ErrorCodes.NO_ERROR))
            self.settle()
        elif self._overdue(now):
            return
        if not (self._turns.full or queued(self.transport)):
            self._answer_pace.forgive()
        elif self._answer_pace.too_slow(now, self.transport, self._turns.octets):
            self._too_slow()
            self.transport.abortConnection()
            return
        for exchange in tuple(self._streams.open.values()):
            self._measure(exchange, now)

    def _overdue(self, now: float) -> bool:
        """Close a connection whose peer owes a request, or the rest of one; whether that was so."""
        factory = self.factory
        if not self._reader.in_head:
            self._head_deadline = FOREVER
        elif self._head_deadline == FOREVER:
            self._head_deadline = factory.after(factory.settings.head_timeout)
        if now >= self._head_deadline:
            self._break(ErrorCodes.NO_ERROR, "a head took too long")
        elif not self._streams.open and now >= self._streams.idle_deadline:
            self._close()
        else:
            return False
        return True

    def _measure(self, exchange: Http2Exchange, now: float) -> None:
        """Whether a peer sends a body, and opens its windows, as fast as it has to."""
        if not exchange.wants_body or self._h2.inbound_flow_control_window <= 0:
            exchange.body_pace.pause(now)
        else:
            stream, octets = self._reader.begun_body()
            rate = self.factory.settings.body_rate
            begun = octets / rate if rate and stream == exchange.stream else 0.0
            if now >= exchange.body_pace.deadline(now) + begun:
                exchange.fail(408)
                return
        if not exchange.waiting or self._turns.room(exchange) > 0:
            exchange.answer_pace.forgive()
        elif exchange.answer_pace.too_slow(now, None, exchange.sent):
            self._too_slow()
            self._streams.reset(exchange, ErrorCodes.CANCEL)
            self.settle()

    def _too_slow(self) -> None:
        log.info("{peer} reads too slowly", event="http-slow-reader", peer=self.peer[0])
