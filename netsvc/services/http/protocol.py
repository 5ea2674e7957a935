"""HttpProtocol: one HTTP/1.x connection; wire <-> transport, one request after the other, in order.

A request is read only when the answer before it is complete. Octets that arrive meanwhile are kept up to a bound;
then the peer is not read. Every wait has a deadline; the factory looks at them once a tick (see :mod:`.factory`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.fast_write import fast_write
from netsvc.net.last_words import say_and_close
from netsvc.net.plain import is_plain
from netsvc.services.http.answer import field_lines, status_line
from netsvc.services.http.base_exchange import new_request_id
from netsvc.services.http.flow import Backlog, queued
from netsvc.services.http.head import Message, RejectedError
from netsvc.services.http.http1 import Http1Exchange
from netsvc.services.http.negotiate import hand_over
from netsvc.services.http.pace import FOREVER, AnswerPace, BodyPace
from netsvc.services.http.pages import PAGE_HEADERS, error_page
from netsvc.services.http.wire import Body, RequestReader

if TYPE_CHECKING:
    from netsvc.services.http.factory import HttpFactory

log = Logger()

READ_AHEAD = 1 << 16  # octets kept of requests whose turn has not come; also what Twisted reads at once
BACKLOG = 1 << 16  # octets owed to a peer, past which its next request is not read
LINGER = 5.0  # seconds that a connection is read on after its last answer (nginx's lingering_timeout)
# Octets read and dropped in that time; then the peer has to wait. Many clients write a whole upload before they read
# its answer, which came early and would be lost to them.
LINGER_OCTETS = 1 << 26
_LAST = b"\r\nConnection: close\r\n"  # stands behind the status line of an answer from memory that is the last


def host_and_port(address: Any) -> tuple[str, int]:
    """(host, port) of a Twisted address; ("", 0) for UNIX sockets."""
    return getattr(address, "host", ""), getattr(address, "port", 0)


@implementer(IHalfCloseableProtocol)
class HttpProtocol(Protocol):
    """One connection.

    :param factory: what all connections of the service share.
    """

    factory: HttpFactory
    transport: Any

    def __init__(self, factory: HttpFactory) -> None:
        self.factory = factory
        self.deadline = FOREVER
        self._known = factory.heads.known
        self._reader = RequestReader(factory.limits, factory.heads)
        self._exchange: Http1Exchange | None = None
        self._started = 0.0  # when the exchange began, seconds
        self._hot = True  # idle, and nothing in either buffer: the next octets begin a request
        self._advancing = False
        self._closing = False  # no request is read any more
        self._eof = False  # the peer has closed its half
        self._paused = False  # reading is paused
        self._backlog: Backlog | None = None
        self.secure = False  # whether this is TLS
        self._peer: tuple[str, int] | None = None
        self._local: tuple[str, int] | None = None
        self._in_head = True  # the head of a request is awaited or has begun: head_timeout counts
        self._body_pace = BodyPace(factory.settings.body_timeout, factory.settings.body_rate)
        self._answer_pace = AnswerPace(factory.settings.send_timeout, factory.settings.send_rate)
        self._discarded = 0
        self._answered = 0  # octets of the bodies of earlier answers

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's address."""
        if self._peer is None:
            self._peer = host_and_port(self.transport.getPeer())
        return self._peer

    @property
    def local(self) -> tuple[str, int]:
        """Where the peer connected to."""
        if self._local is None:
            self._local = host_and_port(self.transport.getHost())
        return self._local

    # What happens on the connection

    def makeConnection(self, transport: Any) -> None:
        if not hand_over(self.factory, transport):
            super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def connectionMade(self) -> None:
        self.factory.opened(self)
        self.secure = bool(ISSLTransport.providedBy(self.transport) or getattr(self.transport, "TLS", False))
        self.deadline = self.factory.after(self.factory.settings.head_timeout)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        if self._hot:
            message = self._known.get(data)
            if message is not None and message.plain and self._quick(message):
                return
        elif self._closing:
            self._discard(data)
            return
        self._reader.receive(data)
        self._advance()

    def readConnectionLost(self) -> None:
        """The peer has said all. It still gets every answer that it asked for."""
        self._eof = True
        self._hot = False
        if self._closing:
            self.transport.loseConnection()
        else:
            self._advance()

    def writeConnectionLost(self) -> None:
        """Our half is closed: the linger is running."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._hot = False
        self.deadline = FOREVER
        self.factory.closed(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.connection_lost():
            self._record(exchange, aborted=True)

    # From octets to exchanges

    def _quick(self, message: Message) -> bool:
        """Answer a plain GET from memory, if that can be done."""
        factory = self.factory
        ready = factory.ready.find(message.keys[self.secure], factory.epoch)
        if ready is None:
            return False
        if message.tag or message.date:
            if not ready.is_known(message.tag, message.date):
                return False
            status, octets, length = 304, factory.lead_not_modified + ready.unchanged, 0
            factory.count(304)
        else:
            status, octets, length = 200, ready.with_lead(factory.lead), ready.length
            factory.served += 1
        if not message.keep_alive:
            octets = octets.replace(b"\r\n", _LAST, 1)
        last = not message.keep_alive and not self._reader.buffered
        flushed = last or fast_write(self.transport, octets)
        self.deadline = factory.idle_deadline
        self._in_head = False
        if factory.access_log is not None:
            host, port = self.peer
            factory.access_log.request(host, message.head, status, length, port=port, secure=self.secure)
        if not message.keep_alive:
            if last:
                self._close(octets)
            else:
                self._linger()
            return True
        if not flushed and not self._advancing:
            self._advance()
        return True

    def _advance(self) -> None:
        """Read on as far as may be."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while not self._closing:
                exchange = self._exchange
                if exchange is not None:
                    if not self._reader.in_body or not exchange.takes_body:
                        break
                elif self._backlog is not None or self._overfull():
                    break
                event = self._reader.next()
                if event is None:
                    break
                self._take(event, exchange)
        finally:
            self._advancing = False
        self._settle()

    def _take(self, event: Any, exchange: Http1Exchange | None) -> None:
        if isinstance(event, Message):
            if not (event.plain and not self.factory.draining and self._quick(event)):
                self._start(event)
        elif isinstance(event, RejectedError):
            self._reject(event)
        elif exchange is not None:
            if isinstance(event, Body):
                self._body_pace.received(len(event.data))
                exchange.take(event.data)
            else:
                exchange.body_ended()
                if exchange.finished and self._exchange is exchange:
                    self._exchange = None

    def _start(self, message: Message) -> None:
        self._exchange = exchange = Http1Exchange(self, message)
        self._hot = False
        self._in_head = False
        self._body_pace.restart()
        self._started = self.factory.clock.seconds()
        self.factory.serve(exchange)

    def _reject(self, rejection: RejectedError) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.fail(rejection.status)
        else:
            self._refuse(rejection.status, rejection.reason, rejection.method)
        if not self._closing:  # the answer was complete, or had begun, before the body went wrong
            self._linger()

    def _refuse(self, status: int, reason: str, method: str = "") -> None:
        """Answer what is no request, and close."""
        request_id = new_request_id()
        body = error_page(status, None, request_id)
        head = b"%s%s%sContent-Length: %d\r\nConnection: close\r\n\r\n" % (
            status_line(status),
            self.factory.common_fields(),
            field_lines(PAGE_HEADERS),
            len(body),
        )
        fast_write(self.transport, head if method == "HEAD" else head + body)
        self.factory.count(status)
        if self.factory.access_log is not None:
            self.factory.access_log.bad_request(self.peer[0], status, reason, request_id)
        self._linger()

    def _settle(self) -> None:
        """Set what follows from where the connection stands: reading, deadline, the end."""
        if self._closing:
            return
        exchange, reader = self._exchange, self._reader
        if self._eof and (exchange is None or (reader.in_body and exchange.takes_body)):
            if exchange is not None:
                exchange.fail(400)
            if not self._closing and self._backlog is None:
                self._close()
            return
        self._hot = exchange is None and not reader.buffered and self._backlog is None and not self._eof
        if self.factory.draining and self._hot:
            self._close()
            return
        self._set_deadline()
        self._set_reading()

    def _set_deadline(self) -> None:
        exchange, reader, factory = self._exchange, self._reader, self.factory
        waits_for_body = exchange is not None and reader.in_body and exchange.takes_body
        if not waits_for_body:
            self._body_pace.pause(factory.now)
        if exchange is None:
            if self._backlog is not None:
                self.deadline = FOREVER  # the peer's reading is measured
            elif self._in_head:
                pass
            elif reader.buffered:
                self._in_head = True
                self.deadline = factory.after(factory.settings.head_timeout)
            else:
                self.deadline = factory.idle_deadline
        elif waits_for_body:
            self.deadline = self._body_pace.deadline(factory.now)
        else:
            self.deadline = FOREVER

    def _set_reading(self) -> None:
        exchange = self._exchange
        full = self._reader.buffered > READ_AHEAD
        if exchange is not None and (exchange.body_paused and self._reader.in_body):
            full = True
        if self._eof:
            return  # there is nothing to read, and Twisted would tell so again
        if full and not self._paused:
            self._paused = True
            self.transport.pauseProducing()
        elif not full and self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _overfull(self) -> bool:
        """Whether the peer has to read before it may ask again."""
        if queued(self.transport) <= BACKLOG:
            return False
        self._backlog = Backlog(self.transport, self._drained)
        self._backlog.wait()
        return self._backlog is not None

    def _drained(self) -> None:
        self._backlog = None
        self._advance()

    # What an exchange asks of its connection

    def body_wanted(self) -> None:
        """Somebody takes the body now."""
        self._advance()

    def flow_changed(self) -> None:
        """The body is paused."""
        if not self._advancing:
            self._settle()

    def body_has_begun(self) -> bool:
        """Whether some of the body has come."""
        return self._reader.buffered > 0

    def body_left(self) -> int | None:
        """Octets of the body not yet taken; None when that is not known."""
        return self._reader.left

    def may_drain(self, most: int) -> bool:
        """Whether the rest of the body is short enough to be read for nothing."""
        left = self._reader.left
        return left is not None and left <= most

    def may_persist(self) -> bool:
        """Whether a further request may come on this connection."""
        return not self.factory.draining and self.factory.settings.keepalive_timeout > 0

    def common_fields(self) -> bytes:
        """Server and Date."""
        return self.factory.common_fields()

    def answered(self, exchange: Http1Exchange) -> None:
        """The answer is complete."""
        self._answered += exchange.sent
        self._record(exchange)
        if not exchange.keep_alive:
            if exchange.body_whole and not self._reader.buffered:
                self._close()
            else:
                self._linger()
        elif exchange.body_whole:
            self._exchange = None
        self._advance()

    def aborted(self, exchange: Http1Exchange, shows: bool) -> None:
        """The answer was broken off.

        :param shows: its framing says so: what was written is sent before the end.
        """
        self._closing = True
        self._hot = False
        self._record(exchange, aborted=True)
        if shows:
            self._linger()

    # The end

    def _close(self, last: bytes = b"") -> None:
        """Send what is owed and close. A peer that does not close in its turn (TLS) is not waited for.

        :param last: octets that are sent with the end: all in one segment, and without a further turn.
        """
        self._closing = True
        self._hot = False
        self.deadline = self.factory.now + LINGER if last or not queued(self.transport) else FOREVER
        if last:
            say_and_close(self.transport, last)
        else:
            self.transport.loseConnection()

    def _linger(self) -> None:
        """Close in the way that lets a peer that is still sending read its answer (RFC 9112 9.6)."""
        if self._eof or not is_plain(self.transport):
            self._close()
            return
        self._closing = True
        self._hot = False
        self.deadline = self.factory.now + LINGER
        self.transport.loseWriteConnection()
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > LINGER_OCTETS:
            self.transport.pauseProducing()

    def drain(self) -> None:
        """The service stops: the current answer is the last."""
        if not self._closing and self._exchange is None and self._hot:
            self._close()

    # Time

    def look(self, now: float) -> None:
        """Once a tick: whether a deadline is over, and whether the peer takes what it is owed."""
        if now >= self.deadline:
            self._overdue(now)
        if self._exchange is not None or self._closing or self._backlog is not None:
            self._measure(now)

    def _overdue(self, now: float) -> None:
        self.deadline = FOREVER
        exchange = self._exchange
        if self._closing:
            if queued(self.transport):
                self.deadline = now + LINGER  # what is owed is measured; see there
            else:
                self.transport.abortConnection()
        elif exchange is not None:
            exchange.fail(408)
            if not self._closing:
                self._linger()
        elif self._reader.buffered:
            self._refuse(408, "the head took too long")
        else:
            self._close()

    def _measure(self, now: float) -> None:
        """Cut a peer that takes less than send_rate of what it is owed."""
        exchange = self._exchange
        if not queued(self.transport) and not (exchange is not None and exchange.sending_file):
            self._answer_pace.forgive()
        elif self._answer_pace.too_slow(now, self.transport, self._sent()):
            log.info("{peer} reads too slowly", event="http-slow-reader", peer=self.peer[0])
            self.transport.abortConnection()

    def _sent(self) -> int:
        """Octets of bodies given to the transport so far."""
        exchange = self._exchange
        return self._answered + (exchange.sent if exchange is not None and not exchange.finished else 0)

    # The record

    def _record(self, exchange: Http1Exchange, *, aborted: bool = False) -> None:
        self.factory.record(exchange, self._started, aborted=aborted)
