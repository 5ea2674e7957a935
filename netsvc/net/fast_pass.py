"""fast_pass: hand large octets to a process of ours through memory that both have, and not through the socket.

A socket takes them in pieces, each of which is copied several times and wakes both ends. Here they are copied into an
anonymous file, of which the other end is sent a descriptor along with a few octets that announce it.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from netsvc.net.fast_write import nothing_waits


def fast_pass(transport: Any, announcement: bytes, octets: bytes) -> bool:
    """Send an announcement on a UNIX socket, and with its first octet a descriptor for :func:`passed`.

    :return: whether it was sent; if not, because something is queued or the socket is full, nothing was.
    """
    if not nothing_waits(transport):
        return False
    try:
        descriptor = os.memfd_create("netsvc", os.MFD_CLOEXEC)
    except OSError:
        return False
    try:
        left = memoryview(octets)
        while left:
            left = left[os.write(descriptor, left) :]
        sent = socket.send_fds(transport.socket, [announcement], [descriptor])
    except OSError:
        return False
    finally:
        os.close(descriptor)
    if sent < len(announcement):
        transport.write(announcement[sent:])
    return True


def passed(descriptor: int) -> bytes:
    """The octets that a descriptor was sent for, which is closed.

    :raises OSError: it cannot be read.
    """
    try:
        size = os.fstat(descriptor).st_size
        octets = os.pread(descriptor, size, 0)
        while len(octets) < size and (more := os.pread(descriptor, size - len(octets), len(octets))):
            octets += more  # one call reads 2 GiB
        return octets
    finally:
        os.close(descriptor)
