"""A URL asked for, through its redirects, to the answer that counts; then its body. Deadlines, rate and places hold.

Redirects are bounded, never lead from https to http, and take neither credentials nor the further fields of the terms
to another origin. A kept connection that the peer had closed meanwhile is replaced once, unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from netsvc.services.fetch.download.connection import READ, Connection
from netsvc.services.fetch.download.errors import DownloadError, Permanent, Transient
from netsvc.services.fetch.download.exchange import Exchange
from netsvc.services.fetch.download.pace import Pace
from netsvc.services.fetch.download.pool import Pool
from netsvc.services.fetch.download.terms import Terms
from netsvc.services.fetch.download.watch import Watch
from netsvc.services.fetch.download.wire.head import Head
from netsvc.services.fetch.download.wire.url import Url, UrlError

T = TypeVar("T")

REDIRECTS = frozenset({301, 302, 303, 307, 308})
SMALL_BODY = 1 << 16  # octets of a redirect's or error's page that are read to keep the connection
HARDLY = 0.01  # seconds that are not worth a pause

UNPROVEN = "the answer has no length, and the end of a connection without TLS proves nothing: only a checksum could"

Fields = Callable[[Url], "list[tuple[str, str]]"]


class Visit:
    """One URL, asked for once.

    :ivar url: where the answer came from.
    :ivar head: of the answer.
    """

    url: Url
    head: Head

    def __init__(self, clock: Any, terms: Terms, pool: Pool, pace: Pace) -> None:
        self._clock = clock
        self._terms = terms
        self._pool = pool
        self._pace = pace
        self._watch = Watch(clock, terms, self.cut)
        self._connection: Connection | None = None
        self._exchange: Exchange | None = None
        self._host: str | None = None  # whose place is taken
        self._under_way: Deferred[Any] | None = None
        self._resuming: Any = None
        self._error: DownloadError | None = None

    async def open(self, url: Url, fields: Fields) -> None:
        """Ask, and follow.

        :param fields: what the request to a URL says beside what every request says.
        :raises DownloadError: there is no answer.
        """
        first = url
        for _ in range(self._terms.max_redirects + 1):
            self.url = url
            await self._ask(url, self._request(url, first, fields(url)))
            locations = self.head.values("location")
            if self.head.status not in REDIRECTS or not locations:
                return
            if len(set(locations)) > 1:
                raise Permanent("the answer redirects to several places", status=self.head.status)
            try:
                onward = url.redirected(locations[0])
            except UrlError:
                raise Permanent(
                    "the answer redirects to what is no http or https URL", status=self.head.status
                ) from None
            if url.scheme == "https" and onward.scheme != "https":
                raise Permanent("the answer redirects from https to http", status=self.head.status)
            await self.skip()
            url = onward
        raise Permanent(f"more than {self._terms.max_redirects} redirects")

    async def _ask(self, url: Url, request: bytes) -> None:
        await self._wait(self._pool.place(url.host))
        self._host = url.host
        for fresh in (False, True):
            self._watch.phase(self._terms.connect_timeout, "connecting")
            connection = None if fresh else self._pool.kept(url)
            if connection is None:
                connection = await self._wait(Deferred.fromCoroutine(self._pool.connect(url)))
            self._connection = connection
            connection.read_at_once(self._pace.at_once or READ)
            self._watch.phase(self._terms.first_byte_timeout, "the answer")
            self._exchange = exchange = connection.ask(request)
            try:
                self.head = await self._wait(exchange.head)
                self._watch.stop()
            except DownloadError:
                if fresh or self._error or not exchange.is_refused or connection.served == 1:
                    raise
                self._exchange = None
            else:
                return

    def _request(self, url: Url, first: Url, fields: list[tuple[str, str]]) -> bytes:
        lines = [
            f"GET {url.target} HTTP/1.1",
            f"Host: {url.authority}",
            f"User-Agent: {self._terms.user_agent}",
            "Accept-Encoding: identity",
        ]
        own = self._terms.headers if url.origin == first.origin else ()
        names = {name.lower() for name, _ in own}
        if "accept" not in names:
            lines.append("Accept: */*")
        if url.credentials is not None and "authorization" not in names:
            lines.append(f"Authorization: {url.credentials}")
        lines += [f"{name}: {value}" for name, value in (*own, *fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    @property
    def size(self) -> int | None:
        """Octets of the answer's body, or None where it does not say."""
        return None if self._exchange is None else self._exchange.body.size

    def check_end(self) -> None:
        """See whether the end of the body can be told from a connection that was cut.

        Anybody on the way can close a connection without TLS: where nothing else says how long the body is, none is
        believed.

        :raises DownloadError: it cannot.
        """
        if self._exchange is not None and self._exchange.body.closes and self.url.scheme != "https":
            raise Permanent(UNPROVEN, status=self.head.status)

    async def skip(self) -> None:
        """Be done with an answer whose body nobody wants; a short one is read, so that the connection serves again."""
        size = self.size
        if size is not None and size <= SMALL_BODY:
            try:
                await self.body(lambda _: None)
            except DownloadError:
                if self._error is not None:
                    raise  # it was ended; that the connection broke is no matter
        self.finish()

    async def body(self, write: Callable[[bytes], None]) -> None:
        """Have the body delivered.

        :raises DownloadError: it did not come whole.
        """
        exchange, watch, pace = self._exchange, self._watch, self._pace
        if exchange is None:
            raise Transient("it was cut short")

        def came(data: bytes) -> None:
            watch.moved(len(data))
            wait = pace.wait(len(data))
            if wait > HARDLY:
                self.hold("rate")
                if self._resuming is not None and self._resuming.active():
                    self._resuming.reset(wait)
                else:
                    self._resuming = self._clock.callLater(wait, self.release, "rate")
            write(data)

        watch.body(lambda: exchange.is_held)
        exchange.deliver(came)
        await self._wait(exchange.done)
        self.finish()

    def hold(self, who: str) -> None:
        """Let no more of the body come until `who` releases it."""
        self._watch.excuse()
        if self._exchange is not None:
            self._exchange.hold(who)

    def release(self, who: str) -> None:
        """Let it come. The time until now was not the peer's."""
        self._watch.released()
        if self._exchange is not None:
            self._exchange.release(who)

    def cut(self, error: DownloadError) -> None:
        """End it; whoever waits for it gets the error."""
        if self._error is None:
            self._error = error
        if self._exchange is not None:
            self._exchange.fail(error)
        elif self._under_way is not None:
            self._under_way.cancel()

    def finish(self) -> None:
        """Give back what is held: timers, the connection, the place. May be called again."""
        if self._resuming is not None and self._resuming.active():
            self._resuming.cancel()
        self._resuming = None
        self._watch.stop()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.head.addErrback(lambda _: None)
            exchange.done.addErrback(lambda _: None)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(self.url, connection)
        host, self._host = self._host, None
        if host is not None:
            self._pool.leave(host)

    async def _wait(self, deferred: Deferred[T]) -> T:
        if self._error is not None:
            deferred.addErrback(lambda _: None)
            deferred.cancel()
            raise self._error
        self._under_way = deferred
        try:
            return await deferred
        except (CancelledError, DownloadError) as error:
            if self._error is not None:
                raise self._error from None
            if isinstance(error, DownloadError):
                raise
            raise Transient("it was cut short") from None
        finally:
            self._under_way = None
