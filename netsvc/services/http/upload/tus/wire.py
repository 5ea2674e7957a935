"""Reads and writes the header fields of tus 1.0. No I/O, no Twisted.

Upload-Length, Upload-Offset = 1*DIGIT
Upload-Metadata              = [ pair *( "," pair ) ]      pair = key [ SP base64 ]
Upload-Checksum              = algorithm SP base64
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NoBase64Error

from attrs import frozen

from netsvc.services.http.answer import http_date
from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.upload.checksum import Checksum

VERSION = b"1.0.0"
ALGORITHMS = ("sha1", "sha256", "sha512")  # names of hashlib; sha1 is the one that every server has
EXTENSIONS = (
    b"creation",
    b"creation-with-upload",
    b"creation-defer-length",
    b"checksum",
    b"expiration",
    b"termination",
)
CHUNK = b"application/offset+octet-stream"
CHECKSUM_MISMATCH = 460  # of the checksum extension; its phrase is "Checksum Mismatch"
LONGEST = (1 << 63) - 1  # octets that a file can have
LONGEST_METADATA = 8192  # octets of the field

_DIGITS = re.compile(rb"[0-9]+")
_KEY = re.compile(rb"[!-+\--~]+")  # visible ASCII but for the comma

RESUMABLE = (b"Tus-Resumable", VERSION)
NO_STORE = (b"Cache-Control", b"no-store")


class FieldError(Exception):
    """A field is missing or says what cannot be.

    :param reason: one phrase for the peer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


@frozen(kw_only=True)
class Creation:
    """A request for an upload.

    :param length: octets that it will have; None when they are told later.
    :param metadata: Upload-Metadata as it came, to be given back.
    :param filename: what the file is to be called, not checked; "" when nothing says it.
    :param with_body: whether the body of the request is the upload's beginning.
    """

    length: int | None
    metadata: str
    filename: str
    with_body: bool
    checksum: Checksum | None


@frozen(kw_only=True)
class Chunk:
    """A request that goes on with an upload.

    :param length: octets that the whole upload will have, where this request says so.
    """

    offset: int
    length: int | None
    checksum: Checksum | None


def method_of(head: RequestHead) -> str:
    """The method; another one may stand in a field, for clients that have no PATCH or DELETE."""
    other = head.first(b"x-http-method-override")
    return head.method if other is None else other.decode("latin-1").upper()


def number(value: bytes) -> int:
    """A count of octets.

    :raises FieldError: 400 for what is none; 413 for more than a file can have.
    """
    if not _DIGITS.fullmatch(value):
        raise FieldError(400, "not a number of octets")
    digits = value.lstrip(b"0")
    if len(digits) > 19 or int(digits or b"0") > LONGEST:
        raise FieldError(413, "no file is so long")
    return int(digits or b"0")


def parse_metadata(value: bytes) -> dict[str, bytes]:
    """Pairs of Upload-Metadata.

    :raises FieldError: 400.
    """
    if len(value) > LONGEST_METADATA:
        raise FieldError(400, f"Upload-Metadata is longer than {LONGEST_METADATA} octets")
    found: dict[str, bytes] = {}
    if not value:  # some clients send the field with nothing in it
        return found
    for pair in value.split(b","):
        key, _, encoded = pair.strip(b" \t").partition(b" ")
        if not _KEY.fullmatch(key):
            raise FieldError(400, "a key of Upload-Metadata is not visible ASCII")
        name = key.decode("ascii")
        if name in found:
            raise FieldError(400, "a key of Upload-Metadata stands there twice")
        found[name] = _base64(encoded, "a value of Upload-Metadata")
    return found


def parse_checksum(value: bytes) -> Checksum:
    """Upload-Checksum.

    :raises FieldError: 400, for an algorithm that is not known here, too.
    """
    name, _, encoded = value.partition(b" ")
    algorithm = name.decode("latin-1").lower()
    if algorithm not in ALGORITHMS:
        raise FieldError(400, "Upload-Checksum has an unknown algorithm")
    digest = _base64(encoded, "Upload-Checksum")
    if len(digest) != {"sha1": 20, "sha256": 32, "sha512": 64}[algorithm]:
        raise FieldError(400, "Upload-Checksum has not the length of its algorithm")
    return Checksum(algorithm, digest)


def read_creation(head: RequestHead) -> Creation:
    """What a POST asks for.

    :raises FieldError: 400, 413 or 415.
    """
    length, deferred = _one(head, b"upload-length"), _one(head, b"upload-defer-length")
    if deferred not in (None, b"1"):
        raise FieldError(400, "Upload-Defer-Length can only be 1")
    if (length is None) == (deferred is None):
        raise FieldError(400, "one of Upload-Length and Upload-Defer-Length is needed")
    if _one(head, b"upload-concat") is not None:
        raise FieldError(400, "uploads are not joined here")
    metadata = b",".join(head.all(b"upload-metadata"))
    pairs = parse_metadata(metadata)
    try:
        filename = (pairs.get("filename") or pairs.get("name") or b"").decode("utf-8")
    except UnicodeDecodeError:
        raise FieldError(400, "the filename is not UTF-8") from None
    checksum = _one(head, b"upload-checksum")
    return Creation(
        length=None if length is None else number(length),
        metadata=metadata.decode("ascii"),
        filename=filename,
        with_body=_media_type(head) == CHUNK,
        checksum=None if checksum is None else parse_checksum(checksum),
    )


def read_chunk(head: RequestHead) -> Chunk:
    """What a PATCH brings.

    :raises FieldError: 400, 413 or 415.
    """
    if _media_type(head) != CHUNK:
        raise FieldError(415, f"the Content-Type of a PATCH is {CHUNK.decode('ascii')}")
    offset, length, checksum = (_one(head, name) for name in (b"upload-offset", b"upload-length", b"upload-checksum"))
    if offset is None:
        raise FieldError(400, "Upload-Offset is missing")
    return Chunk(
        offset=number(offset),
        length=None if length is None else number(length),
        checksum=None if checksum is None else parse_checksum(checksum),
    )


def state(*, offset: int, length: int | None, metadata: str = "") -> Headers:
    """The fields that tell where an upload stands."""
    fields = [(b"Upload-Offset", b"%d" % offset)]
    if length is None:
        fields.append((b"Upload-Defer-Length", b"1"))
    else:
        fields.append((b"Upload-Length", b"%d" % length))
    if metadata:
        fields.append((b"Upload-Metadata", metadata.encode("ascii")))
    return tuple(fields)


def expires(seconds: float) -> Headers:
    """The field that tells when an unfinished upload is forgotten.

    :param seconds: since the epoch.
    """
    return ((b"Upload-Expires", http_date(seconds)),)


def offered(max_size: int | None) -> Headers:
    """What OPTIONS tells.

    :param max_size: octets that a file may have; None for any.
    """
    fields = (
        RESUMABLE,
        (b"Tus-Version", VERSION),
        (b"Tus-Extension", b",".join(EXTENSIONS)),
        (b"Tus-Checksum-Algorithm", ",".join(ALGORITHMS).encode("ascii")),
    )
    return fields if max_size is None else (*fields, (b"Tus-Max-Size", b"%d" % max_size))


def _one(head: RequestHead, name: bytes) -> bytes | None:
    values = head.all(name)
    if len(values) > 1:
        raise FieldError(400, f"{name.decode('ascii')} stands there twice")
    return values[0] if values else None


def _media_type(head: RequestHead) -> bytes:
    return (head.first(b"content-type") or b"").partition(b";")[0].strip(b" \t").lower()


def _base64(encoded: bytes, what: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except NoBase64Error:
        raise FieldError(400, f"{what} is not base64") from None
