"""The queue of requests that wait for a script to end. Each source has its turn: one that asks a lot waits for itself.

No I/O, no clock.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

R = TypeVar("R")

PREFIX_IPV6 = 64  # bits: what one site has, RFC 6177


def source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 network, all peers of UNIX sockets together."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], PREFIX_IPV6), strict=False))
    except ValueError:
        return host


class Turns(Generic[R]):
    """Who waits, by source; in each in the order of arrival."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, OrderedDict[R, None]] = OrderedDict()
        self._source: dict[R, str] = {}

    def __len__(self) -> int:
        return len(self._source)

    def add(self, one: R, source: str) -> None:
        """One more waits."""
        self._source[one] = source
        self._sources.setdefault(source, OrderedDict())[one] = None

    def remove(self, one: R) -> bool:
        """It waits no more; whether it did."""
        source = self._source.pop(one, None)
        if source is None:
            return False
        of_source = self._sources[source]
        del of_source[one]
        if not of_source:
            del self._sources[source]
        return True

    def next(self, may: Callable[[str], bool]) -> R | None:
        """Whose turn it is, of those sources that may; it waits no more. None when nobody may."""
        for source, of_source in self._sources.items():
            if may(source):
                one = next(iter(of_source))
                self._sources.move_to_end(source)
                self.remove(one)
                return one
        return None
