"""Lets a connection show its true peer: a v4-mapped address as v4, a proxied connection as its client's.

The transport keeps its exact type (see :mod:`netsvc.net.plain`): only this one connection's answers to
getPeer and getHost change, so TLS wrappers above it and sendfile below it go on as before.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

Endpoint = tuple[str, int]  # (host, port)


def address(host: str, port: int) -> IPv4Address | IPv6Address:
    """The Twisted address of a TCP endpoint; a v4-mapped host becomes IPv4."""
    parsed = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.version == 4:
        return IPv4Address("TCP", str(parsed), port)
    return IPv6Address("TCP", str(parsed), port)


def canonical_host(host: str) -> str:
    """The same host, but IPv4 when it is v4-mapped."""
    return str(address(host, 0).host) if host.startswith("::ffff:") else host


def canonical(addr: Any) -> Any:
    """The same address, but IPv4 when it is v4-mapped. UNIX and unknown addresses pass unchanged."""
    if isinstance(addr, IPv6Address) and addr.host.startswith("::ffff:"):
        return address(addr.host, addr.port)
    return addr


def shown(addr: Any) -> str:
    """What a log calls a peer: its host; ``local`` on a UNIX socket."""
    return str(getattr(addr, "host", "local"))


def present_as(transport: Any, peer: Any, host: Any = None) -> None:
    """Make a connection's transport answer getPeer (and getHost, if given) with these addresses."""
    transport.getPeer = lambda: peer
    if host is not None:
        transport.getHost = lambda: host
