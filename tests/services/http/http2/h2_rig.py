"""A connection of HTTP/2 to the http service without a network: h2's client side on a transport in memory."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.services.http.http_rig import Rig, Transport

GET = ((":method", "GET"), (":scheme", "https"), (":authority", "example.com"))


class TlsLikeTransport(Transport):
    """As TLS is to a protocol: it tells what was negotiated, and pauses its producer when its peer does not read."""

    def __init__(self, negotiated: bytes | None = b"h2") -> None:
        super().__init__()
        self.negotiatedProtocol = negotiated
        self.wrappedProtocol: Any = None
        self.TLS = True
        self.deaf = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.dataBuffer) > 1 << 16 and self.producer is not None:
            self.producer.pauseProducing()

    def pauseProducing(self) -> None:
        self.deaf = True

    def resumeProducing(self) -> None:
        self.deaf = False

    def pump(self) -> None:
        """The queue is empty: a push producer may go on."""
        if self.producer is not None and not self.blocked:
            self.producer.resumeProducing()


@define
class Answered:
    """What a stream brought."""

    status: int = 0
    headers: dict[bytes, bytes] = field(factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None
    informational: list[int] = field(factory=list)


class Peer2:
    """One connection, seen from its peer.

    :param takes: whether it opens its windows as it reads.
    :param greet: whether it sends its preface, and what h2 answers later.
    """

    def __init__(self, rig: Rig, *, takes: bool = True, greet: bool = True, window: int | None = None) -> None:
        self.rig = rig
        self.takes = takes
        self.greets = greet
        self.transport = TlsLikeTransport()
        first = rig.factory.buildProtocol(None)
        first.makeConnection(self.transport)
        self.protocol = self.transport.wrappedProtocol
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.answers: dict[int, Answered] = {}
        self.goaways: list[tuple[int, int]] = []
        self.events: list[Event] = []
        self._next = 1
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({4: window})
        if greet:
            self.flush()

    def raw(self, octets: bytes) -> None:
        """Send octets as they are, and read what comes."""
        self.protocol.dataReceived(octets)
        self.read()

    def flush(self) -> None:
        """Send what h2 has to send, and read what comes."""
        self.raw(self.h2.data_to_send())

    def read(self) -> None:
        """Read all that has come."""
        while data := self.transport.value():
            self.transport.clear()
            for event in self.h2.receive_data(self._without_goaway(data)):
                self.events.append(event)
                self._note(event)
            octets = self.h2.data_to_send()
            if octets and self.greets and not self.transport.disconnecting:
                self.protocol.dataReceived(octets)

    def _without_goaway(self, data: bytes) -> bytes:
        """Whole frames, but for GOAWAY, after which h2 as a client would take no answers any more."""
        kept = b""
        while data:
            end = 9 + int.from_bytes(data[:3], "big")
            frame, data = data[:end], data[end:]
            assert len(frame) == end
            if frame[3] == 7:
                self.goaways.append((int.from_bytes(frame[9:13], "big"), int.from_bytes(frame[13:17], "big")))
            else:
                kept += frame
        return kept

    def _note(self, event: Event) -> None:
        stream = getattr(event, "stream_id", None)
        if not stream:
            return
        answer = self.answers.setdefault(stream, Answered())
        if isinstance(event, InformationalResponseReceived):
            answer.informational.append(int(dict(event.headers or ())[b":status"]))
        elif isinstance(event, ResponseReceived):
            fields = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
            answer.headers = dict(fields)
            assert len(answer.headers) == len(fields), fields
            answer.status = int(answer.headers.pop(b":status"))
        elif isinstance(event, DataReceived):
            assert not answer.ended
            answer.body += event.data or b""
            if self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code or 0)

    def open(
        self, path: str = "/", *fields: tuple[str, str], method: str = "GET", end: bool = True, flush: bool = True
    ) -> int:
        """Send the head of a request with a path; its stream."""
        head = [(":method", method), (":scheme", "https"), (":authority", "example.com"), (":path", path), *fields]
        return self.head(head, end=end, flush=flush)

    def head(self, fields: Any, *, end: bool = True, flush: bool = True) -> int:
        """Send any fields as the head of a request; its stream."""
        stream, self._next = self._next, self._next + 2
        self.h2.send_headers(stream, [(_octets(name), _octets(value)) for name, value in fields], end_stream=end)
        if flush:
            self.flush()
        return stream

    def data(self, stream: int, octets: bytes, *, end: bool = False) -> None:
        """Send some of a body."""
        self.h2.send_data(stream, octets, end_stream=end)
        self.flush()

    def get(self, path: str = "/", *fields: tuple[str, str], method: str = "GET") -> Answered:
        """The answer to a request."""
        return self.answers[self.open(path, *fields, method=method)]

    def ask(self, fields: Any) -> Answered:
        """The answer to any fields."""
        return self.answers[self.head(fields)]

    def unblock(self) -> None:
        """The peer reads all that is queued for it."""
        self.transport.unblock()
        self.read()

    def leave(self) -> None:
        """The connection ends."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def wait(self, seconds: float) -> None:
        """Time passes, a tick after the other."""
        while seconds > 0:
            self.rig.clock.advance(min(1.0, seconds))
            seconds -= 1.0
            self.read()

    @property
    def error(self) -> int | None:
        """The code of the last GOAWAY."""
        return self.goaways[-1][1] if self.goaways else None


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


__all__ = ["GET", "Answered", "ErrorCodes", "Peer2", "TlsLikeTransport"]
