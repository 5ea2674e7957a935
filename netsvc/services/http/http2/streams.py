"""The streams of one connection: exchanges are made of what h2 reports, and end by either side.

A request that its peer takes back counts for as long as its route still has it in hand: Rapid Reset (CVE-2023-44487)
piles nothing up.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
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
from twisted.logger import Logger

from netsvc.services.http.head import Message, RejectedError
from netsvc.services.http.http2.exchange import Http2Exchange
from netsvc.services.http.http2.floods import Floods
from netsvc.services.http.http2.head import MalformedError, read_request, refused_request
from netsvc.services.http.http2.packed import RememberedHeads, packed
from netsvc.services.http.http2.turns import Turns
from netsvc.services.http.http2.wire import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    Frame,
    FrameError,
    ServerConnection,
    frame_head,
)

if TYPE_CHECKING:
    from netsvc.services.http.factory import HttpFactory
    from netsvc.services.http.http2.connection import Http2Connection

log = Logger()

CUT_COUNTS = 30.0  # seconds that a cut exchange counts as one at most, while its route still holds it
LONGEST_REASON = 200  # characters of what h2 says, which may quote the peer
LAST_STREAM = 2**31 - 1  # the highest number that a stream can have, RFC 9113 5.1.1


class Streams:
    """Those of one connection.

    :param connection: whose they are; told with `settle` when something may have to be sent.
    :param h2: its state.
    :param floods: counts what is begun in vain.
    """

    secure = True  # HTTP/2 is only spoken over TLS

    def __init__(self, connection: Http2Connection, h2: ServerConnection, floods: Floods) -> None:
        self.factory: HttpFactory = connection.factory
        self._connection = connection
        self._settle: Callable[[], None] = connection.settle
        self._h2 = h2
        self._floods = floods
        self._window = self.factory.settings.http2_body_window
        self._heads = RememberedHeads(h2.decoder.header_table)
        self._new_head: Frame | None = None  # the frame that is being read, when it may be remembered
        self._cut: dict[weakref.ref[Http2Exchange], float] = {}  # when they were cut
        self._taken = 0  # octets of the connection's window to be given back
        self.turns = Turns(h2, connection.write, floods.earn, self._answered)
        self.open: dict[int, Http2Exchange] = {}
        self.last = LAST_STREAM  # those above are refused
        self.idle_deadline = 0.0  # seconds; when a connection without streams has waited long enough

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's address."""
        return self._connection.peer

    @property
    def local(self) -> tuple[str, int]:
        """Where the peer connected to."""
        return self._connection.local

    # From frames to exchanges

    def received(self, frame: Frame) -> None:
        """A frame that h2 has to know of.

        :raises FrameError: the connection is broken.
        """
        kind = frame.kind
        if kind == HEADERS and self._quick(frame):
            return
        try:
            events = self._h2.receive_data(frame.octets)
        except ProtocolError as error:
            raise FrameError(error.error_code, str(error)[:LONGEST_REASON], told=True) from None
        if kind in (HEADERS, CONTINUATION):
            same = self._heads.table_unchanged()
            self._new_head = frame if same and kind == HEADERS else None
        for event in events:
            react = self._reactions.get(type(event))
            if react is not None:
                react(self, event)

    def _quick(self, frame: Frame) -> bool:
        """Answer a plain GET from memory, if that can be done; h2 is told what it has to know of the stream."""
        h2, factory, turns = self._h2, self.factory, self.turns
        message = self._heads.find(frame)
        stream = frame.stream
        if message is None or turns.full or stream > self.last or stream <= h2.highest_inbound_stream_id:
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
        if not self.open:
            self.idle_deadline = factory.idle_deadline
        return True

    def _request_received(self, event: RequestReceived) -> None:
        stream, whole = event.stream_id or 0, event.stream_ended is not None
        if stream > self.last or not self._has_room():
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
        self.open[stream] = exchange
        if rejection is not None:
            exchange.refuse(rejection.status)
            return
        factory.serve(exchange)

    def _data_received(self, event: DataReceived) -> None:
        exchange = self.open.get(event.stream_id)
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
            self.reset(exchange, ErrorCodes.PROTOCOL_ERROR)
        elif total > self.factory.limits.body and not exchange.dropping:
            self._give_back(len(data))
            exchange.fail(413)
        else:
            exchange.take(data)

    def _stream_ended(self, event: StreamEnded) -> None:
        exchange = self.open.get(event.stream_id)
        if exchange is None:
            return
        if exchange.body_length is not None and exchange.received < exchange.body_length:
            self.reset(exchange, ErrorCodes.PROTOCOL_ERROR)
        elif not exchange.body_ended:
            exchange.end_body()

    def _stream_reset(self, event: StreamReset) -> None:
        exchange = self.open.get(event.stream_id or 0)
        if exchange is not None:
            self._cut_off(exchange)

    def _window_updated(self, event: WindowUpdated) -> None:
        exchange = self.open.get(event.stream_id or 0)
        if exchange is not None:
            self.offer(exchange)

    def _settings_changed(self, _: RemoteSettingsChanged) -> None:
        for exchange in self.open.values():
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
        if len(self.open) + len(self._cut) >= most and self._cut:
            now = self.factory.clock.seconds()
            for reference, since in tuple(self._cut.items()):
                if reference() is None or now - since >= CUT_COUNTS:
                    del self._cut[reference]
        return len(self.open) + len(self._cut) < most

    # What an exchange asks of its stream

    def common_fields(self) -> bytes:
        """Server and Date, encoded."""
        return self.factory.http2_fields

    def offer(self, exchange: Http2Exchange) -> None:
        """An exchange may have something to send."""
        self.turns.add(exchange)
        self._settle()

    def send_continue(self, exchange: Http2Exchange) -> None:
        """100 Continue."""
        self.send_interim(exchange, b"\x08\x03100")

    def send_interim(self, exchange: Http2Exchange, block: bytes) -> None:
        """The head of an interim answer, which fits one frame."""
        block = self._h2.encoder.encode(((b"", block),))
        self.turns.send(frame_head(len(block), HEADERS, END_HEADERS, exchange.stream) + block)
        self._settle()

    def send_head(self, exchange: Http2Exchange, block: bytes, *, last: bool) -> None:
        """The head of an answer.

        :param last: nothing follows it.
        """
        self._h2.send_headers(exchange.stream, ((b"", block),), end_stream=last)
        if last:
            self._answered(exchange)
        self._settle()

    def taken(self, exchange: Http2Exchange, octets: int) -> None:
        """Some of a body has been taken: the peer may send as much more."""
        self._give_back(octets)
        exchange.credit += octets
        if exchange.credit >= self._window // 2 and not exchange.body_ended and exchange.stream in self.open:
            credit, exchange.credit = exchange.credit, 0
            self._h2.increment_flow_control_window(credit, exchange.stream)
            self._settle()

    def _give_back(self, octets: int) -> None:
        self._taken += octets
        if self._taken >= self._window:
            octets, self._taken = self._taken, 0
            self._h2.increment_flow_control_window(octets)
            self._settle()

    def aborted(self, exchange: Http2Exchange) -> None:
        """The answer was broken off."""
        self._h2.reset_stream(exchange.stream, ErrorCodes.INTERNAL_ERROR)
        self._drop(exchange, aborted=True)
        self._settle()

    def reset(self, exchange: Http2Exchange, code: int) -> None:
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
        del self.open[exchange.stream]
        if not self.open:
            self.idle_deadline = self.factory.idle_deadline
        self._record(exchange, aborted=aborted)

    def _answered(self, exchange: Http2Exchange) -> None:
        """The last frame of an answer has been written."""
        exchange.finished = True
        if not exchange.body_ended:  # RFC 9113 8.1: the rest is not wanted
            self._h2.reset_stream(exchange.stream, ErrorCodes.NO_ERROR)
        self._drop(exchange)

    def cut_all(self) -> None:
        for exchange in tuple(self.open.values()):
            if not exchange.over:  # by what became of another
                self._cut_off(exchange)

    # The record

    def _record(self, exchange: Http2Exchange, *, aborted: bool = False) -> None:
        self.factory.record(exchange, exchange.started, aborted=aborted, rejected=exchange.rejected)
