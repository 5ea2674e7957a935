"""PublicKey: a user's key, and whether a signature is its own. No I/O.

ssh-ed25519            RFC 8709
ecdsa-sha2-nistpNNN    RFC 5656
ssh-rsa                RFC 8332: signs as rsa-sha2-256 or rsa-sha2-512, never with SHA-1
sk-...@openssh.com     keys on a FIDO token, OpenSSH's PROTOCOL.u2f
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from netsvc.services.sftp.ssh.octets import MalformedError, Octets

LEAST_RSA = 2048  # bits, NIST SP 800-131A
MOST_RSA = 16384  # bits, OpenSSH's own bound; more only takes time
_TOUCHED = 0x01  # flags of a FIDO signature
_VERIFIED = 0x04

_CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}

_Check = Callable[[bytes, bytes, bytes], None]


@frozen
class PublicKey:
    """A key that signatures are checked with.

    :param kind: as it stands in an authorized_keys file.
    :param blob: as it is sent.
    """

    kind: bytes
    blob: bytes
    _check: _Check = field(eq=False, repr=False)
    _application: bytes | None = None  # of a key on a FIDO token

    @property
    def fingerprint(self) -> str:
        """As OpenSSH shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def signs_as(self, algorithm: bytes) -> bool:
        """Whether it makes signatures of an algorithm."""
        return algorithm in _RSA if self.kind == b"ssh-rsa" else algorithm == self.kind

    def verify(
        self, algorithm: bytes, signature: bytes, signed: bytes, *, touched: bool = True, verified: bool = False
    ) -> bool:
        """Whether a signature is this key's.

        :param algorithm: what it must be of.
        :param touched: whether somebody must have touched the token.
        :param verified: whether the token must have known who, by a PIN or a finger.
        """
        fields = Octets(signature)
        try:
            if not self.signs_as(algorithm) or fields.string() != algorithm:
                return False
            made = fields.string()
            if self._application is not None:
                flags, counter = fields.byte(), fields.uint32()
                if (touched and not flags & _TOUCHED) or (verified and not flags & _VERIFIED):
                    return False
                signed = b"".join(
                    (
                        hashlib.sha256(self._application).digest(),
                        bytes((flags,)),
                        counter.to_bytes(4, "big"),
                        hashlib.sha256(signed).digest(),
                    )
                )
            fields.end()
            self._check(made, signed, algorithm)
        except (InvalidSignature, MalformedError):
            return False
        return True


def read(blob: bytes) -> PublicKey:
    """The key that is sent so.

    :raises ValueError: it is none, or none that is taken; in words.
    """
    fields = Octets(blob)
    kind = fields.string()
    application = None
    if kind in {b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"}:
        check = _ed25519(fields)
    elif kind in {b"ecdsa-sha2-" + curve for curve in _CURVES} or kind == b"sk-ecdsa-sha2-nistp256@openssh.com":
        check = _ecdsa(fields, kind)
    elif kind == b"ssh-rsa":
        check = _rsa(fields)
    else:
        raise ValueError(f"keys of the kind {kind.decode('ascii', 'backslashreplace')} are not taken")
    if kind.startswith(b"sk-"):
        application = fields.string()
    fields.end()
    return PublicKey(kind, blob, check, application)


def _ed25519(fields: Octets) -> _Check:
    key = ed25519.Ed25519PublicKey.from_public_bytes(fields.string())
    return lambda made, signed, _: key.verify(made, signed)


def _ecdsa(fields: Octets, kind: bytes) -> _Check:
    name = fields.string()
    if name not in _CURVES or not kind.removesuffix(b"@openssh.com").endswith(name):
        raise MalformedError("a key on another curve than it says")
    curve, digest = _CURVES[name]
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, fields.string())

    def check(made: bytes, signed: bytes, _: bytes) -> None:
        pair = Octets(made)
        encoded = encode_dss_signature(pair.mpint(), pair.mpint())
        pair.end()
        key.verify(encoded, signed, ec.ECDSA(digest))

    return check


def _rsa(fields: Octets) -> _Check:
    exponent, modulus = fields.mpint(), fields.mpint()
    if not LEAST_RSA <= modulus.bit_length() <= MOST_RSA:
        raise ValueError(f"RSA keys have {LEAST_RSA} to {MOST_RSA} bits, not {modulus.bit_length()}")
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return lambda made, signed, algorithm: key.verify(made, signed, padding.PKCS1v15(), _RSA[algorithm])
