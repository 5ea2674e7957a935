"""The TLS side of a listener: certificates read at start, TLS 1.2 or newer, Twisted's cipher list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory

from netsvc.config.listen import Tls
from netsvc.errors import StartError
from netsvc.runtime.tls_connection import TlsConnection


def tls_factory(tls: Tls, inner: IProtocolFactory, clock: Any) -> TLSMemoryBIOFactory:
    """Wrap a factory so that its protocols speak TLS.

    :param tls: the PEM files; the certificate file may hold the chain as well.
    :raise StartError: a file cannot be read or used, or key and certificate do not belong together.
    """
    certificates = _certificates(tls.certificate)
    if tls.chain is not None:
        certificates += _certificates(tls.chain)
    try:
        # Cryptography's own objects: pyOpenSSL deprecates its types, and Twisted passes on what it is given.
        key: Any = load_pem_private_key(tls.key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StartError(f"the private key {tls.key} cannot be used: {_reason(error)}") from None
    options = CertificateOptions(
        privateKey=key,
        certificate=certificates[0],
        extraCertChain=certificates[1:],
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )
    try:
        options.getContext().check_privatekey()
    except SSL.Error:
        raise StartError(f"the private key {tls.key} does not belong to the certificate {tls.certificate}") from None
    _agree_on_protocols(options.getContext(), inner)
    made = TLSMemoryBIOFactory(options, False, inner, clock)
    made.protocol = TlsConnection
    return made


def _agree_on_protocols(context: Any, inner: Any) -> None:
    """Answer ALPN (RFC 7301) with what the inner factory offers; a peer that offers none of it goes on without.

    Twisted's own callback raises here, which ends the handshake of every peer that offers anything: browsers, curl.
    """

    def select(_: Any, offered: list[bytes]) -> Any:
        ours = inner.acceptableProtocols() if IProtocolNegotiationFactory.providedBy(inner) else ()
        return next((one for one in ours if one in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    context.set_alpn_select_callback(select)


def _certificates(file: Path) -> list[Any]:
    try:
        return load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"the certificate {file} cannot be used: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not in PEM form, is damaged, or is encrypted"
