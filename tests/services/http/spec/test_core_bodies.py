"""Protocol core, lines 4, 5 and 7: how long a body is, chunks, and Expect."""

from __future__ import annotations

from typing import Any, ClassVar

from netsvc.services.http.chunked import MAX_CHUNK_LINE, MAX_EXTENSIONS, MAX_TRAILERS
from tests.services.http.http_rig import Rig, hello, read_answers
from tests.services.http.spec.feeding import NEXT, FeedCase, get, head, mirror, post

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class LengthTests(FeedCase):
    route = staticmethod(mirror)
    options: ClassVar[dict[str, Any]] = {"max_body": 1000}

    def test_core_04_length_with_coding(self) -> None:
        """Content-Length with Transfer-Encoding is 400 and closes, in either order, whatever they say."""
        for length in ("5", "0", "x"):
            for coding in ("chunked", "identity", "gzip, chunked"):
                fields = (f"Content-Length: {length}", f"Transfer-Encoding: {coding}")
                self.refused(post(*fields, body=b"0\r\n\r\n"), 400)
                self.refused(post(*reversed(fields), body=b"0\r\n\r\n"), 400)
        self.refused(get("/", "Content-Length: 5", "Transfer-Encoding: chunked"), 400)

    def test_core_04_chunked_is_not_last(self) -> None:
        """A Transfer-Encoding whose last coding is not chunked is 400."""
        for coding in (
            "identity",
            "gzip",
            "chunked, identity",
            "chunked, gzip",
            "chunked, chunked",
            "",
            "chunked,",
            ",",
            "xchunked",
            "chunkedx",
            "chunked;q=1",
            '"chunked"',
            "chun ked",
            "chunked chunked",
            "chunked\x0b",
        ):
            self.refused(post(f"Transfer-Encoding: {coding}", body=b"0\r\n\r\n"), 400)
        self.refused(post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400)
        self.refused(post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400)

    def test_core_04_unknown_coding(self) -> None:
        """An unknown coding before chunked is 501, in one field or in two."""
        for coding in ("foo, chunked", "gzip, chunked", "identity, chunked", "gzip,deflate , chunked"):
            self.refused(post(f"Transfer-Encoding: {coding}", body=b"0\r\n\r\n"), 501)
        self.refused(post("Transfer-Encoding: foo", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 501)

    def test_core_04_coding_in_1_0(self) -> None:
        """A Transfer-Encoding in HTTP/1.0 closes the connection, whatever it asks."""
        for fields in ((), ("Connection: keep-alive",)):
            self.refused(post("Transfer-Encoding: chunked", *fields, version="1.0", body=b"0\r\n\r\n"), 400)

    def test_core_04_content_length(self) -> None:
        """Differing, negative, signed, hexadecimal, over-large and otherwise strange lengths are 400."""
        for length in (
            "-1",
            "-0",
            "+5",
            "0x5",
            "5x",
            "x",
            "",
            " ",
            "5 5",
            "5,5",
            "5, 5",
            "5,6",
            "1e1",
            "5.0",
            "\xb2",
            "9" * 19,
            "9" * 100,
            "18446744073709551616",
            "18446744073709551621",
            "5;",
            "5\x0b",
            "_5",
            "1_0",
        ):
            self.refused(post(f"Content-Length: {length}", body=b"hello"), 400)
        for other in ("5", "6", "05"):
            self.refused(post("Content-Length: 5", f"content-length: {other}", body=b"hello"), 400)

    def test_core_04_good_lengths(self) -> None:
        """Digits are a length, leading zeros too; the octets behind the body are the next request."""
        for length in ("5", "0005"):
            found = self.accepted(post(f"Content-Length: {length}", body=b"hello"))
            self.assertEqual(found.body, b"POST a.example /? hello")
        self.assertEqual(self.accepted(post("Content-Length: 0")).body, b"POST a.example /? ")
        self.assertEqual(self.accepted(post()).body, b"POST a.example /? ")
        self.assertEqual(self.accepted(get("/", "Content-Length: 3") + b"abc").body, b"GET a.example /? abc")

    def test_core_04_request_in_a_body(self) -> None:
        """A body that looks like a request is a body."""
        self.assertEqual(self.accepted(post(f"Content-Length: {len(NEXT)}", body=NEXT)).body[-len(NEXT) :], NEXT)
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(NEXT), NEXT)
        self.assertEqual(self.accepted(post("Transfer-Encoding: chunked", body=chunk)).body[-len(NEXT) :], NEXT)

    def test_core_11_long_body(self) -> None:
        """A body past max_body is 413: by its declared length, or as soon as its chunks are past it."""
        self.accepted(post("Content-Length: 1000", body=b"x" * 1000))
        for data in (
            post("Content-Length: 100000"),
            post("Transfer-Encoding: chunked", body=b"3e9\r\n"),
            post("Transfer-Encoding: chunked", body=b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n"),
            post("Transfer-Encoding: chunked", body=b"f" * 15 + b"\r\n"),
        ):
            for pieces in ([data], [data, NEXT], [data[at : at + 1] for at in range(len(data))]):
                peer = self.feed(pieces)
                self.assertEqual(peer.statuses, [413], data[:100])
                self.assertTrue(peer.transport.closed)
        peer = self.feed([post("Content-Length: 1001"), b"x" * 1001 + NEXT])  # short enough to be drained
        self.assertEqual(peer.statuses, [413, 200])


class ChunkTests(FeedCase):
    route = staticmethod(mirror)

    def good(self, body: bytes, meant: bytes) -> None:
        found = self.accepted(post("Transfer-Encoding: chunked", body=body))
        self.assertEqual(found.body, b"POST a.example /? " + meant)

    def bad(self, body: bytes, status: int = 400) -> None:
        self.refused(post("Transfer-Encoding: chunked", body=body), status)

    def test_core_05_sizes(self) -> None:
        """Sizes are hex digits in any case and nothing else; leading zeros are digits."""
        self.good(b"5\r\nhello\r\n0\r\n\r\n", b"hello")
        self.good(b"00a\r\n0123456789\r\nA\r\n0123456789\r\n0000\r\n\r\n", b"01234567890123456789")
        self.good(b"0\r\n\r\n", b"")
        for size in (
            b"",
            b" ",
            b" 5",
            b"5 ",
            b"\t5",
            b"0x5",
            b"0X5",
            b"+5",
            b"-5",
            b"5h",
            b"h",
            b"5_0",
            b"5,",
            b"\xb5",
            b"5.0",
        ):
            self.bad(size + b"\r\nhello\r\n0\r\n\r\n")

    def test_core_05_overflow(self) -> None:
        """A size that overflows anything is 400 or 413, never a small one."""
        for size in (b"1" * 16, b"10000000000000005", b"f" * 16, b"0" * 20 + b"5", b"1" + b"0" * 300, b"0" * 2000):
            self.bad(size + b"\r\nhello\r\n0\r\n\r\n")
        self.bad(b"8000000000000005"[1:] + b"0\r\nhello\r\n0\r\n\r\n")
        self.bad(b"f" * 15 + b"\r\nhello\r\n0\r\n\r\n", 413)

    def test_core_05_extensions(self) -> None:
        """Extensions are passed over, bounded, and free of bare LF and of other controls."""
        self.good(b'5;a;b=c;d="e f" ; g\r\nhello\r\n0;x\r\n\r\n', b"hello")
        self.good(b"5;" + b"a" * (MAX_CHUNK_LINE - 4) + b"\r\nhello\r\n0\r\n\r\n", b"hello")
        for extension in (
            b";a\nb",
            b";\n",
            b";a\0",
            b";a\rb",
            b";\x01",
            b";\x7f",
            b"x",
            b" a",
            b";" + b"a" * MAX_CHUNK_LINE,
        ):
            self.bad(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
        many = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
        self.bad(many * (MAX_EXTENSIONS // 1000 + 1))
        self.bad(b"5;" + b"a" * MAX_CHUNK_LINE)  # and no end of the line

    def test_core_05_end_of_data(self) -> None:
        """Exactly CRLF follows the data of a chunk."""
        for end in (b"\n", b"\r", b"X\r\n", b"\r\rX", b" \r\n", b"\n\r", b"0\r\n", b"", b"\r\n\r\n"):
            self.bad(b"5\r\nhello" + end + b"0\r\n\r\n" + b"x" * 4)
        self.bad(b"5\nhello\r\n0\r\n\r\n")
        self.bad(b"5\r\nhello\r\n0\n\r\n")
        self.bad(b"5\r\nhello\r\n0\r\n\n")
        self.bad(b"5\rhello\r\n0\r\n\r\n")

    def test_core_05_trailers(self) -> None:
        """Trailers are bounded, checked like fields, and never merged: neither Host nor length nor close."""
        trailers = b"Host: evil\r\nContent-Length: 5\r\nConnection: close\r\nX: y\r\n"
        self.good(b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n", b"hello")
        for trailer in (b"X : y", b" X: y", b"X", b": y", b"X: \0", b"X: y\nZ: w", b"X: y\rZ", b"X(: y"):
            self.bad(b"0\r\n" + trailer + b"\r\n\r\n")
        self.bad(b"0\r\n" + b"X: y\r\n" * (MAX_TRAILERS // 6 + 1), 431)
        self.bad(b"0\r\nX: " + b"y" * MAX_TRAILERS, 431)
        rig = Rig(route=hello, access_log=False)
        peer = rig.connect()
        peer.send(post("Transfer-Encoding: chunked", body=b"0\r\nX: y\r\n\r\n"))
        self.assertIsNone(rig.exchanges[0].head.first(b"x"))

    def test_core_05_broken_off(self) -> None:
        """A chunked body that ends in the middle is 400 when its peer has closed its half; the route is told."""
        whole = b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"
        for length in range(len(whole)):
            peer = self.feed([post("Transfer-Encoding: chunked", body=whole[:length])], half=True)
            self.assertEqual(peer.statuses, [400], whole[:length])
            self.assertTrue(peer.transport.closed)


class ExpectTests(FeedCase):
    def ask(self, route: Any, data: bytes, **options: Any) -> bytes:
        peer = Rig(route=route, access_log=False, **options).connect()
        peer.send(data)
        return peer.received

    def test_core_07_continue(self) -> None:
        """A route that takes the body makes a 100, once; then the body and one final answer."""
        for field in ("100-continue", "100-Continue", " 100-CONTINUE "):
            for framing, body in (
                ("Content-Length: 5", b"hello"),
                ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
            ):
                peer = Rig(route=mirror, access_log=False).connect()
                peer.send(post(framing, f"Expect: {field}"))
                self.assertEqual(peer.received, CONTINUE)
                peer.send(body)
                (answer,) = read_answers(peer.received, [])
                self.assertEqual(answer.body, b"POST a.example /? hello")
                self.assertEqual(peer.received.count(CONTINUE), 1)
                peer.send(NEXT)
                self.assertEqual(peer.statuses, [200, 200])

    def test_core_07_refused(self) -> None:
        """A request that will be refused gets its final status instead, and the connection ends."""
        for data, status, options in (
            (post("Content-Length: 5", "Expect: 100-continue"), 405, {}),
            (post("Content-Length: 5000", "Expect: 100-continue"), 413, {"max_body": 100}),
            (post("Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue"), 400, {}),
            (post("Transfer-Encoding: foo, chunked", "Expect: 100-continue"), 501, {}),
            (post("Content-Length: 5", "Expect: 100-continue", "X : y"), 400, {}),
        ):
            peer = Rig(route=lambda exchange: exchange.refuse(405), access_log=False, **options).connect()
            peer.send(data)
            self.assertNotIn(CONTINUE, peer.received)
            self.assertEqual(peer.statuses, [status])
            self.assertTrue(peer.transport.closed)
            peer.send(b"hello" + NEXT)
            self.assertEqual(peer.statuses, [status])

    def test_core_07_refused_by_the_site(self) -> None:
        """A file that takes no POST says 405 and no 100; a path that is not there 404."""
        for target in ("/", "/nothing"):
            found = self.ask(
                None, head(f"POST {target} HTTP/1.1", "Host: a", "Content-Length: 5", "Expect: 100-continue")
            )
            self.assertNotIn(CONTINUE, found)
            self.assertTrue(found.startswith(b"HTTP/1.1 "))

    def test_core_07_body_comes_at_once(self) -> None:
        """A peer that does not wait gets no 100, and its answer."""
        self.assertNotIn(CONTINUE, self.ask(mirror, post("Content-Length: 5", "Expect: 100-continue", body=b"hello")))

    def test_core_07_none_to_1_0(self) -> None:
        """HTTP/1.0 gets no 100, and its answer."""
        found = self.ask(mirror, post("Content-Length: 5", "Expect: 100-continue", version="1.0"))
        self.assertEqual(found, b"")
        found = self.ask(mirror, post("Content-Length: 5", "Expect: 100-continue", version="1.0", body=b"hello"))
        self.assertTrue(found.startswith(b"HTTP/1.1 200 "))

    def test_core_07_no_body(self) -> None:
        """Without a body there is nothing to go on with."""
        for data in (get("/", "Expect: 100-continue"), post("Content-Length: 0", "Expect: 100-continue")):
            self.assertNotIn(CONTINUE, self.ask(mirror, data))

    def test_core_07_other_expectations(self) -> None:
        """Anything else is 417; HTTP/1.0 is not asked."""
        for expectation in ("200-ok", "100-continue, x", "100-continue;a=b", "x"):
            self.refused(post("Content-Length: 0", f"Expect: {expectation}"), 417)
        self.accepted(post("Content-Length: 0", "Expect: x", version="1.0"), keeps=False)

    def test_core_07_behind_another_request(self) -> None:
        """In a pipeline the 100 comes behind the answers before it."""
        peer = Rig(route=mirror, access_log=False).connect()
        peer.send(get("/one") + post("Content-Length: 5", "Expect: 100-continue"))
        self.assertTrue(peer.received.endswith(CONTINUE))
        peer.send(b"hello")
        self.assertEqual(len(peer.answers()), 2)
