"""TLS towards a host that TLSA records name: no CA is asked, the records are (RFC 7672 2.2).

Stands where :class:`netsvc.services.smtp_client.tls_policy.RelayTLS` does. OpenSSL's own DANE is out of Python's reach,
so the certificates are looked at when the handshake is done, before anything is sent, as Twisted does with names.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.services.smtp_client.routing import dane
from netsvc.services.smtp_client.terms import Relay
from netsvc.services.smtp_client.tls_policy import RelayTLS


class DaneMismatch(Exception):  # noqa: N818 - what it is
    """The server is not the one that the records name."""


@implementer(IOpenSSLClientConnectionCreator)
class DaneTLS:
    """The client's side of one TLS connection to a relay with TLSA records.

    :ivar problem: why the certificate was refused, or None.
    """

    def __init__(self, relay: Relay) -> None:
        self._records = relay.tlsa
        self._names = dict.fromkeys((*relay.names, relay.host))
        self._server_name = (*relay.names, relay.host)[0]  # RFC 7672 8.1: the name that the records stand at
        self._context: Any = ssl.CertificateOptions().getContext()  # TLS 1.2 and later
        self.problem: str | None = None

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A connection that is ended when its server turns out to be another."""

        def told(_: SSL.Connection, where: int, __: int) -> None:
            if where & SSL.SSL_CB_HANDSHAKE_DONE:
                self.problem = self._look(connection)
                if self.problem is not None:
                    tlsProtocol.failVerification(Failure(DaneMismatch(self.problem)))

        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._server_name.encode("ascii"))
        connection.set_info_callback(told)
        return connection

    def _look(self, connection: SSL.Connection) -> str | None:
        try:
            chain = connection.get_peer_cert_chain(as_cryptography=True) or []
            return dane.problem(self._records, chain, self._names)
        except Exception:  # noqa: BLE001 - raised inside OpenSSL's callback it would be lost
            return "the server's certificates cannot be read"


def relay_tls(relay: Relay) -> RelayTLS | DaneTLS:
    """What checks the server's certificate, as the relay's policy says. TLSPolicyError: TLS cannot even be tried."""
    return DaneTLS(relay) if relay.tlsa else RelayTLS(relay)
