"""What is spoken on a connection: HTTP/2 where a peer chose it by ALPN (RFC 7301), else HTTP/1.

A protocol is made before it is known what will be spoken, so that of HTTP/1 is, which hands over to another when the
TLS handshake is done. On plain TCP this costs one look at the transport for each connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netsvc.services.http.http2.connection import Http2Connection

if TYPE_CHECKING:
    from netsvc.services.http.factory import HttpFactory

H2 = b"h2"
HTTP1 = b"http/1.1"


def offered(http2: bool) -> list[bytes]:
    """The protocols under TLS, the preferred first."""
    return [H2, HTTP1] if http2 else [HTTP1]


def hand_over(factory: HttpFactory, transport: Any) -> bool:
    """Give a transport to a connection of HTTP/2, if that is what was agreed on; whether it was."""
    if getattr(transport, "negotiatedProtocol", None) != H2:
        return False
    connection = Http2Connection(factory)
    transport.wrappedProtocol = connection
    connection.makeConnection(transport)  # type: ignore[no-untyped-call]
    return True
