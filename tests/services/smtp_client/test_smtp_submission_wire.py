"""The submission socket's framing."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.json_lines import MalformedError, Refusal, encode, refused
from netsvc.services.smtp_client.submission_wire import MAX_HEAD, Query, RequestReader, Send, check_address, parse_head


def head(**values: Any) -> bytes:
    """A request's line; a send unless told otherwise."""
    return encode({"v": 1, "command": "send", "sender": "a@x", "recipients": ["b@x"], "length": 5, **values})


def reader(max_message: int = 100) -> RequestReader:
    """A reader for small messages."""
    return RequestReader(max_message=max_message, max_recipients=3)


class Framing(SynchronousTestCase):
    stream = head(key="k") + b"hello" + encode({"v": 1, "command": "audit"}) + head(length=0)
    requests = (
        Send("a@x", ("b@x",), "k", 5, b"hello"),
        Query("audit"),
        Send("a@x", ("b@x",), None, 0, b""),
    )

    def read(self, pieces: list[bytes]) -> list[Send | Query]:
        one, found = reader(), []
        for piece in pieces:
            one.feed(piece)
            while (request := one.next()) is not None:
                found.append(request)
        return found

    def test_whole(self) -> None:
        """Several requests in one piece are cut apart."""
        self.assertEqual(self.read([self.stream]), list(self.requests))

    def test_octet_by_octet(self) -> None:
        """They are the same when they come octet by octet."""
        self.assertEqual(self.read([self.stream[n : n + 1] for n in range(len(self.stream))]), list(self.requests))

    def test_trailing(self) -> None:
        """What comes behind is kept for the next request."""
        one = reader()
        one.feed(head() + b"hello" + b'{"v"')
        self.assertIsInstance(one.next(), Send)
        self.assertIsNone(one.next())
        self.assertFalse(one.idle)

    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.integers(0, 400), max_size=8))
    def test_any_split(self, cuts: list[int]) -> None:
        """They are the same however the stream is split."""
        edges = [0, *sorted(min(cut, len(self.stream)) for cut in cuts), len(self.stream)]
        pieces = [self.stream[a:b] for a, b in itertools.pairwise(edges)]
        self.assertEqual(self.read(pieces), list(self.requests))

    @settings(derandomize=True, deadline=None)
    @given(
        st.binary(max_size=300)
        | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
    )
    def test_anything(self, octets: bytes) -> None:
        """Whatever comes, there is a request, a wait or a refusal, and never another error."""
        one = reader()
        one.feed(octets + b"\n")
        try:
            while one.next() is not None:
                pass
        except MalformedError as error:
            self.assertRegex(error.code, r"5\.\d\.\d")

    @settings(derandomize=True, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["v", "command", "sender", "recipients", "length", "key", "id", "after", "limit", "done"]),
            st.sampled_from(
                [1, 0, -1, True, None, "send", "queue", "show", "a@x", "", ["a@x"], [1], [], {}, 1.0, "k" * 300]
            ),
        )
    )
    def test_any_object(self, value: dict[str, Any]) -> None:
        """A JSON object with wrong types is refused, never a surprise."""
        with contextlib.suppress(MalformedError):
            parse_head(json.dumps(value).encode())

    def test_pending(self) -> None:
        """A message that is still arriving is known by its head; nothing is at rest then."""
        one = reader()
        self.assertTrue(one.idle)
        one.feed(head())
        self.assertIsNone(one.next())
        self.assertIsNotNone(one.pending)
        self.assertFalse(one.idle)


class Refused(SynchronousTestCase):
    def refusal(self, octets: bytes) -> str:
        one = reader()
        one.feed(octets)
        with self.assertRaises(MalformedError) as caught:
            one.next()
        return caught.exception.code

    def test_no_json(self) -> None:
        """What is no JSON object is refused."""
        for line in (b"", b"hello", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"v":1,"v":1}', b'{"v":NaN}', b'{"a":' * 9):
            self.assertEqual(self.refusal(line + b"\n"), "5.5.2", line[:20])

    def test_wrong(self) -> None:
        """A wrong version, command, name or type is refused."""
        for line in (
            head(v=2),
            head(v=True),
            head(command="sned"),
            head(command=["send"]),
            head(extra=1),
            head(length=-1),
            head(length=True),
            head(length="5"),
            head(sender=None),
            head(recipients="b@x"),
            head(recipients=[1]),
            head(key=5),
            encode({"v": 1, "command": "show"}),
            encode({"v": 1, "command": "show", "id": "../x"}),
            encode({"v": 1, "command": "queue", "limit": 0}),
            encode({"v": 1, "command": "queue", "limit": 1001}),
            encode({"v": 1, "command": "queue", "done": 1}),
            encode({"v": 1, "command": "queue", "after": 1}),
            encode({"v": 1, "command": "queue", "whole": 1}),
            encode({"v": 1, "command": "audit", "id": "x"}),
            head(ret=1),
            head(envid=None),
            head(notices=[]),
            head(domain=None),
            head(require_tls=1),
            head(require_tls=None),
            head(notices={"b@x": "ab"}),
            head(notices={"b@x": [["success"]]}),
            head(notices={"b@x": [[1], ""]}),
            head(notices={"b@x": [["success"], 1]}),
            head(notices={"c@x": [["success"], ""]}),
            encode({"v": 1, "command": "hold"}),
            encode({"v": 1, "command": "hold", "all": False}),
            encode({"v": 1, "command": "hold", "all": 1}),
            encode({"v": 1, "command": "hold", "domain": ""}),
            encode({"v": 1, "command": "hold", "domain": "x", "all": True}),
            encode({"v": 1, "command": "flush", "id": "x", "domain": ""}),
            encode({"v": 1, "command": "remove", "id": "../x"}),
            encode({"v": 1, "command": "suppressed", "id": "x"}),
        ):
            self.assertEqual(self.refusal(line), "5.5.2", line)

    def test_too_much(self) -> None:
        """Too many recipients, none, too large a message, a bad key: each has its code."""
        self.assertEqual(self.refusal(head(recipients=[f"{n}@x" for n in range(4)])), "5.5.3")
        self.assertEqual(self.refusal(head(recipients=[])), "5.5.4")
        self.assertEqual(self.refusal(head(length=101)), "5.3.4")
        self.assertEqual(self.refusal(head(key="")), "5.5.4")
        self.assertEqual(self.refusal(head(key="a\nb")), "5.5.4")
        suppress = {"v": 1, "command": "suppress", "address": "b@x"}
        self.assertEqual(self.refusal(encode({**suppress, "reason": "x" * 501})), "5.5.4")
        self.assertEqual(self.refusal(encode({**suppress, "address": "b"})), "5.1.3")

    def test_endless_line(self) -> None:
        """A first line without end is refused at its bound."""
        self.assertEqual(self.refusal(b"x" * (MAX_HEAD + 1)), "5.5.2")

    def test_bad_address(self) -> None:
        """A bad address is refused as such, in either place."""
        self.assertEqual(self.refusal(head(sender="no body")), "5.1.3")
        self.assertEqual(self.refusal(head(sender="nobody@")), "5.1.3")
        self.assertEqual(self.refusal(head(recipients=["a@x\r\nDATA"])), "5.1.3")

    def test_names(self) -> None:
        """What stands before the @ may come alone: rewriting and aliases may know more."""
        found = parse_head(head(sender="nobody", recipients=["root"]))
        assert isinstance(found, Send)
        self.assertEqual((found.sender, found.recipients, found.domain), ("nobody", ("root",), ""))
        found = parse_head(head(recipients=["root"], domain="box.example"))
        self.assertEqual(found.domain, "box.example")
        for line in (head(domain="-"), encode({"v": 1, "command": "route", "address": "a", "domain": "-"})):
            self.assertEqual(self.refusal(line), "5.1.3", line)

    def test_chosen(self) -> None:
        """An operation is about one message, a domain, or everything; a list of addresses goes on behind one."""
        for values in ({"id": "x"}, {"domain": "x.example"}, {"all": True}):
            for command in ("hold", "release", "requeue", "remove", "flush"):
                found = parse_head(encode({"v": 1, "command": command, **values}))
                self.assertEqual(found, Query(command, **values))  # type: ignore[arg-type]
        found = parse_head(encode({"v": 1, "command": "suppressed", "after": "b@x", "limit": 2}))
        self.assertEqual(found, Query("suppressed", after="b@x", limit=2))

    def test_wishes(self) -> None:
        """What the sender wants to hear comes along as it was said."""
        found: Any = parse_head(head(ret="hdrs", envid="id", notices={"b@x": [["success"], "rfc822;b@x"]}))
        self.assertEqual((found.ret, found.envid, found.notices), ("hdrs", "id", {"b@x": (("success",), "rfc822;b@x")}))
        asked: Any = parse_head(head(require_tls=True))
        self.assertEqual((asked.require_tls, found.require_tls), (True, False))

    def test_null_sender(self) -> None:
        """The empty sender is the null reverse-path, and a recipient that stands twice counts once."""
        found = parse_head(head(sender="", recipients=["b@x", "b@x"]))
        self.assertEqual((found.sender, found.recipients), ("", ("b@x",)))  # type: ignore[union-attr]

    def test_reply(self) -> None:
        """The reply to a refusal has its code and text."""
        self.assertEqual(refused(Refusal("4.3.0", "no")), {"ok": False, "code": "4.3.0", "text": "no"})


class Addresses(SynchronousTestCase):
    def test_good(self) -> None:
        """Usual and unusual addresses pass as they are."""
        for address in (
            "a@example.com",
            "a.b+c=d@x",
            "用户@例子.公司",
            '"a b\\"c"@x',
            "a@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "o'neill@x",
            "a.@docomo.example",
        ):
            self.assertEqual(check_address(address), address)

    def test_bad(self) -> None:
        """What could end a command or name another person does not pass."""
        for address in (
            "",
            "root",
            "@x",
            "a@",
            "a b@x",
            "a@x y",
            "a@x>",
            "<a@x",
            "a@x\n",
            "a\0@x",
            "a\u202e@x",
            "a@-x",
            "a@x..y",
            "a,b@x",
            '"a"b"@x',
            "a@x\ud800",
            "\ud800@x",
            "a" * 65 + "@x",
            "a@" + "x." * 130 + "x",
        ):
            with self.assertRaises(Refusal, msg=repr(address)) as caught:
                check_address(address)
            self.assertTrue(caught.exception.text.isprintable())

    def test_no_queue_id(self) -> None:
        """What is no queue id is said back, in ASCII and cut short, so that a person sees the slip."""
        for text in ("../x", "A", "", "\x1b", "漢" * 1000):
            line = json.dumps({"v": 1, "command": "show", "id": text}).encode()
            with self.assertRaisesRegex(MalformedError, r"^5.5.2 '[ -~]{0,500}' is not a queue id$"):
                parse_head(line)

    @settings(derandomize=True, deadline=None)
    @given(st.text(max_size=30))
    def test_anything(self, text: str) -> None:
        """What passes has no control character, and no angle bracket outside of quotes."""
        try:
            address = check_address(text + "@x")
        except Refusal:
            return
        self.assertTrue(address.isprintable())
        self.assertTrue(address.startswith('"') or not set("<> ,") & set(address))
