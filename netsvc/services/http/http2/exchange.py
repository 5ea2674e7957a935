"""One exchange over HTTP/2: an IExchange between a route and its stream.

What the route writes waits here, bounded, until the connection has a turn for the stream; what the peer sends waits
here, bounded by the stream's window, until the route takes it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from netsvc.net.sendfile import READ_BLOCK, FileShrankError
from netsvc.services.http.answer import may_have_body
from netsvc.services.http.base_exchange import BaseExchange
from netsvc.services.http.exchange import IExchange
from netsvc.services.http.http2.fields import field, fields, status_field
from netsvc.services.http.pace import AnswerPace, BodyPace

if TYPE_CHECKING:
    from netsvc.services.http.head import Message
    from netsvc.services.http.http2.streams import Streams

HIGH_WATER = 1 << 16  # octets waiting to be sent, past which a producer is paused
LOW_WATER = 1 << 14  # octets, from which on it is resumed


@frozen(eq=False)
class _File:
    """A part of a file on its way.

    :param done: fires when all of it is sent.
    """

    descriptor: int
    offset: int
    end: int
    done: Deferred[None]


@implementer(IExchange)
class Http2Exchange(BaseExchange):
    """A request that came over HTTP/2, and its answer.

    :param streams: those of its connection.
    :param stream: the number of its stream.
    :param started: seconds of the factory's clock.
    :param rejected: why the request is only refused; "" when it is not.
    """

    def __init__(self, streams: Streams, stream: int, message: Message, started: float, rejected: str = "") -> None:
        super().__init__(streams, message)
        settings = streams.factory.settings
        self._streams = streams
        self.stream = stream
        self.started = started
        self.rejected = rejected
        # The request's body
        self._arrived: deque[bytes] = deque()  # not yet taken
        self._body_paused = False
        self._delivering = False
        self.body_ended = self.body_whole  # the last of it has come
        self.received = 0  # octets
        self.credit = 0  # octets of the stream's window to be given back
        self.body_pace = BodyPace(settings.body_timeout, settings.body_rate)
        # The answer
        self._written = 0  # octets of the body that the route has given, or that were read for it
        self._waiting: deque[bytes | memoryview] = deque()
        self.waiting = 0  # octets
        self._file: _File | None = None
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        self.over = False  # the stream is closed; the connection knows it no more
        self.sent = 0  # octets of the body given to the transport
        self.queued = False  # it has its place in the connection's round
        self.answer_pace = AnswerPace(settings.send_timeout, settings.send_rate)

    # The request's body

    @property
    def wants_body(self) -> bool:
        """Whether somebody waits for more of the body."""
        return not (self.body_ended or self._body_paused or self.dropping) and self._receiver is not None

    def receive_body(self, receiver: Any) -> None:
        if self._gone:
            receiver.body_lost()
            return
        if self.body_whole:
            receiver.body_finished()
            return
        self._receiver = receiver
        self.send_continue()
        self._deliver()

    def pause_body(self) -> None:
        self._body_paused = True

    def resume_body(self) -> None:
        if self._body_paused:
            self._body_paused = False
            self._deliver()

    def send_continue(self) -> None:
        if self._continue_due and not self._begun and not self._closed:
            self._continue_due = False
            if not self.received:  # RFC 9110 10.1.1: may then be left out
                self._streams.send_continue(self)

    def inform(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        reason: str | None,  # noqa: ARG002  (HTTP/2 has none)
    ) -> None:
        if not (self._begun or self._closed):
            self._streams.send_interim(self, status_field(status) + fields(tuple(headers)))

    def take(self, data: bytes) -> None:
        """Some of the body has come (the stream's side)."""
        self._continue_due = False
        self.received += len(data)
        self.body_pace.received(len(data))
        self._arrived.append(data)
        self._deliver()

    def end_body(self) -> None:
        """All of the body has come (the stream's side)."""
        self.body_ended = True
        self._deliver()

    def _deliver(self) -> None:
        """Hand on what has come, as far as it is taken."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._arrived and (self.dropping or (self._receiver is not None and not self._body_paused)):
                data = self._arrived.popleft()
                self._streams.taken(self, len(data))
                if not self.dropping:
                    self._receiver.body_received(data)
        finally:
            self._delivering = False
        if self.body_ended and not self._arrived and not self.body_whole and (self.dropping or self._receiver):
            if self._body_paused and not self.dropping:
                return
            self.body_whole = True
            receiver, self._receiver = self._receiver, None
            if receiver is not None and not self.dropping:
                receiver.body_finished()

    def _drop_body(self) -> None:
        if not self.body_whole:
            self.dropping = True
            self._deliver()

    # The answer

    def _head(self, status: int, headers: Iterable[tuple[bytes, bytes]], length: int | None) -> bytes:
        """The answer's fields.

        :raises ValueError: they cannot be sent.
        """
        block = fields(self.style.dress(tuple(headers)))
        if length is not None and status >= 200 and status not in (204, 304):
            block += field(b"content-length", b"%d" % length)
        self._begun = True
        self.status = status
        self._length = length
        self._has_body = may_have_body(self.head.method, status)
        return status_field(status) + self._streams.common_fields() + block

    def begin(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        length: int | None = None,
        reason: str | None = None,  # noqa: ARG002  (HTTP/2 has none)
    ) -> None:
        if self._closed or self._begun:
            return
        try:
            block = self._head(status, headers, length)
        except ValueError as error:
            self._unsendable(error)
            return
        self._streams.send_head(self, block, last=not self._has_body)
        if self._receiver is None:
            self._drop_body()

    def answer(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        reason: str | None = None,  # noqa: ARG002  (HTTP/2 has none)
    ) -> None:
        if self._closed or self._begun:
            return
        try:
            block = self._head(status, headers, len(body))
        except ValueError as error:
            self._unsendable(error)
            return
        has_body = self._has_body and bool(body)
        self._streams.send_head(self, block, last=not has_body)
        if has_body:
            self._put(body)
        self._complete()

    def take_over(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        if self._closed or not self._begun or not self._has_body:
            return
        if self._length is not None:
            data = data[: self._length - self._written]
        if data:
            self._put(data)
            self._streams.offer(self)
            if self.waiting > HIGH_WATER and self._streaming and not self._producer_paused:
                self._producer_paused = True
                self._producer.pauseProducing()

    def _put(self, data: bytes) -> None:
        self._written += len(data)
        self._waiting.append(data)
        self.waiting += len(data)

    def send_file(self, descriptor: int, offset: int, length: int) -> Deferred[None]:
        if self._closed or not self._has_body or not length:
            return succeed(None)
        self._file = _File(descriptor, offset, offset + length, Deferred())
        self._streams.offer(self)
        return self._file.done

    def register_producer(self, producer: Any, streaming: bool) -> None:
        if self._closed:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            self._streams.offer(self)

    def unregister_producer(self) -> None:
        self._producer = None
        self._streaming = self._producer_paused = False

    def finish(self) -> None:
        if self._closed or not self._begun:
            return
        if self._has_body and self._length is not None and self._written < self._length:
            self.abort()
            return
        self._complete()

    def _complete(self) -> None:
        self.finished = True
        self._receiver = None
        self._drop_body()
        self._streams.offer(self)

    def abort(self) -> None:
        if not self._closed:
            self._gone = self.finished = True
            self._receiver = None
            self._streams.aborted(self)
            self._forget(ConnectionAbortedError("the answer was broken off"))

    # The connection's side

    @property
    def ends(self) -> bool:
        """Whether nothing will follow what waits."""
        return self.finished and not self.waiting and self._file is None

    def fill(self) -> None:
        """Nothing waits: get some more of the answer, where it is to be fetched."""
        if self._file is not None:
            self._read(self._file)
        elif self._producer is not None and not self._streaming and not self.finished:
            self._producer.resumeProducing()

    @property
    def pulls(self) -> bool:
        """Whether `fill` would get something."""
        return self._file is not None or (self._producer is not None and not self._streaming and not self.finished)

    def _read(self, file: _File) -> None:
        try:
            block = os.pread(file.descriptor, min(READ_BLOCK, file.end - file.offset), file.offset)
            if not block:
                raise FileShrankError("the file shrank while it was sent")
        except (OSError, FileShrankError) as error:
            self._file = None
            file.done.errback(error)
            self.abort()  # unless that was done
            return
        self._file = _File(file.descriptor, file.offset + len(block), file.end, file.done)
        self._put(block)

    def next_data(self, most: int) -> bytes | memoryview:
        """Some of what waits, to be sent at once.

        :param most: octets.
        """
        data = self._waiting[0]
        length = len(data)
        if length > most:
            view = memoryview(data)
            self._waiting[0] = view[most:]
            data, length = view[:most], most
        else:
            self._waiting.popleft()
        self.waiting -= length
        self.sent += length
        return data

    def moved_on(self) -> None:
        """Something was sent: who waits for that is told."""
        file = self._file
        if file is not None and not self.waiting and file.offset >= file.end:
            self._file = None
            file.done.callback(None)
        if self._producer_paused and self.waiting <= LOW_WATER and not self._gone:
            self._producer_paused = False
            self._producer.resumeProducing()

    def cut(self) -> bool:
        """The stream is gone. Returns whether the answer is not whole."""
        if self._gone:
            return False
        told = self.finished
        self._gone = True
        self._lose_body()
        self._forget(ConnectionAbortedError("the peer left before the answer was sent"))
        if not told:
            self._tell_lost()
        return True

    def _forget(self, error: Exception) -> None:
        """Let go of all that waits."""
        self._waiting.clear()
        self._arrived.clear()
        self.waiting = 0
        file, self._file = self._file, None
        producer, self._producer = self._producer, None
        self._producer_paused = self._streaming = False
        if file is not None:
            file.done.errback(error)
        if producer is not None:
            producer.stopProducing()
