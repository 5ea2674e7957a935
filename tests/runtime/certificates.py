"""Certificates for tests, made on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from twisted.internet.task import Clock

from netsvc.config.tls import TlsPlace
from netsvc.runtime.certificate_watch import CertificateWatch
from netsvc.runtime.tls import context_maker, tls_factory
from tests.fakes import FakeMetrics

DAY = 86400.0  # seconds
_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def make_pem(
    names: Iterable[str],
    *,
    days: float = 1,
    begins: float = -1,
    kind: str = "ec",
    signer: tuple[bytes, bytes] | None = None,
    now: float | None = None,
) -> tuple[bytes, bytes]:
    """A certificate and its key, in PEM.

    :param names: its subjectAltName; none for a certificate without.
    :param days: after which it expires.
    :param begins: days after which it is valid.
    :param kind: of key: ``ec``, ``rsa``, or ``weak``, which OpenSSL refuses.
    :param signer: the certificate and key that sign it; None for itself.
    :param now: seconds since the epoch from which the days count.
    """
    names = list(names)
    key: Any = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ec"
        else rsa.generate_private_key(65537, 1024 if kind == "weak" else 2048)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
    at = datetime.now(UTC) if now is None else datetime.fromtimestamp(now, UTC)
    issuer, signing_key = subject, key
    if signer is not None:
        issuer = x509.load_pem_x509_certificate(signer[0]).subject
        signing_key = serialization.load_pem_private_key(signer[1], None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at + timedelta(days=begins))
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # What Python 3.13 and newer want to see (VERIFY_X509_STRICT).
        .add_extension(_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return (
        builder.sign(signing_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for `name` and localhost, and its key; the two PEM files."""
    certificate, key = make_pem(["localhost", name])
    certificate_file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
    certificate_file.write_bytes(certificate)
    key_file.write_bytes(key)
    return certificate_file, key_file


def secured(place: TlsPlace, inner: Any, clock: Clock) -> Any:
    """A factory behind TLS, with the certificates of a place."""
    watch = CertificateWatch(place, service="test", reactor=clock, metrics=FakeMetrics())
    watch.load(context_maker(inner, watch.context))
    return tls_factory(watch, inner, clock)
