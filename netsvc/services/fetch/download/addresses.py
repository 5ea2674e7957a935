"""Which addresses are the public Internet's. A URL of a stranger's may lead there, and nowhere else.

From IANA's registries of special-purpose addresses (RFC 6890): loopback, private, shared (carrier NAT), link-local with
the clouds' metadata service, unique local, multicast, documentation. Addresses that carry an IPv4 one are judged by it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from netsvc.net.addresses import canonical

_NOT_PUBLIC_4 = tuple(
    IPv4Network(one)
    for one in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # what a virtual machine in Azure reaches its host by; public by its number only
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")  # nothing else was ever given out, RFC 4291 2.4
_NOT_PUBLIC_6 = tuple(IPv6Network(one) for one in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056


def is_public(host: str) -> bool:
    """Whether an address belongs to the public Internet; False also for what is no address."""
    address = canonical(host)
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            address = IPv4Address(address.packed[12:])
        elif address in _SIX_TO_FOUR:
            address = IPv4Address(address.packed[2:6])
        else:
            return address in _GLOBAL_6 and not any(address in one for one in _NOT_PUBLIC_6)
    return address is not None and not any(address in one for one in _NOT_PUBLIC_4)
