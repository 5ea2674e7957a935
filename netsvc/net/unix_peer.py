"""Who is at the other end of a UNIX socket: the kernel says (SO_PEERCRED, unix(7)). And who of them may do what."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from attrs import frozen

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


@frozen
class UnixPeer:
    """A process that connected.

    :param uid: None when the kernel does not say.
    """

    uid: int | None
    pid: int = 0

    def __str__(self) -> str:
        return "unknown" if self.uid is None else f"uid:{self.uid}"


def unix_peer(transport: Any) -> UnixPeer:
    """Ask the kernel who connected."""
    try:
        octets = transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError):
        return UnixPeer(None)
    pid, uid, _ = _CREDENTIALS.unpack(octets)
    return UnixPeer(uid, pid)


def operators() -> frozenset[int]:
    """The uids of root and of whom the daemon runs as; once privileges have dropped, that is another than before."""
    return frozenset({0, os.geteuid()})
