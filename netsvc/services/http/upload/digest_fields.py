"""Reads the fields that say what octets a message has: Repr-Digest, Content-Digest (RFC 9530). No I/O.

    Repr-Digest: sha-256=:4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=:       a Dictionary of RFC 9651
    Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==                                    RFC 1864, which old clients still send

A file is stored as it came, so its content is its representation and both fields say the same. An algorithm that is not
known here is passed over, as RFC 9530 2 allows; where a field is malformed, the peer would be wrong to rely on it: 400.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error

from netsvc.services.http.exchange import RequestHead

LENGTHS = {"sha-256": 32, "sha-512": 64}  # octets; the active algorithms of RFC 9530 5
MD5 = "md5"

# A member of a Dictionary: a key, then a byte sequence, or whatever else another algorithm has; parameters.
_MEMBER = re.compile(
    rb'[ \t]*([a-z*][a-z0-9_.*-]*)(?:=(?::([A-Za-z0-9+/=]*):|"(?:[^"\\]|\\.)*"|[^ \t,;:"]*))?(?:;[^,]*)?[ \t]*(,|\Z)'
)


class MalformedError(ValueError):
    """A field cannot be read.

    :param reason: one phrase for the peer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _octets(value: bytes, length: int, name: str) -> bytes:
    try:
        found = b64decode(value, validate=True)
    except Base64Error:
        found = b""
    if len(found) != length:
        raise MalformedError(f"{name} has no digest of {length} octets in base64")
    return found


def parse_digests(values: list[bytes], name: str) -> dict[str, bytes]:
    """The digests of a field, by those algorithms of it that are known here.

    :param values: of all its lines.
    :param name: of the field, for the reason.
    :raises MalformedError: it is no such field.
    """
    found: dict[str, bytes] = {}
    text = b",".join(values)
    at = 0
    while at < len(text):
        member = _MEMBER.match(text, at)
        if member is None:
            raise MalformedError(f"{name} is malformed")
        algorithm = member[1].decode("ascii")
        if algorithm in LENGTHS:
            found[algorithm] = _octets(member[2] or b"", LENGTHS[algorithm], name)
        at = member.end()
        if member[3] and at == len(text):
            raise MalformedError(f"{name} is malformed")
    return found


def promised(head: RequestHead) -> dict[str, bytes]:
    """What a peer says that the octets of its file digest to: by algorithm, sha-256, sha-512 and md5.

    :raises MalformedError: it says so in no way that can be read, or two different things.
    """
    found: dict[str, bytes] = {}
    for name in ("Repr-Digest", "Content-Digest"):
        values = head.all(name.lower().encode("ascii"))
        for algorithm, digest in parse_digests(values, name).items() if values else ():
            if found.setdefault(algorithm, digest) != digest:
                raise MalformedError("Repr-Digest and Content-Digest differ, and all of the file was to come")
    values = head.all(b"content-md5")
    if values:
        found[MD5] = _octets(values[0], 16, "Content-MD5")
    return found
