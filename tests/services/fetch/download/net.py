"""A network that a test plays: names, connections, and a store on a temporary directory. Threads run at once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms as StoreTerms
from netsvc.services.fetch.download import Done, Downloader, DownloadError, Terms, Wanted

PUBLIC = "93.184.216.34"


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class Net(MemoryReactorClock):
    """A reactor whose names are a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, list[str]] = {}
        self.nameResolver = self

    def installNameResolver(self, resolver: Any) -> Any:
        raise NotImplementedError

    def resolveHostName(self, receiver: Any, host: str, portNumber: int = 0, *_: Any) -> Any:
        receiver.resolutionBegan(None)
        for one in self.names.get(host, [PUBLIC]):
            receiver.addressResolved((IPv6Address if ":" in one else IPv4Address)("TCP", one, portNumber))
        receiver.resolutionComplete()


class Wire(StringTransport):
    """The origin's end of a connection.

    :ivar protocol: of the client.
    """

    def __init__(self, protocol: Any, host: str, port: int) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", host, port))
        self.protocol = protocol
        self.is_open = True

    def abortConnection(self) -> None:
        if self.is_open:
            super().abortConnection()
            self.close(ConnectionLost())

    def close(self, error: Exception | None = None) -> None:
        """The connection ends, in order unless an error says otherwise."""
        self.is_open = False
        self.protocol.connectionLost(Failure(error or ConnectionDone()))

    def requests(self) -> list[str]:
        """The heads that came since the last question."""
        text = self.value().decode()
        self.clear()
        return text.split("\r\n\r\n")[:-1]

    def answer(self, octets: bytes, *, piece: int | None = None) -> None:
        """Send octets, in pieces of so many, as long as the client is there."""
        for at in range(0, len(octets), piece or len(octets) or 1):
            if self.is_open:
                self.protocol.dataReceived(octets[at : at + (piece or len(octets))])


def reply(body: bytes = b"", status: str = "200 OK", *fields: str, length: int | str | None = -1) -> bytes:
    """An answer with a Content-Length; None for none, a number or text for a wrong one."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Downloads(SynchronousTestCase):
    """Has a network, a store in a temporary directory, and a Downloader."""

    terms = Terms()
    store_terms = StoreTerms()

    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, self.root)
        self.net = Net()
        self.store = FileStore(self.root, self.store_terms)
        self.begin()

    def begin(self, **terms: Any) -> None:
        """A Downloader, with other terms."""
        self.downloader = Downloader(self.net, self.store, evolve(self.terms, **terms), execute)

    def start(self, url: str = "http://example.com/a.bin", **wanted: Any) -> Deferred[Done]:
        """Ask for a file."""
        if not {"names", "directory", "resume"} & set(wanted):
            wanted["names"] = ("a.bin",)
        return self.downloader.download(Wanted(url=url, **wanted))

    def wire(self, number: int = -1) -> Wire:
        """The connection that was asked for, made."""
        host, port, factory, *_ = self.net.tcpClients[number]
        protocol = factory.buildProtocol(IPv4Address("TCP", host, port))
        wire = Wire(protocol, host, port)
        protocol.makeConnection(wire)
        return wire

    def failure(self, started: Deferred[Any], kind: type[DownloadError] = DownloadError) -> DownloadError:
        """How it failed."""
        error: DownloadError = self.failureResultOf(started, kind).value
        return error

    def files(self) -> dict[str, bytes]:
        """What is published."""
        return {one.name: one.read_bytes() for one in self.root.iterdir() if one.is_file() and one.name[0] != "."}

    def parts(self) -> list[Path]:
        """Partial files."""
        return [one for one in self.root.iterdir() if one.name.endswith(".part")]
