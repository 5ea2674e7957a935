"""The adversary's end of one connection: lines, messages, TLS, ways to end it. Blocking, within a time limit."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from typing import NoReturn

CHUNK = 65536  # octets
MAX_LINE = 1 << 20  # octets: what a client of ours would never send
LONGEST_LINE = 998  # octets without CRLF, RFC 5321 4.5.3.1.6


class Over(Exception):  # noqa: N818 - an ending, not always an error
    """The connection is to be closed, or is closed."""


class Peer:
    """One connection.

    :param patience: seconds to wait for the client at most, whatever is waited for.
    :ivar encrypted: TLS is on.
    """

    def __init__(self, connection: socket.socket, patience: float) -> None:
        self._socket = connection
        self._socket.settimeout(patience)
        self._patience = patience
        self._buffer = bytearray()
        self.encrypted = False

    def send(self, data: bytes) -> None:
        """Send octets."""
        try:
            self._socket.sendall(data)
        except OSError:  # ssl.SSLError and TimeoutError are OSErrors
            raise Over from None

    def receive(self) -> bytes:
        """Whatever comes next."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        try:
            data = self._socket.recv(CHUNK)
        except OSError:
            raise Over from None
        if not data:
            raise Over
        return data

    def line(self) -> bytes:
        """One line, without its line end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise Over
            held = bytes(self._buffer)
            self._buffer.clear()
            self._buffer += held + self.receive()
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        return line

    def message(self) -> bytes:
        """A message up to its dot, which is taken away like the stuffing (RFC 5321 4.5.2)."""
        data = bytearray(b"\r\n")  # the line end of DATA: a dot may come at once
        at = 0
        while (end := data.find(b"\r\n.\r\n", at)) < 0:
            at = max(0, len(data) - 4)
            data += self.receive()
        self._buffer += data[end + 5 :]
        return bytes(data[2 : end + 2]).replace(b"\r\n.", b"\r\n").removeprefix(b".")

    def octets(self, count: int) -> bytes:
        """So many octets, as they are."""
        found = self._buffer[:]
        self._buffer.clear()
        while len(found) < count:
            found += self.receive()
        self._buffer += found[count:]
        return bytes(found[:count])

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Do the handshake."""
        if self._buffer:
            raise Over  # a client that sends in clear behind STARTTLS
        try:
            self._socket.getpeername()  # for a client that is gone by now the next would leave a half-made socket open
            self._socket = context.wrap_socket(self._socket, server_side=True)
        except OSError:
            raise Over from None
        self.encrypted = True

    def wait_for_end(self) -> NoReturn:
        """Read and drop until the client leaves."""
        while True:
            self.receive()

    def wait_unread(self) -> NoReturn:
        """Read nothing until the client leaves."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        poll.poll(self._patience * 1000)
        raise Over

    def cut(self) -> NoReturn:
        """Close as one does: a FIN."""
        raise Over

    def reset(self) -> NoReturn:
        """Close with an RST; what was sent before and not yet read may be lost with it."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Over

    def close(self) -> None:
        """End it."""
        self._socket.close()


def flaws(content: bytes, eight_bit: bool) -> list[str]:
    """What of a received message RFC 5321 4.5.2 and 4.5.3.1.6 forbid.

    :param eight_bit: octets above 127 were announced.
    """
    found = []
    lines = content.split(b"\r\n")
    if any(b"\r" in line or b"\n" in line for line in lines):
        found.append("a bare CR or LF")
    if any(len(line) > LONGEST_LINE for line in lines):
        found.append(f"a line longer than {LONGEST_LINE} octets")
    if b"\0" in content:
        found.append("a NUL octet")
    if not eight_bit and not content.isascii():
        found.append("octets above 127 that were not announced")
    return found
