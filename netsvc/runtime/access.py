"""Decides by address and by time of day whether a peer may use a service. No I/O; the time is a parameter.

Of all networks in `allow` and `deny` that hold the address the most specific decides; one that stands in both
denies. An address that is in none is let in exactly when `allow` is empty.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import time

from netsvc.config.access_times import Span
from netsvc.config.values import Network
from netsvc.net.addresses import Address, canonical

NOT_ALLOWED = "not in allow"

_Table = tuple[int, dict[int, str | None]]  # (host bits, {network bits: rule that denies, or None})


def _tables(version: int, allow: Iterable[Network], deny: Iterable[Network]) -> tuple[_Table, ...]:
    """One dictionary for each prefix length in use, longest first: a look-up costs at most 33 (129) steps."""
    by_length: dict[int, dict[int, str | None]] = {}
    for networks, denies in ((allow, False), (deny, True)):  # deny comes last, so that a tie goes to it
        for network in networks:
            if network.version == version:
                host_bits = network.max_prefixlen - network.prefixlen
                rule = f"deny {network}" if denies else None
                by_length.setdefault(host_bits, {})[int(network.network_address) >> host_bits] = rule
    return tuple(sorted(by_length.items(), key=lambda item: item[0]))


class Access:
    """The access rules of one service.

    :param allow: who may; empty is everybody.
    :param deny: who may not.
    :param access_times: when, in local time; empty is always.
    """

    def __init__(
        self, allow: Iterable[Network] = (), deny: Iterable[Network] = (), access_times: Iterable[Span] = ()
    ) -> None:
        allow, deny = tuple(allow), tuple(deny)
        self._others = NOT_ALLOWED if allow else None
        self._v4 = _tables(4, allow, deny)
        self._v6 = _tables(6, allow, deny)
        self._spans = tuple(access_times)
        self._closed = f"outside access times {', '.join(map(str, self._spans))}"

    def check(self, peer: Address | str | None, local_time: time | None = None) -> str | None:
        """The rule that refuses a peer, in words, or None when it may.

        :param peer: its address or host; None is a UNIX peer, whom networks do not concern (the mode of its
            socket file does), but times do.
        :param local_time: the time of day here; None leaves the times unasked.
        """
        return self.check_network(peer) or (None if local_time is None else self.check_time(local_time))

    def check_network(self, peer: Address | str | None) -> str | None:
        """The network rule that refuses a peer, or None. A host that is no address is refused."""
        if peer is None:
            return None
        if isinstance(peer, str):
            address = canonical(peer)
            if address is None:
                return "not an IP address"
        else:
            address = peer
        value = int(address)
        for host_bits, networks in self._v4 if isinstance(address, ipaddress.IPv4Address) else self._v6:
            found = networks.get(value >> host_bits, _NOTHING)
            if found is not _NOTHING:
                return found
        return self._others

    def check_time(self, local_time: time) -> str | None:
        """The time rule that refuses everybody now, or None."""
        if not self._spans or any(span.holds(local_time) for span in self._spans):
            return None
        return self._closed


_NOTHING = "nothing"  # told by identity from every rule, and from None, which allows
