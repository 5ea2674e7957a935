"""A plain Twisted TCP connection on loopback that is driven by hand: no reactor runs."""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.python.failure import Failure


class HandReactor(Clock):
    """As much of a reactor as tcp.Server asks for; each turn serves what select finds ready."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def turn(self) -> None:
        """Read and write once wherever that is possible now, then run what is due."""
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for one, ready, act in [(r, self.readers, r.doRead) for r in readable] + [
            (w, self.writers, w.doWrite) for w in writable
        ]:
            if one in ready:
                why = act()
                if why is not None:
                    self._disconnect(one, why, act == one.doRead)
        self.advance(0)

    def _disconnect(self, one: Any, why: Any, reading: bool) -> None:
        self.readers.discard(one)
        if reading and why is CONNECTION_DONE and hasattr(one, "readConnectionLost"):
            one.readConnectionLost(Failure(ConnectionDone()))
        else:
            self.writers.discard(one)
            one.connectionLost(Failure(why if isinstance(why, Exception) else ConnectionLost()))


def connect(protocol: Any, reactor: HandReactor, send_buffer: int | None = None) -> socket.socket:
    """Connect a protocol to a new plain TCP transport; the peer's socket, which never blocks.

    :param send_buffer: octets of the transport's socket buffer; None is the system's default.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        accepted, addr = listening.accept()
    accepted.setblocking(False)
    if send_buffer is not None:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    peer.setblocking(False)
    transport = tcp.Server(accepted, protocol, addr, None, 0, reactor)
    protocol.makeConnection(transport)
    return peer


def read(peer: socket.socket, reactor: HandReactor, turns: int = 10_000) -> tuple[bytes, bool]:
    """Turn the reactor until the peer has read to EOF or nothing moves any more: (octets, whether EOF came)."""
    got = bytearray()
    idle = 0
    for _ in range(turns):
        reactor.turn()
        try:
            data = peer.recv(1 << 20)
        except BlockingIOError:
            idle += 1
            if idle > 50:
                break
            continue
        idle = 0
        if not data:
            return bytes(got), True
        got += data
    return bytes(got), False
