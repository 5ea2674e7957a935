"""Keeps the kernel's send buffer small towards a peer that is near, while a large file is sent to it.

The kernel lets a send buffer grow to megabytes. Between machines far apart they are on the wire; within one machine or
rack they only push each other out of the processor's cache: on loopback 200 MB went out at 2 to 2.5 GB/s with the
kernel's own choice and at 7 to 9 with 128 KiB, for a third of the processor time (benchmarks, http-large). What may be
on the way in a round trip of 100 µs needs no more at 10 Gbit/s. A peer further away keeps the kernel's choice.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

NEAR = 100  # microseconds of the shortest round trip
SEND_BUFFER = 1 << 16  # octets; the kernel doubles it for what it needs itself, socket(7)

_MIN_RTT = 148  # where tcpi_min_rtt (microseconds, 32 bits) stands in struct tcp_info, linux/tcp.h since 4.6
_UNKNOWN = 0xFFFFFFFF


def shortest_round_trip(connection: socket.socket) -> int | None:
    """Microseconds, or None where the kernel does not know: not TCP, not Linux, nothing acknowledged yet."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT + 4)
    except (OSError, AttributeError):
        return None
    if len(info) < _MIN_RTT + 4:
        return None
    found: int = struct.unpack_from("=I", info, _MIN_RTT)[0]
    return None if found == _UNKNOWN else found


def shorten_send_buffer(transport: Any) -> None:
    """Make the send buffer of a plain transport small if its peer is near.

    The choice holds for the rest of the connection: what is near stays so.
    """
    connection = transport.getHandle()
    time = shortest_round_trip(connection)
    if time is not None and time <= NEAR:
        with contextlib.suppress(OSError):  # the connection has ended; whoever writes will see it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
