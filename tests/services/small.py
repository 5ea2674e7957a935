"""What the tests of the small services share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from netsvc.config.listen import TcpAddress
from netsvc.config.options import Context, options
from netsvc.kind import ServiceKind
from tests.fakes import FakeRuntime

PEER = ("192.0.2.7", 40007)


def settings_of(kind: ServiceKind, **texts: str) -> Any:
    """The settings of a kind, from option texts as they stand in a file."""
    cls = kind.load_settings()
    known = {one.key: one for one in options(cls)}
    parsed = {key: known[key].value.parse(text, Context(Path("/etc/netsvc"))) for key, text in texts.items()}
    return cls(listen=(TcpAddress(port=0),), **parsed)


def made(kind: ServiceKind, runtime: FakeRuntime | None = None, **texts: str) -> tuple[Any, Any, FakeRuntime]:
    """The factory and the responder of a service, and the runtime that was handed them."""
    runtime = runtime or FakeRuntime()
    settings = settings_of(kind, **texts)
    kind.load_make_service()(settings, runtime)  # type: ignore[arg-type]
    ((served, stream, datagram),) = runtime.served
    assert served is settings
    return stream, datagram, runtime


def connected(factory: Any, transport: StringTransport | None = None) -> tuple[Any, StringTransport]:
    """A protocol of the factory, connected to a StringTransport."""
    address = IPv4Address("TCP", *PEER)
    transport = transport or StringTransport(peerAddress=address)
    protocol = factory.buildProtocol(address)
    protocol.makeConnection(transport)
    return protocol, transport


def lose(protocol: Any) -> None:
    """The connection is gone."""
    protocol.connectionLost(Failure(ConnectionDone()))
