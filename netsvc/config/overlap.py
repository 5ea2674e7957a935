"""Tells whether two listen lines claim one address, so that the second is a fault here and no failed bind later.

The rules are Linux's (ip(7), ipv6(7) with bindv6only at 0): 0.0.0.0 takes a port of every IPv4 address, ``::`` of every
IPv6 and every IPv4 address. TCP and UDP ports are apart. Port 0 is a free port and never taken.
"""

from __future__ import annotations

import ipaddress
import os

from attrs import field, frozen

from netsvc.config.listen import ListenAddress, TcpAddress, UdpAddress, UnixAddress
from netsvc.errors import Origin

_V4_ALL, _V6_ALL = "0.0.0.0", "::"  # noqa: S104 - compared with, not bound


@frozen
class Claim:
    """An address that a section listens on.

    :param section: the section's name.
    """

    address: ListenAddress
    section: str
    origin: Origin


def _interface(text: str) -> str:
    if not text:
        return _V4_ALL
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@frozen
class Claims:
    """Every address claimed so far. Each question costs the same however many there are."""

    _exact: dict[object, Claim] = field(factory=dict)
    _v4: dict[object, Claim] = field(factory=dict)  # by protocol and port: the first claim of any IPv4 address
    _any: dict[object, Claim] = field(factory=dict)  # the same, of any address at all

    def add(self, claim: Claim) -> Claim | None:
        """Note a claim; the earlier one that it collides with, or None."""
        address = claim.address
        if isinstance(address, TcpAddress | UdpAddress):
            return self._add_port("tcp" if isinstance(address, TcpAddress) else "udp", address, claim)
        if isinstance(address, UnixAddress):
            key: object = ("unix", os.path.normpath(address.path))
        else:
            key = ("systemd", address.index, address.name)
        return self._first(self._exact, key, claim)

    def _add_port(self, protocol: str, address: TcpAddress | UdpAddress, claim: Claim) -> Claim | None:
        if address.port == 0:
            return None
        interface = _interface(address.interface)
        port = (protocol, address.port)
        is_v4 = ":" not in interface
        same = self._first(self._exact, (*port, interface), claim)
        of_v4 = self._first(self._v4, port, claim) if is_v4 else None
        of_any = self._first(self._any, port, claim)
        if same is not None:
            return same
        if interface == _V6_ALL:
            return of_any
        return (of_v4 if interface == _V4_ALL else self._exact.get((*port, _V4_ALL)) if is_v4 else None) or (
            self._exact.get((*port, _V6_ALL))
        )

    @staticmethod
    def _first(claims: dict[object, Claim], key: object, claim: Claim) -> Claim | None:
        first = claims.setdefault(key, claim)
        return None if first is claim else first
