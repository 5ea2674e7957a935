"""Which DNS servers are asked, and which of them are believed when they say that DNSSEC holds. No Twisted.

The AD flag is one bit in clear text. It counts where the way to the server is this machine itself and somebody named
that server, or where somebody says that it counts: ``dns_trust_ad = yes`` here, ``options trust-ad`` in resolv.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from attrs import evolve, frozen

from netsvc.config.options import ValueType
from netsvc.config.values import items
from netsvc.errors import BadValue

PORT = 53  # RFC 1035 4.2
RESOLV_CONF = Path("/etc/resolv.conf")
MAX_SERVERS = 3  # that are asked, as resolv.conf(5): MAXNS


@frozen
class Server:
    """One recursive resolver.

    :param host: an address.
    :param believed: its AD flag counts.
    """

    host: str
    port: int = PORT
    believed: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def server(text: str) -> Server:
    """Read ``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``. BadValue for anything else."""
    match = re.fullmatch(r"\[([^]]+)\](?::([0-9]{1,5}))?|([^:]+):([0-9]{1,5})|(.+)", text)
    host = match and (match[1] or match[3] or match[5])
    number = match and (match[2] or match[4])
    try:
        address = str(ip_address(host or ""))
    except ValueError:
        raise BadValue(f"{text!r} is not ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT of a DNS server") from None
    port = int(number or PORT)
    if not 1 <= port <= 65535:
        raise BadValue(f"{port} is not a port", at=text.rindex(":") + 1)
    return Server(address, port)


def dns_servers() -> ValueType[tuple[Server, ...]]:
    """DNS servers as an option, separated by commas, spaces or lines."""
    return items(server, name="DNS servers", bounds="ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT")


def named(servers: Sequence[Server], trust: str) -> tuple[Server, ...]:
    """Servers that the configuration names, each believed or not.

    :param trust: ``yes``, ``no``, or ``loopback``: those on this machine.
    """
    return tuple(
        evolve(one, believed=trust == "yes" or (trust == "loopback" and ip_address(one.host).is_loopback))
        for one in servers[:MAX_SERVERS]
    )


def of_system(text: str) -> tuple[Server, ...]:
    """The servers that a resolv.conf(5) names; without any, the one on this machine."""
    hosts: list[str] = []
    believed = False
    for line in text.splitlines():
        match line.split():
            case ["nameserver", host, *_]:
                try:
                    hosts.append(str(ip_address(host)))
                except ValueError:
                    continue
            case ["options", *words]:
                believed = believed or "trust-ad" in words
    return tuple(Server(host, believed=believed) for host in hosts[:MAX_SERVERS] or ["127.0.0.1"])


class SystemServers:
    """The servers of resolv.conf, read again when the file has changed."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._servers = of_system("")

    def __call__(self) -> tuple[Server, ...]:
        """Those of now; while the file cannot be read, those of before."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                self._servers = of_system(self._path.read_text("ascii", "replace"))
                self._seen = seen
        except OSError:
            pass
        return self._servers
