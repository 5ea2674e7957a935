"""Guards against forged datagrams: sources that no honest client has, and loops between two services that answer.

UDP has no handshake, so whoever can forge a source can make a service answer to anybody, even to another service
that answers in turn (CERT CA-1996-01, RFC 4732 section 2.1.2). The first guard drops what shows itself as forged at
once; the second, :class:`LoopGuard`, ends loops that cannot be told from honest clients by one datagram.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Container, Hashable
from functools import lru_cache

from netsvc.net.addresses import canonical
from netsvc.net.buckets import never_back

LOW_PORT = "low-port"
OWN_PORT = "own-port"
MULTICAST = "multicast"
BROADCAST = "broadcast"
UNSPECIFIED = "unspecified"
LOOPBACK = "loopback"
LOOP = "loop"  # counted under this word when LoopGuard drops
_NO_ADDRESS = "no-address"  # dropped whatever guards are on: an answer would go nowhere
REASONS = (LOW_PORT, OWN_PORT, MULTICAST, BROADCAST, UNSPECIFIED, LOOPBACK, LOOP, _NO_ADDRESS)

FIRST_UNPRIVILEGED_PORT = 1024  # below are the system ports of RFC 6335 section 6, other small services among them

_EVERYBODY = ipaddress.IPv4Address("255.255.255.255")  # limited broadcast, RFC 919 section 7
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")  # never a source on the wire, RFC 1122 section 3.2.1.3 (a) and (b)


def refuse(
    peer_host: str,
    peer_port: int,
    *,
    guards: frozenset[str],
    own_ports: Container[int],
    arrived_on_loopback: bool,
) -> str | None:
    """The guard that drops a datagram by its source, or None.

    - low-port: the port is below 1024; 0 is dropped even without this guard, because nothing can be sent there.
    - own-port: the port is one of this daemon's own UDP ports, whatever the host: a forged datagram may name any of
      this machine's addresses, or the same port of another netsvc.
    - multicast, broadcast, unspecified: the address is a group's, 255.255.255.255, or of 0.0.0.0/8 or ``::``. The
      broadcast address of the listener's own subnet cannot be told from a host's here; the kernel refuses to send
      there, because the runtime never sets SO_BROADCAST.
    - loopback: the address is a loopback one, but the datagram arrived on another interface.

    :param guards: the words of the guards that are on (:data:`netsvc.config.server.DATAGRAM_GUARDS`).
    :param own_ports: the UDP ports that this daemon is bound to.
    :param arrived_on_loopback: whether loopback sources are in order on the listener.
    """
    if peer_port == 0 or (LOW_PORT in guards and peer_port < FIRST_UNPRIVILEGED_PORT):
        return LOW_PORT
    if OWN_PORT in guards and peer_port in own_ports:
        return OWN_PORT
    forged = _nature(peer_host)
    if forged is None or (forged == LOOPBACK and arrived_on_loopback):
        return None
    return forged if forged in guards or forged == _NO_ADDRESS else None


@lru_cache(maxsize=4096)  # hosts; asked for every datagram
def _nature(host: str) -> str | None:
    """The word of the guard that an address concerns, if any."""
    address = canonical(host)
    if address is None:
        return _NO_ADDRESS
    if address.is_multicast:
        return MULTICAST
    if address == _EVERYBODY:
        return BROADCAST
    if address.is_unspecified or (address.version == 4 and address in _THIS_NETWORK):
        return UNSPECIFIED
    return LOOPBACK if address.is_loopback else None


PAUSE = 1.0  # seconds; a loop goes round faster (the slowest path on earth, by satellite, takes 0.6), a person does not
SAME_PATIENCE = 64  # datagrams in a row with one payload from one peer
SAME_EVERY = 16  # after that, one of so many is dropped
ANY_PATIENCE = 512  # datagrams in a row from one peer, whatever they say
ANY_EVERY = 128  # after that, one of so many is dropped
CAPACITY = 4096  # peers, and (peer, payload) pairs, that are remembered


class LoopGuard:
    """Ends loops between this daemon and another one that answers, on any ports.

    A forged datagram that names another service as its source starts an exchange that nothing stops: each answer is
    the other's request. Ports do not tell (9090 there, 9091 here), nor does the rate: a loop over a path of 20 ms
    takes 50 a second for ever. And single datagrams do not tell: a client that sends again as soon as it has its
    answer does the same. But a loop lives on one datagram in flight: drop that one, and it is over, while
    a client merely sees one loss. So of those who send on and on without a pause a small part is dropped:

    - who sends one payload over and over (two echoes; an echo and whatever answers it): after `SAME_PATIENCE` in
      a row, one in `SAME_EVERY`;
    - who sends anything (two daytimes, two chargens): after `ANY_PATIENCE` in a row, one in `ANY_EVERY`.

    A row ends with a pause of `PAUSE`. So each forged datagram costs at most `SAME_PATIENCE + SAME_EVERY` answers from
    here when they are the same, `ANY_PATIENCE + ANY_EVERY` when they differ; k forged ones at once are dropped one by
    one, which takes k times `SAME_EVERY` or `ANY_EVERY` more. Flushing a row out of the memory takes `CAPACITY` other
    sources between each two of its datagrams, and lasts only as long as that goes on.

    :param clock_seconds: the time in seconds.
    :param capacity: peers, and pairs of peer and payload, that are remembered; the longest silent ones are forgotten.
    """

    def __init__(self, clock_seconds: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._seconds = never_back(clock_seconds)
        self._same = _Rows(SAME_PATIENCE, SAME_EVERY, capacity)
        self._any = _Rows(ANY_PATIENCE, ANY_EVERY, capacity)

    def __len__(self) -> int:
        """Rows in memory, of both kinds."""
        return len(self._same.rows) + len(self._any.rows)

    def seen(self, peer: Hashable, payload: bytes) -> bool:
        """Note a datagram that is about to be answered; True when it must be dropped instead.

        :param peer: (host, port) of its source.
        """
        now = self._seconds()
        same = self._same.drops((peer, hash(payload)), now)  # hash of octets is keyed at random by process
        return self._any.drops(peer, now) or same


class _Rows:
    """Counts datagrams in a row, by key."""

    def __init__(self, patience: int, every: int, capacity: int) -> None:
        self._patience = patience
        self._every = every
        self._capacity = capacity
        self.rows: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()  # key -> (how many, when the last)

    def drops(self, key: Hashable, now: float) -> bool:
        before, last = self.rows.pop(key, (0, now))
        count = before + 1 if now - last < PAUSE else 1
        if len(self.rows) >= self._capacity:
            self.rows.popitem(last=False)
        self.rows[key] = (count, now)
        over = count - self._patience
        return over > 0 and over % self._every == 1 % self._every
