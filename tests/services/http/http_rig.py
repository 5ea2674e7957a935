"""A connection to the http service without a network: what a peer sends, and what it gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from netsvc.services.http.access_log.log import access_log
from netsvc.services.http.factory import HttpFactory
from netsvc.services.http.http1 import Http1Exchange
from netsvc.services.http.listing.lists import Listings
from netsvc.services.http.settings import HttpSettings
from netsvc.services.http.site.routes import Equipment, Routes
from netsvc.services.http.site.sites import Sites
from netsvc.services.http.site.style import PLAIN
from netsvc.services.http.static.files import StaticFiles
from netsvc.services.http.static.ready import ReadyAnswers
from tests.fakes import FakeMetrics

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC, a Friday


class Transport(StringTransport):
    """A transport that keeps what it cannot send, when told that its peer does not read."""

    def __init__(self) -> None:
        super().__init__(IPv4Address("TCP", "127.0.0.1", 8000), IPv4Address("TCP", "192.0.2.7", 40000))
        self.blocked = False
        self.dataBuffer = b""
        self.half_closed = False
        self.aborted = False
        self.nodelay = False

    def write(self, data: bytes) -> None:
        if self.blocked:
            self.dataBuffer += data
        else:
            super().write(data)

    def unblock(self) -> None:
        """The peer reads all."""
        self.blocked = False
        data, self.dataBuffer = self.dataBuffer, b""
        super().write(data)
        self.pump()

    def pump(self) -> None:
        """Let pull producers produce until they are done."""
        while self.producer is not None and not self.streaming and not self.blocked and not self.aborted:
            self.producer.resumeProducing()

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def loseConnection(self) -> None:
        self.disconnecting = True

    def setTcpNoDelay(self, on: bool) -> None:
        self.nodelay = on

    @property
    def closed(self) -> bool:
        return bool(self.disconnecting or self.half_closed)


@frozen
class Answer:
    """One answer, as a peer reads it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def read_answers(data: bytes, methods: list[str]) -> list[Answer]:
    """The answers in what was received; final ones only, one for each method."""
    found = []
    methods = list(methods)
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 "), lines[0]
        status = int(lines[0][9:12])
        fields = [line.partition(b": ")[::2] for line in lines[1:]]
        headers = {name.lower(): value for name, value in fields}
        assert len(headers) == len(fields), fields
        if status < 200:
            continue
        method = methods.pop(0) if methods else "GET"
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif headers.get(b"transfer-encoding") == b"chunked":
            body = b""
            while True:
                size, _, data = data.partition(b"\r\n")
                length = int(size, 16)
                body += data[:length]
                data = data[length + 2 :]
                if not length:
                    break
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])
            body, data = data[:length], data[length:]
            assert len(body) == length
        else:
            body, data = data, b""
        found.append(Answer(status, headers, body))
    return found


class Rig:
    """A service over a directory.

    :param root: the docroot.
    :param route: answers exchanges instead of the files.
    """

    def __init__(
        self, root: Path | str = "/nonexistent", route: Any = None, run_script: Any = None, **options: Any
    ) -> None:
        self.clock = MemoryReactorClock()
        self.clock.advance(NOW)
        self.metrics = FakeMetrics()
        self.settings = HttpSettings(listen=(), docroot=Path(root), **options)
        self.ready = ReadyAnswers(self.settings.cache, self.settings.cache_file)
        static = StaticFiles(self.settings, self.ready, self.clock, self.clock.seconds)
        self.routes = Routes(
            Sites(self.settings),
            lambda place: Equipment(
                style=PLAIN,
                static=static,
                listings=Listings(place.policy, self.settings, maybeDeferred, self.clock),
                run_script=run_script,
            ),
        )
        self.exchanges: list[Http1Exchange] = []
        chosen = route or self.routes.route

        def remember(exchange: Any) -> None:
            self.exchanges.append(exchange)
            chosen(exchange)

        self.factory = HttpFactory(
            self.settings,
            clock=self.clock,
            metrics=self.metrics,
            service="http",
            ready=self.ready,
            route=remember,
            access_log=access_log(
                self.settings,
                clock=self.clock,
                in_thread=maybeDeferred,
                metrics=self.metrics,
                service="http",
            ),
            wall_clock=self.clock.seconds,
        )

    def connect(self) -> Peer:
        """A new connection."""
        return Peer(self)

    def ask(self, data: bytes, *methods: str) -> list[Answer]:
        """What a new connection gets for some octets."""
        peer = self.connect()
        peer.send(data)
        return peer.answers(*methods)

    def get(self, path: str, *fields: str, method: str = "GET") -> Answer:
        """The answer to one request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: example.com", *fields, "", ""]
        found = self.ask("\r\n".join(lines).encode("latin-1"), method)
        assert len(found) == 1, found
        return found[0]


class Peer:
    """One connection."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.transport = Transport()
        self.protocol = rig.factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        self.transport.pump()

    def half_close(self) -> None:
        self.protocol.readConnectionLost()
        self.transport.pump()

    def leave(self, *, clean: bool = True) -> None:
        """As a reactor does: the producer is told first."""
        self.transport.disconnected = True
        if self.transport.producer is not None:
            producer, self.transport.producer = self.transport.producer, None
            producer.stopProducing()
        self.protocol.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))

    def wait(self, seconds: float) -> None:
        """Time passes, a tick after the other."""
        left = seconds
        while left > 0:
            self.rig.clock.advance(min(1.0, left))
            left -= 1.0

    @property
    def received(self) -> bytes:
        return self.transport.value()

    def answers(self, *methods: str) -> list[Answer]:
        return read_answers(self.received, list(methods))

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers()]


def request(path: str = "/", *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request with a Host."""
    lines = [f"{method} {path} HTTP/1.1", "Host: example.com", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def write(root: str | Path, name: str, data: bytes, *, age: float = 1000.0) -> Path:
    """A file, last changed so many seconds before NOW (its change time is of the real clock, and long before)."""
    path = Path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (NOW - age, NOW - age))
    return path


class Sink:
    """Takes a body."""

    def __init__(self) -> None:
        self.data = b""
        self.said: list[str] = []

    def body_received(self, data: bytes) -> None:
        assert data
        self.data += data

    def body_finished(self) -> None:
        self.said.append("finished")

    def body_lost(self) -> None:
        self.said.append("lost")


def hello(exchange: Any) -> None:
    """A route that answers with the path."""
    exchange.answer(200, ((b"Content-Type", b"text/plain"),), exchange.head.path)


def wait(exchange: Any) -> None:
    """A route that answers later."""
