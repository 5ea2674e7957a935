"""Tells a transport whose octets go to a socket as they are from one that wraps, encrypts or imitates it.

By exact type and never by what a transport offers: the TLS wrappers forward getHandle, so a duck-typed
check would write plain text under TLS.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp, unix

from netsvc.net.accepted import AcceptedConnection

_PLAIN = frozenset({AcceptedConnection, tcp.Server, tcp.Client, unix.Server, unix.Client})


def is_plain(transport: Any) -> bool:
    """Whether octets written to the transport reach its socket unchanged."""
    return type(transport) in _PLAIN and not getattr(transport, "TLS", False)
