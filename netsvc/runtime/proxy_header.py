r"""Reads the PROXY protocol header, versions 1 and 2, before a proxied connection's own octets. No I/O.

Source: "The PROXY protocol, versions 1 & 2" (haproxy.org, proxy-protocol.txt, revision 2020/03/05). Section
numbers below are its own. Version 1 (2.1) is one line::

    PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n
    PROXY UNKNOWN ...\r\n

Version 2 (2.2) is a signature of 12 octets, version and command, family and transport, a length, then the
addresses and type-length-values, which are skipped.

The header may arrive in pieces of any size. Anything wrong ends the connection: a header that is guessed at would
let a peer choose its own address.
"""

from __future__ import annotations

import ipaddress
import re
import struct

from attrs import frozen

from netsvc.net.addresses import canonical

Endpoint = tuple[str, int]  # (host, port)

MAX_V1 = 107  # octets with CRLF, section 2.1: the worst case
MAX_V2_BODY = (
    4096  # octets after the first 16; addresses are at most 216, the rest are TLVs such as a TLS client's name
)

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16  # octets up to and with the length
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the high nibble, the command in the low one
_TCP4, _TCP6 = 0x11, 0x21  # address family in the high nibble, stream transport in the low one
_UNIX_OCTETS = 216  # two paths of 108

_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5})")


class ProxyHeaderError(ValueError):
    """What arrived is not a PROXY header that can be believed. Its text has nothing of the peer's in it."""


@frozen
class ProxyHeader:
    """A header that was read whole.

    :param source: (host, port) of the client, or None when the connection's own peer holds: LOCAL (a health check of
        the proxy itself), UNKNOWN, and clients on UNIX sockets.
    :param destination: (host, port) that the client connected to, or None likewise.
    :param rest: the octets that followed the header: the client's own.
    """

    source: Endpoint | None
    destination: Endpoint | None
    rest: bytes


class ProxyHeaderParser:
    """Reads one header from a connection's first octets."""

    def __init__(self) -> None:
        self._received = b""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take the next octets of the connection.

        :return: the header once it is whole, else None. Do not call again after the header.
        :raise ProxyHeaderError: this is not a PROXY header; raised at the first octet that shows it.
        """
        received = self._received = self._received + data
        for start, read in ((_V2_START, _read_v2), (_V1_START, _read_v1)):
            if received.startswith(start):
                return read(received)
            if start.startswith(received):
                return None
        raise ProxyHeaderError("no PROXY header")


def _read_v1(received: bytes) -> ProxyHeader | None:
    end = received.find(b"\n", 0, MAX_V1)
    if end < 0:
        if len(received) >= MAX_V1:
            raise ProxyHeaderError(f"version 1 line of more than {MAX_V1} octets")
        return None
    if received[end - 1 : end] != b"\r":
        raise ProxyHeaderError("version 1 line without CR before LF")
    line, rest = received[: end - 1], received[end + 1 :]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(None, None, rest)
    match = _V1.fullmatch(line)
    if match is None:
        raise ProxyHeaderError("malformed version 1 line")
    family, source, destination, source_port, destination_port = match.groups()
    version = 4 if family == b"TCP4" else 6
    return ProxyHeader(
        (_v1_host(source, version), _v1_port(source_port)),
        (_v1_host(destination, version), _v1_port(destination_port)),
        rest,
    )


def _v1_host(text: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        raise ProxyHeaderError("malformed address in version 1 line") from None
    if address.version != version:
        raise ProxyHeaderError("address of the wrong family in version 1 line")
    return str(canonical(str(address)))


def _v1_port(text: bytes) -> int:
    if len(text) > 1 and text.startswith(b"0"):
        raise ProxyHeaderError("port with a leading zero in version 1 line")
    port = int(text)
    if port > 0xFFFF:
        raise ProxyHeaderError("port over 65535 in version 1 line")
    return port


def _read_v2(received: bytes) -> ProxyHeader | None:
    at = len(_V2_START)
    if len(received) > at and received[at] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("version 2 header with an unknown version or command")
    if len(received) < _V2_FIXED:
        return None
    command, family, length = received[at], received[at + 1], int.from_bytes(received[at + 2 : at + 4], "big")
    if length > MAX_V2_BODY:
        raise ProxyHeaderError(f"version 2 header of more than {_V2_FIXED} + {MAX_V2_BODY} octets")
    if command == _PROXY and length < _least_body(family):
        raise ProxyHeaderError("version 2 header too short for its addresses")
    end = _V2_FIXED + length
    if len(received) < end:
        return None
    body, rest = received[_V2_FIXED:end], received[end:]
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return ProxyHeader(None, None, rest)
    octets = 4 if family == _TCP4 else 16
    source, destination = body[:octets], body[octets : 2 * octets]
    source_port, destination_port = struct.unpack_from("!HH", body, 2 * octets)
    return ProxyHeader((_v2_host(source), source_port), (_v2_host(destination), destination_port), rest)


def _least_body(family: int) -> int:
    """Octets that the addresses of a family take; families for datagrams have no business on a stream."""
    match family:
        case 0x00:  # unspecified: the connection's own peer holds
            return 0
        case 0x11:  # TCP over IPv4
            return 12
        case 0x21:  # TCP over IPv6
            return 36
        case 0x31 | 0x32:  # UNIX stream and datagram
            return _UNIX_OCTETS
    raise ProxyHeaderError("version 2 header with an unknown address family or transport")


def _v2_host(packed: bytes) -> str:
    return str(canonical(str(ipaddress.ip_address(packed))))
