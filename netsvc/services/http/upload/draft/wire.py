"""Reads and writes the header fields and problems of draft-ietf-httpbis-resumable-upload. No I/O, no Twisted.

Two versions of it are spoken, told apart by Upload-Draft-Interop-Version: 8, that of the drafts since -09, and 6, that
of -04 and -05, which older clients send. They differ in the name of one limit, and in what is said of finished uploads.

    Upload-Complete              = sf-boolean        RFC 9651 3.3.6
    Upload-Offset, Upload-Length = sf-integer, >= 0  RFC 9651 3.3.1
    Upload-Limit                 = sf-dictionary     RFC 9651 3.2

A field with any other value is ignored as a whole, as the draft wants it; so is one that comes twice.
"""

from __future__ import annotations

import json
import re

from attrs import frozen

from netsvc.services.http.exchange import Headers, RequestHead

VERSIONS = (8, 6)
RESUMPTION_SUPPORTED = 104
PHRASE = "Upload Resumption Supported"
PARTIAL = b"application/partial-upload"
PROBLEM = b"application/problem+json"
NO_STORE = (b"Cache-Control", b"no-store")

_TYPES = "https://iana.org/assignments/http-problem-types#"
_KEY = rb"[a-z*][a-z0-9_.*-]*"
_BARE = (  # an integer or decimal, string, token, byte sequence or boolean, RFC 9651 3.3
    rb"-?[0-9]{1,15}(?:\.[0-9]{1,3})?"
    rb'|"(?:[ !#-\[\]-~]|\\["\\])*+"'
    rb"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+"
    rb"|:[A-Za-z0-9+/=]*+:"
    rb"|\?[01]"
)
_PARAMETERS = rb"(?:; *%s(?:=(?:%s))?)*+" % (_KEY, _BARE)
_INTEGER = re.compile(rb" *([0-9]{1,15})%s *" % _PARAMETERS)
_BOOLEAN = re.compile(rb" *\?([01])%s *" % _PARAMETERS)


@frozen(kw_only=True)
class Part:
    """What a request that brings octets says of them.

    :param version: one of VERSIONS.
    :param complete: whether the upload ends with this request.
    :param offset: where the peer believes that the upload stands; None when it does not say.
    :param length: octets that the whole upload will have; None when that is not said.
    """

    version: int
    complete: bool
    offset: int | None
    length: int | None


class InconsistentError(Exception):
    """Two lengths are said, and they differ."""


def version_of(head: RequestHead) -> int | None:
    """The version of the draft that a request is of, or None: of none that is spoken here."""
    found = _integer(head, b"upload-draft-interop-version")
    return found if found in VERSIONS else None


def completeness(head: RequestHead) -> bool | None:
    """Upload-Complete, or None when there is none."""
    values = head.all(b"upload-complete")
    match = _BOOLEAN.fullmatch(values[0]) if len(values) == 1 else None
    return None if match is None else match[1] == b"1"


def read_part(head: RequestHead, version: int, *, complete: bool, body_length: int | None) -> Part:
    """What a request says.

    :param complete: its Upload-Complete.
    :param body_length: octets of its body; None when that is not known.
    :raises InconsistentError: the two ways of saying how long the upload will be differ.
    """
    offset, length = _integer(head, b"upload-offset"), _integer(head, b"upload-length")
    if complete and body_length is not None:
        sum_of_both = (offset or 0) + body_length
        if length is not None and length != sum_of_both:
            raise InconsistentError
        length = sum_of_both
    return Part(version=version, complete=complete, offset=offset, length=length)


def is_partial(head: RequestHead) -> bool:
    """Whether the body is of the media type that goes on with an upload."""
    return (head.first(b"content-type") or b"").partition(b";")[0].strip(b" \t").lower() == PARTIAL


def boolean(value: bool) -> bytes:
    """As a structured field."""
    return b"?1" if value else b"?0"


def complete_field(value: bool) -> tuple[bytes, bytes]:
    """Upload-Complete."""
    return b"Upload-Complete", boolean(value)


def offset_field(offset: int) -> tuple[bytes, bytes]:
    """Upload-Offset."""
    return b"Upload-Offset", b"%d" % offset


def limit_field(version: int, *, max_size: int | None, longest: int, age: float | None = None) -> tuple[bytes, bytes]:
    """Upload-Limit.

    :param max_size: octets that a file may have; None for any.
    :param longest: octets that a request may bring.
    :param age: seconds that the upload still lives; None before it is one.
    """
    limits = [] if max_size is None else [b"max-size=%d" % max_size]
    limits.append(b"max-append-size=%d" % longest)
    if age is not None:
        limits.append(b"%s=%d" % (b"expires" if version == 6 else b"max-age", max(age, 0)))
    return b"Upload-Limit", b", ".join(limits)


def version_field(version: int) -> tuple[bytes, bytes]:
    """Upload-Draft-Interop-Version."""
    return b"Upload-Draft-Interop-Version", b"%d" % version


def mismatching_offset(expected: int, provided: int) -> bytes:
    """A problem: the peer believes that the upload stands elsewhere."""
    return _problem(
        "mismatching-upload-offset",
        "The upload stands elsewhere",
        **{"expected-offset": expected, "provided-offset": provided},
    )


def inconsistent_length() -> bytes:
    """A problem: two lengths are said that differ."""
    return _problem("inconsistent-upload-length", "The lengths that were told for the upload differ")


def completed_upload() -> bytes:
    """A problem, of version 6 only: nothing can be added to an upload that is complete."""
    return _problem("completed-upload", "The upload is complete already")


def problem_headers() -> Headers:
    """The fields that any problem is sent with."""
    return (b"Content-Type", PROBLEM), (b"X-Content-Type-Options", b"nosniff")


def _problem(kind: str, title: str, **more: int) -> bytes:
    return json.dumps({"type": _TYPES + kind, "title": title, **more}).encode("ascii")


def _integer(head: RequestHead, name: bytes) -> int | None:
    values = head.all(name)
    match = _INTEGER.fullmatch(values[0]) if len(values) == 1 else None
    return None if match is None else int(match[1])
