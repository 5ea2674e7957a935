"""Knows whether a host is this machine: mail that is sent there would come back, for ever."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from ipaddress import ip_address

from attrs import field, frozen

from netsvc.services.smtp_client.routing.table import normal


def is_here(address: str) -> bool:
    """Whether an address is one of this machine's: whether the kernel would bind it. Nothing is sent.

    The unspecified address is here as well: a connection to it reaches this machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        # Anything else (no IPv6 here, no descriptor left) says nothing; a loop would still be counted by its hops.
        return error.errno == errno.EADDRINUSE
    return True


def plain(address: str) -> str:
    """An address in its usual writing; IPv4 within IPv6 (``::ffff:192.0.2.1``) is IPv4."""
    found = ip_address(address)
    return str(getattr(found, "ipv4_mapped", None) or found)


def _names(given: Iterable[str]) -> frozenset[str]:
    return frozenset(map(normal, given))


def _addresses(given: Iterable[str]) -> frozenset[str]:
    return frozenset(map(plain, given))


@frozen
class Ourselves:
    """The names and addresses of this machine.

    :param names: what it calls itself, and what MX records call it.
    :param addresses: what others reach it by and it does not have itself, as behind NAT.
    :param look: ask the kernel about addresses, too.
    """

    names: frozenset[str] = field(default=frozenset(), converter=_names)
    addresses: frozenset[str] = field(default=frozenset(), converter=_addresses)
    look: bool = True

    def are(self, host: str, addresses: Iterable[str]) -> bool:
        """Whether a host is this machine.

        :param host: its name, or empty.
        :param addresses: what it is known by.
        """
        return normal(host) in self.names or any(
            one in self.addresses or (self.look and is_here(one)) for one in map(plain, addresses)
        )
