"""Looks names up: servers in turn, twice each, and what was heard is kept for as long as it holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, FirstError, gatherResults
from twisted.logger import Logger

from netsvc.services.smtp_client.routing.answers import MX, TLSA, Answer
from netsvc.services.smtp_client.routing.cache import Cache
from netsvc.services.smtp_client.routing.exchange import NoAnswer, exchange
from netsvc.services.smtp_client.routing.mx import Random
from netsvc.services.smtp_client.routing.questions import Kind, Question
from netsvc.services.smtp_client.routing.servers import Server

ROUNDS = 2  # times that each server is asked, as resolv.conf(5): attempts
FAILURE_TTL = 5.0  # seconds that a failure is kept, RFC 9520 3.2: 1 to 300
MAX_CACHED = 10_000  # answers, ours: some megabytes

Exchange = Callable[[Any, Server, Question, float], Awaitable[Answer[Any]]]

log = Logger()


class Resolver:
    """See :class:`.answers.Resolve`.

    :param reactor: sockets and the clock.
    :param servers: gives those to ask, in order.
    :param random: 0.0 <= random() < 1.0, hard to guess.
    :param timeout: seconds that one server has for one answer.
    """

    def __init__(
        self,
        reactor: Any,
        servers: Callable[[], Sequence[Server]],
        *,
        random: Random,
        timeout: float = 5.0,
        exchange: Exchange = exchange,
    ) -> None:
        self._reactor = reactor
        self._servers = servers
        self._random = random
        self._timeout = timeout
        self._exchange = exchange
        self._cache: Cache[tuple[str, Kind], Answer[Any]] = Cache(reactor.seconds, MAX_CACHED)
        self._locks: WeakValueDictionary[tuple[str, Kind], DeferredLock] = WeakValueDictionary()

    async def mx(self, domain: str) -> Answer[MX]:
        """The hosts that take mail for a domain."""
        return await self._ask(domain, "MX")

    async def txt(self, name: str) -> Answer[str]:
        """Texts, the strings of each joined."""
        return await self._ask(name, "TXT")

    async def tlsa(self, host: str, port: int) -> Answer[TLSA]:
        """The records at ``_PORT._tcp.HOST``."""
        return await self._ask(f"_{port}._tcp.{host}", "TLSA")

    async def addresses(self, host: str) -> Answer[str]:
        """IPv6 and IPv4 addresses, in turn."""
        both = [Deferred.fromCoroutine(self._ask(host, kind)) for kind in ("AAAA", "A")]
        try:
            six, four = await gatherResults(both, consumeErrors=True)
        except FirstError as error:  # only when it is cancelled
            raise CancelledError from error
        return together(six, four)

    async def _ask(self, name: str, kind: Kind) -> Answer[Any]:
        key = (name.lower(), kind)
        answer = self._cache.get(key)
        if answer is not None:
            return answer
        lock = self._locks.setdefault(key, DeferredLock())
        await lock.acquire()  # who asks the same meanwhile waits, and then finds it in the cache
        try:
            answer = self._cache.get(key)
            if answer is None:
                answer = await self._look_up(name, kind)
                self._cache.put(key, answer, FAILURE_TTL if answer.status == "failed" else answer.ttl)
            return answer
        finally:
            lock.release()

    async def _look_up(self, name: str, kind: Kind) -> Answer[Any]:
        reason = "there is no DNS server to ask"
        for server in list(self._servers()) * ROUNDS:
            question = Question(name, kind, int(self._random() * 65536))
            try:
                answer = await self._exchange(self._reactor, server, question, self._timeout)
            except CancelledError:
                raise
            except NoAnswer as none:
                reason = f"{server}: {none}"
            except ValueError as error:
                return Answer("failed", reason=str(error))
            except Exception:  # noqa: BLE001 - a fault of ours delays mail, it does not lose it
                log.failure("a name could not be looked up", event="dns-fault")
                return Answer("failed", reason="an internal error")
            else:
                if answer.status != "failed":
                    return answer
                reason = f"{server}: {answer.reason}"
        return Answer("failed", reason=reason)


def together(six: Answer[str], four: Answer[str]) -> Answer[str]:
    """The answers for AAAA and A as one, the addresses in turn (RFC 8305 4)."""
    found = [one for one in (six, four) if one.status == "found"]
    if found:
        turns = chain.from_iterable(zip_longest(six.records, four.records))
        return Answer(
            "found",
            tuple(one for one in turns if one is not None),
            found[-1].name,
            all(one.secure for one in found),
            min(one.ttl for one in found),
        )
    for status in ("failed", "no-name"):
        for one in (four, six):
            if one.status == status:
                return one
    return Answer("nothing", (), four.name, six.secure and four.secure, min(six.ttl, four.ttl))
