"""One HTTP/1.1 request of a gateway's and its answer, without I/O: bounded, one on a connection. The grammar is h11's.

Services do not know each other, so our own http service is not asked; and a receipt is small: it is read whole.
"""

from __future__ import annotations

import h11
from attrs import field, frozen

MAX_HEAD = 16 << 10  # octets of request line and header section
MAX_BODY = 256 << 10  # octets: a thousand receipts in JSON
SERVER = "netsvc"


class BadRequestError(Exception):
    """It is no request that we take.

    :param status: to answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@frozen
class Call:
    """A request, whole. Its path and query may hold the token.

    :param headers: the first of each name, in lower case.
    """

    method: str
    path: str = field(repr=False)
    query: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """What the body is, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Connection:
    """What came and what is said on one connection."""

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: h11.Request | None = None
        self._body = bytearray()

    def receive(self, data: bytes) -> Call | None:
        """Take what arrived (nothing at all: the end of it); the request, when it is whole.

        :raises BadRequestError: answer with its status, and close.
        """
        try:
            self._h11.receive_data(data)
            while True:
                event = self._h11.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_BODY:
                        raise BadRequestError(413, "the body is too large")
                elif isinstance(event, h11.EndOfMessage):
                    return self._whole()
                else:
                    return None
        except h11.RemoteProtocolError as error:
            raise BadRequestError(error.error_status_hint, str(error)) from None

    def go_ahead(self) -> bytes:
        """What a client waits for before it sends its body; empty when it waits for nothing."""
        if not self._h11.they_are_waiting_for_100_continue:
            return b""
        return self._h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def answer(self, status: int, body: bytes) -> bytes:
        """The answer, after which the connection ends; empty when it was given."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return b""
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        headers += [("Server", SERVER), ("Connection", "close")]
        out = self._h11.send(h11.Response(status_code=status, headers=headers)) or b""
        if self._request is None or self._request.method != b"HEAD":
            out += self._h11.send(h11.Data(data=body)) or b""
        return out + (self._h11.send(h11.EndOfMessage()) or b"")

    def _begin(self, request: h11.Request) -> None:
        self._request = request
        names = [name for name, _ in request.headers]
        if b"transfer-encoding" in names and b"content-length" in names:  # RFC 9112 6.3: it may be an attack
            raise BadRequestError(400, "the body's length is said in two ways")
        if request.method not in (b"GET", b"POST"):
            raise BadRequestError(405, "a receipt comes by GET or POST")

    def _whole(self) -> Call:
        request = self._request
        assert request is not None  # noqa: S101 - a head came before its end
        path, _, query = request.target.decode("latin-1").partition("?")
        headers: dict[str, str] = {}
        for name, value in request.headers:
            headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
        return Call(request.method.decode("ascii"), path, query, headers, bytes(self._body))
