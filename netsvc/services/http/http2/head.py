"""Reads the fields of an HTTP/2 request to the same Message that HTTP/1 gives. No I/O, no Twisted, no state.

What breaks the rules of HTTP/2 itself (RFC 9113 8.2, 8.3) is a MalformedError, for which the stream is reset. What
would be wrong in any version of HTTP, or is too long, is a RejectedError with the same status as over HTTP/1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from netsvc.services.http.exchange import Headers, RequestHead
from netsvc.services.http.head import METHODS, Message, RejectedError, check_host, known_to_peer
from netsvc.services.http.wire import Limits

VERSION = (2, 0)
LINE_SLACK = 4  # octets that a field has in HTTP/1 beside name and value; so that limits mean the same

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 5.6.2, in lower case by RFC 9113 8.2.1
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\A[ \t]|[ \t]\Z")  # RFC 9110 5.5, RFC 9113 8.2.1
_TARGET = re.compile(rb"[!\"$-~]+")  # visible ASCII but "#", as over HTTP/1
_DIGITS = re.compile(rb"[0-9]{1,18}")
_SCHEMES = frozenset((b"https", b"http"))  # what a proxy in front was asked by is not ours to judge
_OF_A_CONNECTION = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_CONDITIONS = frozenset((b"range", b"if-match", b"if-unmodified-since", b"if-range"))  # see there as well


class MalformedError(Exception):
    """It is no request of HTTP/2 (RFC 9113 8.1.1).

    :param reason: one phrase for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _sort(found: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]], list[bytes]]:
    """The pseudo-fields, the other fields without cookies, and the crumbs of the cookie."""
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[bytes, bytes]] = []
    crumbs: list[bytes] = []
    for name, value in found:
        if _BAD_IN_VALUE.search(value):
            raise MalformedError("a field's value has characters that are not allowed")
        if name[:1] == b":":
            if fields or crumbs:
                raise MalformedError("a pseudo-field after other fields")
            if name not in _PSEUDO or name in pseudo:
                raise MalformedError("an unknown pseudo-field, or one given twice")
            pseudo[name] = value
        elif name == b"cookie":
            crumbs.append(value)
        elif not _NAME.fullmatch(name):
            raise MalformedError("a field's name has characters that are not allowed")
        elif name in _OF_A_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
            raise MalformedError("a field that belongs to a connection of HTTP/1")
        else:
            fields.append((name, value))
    return pseudo, fields, crumbs


def _target(pseudo: dict[bytes, bytes]) -> tuple[str, bytes]:
    """(method, target), the form of it checked."""
    name = pseudo.get(b":method")
    if name is None:
        raise MalformedError("no :method")
    if name == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            raise MalformedError("CONNECT has an :authority only")
        return "CONNECT", pseudo[b":authority"]
    target = pseudo.get(b":path")
    if b":scheme" not in pseudo or not target:
        raise MalformedError("no :scheme, or no :path")
    method = name.decode("latin-1")
    if not _TARGET.fullmatch(target) or pseudo[b":scheme"].lower() not in _SCHEMES:
        raise RejectedError(400, "malformed request target", method)
    if method not in METHODS:
        raise RejectedError(501, "unknown method", method)
    if target[0] != 0x2F and not (target == b"*" and method == "OPTIONS"):
        raise RejectedError(400, "malformed request target", method)
    return method, target


def _host(pseudo: dict[bytes, bytes], fields: list[tuple[bytes, bytes]], method: str) -> str:
    """The authority that the request is for; it becomes the Host field where there is none (RFC 9113 8.3.1)."""
    hosts = [value for name, value in fields if name == b"host"]
    authority = pseudo.get(b":authority")
    if len(hosts) > 1 or (not hosts and authority is None):
        raise RejectedError(400, "a request has one authority", method)
    if authority is None:
        authority = hosts[0]
    elif hosts and hosts[0].lower() != authority.lower():
        raise RejectedError(400, ":authority and Host differ", method)
    if not check_host(authority.decode("latin-1")):
        raise RejectedError(400, "malformed host", method)
    if not hosts:
        fields.insert(0, (b"host", authority))
    return authority.decode("ascii")


def _body_length(fields: list[tuple[bytes, bytes]], whole: bool) -> int | None:
    lengths = [value for name, value in fields if name == b"content-length"]
    if len(lengths) > 1 or (lengths and not _DIGITS.fullmatch(lengths[0])):
        raise MalformedError("malformed Content-Length")
    declared = int(lengths[0]) if lengths else None
    if whole and declared:
        raise MalformedError("Content-Length without a body")
    return 0 if whole else declared


def refused_request(method: str, whole: bool) -> Message:
    """What stands for a request that is answered with an error, and of which no more is to be known.

    :param method: "HEAD" if it was that.
    """
    return Message(
        head=RequestHead(
            method="HEAD" if method == "HEAD" else "GET",
            target=b"",
            path=b"",
            query=b"",
            version=VERSION,
            headers=(),
            host="",
        ),
        body_length=0 if whole else None,
        keep_alive=True,
        expects_continue=False,
        plain=False,
        cacheable=False,
    )


def read_request(
    found: Iterable[tuple[bytes, bytes]],
    whole: bool,
    limits: Limits,
    keys_of: Callable[[RequestHead], tuple[bytes, bytes]] | None = None,
) -> Message:
    """Check a request's fields.

    :param found: (name, value) as they came.
    :param whole: the request has no body.
    :param keys_of: gives the keys of a plain message, see :func:`netsvc.services.http.head.parse_head`.
    :raises MalformedError: the stream is to be reset.
    :raises RejectedError: the stream is to be answered.
    """
    pseudo, fields, crumbs = _sort(found)
    if crumbs:
        fields.append((b"cookie", b"; ".join(crumbs)))  # RFC 9113 8.2.3
    length = _body_length(fields, whole)
    method, target = _target(pseudo)
    if len(target) > limits.target:
        raise RejectedError(414, "the request target is too long", method)
    if len(fields) > limits.fields or sum(len(one) + len(two) + LINE_SLACK for one, two in fields) > limits.head:
        raise RejectedError(431, "the header section is too long", method)
    host = _host(pseudo, fields, method)
    names = {name for name, _ in fields}
    expectations: list[bytes] = []
    if b"expect" in names:
        joined = b",".join(value for name, value in fields if name == b"expect")
        expectations = [word.strip(b" \t").lower() for word in joined.split(b",")]
        if expectations != [b"100-continue"]:
            raise RejectedError(417, "unknown expectation", method)
    path, _, query = target.partition(b"?")
    headers: Headers = tuple(fields)
    head = RequestHead(
        method=method,
        target=target,
        path=b"" if method == "CONNECT" else path,  # as over HTTP/1
        query=query,
        version=VERSION,
        headers=headers,
        host=host,
    )
    plain = method == "GET" and length == 0 and names.isdisjoint(_CONDITIONS)
    known = known_to_peer(headers, names) if plain else None
    return Message(
        head=head,
        body_length=length,
        keep_alive=True,
        expects_continue=bool(expectations) and length != 0,
        plain=known is not None,
        cacheable=False,
        keys=(b"", b"") if keys_of is None or known is None else keys_of(head),
        tag=known[0] if known else b"",
        date=known[1] if known else b"",
    )
