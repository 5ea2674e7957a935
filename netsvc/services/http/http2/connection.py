"""Http2Connection: one HTTP/2 connection (RFC 9113) on a TLS transport; many exchanges at a time, to the same routes.

Streams take turns, one frame each. What is not yet sent waits in the exchanges, whose producers pause; a peer that
takes nothing while octets for it are queued is not read. Every wait has a deadline, looked at once a tick.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.services.http.flow import queued
from netsvc.services.http.head import Message, RejectedError
from netsvc.services.http.http2.exchange import Http2Exchange
from netsvc.services.http.http2.floods import Floods
from netsvc.services.http.http2.head import LINE_SLACK, MalformedError, read_request, refused_request
from netsvc.services.http.http2.packed import RememberedHeads, packed
from netsvc.services.http.http2.turns import Turns
from netsvc.services.http.http2.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    Frame,
    FrameError,
    FrameReader,
    ServerConnection,
    frame_head,
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
CUT_COUNTS = 30.0  # seconds that a cut exchange counts as one at most, while its route still holds it
LAST_STREAM = 2**31 - 1  # of a GOAWAY that only announces another, RFC 9113 6.8


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
        self.deadline = FOREVER
        list_size = limits.target + limits.head + (32 - LINE_SLACK) * limits.fields + 256
        self._window = settings.http2_body_window
        self._h2 = ServerConnection(streams=settings.http2_max_streams, window=self._window, list_size=list_size)
        self._reader = FrameReader(list_size)
        self._heads = RememberedHeads(self._h2.decoder.header_table)
        self._new_head: Frame | None = None  # the frame that is being read, when it may be remembered
        self._floods = Floods(factory.clock.seconds)
        self._exchanges: dict[int, Http2Exchange] = {}
        self._cut: dict[weakref.ref[Http2Exchange], float] = {}  # when they were cut
        self._turns = Turns(self._h2, self._write, self._floods.earn, self._answered)
        self._taken = 0  # octets of the connection's window to be given back
        self._deaf = False  # the peer is not read
        self._busy = False  # within dataReceived or a round
        self._closing = False
        self._eof = False  # the peer has closed its half
        self._leaving = False  # the connection ends with its last exchange
        self._draining = False  # the peer was told that the service stops
        self._last = LAST_STREAM  # streams above are refused
        self._head_deadline = FOREVER  # when a head that has begun must be whole
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

    secure = True

    def connectionMade(self) -> None:
        factory = self.factory
        factory.opened(self)
        self.deadline = factory.after(factory.settings.head_timeout)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.transport.write(self._h2.open(WINDOWS * self._window))

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            self._discard(data)
            return
        self._busy = True
        try:
            self._read(data)
        except FrameError as error:
            self._break(error.code, error.reason)
        except ProtocolError as error:  # h2 has its GOAWAY ready
            self._break(None, str(error))
        except Exception:  # noqa: BLE001  (a fault of ours or of h2's costs this connection, not the service)
            log.failure("HTTP/2 of {peer} failed", event="http2-failed", peer=self.peer[0])
            self._break(ErrorCodes.INTERNAL_ERROR, "failed")
        finally:
            self._busy = False
        self._settle()

    def readConnectionLost(self) -> None:
        """The peer has said all. It still gets every answer that it asked for, as far as its windows are open."""
        self._eof = self._leaving = True
        if self._closing:
            self.transport.loseConnection()
            return
        for exchange in tuple(self._exchanges.values()):
            if not exchange.body_ended:
                exchange.fail(400)
        self._settle()

    def writeConnectionLost(self) -> None:
        """Never comes under TLS."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._closing = True
        self.deadline = FOREVER
        self.factory.closed(self)
        self._cut_all()

    def _write(self, octets: bytes) -> None:
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
        self._settle()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # From octets to exchanges

    def _read(self, data: bytes) -> None:
        reader, h2 = self._reader, self._h2
        reader.receive(data)
        while not self._closing and (self._exchanges or not self._leaving):
            frame = reader.next()
            if frame is None:
                return
            kind = frame.kind
            self._floods.frame(frame, stray=kind == DATA and frame.stream not in self._exchanges)
            if kind == HEADERS and self._quick(frame):
                continue
            if kind == PRIORITY:  # RFC 9113 5.3.2: deprecated
                continue
            if kind == GOAWAY:  # the peer opens no more streams; those that are open end as they would
                self._leaving = True
                continue
            if kind == RST_STREAM and frame.stream > h2.highest_inbound_stream_id:
                raise FrameError(ErrorCodes.PROTOCOL_ERROR, "RST_STREAM of an idle stream")
            events = h2.receive_data(frame.octets)
            if kind == HEADERS:
                self._new_head = frame if self._heads.table_unchanged() else None
            elif kind == CONTINUATION:
                self._heads.table_unchanged()
                self._new_head = None
            for event in events:
                react = self._reactions.get(type(event))
                if react is not None:
                    react(self, event)

    def _quick(self, frame: Frame) -> bool:
        """Answer a plain GET from memory, if that can be done; h2 is told what it has to know of the stream."""
        h2, factory, turns = self._h2, self.factory, self._turns
        message = self._heads.find(frame)
        stream = frame.stream
        if message is None or turns.full or stream > self._last or stream <= h2.highest_inbound_stream_id:
            return False
        ready = factory.ready.find(message.keys[True], factory.epoch)
        if ready is None or not stream & 1:
            return False
        changed = not (message.tag or message.date)
        if not (changed or ready.is_known(message.tag, message.date)):
            return False
        length = ready.length if changed else 0
        if length > min(h2.outbound_flow_control_window, h2.remote_settings.initial_window_size):
            return False
        h2.highest_inbound_stream_id = stream
        h2.outbound_flow_control_window -= length
        turns.send(*packed(ready).frames(stream, factory.http2_fields, h2.encoder.first(), changed=changed))
        turns.octets += length
        if changed:
            factory.served += 1
        else:
            factory.count(304)
        if factory.access_log is not None:
            host, port = self.peer
            status = 200 if changed else 304
            factory.access_log.request(host, message.head, status, length, port=port, secure=True)
        if not self._exchanges:
            self.deadline = factory.idle_deadline
        return True

    def _request_received(self, event: RequestReceived) -> None:
        stream, whole = event.stream_id or 0, event.stream_ended is not None
        if stream > self._last or not self._has_room():
            self._floods.reset()
            self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        try:
            message = read_request(event.headers or (), whole, self.factory.limits, self.factory.ready.keys)
        except MalformedError as error:
            self._floods.reset()
            log.info("{peer}: {reason}", event="http2-malformed", peer=self.peer[0], reason=error.reason)
            self._h2.reset_stream(stream, ErrorCodes.PROTOCOL_ERROR)
        except RejectedError as error:
            self._start(stream, refused_request(error.method, whole), error)
        else:
            if message.plain and self._new_head is not None:
                self._heads.learn(self._new_head, message)
            self._start(stream, message, None)

    def _start(self, stream: int, message: Message, rejection: RejectedError | None) -> None:
        factory = self.factory
        now = factory.clock.seconds()
        exchange = Http2Exchange(self, stream, message, now, rejection.reason if rejection else "")
        self._exchanges[stream] = exchange
        if rejection is not None:
            exchange.refuse(rejection.status)
            return
        if message.body_length is not None and message.body_length > factory.limits.body:
            exchange.refuse(413)
            return
        try:
            factory.route(exchange)
        except Exception:  # noqa: BLE001  (a fault of ours costs this request, not the service)
            log.failure(
                "a request could not be answered: {request_id}",
                event="http-route-failed",
                request_id=exchange.request_id,
            )
            exchange.refuse(500)

    def _data_received(self, event: DataReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        data, flow = event.data or b"", event.flow_controlled_length or 0
        if exchange is None:
            self._give_back(flow)
            return
        padding = flow - len(data)
        if padding:
            self.taken(exchange, padding)
        if not data:
            return
        total = exchange.received + len(data)
        if exchange.body_length is not None and total > exchange.body_length:
            self._give_back(len(data))
            self._reset(exchange, ErrorCodes.PROTOCOL_ERROR)
        elif total > self.factory.limits.body and not exchange.dropping:
            self._give_back(len(data))
            exchange.fail(413)
        else:
            exchange.take(data)

    def _stream_ended(self, event: StreamEnded) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        if exchange.body_length is not None and exchange.received < exchange.body_length:
            self._reset(exchange, ErrorCodes.PROTOCOL_ERROR)
        elif not exchange.body_ended:
            exchange.end_body()

    def _stream_reset(self, event: StreamReset) -> None:
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None:
            self._cut_off(exchange)

    def _window_updated(self, event: WindowUpdated) -> None:
        exchange = self._exchanges.get(event.stream_id or 0)
        if exchange is not None:
            self.offer(exchange)

    def _settings_changed(self, _: RemoteSettingsChanged) -> None:
        for exchange in self._exchanges.values():
            self.offer(exchange)

    _reactions: dict[type[Event], Any] = {  # noqa: RUF012  (never changed)
        RequestReceived: _request_received,
        DataReceived: _data_received,
        StreamEnded: _stream_ended,
        StreamReset: _stream_reset,
        WindowUpdated: _window_updated,
        RemoteSettingsChanged: _settings_changed,
    }

    def _has_room(self) -> bool:
        """Whether one more request may be worked on. One that was cut counts while its route still has it in hand."""
        most = self.factory.settings.http2_max_streams
        if len(self._exchanges) + len(self._cut) >= most and self._cut:
            now = self.factory.clock.seconds()
            for reference, since in tuple(self._cut.items()):
                if reference() is None or now - since >= CUT_COUNTS:
                    del self._cut[reference]
        return len(self._exchanges) + len(self._cut) < most

    # What an exchange asks of its connection

    def common_fields(self) -> bytes:
        """Server and Date, encoded."""
        return self.factory.http2_fields

    def offer(self, exchange: Http2Exchange) -> None:
        """An exchange may have something to send."""
        self._turns.add(exchange)
        if not self._busy:
            self._settle()

    def send_continue(self, exchange: Http2Exchange) -> None:
        """100 Continue."""
        block = self._h2.encoder.encode(((b"", b"\x08\x03100"),))
        self._turns.send(frame_head(len(block), HEADERS, END_HEADERS, exchange.stream) + block)
        if not self._busy:
            self._settle()

    def send_head(self, exchange: Http2Exchange, block: bytes, *, last: bool) -> None:
        """The head of an answer.

        :param last: nothing follows it.
        """
        self._h2.send_headers(exchange.stream, ((b"", block),), end_stream=last)
        if last:
            self._answered(exchange)
        if not self._busy:
            self._settle()

    def taken(self, exchange: Http2Exchange, octets: int) -> None:
        """Some of a body has been taken: the peer may send as much more."""
        self._give_back(octets)
        exchange.credit += octets
        if exchange.credit >= self._window // 2 and not exchange.body_ended and exchange.stream in self._exchanges:
            credit, exchange.credit = exchange.credit, 0
            self._h2.increment_flow_control_window(credit, exchange.stream)
            if not self._busy:
                self._settle()

    def _give_back(self, octets: int) -> None:
        self._taken += octets
        if self._taken >= self._window and not self._closing:
            octets, self._taken = self._taken, 0
            self._h2.increment_flow_control_window(octets)

    def aborted(self, exchange: Http2Exchange) -> None:
        """The answer was broken off."""
        self._h2.reset_stream(exchange.stream, ErrorCodes.INTERNAL_ERROR)
        self._drop(exchange, aborted=True)
        if not self._busy:
            self._settle()

    def _reset(self, exchange: Http2Exchange, code: int) -> None:
        """The peer has broken a rule, or is too slow, on this stream."""
        self._h2.reset_stream(exchange.stream, code)
        self._cut_off(exchange)

    def _cut_off(self, exchange: Http2Exchange) -> None:
        """The stream is closed before its answer was complete."""
        self._cut[weakref.ref(exchange)] = self.factory.clock.seconds()
        self._drop(exchange, aborted=True)
        exchange.cut()

    def _drop(self, exchange: Http2Exchange, *, aborted: bool = False) -> None:
        """The stream is closed."""
        exchange.over = True
        del self._exchanges[exchange.stream]
        if not self._exchanges:
            self.deadline = self.factory.idle_deadline
        self._record(exchange, aborted=aborted)

    def _answered(self, exchange: Http2Exchange) -> None:
        """The last frame of an answer has been written."""
        exchange.finished = True
        if not exchange.body_ended:  # RFC 9113 8.1: the rest is not wanted
            self._h2.reset_stream(exchange.stream, ErrorCodes.NO_ERROR)
        self._drop(exchange)

    def _settle(self) -> None:
        """Send what can be sent, and set what follows: reading, deadlines, the end."""
        if self._closing:
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
        if self._leaving and not self._exchanges:
            self._close()

    # The end

    def _break(self, code: int | None, reason: str) -> None:
        """The peer, or we, cannot go on.

        :param code: for a GOAWAY; None when h2 has written it.
        """
        self._closing = True
        log.info("{peer}: {reason}", event="http2-broken", peer=self.peer[0], reason=reason)
        if code is not None:
            self._turns.send(goaway(self._h2.highest_inbound_stream_id, code))
        self._cut_all()
        self._hang_up()

    def _close(self) -> None:
        """Say that no stream will be served any more, send what is owed and close."""
        self._closing = True
        self._turns.send(goaway(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR))
        self._hang_up()

    def _hang_up(self) -> None:
        self._turns.flush()
        self.deadline = self.factory.now + LINGER
        if self._deaf:
            self._deaf = False
            self.transport.resumeProducing()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > LINGER_OCTETS:
            self.transport.abortConnection()

    def _cut_all(self) -> None:
        for exchange in tuple(self._exchanges.values()):
            if not exchange.over:  # by what became of another
                self._cut_off(exchange)

    def drain(self) -> None:
        """The service stops. The peer is told, and a tick later that what comes now is not served any more."""
        if not (self._closing or self._draining):
            self._draining = True
            self._turns.send(goaway(LAST_STREAM, ErrorCodes.NO_ERROR))
            self._settle()

    # Time

    def look(self, now: float) -> None:
        """Once a tick: whether a deadline is over, and whether the peer brings and takes what it should."""
        if self._closing:
            if not queued(self.transport):
                if now >= self.deadline:
                    self.transport.abortConnection()
                return
        elif self._draining and not self._leaving:
            self._leaving = True
            self._last = self._h2.highest_inbound_stream_id
            self._turns.send(goaway(self._last, ErrorCodes.NO_ERROR))
            self._settle()
        elif self._overdue(now):
            return
        if not (self._turns.full or queued(self.transport)):
            self._answer_pace.forgive()
        elif self._answer_pace.too_slow(now, self.transport, self._turns.octets):
            self._too_slow()
            self.transport.abortConnection()
            return
        for exchange in tuple(self._exchanges.values()):
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
        elif not self._exchanges and now >= self.deadline:
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
            self._reset(exchange, ErrorCodes.CANCEL)
            self._settle()

    def _too_slow(self) -> None:
        log.info("{peer} reads too slowly", event="http-slow-reader", peer=self.peer[0])

    # The record

    def _record(self, exchange: Http2Exchange, *, aborted: bool = False) -> None:
        factory = self.factory
        factory.count(exchange.status)
        seconds = factory.clock.seconds() - exchange.started
        factory.observe(seconds)
        if factory.access_log is None:
            return
        host, port = self.peer
        if exchange.rejected:
            factory.access_log.bad_request(host, exchange.status, exchange.rejected, exchange.request_id)
            return
        factory.access_log.request(
            host,
            exchange.head,
            exchange.status,
            exchange.sent,
            request_id=exchange.request_id,
            aborted=aborted,
            user=exchange.user,
            seconds=seconds,
            port=port,
            secure=True,
        )
