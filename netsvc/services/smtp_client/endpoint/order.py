"""Reads what is posted: a message in JSON, or as it is with its envelope in the query. Octets in, Order out. No I/O.

    POST /v1/messages HTTP/1.1
    Authorization: Bearer TOKEN
    Content-Type: application/json
    Idempotency-Key: k1

    {"from": "Ann <ann@example.com>", "to": ["bob@example.com"], "cc": [], "bcc": [], "subject": "...", "text": "...",
     "html": "...", "attachments": [{"name": "a.pdf", "type": "application/pdf", "content": "BASE64"}],
     "headers": {"Reply-To": "..."}, "key": "k1", "require_tls": true}

or ``POST /v1/messages?from=ann@example.com&to=bob@example.com`` with Content-Type: message/rfc822. The key is the
field's or the JSON's; in a raw message also that of Netsvc-Idempotency-Key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from attrs import field, frozen

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.endpoint.problem import Problem
from netsvc.services.smtp_client.intake import check_key, take_key
from netsvc.services.smtp_client.message import Attachment, Draft, Mailbox, build, parse_mailboxes
from netsvc.services.smtp_client.submission_wire import check_name

PATH = b"/v1/messages"
IN_JSON = b"application/json"
RAW = (b"message/rfc822", b"message/global")

_MEDIA_TYPE = re.compile(r"(?!multipart/|message/)([a-z0-9!#$&^_.+-]{1,80})/([a-z0-9!#$&^_.+-]{1,80})")
_LISTS = ("to", "cc", "bcc")
_TEXTS = ("subject", "text", "html")
_KNOWN = frozenset((*_LISTS, *_TEXTS, "from", "attachments", "headers", "key", "require_tls"))

Headers = Sequence[tuple[bytes, bytes]]


@frozen(kw_only=True)
class Posted:
    """The head of a request that may go on.

    :param is_json: else the message comes as it is.
    :param length: octets of the body; None when they are not counted before.
    """

    is_json: bool
    query: bytes
    key: str | None
    length: int | None


@frozen(kw_only=True)
class Order:
    """A message to hand in.

    :param require_tls: only over verified TLS, all the way (RFC 8689).
    """

    sender: str
    recipients: tuple[str, ...]
    key: str | None
    content: bytes = field(repr=False)
    require_tls: bool = False


def admit(method: bytes, target: bytes, headers: Headers, *, token: bytes, largest: int) -> Posted:
    """Look at a request's head, before anything of its body is read.

    :param headers: names in lower case.
    :param largest: octets that a body may have.
    :raises Problem: it may not go on.
    """
    path, _, query = target.partition(b"?")
    if path != PATH:
        raise Problem(404, "5.1.0", "there is only /v1/messages")
    if method != b"POST":
        raise Problem(405, "5.5.1", "messages are posted", ("Allow", "POST"))
    given = [value for name, value in headers if name == b"authorization"]
    scheme, _, credentials = (given[0] if len(given) == 1 else b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(credentials.strip(b" "), token):
        challenge = 'Bearer realm="netsvc"' + (', error="invalid_token"' if given else "")  # RFC 6750 3
        raise Problem(401, "5.7.8", "the token is wrong or missing", ("WWW-Authenticate", challenge))
    media = b"".join(value for name, value in headers if name == b"content-type").partition(b";")[0].strip().lower()
    if media != IN_JSON and media not in RAW:
        raise Problem(415, "5.6.1", "a message comes as application/json or message/rfc822", ("Accept-Post", _ACCEPTED))
    if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in headers):
        raise Problem(415, "5.6.1", "the body comes without a content coding", ("Accept-Encoding", "identity"))
    lengths = [value for name, value in headers if name == b"content-length"]
    length = int(lengths[0]) if lengths else None
    if length is not None and length > largest:
        raise Problem(413, "5.3.4", f"the body is larger than {largest} octets")
    keys = [value for name, value in headers if name == b"idempotency-key"]
    if len(keys) > 1:
        raise Problem(400, "5.5.4", "there are several keys")
    key = _key(keys[0].decode("latin-1")) if keys else None
    return Posted(is_json=media == IN_JSON, query=query, key=key, length=length)


_ACCEPTED = "application/json, message/rfc822"


def read(posted: Posted, body: bytes, *, now: datetime, max_message: int, max_recipients: int) -> Order:
    """Read the body. For a large one it takes a while.

    :param now: for Date, with a time zone.
    :raises Problem: no message can be made of it.
    """
    try:
        order = _from_json(posted, body, now) if posted.is_json else _from_raw(posted, body)
    except Refusal as refusal:
        raise Problem(422, refusal.code, refusal.text) from None
    if len(order.recipients) > max_recipients:
        raise Problem(422, "5.5.3", f"there are more than {max_recipients} recipients")
    if len(order.content) > max_message:
        raise Problem(413, "5.3.4", f"the message is larger than {max_message} octets")
    return order


def _key(text: str) -> str:
    """A key as it stands in a field: in quotes, as a String of RFC 8941, or without them."""
    bare = text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text
    try:
        return check_key(bare)
    except Refusal as refusal:
        raise Problem(400, refusal.code, refusal.text) from None


def _one_key(first: str | None, second: str | None) -> str | None:
    if first is not None and second is not None and first != second:
        raise Problem(400, "5.5.4", "there are two keys, and they differ")
    return first if first is not None else second


def _from_raw(posted: Posted, body: bytes) -> Order:
    try:
        pairs = parse_qsl(
            posted.query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(posted.query), errors="strict"
        )
    except ValueError:  # UnicodeDecodeError is one
        raise Problem(400, "5.5.4", "the query is not of the form from=A&to=B&to=C") from None
    senders = [value for name, value in pairs if name == "from"]
    recipients = tuple(dict.fromkeys(value for name, value in pairs if name == "to"))
    if len(senders) != 1 or not recipients or len(pairs) > len(senders) + sum(name == "to" for name, _ in pairs):
        raise Problem(422, "5.5.4", "the query has one from (which may be empty), one to or more, and nothing else")
    for one in (*filter(None, senders), *recipients):
        check_name(one)
    key, content = take_key(body)
    return Order(sender=senders[0], recipients=recipients, key=_one_key(posted.key, key), content=content)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _from_json(posted: Posted, body: bytes, now: datetime) -> Order:
    try:
        given = json.loads(body.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise Problem(400, "5.5.2", "the body is not JSON, or has a name twice") from None
    if not isinstance(given, dict):
        raise Problem(422, "5.5.4", "the body is not an object")
    unknown = sorted(given.keys() - _KNOWN)
    if unknown:
        raise Problem(422, "5.5.4", f"there is no {unknown[0][:40]!a} in a message")
    for name in (*_TEXTS, "from", "key"):
        _check(isinstance(given.get(name, ""), str) or (name == "html" and given[name] is None), f"{name} is a text")
    require_tls = given.get("require_tls", False)
    _check(type(require_tls) is bool, "require_tls is true or false")
    _check("from" in given, "from is missing")
    senders = parse_mailboxes(given["from"])
    _check(len(senders) == 1, "from is one address")
    key = check_key(given["key"]) if "key" in given else None
    draft = Draft(
        sender=senders[0],
        to=_mailboxes(given, "to"),
        cc=_mailboxes(given, "cc"),
        bcc=_mailboxes(given, "bcc"),
        subject=given.get("subject", ""),
        text=given.get("text", ""),
        html=given.get("html"),
        attachments=_attachments(given.get("attachments", [])),
        headers=_headers(given.get("headers", {})),
    )
    try:
        built = build(draft, now=now)
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair
        raise Problem(422, "5.6.0", "a text has half of a character in it") from None
    return Order(
        sender=built.sender,
        recipients=built.recipients,
        key=_one_key(posted.key, key),
        content=built.content,
        require_tls=require_tls,
    )


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise Problem(422, "5.5.4", what)


def _mailboxes(given: dict[str, Any], name: str) -> tuple[Mailbox, ...]:
    value = given.get(name, [])
    texts = [value] if isinstance(value, str) else value
    _check(isinstance(texts, list) and all(isinstance(one, str) for one in texts), f"{name} is a list of addresses")
    return tuple(mailbox for one in texts for mailbox in parse_mailboxes(one))


def _headers(given: Any) -> list[tuple[str, str]]:
    right = isinstance(given, dict) and all(isinstance(one, str) for one in given.values())
    _check(right, "headers is an object of texts")
    return list(given.items())


def _attachments(given: Any) -> list[Attachment]:
    _check(isinstance(given, list), "attachments is a list")
    return [_attachment(one) for one in given]


def _attachment(given: Any) -> Attachment:
    right = isinstance(given, dict) and given.keys() <= {"name", "type", "content"}
    right = right and {"name", "content"} <= given.keys() and all(isinstance(one, str) for one in given.values())
    _check(right, "an attachment has a name, a content in base64, and perhaps a type")
    try:
        content = base64.b64decode("".join(given["content"].split()), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(422, "5.6.0", f"the content of {given['name'][:80]!a} is not base64") from None
    if "type" not in given:
        return Attachment(given["name"], content)
    match = _MEDIA_TYPE.fullmatch(given["type"].lower())
    if match is None:
        raise Problem(422, "5.6.1", f"{given['type'][:80]!a} is not a type for an attachment")
    return Attachment(given["name"], content, (match[1], match[2]))
