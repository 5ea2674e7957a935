"""The TLS side of a listener: certificates read at start, TLS 1.2 or newer, Twisted's cipher list."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory

from netsvc.config.listen import Tls
from netsvc.errors import StartError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def tls_factory(tls: Tls, inner: IProtocolFactory, clock: Any) -> TLSMemoryBIOFactory:
    """Wrap a factory so that its protocols speak TLS.

    :param tls: the PEM files; the certificate file may hold the chain as well.
    :raise StartError: a file cannot be read or used, or key and certificate do not belong together.
    """
    certificates = _certificates(tls.certificate)
    if tls.chain is not None:
        certificates += _certificates(tls.chain)
    try:
        # An empty passphrase: without one OpenSSL would ask for it on the terminal of the daemon.
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, tls.key.read_bytes(), passphrase=b"")
    except (OSError, crypto.Error) as error:
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
    return TLSMemoryBIOFactory(options, False, inner, clock)


def _certificates(file: Path) -> list[crypto.X509]:
    try:
        found = _CERTIFICATE.findall(file.read_bytes())
        certificates = [crypto.load_certificate(crypto.FILETYPE_PEM, one) for one in found]
    except (OSError, crypto.Error) as error:
        raise StartError(f"the certificate {file} cannot be used: {_reason(error)}") from None
    if not certificates:
        raise StartError(f"the certificate {file} cannot be used: it holds none in PEM form")
    return certificates


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not in PEM form, is damaged, or is encrypted"
