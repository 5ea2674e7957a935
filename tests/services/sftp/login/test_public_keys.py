"""PublicKey: signatures of every kind of key, FIDO tokens included, and what must not pass for one."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp.login.public_keys import PublicKey, read
from netsvc.services.sftp.ssh.octets import string

SIGNED = b"a session and a request"
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
APPLICATION = b"ssh:"


def mpint(number: int) -> bytes:
    """A positive integer as SSH has it."""
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def read_ed25519() -> PublicKey:
    """The public half of ED25519."""
    return read(string(b"ssh-ed25519") + string(ED25519.public_key().public_bytes_raw()))


def read_rsa() -> PublicKey:
    """The public half of RSA."""
    numbers = RSA.public_key().public_numbers()
    return read(string(b"ssh-rsa") + mpint(numbers.e) + mpint(numbers.n))


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public point."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def of_ecdsa(key: ec.EllipticCurvePrivateKey, digest: Any, signed: bytes) -> bytes:
    """A signature as SSH has it."""
    return string(b"".join(map(mpint, decode_dss_signature(key.sign(signed, ec.ECDSA(digest))))))


def on_token(flags: int, signed: bytes = SIGNED) -> bytes:
    """What a token signs (PROTOCOL.u2f)."""
    counter = (77).to_bytes(4, "big")
    return hashlib.sha256(APPLICATION).digest() + bytes((flags,)) + counter + hashlib.sha256(signed).digest()


def behind(flags: int) -> bytes:
    """What stands behind a token's signature."""
    return bytes((flags,)) + (77).to_bytes(4, "big")


class PublicKeyTests(SynchronousTestCase):
    def test_ed25519(self) -> None:
        """An ed25519 key knows its own signature, of these octets only."""
        key = read_ed25519()
        made = string(b"ssh-ed25519") + string(ED25519.sign(SIGNED))
        self.assertTrue(key.verify(b"ssh-ed25519", made, SIGNED))
        self.assertFalse(key.verify(b"ssh-ed25519", made, SIGNED + b"x"))
        self.assertFalse(key.verify(b"ssh-ed25519", made + b"x", SIGNED))
        self.assertFalse(key.verify(b"rsa-sha2-256", made, SIGNED))

    def test_rsa(self) -> None:
        """An RSA key signs with SHA-256 and SHA-512, never with SHA-1; the algorithm is the one that was announced."""
        key = read_rsa()
        for name, digest in ((b"rsa-sha2-256", hashes.SHA256()), (b"rsa-sha2-512", hashes.SHA512())):
            made = string(name) + string(RSA.sign(SIGNED, padding.PKCS1v15(), digest))
            self.assertTrue(key.verify(name, made, SIGNED))
            other = b"rsa-sha2-512" if name == b"rsa-sha2-256" else b"rsa-sha2-256"
            self.assertFalse(key.verify(other, made, SIGNED))
            self.assertFalse(key.verify(name, string(other) + made[4 + len(name) :], SIGNED))
        old = string(b"ssh-rsa") + string(RSA.sign(SIGNED, padding.PKCS1v15(), hashes.SHA1()))
        self.assertFalse(key.verify(b"ssh-rsa", old, SIGNED))

    def test_ecdsa(self) -> None:
        """ECDSA keys on each of the three curves."""
        for curve, name, digest in (
            (ec.SECP256R1(), b"nistp256", hashes.SHA256()),
            (ec.SECP384R1(), b"nistp384", hashes.SHA384()),
            (ec.SECP521R1(), b"nistp521", hashes.SHA512()),
        ):
            private = ec.generate_private_key(curve)
            kind = b"ecdsa-sha2-" + name
            key = read(string(kind) + string(name) + string(point(private)))
            made = string(kind) + of_ecdsa(private, digest, SIGNED)
            self.assertTrue(key.verify(kind, made, SIGNED))
            self.assertFalse(key.verify(kind, made, b"else"))

    def test_tokens(self) -> None:
        """A FIDO key must have been touched, unless its line says otherwise; verified, if it says so."""
        private = ec.generate_private_key(ec.SECP256R1())
        kinds = {
            b"sk-ssh-ed25519@openssh.com": (
                string(ED25519.public_key().public_bytes_raw()),
                lambda signed: string(ED25519.sign(signed)),
            ),
            b"sk-ecdsa-sha2-nistp256@openssh.com": (
                string(b"nistp256") + string(point(private)),
                lambda signed: of_ecdsa(private, hashes.SHA256(), signed),
            ),
        }
        for kind, (public, sign) in kinds.items():
            key = read(string(kind) + public + string(APPLICATION))
            for flags, touched, verified, passes in (
                (1, True, False, True),
                (5, True, True, True),
                (0, True, False, False),
                (0, False, False, True),
                (1, True, True, False),
            ):
                made = string(kind) + sign(on_token(flags)) + behind(flags)
                self.assertEqual(key.verify(kind, made, SIGNED, touched=touched, verified=verified), passes, kind)
            forged = string(kind) + sign(on_token(0)) + behind(1)
            self.assertFalse(key.verify(kind, forged, SIGNED))
            self.assertFalse(key.verify(kind, string(kind) + sign(SIGNED), SIGNED))

    def test_damaged(self) -> None:
        """What is no key is refused as ValueError, in words."""
        for blob in (
            b"",
            string(b"ssh-ed25519") + string(b"short"),
            string(b"ssh-ed25519") + string(bytes(32)) + b"more",
            string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(b"\4" + bytes(96)),
            string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(b"\4" + bytes(64)),
            string(b"ssh-rsa") + mpint(65537) + string(b"\x80" * 256),
            string(b"ssh-rsa") + mpint(2) + mpint(1 << 2047),
        ):
            with self.assertRaises(ValueError):
                read(blob)

    def test_fingerprint(self) -> None:
        """As ssh-keygen -l shows it."""
        self.assertRegex(read_ed25519().fingerprint, r"\ASHA256:[A-Za-z0-9+/]{43}\Z")

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_nonsense(self, made: bytes) -> None:
        """Whatever comes as a signature, it is none."""
        for key, name in ((read_ed25519(), b"ssh-ed25519"), (read_rsa(), b"rsa-sha2-256")):
            self.assertFalse(key.verify(name, made, SIGNED))
            self.assertFalse(key.verify(name, string(name) + string(made), SIGNED))
