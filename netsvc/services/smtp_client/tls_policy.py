"""TLS towards a relay: TLS 1.2 or later; chain and name verified where the policy says ``verify``.

A handshake that fails says why in words: the check that failed, not OpenSSL's error queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, CertificatePattern, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from netsvc.services.smtp_client.domains import a_labels
from netsvc.services.smtp_client.terms import Relay

# X509_V_ERR_*, openssl-verification-options(1)
_PROBLEMS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "was issued by a CA that is not trusted here",
    20: "was issued by a CA that is not trusted here",
    21: "was issued by a CA that is not trusted here",
    23: "was revoked",
    26: "is not meant for servers",
}


class TLSPolicyError(Exception):
    """TLS cannot even be tried: the file of CAs or the server's name is unusable."""


@lru_cache(maxsize=64)
def _context(verify: bool, roots: Path | None, changed: int) -> SSL.Context:  # noqa: ARG001 - the file's mtime is a key
    context: SSL.Context = ssl.CertificateOptions().getContext()  # Twisted's ciphers and options, TLS 1.2 and later
    if verify and roots is None:
        context.set_default_verify_paths()
    elif verify:
        context.load_verify_locations(str(roots))
    return context


def _identity(name: str) -> DNS_ID | IPAddress_ID:
    try:
        ip_address(name)
    except ValueError:
        pass
    else:
        return IPAddress_ID(name)
    try:
        return DNS_ID(a_labels(name.rstrip(".")))
    except ValueError:
        raise TLSPolicyError(f"{name!r} is not a name that a certificate can bear") from None


def _bears(patterns: Sequence[CertificatePattern], identity: DNS_ID | IPAddress_ID) -> bool:
    try:
        verify_service_identity(patterns, [identity], [])
    except VerificationError:
        return False
    return True


@implementer(IOpenSSLClientConnectionCreator)
class RelayTLS:
    """The client's side of one TLS connection to a relay.

    :ivar problem: why the certificate was refused, or None.
    """

    def __init__(self, relay: Relay) -> None:
        self._verify = relay.tls == "verify"
        self.problem: str | None = None
        try:
            changed = relay.trust_roots.stat().st_mtime_ns if self._verify and relay.trust_roots else 0
            self._context = _context(self._verify, relay.trust_roots if self._verify else None, changed)
        except (OSError, SSL.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else "it holds no usable certificates"
            raise TLSPolicyError(f"the CA file {relay.trust_roots} cannot be used: {reason}") from None
        self._identities = [_identity(name) for name in dict.fromkeys((relay.host, *relay.names))]
        first = self._identities[0]
        self._server_name = first.hostname if isinstance(first, DNS_ID) else None

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: ARG002 - the interface's
        """A connection that will check what the policy says."""
        connection = SSL.Connection(self._context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)  # RFC 6066 3; never an address
        if self._verify:
            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._check)
        return connection

    def _check(self, _: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
        if not ok:
            whose = "the server's certificate" if depth == 0 else "a certificate of the server's chain"
            self.problem = self.problem or f"{whose} {_PROBLEMS.get(error, f'fails verification (error {error})')}"
            return False
        if depth == 0:
            try:
                patterns = extract_patterns(certificate)
                if not any(_bears(patterns, one) for one in self._identities):
                    self.problem = "the server's certificate bears other names"
                    return False
            except Exception:  # noqa: BLE001 - raised inside OpenSSL's callback it would be lost
                self.problem = "the server's certificate cannot be read"
                return False
        return True


class Checks(Protocol):
    """What checks the server's certificate.

    :ivar problem: why it was refused, or None.
    """

    problem: str | None


def handshake_problem(creator: Checks, error: BaseException | None) -> str:
    """Why a handshake failed, for people."""
    if creator.problem is not None:
        return f"TLS: {creator.problem}"
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list | tuple):
        reasons: list[Any] = [entry[-1] for entry in error.args[0] if entry[-1]]
        if reasons:
            return f"the TLS handshake failed: {reasons[-1]}"
    return "the connection was lost during the TLS handshake"
