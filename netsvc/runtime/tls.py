"""The TLS side of a listener: TLS 1.2 or newer, Twisted's cipher list, a certificate for each host name.

No compression (CRIME), no renegotiation. The certificates are :mod:`.certificate_watch`'s: a renewed one answers the
next handshake.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IProtocolNegotiationFactory,
)
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from netsvc.runtime.certificate_watch import CertificateWatch
from netsvc.runtime.certificates import BadCertificateError
from netsvc.runtime.server_names import Chosen
from netsvc.runtime.tls_connection import TlsConnection

log = Logger()


def tls_factory(watch: CertificateWatch, inner: IProtocolFactory, clock: Any) -> TLSMemoryBIOFactory:
    """Wrap a factory so that its protocols speak TLS.

    :param watch: the certificates, which have been read.
    """
    made = TLSMemoryBIOFactory(ConnectionCreator(watch), False, inner, clock)
    made.protocol = TlsConnection
    return made


@implementer(IOpenSSLServerConnectionCreator)
class ConnectionCreator:
    """Begins TLS connections, with the default certificate; the name that a peer sends may change it."""

    def __init__(self, watch: CertificateWatch) -> None:
        self._watch = watch

    def serverConnectionForTLS(self, _: Any) -> SSL.Connection:
        self._watch.look_if_due()
        return SSL.Connection(self._watch.context(None), None)


def context_maker(inner: Any, context_for: Callable[[bytes | None], SSL.Context]) -> Callable[[Chosen], SSL.Context]:
    """What makes an OpenSSL context of certificates.

    :param inner: the factory whose protocols are spoken; IProtocolNegotiationFactory, if it negotiates.
    :param context_for: the context for a host name.
    """

    def select_protocol(_: Any, offered: list[bytes]) -> Any:
        # RFC 7301. A peer that offers none of ours goes on without; Twisted's own callback raises here, which ends
        # the handshake of every peer that offers anything: browsers, curl.
        ours = inner.acceptableProtocols() if IProtocolNegotiationFactory.providedBy(inner) else ()
        return next((one for one in ours if one in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    def select_certificate(connection: SSL.Connection) -> None:
        try:
            context = context_for(connection.get_servername())
            if context is not connection.get_context():
                connection.set_context(context)
        except Exception:  # noqa: BLE001  (a fault of ours costs this handshake, not the service)
            log.failure("no certificate could be chosen", event="tls-name-failed")
            connection.get_app_data().abortConnection()

    def make(certificates: Chosen) -> SSL.Context:
        context: SSL.Context = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        context.set_alpn_select_callback(select_protocol)
        context.set_tlsext_servername_callback(select_certificate)
        for certificate in certificates:
            try:
                _use(context, certificate.chain, certificate.key)
            except SSL.Error as error:
                raise BadCertificateError(
                    f"the certificate {certificate.source.chain[0]} cannot be used: {_reason(error)}"
                ) from None
        return context

    return make


def _use(context: SSL.Context, chain: Any, key: Any) -> None:
    """Give a context one more certificate, with a chain of its own.

    Of what pyOpenSSL can do only a file does that: add_extra_chain_cert adds to one chain for all kinds of keys. The
    file is in memory, and all in it is public.
    """
    descriptor = os.memfd_create("netsvc-certificates", os.MFD_CLOEXEC)
    with open(descriptor, "wb") as file:
        for one in chain:
            file.write(one.public_bytes(Encoding.PEM))
        file.flush()
        context.use_certificate_chain_file(f"/proc/self/fd/{descriptor}")
    context.use_privatekey(key)


def _reason(error: SSL.Error) -> str:
    """The words of OpenSSL, such as "ee key too small"."""
    return "; ".join(reason for _, _, reason in error.args[0]) if error.args and error.args[0] else "OpenSSL refuses it"
