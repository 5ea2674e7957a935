"""Who may use a connection, and when: so many at once, so many to one host, those that are kept first.

Waiting downloads are served host by host in turn, and in the order of asking at each.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from netsvc.services.fetch.download.connection import Connection
from netsvc.services.fetch.download.terms import Terms
from netsvc.services.fetch.download.wire.url import Url

Origin = tuple[str, str, int]


class Pool:
    """The connections of a Downloader.

    :param clock: IReactorTime.
    :param connect: makes one.
    """

    def __init__(
        self,
        clock: Any,
        terms: Terms,
        connect: Callable[[Url, Callable[[Connection], None]], Awaitable[Connection]],
    ) -> None:
        self._clock = clock
        self._terms = terms
        self._connect = connect
        self._in_use = 0
        self._by_host: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()
        self._idle: dict[Origin, deque[tuple[float, Connection]]] = {}
        self._sweeping: Any = None

    def place(self, host: str) -> Deferred[None]:
        """Wait for leave to use one connection to that host; :meth:`leave` gives it back."""
        if self._may(host):
            self._take(host)
            return succeed(None)
        queue = self._waiting.setdefault(host, deque())
        turn: Deferred[None] = Deferred(queue.remove)
        queue.append(turn)
        return turn

    def leave(self, host: str) -> None:
        """Give up the leave."""
        self._in_use -= 1
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
        for one in list(self._waiting):
            if self._in_use >= self._terms.max_connections:
                return
            queue = self._waiting[one]
            if not queue:
                del self._waiting[one]
            elif self._may(one):
                self._take(one)
                self._waiting.move_to_end(one)
                queue.popleft().callback(None)

    def _may(self, host: str) -> bool:
        return (
            self._in_use < self._terms.max_connections
            and self._by_host.get(host, 0) < self._terms.max_connections_per_host
        )

    def _take(self, host: str) -> None:
        self._in_use += 1
        self._by_host[host] = self._by_host.get(host, 0) + 1

    def kept(self, url: Url) -> Connection | None:
        """An idle connection to the origin of a URL, for whoever has leave; None: there is none."""
        idle = self._idle.get(url.origin)
        while idle:
            found = idle.pop()[1]
            if not idle:
                del self._idle[url.origin]
            if found.is_free:
                return found
        return None

    async def connect(self, url: Url) -> Connection:
        """A new one.

        :raises DownloadError: there is none to be had.
        """
        return await self._connect(url, self._forget)

    def give_back(self, url: Url, connection: Connection) -> None:
        """The exchange is over: keep the connection if it may serve again."""
        if not connection.is_free or self._terms.keep_alive <= 0:
            connection.abort()
            return
        self._idle.setdefault(url.origin, deque()).append((self._clock.seconds(), connection))
        if self._sweeping is None:
            self._sweeping = self._clock.callLater(self._terms.keep_alive, self._sweep)
        while sum(map(len, self._idle.values())) > self._terms.max_connections:
            origin = min(self._idle, key=lambda one: self._idle[one][0][0])
            self._idle[origin].popleft()[1].abort()
            if not self._idle[origin]:
                del self._idle[origin]

    def _forget(self, connection: Connection) -> None:
        for origin, kept in list(self._idle.items()):
            left = deque(one for one in kept if one[1] is not connection)
            if left:
                self._idle[origin] = left
            else:
                del self._idle[origin]

    def _sweep(self) -> None:
        self._sweeping = None
        until = self._clock.seconds() - self._terms.keep_alive
        for kept in list(self._idle.values()):
            for since, connection in list(kept):
                if since <= until:
                    connection.abort()
        self._idle = {
            origin: left
            for origin, kept in self._idle.items()
            if (left := deque(one for one in kept if one[0] > until))
        }
        if self._idle:
            oldest = min(kept[0][0] for kept in self._idle.values())
            self._sweeping = self._clock.callLater(oldest - until, self._sweep)

    def close(self) -> None:
        """Cut what is idle."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        idle, self._idle = self._idle, {}
        for kept in idle.values():
            for _, connection in kept:
                connection.abort()
