"""The SSH client that can misbehave, of the tests in memory, on a real connection."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import StringTransport

from netsvc.services.sftp.ssh.numbers import Message
from tests.services.sftp.ssh.client import Client

BOUND = 180.0  # seconds for one answer


class Wire:
    """Stands where the Client of the tests has a server in memory: what it is given goes to the real one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), BOUND)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport: Any = None

    def makeConnection(self, transport: StringTransport) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.socket.sendall(data)


class Stranger(Client):
    """A connection to a port of this machine."""

    def __init__(self, port: int, **options: Any) -> None:
        self.wire = Wire(port)
        site: Any = SimpleNamespace(factory=SimpleNamespace(buildProtocol=lambda _: self.wire))
        super().__init__(site, **options)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.socket.close()

    def received(self) -> list[bytes]:
        """The next messages, waited for; none when the connection has ended."""
        while True:
            data = self.wire.socket.recv(1 << 16)
            self.transport.write(data)
            if self.version is None and b"\r\n" not in self.transport.value():
                if data:
                    continue
                return []
            found = super().received()
            if found or not data:
                return found

    def until(self, number: Message) -> list[bytes]:
        """The next messages up to one of this number."""
        found: list[bytes] = []
        while number not in [one[0] for one in found]:
            more = self.received()
            assert more, f"the connection ended, there was {found!r}"
            found += more
        return found
