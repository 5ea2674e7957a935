"""say_and_close: the whole conversation of a server that only speaks: send this, then close. And closing alone.

loseConnection waits for the next turn of the reactor and the socket's consent, with four system calls of its own.
Here the octets go to the kernel with MSG_MORE (tcp(7)), which holds them for the FIN: both leave in one segment,
the peer wakes up once, and the connection is over at once. A daytime connection costs half the time that way.

Like :mod:`netsvc.net.fast_write` it reads names that Twisted keeps private; tests/net pins them.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from netsvc.net.plain import is_plain

_ARRIVED = bytearray(4096)  # octets that came unasked go here, and nobody looks
_DONE = Failure(CONNECTION_DONE)


def say_and_close(transport: Any, data: bytes) -> None:
    """Send data and close; for connectionMade, or where the peer has said that it sends no more.

    The protocol's connectionLost may be called before this returns. What the peer has sent by then is thrown away
    first: a close with unread input would be a reset, and could cost a peer the answer.
    """
    if not is_plain(transport) or transport.dataBuffer or transport._tempDataBuffer or not transport.connected:
        transport.write(data)
        transport.loseConnection()
        return
    handle: socket.socket = transport.socket
    try:
        sent = handle.send(data, socket.MSG_MORE)
    except OSError:  # would block, or broken: the transport's own write meets it
        sent = 0
    if sent < len(data):
        transport.write(data[sent:])
        transport.loseConnection()
        return
    with suppress(OSError):  # nothing came, or the peer is gone
        handle.recv_into(_ARRIVED)
    transport.connectionLost(_DONE)


def close_at_once(transport: Any) -> None:
    """Close as loseConnection does, but in this turn where nothing waits to be sent.

    The protocol's connectionLost may be called before this returns. Not for dataReceived, where input that came with
    what was just read may still wait: a close with unread input is a reset.
    """
    if (
        is_plain(transport)
        and transport.connected
        and not transport.disconnecting
        and not transport.dataBuffer
        and not transport._tempDataBuffer
        and transport.producer is None
    ):
        transport.connectionLost(_DONE)
    else:
        transport.loseConnection()
