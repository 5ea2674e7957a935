"""Rewrites the addresses in a message's header fields. Pure; all octets that need no change stay.

Looked at: From, Sender, Reply-To (as senders), To, Cc, Bcc (as recipients), and their Resent- fields.
"""

from __future__ import annotations

import re

from netsvc.services.smtp_client.rewriting.addresses import rewrite_addresses
from netsvc.services.smtp_client.rewriting.rules import AddressClass, Rewriting
from netsvc.services.smtp_client.trace import split_head

_CLASSES: dict[bytes, AddressClass] = {
    **dict.fromkeys((b"from", b"sender", b"reply-to"), "header_sender"),
    **dict.fromkeys((b"resent-from", b"resent-sender", b"resent-reply-to"), "header_sender"),
    **dict.fromkeys((b"to", b"cc", b"bcc", b"resent-to", b"resent-cc", b"resent-bcc"), "header_recipient"),
}

# A field whose addresses all have their domains, as nearly every one has: name <local@domain>, local@domain.
_ADDR_SPEC = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++@[A-Za-z0-9.-]++"
_NAMED = rf"""(?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~. \t-]++|"[^"\\\r\n]*+")*+<{_ADDR_SPEC}>"""
_MAILBOX = rf"[ \t]*+(?:{_NAMED}|{_ADDR_SPEC})[ \t]*+"
_QUALIFIED = re.compile(rf"[^:]++:{_MAILBOX}(?:,(?:\r?\n(?=[ \t]))?{_MAILBOX})*+(?:\r?\n)?".encode())


def rewrite_head(content: bytes, rules: Rewriting, *, outgoing: bool) -> bytes:
    """The message with the addresses of its header section rewritten; the same object when nothing changes.

    :param outgoing: it leaves by SMTP, so that the generic table is used too.
    """
    if rules.only_qualifies and not rules.origin:
        return content
    head = split_head(content)
    start = head.end - sum(len(field) for _, field in head.fields)
    changed = False
    fields = [content[:start]]
    for name, field in head.fields:
        of = _CLASSES.get(name)
        if of is None or (rules.only_qualifies and _QUALIFIED.fullmatch(field)):
            made = field
        else:
            made = _rewritten(field, rules, of, outgoing)
        changed = changed or made is not field
        fields.append(made)
    return b"".join((*fields, memoryview(content)[head.end :])) if changed else content


def _rewritten(field: bytes, rules: Rewriting, of: AddressClass, outgoing: bool) -> bytes:
    name, colon, value = field.partition(b":")

    def rewrite(address: str) -> str:
        if not address.isprintable():
            return address  # octets of no charset are no address
        if "@" not in address and (not address.isascii() or " " in address):
            return address  # a name that lost its address
        address = rules.accepted(address, of)
        return rules.outgoing(address) if outgoing else address

    text = value.decode("utf-8", "surrogateescape")  # what is no UTF-8 comes out as it went in
    made = rewrite_addresses(text, rewrite)
    return field if made is text else name + colon + made.encode("utf-8", "surrogateescape")
