"""HTTP/2: which requests are answered, and how."""

from __future__ import annotations

import tempfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.answer import http_date
from tests.services.http.http2.h2_rig import GET, ErrorCodes, Peer2
from tests.services.http.http_rig import NOW, Rig, Sink, hello, wait, write


class NegotiationTests(SynchronousTestCase):
    def test_core_alpn(self) -> None:
        """HTTP/2 is offered before HTTP/1.1, unless it is switched off; a peer without ALPN gets HTTP/1.1."""
        rig = Rig(route=hello)
        self.assertEqual(rig.factory.acceptableProtocols(), [b"h2", b"http/1.1"])
        self.assertEqual(Rig(http2=False).factory.acceptableProtocols(), [b"http/1.1"])
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(peer.statuses, [200])

    def test_core_06_not_http2(self) -> None:
        """Octets that are no HTTP/2 preface end the connection with PROTOCOL_ERROR, as soon as that is seen."""
        peer = Peer2(Rig(route=hello), greet=False)
        peer.raw(b"GET")
        self.assertEqual(peer.error, ErrorCodes.PROTOCOL_ERROR)
        self.assertTrue(peer.transport.disconnecting)

    def test_core_06_settings_first(self) -> None:
        """The preface is followed by SETTINGS, or the connection ends."""
        peer = Peer2(Rig(route=hello), greet=False)
        peer.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0AAAAAAAA")
        self.assertEqual(peer.error, ErrorCodes.PROTOCOL_ERROR)


class RequestTests(SynchronousTestCase):
    def ask(self, *fields: tuple[str, str], head: Any = GET) -> Any:
        """The answer to a request with these fields after those of GET."""
        self.rig = Rig(route=hello)
        self.peer = Peer2(self.rig)
        answer = self.peer.ask([*head, *fields])
        if answer.reset is None:
            self.assertTrue(answer.ended)
        other = self.peer.get("/other")
        self.assertEqual((other.status, other.body), (200, b"/other"), "the connection goes on")
        return answer

    def test_core_01_authority(self) -> None:
        """:authority is the host, and a Host field for scripts; alone, a Host field does as well."""
        self.ask((":path", "/a?b"))
        head = self.rig.exchanges[0].head
        self.assertEqual((head.host, head.path, head.query, head.version), ("example.com", b"/a", b"b", (2, 0)))
        self.assertEqual(head.headers, ((b"host", b"example.com"),))
        self.ask((":path", "/"), ("host", "other.example"), head=GET[:2])
        self.assertEqual(self.rig.exchanges[0].head.host, "other.example")
        self.assertEqual(self.ask((":path", "/"), ("host", "Example.com")).status, 200)

    def test_core_01_wrong_authority(self) -> None:
        """Without an authority, with two that differ, or with an invalid one: 400."""
        self.assertEqual(self.ask((":path", "/"), head=GET[:2]).status, 400)
        self.assertEqual(self.ask((":path", "/"), ("host", "other.example")).status, 400)
        self.assertEqual(self.ask((":path", "/"), ("host", "a"), ("host", "a"), head=GET[:2]).status, 400)
        for bad in ("", "a b", "user@example.com", "[::g]", "a:99999", "a/b"):
            self.assertEqual(self.ask((":authority", bad), (":path", "/"), head=GET[:2]).status, 400, bad)

    def test_core_01_options(self) -> None:
        """OPTIONS * reaches the routes; * is no target for others."""
        head = ((":method", "OPTIONS"), *GET[1:])
        self.assertEqual(self.ask((":path", "*"), head=head).body, b"*")
        self.assertEqual(self.ask((":path", "*")).status, 400)

    def test_core_02_targets(self) -> None:
        """A fragment, a control character, a space, or anything but a path, in :path: 400."""
        for bad in ("/a#b", "/a b", "/\xe4", "a", "http://example.com/", "?a"):
            self.assertEqual(self.ask((":path", bad)).status, 400, bad)
        self.assertEqual(self.ask((":scheme", "ftp"), (":path", "/"), head=(GET[0], GET[2])).status, 400)

    def test_core_02_methods(self) -> None:
        """An unknown method is 501; CONNECT has an authority only, and is left to the routes."""
        self.assertEqual(self.ask((":method", "BREW"), (":path", "/"), head=GET[1:]).status, 501)
        self.assertEqual(self.ask((":method", "CONNECT"), (":authority", "a:1"), head=()).status, 200)
        self.assertEqual(self.rig.exchanges[0].head.target, b"a:1")
        for wrong in (((":path", "/"), (":scheme", "https")), ((":authority", ""),), ()):
            self.assertEqual(self.ask((":method", "CONNECT"), *wrong, head=()).reset, ErrorCodes.PROTOCOL_ERROR)

    def test_core_02_too_long(self) -> None:
        """A target that is too long is 414; too many fields, or octets of them, 431. The connection goes on."""
        self.assertEqual(self.ask((":path", "/" + "a" * 8192)).status, 414)
        self.assertEqual(self.ask((":path", "/"), *((f"x{at}", "y") for at in range(101))).status, 431)
        self.assertEqual(self.ask((":path", "/"), ("x", "y" * 32768)).status, 431)
        self.assertEqual(self.ask((":path", "/"), *(("cookie", "a=b") for _ in range(200))).status, 200)

    def test_core_02_far_too_long(self) -> None:
        """A head that is many times too long costs the connection, before it is kept or decoded as a whole."""
        peer = Peer2(Rig(route=hello))
        peer.open("/", *((f"x{at}", "y" * 1000) for at in range(100)))
        self.assertEqual(peer.error, ErrorCodes.ENHANCE_YOUR_CALM)
        self.assertEqual(peer.rig.exchanges, [])

    def test_core_03_malformed(self) -> None:
        """What RFC 9113 8.2 and 8.3 call malformed resets its stream; the routes do not hear of it."""
        for fields in (
            ((":path", "/"), ("Upper", "x")),
            ((":path", "/"), ("a b", "x")),
            ((":path", "/"), ("", "x")),
            ((":path", "/"), ("a:b", "x")),
            ((":path", "/"), ("x", "a\r\nb")),
            ((":path", "/"), ("x", "a\0b")),
            ((":path", "/"), ("x", " a")),
            ((":path", "/"), ("x", "a\t")),
            ((":path", "/"), ("connection", "close")),
            ((":path", "/"), ("transfer-encoding", "chunked")),
            ((":path", "/"), ("upgrade", "h2c")),
            ((":path", "/"), ("te", "gzip")),
            (("x", "y"), (":path", "/")),
            (("cookie", "y"), (":path", "/")),
            ((":path", "/"), (":path", "/")),
            ((":path", "/"), (":status", "200")),
            ((":path", "/"), (":protocol", "websocket")),
            ((":path", "/\x7f"),),
            ((":path", ""),),
            (),
            ((":path", "/"), ("content-length", "1")),
            ((":path", "/"), ("content-length", "-1")),
            ((":path", "/"), ("content-length", "0"), ("content-length", "0")),
        ):
            answer = self.ask(*fields)
            self.assertEqual((answer.reset, answer.status), (ErrorCodes.PROTOCOL_ERROR, 0), fields)
            self.assertEqual(len(self.rig.exchanges), 1, fields)
        self.assertEqual(self.ask((":path", "/"), head=GET[1:]).reset, ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.ask((":path", "/"), ("te", "trailers")).status, 200)

    def test_cgi_03_cookies(self) -> None:
        """The crumbs of a cookie are one field again."""
        self.ask((":path", "/"), ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"))
        self.assertEqual(self.rig.exchanges[0].head.all(b"cookie"), [b"a=1; b=2"])


class AnswerTests(SynchronousTestCase):
    def test_core_08_fields(self) -> None:
        """Every answer has Date and Server, names in lower case, and nothing of a connection of HTTP/1."""

        def route(exchange: Any) -> None:
            fields = ((b"X-Name", b" value "), (b"Connection", b"close"), (b"Transfer-Encoding", b"chunked"))
            exchange.answer(200, (*fields, (b"Set-Cookie", b"a=" + b"b" * 300)), b"x")

        answer = Peer2(Rig(route=route)).get()
        self.assertEqual(
            answer.headers,
            {
                b"date": http_date(NOW),
                b"server": b"netsvc",
                b"x-name": b"value",
                b"set-cookie": b"a=" + b"b" * 300,
                b"content-length": b"1",
            },
        )
        self.assertNotIn(b"server", Peer2(Rig(route=hello, server="")).get().headers)

    def test_core_08_without_body(self) -> None:
        """HEAD has the fields of GET and no body; 204 and 304 have neither body nor length; nor has an empty answer."""
        peer = Peer2(Rig(route=hello))
        got, head = peer.get("/x"), peer.get("/x", method="HEAD")
        self.assertEqual((head.headers, head.body, head.ended), (got.headers, b"", True))
        for status in (204, 304):
            answer = Peer2(Rig(route=lambda one, status=status: one.answer(status, (), b"no"))).get()
            self.assertEqual((answer.status, answer.body, answer.ended), (status, b"", True))
            self.assertNotIn(b"content-length", answer.headers)
        answer = Peer2(Rig(route=lambda one: one.answer(200, (), b""))).get()
        self.assertEqual((answer.headers[b"content-length"], answer.ended), (b"0", True))

    def test_core_08_errors(self) -> None:
        """An error has a page with the request id; a route that fails is a 500, and costs no other stream."""
        peer = Peer2(Rig(route=lambda one: one.refuse(403)))
        answer = peer.get()
        self.assertEqual(answer.status, 403)
        self.assertIn(peer.rig.exchanges[0].request_id.encode(), answer.body)

        def fail(exchange: Any) -> None:
            if exchange.head.path == b"/fail":
                raise KeyError("a fault")
            hello(exchange)

        peer = Peer2(Rig(route=fail))
        self.assertEqual([peer.get("/fail").status, peer.get("/").status], [500, 200])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_core_08_unsendable(self) -> None:
        """A field that would split a message is never sent: the answer is 500, and the log says so."""
        for bad in ((b"x", b"a\r\nb"), (b"a b", b"x")):
            rig = Rig(route=lambda one, bad=bad: one.answer(200, (bad,), b""))
            self.assertEqual(Peer2(rig).get().status, 500)
            rig = Rig(route=lambda one, bad=bad: one.begin(200, (bad,)))
            self.assertEqual(Peer2(rig).get().status, 500)

    def test_core_06_streamed(self) -> None:
        """An answer of unknown length ends with its stream; what is written past a known length is dropped."""

        def stream(exchange: Any) -> None:
            exchange.begin(200, ())
            for part in (b"a", b"", b"bc"):
                exchange.write(part)
            exchange.finish()
            exchange.write(b"more")
            exchange.finish()

        answer = Peer2(Rig(route=stream)).get()
        self.assertEqual((answer.body, answer.ended), (b"abc", True))
        self.assertNotIn(b"content-length", answer.headers)

        def long(exchange: Any) -> None:
            exchange.begin(200, (), 2)
            exchange.begin(500, ())
            exchange.write(b"abc")
            exchange.finish()

        answer = Peer2(Rig(route=long)).get()
        self.assertEqual((answer.status, answer.body, answer.ended), (200, b"ab", True))

    def test_cgi_07_cut(self) -> None:
        """An answer that is shorter than promised, or broken off, is reset with INTERNAL_ERROR: visibly cut."""

        def short(exchange: Any) -> None:
            exchange.begin(200, (), 3)
            exchange.write(b"ab")
            exchange.finish()

        rig = Rig(route=short)
        answer = Peer2(rig).get()
        self.assertEqual((answer.reset, answer.ended), (ErrorCodes.INTERNAL_ERROR, False))
        rig = Rig(route=lambda one: one.abort())
        self.assertEqual(Peer2(rig).get().reset, ErrorCodes.INTERNAL_ERROR)

        def begun(exchange: Any) -> None:
            exchange.begin(200, ())
            exchange.refuse(500)
            exchange.refuse(500)

        self.assertEqual(Peer2(Rig(route=begun)).get().reset, ErrorCodes.INTERNAL_ERROR)

    def test_cgi_05_take_over(self) -> None:
        """nph- scripts cannot have the connection to themselves."""
        rig = Rig(route=wait)
        Peer2(rig).open()
        self.assertIs(rig.exchanges[0].take_over(), False)

    def test_core_09_static(self) -> None:
        """Files, ranges and conditions are those of HTTP/1; a file in memory is sent the short way, and is the same."""
        root = tempfile.mkdtemp()
        write(root, "a.txt", b"some text")
        write(root, "big.bin", bytes(range(256)) * 4096)
        peer = Peer2(Rig(root))
        first = peer.get("/a.txt")
        for _ in range(3):
            self.assertEqual(peer.get("/a.txt"), first)
        self.assertEqual(first.body, b"some text")
        tag = first.headers[b"etag"].decode()
        found = [peer.get("/a.txt", ("if-none-match", tag)) for _ in range(3)]
        self.assertEqual([one.status for one in found], [304] * 3)
        self.assertEqual(found[0], found[2])
        self.assertEqual(peer.get("/a.txt", ("if-none-match", '"other"')).status, 200)
        self.assertEqual(peer.get("/a.txt", method="HEAD").headers, first.headers)
        self.assertEqual(peer.get("/big.bin").body, bytes(range(256)) * 4096)
        ranged = peer.get("/big.bin", ("range", "bytes=1-3,70000-70001"))
        self.assertEqual(ranged.status, 206)
        self.assertEqual(peer.get("/a.txt", ("range", "bytes=5-")).body, b"text")

    def test_static_ready_in_frames(self) -> None:
        """A file in memory that is longer than a frame is sent in several; one without octets in none."""
        root = tempfile.mkdtemp()
        write(root, "long", bytes(range(256)) * 160)
        write(root, "empty", b"")
        peer = Peer2(Rig(root))
        for name, length in (("/long", 40960), ("/empty", 0)):
            answers = [peer.get(name) for _ in range(4)]
            self.assertEqual(answers, answers[:1] * 4)
            self.assertEqual((len(answers[0].body), answers[0].ended), (length, True))
        self.assertEqual(len(peer.rig.exchanges), 2 * 2, "a head is known when it has come twice with the same table")

    def test_static_ready_waits_for_windows(self) -> None:
        """A file in memory for which a window is too small goes the long way, and is whole in the end."""
        root = tempfile.mkdtemp()
        write(root, "a", b"some text")
        peer = Peer2(Rig(root), takes=False)
        for _ in range(3):
            peer.get("/a")
        before = len(peer.rig.exchanges)
        peer.h2.update_settings({4: 4})
        peer.flush()
        stream = peer.open("/a")
        self.assertEqual((peer.answers[stream].body, len(peer.rig.exchanges)), (b"some", before + 1))
        peer.h2.increment_flow_control_window(5, stream)
        peer.flush()
        self.assertEqual((peer.answers[stream].body, peer.answers[stream].ended), (b"some text", True))

    def test_static_ready_by_table(self) -> None:
        """The same octets mean another request when the peer's table has changed: never the wrong answer."""
        root = tempfile.mkdtemp()
        for name in ("one", "two"):
            write(root, name, name.encode())
        peer = Peer2(Rig(root))
        rows = [("/one", "/two", "/one")[at % 3] for at in range(30)]
        for at, path in enumerate(rows):
            if at % 7 == 0:
                peer.get(path, ("x-new", str(at)))
            self.assertEqual(peer.get(path).body, path[1:].encode())

    def test_core_07_continue(self) -> None:
        """100 Continue is sent when the body is asked for, once; not when the request is refused at once."""
        for asks in (lambda one: one.receive_body(Sink()), lambda one: (one.send_continue(), one.send_continue())):
            peer = Peer2(Rig(route=asks))
            stream = peer.open("/", ("expect", "100-continue"), method="POST", end=False)
            self.assertEqual(peer.answers[stream].informational, [100])
        peer = Peer2(Rig(route=lambda one: one.refuse(403)))
        stream = peer.open("/", ("expect", "100-continue"), method="POST", end=False)
        self.assertEqual((peer.answers[stream].informational, peer.answers[stream].status), ([], 403))
        self.assertEqual(peer.answers[stream].reset, ErrorCodes.NO_ERROR)
        self.assertEqual(peer.get("/", ("expect", "tea")).status, 417)
