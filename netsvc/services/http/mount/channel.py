"""Channel: what a twisted.web request has for a connection; behind it is an exchange.

The framing (Content-Length, chunks) and the fields of the connection are the exchange's, for HTTP/1 and HTTP/2 alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

# What is the exchange's to say (RFC 9110 7.6.1), and what it says itself.
_NOT_THEIRS = frozenset(
    (b"connection", b"content-length", b"date", b"keep-alive", b"proxy-connection", b"server", b"te", b"trailer",
     b"transfer-encoding", b"upgrade")
)  # fmt: skip
_MOST_DIGITS = 18  # of a length


def _address(place: tuple[str, int]) -> IPv4Address | IPv6Address:
    host, port = place
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


class Channel:
    """The connection of one request, as twisted.web.http.Request asks for it; its own `transport` as well.

    :param exchange: the IExchange.
    :param site: the twisted.web.server.Site that keeps sessions.
    """

    factory = None  # that of twisted.web writes an access log

    def __init__(self, exchange: Any, site: Any) -> None:
        self._exchange = exchange
        self.site = site
        self.transport = self

    def getPeer(self) -> IPv4Address | IPv6Address:
        return _address(self._exchange.peer)

    def getHost(self) -> IPv4Address | IPv6Address:
        return _address(self._exchange.local)

    def isSecure(self) -> bool:
        return bool(self._exchange.secure)

    def writeHeaders(self, _: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        fields, length = [], None
        for name, all_values in headers.getAllRawHeaders():
            if name.lower() == b"content-length":
                last = all_values[-1].strip()
                length = int(last) if last.isdigit() and len(last) <= _MOST_DIGITS else None
            elif name.lower() not in _NOT_THEIRS:
                fields += [(name, value) for value in all_values]
        self._exchange.begin(int(code), tuple(fields), length, reason.decode("latin-1"))

    def write(self, data: bytes) -> None:
        if data:
            self._exchange.write(data)

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._exchange.register_producer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._exchange.unregister_producer()

    def requestDone(self, _: Any) -> None:
        self._exchange.finish()

    def loseConnection(self) -> None:
        self._exchange.abort()

    abortConnection = loseConnection

    def pauseProducing(self) -> None:
        """The body has been read; there is nothing to pause."""

    resumeProducing = pauseProducing
