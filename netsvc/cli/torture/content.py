"""Tells messages apart by what they hold: the digest of a body, whatever coding it crossed the network in. No I/O."""

from __future__ import annotations

import binascii
import hashlib
import re

from netsvc.cli.torture.terms import MARK

_FIELD = rb"(?im)^%b[ \t]*:[ \t]*([^\r\n]*)"
_MARK = re.compile(_FIELD % MARK)
_CODING = re.compile(_FIELD % b"Content-Transfer-Encoding")


def digest(content: bytes) -> str:
    """The SHA-256 of a message's body, decoded (RFC 2045 6) and with LF line ends: what must survive."""
    head, body = _split(content)
    found = _CODING.search(head)
    coding = found[1].strip().lower() if found else b""
    if coding == b"base64":
        body = binascii.a2b_base64(body)
    elif coding == b"quoted-printable":
        body = binascii.a2b_qp(body)
    body = re.sub(rb"\r\n?", b"\n", body)
    if body and not body.endswith(b"\n"):
        body += b"\n"  # on the wire a message ends with a line end
    return hashlib.sha256(body).hexdigest()


def mark_of(content: bytes) -> str:
    """Which message it says it is; "" if it says nothing."""
    found = _MARK.search(_split(content)[0])
    return found[1].decode("ascii", "replace").strip() if found else ""


def _split(content: bytes) -> tuple[bytes, bytes]:
    match = re.search(rb"\r?\n\r?\n", content)
    return (content[: match.start()], content[match.end() :]) if match else (content, b"")
