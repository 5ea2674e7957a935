"""Decides whether a peer is let in: the one pipeline for every connection and datagram of a service.

In this order, each step asked only when the ones before it agree: allow and deny, access times, connections at the
same time (of the service, then of the whole daemon, then of the source), rate of the source. No I/O and no logging:
a refusal carries its reason for the counters and its rule for the log.

A refused connection takes nothing: neither a place nor a token. Memory is bounded: a source without open connections
has no entry, and rates are counted in :class:`netsvc.net.buckets.Buckets`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from typing import Protocol

from attrs import frozen

from netsvc.config.server import ServerSettings
from netsvc.config.values import Rate
from netsvc.net.addresses import Address, canonical, prefix
from netsvc.net.buckets import Buckets
from netsvc.runtime.access import Access

DENIED = "denied"
ACCESS_TIMES = "access-times"
MAX_CONNECTIONS = "max-connections"
MAX_CONNECTIONS_PER_SOURCE = "max-connections-per-source"
RATE = "rate"
REASONS = (DENIED, ACCESS_TIMES, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_SOURCE, RATE)


class Clock(Protocol):
    """What admission needs of an IReactorTime."""

    def seconds(self) -> float:
        """The time in seconds; only differences count."""


@frozen
class Refusal:
    """Why a peer is not let in.

    :param reason: one word for the counters, in kebab-case; never anything of the peer's.
    :param rule: the rule in words, for the log, such as ``deny 192.0.2.0/24``.
    """

    reason: str
    rule: str


class TotalLimit:
    """Connections at the same time over all services of the daemon.

    :param most: how many; at least 1.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0

    @property
    def reached(self) -> bool:
        """Whether there is no place left."""
        return self.open >= self.most

    def take(self) -> None:
        """Count one more; ask :attr:`reached` before."""
        self.open += 1

    def release(self) -> None:
        """Count one less."""
        self.open -= 1


class Admission:
    """Admission to one service, shared by all its listeners.

    :param settings: the service's limits.
    :param clock: the reactor, or a Clock in tests.
    :param local_time: the local time of day, for access_times.
    :param total: the daemon's limit, shared with the other services; None is no limit.
    """

    def __init__(
        self,
        settings: ServerSettings,
        clock: Clock,
        local_time: Callable[[], time],
        total: TotalLimit | None = None,
    ) -> None:
        self._access = Access(settings.allow, settings.deny, settings.access_times)
        self._has_times = bool(settings.access_times)
        self._local_time = local_time
        self._total = total
        self._most = settings.max_connections
        self._most_per_source = settings.max_connections_per_source
        self._open_by_source: dict[bytes, int] = {}
        self._buckets, self._over_rate = _limit("rate", settings.rate, clock)
        self._datagram_buckets, self._over_datagram_rate = _limit("datagram_rate", settings.datagram_rate, clock)
        self.open = 0

    @property
    def sources(self) -> int:
        """Sources that have connections open."""
        return len(self._open_by_source)

    def admit(self, host: str | None) -> Refusal | bytes:
        """Ask for one connection.

        :param host: the peer's address as the transport or the PROXY header has it; None is a UNIX peer. A host that
            is not an IP address is refused.
        :return: a :class:`Refusal`; or the key to give to :meth:`release`, and the connection is counted until then.
        """
        address = canonical(host)
        refusal = self._entitled(host, address)
        if refusal is not None:
            return refusal
        if self.open >= self._most:
            return Refusal(MAX_CONNECTIONS, f"max_connections {self._most}")
        if self._total is not None and self._total.reached:
            return Refusal(MAX_CONNECTIONS, f"max_connections {self._total.most} of [netsvc]")
        source = prefix(address)
        open_here = self._open_by_source.get(source, 0)
        if open_here >= self._most_per_source:
            return Refusal(MAX_CONNECTIONS_PER_SOURCE, f"max_connections_per_source {self._most_per_source}")
        if self._buckets is not None and not self._buckets.take(source):
            return self._over_rate
        self._open_by_source[source] = open_here + 1
        self.open += 1
        if self._total is not None:
            self._total.take()
        return source

    def release(self, key: bytes) -> None:
        """An admitted connection ended.

        :param key: what :meth:`admit` returned.
        :raise KeyError: nothing is open under it; nothing was changed.
        """
        left = self._open_by_source[key] - 1
        if left:
            self._open_by_source[key] = left
        else:
            del self._open_by_source[key]
        self.open -= 1
        if self._total is not None:
            self._total.release()

    def admit_datagram(self, host: str | None) -> Refusal | None:
        """Ask for one datagram: allow and deny, access times, datagram_rate. None lets it in."""
        address = canonical(host)
        refusal = self._entitled(host, address)
        if refusal is not None:
            return refusal
        if self._datagram_buckets is not None and not self._datagram_buckets.take(prefix(address)):
            return self._over_datagram_rate
        return None

    def _entitled(self, host: str | None, address: Address | None) -> Refusal | None:
        rule = self._access.check_network(host if address is None else address)
        if rule is not None:
            return Refusal(DENIED, rule)
        if self._has_times:
            rule = self._access.check_time(self._local_time())
            if rule is not None:
                return Refusal(ACCESS_TIMES, rule)
        return None


def _limit(option: str, rate: Rate | None, clock: Clock) -> tuple[Buckets | None, Refusal]:
    return None if rate is None else Buckets(rate, clock.seconds), Refusal(RATE, f"{option} {rate}")
