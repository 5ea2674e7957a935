"""Peer addresses as rules and limits see them: canonical, and grouped into the sources that limits count by.

A source is what one customer is commonly given: one IPv4 address, or one IPv6 /64 (RFC 6177, RFC 7934 section 6),
inside of which a peer can take a new address for every connection. All UNIX peers are one source.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LOCAL = b"local"  # the source of all UNIX peers; no packed prefix has 5 octets

SOURCE_OCTETS = 8  # of an IPv6 address: a /64
_REMEMBERED = 4096  # hosts whose parsed address is kept: parsing costs ten times the look-up


@lru_cache(maxsize=_REMEMBERED)
def _parsed(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def canonical(host: str | None) -> Address | None:
    """The address that rules are matched with.

    A v4-mapped address (``::ffff:192.0.2.1``, what a listener on ``::`` sees) is the IPv4 one; a scope
    (``fe80::1%eth0``) is dropped. None for None (a UNIX peer) and for what is not an address at all.
    """
    return None if host is None else _parsed(host)


def prefix(address: Address | None) -> bytes:
    """The source that limits count by: the octets of the /32 or the /64, or :data:`LOCAL` for a UNIX peer.

    Octets and not numbers, because their hash is keyed at random: no choice of sources makes a dictionary slow.
    """
    if address is None:
        return LOCAL
    return address.packed[:SOURCE_OCTETS]
