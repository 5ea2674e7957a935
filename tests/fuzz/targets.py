"""One target for each parser: takes any octets, and raises only when the parser breaks what it promises.

Those of the web server are here; forms, mail, text messages and SSH have modules of their own.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from netsvc.net.passwords.htpasswd import HtpasswdError
from netsvc.net.passwords.htpasswd import parse as parse_users
from netsvc.services.http.access_log.lines import Record, escaped, line_format
from netsvc.services.http.auth.authenticator import credentials
from netsvc.services.http.cgi.output import BadOutputError, HeadParser
from netsvc.services.http.cgi.warm.shebang import Cold, Interpreter, parse
from netsvc.services.http.chunked import ChunkedDecoder
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.head import RejectedError
from netsvc.services.http.http2.head import MalformedError, read_request
from netsvc.services.http.http2.wire import PREFACE, FrameError, FrameReader
from netsvc.services.http.site.paths import Policy, Refused, join, resolve, split
from netsvc.services.http.static.conditional import Validators, parse_date, precondition, range_applies
from netsvc.services.http.static.encodings import accepted_codings, preferred_type
from netsvc.services.http.static.ranges import UnsatisfiableError, parse_ranges
from netsvc.services.http.wire import Body, Heads, Limits, RequestReader
from tests.fuzz.form_targets import FORM_TARGETS
from tests.fuzz.mail_targets import MAIL_TARGETS
from tests.fuzz.sms_targets import SMS_TARGETS
from tests.fuzz.ssh_targets import SSH_TARGETS
from tests.fuzz.terms import Target, check, no_faults, pieces
from tests.services.http.http2.h2_rig import TlsLikeTransport
from tests.services.http.http_rig import Rig, Transport, read_answers
from tests.services.http.spec.feeding import mirror

SMALL = Limits(target=64, head=256, fields=8, body=200)
STATUSES = frozenset((400, 413, 414, 417, 431, 501, 505))


def _events(parts: list[bytes]) -> list[Any]:
    reader = RequestReader(SMALL, Heads())
    found: list[Any] = []
    for part in parts:
        reader.receive(part)
        while (event := reader.next()) is not None:
            if isinstance(event, Body):
                check(event.data)
                if found and isinstance(found[-1], bytes):
                    found[-1] += event.data
                else:
                    found.append(event.data)
            elif isinstance(event, RejectedError):
                check(event.status in STATUSES, event)
                found.append(event.status)  # the words may depend on how far it was read
            else:
                found.append(event)
        check(reader.buffered <= 1024 + len(part))
    return found


def head(data: bytes) -> None:
    """Requests of HTTP/1: whole or in pieces the same is read, and nothing but a rejection comes of nonsense."""
    whole = _events([data])
    check(_events(pieces(data)) == whole, data)
    for event in whole:
        if hasattr(event, "head"):
            found = event.head
            check(found.path[:1] == b"/" or found.method in ("OPTIONS", "CONNECT"), found)
            check(found.host or found.version == (1, 0), found)
            for name, value in found.headers:
                check(name == name.lower())
                check(not any(octet in value for octet in b"\r\n\0"), value)


def chunked(data: bytes) -> None:
    """Chunked bodies: whole or in pieces the same octets come out, never more than the limit."""

    def decode(parts: list[bytes]) -> tuple[bytes, bytes | int]:
        decoder = ChunkedDecoder(100)
        body = b""
        for at, part in enumerate(parts):
            try:
                some, rest = decoder.feed(part)
                body += some
                if not decoder.done and at + 1 == len(parts):
                    decoder.feed(b"")  # a rule that was broken behind what it gave out
            except RejectedError as rejection:
                return body, rejection.status
            if decoder.done:
                return body, rest + b"".join(parts[at + 1 :])
        return body, b""

    found = decode([data])
    check(len(found[0]) <= 100)
    check(decode([data[at : at + 1] for at in range(len(data))]) == found, data)


def connection(data: bytes) -> None:
    """A connection of HTTP/1, whole or in pieces, half-closed: answers that can be read, no fault of ours, the end."""
    seen = []
    for parts in ([data], pieces(data)):
        rig = Rig(route=mirror, access_log=False, max_target=64, max_head=256, max_headers=8, max_body=200)
        transport = Transport()
        protocol = rig.factory.buildProtocol(None)
        with no_faults():
            protocol.makeConnection(transport)
            for part in parts:
                protocol.dataReceived(part)
            protocol.readConnectionLost()
        check(transport.closed, data)
        octets = transport.value()
        if b"HEAD" not in data:
            read_answers(octets, [])
        final = re.compile(
            rb"(?:^|(?<=\n))HTTP/1\.1 [2-5].."
        )  # whether there is a 100 depends on what has come by then
        seen.append(final.findall(octets))
    check(seen[0] == seen[1], (data, seen))


def path(data: bytes) -> None:
    """Paths: a decision, and what `split` accepts is spelled by `join` so that it is accepted again."""
    raw = b"/" + data
    found = split(raw)
    if isinstance(found, Refused):
        check(found.status in (400, 404), found)
        return
    names, directory = found
    for name in names:
        check(name not in (b"", b".", b"..") and b"/" not in name and b"\\" not in name and b"\0" not in name, name)
    again = join(names, directory=directory)
    check(not again.startswith(b"//") and again.isascii(), again)
    check(split(again) == (names, directory or not names), again)
    root = Path(__file__).parent
    decision = resolve(root, raw, Policy(cgi=frozenset((b"cgi-bin",))))
    if hasattr(decision, "close"):
        if hasattr(decision, "path"):
            check(decision.path.startswith(bytes(root)))
        decision.close()


def ranges(data: bytes) -> None:
    """Ranges: in order, apart, within the length, few."""
    for length in (0, 1, 10, 1000):
        for value in (data, b"bytes=" + data):
            try:
                found = parse_ranges(value, length)
            except UnsatisfiableError:
                continue
            end = -1
            for one in found or ():
                check(end < one.start < one.stop <= length, (value, found))
                end = one.stop


_NAMES = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range")


def conditions(data: bytes) -> None:
    """Conditions: 304, 412 or none, for any values."""
    values = data.split(b"\n")
    fields = tuple((_NAMES[at % len(_NAMES)], value) for at, value in enumerate(values))
    for method in ("GET", "PUT"):
        request = RequestHead(
            method=method, target=b"/", path=b"/", query=b"", version=(1, 1), headers=fields, host="a"
        )
        for modified in (None, 1_700_000_000):
            validators = Validators(etag=b'"a"', modified=modified)
            check(precondition(request, validators) in (None, 304, 412))
            range_applies(request, validators, 1_800_000_000)
    parse_date(data)


def codings(data: bytes) -> None:
    """Accept-Encoding and Accept: weights within 0 and 1."""
    values = data.split(b"\n")
    found = accepted_codings(values)
    for coding in (b"gzip", b"br", b"zstd", b"identity"):
        check(0 <= found.weight(coding) <= 1000)
    offers = (b"text/html", b"application/json")
    check(preferred_type(values, offers) in (*offers, None))


def script_head(data: bytes) -> None:
    """The head of what a script prints: whole or in pieces the same, and nothing in it that could split an answer."""

    def read(parts: list[bytes]) -> Any:
        parser = HeadParser()
        for at, part in enumerate(parts):
            try:
                found = parser.feed(part)
            except BadOutputError as error:
                return str(error)
            if found is not None:
                return found[0], found[1] + b"".join(parts[at + 1 :])
        return None

    whole = read([data])
    check(read(pieces(data)) == whole, data)
    if isinstance(whole, tuple):
        said = whole[0]
        check(200 <= said.status <= 599)
        for name, value in said.headers:
            check(not any(octet in name + value for octet in b"\r\n\0"), said)
            check(name.lower() not in (b"connection", b"transfer-encoding", b"content-length"), said)


def users(data: bytes) -> None:
    """The htpasswd file, and the field that is compared with it."""
    with contextlib.suppress(HtpasswdError):
        parse_users(data)
    for field in (data, b"Basic " + data):
        found = credentials(field)
        if found is not None:
            check(":" not in found[0] and "\0" not in found[1])


def access_lines(data: bytes) -> None:
    """Lines of the access log: one line of visible ASCII, whatever a peer sends."""
    target, _, agent = data.partition(b"\n")
    request = RequestHead(
        method="GET", target=target, path=b"/", query=b"", version=(1, 1), headers=((b"user-agent", agent),), host="a"
    )
    record = Record(when=0.0, peer="::1", status=200, head=request, user=agent.decode("utf-8", "replace"))
    for name in ("combined", "text", "json"):
        line = line_format(name)(record)
        check(line.isascii() and line.isprintable(), line)
    check(escaped(target).count('"') == escaped(target).count('\\"'))


def shebang(data: bytes) -> None:
    """The first line of a script: an interpreter or a reason."""
    parse(data, b"/usr/bin:/bin")
    found = parse(data, b"/usr/bin:/bin", lambda _: (1, 2, 3, 4, 5))
    check(isinstance(found, Interpreter | Cold))
    if isinstance(found, Interpreter):
        check(not any(b"\0" in word or b"\n" in word for word in found.line), found)


def frames(data: bytes) -> None:
    """Frames of HTTP/2: whole or in pieces the same; and fields of a request are a message or a reason."""

    def read(parts: list[bytes]) -> list[Any]:
        reader = FrameReader(4096)
        found: list[Any] = []
        try:
            for part in parts:
                reader.receive(part)
                while (frame := reader.next()) is not None:
                    found.append(frame)
        except FrameError as error:
            found.append((error.code, error.reason))
        return found

    for octets in (data, PREFACE + data):
        check(read(pieces(octets)) == read([octets]), octets)
    fields = [line.partition(b"=")[::2] for line in data.split(b"\n")]
    with contextlib.suppress(MalformedError, RejectedError):
        read_request(fields, data[:1] < b"m", SMALL)


def http2(data: bytes) -> None:
    """A connection of HTTP/2 after its preface: no fault of ours, whatever the frames."""
    rig = Rig(route=mirror, access_log=False, max_body=200)
    transport = TlsLikeTransport()
    with no_faults():
        rig.factory.buildProtocol(None).makeConnection(transport)
        protocol = transport.wrappedProtocol
        protocol.dataReceived(PREFACE + b"\0\0\0\4\0\0\0\0\0")
        for part in pieces(data):
            protocol.dataReceived(part)
        rig.clock.advance(1.0)
        protocol.readConnectionLost()


_GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
_CHUNKS = b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"
_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n" + _CHUNKS
_REQUESTS = (
    _GET,
    _POST,
    _CHUNKED,
    _GET + _POST + _CHUNKED,
    b"OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD http://b:81/x HTTP/1.1\r\nHost: [::1]\r\n\r\n",
)
_HEADERS = bytes.fromhex("000011010500000001") + b"\x82\x87\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"

TARGETS: dict[str, Target] = {
    "head": Target(head, _REQUESTS),
    "chunked": Target(chunked, (_CHUNKS, b"0\r\n\r\n", b"a\r\n0123456789\r\n00\r\n\r\nrest")),
    "connection": Target(connection, _REQUESTS),
    "path": Target(path, (b"a/%2e%2e/b", b"../x", b"cgi-bin/x/y", b"a%20b//c/.", b"%00", b"targets.py", b"%c3%a9\\")),
    "ranges": Target(ranges, (b"bytes=0-1,-5,7-", b"0-0,2-3", b"bytes=5-1", b"-0")),
    "conditions": Target(
        conditions,
        (
            b'"a", W/"b"\n*\nFri, 15 Jan 2027 08:00:00 GMT\nFriday, 15-Jan-27 08:00:00 GMT\n"a"',
            b"Fri Jan  5 08:00:00 2027",
        ),
    ),
    "codings": Target(codings, (b"gzip;q=0.5, br, *;q=0", b"identity;q=0\ntext/html, */*;q=0.8", b"application/json")),
    "script-head": Target(
        script_head,
        (
            b"Status: 404 Nope\r\nContent-Type: a/b\r\n\r\nbody",
            b"HTTP/1.1 200 OK\nA: b\n c\n\n",
            b"Location: /x?y\n\n",
            b"Connection: a\nContent-Length: 5\n\nhello",
        ),
    ),
    "users": Target(
        users,
        (
            b"a:$2y$10$" + b"u" * 53 + b"\n#\n",
            b"YWxpY2U6c2VjcmV0",
            b"Basic YTpi",
            b"b:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$KuBjEBv1yZHB9VYrJ9qNGg",
        ),
    ),
    "access-lines": Target(access_lines, (b'/a"b\\\n\x1b[2J', b"/\ncurl/8")),
    "shebang": Target(
        shebang,
        (
            b"#!/usr/bin/python3 -u\nx",
            b"#!/usr/bin/env -S python3 -I 'a b'\n",
            b"#! /bin/sh -e\r\n",
            b"#!/usr/\0/python3\n",
        ),
    ),
    "frames": Target(
        frames, (_HEADERS, b"\0\0\0\4\0\0\0\0\0" + _HEADERS, b":method=GET\n:path=/\n:scheme=https\nhost=a")
    ),
    "http2": Target(
        http2,
        (
            _HEADERS,
            _HEADERS + bytes.fromhex("000005000100000001") + b"hello",
            bytes.fromhex("000008060000000000") + b"12345678",
            bytes.fromhex("00000403000000000100000008"),
        ),
    ),
    **FORM_TARGETS,
    **MAIL_TARGETS,
    **SMS_TARGETS,
    **SSH_TARGETS,
}
