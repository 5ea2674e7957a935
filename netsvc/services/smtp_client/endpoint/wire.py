"""One HTTP/1.1 connection, without I/O: bounded, one request at a time. The grammar is h11's.

h11 and not twisted.web, whose channel takes a request without Host, drops a peer that half-closes, bounds neither body
nor time, and spools a body before anybody may refuse it; and not our own http service, since services do not know each
other. h11 does no I/O, refuses what is ambiguous, and knows when a connection may be used again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import h11
from attrs import field, frozen

from netsvc.services.smtp_client.endpoint.problem import Problem

MAX_HEAD = 16 << 10  # octets of request line and header section; more is 431
SERVER = "netsvc"


@frozen
class Head:
    """A request has begun."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)


@frozen
class Part:
    """Some of its body."""

    octets: bytes = field(repr=False)


@frozen
class Whole:
    """It is all here: answer it."""


@frozen
class Over:
    """No further request will come."""


Event = Head | Part | Whole | Over


class Connection:
    """What came and what is said on one connection."""

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._is_head = False

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has come."""
        return self._h11.their_state is h11.IDLE and not self._h11.trailing_data[0]

    def receive(self, data: bytes) -> None:
        """Take what arrived; nothing at all is the end of what the peer sends."""
        self._h11.receive_data(data)

    def next(self) -> Event | None:
        """What comes next, or None while it is not here.

        :raises Problem: it is no request; answer, and close.
        """
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise Problem(error.error_status_hint, "5.5.2", str(error)) from None
        if isinstance(event, h11.Request):
            self._is_head = event.method == b"HEAD"
            headers = tuple(event.headers)
            names = [name for name, _ in headers]
            if b"transfer-encoding" in names and b"content-length" in names:  # RFC 9112 6.3: it may be an attack
                raise Problem(400, "5.5.2", "the body's length is said in two ways")
            return Head(event.method, event.target, headers)
        if isinstance(event, h11.Data):
            return Part(bytes(event.data))
        if isinstance(event, h11.EndOfMessage):
            return Whole()
        if isinstance(event, h11.ConnectionClosed):
            return Over()
        return None

    def go_ahead(self) -> bytes:
        """What a client waits for before it sends its body (100-continue); empty when it waits for nothing."""
        if not self._h11.they_are_waiting_for_100_continue:
            return b""
        return self._send(h11.InformationalResponse(status_code=100, headers=[]))

    def answer(self, status: int, said: Mapping[str, object], *, close: bool) -> bytes:
        """The answer to the request, in JSON."""
        return self._answer(status, json.dumps(said).encode() + b"\n", "application/json", (), close)

    def refuse(self, problem: Problem, *, close: bool) -> bytes:
        """The answer to a request that is not done; empty when an answer has begun already."""
        return self._answer(problem.status, problem.body(), "application/problem+json", problem.headers, close)

    def begin_next(self) -> bool:
        """Whether another request may follow on this connection; then it may be read."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    def _answer(
        self, status: int, body: bytes, media_type: str, more: tuple[tuple[str, str], ...], close: bool
    ) -> bytes:
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return b""
        headers = [("Content-Type", media_type), ("Content-Length", str(len(body))), ("Server", SERVER)]
        headers += [("Cache-Control", "no-store"), *more]
        if close:
            headers.append(("Connection", "close"))
        out = self._send(h11.Response(status_code=status, headers=headers))
        if not self._is_head:
            out += self._send(h11.Data(data=body))
        return out + self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> bytes:
        return self._h11.send(event) or b""
