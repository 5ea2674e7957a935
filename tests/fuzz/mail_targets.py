"""Targets of what mail reads: SMTP from both ends, what is handed in, tables of routes, other people's messages."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netsvc.config.options import Context
from netsvc.errors import BadValue
from netsvc.net.json_lines import MalformedError, encode
from netsvc.services.smtp_client import submission_wire, wire
from netsvc.services.smtp_client.endpoint import order
from netsvc.services.smtp_client.endpoint.problem import Problem
from netsvc.services.smtp_client.listener.events import End, Login, Message, Room, StartTls, Terms
from netsvc.services.smtp_client.listener.octets import DotReader
from netsvc.services.smtp_client.listener.wire import Conversation
from netsvc.services.smtp_client.replies import MAX_LINES, Capabilities, ReplyError, ReplyParser
from netsvc.services.smtp_client.rewriting.headers import rewrite_head
from netsvc.services.smtp_client.rewriting.rules import Rewriting
from netsvc.services.smtp_client.routing import mta_sts
from netsvc.services.smtp_client.routing.table import routes, tls_policies
from netsvc.services.smtp_client.submission_wire import Query, RequestReader, Send
from netsvc.services.smtp_client.trace import split_head
from netsvc.services.smtp_client.transcode import MAX_LINE, UnsendableError, prepare
from tests.fuzz.terms import Target, check, pieces

MAX_MESSAGE = 200
MAX_RECIPIENTS = 3
OPEN = Terms(host="here.example", max_message=MAX_MESSAGE, max_recipients=MAX_RECIPIENTS, login=False, starttls=False)
CLOSED = Terms(host="here.example", max_message=MAX_MESSAGE, max_recipients=MAX_RECIPIENTS, login=True, starttls=True)

_REPLIES = re.compile(rb"(?:(?:[2-5][0-9][0-9]-[ -~]*\r\n)*[2-5][0-9][0-9](?: [ -~]*)?\r\n)*")


def _addresses(sender: str, recipients: tuple[str, ...]) -> None:
    for one in (*filter(None, (sender,)), *recipients):
        submission_wire.check_name(one)
        check(one.isprintable() and not any(mark in one for mark in "\r\n\0"), one)


def _goes_out_whole(content: bytes) -> None:
    """What a delivery sends of a message is one message to a server, whatever is in it."""
    reader = DotReader(4 * len(content) + 100)
    check(reader.feed(b"".join(wire.blocks(content))) == b"", content)
    check(not reader.ambiguous and reader.message() == wire.canonical(content), content)


def _talk(terms: Terms, parts: list[bytes], *, near: bool) -> tuple[list[Any], bytes]:
    """The messages that were taken, and all replies."""
    talk = Conversation(terms, secure=False, near=near)
    messages: list[Any] = []
    out = talk.output()
    for part in parts:
        talk.receive(part)
        while (event := talk.next()) is not None:
            out += talk.output()
            match event:
                case Room():
                    talk.go_ahead()
                case Login(user=user, password=password):
                    if password == "right":
                        talk.logged_in(user)
                    else:
                        talk.login_refused(535, "5.7.8", "wrong")
                case Message():
                    check(terms is OPEN or talk.user is not None, "nobody logged in")
                    check(len(event.content) <= MAX_MESSAGE, len(event.content))
                    check(0 < len(event.recipients) <= MAX_RECIPIENTS, event.recipients)
                    _addresses(event.sender, event.recipients)
                    _goes_out_whole(event.content)
                    messages.append((event.sender, event.recipients, dict(event.meta), event.content))
                    talk.taken("q1")
                case StartTls():
                    talk.secured()
                case End():
                    check(talk.closed)
                    break
        out += talk.output()
        check(talk.held <= 2 * MAX_MESSAGE + len(part), talk.held)
        check(talk.unread <= 12_288 or talk.closed, talk.unread)
    check(_REPLIES.fullmatch(out), out)
    return messages, out


def conversation(data: bytes) -> None:
    """The listener: whole or in pieces the same is taken and answered; whatever comes, messages keep the bounds."""
    whole = _talk(OPEN, [data], near=True)
    check(_talk(OPEN, pieces(data), near=True) == whole, (whole, data))
    for near in (True, False):
        _talk(CLOSED, pieces(data), near=near)  # what comes behind STARTTLS is dropped, so pieces make a difference


def submission(data: bytes) -> None:
    """The socket: whole or in pieces the same requests, each with types that can be kept, or the end."""

    def read(parts: list[bytes]) -> list[Any]:
        reader = RequestReader(max_message=MAX_MESSAGE, max_recipients=MAX_RECIPIENTS)
        found: list[Any] = []
        try:
            for part in parts:
                reader.feed(part)
                while (request := reader.next()) is not None:
                    found.append(request)
        except MalformedError as error:
            check(re.fullmatch(r"5\.[0-9]\.[0-9]", error.code), error.code)
            error.text.encode()
            found.append((error.code, error.text))
        return found

    for octets in (data, b'{"v":1,"command":' + data):
        whole = read([octets])
        check(read(pieces(octets)) == whole, octets)
        for one in whole:
            match one:
                case Send():
                    check(one.recipients and len(one.content) == one.length <= MAX_MESSAGE, one)
                    _addresses(one.sender, one.recipients)
                case Query():
                    # what a store is asked for: it keeps UTF-8
                    for text in (one.id, one.after, one.domain, one.address, one.reason):
                        text.encode()


_JSON = order.Posted(is_json=True, query=b"", key=None, length=None)


def _letter(data: bytes) -> bytes:
    """A letter in JSON whose texts are the lines: so that more than its syntax is met."""
    to, subject, text, html, name, media, header, value, *_ = (
        *data.decode("utf-8", "surrogateescape").split("\n"),
        *([""] * 8),
    )
    file = {"name": name, "content": "AAAA", **({"type": media} if media else {})}
    letter: dict[str, Any] = {"from": "A <a@x>", "to": [to or "b@y"], "subject": subject, "text": text}
    letter |= {"html": html} if html else {}
    letter |= {"attachments": [file], "headers": {header: value}} if name else {}
    return json.dumps(letter).encode()


def endpoint(data: bytes) -> None:
    """The body of a POST, as JSON or as it is: an order that keeps the bounds, or a problem with its status."""
    query, _, body = data.partition(b"\n")
    for posted, octets in (
        (_JSON, data),
        (_JSON, _letter(data)),
        (_JSON, b'{"from":"a@x","to":["b@y"],' + data),
        (order.Posted(is_json=False, query=query, key=None, length=None), body),
    ):
        try:
            found = order.read(
                posted, octets, now=datetime(2026, 1, 1, tzinfo=UTC), max_message=5000, max_recipients=MAX_RECIPIENTS
            )
        except Problem as problem:
            check(400 <= problem.status < 500, problem)
            problem.body()
            continue
        check(0 < len(found.recipients) <= MAX_RECIPIENTS and len(found.content) <= 5000, found)
        _addresses(found.sender, found.recipients)
        if posted.is_json:
            _built(found.content)
        _goes_out_whole(found.content)


def _built(content: bytes) -> None:
    """A message that was built here has CR LF only, short lines, and no field that nobody asked for."""
    lines = content.split(b"\r\n")
    check(not any(b"\r" in line or b"\n" in line for line in lines), content)
    check(all(len(line) <= MAX_LINE for line in lines) or not content.isascii(), content)
    names = [name for name, _ in split_head(content).fields]
    for name in (b"from", b"date", b"message-id", b"subject", b"mime-version", b"content-type"):
        check(names.count(name) == 1, (name, names))
    check(b"bcc" not in names, names)


def posted(data: bytes) -> None:
    """The head of a POST: it may go on, or a problem."""
    target, _, rest = data.partition(b"\n")
    values = rest.split(b"\n")
    names = (b"authorization", b"content-type", b"idempotency-key", b"content-encoding")
    headers = tuple(zip(names, values, strict=False))
    for given in (headers, ((b"authorization", b"Bearer t"), (b"content-type", b"message/rfc822"), *headers[2:])):
        try:
            found = order.admit(b"POST", order.PATH + b"?" + target, given, token=b"t", largest=100)
        except Problem as problem:
            check(400 <= problem.status < 500, problem)
            continue
        check((b"authorization", b"Bearer t") in given or given[0][1].partition(b" ")[2].strip() == b"t", given)
        check(found.key is None or (found.key.isprintable() and found.key), found)


def tables(data: bytes) -> None:
    """Tables of routes and TLS: what is read is read again from what it prints; a fault has its place in the text."""
    text = data.decode("utf-8", "replace")
    context = Context(Path("/"))
    for option in (routes(), tls_policies()):
        try:
            found: Any = option.parse(text, context)
        except BadValue as bad:
            for one in (bad, *bad.more):
                check(0 <= one.at <= len(text), (one.at, one.message))
            continue
        check([str(one) for one in option.parse(str(found), context).lines] == [str(one) for one in found.lines], text)
        for line in text.split("\n"):
            first, _, second = line.partition(" ")
            found.find(first, second)
            found.find("a.example", f"{first}@{second}")


def replies(data: bytes) -> None:
    """A server's replies: whole or in pieces the same; few lines, a code, and what EHLO offers of any of them."""

    def read(parts: list[bytes]) -> list[Any]:
        parser = ReplyParser()
        found: list[Any] = []
        try:
            for part in parts:
                parser.feed(part)
                while (reply := parser.next_reply()) is not None:
                    found.append(reply)
        except ReplyError as error:
            found.append(str(error))
        return found

    whole = read([data])
    check(read(pieces(data)) == whole, data)
    for one in whole:
        if not isinstance(one, str):
            check(200 <= one.code <= 599 and 0 < len(one.lines) <= MAX_LINES, one)
            check(one.enhanced is None or one.enhanced[0] == str(one.code)[0], one)
            Capabilities.of(one).limit("RCPTMAX")


_RULES = Rewriting(origin="example.com")


def messages(data: bytes) -> None:
    """Other people's messages, rewritten and made fit for a server with and without 8BITMIME and SMTPUTF8."""
    again = rewrite_head(data, _RULES, outgoing=True)
    check(rewrite_head(again, _RULES, outgoing=True) == again, data)
    check(len(split_head(again).fields) == len(split_head(data).fields), data)
    for eight_bit_mime, smtputf8 in ((True, True), (True, False), (False, False)):
        try:
            made = prepare(again, eight_bit_mime=eight_bit_mime, smtputf8=smtputf8)
        except UnsendableError as error:
            check(error.enhanced.startswith("5."), error)
            continue
        check(b"\0" not in made.content and made.content == wire.canonical(made.content), made)
        check(eight_bit_mime or made.content.isascii(), made)
        check(smtputf8 or not made.utf8_header, made)
        check(all(len(line) <= MAX_LINE for line in made.content.split(b"\r\n")), made)
        _goes_out_whole(made.content)


def policies(data: bytes) -> None:
    """What a domain publishes by MTA-STS."""
    try:
        found = mta_sts.read_policy(data)
    except mta_sts.BadPolicy:
        found = None
    if found is not None:
        check(0 <= found.max_age <= mta_sts.MAX_AGE and (found.patterns or found.mode == "none"), found)
        found.allows("mx.example.com")
    records = data.decode("utf-8", "replace").split("\n")
    name = mta_sts.policy_id(records)
    check(name is None or re.fullmatch("[A-Za-z0-9]{1,32}", name), name)


_MAIL = b"EHLO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n"
_SEND: dict[str, Any] = {"v": 1, "command": "send", "sender": "a@x", "recipients": ["b@x"], "length": 5}
_WISHES = {"ret": "full", "envid": "e", "notices": {"b@x": [["success"], "rfc822;b@x"]}}
_LETTER = {"from": "A <a@x>", "to": ["b@y", "C <c@y>"], "subject": "汇总", "text": "t\n.\n", "html": "<p>t"}
_FILES = {"attachments": [{"name": "a.pdf", "type": "application/pdf", "content": "AAAA"}], "headers": {"X-A": "b c"}}
_MULTIPART = (
    b'From: root\r\nTo: "A, b" <ann>, (c) d@y\r\nSubject: \xc3\xa9\r\n'
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa9\r\n--b\r\nContent-Type: image/png\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n"
)

MAIL_TARGETS: dict[str, Target] = {
    "smtp-listener": Target(
        conversation,
        (
            _MAIL + b"DATA\r\nA: b\r\n\r\n..x\r\n.\r\nQUIT\r\n",
            _MAIL + b"BDAT 3\r\nA: BDAT 3 LAST\r\nb\r\nRSET\r\nMAIL FROM:<> SIZE=9 BODY=8BITMIME RET=HDRS ENVID=e\r\n",
            b"EHLO me\r\nAUTH PLAIN AGEAcmlnaHQ=\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nx\r\n.\r\n",
            b"EHLO me\r\nAUTH LOGIN\r\nYQ==\r\ncmlnaHQ=\r\nSTARTTLS\r\nEHLO me\r\nVRFY a\r\nNOOP\r\nHELP\r\n",
            _MAIL + b"RCPT TO:<c@y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+2Bd@y\r\nDATA\r\nx\n.\r\ny\r\n.\r\n",
        ),
    ),
    "mail-socket": Target(
        submission,
        (
            encode(_SEND) + b"hello" + encode({"v": 1, "command": "audit"}),
            encode({**_SEND, **_WISHES}) + b"hello",
            b'"queue","after":"x","limit":5,"done":true,"whole":false}\n',
            b'"hold","domain":"x.example"}\n',
            b'"suppress","address":"a@x","reason":"r"}\n',
            b'"suppressed","after":"a@x"}\n',
        ),
    ),
    "mail-endpoint": Target(
        endpoint,
        (
            json.dumps({**_LETTER, **_FILES}).encode(),
            b'"subject":"\\ud800","cc":"d@y","key":"k"}',
            b"C <c@y>\nsubject\ntext\n<p>html\na.pdf\nimage/png\nX-A\nb c",
            b'"C, d" <c@y>, (e) f@y\n\xc3\xa9\n.\n\nb\xe6\xb1\x87.xlsx\n\nReply-To\n"a" <a@x>',
            b"from=a@x&to=b%40y&to=c@y\nFrom: a@x\r\nNetsvc-Idempotency-Key: k\r\n\r\nx\r\n",
        ),
    ),
    "mail-posted": Target(posted, (b"from=a@x&to=b@y\nBearer t\napplication/json\nk1\nidentity", b'\n\n\n"k"')),
    "mail-tables": Target(
        tables,
        (
            b"a.example smtp:mail.a.example:25\n.b.example maildir:b\nfrom:c@d.example smtps:r.example login=c\n* mx",
            b"from:<> mx\n[192.0.2.1] smtp:[2001:db8::1]\n\xe4\xbe\x8b.example mx",
            b"a.example verify\n.b.example none\n* dane",
        ),
    ),
    "smtp-replies": Target(
        replies,
        (
            b"220 x ESMTP\r\n250-x\r\n250-SIZE 9\r\n250-LIMITS RCPTMAX=5\r\n250 AUTH=PLAIN\r\n",
            b"250-2.1.0 a\n250 2.1.0 b\n354\r\n550 5.1.1 no",
        ),
    ),
    "mail-messages": Target(
        messages,
        (
            _MULTIPART,
            b"From: a\r\nSubject: " + b"x " * 500 + b"\r\n\r\n" + b"y" * 80,
            b"From r Mon\nTo: g: a, b@x;\nCc: =?utf-8?q?=C3=A9?= <c>\n\nb\n",
        ),
    ),
    "mta-sts": Target(
        policies,
        (
            b"version: STSv1\r\nmode: enforce\r\nmx: *.example.com\r\nmx: a.example\r\nmax_age: 604800\r\n",
            b"v=STSv1; id=a1;",
        ),
    ),
}
