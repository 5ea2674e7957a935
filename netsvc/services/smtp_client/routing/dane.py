"""Tells whether a server's certificates are those that TLSA records name: RFC 6698, 7671, 7672. No I/O, no Twisted.

For SMTP two uses count (RFC 7672 3.1): DANE-EE (3), the server's own certificate, whose names and dates do not matter;
and DANE-TA (2), an authority in the chain that the server sends, which must then be in order and bear the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256, sha512

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto
from service_identity import VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, verify_service_identity

from netsvc.services.smtp_client.routing.answers import TLSA

TA, EE = 2, 3  # certificate usages, RFC 7218 2.1
CERT, SPKI = 0, 1  # selectors
FULL, SHA256, SHA512 = 0, 1, 2  # matching types
_LENGTHS = {SHA256: 32, SHA512: 64}  # octets

MAX_RECORDS = 32  # of one host that are looked at, ours
MAX_CHAIN = 10  # certificates that are looked at, ours


def usable(records: Iterable[TLSA]) -> tuple[TLSA, ...]:
    """Those that mean something for SMTP; of digests of one kind only the strongest (RFC 7671 9)."""
    good = [one for one in dict.fromkeys(records) if _is_usable(one)]
    strong = {(one.usage, one.selector) for one in good if one.matching == SHA512}
    return tuple(one for one in good if one.matching != SHA256 or (one.usage, one.selector) not in strong)[:MAX_RECORDS]


def _is_usable(one: TLSA) -> bool:
    if one.usage not in (TA, EE) or one.selector not in (CERT, SPKI):
        return False
    if one.matching in _LENGTHS:
        return len(one.data) == _LENGTHS[one.matching]
    return one.matching == FULL and bool(one.data)


def _names(record: TLSA, certificate: x509.Certificate) -> bool:
    """Whether a record is about a certificate, RFC 6698 2.1."""
    if record.selector == CERT:
        octets = certificate.public_bytes(Encoding.DER)
    else:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    match record.matching:
        case 1:
            octets = sha256(octets).digest()
        case 2:
            octets = sha512(octets).digest()
    return octets == record.data


def problem(
    records: Sequence[TLSA], chain: Sequence[x509.Certificate], names: Iterable[str], *, at: datetime | None = None
) -> str | None:
    """Why a server is not the one that the records name; None: it is.

    :param records: usable ones.
    :param chain: what the server sent, its own certificate first.
    :param names: what it may be called, RFC 7672 3.2.2.
    :param at: when; now.
    """
    if not chain:
        return "the server shows no certificate"
    if any(one.usage == EE and _names(one, chain[0]) for one in records):
        return None
    anchors = [
        certificate
        for certificate in [*chain[1:MAX_CHAIN], *_whole(records)]
        if any(one.usage == TA and _names(one, certificate) for one in records)
    ]
    if not anchors:
        return "the server's certificates match none of its TLSA records"
    reason = _chain_problem(anchors, chain[:MAX_CHAIN], at)
    if reason is not None:
        return f"the server's certificate does not stand under the authority of its TLSA records: {reason}"
    return None if _bears(chain[0], names) else "the server's certificate bears other names"


def _whole(records: Sequence[TLSA]) -> list[x509.Certificate]:
    """Authorities that stand in the records themselves: a server need not send those."""
    found = []
    for one in records:
        if (one.usage, one.selector, one.matching) == (TA, CERT, FULL):
            try:
                found.append(x509.load_der_x509_certificate(one.data))
            except ValueError:
                continue
    return found


def _chain_problem(
    anchors: Sequence[x509.Certificate], chain: Sequence[x509.Certificate], at: datetime | None
) -> str | None:
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an authority need not be a root
    if at is not None:
        store.set_time(at)
    for one in anchors:
        store.add_cert(crypto.X509.from_cryptography(one))
    leaf, *others = map(crypto.X509.from_cryptography, chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return str(error)
    return None


def _bears(certificate: x509.Certificate, names: Iterable[str]) -> bool:
    for name in names:
        try:
            verify_service_identity(extract_patterns(certificate), [DNS_ID(name)], [])
        except (VerificationError, ValueError):
            continue
        return True
    return False
