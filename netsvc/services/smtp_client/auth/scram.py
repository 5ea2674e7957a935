"""SCRAM-SHA-256 (RFC 5802, RFC 7677): the password does not cross the wire, and the server proves that it knows it.

No channel binding. No I/O, no Twisted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth.mechanism import AuthError, Mechanism
from netsvc.services.smtp_client.auth.saslprep import saslprep

MIN_ITERATIONS = 4096  # RFC 7677 4; fewer would make what we send easy to break
MAX_ITERATIONS = 200_000  # ours: about 0.1 s, in which the reactor does nothing else

# RFC 5802 7: server-first-message; extensions may follow, mandatory ones ("m=") come first and are not known here
_FIRST = re.compile(r"r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,8})(?:,.*)?\Z", re.DOTALL)
_FINAL = re.compile(r"v=([A-Za-z0-9+/=]+)(?:,.*)?\Z", re.DOTALL)


def saslname(name: str) -> str:
    """A name as SCRAM and GS2 write it (RFC 5802 5.1)."""
    return name.replace("=", "=3D").replace(",", "=2C")


def _prepared(text: str) -> str:
    try:
        return saslprep(text)
    except ValueError as error:
        raise AuthError(f"the name or the password holds {error}") from None


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise AuthError("the server's message is not UTF-8") from None


class ScramSha256(Mechanism):
    """One login.

    :param nonce: printable ASCII without commas, never used before.
    """

    name = "SCRAM-SHA-256"

    def __init__(self, username: str, password: Secret, nonce: str | None = None) -> None:
        self._password = password
        self._nonce = nonce or secrets.token_urlsafe(24)
        self._bare = f"n={saslname(_prepared(username))},r={self._nonce}"
        self._expected: bytes | None = None  # the server's signature
        self._proved = False
        super().__init__(lambda _: b"n,," + self._bare.encode(), self._final, self._check)

    def _final(self, challenge: bytes) -> bytes:
        first = _text(challenge)
        match = _FIRST.match(first)
        if match is None:
            raise AuthError("the server's first message is none of RFC 5802")
        nonce, encoded_salt, count = match[1], match[2], int(match[3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise AuthError("the server did not answer to our nonce with its own")
        if not MIN_ITERATIONS <= count <= MAX_ITERATIONS:
            raise AuthError(f"the server wants {count} iterations, not {MIN_ITERATIONS} to {MAX_ITERATIONS}")
        try:
            salt = base64.b64decode(encoded_salt, validate=True)
        except binascii.Error:
            raise AuthError("the server's salt is not base64") from None
        salted = hashlib.pbkdf2_hmac("sha256", _prepared(self._password.reveal()).encode(), salt, count)
        without_proof = f"c={base64.b64encode(b'n,,').decode()},r={nonce}"
        signed = f"{self._bare},{first},{without_proof}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        self._expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def _check(self, challenge: bytes) -> bytes:
        match = _FINAL.match(_text(challenge))
        if match is None:
            raise AuthError("the server refused the proof")  # e=..., RFC 5802 7
        try:
            signature = base64.b64decode(match[1], validate=True)
        except binascii.Error:
            signature = b""
        if self._expected is None or not hmac.compare_digest(signature, self._expected):
            raise AuthError("the server's signature is wrong: it does not know the password")
        self._proved = True
        return b""

    def succeeded(self) -> None:
        """AuthError when the server let us in without having proved that it knows the password."""
        if not self._proved:
            raise AuthError("the server did not prove that it knows the password")
