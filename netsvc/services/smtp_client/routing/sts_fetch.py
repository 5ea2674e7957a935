"""Fetches one MTA-STS policy over HTTPS, RFC 8461 3.3: verified, without redirects, bounded in octets and time.

What is counted is what comes over the wire: Twisted's HTTP client bounds each header field and not their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from netsvc.services.smtp_client.routing.answers import Resolve
from netsvc.services.smtp_client.routing.mta_sts import MAX_POLICY
from netsvc.services.smtp_client.terms import Relay
from netsvc.services.smtp_client.tls_policy import RelayTLS, TLSPolicyError

HTTPS_PORT = 443
TIMEOUT = 60.0  # seconds for all of it, RFC 8461 3.3
CONNECT_TIMEOUT = 15.0  # seconds for one address, ours
MAX_ADDRESSES = 4  # that are tried, ours
MAX_WIRE = 4 * MAX_POLICY  # octets with header fields and TLS, ours


class FetchError(Exception):
    """There is no policy to be had now. The text is for people and holds nothing that the server sent."""


class Fetcher:
    """Fetches policies.

    :param trust_roots: PEM file of the CAs to believe; None: those of this machine.
    :param port: of the servers.
    :param timeout: seconds for all of one fetch.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: Resolve,
        *,
        trust_roots: Path | None = None,
        port: int = HTTPS_PORT,
        timeout: float = TIMEOUT,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._trust_roots = trust_roots
        self._port = port
        self._timeout = timeout

    async def __call__(self, domain: str) -> bytes:
        """The octets at ``https://mta-sts.DOMAIN/.well-known/mta-sts.txt``, at most 64 KiB.

        :raises FetchError: there are none.
        """

        def too_long(_: object, seconds: float) -> Any:
            raise FetchError(f"it took longer than {seconds:g} seconds")

        return await Deferred.fromCoroutine(self._fetch(f"mta-sts.{domain}")).addTimeout(
            self._timeout, self._reactor, too_long
        )

    async def _fetch(self, host: str) -> bytes:
        answer = await self._resolver.addresses(host)
        if answer.status != "found":
            raise FetchError(f"{host} has no address" + (f": {answer.reason}" if answer.reason else ""))
        try:
            creator = RelayTLS(Relay(host=host, port=self._port, tls="verify", trust_roots=self._trust_roots))
        except TLSPolicyError as error:
            raise FetchError(str(error)) from None
        agent = Agent.usingEndpointFactory(
            self._reactor, _Endpoints(self._reactor, creator, answer.records[:MAX_ADDRESSES])
        )
        where = f"https://{host}:{self._port}/.well-known/mta-sts.txt".encode("ascii")
        try:
            response: Any = await agent.request(b"GET", where, Headers({b"Accept": [b"text/plain"]}))
        except ConnectError:
            raise FetchError(f"{host} cannot be reached") from None
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a server makes of HTTP or TLS
            problem = creator.problem or f"it does not answer as a web server ({type(error).__name__})"
            raise FetchError(f"{host}: {problem}") from None
        body = _Body()
        if response.code == 200 and _is_text(response.headers):
            response.deliverBody(body)
            return await body.done
        response._transport.loseConnection() if response._transport is not None else None
        if response.code != 200:
            raise FetchError(f"{host} answers with status {response.code}")
        raise FetchError(f"{host} answers with something that is not text/plain")


def _is_text(headers: Headers) -> bool:
    """RFC 8461 3.3: other types may be what users of the host put there."""
    kinds = headers.getRawHeaders(b"Content-Type") or []
    return len(kinds) == 1 and kinds[0].partition(b";")[0].strip().lower() == b"text/plain"


class _Body(Protocol):
    """Collects a body up to the bound."""

    transport: Any

    def __init__(self) -> None:
        self._octets = bytearray()
        self.done: Deferred[bytes] = Deferred(lambda _: self.transport.loseConnection())

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > MAX_POLICY and not self.done.called:
            self.done.errback(FetchError(f"the policy is longer than {MAX_POLICY} octets"))
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(bytes(self._octets))
        else:  # also without a length: then nobody could tell whether the end is missing
            self.done.errback(FetchError("the policy did not come whole"))


class _Counted(ProtocolWrapper):
    """Cuts a connection that brings too much."""

    _octets = 0

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > MAX_WIRE:
            self.transport.abortConnection()  # type: ignore[union-attr]
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]


class _CountedFactory(WrappingFactory):
    protocol = _Counted
    noisy = False


@implementer(IStreamClientEndpoint)
class _InTurn:
    """TLS to the first address that takes a connection."""

    def __init__(self, reactor: Any, creator: RelayTLS, addresses: Sequence[str], port: int) -> None:
        self._reactor = reactor
        self._creator = creator
        self._addresses = addresses
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Any:
        """The Deferred of a protocol above TLS."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> Any:
        failure: ConnectError = ConnectError(string="there is no address")
        for address in self._addresses:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = kind(self._reactor, address, self._port, timeout=CONNECT_TIMEOUT)
            secured = TLSMemoryBIOFactory(self._creator, True, factory, self._reactor)
            secured.noisy = False
            try:
                counted: Any = await endpoint.connect(_CountedFactory(secured))  # type: ignore[no-untyped-call]
            except ConnectError as error:
                failure = error
            else:
                return counted.wrappedProtocol.wrappedProtocol
        raise failure


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, creator: RelayTLS, addresses: Sequence[str]) -> None:
        self._reactor = reactor
        self._creator = creator
        self._addresses = addresses

    def endpointForURI(self, uri: URI) -> _InTurn:
        """Where the agent connects."""
        return _InTurn(self._reactor, self._creator, self._addresses, uri.port)
