"""Parses the head of an HTTP/1.x request, whole, to a Message or a RejectedError. No I/O, no Twisted, no state.

The request line is matched here; the fields are read by llhttp (through httptools) with all leniencies off; what llhttp
lets pass is checked here: Host, framing, forms of the target, versions, Expect. One parser sees one head, so nothing
carries from one message to the next.

    request-line = method SP request-target SP HTTP-version CRLF          RFC 9112 3
    field-line   = field-name ":" OWS field-value OWS CRLF                RFC 9112 5

Bare LF is refused everywhere with 400: RFC 9112 2.2 lets a recipient take it as a line end, and every request smuggling
paper shows why it should not. So are a bare CR (same place), NUL and other control characters (RFC 9110 5.5), and line
folding (RFC 9112 5.2).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache

from attrs import frozen
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from netsvc.services.http.exchange import Headers, RequestHead

METHODS = frozenset(  # RFC 9110 9.3, RFC 5789, and of RFC 4918 what makes a directory; others are 501
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "MKCOL")
)

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 5.6.2
_REQUEST_LINE = re.compile(rb"(%s) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([^#]*)")
_HOST = re.compile(r"(?:([A-Za-z0-9._~-]+)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")  # RFC 9110 7.2, no empty host
_DIGITS = re.compile(rb"[0-9]{1,18}")  # 18 digits always fit 63 bits
_CODINGS_KNOWN = frozenset((b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"))  # RFC 9112 7.2; none is taken

# Any of these makes an answer depend on more than host, path and codings.
_CONDITIONS = frozenset((b"range", b"if-match", b"if-unmodified-since", b"if-range"))
_ONE_TAG = re.compile(rb'(?:W/)?("[!#-~\x80-\xff]*+")')  # RFC 9110 8.8.3
_PERSONAL = frozenset((b"authorization", b"proxy-authorization", b"cookie"))

_FIRST_LINE = b"GET / HTTP/1.1\r\n"  # stands in for the real one, which was matched here, so that llhttp has a message


class RejectedError(Exception):
    """The request breaks a rule. The connection is closed after the answer.

    :param status: the status to answer with.
    :param reason: one phrase for the log and the page.
    :param method: the method if it was read, or "": no body answers a HEAD.
    """

    def __init__(self, status: int, reason: str, method: str = "") -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.method = method


@frozen(kw_only=True)
class Message:
    """A request's head and what it says of the message and the connection.

    :param head: the head.
    :param body_length: octets of the body, 0 for none, None when it is chunked.
    :param keep_alive: whether the peer lets the connection persist.
    :param expects_continue: whether the peer waits for 100 Continue.
    :param plain: GET over HTTP/1.1 with no body, no range, and at most the condition that browsers send.
    :param cacheable: whether the parse may be remembered: no body, no credentials.
    :param keys: what its answer is kept by, in the clear and over TLS, when it is plain.
    :param tag: the one entity tag of If-None-Match when it is plain, opaque part only, or b"".
    :param date: the value of If-Modified-Since when it is plain and has no tag, or b"".
    """

    head: RequestHead
    body_length: int | None
    keep_alive: bool
    expects_continue: bool
    plain: bool
    cacheable: bool
    keys: tuple[bytes, bytes] = (b"", b"")
    tag: bytes = b""
    date: bytes = b""


class _Fields:
    """Collects what llhttp reports."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip(b" \t")))  # llhttp strips the front only

    def on_headers_complete(self) -> None:
        self.complete = True


@lru_cache(maxsize=256)
def check_host(host: str) -> bool:
    """Whether an authority is a host (name, IPv4, IPv6 in brackets) with an optional port, and nothing else."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    _, literal, port = match.groups()
    if literal is not None:
        try:
            ipaddress.IPv6Address(literal)
        except ValueError:
            return False
    return not port or int(port) <= 65535


def request_line(line: bytes) -> tuple[str, bytes, tuple[int, int]]:
    """Read a request line without its CRLF: (method, target, version); version is (1, 0) or (1, 1).

    :raises RejectedError: 400; 505 for another major version; 501 for an unknown method.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RejectedError(400, "malformed request line")
    name, target, major, minor = match.groups()
    method = name.decode("ascii")
    if major != b"1":
        raise RejectedError(505, "only HTTP/1.0 and 1.1 are spoken here", method)
    if method not in METHODS:
        raise RejectedError(501, "unknown method")
    if b"#" in target:
        raise RejectedError(400, "fragment in the request target", method)
    return method, target, (1, 0) if minor == b"0" else (1, 1)


def _authority_and_path(method: str, target: bytes) -> tuple[str | None, bytes]:
    """(authority or None, path with query) of a target in any of the four forms of RFC 9112 3.2."""
    if target[0] == 0x2F:
        return None, target
    if method == "CONNECT":
        return target.decode("ascii"), b""
    if target == b"*" and method == "OPTIONS":
        return None, target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RejectedError(400, "malformed request target", method)
    path = match[2]
    if not path:
        path = b"*" if method == "OPTIONS" else b"/"  # RFC 9112 3.2.4
    elif path[0] != 0x2F:
        path = b"/" + path
    return match[1].decode("ascii"), path


def _body_length(fields: Headers, method: str, version: tuple[int, int]) -> int | None:
    """Octets of the body; None when it is chunked. RFC 9112 6.3."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if codings:
        if lengths:
            raise RejectedError(400, "Content-Length with Transfer-Encoding", method)
        if version == (1, 0):
            raise RejectedError(400, "Transfer-Encoding in HTTP/1.0", method)
        words = [word.strip(b" \t").lower() for word in b",".join(codings).split(b",")]
        if words[-1] != b"chunked" or b"chunked" in words[:-1]:
            raise RejectedError(400, "the last transfer coding is not chunked", method)
        if len(words) > 1:
            known = all(word in _CODINGS_KNOWN for word in words[:-1])
            raise RejectedError(501, f"{'unsupported' if known else 'unknown'} transfer coding", method)
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise RejectedError(400, "malformed Content-Length", method)
    return int(lengths[0])


def _host(fields: Headers, authority: str | None, method: str, version: tuple[int, int]) -> str:
    """The authority that the request is for. RFC 9112 3.2, 3.3."""
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == (1, 1)):
        raise RejectedError(400, "a request has one Host field", method)
    for one in ([hosts[0].decode("latin-1")] if hosts else []) + ([authority] if authority is not None else []):
        if not check_host(one):
            raise RejectedError(400, "malformed host", method)
    if authority is not None:
        return authority
    return hosts[0].decode("ascii") if hosts else ""


def _words(fields: Headers, name: bytes) -> list[bytes]:
    """The members of a comma-separated field, in lower case."""
    joined = b",".join(value for key, value in fields if key == name)
    return [word.strip(b" \t").lower() for word in joined.split(b",")] if joined else []


def known_to_peer(fields: Headers, names: set[bytes]) -> tuple[bytes, bytes] | None:
    """(tag, date) of the version that the peer has, b"" for none; None when it takes more than a look to say."""
    if names.isdisjoint((b"if-none-match", b"if-modified-since")):
        return b"", b""
    wanted = b"if-none-match" if b"if-none-match" in names else b"if-modified-since"  # RFC 9110 13.2.2: the tag wins
    values = [value for name, value in fields if name == wanted]
    if len(values) != 1 or not values[0]:
        return None
    if wanted == b"if-modified-since":
        return b"", values[0]
    match = _ONE_TAG.fullmatch(values[0])
    return None if match is None else (match[1], b"")


def parse_head(
    octets: bytes, line_end: int, keys_of: Callable[[RequestHead], tuple[bytes, bytes]] | None = None
) -> Message:
    """Parse a whole request head.

    :param octets: the head, from the method to the empty line, inclusive; every line ends with CRLF.
    :param line_end: where the CRLF of the request line is.
    :param keys_of: gives the keys of a plain message.
    :raises RejectedError: whatever is wrong with it.
    """
    method, target, version = request_line(octets[:line_end])
    found = _Fields()
    try:
        HttpRequestParser(found).feed_data(_FIRST_LINE + octets[line_end + 2 :])
    except HttpParserUpgrade:
        pass  # the peer offers another protocol (RFC 9110 7.8); nothing obliges us to take it
    except HttpParserError as error:
        raise RejectedError(400, _reason(error), method) from None
    if not found.complete:  # pragma: no cover  (the empty line is there)
        raise RejectedError(400, "malformed head", method)
    fields = tuple(found.fields)
    authority, rest = _authority_and_path(method, target)
    host = _host(fields, authority, method, version)
    length = _body_length(fields, method, version)
    path, _, query = rest.partition(b"?")
    names = {name for name, _ in fields}
    options = _words(fields, b"connection") if b"connection" in names else []
    expectations = _words(fields, b"expect") if b"expect" in names and version == (1, 1) else []
    if expectations not in ([], [b"100-continue"]):
        raise RejectedError(417, "unknown expectation", method)
    keep_alive = b"close" not in options and (version == (1, 1) or b"keep-alive" in options)
    head = RequestHead(method=method, target=target, path=path, query=query, version=version, headers=fields, host=host)
    plain = method == "GET" and version == (1, 1) and length == 0 and names.isdisjoint(_CONDITIONS)
    known = known_to_peer(fields, names) if plain else None
    return Message(
        head=head,
        body_length=length,
        keep_alive=keep_alive,
        expects_continue=bool(expectations) and length != 0,
        plain=known is not None,
        cacheable=length == 0 and names.isdisjoint(_PERSONAL),
        keys=(b"", b"") if keys_of is None or known is None else keys_of(head),
        tag=known[0] if known else b"",
        date=known[1] if known else b"",
    )


def _reason(error: HttpParserError) -> str:
    text = str(error)
    return text[:1].lower() + text[1:80] if text else "malformed field"
