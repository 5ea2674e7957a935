"""HttpFactory: what the connections of one http service share; its tick keeps time for all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from zope.interface import implementer

from netsvc.interfaces import IMetrics
from netsvc.services.http.access_log.log import AccessLog
from netsvc.services.http.answer import field_lines, http_date, status_line
from netsvc.services.http.http2.connection import Http2Connection
from netsvc.services.http.http2.fields import field
from netsvc.services.http.negotiate import offered
from netsvc.services.http.protocol import HttpProtocol
from netsvc.services.http.settings import HttpSettings
from netsvc.services.http.static.ready import ReadyAnswers
from netsvc.services.http.wire import Heads, Limits

log = Logger()

TICK = 1.0  # seconds, at most, between two looks at all deadlines; Date has the same step


@implementer(IProtocolNegotiationFactory)
class HttpFactory(ServerFactory):
    """Makes HttpProtocols.

    One timer serves all connections: a look at each once a second costs less than a timer that is set anew with every
    request. It runs only while there are connections. Times are rounded up to its step.

    :param settings: the service's options.
    :param clock: IReactorTime, for deadlines; its seconds() need not be the time of day.
    :param metrics: an IMetrics.
    :param service: the section's name, a label of the metrics.
    :param ready: answers from memory.
    :param route: answers an IExchange.
    :param access_log: where requests are recorded.
    :param wall_clock: seconds since the epoch, for Date and for the age of what is in memory.
    """

    noisy = False

    def __init__(
        self,
        settings: HttpSettings,
        *,
        clock: Any,
        metrics: IMetrics,
        service: str,
        ready: ReadyAnswers,
        route: Callable[[Any], None],
        access_log: AccessLog | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._wall_clock = wall_clock
        self.clock = clock
        self.ready = ready
        self.route = route
        self.heads = Heads(ready.keys)
        self.limits = Limits(
            target=settings.max_target, head=settings.max_head, fields=settings.max_headers, body=settings.max_body
        )
        self.access_log = access_log
        self.draining = False
        self.served = 0  # answers from memory since the last tick
        self._service = service
        self._requests = metrics.counter("http_requests", "Requests answered, by status.", ("service", "status"))
        self._seconds = metrics.histogram(
            "http_request_seconds",
            "Time from the head of a request to the end of its answer; without those answered at once from memory.",
            ("service",),
        ).bind(service=service)
        self._open: set[HttpProtocol | Http2Connection] = set()
        self._counts: Counter[int] = Counter()
        self._call: Any = None
        self._server = field_lines(((b"Server", settings.server.encode("ascii")),)) if settings.server else b""
        times = (settings.head_timeout, settings.keepalive_timeout, settings.body_timeout, settings.send_timeout)
        self._tick = min(TICK, max(0.05, min(one for one in times if one) / 4))
        self._second = -1
        self._fields = self.http2_fields = b""
        self.lead = self.lead_not_modified = b""
        self._keep_time()

    def buildProtocol(self, addr: Any) -> Any:  # noqa: ARG002  (Twisted's signature)
        return HttpProtocol(self)

    def acceptableProtocols(self) -> list[bytes]:
        """What is spoken under TLS, for peers that ask by ALPN (RFC 7301)."""
        return offered(self.settings.http2)

    def opened(self, connection: HttpProtocol | Http2Connection) -> None:
        """A connection is there."""
        self._open.add(connection)
        if self._call is None:
            self._keep_time()
            self._call = self.clock.callLater(self._tick, self._look)

    def closed(self, connection: HttpProtocol | Http2Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if self.draining and not self._open:
            self.stopFactory()

    def common_fields(self) -> bytes:
        """The lines of Server and Date."""
        return self._fields

    def after(self, seconds: float) -> float:
        """A deadline that is not early, though `now` is the last tick's."""
        return self.now + seconds + self._tick

    def drain(self) -> None:
        """The service stops: current answers are finished, idle connections closed."""
        self.draining = True
        for connection in tuple(self._open):
            connection.drain()

    def serve(self, exchange: Any) -> None:
        """Answer an exchange whose request was just read."""
        if exchange.body_length is not None and exchange.body_length > self.limits.body:
            exchange.refuse(413)
            return
        try:
            self.route(exchange)
        except Exception:  # noqa: BLE001  (a fault of ours costs this request, not the service)
            log.failure(
                "a request could not be answered: {request_id}",
                event="http-route-failed",
                request_id=exchange.request_id,
            )
            exchange.refuse(500)

    def record(self, exchange: Any, started: float, *, aborted: bool, rejected: str = "") -> None:
        """An exchange is over.

        :param started: seconds of the clock.
        :param aborted: its answer is not whole.
        :param rejected: why it was no good request; "" when it was one.
        """
        seconds = self.clock.seconds() - started
        self.count(exchange.status)
        self._seconds.observe(seconds)
        if self.access_log is None:
            return
        host, port = exchange.peer
        if rejected:
            self.access_log.bad_request(host, exchange.status, rejected, exchange.request_id)
            return
        self.access_log.request(
            host,
            exchange.head,
            exchange.status,
            exchange.sent,
            request_id=exchange.request_id,
            aborted=aborted,
            user=exchange.user,
            seconds=seconds,
            port=port,
            secure=exchange.secure,
        )

    def count(self, status: int) -> None:
        """One request was answered."""
        self._counts[status] += 1

    def stopFactory(self) -> None:
        """Nobody listens any more; deadlines hold on for those connections that are still there."""
        if self._call is not None and not self._open:
            self._call.cancel()
            self._call = None
        self._publish()

    def _look(self) -> None:
        self._call = None
        self._keep_time()
        self._publish()
        now = self.now
        for connection in tuple(self._open):
            connection.look(now)
        if self._open:
            self._call = self.clock.callLater(self._tick, self._look)

    def _keep_time(self) -> None:
        self.now: float = self.clock.seconds()
        self.epoch: float = self._wall_clock()
        self.idle_deadline = self.after(self.settings.keepalive_timeout)
        if int(self.epoch) != self._second:
            self._second = int(self.epoch)
            self._fields = b"%sDate: %s\r\n" % (self._server, http_date(self._second))
            self.lead = status_line(200) + self._fields
            self.lead_not_modified = status_line(304) + self._fields
            server = self.settings.server.encode("ascii")
            named = field(b"server", server) if server else b""
            self.http2_fields = named + field(b"date", http_date(self._second))

    def _publish(self) -> None:
        """Bring what was counted to the metrics, which cost more than a count."""
        self._counts[200] += self.served
        self.served = 0
        for status, amount in self._counts.items():
            if amount:
                self._requests.inc(amount, service=self._service, status=str(status))
        self._counts.clear()
