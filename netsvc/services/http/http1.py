"""One exchange over HTTP/1.x: an IExchange between a route and the connection it came on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from netsvc.net.fast_write import fast_write
from netsvc.net.plain import is_plain
from netsvc.net.sendfile import FileSender
from netsvc.services.http.answer import (
    CONTINUE,
    LAST_CHUNK,
    chunk,
    connection_line,
    field_lines,
    framing,
    may_have_body,
    status_line,
)
from netsvc.services.http.base_exchange import BaseExchange
from netsvc.services.http.exchange import IExchange

if TYPE_CHECKING:
    from netsvc.services.http.head import Message
    from netsvc.services.http.protocol import HttpProtocol

LONG_BODY = 1 << 20  # octets from which on a body, or one of unknown length, is read with fewer calls
READ_AT_ONCE = 1 << 18  # octets then; more makes it no faster
DRAINED = 1 << 16  # octets of an unwanted body that are read to keep the connection; more closes it


class CountedSender(FileSender):
    """A FileSender that tells how far it is."""

    def __init__(self, transport: Any, descriptor: int, offset: int, length: int) -> None:
        super().__init__(transport, descriptor, offset, length)
        self._length = length

    @property
    def sent(self) -> int:
        """Octets that are with the kernel or in the transport's buffer."""
        return self._length - self._left


@implementer(IExchange)
class Http1Exchange(BaseExchange):
    """A request that came over HTTP/1.x, and its answer."""

    def __init__(self, connection: HttpProtocol, message: Message) -> None:
        super().__init__(connection, message)
        self._connection = connection
        self._transport: Any = connection.transport
        self._chunked = False
        self.body_paused = False
        self.keep_alive = message.keep_alive
        self._written = 0  # octets of the body but for the file that is being sent
        self._file: CountedSender | None = None  # sends one now
        self._producing = False  # the route has a producer on the transport

    @property
    def sending_file(self) -> bool:
        """Whether a file is on its way."""
        return self._file is not None

    @property
    def sent(self) -> int:
        """Octets of the body given to the transport or the kernel, without chunk framing."""
        return self._written if self._file is None else self._written + self._file.sent

    # The request's body

    @property
    def takes_body(self) -> bool:
        """Whether octets of the body may be taken from the connection now."""
        return not self.body_paused and (self._receiver is not None or self.dropping)

    def receive_body(self, receiver: Any) -> None:
        if self._gone:
            receiver.body_lost()
            return
        if self.body_whole:
            receiver.body_finished()
            return
        self._receiver = receiver
        if (self.body_length is None or self.body_length >= LONG_BODY) and is_plain(self._transport):
            self._transport.bufferSize = READ_AT_ONCE
        self.send_continue()
        self._connection.body_wanted()

    def pause_body(self) -> None:
        self.body_paused = True
        self._connection.flow_changed()

    def resume_body(self) -> None:
        if self.body_paused:
            self.body_paused = False
            self._connection.body_wanted()

    def send_continue(self) -> None:
        if self._continue_due and not self._begun and not self._closed:
            self._continue_due = False
            if not self._connection.body_has_begun():  # RFC 9110 10.1.1: may then be left out
                fast_write(self._transport, CONTINUE)

    def inform(self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: str | None) -> None:
        if not (self._begun or self._closed) and self.head.version != (1, 0):
            fast_write(self._transport, status_line(status, reason) + field_lines(headers) + b"\r\n")

    def take(self, data: bytes) -> None:
        """Some of the body has come (the connection's side)."""
        self._continue_due = False
        if self._receiver is not None and not self.dropping:
            self._receiver.body_received(data)

    def body_ended(self) -> None:
        """All of the body has come (the connection's side)."""
        self.body_whole = True
        if is_plain(self._transport):
            self._transport.bufferSize = FileDescriptor.bufferSize
        if self._receiver is not None and not self.dropping:
            self._receiver.body_finished()

    # The answer

    def _head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], length: int | None, reason: str | None
    ) -> bytes:
        """The octets of the answer's head; decides what becomes of the connection."""
        method, version = self.head.method, self.head.version
        own, self._chunked, until_close = framing(method, status, length, version)
        fields = field_lines(self.style.dress(tuple(headers)))
        self._begun = True
        self.status = status
        self._length = length
        self._has_body = may_have_body(method, status)
        if not self.body_whole and self._receiver is None:
            self.dropping = True
            left = self._connection.body_left()
            if left is None or left > DRAINED or self._continue_due:
                self.keep_alive = False
        if until_close or not self._connection.may_persist():
            self.keep_alive = False
        return b"".join(
            (
                status_line(status, reason),
                self._connection.common_fields(),
                fields,
                own,
                connection_line(self.keep_alive, version),
                b"\r\n",
            )
        )

    def begin(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], length: int | None = None, reason: str | None = None
    ) -> None:
        if self._closed or self._begun:
            return
        try:
            head = self._head(status, headers, length, reason)
        except ValueError as error:
            self._unsendable(error)
            return
        self._transport.write(head)  # queued: what follows in this turn leaves with it
        if self.dropping:
            self._connection.body_wanted()

    def answer(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, reason: str | None = None
    ) -> None:
        if self._closed or self._begun:
            return
        try:
            head = self._head(status, headers, len(body), reason)
        except ValueError as error:
            self._unsendable(error)
            return
        if self._has_body:
            self._written = len(body)
            head += body
        fast_write(self._transport, head)
        self._complete()

    def take_over(self) -> bool:
        if self._closed or self._begun:
            return False
        self._begun = self._has_body = True
        self.keep_alive = False
        self.status = 200  # what the script says is between it and the peer
        if not self.body_whole and self._receiver is None:
            self.dropping = True
        return True

    def write(self, data: bytes) -> None:
        if self._closed or not self._begun or not self._has_body:
            return
        if self._length is not None:
            data = data[: self._length - self.sent]
        if data:
            self._written += len(data)
            fast_write(self._transport, chunk(data) if self._chunked else data)

    def send_file(self, descriptor: int, offset: int, length: int) -> Deferred[None]:
        if self._closed or not self._has_body or not length:
            return succeed(None)
        self._file = sender = CountedSender(self._transport, descriptor, offset, length)

        def over(result: Any) -> Any:
            self._file = None
            self._written += sender.sent
            return result

        return sender.send().addBoth(over)

    def register_producer(self, producer: Any, streaming: bool) -> None:
        if self._closed:
            producer.stopProducing()
        else:
            self._producing = True
            self._transport.registerProducer(producer, streaming)

    def unregister_producer(self) -> None:
        if not self._closed:
            self._producing = False
            self._transport.unregisterProducer()

    def finish(self) -> None:
        if self._closed or not self._begun:
            return
        if self._has_body and self._length is not None and self.sent < self._length:
            self.abort()
            return
        if self._chunked and self._has_body:
            fast_write(self._transport, LAST_CHUNK)
        self._complete()

    def _complete(self) -> None:
        self.finished = True
        self._receiver = None
        if not self.body_whole:
            self.dropping = True
            self.body_paused = False
            if not self._connection.may_drain(DRAINED):
                self.keep_alive = False
        self._connection.answered(self)

    def abort(self) -> None:
        if not self._closed:
            self.finished = True
            self._receiver = None
            # Where a missing end shows, what was said still goes out; elsewhere only a reset tells of more to come.
            # A producer that is told to stop comes here while its transport is already gone.
            there = not getattr(self._transport, "disconnected", False)
            shows = there and self._begun and self._file is None and (self._chunked or self._length is not None)
            if self._producing and there:
                self._transport.unregisterProducer()
            self._connection.aborted(self, shows)
            if not shows:
                self._transport.abortConnection()

    # The connection's side

    def fail(self, status: int) -> None:
        """As BaseExchange; what follows on the connection cannot be told from the rest of this request."""
        self.keep_alive = False
        super().fail(status)

    def connection_lost(self) -> bool:
        """The peer is gone. Returns whether the answer was cut."""
        if self._closed:
            return False
        self._gone = True
        self._lose_body()
        self._tell_lost()
        return True
