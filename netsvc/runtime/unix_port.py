"""Hands a UNIX listener to the reactor without Twisted taking its file over.

reactor.adoptStreamPort makes the socket file's mode 0666 whatever it was, sets the backlog to 50, and removes
whatever stands at the path when the port closes. Mode, backlog and file stay the runtime's here.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import unix


def adopt_unix_port(reactor: Any, bound: socket.socket, backlog: int, factory: Any) -> Any:
    """Accept connections on a listening UNIX socket; an IListeningPort over a duplicate of it."""
    port = unix.Port._fromListeningDescriptor(reactor, bound.fileno(), factory)
    # A leading NUL is an abstract name (unix(7)), which has no file: Twisted then leaves files alone.
    port._bindPath = b"\0" + port._bindPath.lstrip(b"\0")
    port.backlog = backlog
    port.startListening()
    return port
