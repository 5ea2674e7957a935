"""The receiving half of HTTP/1.x: heads, bodies, and every way to break them."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http import chunked
from netsvc.services.http.head import Message, RejectedError, check_host
from netsvc.services.http.wire import REMEMBERED_HEADS, Body, End, Heads, Limits, RequestReader

SMALL = Limits(target=64, head=256, fields=8, body=100)


def events(pieces: list[bytes], limits: Limits = SMALL) -> list[Any]:
    """What is read: messages, bodies joined, ends, and the status of a rejection."""
    reader = RequestReader(limits, Heads())
    found: list[Any] = []
    for piece in pieces:
        reader.receive(piece)
        while (event := reader.next()) is not None:
            if isinstance(event, Body):
                if found and isinstance(found[-1], bytes):
                    found[-1] += event.data
                else:
                    found.append(event.data)
            elif isinstance(event, RejectedError):
                found.append(event.status)
            elif isinstance(event, End):
                found.append("end")
            else:
                found.append(event)
    return found


def both(data: bytes, limits: Limits = SMALL) -> list[Any]:
    """What is read whole, which must be what is read byte by byte."""
    whole = events([data], limits)
    assert events([data[at : at + 1] for at in range(len(data))], limits) == whole, (data, whole)
    return whole


def status(data: bytes, limits: Limits = SMALL) -> int | None:
    """The status of the rejection, or None when there is none."""
    found = both(data, limits)
    assert not any(isinstance(one, int) for one in found[:-1])
    return found[-1] if found and isinstance(found[-1], int) else None


def message(data: bytes) -> Message:
    """The one message."""
    (found,) = both(data)
    assert isinstance(found, Message), found
    return found


def head(line: str, *fields: str) -> bytes:
    """The octets of a head."""
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


def get(*fields: str, target: str = "/", version: str = "1.1") -> bytes:
    """A GET with some fields."""
    return head(f"GET {target} HTTP/{version}", *fields)


def post(*fields: str, body: bytes = b"") -> bytes:
    """A POST with some fields."""
    return head("POST / HTTP/1.1", "Host: a", *fields) + body


class HostTests(SynchronousTestCase):
    def test_core_01_host_missing(self) -> None:
        """HTTP/1.1 without Host is 400; HTTP/1.0 may do without."""
        self.assertEqual(status(get()), 400)
        self.assertEqual(message(get(version="1.0")).head.host, "")

    def test_core_01_host_twice(self) -> None:
        """Two Host fields are 400, also when they are equal, in 1.0 as well."""
        for version in ("1.0", "1.1"):
            self.assertEqual(status(get("Host: a", "Host: a", version=version)), 400)

    def test_core_01_host_invalid(self) -> None:
        """An invalid Host is 400."""
        for host in (
            "", "a b", "a/b", "u@a", "a:b", "a:65536", "a:123456", "[::1", "[:::1]", "::1", "[1.2.3.4]", "a,b", "a?",
            "a#", "é",
            "[::1]x", "a:80:80", ":80", "[]",
        ):  # fmt: skip
            self.assertEqual(status(get(f"Host: {host}")), 400, host)

    def test_core_01_host_valid(self) -> None:
        """Names, addresses and literals, with a port or an empty one, are hosts."""
        for host in ("a", "example.com:8000", "example.com.", "a_b", "192.0.2.1", "[::1]", "[2001:db8::1]:443", "a:"):
            self.assertEqual(message(get(f"Host: {host}")).head.host, host)
            self.assertTrue(check_host(host))

    def test_core_01_absolute_form(self) -> None:
        """An absolute target overrides Host and is reduced to path and query."""
        found = message(get("Host: a", target="http://b:81/x/y?q=1")).head
        self.assertEqual((found.host, found.path, found.query), ("b:81", b"/x/y", b"q=1"))
        self.assertEqual(found.target, b"http://b:81/x/y?q=1")
        self.assertEqual(message(get("Host: a", target="HTTPS://b")).head.path, b"/")
        self.assertEqual(message(get("Host: a", target="http://b?q")).head.query, b"q")

    def test_core_01_absolute_form_needs_host(self) -> None:
        """An absolute target does not replace a missing or invalid Host."""
        self.assertEqual(status(get(target="http://b/")), 400)
        self.assertEqual(status(get("Host: a b", target="http://b/")), 400)
        self.assertEqual(message(get(target="http://b/", version="1.0")).head.host, "b")

    def test_core_01_absolute_form_invalid(self) -> None:
        """Userinfo, other schemes and an empty authority are 400."""
        for target in ("http://u@b/", "ftp://b/", "http:///x", "http:/x", "x", "?q", "mailto:a"):
            self.assertEqual(status(get("Host: a", target=target)), 400, target)

    def test_core_01_options_asterisk(self) -> None:
        """The asterisk is a target of OPTIONS only; an absolute one without path means it."""
        self.assertEqual(message(head("OPTIONS * HTTP/1.1", "Host: a")).head.path, b"*")
        self.assertEqual(message(head("OPTIONS http://a HTTP/1.1", "Host: a")).head.path, b"*")
        self.assertEqual(status(get("Host: a", target="*")), 400)

    def test_core_01_connect(self) -> None:
        """The target of CONNECT is an authority."""
        self.assertEqual(message(head("CONNECT a:443 HTTP/1.1", "Host: a:443")).head.host, "a:443")
        self.assertEqual(status(head("CONNECT a@b:443 HTTP/1.1", "Host: a:443")), 400)


class RequestLineTests(SynchronousTestCase):
    def test_core_02_target(self) -> None:
        """A fragment, a control character, a space or an octet beyond ASCII in the target is 400."""
        for target in ("/a#b", "/a\x01", "/a b", "/a\x7f", "/\xe9", "/a\tb", "", "/\x00"):
            self.assertEqual(status(get("Host: a", target=target)), 400, target)

    def test_core_02_versions(self) -> None:
        """A higher minor version is 1.1; another major one is 505; what is no version is 400."""
        self.assertEqual(message(get("Host: a", version="1.9")).head.version, (1, 1))
        self.assertEqual(message(get("Host: a", version="1.0")).head.version, (1, 0))
        for version in ("2.0", "0.9", "3.1"):
            self.assertEqual(status(get("Host: a", version=version)), 505)
        for version in ("1", "1.10", "11.1", "a.b", "1.1 ", "", " 1.1"):
            self.assertEqual(status(get("Host: a", version=version)), 400, version)
        self.assertEqual(status(b"GET /\r\n\r\n"), 400)
        self.assertEqual(status(b"GET / http/1.1\r\nHost: a\r\n\r\n"), 400)
        self.assertEqual(status(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505)

    def test_core_02_unknown_method(self) -> None:
        """An unknown method is 501, known ones in lower case too; what is no token is 400."""
        for method in ("FOO", "get", "PROPFIND"):
            self.assertEqual(status(head(f"{method} / HTTP/1.1", "Host: a")), 501)
        for method in ("G@T", "", "G\xe9T", "(GET)"):
            self.assertEqual(status(head(f"{method} / HTTP/1.1", "Host: a")), 400)

    def test_core_02_long_target(self) -> None:
        """A target past the limit is 414, at once; one of the limit's length is read."""
        self.assertEqual(len(message(get("Host: a", target="/" + "a" * 63)).head.path), 64)
        self.assertEqual(status(get("Host: a", target="/" + "a" * 64)), 414)
        self.assertEqual(status(get("Host: a", target="/" + "a" * 640)), 414)
        self.assertEqual(status(b"GET /" + b"a" * 100), 414)
        self.assertEqual(status(b"A" * 100), 414)

    def test_core_02_long_headers(self) -> None:
        """Fields past their limit are 431, in octets and in number, also when their line has no end."""
        self.assertEqual(status(get("Host: a", "X: " + "a" * 300)), 431)
        self.assertEqual(status(get("Host: a")[:-2] + b"X: " + b"a" * 300), 431)
        self.assertEqual(status(get("Host: a", *(f"X{at}: 1" for at in range(7)))), None)
        self.assertEqual(status(get("Host: a", *(f"X{at}: 1" for at in range(8)))), 431)

    def test_core_02_not_http(self) -> None:
        """A TLS hello, or any other first octet that no method has, is refused at once."""
        self.assertEqual(status(b"\x16"), 400)
        self.assertEqual(status(b" GET"), 400)

    def test_core_02_empty_lines_before(self) -> None:
        """Two empty lines before a request are ignored, a third is not (RFC 9112 2.2)."""
        self.assertEqual(message(b"\r\n\r\n" + get("Host: a")).head.path, b"/")
        self.assertEqual(status(b"\r\n\r\n\r\n" + get("Host: a")), 400)
        self.assertEqual(status(b"\rGET"), 414 if len(b"\rGET") > 96 else None)
        self.assertEqual(status(b"\rG / HTTP/1.1\r\n"), 400)


class FieldTests(SynchronousTestCase):
    def test_core_03_bad_fields(self) -> None:
        """A CR alone, NUL, a bad name, space before the colon, no colon, no name: 400."""
        for field in (
            "A: a\rb",
            "A: \0",
            "A\0: a",
            "A : a",
            "A\t: a",
            "A",
            ": a",
            "A(: a",
            "A\xe9: a",
            "A: \x01",
            "A: \x7f",
        ):
            self.assertEqual(status(get("Host: a", field)), 400, field)

    def test_core_03_obs_fold(self) -> None:
        """A folded line is 400, also the first one."""
        self.assertEqual(status(get("Host: a", "A: b", " c")), 400)
        self.assertEqual(status(get("Host: a", "A: b", "\tc")), 400)
        self.assertEqual(status(get(" Host: a")), 400)

    def test_core_03_bare_lf(self) -> None:
        """A bare LF is 400 wherever it ends a line, as soon as it comes: nobody waits for the CR."""
        for data in (
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nA: b\nHost: a\r\n\r\n",
            b"\n",
            b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            self.assertEqual(status(data), 400, data)

    def test_core_03_values(self) -> None:
        """Space around values is not theirs; tabs, octets beyond ASCII and empty values are kept."""
        found = message(get("Host: a", "A:\t b\tc \t", "B:", "C: \xe9")).head
        self.assertEqual(found.all(b"a"), [b"b\tc"])
        self.assertEqual(found.first(b"b"), b"")
        self.assertEqual(found.first(b"c"), b"\xe9")
        self.assertIsNone(found.first(b"d"))

    def test_core_06_connection(self) -> None:
        """Connection is a list, in any case, in any number of fields; 1.0 closes unless it asks."""
        for version, fields, keeps in (
            ("1.1", (), True),
            ("1.1", ("Connection: foo, Close",), False),
            ("1.1", ("Connection: foo", "Connection: close"), False),
            ("1.1", ("Connection: closed",), True),
            ("1.0", (), False),
            ("1.0", ("Connection: Keep-Alive",), True),
            ("1.0", ("Connection: keep-alive, close",), False),
        ):
            self.assertIs(message(get("Host: a", *fields, version=version)).keep_alive, keeps, fields)

    def test_core_06_upgrade_is_not_taken(self) -> None:
        """An offer to upgrade is a request like any other."""
        found = message(get("Host: a", "Connection: upgrade", "Upgrade: h2c"))
        self.assertEqual(found.head.first(b"upgrade"), b"h2c")

    def test_core_07_expect(self) -> None:
        """100-continue is known in 1.1 and ignored in 1.0; anything else is 417."""
        self.assertIs(both(post("Content-Length: 1", "Expect: 100-Continue"))[0].expects_continue, True)
        self.assertIs(message(post("Expect: 100-continue")).expects_continue, False)
        old = head("POST / HTTP/1.0", "Content-Length: 1", "Expect: 100-continue")
        self.assertIs(both(old)[0].expects_continue, False)
        self.assertEqual(status(post("Expect: 200-maybe")), 417)

    def test_plain(self) -> None:
        """Only a GET over 1.1 without body, condition or range is decided by its path alone."""
        self.assertTrue(message(get("Host: a", "Cookie: b")).plain)
        self.assertTrue(message(get("Host: a", "Connection: close")).plain)
        for data in (
            get("Host: a", version="1.0"),
            get("Host: a", "Range: bytes=0-"),
            get("Host: a", "If-None-Match: *"),
            head("HEAD / HTTP/1.1", "Host: a"),
        ):
            self.assertFalse(message(data).plain, data)


class FramingTests(SynchronousTestCase):
    def test_core_04_content_length_with_transfer_encoding(self) -> None:
        """Both together are 400, in either order."""
        self.assertEqual(status(post("Content-Length: 3", "Transfer-Encoding: chunked")), 400)
        self.assertEqual(status(post("Transfer-Encoding: chunked", "Content-Length: 3")), 400)

    def test_core_04_transfer_encoding(self) -> None:
        """Where chunked is not last, or is there twice: 400; another coding before it: 501."""
        for coding in (
            "identity",
            "gzip",
            "chunked, gzip",
            "chunked, chunked",
            "xchunked",
            "",
            "chunked;a=b",
            "\x0bchunked",
        ):
            self.assertEqual(status(post(f"Transfer-Encoding: {coding}")), 400, coding)
        for coding in ("gzip, chunked", "foo, chunked"):
            self.assertEqual(status(post(f"Transfer-Encoding: {coding}")), 501, coding)
        self.assertEqual(status(post("Transfer-Encoding: gzip", "Transfer-Encoding: chunked")), 501)
        self.assertEqual(both(post("Transfer-Encoding: Chunked", body=b"0\r\n\r\n"))[1:], ["end"])

    def test_core_04_transfer_encoding_in_1_0(self) -> None:
        """HTTP/1.0 knows no transfer codings: 400."""
        self.assertEqual(status(head("POST / HTTP/1.0", "Transfer-Encoding: chunked")), 400)

    def test_core_04_content_length(self) -> None:
        """Differing, repeated, listed, signed, negative, hexadecimal, empty and over-large lengths are 400."""
        for fields in (
            ("3", "4"), ("3", "3"), ("3, 3",), ("+3",), ("-3",), ("0x3",), ("3a",), ("",), ("3 3",), ("9" * 19,),
            ("9" * 40,), ("٣",),
        ):  # fmt: skip
            lines = [f"Content-Length: {one}".encode().decode("latin-1") for one in fields]
            self.assertEqual(status(post(*lines)), 400, fields)

    def test_core_04_counted_body(self) -> None:
        """A counted body is followed by its end and the next message."""
        found = both(post("Content-Length: 5", body=b"hello") + get("Host: a"))
        self.assertEqual(found[1:3], [b"hello", "end"])
        self.assertEqual(found[3].head.method, "GET")
        self.assertEqual(both(post("Content-Length: 5", body=b"hel"))[1:], [b"hel"])
        self.assertEqual(message(post("Content-Length: 0")).body_length, 0)

    def test_left(self) -> None:
        """A reader tells how much of a body is to come."""
        reader = RequestReader(SMALL, Heads())
        reader.receive(post("Content-Length: 5", body=b"hel"))
        reader.next()
        self.assertEqual((reader.in_body, reader.left, reader.buffered), (True, 5, 3))
        reader.next()
        self.assertEqual((reader.in_body, reader.left, reader.buffered), (True, 2, 0))
        reader = RequestReader(SMALL, Heads())
        reader.receive(post("Transfer-Encoding: chunked"))
        reader.next()
        self.assertEqual((reader.in_body, reader.left), (True, None))

    def test_nothing_after_a_rejection(self) -> None:
        """After a broken rule nothing is read, however right it is."""
        self.assertEqual(both(b"BAD\r\n\r\n" + get("Host: a")), [400])


class ChunkTests(SynchronousTestCase):
    def chunks(self, body: bytes, limits: Limits = SMALL) -> list[Any]:
        return both(post("Transfer-Encoding: chunked", body=body), limits)[1:]

    def test_core_05_chunks(self) -> None:
        """Chunks are joined; sizes are hexadecimal in any case with leading zeros."""
        self.assertEqual(self.chunks(b"5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n"), [b"hello0123456789", "end"])
        self.assertEqual(self.chunks(b"b\r\nhello world\r\n000\r\n\r\n"), [b"hello world", "end"])

    def test_core_05_sizes(self) -> None:
        """Anything but hex digits is 400; so is a size that overflows."""
        for size in (b"", b" 5", b"5 ", b"0x5", b"+5", b"-5", b"5\t", b"g", b"5_0", b"1" * 16, b"\x00", b"5\r"):
            self.assertEqual(self.chunks(size + b"\r\nhello\r\n0\r\n\r\n"), [400], size)
        self.assertEqual(self.chunks(b"f" * 15 + b"\r\n"), [413])

    def test_core_05_extensions(self) -> None:
        """Extensions are skipped; a bare LF or NUL in one, a long one, and too many are 400."""
        self.assertEqual(self.chunks(b'5;a="b;c" ; d\r\nhello\r\n0;x\r\n\r\n'), [b"hello", "end"])
        self.assertEqual(self.chunks(b"5 ;a\r\nhello\r\n0\r\n\r\n"), [b"hello", "end"])
        for extension in (b";a\nb", b";a\0", b"x", b";" + b"a" * chunked.MAX_CHUNK_LINE, b";a\rb"):
            self.assertEqual(self.chunks(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"), [400], extension)
        self.assertEqual(self.chunks(b"5;" + b"a" * chunked.MAX_CHUNK_LINE), [400])
        many = (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20
        self.assertEqual(self.chunks(many), [b"x" * 16, 400])

    def test_core_05_line_ends(self) -> None:
        """Only CRLF ends a chunk's size and its data."""
        for body in (b"5\nhello\r\n0\r\n\r\n", b"\n"):
            self.assertEqual(self.chunks(body), [400])
        for body in (b"5\r\nhello\n0\r\n\r\n", b"5\r\nhelloX\r\n", b"5\r\nhello\rX"):
            self.assertEqual(self.chunks(body), [b"hello", 400])
        self.assertEqual(self.chunks(b"5\r\nhello\r\n0\r\n\n"), [b"hello", 400])

    def test_core_05_trailers(self) -> None:
        """Trailers are checked and dropped: never merged; too long is 431."""
        found = both(post("Transfer-Encoding: chunked", body=b"0\r\nHost: evil\r\nX: y\r\n\r\n") + get("Host: b"))
        self.assertEqual([name for name, _ in found[0].head.headers], [b"host", b"transfer-encoding"])
        self.assertEqual(found[1], "end")
        self.assertEqual(found[2].head.host, "b")
        for trailer in (b"X : y\r\n", b" X: y\r\n", b"X\r\n", b"X: \0\r\n", b"X: y\n"):
            self.assertEqual(self.chunks(b"0\r\n" + trailer + b"\r\n"), [400], trailer)
        self.assertEqual(self.chunks(b"0\r\n" + b"X: y\r\n" * 2000), [431])
        self.assertEqual(self.chunks(b"0\r\nX: " + b"y" * 9000), [431])

    def test_core_05_limit(self) -> None:
        """A body longer than its limit is 413, told by the size of the chunk that passes it."""
        self.assertEqual(self.chunks(b"64\r\n" + b"a" * 100 + b"\r\n0\r\n\r\n"), [b"a" * 100, "end"])
        self.assertEqual(self.chunks(b"64\r\n" + b"a" * 100 + b"\r\n1\r\na\r\n0\r\n\r\n"), [b"a" * 100, 413])


class MemoryTests(SynchronousTestCase):
    def test_heads_are_remembered(self) -> None:
        """The same head is parsed once; one with credentials or a body is not kept; the oldest is forgotten."""
        heads = Heads()

        def parse(data: bytes) -> Message:
            return heads.parse(data, data.index(b"\r\n"))

        self.assertIs(parse(get("Host: a")), parse(get("Host: a")))
        for data in (get("Host: a", "Authorization: b"), get("Host: a", "Cookie: b"), post("Content-Length: 3")):
            self.assertIsNot(parse(data), parse(data))
        for at in range(REMEMBERED_HEADS):
            parse(get("Host: a", target=f"/{at}"))
        self.assertEqual(len(heads.known), REMEMBERED_HEADS)
        self.assertNotIn(get("Host: a"), heads.known)
        long = get("Host: a", "X: " + "y" * 4000)
        self.assertIsNot(parse(long), parse(long))


FRAGMENTS = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b" ", b"/", b"*", b"http://a/b", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b":",
    b"Host: a",
     b"Host:", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close", b"Expect: 100-continue",
     b"\0", b"#", b"?",
     b"hello", b"5", b"0", b";a=b", b"X: y", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n\r\n", b"a" * 70, b"\xff",
     b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
     b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"]
)  # fmt: skip


class PropertyTests(SynchronousTestCase):
    @given(st.lists(FRAGMENTS, max_size=24), st.integers(1, 40))
    @example([b"\r\n", b"\r\n", b"\r\n"], 2)
    @settings(derandomize=True, deadline=None, max_examples=1500)
    def test_however_it_is_cut(self, parts: list[bytes], size: int) -> None:
        """Whole, byte by byte or in pieces: the same is read, and nothing but a rejection comes of nonsense."""
        data = b"".join(parts)
        whole = both(data)
        self.assertEqual(events([data[at : at + size] for at in range(0, len(data), size)]), whole)

    @given(st.binary(max_size=400))
    @settings(derandomize=True, deadline=None, max_examples=500)
    def test_any_octets(self, data: bytes) -> None:
        """Any octets: at most a rejection."""
        both(data)
        both(post("Transfer-Encoding: chunked", body=data))

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=10))
    @settings(derandomize=True, deadline=None)
    def test_chunked_round_trip(self, pieces: list[bytes]) -> None:
        """What is sent in chunks is what is read."""
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        limits = Limits(body=10_000)
        found = both(post("Transfer-Encoding: chunked", body=body), limits)
        self.assertEqual(found[1:], [*([b"".join(pieces)] if pieces else []), "end"])
