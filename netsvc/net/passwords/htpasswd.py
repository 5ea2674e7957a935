"""The htpasswd file: users and hashes of their passwords, as Apache has it, but modern hashes only. No Twisted.

    alice:$2y$12$...                                   bcrypt: $2a$, $2b$ and $2y$ are one and the same here
    bob:$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH       RFC 9106, in the PHC string format
    # a comment, or an empty line; what stands behind a second colon is ignored

Other schemes are broken (crypt, SHA1, plain text) or too fast (MD5): a file that has one is refused as a whole, by the
number of its line. A fault never shows a hash.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

LONGEST_FILE = 4 << 20  # octets; 50,000 users
LONGEST_PASSWORD = 1024  # octets of UTF-8
BCRYPT_OCTETS = 72  # of a password; bcrypt knows no more of it, and Apache cuts it there without a word
BCRYPT_COST = 12  # 0.2 s in 2026; OWASP wants 10 at least
MOST_BCRYPT_COST = 16  # some seconds; each step doubles it, and a thread is held that long
MOST_ARGON2_MEMORY = 1 << 18  # KiB, so 256 MiB
MOST_ARGON2_WORK = 1 << 21  # KiB times passes: some seconds

_BCRYPT = re.compile(r"\$2[aby]\$([0-3][0-9])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")  # 22: two bits only
_ARGON2 = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172}"
)
_REFUSED = (
    ("$apr1$", "MD5 (apr1)"),
    ("{SHA}", "SHA1"),
    ("$1$", "crypt (MD5)"),
    ("$5$", "crypt (SHA-256)"),
    ("$6$", "crypt (SHA-512)"),
    ("$y$", "crypt (yescrypt)"),
    ("$argon2", "another argon2 than argon2id of version 19"),
    ("$2", "a damaged bcrypt hash"),
)

# Of nothing that anybody knows: what is checked against where a file has no users, so that the time tells nothing.
STAND_IN = "$2b$12$zzzzzzzzzzzzzzzzzzzzzuzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"


class HtpasswdError(ValueError):
    """A file is not as it should be. Its text has the number of the line, and nothing of a hash."""


def _fault_of_hash(text: str) -> str | None:
    """What is wrong with a hash, in words without it; None when it is good."""
    if found := _BCRYPT.fullmatch(text):
        if not 4 <= int(found[1]) <= MOST_BCRYPT_COST:
            return f"bcrypt of cost {found[1]}, which is not within 4 to {MOST_BCRYPT_COST}"
        return None
    if found := _ARGON2.fullmatch(text):
        memory, passes, lanes = map(int, found.groups())
        if not (8 * lanes <= memory <= MOST_ARGON2_MEMORY and passes and lanes):
            return f"argon2 with more memory than {MOST_ARGON2_MEMORY} KiB, or senseless numbers"
        if memory * passes > MOST_ARGON2_WORK:
            return "argon2 with so many passes that it takes too long"
        return None
    scheme = next((name for start, name in _REFUSED if text.startswith(start)), "crypt or a plain password")
    return f"{scheme}; only bcrypt and argon2id are taken"


def normal(name: str) -> str:
    """A name or password as it is compared (RFC 7617 2.1, RFC 8265: NFC)."""
    return unicodedata.normalize("NFC", name)


def is_name(name: str) -> bool:
    """Whether a user may be called so."""
    return bool(name) and ":" not in name and name.isprintable() and name == name.strip() and name[0] != "#"


def parse(octets: bytes) -> dict[str, str]:
    """The users of a file and their hashes.

    :raises HtpasswdError: anything in it is wrong.
    """
    if len(octets) > LONGEST_FILE:
        raise HtpasswdError(f"it has more than {LONGEST_FILE >> 20} MiB")
    found: dict[str, str] = {}
    for number, line in enumerate(octets.split(b"\n"), 1):
        try:
            text = line.rstrip(b"\r").decode()
        except UnicodeDecodeError:
            raise HtpasswdError(f"line {number} is not UTF-8") from None
        if not text.strip() or text.startswith("#"):
            continue
        name, colon, rest = text.partition(":")
        if not colon or not is_name(name):
            raise HtpasswdError(f"line {number} does not begin with a name and a colon")
        name = normal(name)
        if name in found:
            raise HtpasswdError(f"line {number} has a user who was there before")
        hashed = rest.partition(":")[0].rstrip()
        fault = _fault_of_hash(hashed)
        if fault is not None:
            raise HtpasswdError(f"line {number} has {fault}")
        found[name] = hashed
    return found


def check(hashed: str, password: str) -> bool:
    """Whether a password has this hash. Slow by design: call it in a thread.

    :param hashed: one that :func:`parse` let pass.
    """
    octets = normal(password).encode()
    if hashed.startswith("$argon2id$"):
        try:
            return bool(PasswordHasher().verify(hashed, octets))
        except VerificationError:
            return False
    return bcrypt.checkpw(octets[:BCRYPT_OCTETS], hashed.encode())


def make(password: str, scheme: str) -> str:
    """A new hash.

    :param scheme: "bcrypt" or "argon2".
    :raises ValueError: the password cannot be one, in words.
    """
    octets = normal(password).encode()
    if not octets or len(octets) > LONGEST_PASSWORD or any(one < 0x20 or one == 0x7F for one in octets):
        raise ValueError(f"a password has 1 to {LONGEST_PASSWORD} octets and no control characters")
    if scheme == "argon2":
        return PasswordHasher().hash(octets)
    if len(octets) > BCRYPT_OCTETS:
        raise ValueError(f"bcrypt knows no more than {BCRYPT_OCTETS} octets of a password; use --argon2")
    return bcrypt.hashpw(octets, bcrypt.gensalt(BCRYPT_COST)).decode()


def with_user(octets: bytes, name: str, hashed: str | None) -> bytes:
    """The octets of a file in which one user has another hash, or none; all other lines stay as they are.

    :param name: in NFC.
    """
    lines = octets.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    fresh = None if hashed is None else f"{name}:{hashed}".encode()
    found: list[bytes] = []
    for line in lines:
        theirs = line.partition(b":")[0].decode("utf-8", "surrogateescape")
        if line.startswith(b"#") or normal(theirs) != name:
            found.append(line)
        elif fresh is not None:
            found.append(fresh)
            fresh = None
    if fresh is not None:
        found.append(fresh)
    return b"".join(line + b"\n" for line in found)


def stand_in(users: Mapping[str, str], chosen: int) -> str:
    """What to check an unknown user's password against: as costly as a known one's.

    :param chosen: any number; the same for the same name.
    """
    if not users:
        return STAND_IN
    hashes = tuple(users.values())
    return hashes[chosen % len(hashes)]
