"""Plain sockets with one deadline for everything: name, connection, each octet. Errors become one clear phrase."""

from __future__ import annotations

import socket
import time
from types import TracebackType

from netsvc.cli.probes.target import Target


class ProbeError(Exception):
    """The service did not do what it should. Its text is one phrase for people, safe to print."""


class TimedOutError(ProbeError):
    """Nothing came in time."""


def reason(error: OSError) -> str:
    """What went wrong, in a phrase."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return (error.strerror or str(error) or type(error).__name__).lower()


class Connection:
    """A TCP or connected UDP socket whose every step ends at one deadline.

    Used as a context manager; connects on the way in.

    :param target: where to.
    :param timeout: seconds for all of it.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._deadline = time.monotonic() + timeout
        self._socket: socket.socket | None = None

    def __enter__(self) -> Connection:
        kind = socket.SOCK_DGRAM if self._target.datagram else socket.SOCK_STREAM
        try:
            found = socket.getaddrinfo(self._target.host, self._target.port, type=kind)
        except (OSError, UnicodeError) as error:
            raise ProbeError(reason(error) if isinstance(error, OSError) else "not a host name") from None
        failure = ProbeError("no address")
        for family, type_, protocol, _, address in found:
            attempt = socket.socket(family, type_, protocol)
            try:
                attempt.settimeout(self._left())
                attempt.connect(address)
            except (OSError, ProbeError) as error:
                attempt.close()
                failure = ProbeError(reason(error)) if isinstance(error, OSError) else error
                continue
            self._socket = attempt
            if not self._target.datagram:
                attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self
        raise failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    @property
    def socket(self) -> socket.socket:
        """The connected socket."""
        if self._socket is None:
            raise RuntimeError("not connected")
        return self._socket

    def renew(self, timeout: float) -> None:
        """Start a new deadline, seconds from now."""
        self._deadline = time.monotonic() + timeout

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimedOutError("timed out")
        return left

    def send(self, data: bytes) -> None:
        """Send all of it."""
        try:
            self.socket.settimeout(self._left())
            self.socket.sendall(data)
        except OSError as error:
            raise ProbeError(reason(error)) from None

    def end(self) -> None:
        """Say that no more will be sent."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise ProbeError(reason(error)) from None

    def receive(self, most: int = 65536) -> bytes:
        """What comes next: a segment (empty at the end) or a datagram."""
        try:
            self.socket.settimeout(self._left())
            return self.socket.recv(most)
        except TimeoutError:
            raise TimedOutError("timed out") from None
        except OSError as error:
            raise ProbeError(reason(error)) from None

    def exactly(self, count: int) -> bytes:
        """So many octets of a stream."""
        data = b""
        while len(data) < count:
            more = self.receive(count - len(data))
            if not more:
                raise ProbeError(f"closed after {len(data)} of {count} octets")
            data += more
        return data

    def to_end(self, most: int) -> bytes:
        """A stream to its end; more than `most` octets are an error."""
        parts, length = [], 0
        while more := self.receive():
            parts.append(more)
            length += len(more)
            if length > most:
                raise ProbeError(f"more than {most} octets")
        return b"".join(parts)
