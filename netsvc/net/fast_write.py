"""fast_write: try the socket first, buffer what is left.

Twisted's write only queues; the octets leave on the next turn of the reactor, after two epoll_ctl calls.
For short answers that costs more than everything else. Order is kept: the socket is tried only while
nothing is queued.

It reads names that Twisted keeps private: ``_tempDataBuffer`` and ``_writeDisconnected``. tests/net pins them.
"""

from __future__ import annotations

import os
from typing import Any

from netsvc.net.plain import is_plain


def nothing_waits(transport: Any) -> bool:
    """Whether what is written to the socket now comes in its turn."""
    return (
        is_plain(transport)
        and not transport.dataBuffer
        and not transport._tempDataBuffer
        and not transport.disconnecting
        and transport.connected
        and not transport._writeDisconnected
    )


def fast_write(transport: Any, data: bytes) -> bool:
    """Write data to any transport, at once where that is possible.

    An error on the socket is left for the transport's own write to meet, so that the connection ends in
    the one place where connections end.

    :return: whether all of it is with the kernel, and nothing is queued.
    """
    if not data or not nothing_waits(transport):
        transport.write(data)
        return False
    try:
        sent = os.write(transport.fileno(), data)
    except OSError:  # would block, or broken
        transport.write(data)
        return False
    if sent < len(data):
        transport.write(data[sent:])
        return False
    return True
