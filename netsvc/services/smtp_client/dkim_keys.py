"""The keys that sign mail: lines of ``DOMAIN SELECTOR SECRET``, read when the configuration is. No Twisted."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from attrs import field, frozen

from netsvc.config.options import Context, ValueType
from netsvc.config.secrets import Secret, secret
from netsvc.errors import BadValue, together
from netsvc.services.smtp_client.domains import a_labels

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MIN_RSA = 1024  # bits, RFC 8301 3.2

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_SELECTOR = re.compile(rf"(?=.{{1,128}}\Z){_LABEL}(?:\.{_LABEL})*")
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+")


@frozen
class DkimKey:
    """One line of the option: who signs with what. Two lines for one domain sign twice.

    :param domain: d=, in lower case and A-labels; signs mail from it and from the domains below it.
    :param selector: s=.
    :param secret: PEM (PKCS #8 or PKCS #1), or the 32 octets of an Ed25519 seed in base64.
    """

    domain: str
    selector: str
    secret: Secret
    _key: RSAPrivateKey | Ed25519PrivateKey = field(init=False, eq=False, repr=False)

    @_key.default
    def _load(self) -> RSAPrivateKey | Ed25519PrivateKey:
        return _private_key(self.secret.reveal())

    def __reduce__(self) -> tuple[type[DkimKey], tuple[str, str, Secret]]:
        """A key is pickled, for a delivery agent, as what it was read from."""
        return DkimKey, (self.domain, self.selector, self.secret)

    @property
    def algorithm(self) -> str:
        """a= of the signatures."""
        return "rsa-sha256" if hasattr(self._key, "key_size") else "ed25519-sha256"

    def sign(self, octets: bytes) -> bytes:
        """The signature of the hashed header fields."""
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - netsvc mail send must start at once
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415

        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(hashlib.sha256(octets).digest())  # RFC 8463 3: of the hash, not of the text
        return self._key.sign(octets, PKCS1v15(), hashes.SHA256())


def _private_key(text: str) -> RSAPrivateKey | Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - netsvc mail send must start at once
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        if not text.lstrip().startswith("-----"):
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True))
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The error's own words are left out: they may show the key.
        raise BadValue("the key is neither PEM without a password nor an Ed25519 seed in base64") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if not isinstance(key, RSAPrivateKey):
        raise BadValue("the key is neither RSA nor Ed25519")
    if key.key_size < MIN_RSA:
        raise BadValue(f"an RSA key has {MIN_RSA} bits at least (RFC 8301); this one has {key.key_size}")
    return key


def dkim_keys() -> ValueType[tuple[DkimKey, ...]]:
    """Lines of ``DOMAIN SELECTOR SECRET``; two lines for one domain (RSA and Ed25519) sign twice."""
    reference = secret()

    def one(text: str, context: Context) -> DkimKey:
        words = text.split()
        if len(words) != 3:
            # Not repeated: a word too many may be a piece of the key.
            raise BadValue("a line is DOMAIN SELECTOR SECRET, such as example.com mail credential:dkim")
        try:
            domain = a_labels(words[0]).lower()
        except ValueError:
            domain = ""
        if not _DOMAIN.fullmatch(domain):
            raise BadValue(f"{words[0]!r} is no domain")
        if not _SELECTOR.fullmatch(words[1]):
            raise BadValue(f"{words[1]!r} is no selector", at=text.index(words[1], len(words[0])))
        try:
            value = reference.parse(words[2], context)
            assert value is not None  # noqa: S101 - a reference that was parsed names a secret
            return DkimKey(domain, words[1], value)
        except BadValue as bad:
            raise BadValue(bad.message, at=text.rindex(words[2])) from None

    def parse(text: str, context: Context) -> tuple[DkimKey, ...]:
        found: list[DkimKey] = []
        wrong: list[BadValue] = []
        for match in re.finditer(r"[^\n]+", text):
            try:
                key = one(match[0].strip(), context)
                if any((key.domain, key.selector) == (other.domain, other.selector) for other in found):
                    raise BadValue(f"{key.domain} has a key for the selector {key.selector!r} already")
                found.append(key)
            except BadValue as bad:
                indent = len(match[0]) - len(match[0].lstrip())
                wrong.append(BadValue(bad.message, at=match.start() + indent + bad.at))
        if wrong:
            raise together(wrong)
        return tuple(found)

    def show(keys: tuple[DkimKey, ...]) -> str:
        return "\n".join(f"{one.domain} {one.selector} {one.secret.reference}" for one in keys)

    return ValueType(name="keys", bounds="lines of DOMAIN SELECTOR SECRET", parse=parse, show=show, multiline=True)
