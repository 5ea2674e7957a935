"""Certificates for an adversary on loopback: a good one, and some that must not be believed. Made anew."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ROOTS = "roots.pem"
WEEK = 7


class _Authority:
    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.issue(self.name, self.key, (-1, WEEK), authority=True)

    def issue(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: tuple[int, int],
        *,
        authority: bool = False,
        name: x509.GeneralName | None = None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if name is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def make(directory: Path, address: str) -> dict[str, ssl.SSLContext]:
    """The server's sides of TLS by kind; `directory` gets the authority to believe as ROOTS."""
    known, stranger = _Authority("torture"), _Authority("stranger")
    (directory / ROOTS).write_bytes(known.certificate.public_bytes(Encoding.PEM))
    good = x509.IPAddress(ip_address(address))
    kinds: dict[str, tuple[_Authority, x509.GeneralName, tuple[int, int]]] = {
        "good": (known, good, (-1, WEEK)),
        "stranger": (stranger, good, (-1, WEEK)),
        "other-name": (known, x509.DNSName("other.example"), (-1, WEEK)),
        "expired": (known, good, (-2 * WEEK, -WEEK)),
    }
    return {kind: _context(directory / f"{kind}.pem", *how) for kind, how in kinds.items()}


def _context(path: Path, by: _Authority, name: x509.GeneralName, days: tuple[int, int]) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "torture.example")])
    certificate = by.issue(subject, key, days, name=name)
    path.touch(0o600)
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
