"""Makes connections: public addresses only unless allowed, TLS verified.

What is checked are the addresses that the connection is made to, after the name was resolved: a name that means
something else a moment later gains nothing. The peer's address is looked at once more when it is connected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from zope.interface import implementer

from netsvc.services.fetch.download.addresses import is_public
from netsvc.services.fetch.download.connection import Connection
from netsvc.services.fetch.download.errors import DownloadError, Permanent, Transient
from netsvc.services.fetch.download.terms import Terms
from netsvc.services.fetch.download.wire.url import Url

NOT_PUBLIC = "the host has no address on the public Internet"
_CONTEXTS = 64  # hosts whose TLS options are kept: each loads the authorities anew


class Connector:
    """Makes connections on a Downloader's terms.

    :param reactor: IReactorTCP, IReactorTime and IReactorPluggableNameResolver.
    """

    def __init__(self, reactor: Any, terms: Terms) -> None:
        self._reactor = reactor
        self._terms = terms
        self._options = lru_cache(_CONTEXTS)(self._make_options)

    async def connect(self, url: Url, lost: Callable[[Connection], None]) -> Connection:
        """A connection that may be used at once.

        :param lost: told when it is gone.
        :raises DownloadError: there is none to be had.
        """
        guarded = self._reactor if self._terms.private_addresses else _Guarded(self._reactor)
        secure = url.scheme == "https"
        try:
            endpoint: IStreamClientEndpoint = HostnameEndpoint(
                guarded, url.host, url.port, timeout=self._terms.connect_timeout
            )
            if secure:
                endpoint = wrapClientTLS(self._options(url.host), endpoint)
            factory = Factory.forProtocol(lambda: Connection(secure, lost))
            factory.noisy = False
            connection: Any = await endpoint.connect(factory)
            self._check_peer(connection)
            await connection.ready
        except DownloadError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no connection
            if isinstance(guarded, _Guarded) and guarded.has_refused:
                raise Permanent(NOT_PUBLIC) from None
            raise of_connecting(error) from None
        made: Connection = connection
        return made

    def _check_peer(self, connection: Connection) -> None:
        if not self._terms.private_addresses and not is_public(connection.transport.getPeer().host):
            connection.ready.addErrback(lambda _: None)
            connection.abort()
            raise Permanent(NOT_PUBLIC)

    def _make_options(self, host: str) -> Any:
        return optionsForClientTLS(host, **_trust(self._terms.ca_file))


def of_connecting(error: BaseException) -> DownloadError:
    """Why there is no connection. Never the error's own words, which hold names."""
    if isinstance(error, VerificationError):
        return Permanent("TLS: the certificate bears other names")
    if isinstance(error, SSL.Error):
        entries = error.args[0] if error.args and isinstance(error.args[0], list | tuple) else ()
        words = ", ".join(str(entry[-1]) for entry in entries if entry[-1]) or "the handshake failed"
        return (Permanent if "certificate" in words else Transient)(f"TLS: {words}")
    for kind, words in (
        (DNSLookupError, "the host's name cannot be resolved"),
        (Refused, "the connection was refused"),
        (TimedOut, "connecting took too long"),
    ):
        if isinstance(error, kind):
            return Transient(words)
    return Transient("the host cannot be reached")


def _trust(ca_file: Path | None) -> dict[str, Any]:
    if ca_file is None:
        return {}
    try:
        found = x509.load_pem_x509_certificates(ca_file.read_bytes())
    except (OSError, ValueError):
        raise Permanent(f"the CA file {ca_file} cannot be used") from None
    return {"trustRoot": trustRootFromCertificates([Certificate(X509.from_cryptography(one)) for one in found])}


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class _Guarded:
    """A reactor whose names have public addresses only, for one connection.

    :ivar has_refused: whether there was another address.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.has_refused = False
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """The reactor's own is what is asked behind this one."""
        return self._reactor.installNameResolver(resolver)  # type: ignore[no-any-return]

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        return self._reactor.nameResolver.resolveHostName(  # type: ignore[no-any-return]
            _PublicOnly(resolutionReceiver, self), hostName, portNumber, addressTypes, transportSemantics
        )


@implementer(IResolutionReceiver)
class _PublicOnly:
    def __init__(self, receiver: IResolutionReceiver, guarded: _Guarded) -> None:
        self._receiver = receiver
        self._guarded = guarded

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        if is_public(getattr(address, "host", "")):
            self._receiver.addressResolved(address)
        else:
            self._guarded.has_refused = True

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()
