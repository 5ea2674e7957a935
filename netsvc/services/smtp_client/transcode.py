"""Makes a message fit for the server at hand, or says why it cannot be. No I/O, no Twisted.

Examined: NUL, mail loops, lines over 998 octets, 8-bit octets in header and body. Mended, where nothing signed is
touched and no meaning is lost: header fields by RFC 2047 and folding, parts by quoted-printable or base64 (RFC 6152 3,
RFC 2045 6). Octets that need no mending stay as they are.
"""

from __future__ import annotations

import base64
import binascii
import re
from email import policy
from email.message import Message
from email.parser import BytesHeaderParser

from attrs import frozen

from netsvc.services.smtp_client import trace
from netsvc.services.smtp_client.encoded_words import NotExpressibleError, ascii_field
from netsvc.services.smtp_client.wire import canonical

MAX_LINE = 998  # octets without CRLF, RFC 5321 4.5.3.1.6, RFC 5322 2.1.1
MAX_RECEIVED = trace.MAX_RECEIVED + 1  # what was taken in has our own field on top
MAX_CONTENT_TYPE = 4096  # characters, ours: the library reads parameters in quadratic time
MAX_DEPTH = 32  # multiparts within each other, ours
BASE64_OCTETS = 57  # octets that make a line of 76 characters, RFC 2045 6.8

_FIELD = re.compile(rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_CTE = re.compile(rb"(?im)^content-transfer-encoding[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_RECEIVED = re.compile(rb"(?im)^received[ \t]*:")


class UnsendableError(Exception):
    """The message will never be sendable to this server.

    :param enhanced: the RFC 3463 status.
    :param reason: one sentence for people.
    """

    def __init__(self, enhanced: str, reason: str) -> None:
        super().__init__(reason)
        self.enhanced = enhanced
        self.reason = reason


@frozen
class Prepared:
    """A message that may be sent.

    :param content: the octets, with CR LF line ends.
    :param eight_bit: the body holds octets above 127: BODY=8BITMIME.
    :param utf8_header: the header holds octets above 127: SMTPUTF8.
    """

    content: bytes
    eight_bit: bool
    utf8_header: bool


def prepare(content: bytes, *, eight_bit_mime: bool, smtputf8: bool, is_canonical: bool = False) -> Prepared:
    """Check a message and mend it for a server that offers these extensions. UnsendableError when it cannot be.

    :param is_canonical: the line ends of its body are known to be CR LF.
    """
    if b"\0" in content:
        raise UnsendableError("5.6.0", "the message holds a NUL octet, which SMTP cannot carry (RFC 5321 4.5.2)")
    content = canonical(content, known=is_canonical)
    head, rest = _split(content)
    if len(_RECEIVED.findall(head)) > MAX_RECEIVED:
        raise UnsendableError("5.4.6", f"the message has more than {MAX_RECEIVED} Received fields: it is in a loop")
    utf8_header = not head.isascii()
    mended = head
    if utf8_header and not (smtputf8 and eight_bit_mime and _is_utf8(head)):
        mended, utf8_header = _mend_head(head), False
    if _has_long_line(mended):
        mended = _fold(mended)
    if mended is not head:
        content = mended + rest
    if _has_long_line(rest) or not (eight_bit_mime or rest.isascii()):
        content = _entity(content, eight_bit_mime, 0)
    return Prepared(content, not content.isascii(), utf8_header)


def _split(entity: bytes) -> tuple[bytes, bytes]:
    """Header with the CR LF of its last line; the rest with the empty line before it."""
    if not entity or entity.startswith(b"\r\n"):
        return b"", entity
    end = entity.find(b"\r\n\r\n")
    if end < 0:
        return (entity if entity.endswith(b"\r\n") else entity + b"\r\n"), b""
    return entity[: end + 2], entity[end + 2 :]


def _has_long_line(octets: bytes) -> bool:
    """Whether a line is over the limit. Reads by leaps: this runs on the reactor's thread over whole messages."""
    start, end = 0, len(octets)
    while end - start > MAX_LINE:
        last = octets.rfind(b"\n", start, start + MAX_LINE + 2)
        if last < 0:
            return True
        start = last + 1
    return False


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mend_head(head: bytes) -> bytes:
    """Header fields with RFC 2047 words instead of octets above 127."""
    return b"".join(field if field.isascii() else _encoded_field(field) for field in _FIELD.findall(head))


def _encoded_field(field: bytes) -> bytes:
    name, _, value = field.partition(b":")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")  # every octet has a meaning there; RFC 2047 needs some charset
    unfolded = text.replace("\r\n", "").strip(" \t")
    try:
        folded = ascii_field(name.rstrip(b" \t").decode("latin-1"), unfolded).encode("ascii")
    except NotExpressibleError:
        raise UnsendableError(
            "5.6.7", "a header field holds an address or name in UTF-8 and the server does not offer SMTPUTF8"
        ) from None
    return folded


def _fold(head: bytes) -> bytes:
    """Header lines over the limit broken before blanks, which changes no meaning (RFC 5322 2.2.3)."""
    lines = []
    for line in head.split(b"\r\n"):
        start = 0
        while len(line) - start > MAX_LINE:
            end = start + MAX_LINE
            cut = max(line.rfind(b" ", start + 1, end), line.rfind(b"\t", start + 1, end))
            if cut < 0 or not line[start:cut].strip():
                raise UnsendableError("5.6.0", f"a header line is longer than {MAX_LINE} octets and has no blank")
            lines.append(line[start:cut])
            start = cut
        lines.append(line[start:])
    return b"\r\n".join(lines)


def _entity(entity: bytes, eight_bit_mime: bool, depth: int) -> bytes:
    """One MIME entity (RFC 2045 2.4) with the parts mended that need it; the others untouched."""

    def fits(octets: bytes) -> bool:
        return (eight_bit_mime or octets.isascii()) and not _has_long_line(octets)

    if fits(entity):
        return entity
    if depth > MAX_DEPTH:
        raise UnsendableError("5.6.0", f"multiparts lie more than {MAX_DEPTH} deep within each other")
    head, rest = _split(entity)
    if not (eight_bit_mime or head.isascii()):
        head = _mend_head(head)
    head = _fold(head)
    body = rest[2:]
    fields: Message = BytesHeaderParser(policy=policy.compat32).parsebytes(head)
    encoding = str(fields.get("Content-Transfer-Encoding", "7bit")).strip().lower()
    if len(str(fields.get("Content-Type", ""))) > MAX_CONTENT_TYPE:
        raise UnsendableError("5.6.0", f"a Content-Type field is longer than {MAX_CONTENT_TYPE} characters")
    kind = fields.get_content_type()
    if fits(body):
        return head + rest
    if kind in {"multipart/signed", "multipart/encrypted", "message/partial"}:
        raise UnsendableError("5.6.3", f"a {kind} part would break if it were re-encoded for this server")
    if kind.startswith("multipart/"):
        boundary = fields.get_boundary()
        if not boundary or not boundary.isascii():
            raise UnsendableError("5.6.0", "a multipart without a usable boundary cannot be re-encoded")
        body = _parts(body, boundary.encode("ascii"), eight_bit_mime, depth)
        return _labelled(head, b"8bit" if eight_bit_mime else b"7bit") + b"\r\n" + body
    if kind in {"message/rfc822", "message/global"}:
        body = _entity(body, eight_bit_mime, depth + 1)
        return _labelled(head, b"8bit" if eight_bit_mime else b"7bit") + b"\r\n" + body
    octets = _decoded(body, encoding)
    if kind.startswith("text/") and encoding != "base64":
        if "Content-Type" not in fields and _is_utf8(octets) and not octets.isascii():
            head += b"Content-Type: text/plain; charset=utf-8\r\n"
        head = _labelled(head, b"quoted-printable")
        body = canonical(binascii.b2a_qp(octets, istext=True))  # which breaks lines by LF where it saw no CRLF
    else:
        lines = (octets[at : at + BASE64_OCTETS] for at in range(0, len(octets), BASE64_OCTETS))
        head, body = _labelled(head, b"base64"), b"".join(base64.b64encode(line) + b"\r\n" for line in lines)
    if depth == 0 and "MIME-Version" not in fields:
        head += b"MIME-Version: 1.0\r\n"
    return head + b"\r\n" + body


def _parts(body: bytes, boundary: bytes, eight_bit_mime: bool, depth: int) -> bytes:
    delimiter = re.compile(rb"(\r\n--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?=\r\n|\Z))")
    # Pieces alternate: preamble, delimiter, part, delimiter, ..., epilogue.
    pieces = delimiter.split(b"\r\n" + body)
    if len(pieces) < 3:
        raise UnsendableError("5.6.0", "a multipart whose boundary does not occur cannot be re-encoded")
    closed = False
    for at, piece in enumerate(pieces):
        if at % 2:
            closed = closed or piece.rstrip().endswith(b"--" + boundary + b"--")
        elif at == 0 or closed:  # preamble and epilogue are to be ignored, RFC 2046 5.1.1
            if _has_long_line(piece) or not piece.isascii():
                pieces[at] = b"" if at == 0 else b"\r\n"
        else:
            pieces[at] = b"\r\n" + _entity(piece[2:], eight_bit_mime, depth + 1).removesuffix(b"\r\n")
            if piece.endswith(b"\r\n"):
                pieces[at] += b"\r\n"
    return b"".join(pieces)[2:]


def _labelled(head: bytes, encoding: bytes) -> bytes:
    return _CTE.sub(b"", head) + b"Content-Transfer-Encoding: " + encoding + b"\r\n"


def _decoded(body: bytes, encoding: str) -> bytes:
    """The octets of a part; those of a broken encoding are refused rather than guessed."""
    if encoding in {"7bit", "8bit", "binary"}:
        return body
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding == "base64":
        try:
            return base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error:
            pass
    raise UnsendableError("5.6.0", "a part has an unknown or broken transfer encoding and cannot be re-encoded")
