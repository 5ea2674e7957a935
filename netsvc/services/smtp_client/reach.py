"""Whom an endpoint can be reached by: this machine, or others as well. No Twisted."""

from __future__ import annotations

import ipaddress

from netsvc.config.listen import ListenAddress, TcpAddress, UdpAddress


def unusable(address: ListenAddress) -> str | None:
    """What is wrong with an endpoint for taking mail in; None when nothing is."""
    if isinstance(address, UdpAddress):
        return f"{address}: mail does not come by UDP"
    if address.haproxy:
        return f"{address}: haproxy: is not for taking mail in"
    return None


def in_clear_from_afar(address: ListenAddress, *, or_tls: bool = False) -> bool:
    """Whether other machines reach a TCP endpoint, and no TLS protects what they say.

    What a socket of systemd is bound to is not known before the start, and a UNIX socket is this machine's.

    :param or_tls: whether other machines reach it at all.
    """
    if not isinstance(address, TcpAddress) or (address.tls is not None and not or_tls):
        return False
    return not (address.interface and ipaddress.ip_address(address.interface).is_loopback)
