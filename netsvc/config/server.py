"""The options that every listening service has: where it listens, whom it lets in, how long it waits."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.access_times import Span, spans
from netsvc.config.listen import ListenAddress, endpoints
from netsvc.config.options import option
from netsvc.config.values import Network, Rate

HOUR = 3600.0
DAY = 24 * HOUR
DATAGRAM_GUARDS = ("low-port", "own-port", "multicast", "broadcast", "unspecified", "loopback", "loop")


@frozen(kw_only=True)
class ServerSettings:
    """Where it listens, whom it lets in, how long it waits.

    Options of a service that accepts connections or datagrams; a kind's settings class inherits them.
    """

    listen: tuple[ListenAddress, ...] = option(endpoints(), help="Endpoints, one a line.")
    max_connections: int = option(
        values.integer(1, 1_000_000), default=1024, help="Connections at the same time; more are closed at once."
    )
    max_connections_per_source: int = option(
        values.integer(1, 1_000_000), default=256, help="Connections at the same time from one address (IPv6: one /64)."
    )
    rate: Rate | None = option(
        values.rate(),
        default=None,
        help="New connections from one address (IPv6: one /64); the count is also the burst.",
    )
    allow: tuple[Network, ...] = option(
        values.networks(),
        default=(),
        help="Who may connect; the most specific of allow and deny decides; none is everybody.",
    )
    deny: tuple[Network, ...] = option(values.networks(), default=(), help="Who may not connect.")
    access_times: tuple[Span, ...] = option(spans(), default=(), help="When the service is open, in local time.")
    proxy_from: tuple[Network, ...] = option(
        values.networks(),
        default=(),
        help="Sources whose PROXY header is believed on haproxy: endpoints; others are refused.",
    )
    idle_timeout: float = option(
        values.duration(0, 7 * DAY),
        default=300.0,
        help="Close a connection on which no octet moved for so long; 0 is never.",
    )
    handshake_timeout: float = option(
        values.duration(0.1, HOUR), default=10.0, help="Time for the PROXY header and the TLS handshake together."
    )
    lowest_rate: int = option(
        values.size(0, 1 << 30),
        default=0,
        help="Close a connection that owes or sends octets slower than this a second, over an idle_timeout; 0 is off.",
    )
    drain_timeout: float = option(
        values.duration(0, HOUR), default=5.0, help="Time that connections have to finish when the service stops."
    )
    datagram_rate: Rate | None = option(
        values.rate(), default=Rate(100, 1.0), help="Datagrams from one address (IPv6: one /64); more are dropped."
    )
    datagram_guards: frozenset[str] = option(
        values.choices(*DATAGRAM_GUARDS),
        default=frozenset(DATAGRAM_GUARDS),
        help="Drop datagrams whose source looks forged: these are the loops and reflections of RFC 862's day.",
    )
