"""How many octets have moved on a connection, asked of the kernel: idleness costs nothing on the way of the data.

TCP_INFO counts what arrived and what the peer has acknowledged, so a download to a silent peer is
progress and a buffer that fills here while nobody reads there is not (tcp(7); struct tcp_info of
linux/tcp.h: tcpi_bytes_acked at octet 120 and tcpi_bytes_received at 128, since Linux 4.1).
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios

_TCP_INFO_LENGTH = 136
_COUNTERS = struct.Struct("=QQ")
_COUNTERS_AT = 120
_INT = struct.Struct("=i")


def octets_moved(connection: socket.socket) -> int | None:
    """Octets received and acknowledged so far on a TCP connection; None where the kernel does not tell."""
    counters = _counters(connection)
    return None if counters is None else sum(counters)


def octets_taken(connection: socket.socket) -> int | None:
    """Octets that the peer has acknowledged so far on a TCP connection; None where the kernel does not tell."""
    counters = _counters(connection)
    return None if counters is None else counters[0]


def _counters(connection: socket.socket) -> tuple[int, int] | None:
    """Octets acknowledged and octets received."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_LENGTH)
    except OSError:
        return None
    if len(info) < _TCP_INFO_LENGTH:
        return None
    acknowledged, received = _COUNTERS.unpack_from(info, _COUNTERS_AT)
    return acknowledged, received


def octets_unread(connection: socket.socket) -> int:
    """Octets written to a UNIX connection that its peer has not read; 0 where the kernel does not tell."""
    try:
        return int(_INT.unpack(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except (OSError, ValueError):
        return 0
