"""AcceptedConnection: Twisted's TCP server transport without what netsvc has no use for.

It makes no log prefix of its own for each connection, and reads without asking four times whether it may.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from twisted.internet import address, tcp
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time: close sends a reset, socket(7)


class AcceptedConnection(tcp.Server):
    """A connection that a listener accepted.

    :param accepted: its socket.
    :param client: the peer's address, as accept returned it.
    """

    def __init__(  # noqa: PLR0917 - as tcp.Port calls it
        self, accepted: socket.socket, protocol: Any, client: tuple[Any, ...], server: Any, session: int, reactor: Any
    ) -> None:
        accepted.setblocking(False)
        self.reactor = reactor
        self.socket = accepted
        self.fileno = accepted.fileno
        self.protocol = protocol
        self._tempDataBuffer: list[bytes] = []
        self._tempDataLen = 0
        self.server = server
        self.client = client
        self.sessionno = session
        self.hostname = client[0]
        if len(client) != 2:
            self._addressType = address.IPv6Address
        self.connected = 1
        reactor.addReader(self)

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """The name in log lines of the reactor."""
        return f"{self._getLogPrefix(self.protocol)},{self.hostname}"

    @property
    def repstr(self) -> str:  # type: ignore[override]
        """For people who debug."""
        return f"<{type(self.protocol).__name__} with {self.hostname}>"

    def doRead(self) -> Any:
        """Read once and hand it on."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def doWrite(self) -> Any:
        """Write once, or ask a pull producer for more without the write of nothing that Twisted does first."""
        producer: Any = self.producer
        if producer is None or self.streamingProducer or self.dataBuffer or self._tempDataBuffer:
            return super().doWrite()  # type: ignore[no-untyped-call]
        self.stopWriting()  # type: ignore[no-untyped-call]
        producer.resumeProducing()
        return None

    def _closeSocket(self, orderly: bool) -> None:
        closing = self.socket
        with contextlib.suppress(OSError):
            if orderly:  # what is queued leaves before close(2), which drops it where input is left unread
                closing.shutdown(socket.SHUT_RDWR)
            else:
                closing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            closing.close()
