"""The third part of a notice: the message, or its header, so that it passes every server. Pure.

Always 7-bit: a notice that cannot be delivered helps nobody. A message in 8 bits is encoded part by part (its meaning
stays); one whose header is in UTF-8 is message/global in quoted-printable, which RFC 6532 3.7 allows; what cannot be
brought into such a form comes back as its header.
"""

from __future__ import annotations

import binascii

from attrs import frozen

from netsvc.services.smtp_client.trace import split_head
from netsvc.services.smtp_client.transcode import MAX_LINE, UnsendableError, prepare
from netsvc.services.smtp_client.wire import canonical

MAX_HEAD = 64 * 1024  # octets of header that come back, ours; what is longer ends with a whole field


@frozen
class Part:
    """A MIME entity.

    :param kind: its media type, with parameters.
    :param encoding: 7bit, 8bit or quoted-printable.
    :param body: with CR LF line ends, the last line too.
    """

    kind: str
    encoding: str
    body: bytes

    def octets(self, description: str) -> bytes:
        """The entity with its header."""
        head = f"Content-Description: {description}\r\nContent-Type: {self.kind}\r\n"
        if self.encoding != "7bit":
            head += f"Content-Transfer-Encoding: {self.encoding}\r\n"
        return head.encode() + b"\r\n" + self.body


def returned_message(content: bytes) -> Part | None:
    """The whole message; None when it has no form that passes every server."""
    content = canonical(content)
    head = content[: split_head(content).end]
    if not head.isascii() and is_utf8(head):
        return Part("message/global", "quoted-printable", quoted_printable(content))
    try:
        return Part("message/rfc822", "7bit", prepare(content, eight_bit_mime=False, smtputf8=False).content)
    except UnsendableError:
        return None


def returned_head(content: bytes) -> Part:
    """The header of the message, as long as it is not monstrous."""
    octets, kept = 0, []
    for _, field in split_head(content).fields:
        octets += len(field)
        if octets > MAX_HEAD:
            break
        kept.append(field)
    head = canonical(b"".join(kept))
    if head.isascii() and all(len(line) <= MAX_LINE for line in head.split(b"\r\n")):
        return Part("text/rfc822-headers", "7bit", head)
    kind = "text/rfc822-headers" if head.isascii() or not is_utf8(head) else "message/global-headers"
    return Part(kind, "quoted-printable", quoted_printable(head))


def quoted_printable(octets: bytes) -> bytes:
    """Text with CR LF line ends, encoded (RFC 2045 6.7)."""
    return binascii.b2a_qp(octets.replace(b"\r\n", b"\n"), istext=True).replace(b"\n", b"\r\n")


def is_utf8(octets: bytes) -> bool:
    """Whether the octets are UTF-8."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
