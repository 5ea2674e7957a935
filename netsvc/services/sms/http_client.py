"""One HTTP request to a gateway, once: it tells apart what never left from what may have arrived.

Twisted's Agent makes the request, on a connection of its own: from a pool it would send a GET again by itself when a
kept connection turned out to be dead, and the message twice. No redirect is followed, no proxy used, nothing inflated.
Agent gets the connection after the TLS handshake, so a certificate that is refused is a request that never left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.interfaces import IConsumer, IHandshakeListener, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

import netsvc
from netsvc.services.sms.gateway import Request
from netsvc.services.sms.reply import Reply, retry_after

MAX_RECEIVED = 256 << 10  # octets of a whole reply with its head; a gateway's has some hundred


class NotSentError(Exception):
    """Nothing of the request left this machine. Its text is one line for people."""


class UnknownError(Exception):
    """The request may have arrived. Its text is one line for people."""


@frozen(kw_only=True)
class Phases:
    """Time limits, seconds.

    :param connect: until the TLS handshake is over.
    :param reply: from then until the end of the reply.
    """

    connect: float
    reply: float


class Exchange:
    """One request and its reply; used once.

    :param reactor: connects, and is the clock.
    :param trust_roots: PEM file, or None for the authorities of this machine.
    """

    def __init__(
        self, reactor: Any, phases: Phases, *, trust_roots: Path | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._reactor = reactor
        self._phases = phases
        self._trust_roots = trust_roots
        self._now = now
        self._under_way: Deferred[Any] | None = None
        self._timer: Any = None
        self._reason = ""  # why we ended it ourselves
        self._line: _Line | None = None
        self._left = False

    async def run(self, request: Request) -> Reply:
        """Make it.

        :raises NotSentError: it never left.
        :raises UnknownError: it may have arrived, but there is no whole reply.
        """
        self._limit(self._phases.connect, "connecting took")
        try:
            agent = Agent.usingEndpointFactory(self._reactor, _Endpoints(self))
            response = await self._wait(
                agent.request(
                    request.method.encode(),
                    request.url.encode("ascii"),
                    _headers(request),
                    _Body(request.body) if request.body else None,
                )
            )
            content = await self._wait(_collected(response))
        except Exception as error:  # noqa: BLE001 - whatever it is, what matters is whether the request had left
            reason = self._reason or describe(error)
            raise (UnknownError if self._left else NotSentError)(reason) from None
        finally:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            if self._line is not None:
                self._line.end()
        after = response.headers.getRawHeaders(b"retry-after", [b""])[0].decode("ascii", "replace")
        return Reply(response.code, content, retry_after(after, self._now()))

    def cut(self, reason: str) -> None:
        """End it."""
        self._reason = self._reason or reason
        if self._under_way is not None:
            self._under_way.cancel()

    def connected(self, line: _Line) -> None:
        """The line is up: what Agent does next is to send the request."""
        self._line = line
        self._left = True
        self._limit(self._phases.reply, "the gateway's reply took")

    def endpoint(self, uri: URI) -> IStreamClientEndpoint:
        """Where to connect.

        :raises NotSentError: the trusted authorities cannot be read.
        """
        host = uri.host.decode("ascii")
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=self._phases.connect)
        if uri.scheme == b"https":
            options = optionsForClientTLS(host, **_trust(self._trust_roots))
            endpoint = wrapClientTLS(options, endpoint)
        return endpoint

    def _limit(self, seconds: float, what: str) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, self.cut, f"{what} longer than {seconds:g} s")

    async def _wait(self, deferred: Deferred[Any]) -> Any:
        self._under_way = deferred
        try:
            return await deferred
        finally:
            self._under_way = None


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return _Shaken(self._exchange, uri)


@implementer(IStreamClientEndpoint)
class _Shaken:
    """Connects, and hands the connection over when nothing but the request is missing."""

    def __init__(self, exchange: Exchange, uri: URI) -> None:
        self._exchange = exchange
        self._uri = uri

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        async def connect() -> Any:
            lines = Factory.forProtocol(lambda: _Line(self._uri.scheme == b"https"))
            lines.noisy = False
            line: Any = await self._exchange.endpoint(self._uri).connect(lines)
            await line.ready
            protocol = factory.buildProtocol(line.transport.getPeer())
            self._exchange.connected(line)
            line.hand_to(protocol)
            return protocol

        return Deferred.fromCoroutine(connect())


@implementer(IHandshakeListener)
class _Line(Protocol):
    """A connection that waits for its handshake, then belongs to another protocol; it counts what comes in.

    :ivar ready: fires when the handshake is over.
    """

    def __init__(self, tls: bool) -> None:
        self._tls = tls
        self._received = 0
        self._inner: Any = None
        self._is_lost = False
        self.ready: Deferred[None] = Deferred(lambda _: self.end())

    def connectionMade(self) -> None:
        if not self._tls:
            self.ready.callback(None)

    def handshakeCompleted(self) -> None:
        """The certificate is good."""
        self.ready.callback(None)

    def hand_to(self, protocol: Any) -> None:
        """From now on it is that protocol's."""
        self._inner = protocol
        protocol.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_RECEIVED or self._inner is None:
            self.end()
        else:
            self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.ready.called:
            self.ready.errback(reason)

    def end(self) -> None:
        """Cut it, unless it is gone."""
        if not self._is_lost:
            self.transport.abortConnection()  # type: ignore[union-attr]


@implementer(IBodyProducer)
class _Body:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class _Collector(Protocol):
    def __init__(self, done: Deferred[bytes]) -> None:
        self._done = done
        self._octets = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._octets += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # the second: its end is the connection's
            self._done.callback(bytes(self._octets))
        else:
            self._done.errback(reason)


def _collected(response: IResponse) -> Deferred[bytes]:
    done: Deferred[bytes] = Deferred()
    response.deliverBody(_Collector(done))
    return done


def _headers(request: Request) -> Headers:
    headers = Headers({b"Accept-Encoding": [b"identity"], b"User-Agent": [f"netsvc/{netsvc.__version__}".encode()]})
    for name, value in request.headers:
        headers.setRawHeaders(name.encode(), [value.encode()])
    return headers


def _trust(roots: Path | None) -> dict[str, Any]:
    if roots is None:
        return {}
    try:
        return {"trustRoot": _roots(roots, roots.stat().st_mtime_ns)}
    except OSError as error:
        raise NotSentError(f"the CA file {roots} cannot be used: {error.strerror}") from None
    except ValueError:
        raise NotSentError(f"the CA file {roots} cannot be used: it holds no usable certificates") from None


@lru_cache(maxsize=16)
def _roots(file: Path, changed: int) -> Any:  # noqa: ARG001 - the file's mtime is a key
    found = x509.load_pem_x509_certificates(file.read_bytes())
    return trustRootFromCertificates([Certificate(X509.from_cryptography(one)) for one in found])


def describe(error: BaseException) -> str:
    """Why a request failed, for people. Never the error's own words where they could hold a URL."""
    reasons = getattr(error, "reasons", None)  # of ResponseNeverReceived, ResponseFailed, RequestTransmissionFailed
    if reasons:
        return describe(reasons[0].value)
    for kind, words in (
        (NotSentError, str(error)),
        (DNSLookupError, "the gateway's name cannot be resolved"),
        (Refused, "the connection was refused"),
        (TimedOut, "connecting took too long"),
        (VerificationError, "TLS: the gateway's certificate bears other names"),
        (ConnectionDone | ConnectionLost, "the connection was lost"),
        (CancelledError, "it was cut short"),
    ):
        if isinstance(error, kind):
            return words
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list | tuple):
        words = ", ".join(str(entry[-1]) for entry in error.args[0] if entry[-1])
        return f"TLS: {words or 'the handshake failed'}"
    return f"the request failed: {type(error).__name__}"
