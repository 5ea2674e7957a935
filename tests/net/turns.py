"""Real sockets under real Twisted transports, without a running reactor: a test says when it turns."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
import time
from typing import Any

from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.task import Clock
from twisted.internet.tcp import Server


class Turns(_DisconnectSelectableMixin, Clock):
    """Knows the descriptors that want to read or write; ``turn()`` lets them until nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader = self.readers.add
        self.addWriter = self.writers.add
        self.removeReader = self.readers.discard
        self.removeWriter = self.writers.discard

    def once(self) -> bool:
        """One turn; whether anything happened."""
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for one in readable:
            if one in self.readers and (why := one.doRead()):
                self._disconnectSelectable(one, why, True)
        for one in writable:
            if one in self.writers and (why := one.doWrite()):
                self._disconnectSelectable(one, why, False)
        self.advance(0)
        return bool(readable or writable)

    def turn(self, most: int = 10_000) -> None:
        """Turns until nothing happens, at most so many."""
        while most and self.once():
            most -= 1


class Loopback:
    """A TCP connection over loopback: a tcp.Server with a protocol on this end, a plain socket on the other.

    :param protocol: it is connected on the way.
    :param sent_before: what the peer has sent by the time it is accepted.
    """

    def __init__(self, protocol: Any, *, turns: Turns | None = None, sent_before: bytes = b"") -> None:
        self.turns = turns or Turns()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.peer = socket.create_connection(listener.getsockname())
            self.peer.sendall(sent_before)
            accepted, client = listener.accept()
        self.peer.setblocking(False)
        self.protocol = protocol
        self.transport = Server(accepted, protocol, client, None, 0, self.turns)  # type: ignore[arg-type]
        self.transport.repstr = "<a connection over loopback>"
        protocol.makeConnection(self.transport)

    def read(self) -> bytes:
        """All that the peer can read, up to the end or until this end owes nothing more."""
        data = b""
        last = time.monotonic() + 10
        while True:
            self.turns.turn()
            try:
                more = self.peer.recv(1 << 20)
            except BlockingIOError:
                # The kernel moves octets in its own time, so it is asked whether some are still on their way.
                writers = list(self.turns.writers)
                owing = writers or self.transport.disconnected or self._unacknowledged()
                moved = any(select.select([self.peer], writers, [], 0.01 if owing else 0))
                if not moved and (not owing or time.monotonic() > last):
                    return data
                continue
            if not more:
                return data
            data += more

    def _unacknowledged(self) -> int:
        """Octets written that the peer's kernel has not taken yet (SIOCOUTQ, tcp(7))."""
        answer = fcntl.ioctl(self.transport.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])

    def at_end(self) -> bool:
        """Whether the peer has read all and sees the end."""
        self.turns.turn()
        select.select([self.peer], [], [], 5)
        try:
            return self.peer.recv(1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        """For addCleanup."""
        self.peer.close()
        if not self.transport.disconnected:
            self.transport.abortConnection()
            self.turns.advance(0)
