"""Files in codings: what a peer takes, compressed siblings, gzip as they are sent; types; rules of Cache-Control."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.errors import BadValue, StartError
from netsvc.services.http.static import compress
from netsvc.services.http.static.cache_control import CacheRules, cache_rules
from netsvc.services.http.static.encodings import accepted_codings, preferred_type
from netsvc.services.http.static.media_types import MediaTypes, media_type, read_types_file, shrinks, type_rules
from netsvc.services.http.static.ready import site_by_host
from tests.services.http.http_rig import NOW, Answer, Peer, Rig, request, write

TEXT = b"All work and no play makes Jack a dull boy. " * 100  # 4,400 octets
LONG = b"".join(b"%d bottles of beer\n" % at for at in range(20_000))  # longer than what is kept in memory
BROWSER = "Accept-Encoding: gzip, deflate, br, zstd"
HERE = Context(Path("/"))


def weights(value: str) -> str:
    """The codings that a field takes, the best first; those that are taken alike joined by =."""
    accepted = accepted_codings([value.encode("latin-1")])
    found: dict[int, list[str]] = {}
    for name in (b"br", b"zstd", b"gzip", b"identity"):
        if accepted.weight(name):
            found.setdefault(accepted.weight(name), []).append(name.decode())
    return " ".join("=".join(found[rank]) for rank in sorted(found, reverse=True))


class FieldTests(SynchronousTestCase):
    def test_static_accept_encoding(self) -> None:
        """Weights, the star, identity and case are as RFC 9110 12.5.3 says; malformed members are as if absent."""
        for value, found in (
            ("", "identity"),
            ("gzip", "gzip identity"),
            ("gzip, br", "br=gzip identity"),
            ("GZip;Q=0.5, BR", "br gzip identity"),
            ("x-gzip", "gzip identity"),
            ("*", "br=zstd=gzip=identity"),
            ("*;q=0", ""),
            ("gzip, *;q=0", "gzip"),
            ("gzip;q=0, *", "br=zstd=identity"),
            ("identity;q=0, gzip;q=0.001", "gzip"),
            ("identity;q=0", ""),
            ("identity, gzip;q=0.5", "identity gzip"),
            ("gzip;q=0.0001, br;q=2, zstd;q=, deflate", "identity"),
            ("gzip ; q=1.000 , br ;q=0.999", "gzip br identity"),
            ("gzip;level=9", "identity"),
            ("gzip;q=0, gzip", "identity"),
            (",, gzip ,", "gzip identity"),
            ("\xff, gz ip, =, gzip", "gzip identity"),
            ("x" * 1000 + ", br", "br identity"),
        ):
            self.assertEqual(weights(value), found, value)
        self.assertEqual(accepted_codings([b"gzip", b"br"]), accepted_codings([b"br;q=0.3,gzip;q=0.3"]))
        self.assertEqual(accepted_codings([]), accepted_codings([b""]))

    def test_static_keys_of_codings(self) -> None:
        """Fields that mean the same have one key, others have others."""
        same = [b"gzip, deflate, br, zstd", b"br,gzip,zstd", b"zstd;q=1.0, br, gzip, dcb, dcz"]
        self.assertEqual(len({accepted_codings([one]).key for one in same}), 1)
        others = [b"", b"gzip", b"br", b"gzip, br", b"gzip, br;q=0.5", b"gzip, identity;q=0"]
        self.assertEqual(len({accepted_codings([one]).key for one in others}), len(others))

    @given(st.binary(max_size=80))
    @settings(derandomize=True, deadline=None)
    def test_static_any_octets(self, value: bytes) -> None:
        """Any octets are read as fields without an error."""
        accepted_codings([value])
        self.assertIn(preferred_type([value], (b"text/html",)), (b"text/html", None))

    def test_static_sites_by_host(self) -> None:
        """A host is the same with any port, case and final dot."""
        for host, name in (
            ("Example.COM:8000", b"example.com"), ("a.", b"a"), ("[::1]:80", b"[::1"), ("[::1]", b"[::1"), ("", b""),
        ):  # fmt: skip
            self.assertEqual(site_by_host(host), name)


class CodingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        write(self.root, "a.txt", TEXT)
        write(self.root, "long.txt", LONG)
        write(self.root, "tiny.txt", b"tiny")
        write(self.root, "b.js", TEXT)
        write(self.root, "b.js.gz", b"g" * 300, age=900.0)
        write(self.root, "b.js.br", b"b" * 200, age=900.0)
        write(self.root, "b.js.zst", b"z" * 250, age=900.0)
        write(self.root, "i.png", b"png" * 1000)
        self.rig = Rig(self.root)

    def tearDown(self) -> None:
        for name in os.listdir("/proc/self/fd"):
            try:
                link = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            self.assertNotIn(str(self.root), link, "a descriptor is left open")

    def coding(self, path: str, value: str | None) -> str:
        """The coding that a path is sent in."""
        answer = self.rig.get(path, *([] if value is None else [f"Accept-Encoding: {value}"]))
        self.assertEqual(answer.status, 200)
        return answer.headers.get(b"content-encoding", b"none").decode()


class SiblingTests(CodingCase):
    def test_static_siblings(self) -> None:
        """The coding that the peer likes best is sent from the file beside; the shortest of those liked alike."""
        for value, found in (
            ("gzip, deflate, br, zstd", "br"),
            ("gzip", "gzip"),
            ("zstd", "zstd"),
            ("zstd, gzip", "zstd"),
            ("br;q=0.5, gzip", "gzip"),
            ("br;q=0, *", "zstd"),
            ("deflate", "none"),
            ("", "none"),
            (None, "none"),
            ("identity;q=0, gzip", "gzip"),
            ("identity, br;q=0.9", "none"),
        ):
            self.assertEqual(self.coding("/b.js", value), found, value)

    def test_static_sibling_fields(self) -> None:
        """Each variant has the type of the file, a tag of its own and Vary, and so has its 304."""
        tags = set()
        for value, body in (("gzip", b"g" * 300), ("br", b"b" * 200), ("zstd", b"z" * 250), ("", TEXT)):
            field = f"Accept-Encoding: {value}"
            answer = self.rig.get("/b.js", field)
            self.assertEqual(answer.body, body)
            self.assertEqual(answer.headers[b"content-type"], b"text/javascript; charset=utf-8")
            self.assertEqual(answer.headers[b"vary"], b"Accept-Encoding")
            self.assertEqual(answer.headers[b"accept-ranges"], b"bytes")
            tag = answer.headers[b"etag"].decode()
            self.assertRegex(tag, '"[^"]+"')
            tags.add(tag)
            again = self.rig.get("/b.js", field, f"If-None-Match: {tag}")
            self.assertEqual((again.status, again.headers[b"etag"].decode()), (304, tag))
            self.assertEqual(again.headers[b"vary"], b"Accept-Encoding")
            head = self.rig.get("/b.js", field, method="HEAD")
            self.assertEqual(head.headers, answer.headers)
        self.assertEqual(len(tags), 4)
        tag = self.rig.get("/b.js").headers[b"etag"].decode()
        self.assertEqual(self.rig.get("/b.js", "Accept-Encoding: br", f"If-None-Match: {tag}").status, 200)

    def test_static_sibling_ranges(self) -> None:
        """A range is one of the variant that is chosen."""
        field = "Accept-Encoding: br"
        tag = self.rig.get("/b.js", field).headers[b"etag"].decode()
        answer = self.rig.get("/b.js", field, "Range: bytes=190-", f"If-Range: {tag}")
        self.assertEqual((answer.status, answer.body), (206, b"b" * 10))
        self.assertEqual(answer.headers[b"content-range"], b"bytes 190-199/200")
        self.assertEqual(answer.headers[b"content-encoding"], b"br")
        answer = self.rig.get("/b.js", "Range: bytes=0-9", f"If-Range: {tag}")
        self.assertEqual((answer.status, answer.body), (200, TEXT))
        self.assertEqual(self.rig.get("/b.js", field, "Range: bytes=200-").status, 416)

    def test_static_sibling_asked_for(self) -> None:
        """A compressed file that is asked for by its own name is a plain file."""
        answer = self.rig.get("/b.js.gz", BROWSER)
        self.assertEqual((answer.status, answer.body), (200, b"g" * 300))
        self.assertEqual(answer.headers[b"content-type"], b"application/gzip")
        self.assertNotIn(b"content-encoding", answer.headers)
        self.assertNotIn(b"vary", answer.headers)

    def test_static_sibling_that_is_old(self) -> None:
        """One that is older than its file is not sent; in memory neither, once the file is edited."""
        self.assertEqual(self.coding("/b.js", "br"), "br")
        write(self.root, "b.js", TEXT + b"new", age=800.0)
        self.assertEqual(self.coding("/b.js", "br"), "none")
        self.assertEqual(self.coding("/b.js", "gzip"), "gzip")
        self.assertEqual(gzip.decompress(self.rig.get("/b.js", "Accept-Encoding: gzip").body), TEXT + b"new")

    def test_static_sibling_that_is_empty(self) -> None:
        """An empty one is the beginning of one that is being written, and no octets in any coding: it is not sent."""
        for text in (TEXT, b""):
            write(self.root, "c.bin", text)
            write(self.root, "c.bin.br", b"")
            answer = Rig(self.root).get("/c.bin", BROWSER)
            self.assertEqual((answer.body, answer.headers.get(b"content-encoding")), (text, None))

    def test_static_sibling_that_is_no_file(self) -> None:
        """A link, a directory, a pipe and an unreadable name beside a file are no siblings."""
        for make in (
            lambda path: path.symlink_to("b.js.br"),
            lambda path: path.symlink_to("/etc/passwd"),
            Path.mkdir,
            os.mkfifo,
        ):
            write(self.root, "c.bin", TEXT)
            path = self.root / "c.bin.br"
            make(path)
            answer = Rig(self.root).get("/c.bin", BROWSER)
            self.assertEqual(answer.body, TEXT)
            self.assertNotIn(b"vary", answer.headers)
            path.rmdir() if path.is_dir() else path.unlink()

    def test_static_sibling_of_a_link(self) -> None:
        """What stands beside the file counts, not what stands beside a link to it."""
        (self.root / "d").mkdir()
        (self.root / "d/link.js").symlink_to("../b.js")
        write(self.root, "d/link.js.br", b"wrong", age=900.0)
        self.assertEqual(self.rig.get("/d/link.js", "Accept-Encoding: br").body, b"b" * 200)
        for follow in ("owner", "yes"):
            rig = Rig(self.root, follow_symlinks=follow)
            self.assertEqual(rig.get("/d/link.js", "Accept-Encoding: br").body, b"b" * 200)
        with mock.patch("netsvc.services.http.site.paths.os.stat") as fake:
            fake.return_value = mock.Mock(st_mode=0o100644, st_mtime_ns=1 << 62, st_uid=12345)
            rig = Rig(self.root, follow_symlinks="yes", cache=0, compress=False)
            self.assertEqual(rig.get("/d/link.js", "Accept-Encoding: br").body, TEXT)

    def test_static_sibling_replaced_meanwhile(self) -> None:
        """A sibling that is replaced between the look and the opening is not sent."""
        real = os.stat

        def replaced(*arguments: object, **options: object) -> object:
            found = real(*arguments, **options)  # type: ignore[arg-type, call-overload]
            if arguments[0] == b"b.js.br":
                os.replace(write(self.root, "new", b"other", age=1.0), self.root / "b.js.br")
            return found

        with mock.patch("netsvc.services.http.site.paths.os.stat", replaced):
            self.assertEqual(Rig(self.root, cache=0).get("/b.js", "Accept-Encoding: br").body, TEXT)

    def test_static_sibling_of_an_index(self) -> None:
        """An index file has siblings too."""
        write(self.root, "d/index.html", TEXT)
        write(self.root, "d/index.html.br", b"index", age=900.0)
        self.assertEqual(self.rig.get("/d/", BROWSER).body, b"index")

    def test_static_siblings_off(self) -> None:
        """With precompressed = no nothing is looked for."""
        rig = Rig(self.root, precompressed=False, compress=False)
        answer = rig.get("/b.js", BROWSER)
        self.assertEqual(answer.body, TEXT)
        self.assertNotIn(b"vary", answer.headers)

    def test_static_large_sibling(self) -> None:
        """A sibling that is too large for memory is sent from the file."""
        write(self.root, "long.txt.br", LONG[::-1], age=900.0)
        self.assertEqual(self.rig.get("/long.txt", BROWSER).body, LONG[::-1])

    def test_static_sibling_changes_while_read(self) -> None:
        """A small sibling that changes while it is read is 503."""
        real = os.pread

        def moving(*arguments: int) -> bytes:
            data = real(*arguments)
            write(self.root, "b.js.br", b"!" * 200, age=1.0)
            return data

        with mock.patch("netsvc.services.http.static.files.os.pread", moving):
            self.assertEqual(self.rig.get("/b.js", BROWSER).status, 503)


class GzipTests(CodingCase):
    def test_static_gzip(self) -> None:
        """Text is compressed for peers that take it, small and large, under a tag of its own, with Vary on both."""
        for path, text in (("/a.txt", TEXT), ("/long.txt", LONG)):
            plain, packed = self.rig.get(path), self.gzipped(path)
            self.assertEqual(plain.body, text)
            self.assertEqual(gzip.decompress(packed.body), text)
            self.assertLess(len(packed.body), len(text) // 2)
            for answer in (plain, packed):
                self.assertEqual(answer.headers[b"vary"], b"Accept-Encoding")
                self.assertEqual(answer.headers[b"content-type"], b"text/plain; charset=utf-8")
            self.assertEqual(packed.headers[b"etag"], plain.headers[b"etag"][:-1] + b'-gzip"')
            self.assertEqual(plain.headers[b"accept-ranges"], b"bytes")
            self.assertNotIn(b"accept-ranges", packed.headers)

    def gzipped(self, path: str, *fields: str, method: str = "GET") -> Answer:
        """The answer to a peer that takes gzip, once all of it has come."""
        peer = self.rig.connect()
        peer.send(request(path, BROWSER, *fields, method=method))
        self.turn(peer)
        (answer,) = peer.answers(method)
        return answer

    def turn(self, peer: Peer, times: int = 3) -> None:
        for _ in range(times):
            self.rig.clock.advance(0)
            peer.transport.pump()

    def test_static_gzip_conditions(self) -> None:
        """If-None-Match with the tag of the compressed one is 304, for those who take it."""
        for path in ("/a.txt", "/long.txt"):
            tag = self.gzipped(path).headers[b"etag"].decode()
            answer = self.gzipped(path, f"If-None-Match: {tag}")
            self.assertEqual((answer.status, answer.headers[b"vary"]), (304, b"Accept-Encoding"))
            self.assertEqual(self.rig.get(path, f"If-None-Match: {tag}").status, 200)

    def test_static_gzip_head(self) -> None:
        """HEAD has the fields of GET."""
        for path in ("/a.txt", "/long.txt"):
            self.assertEqual(self.gzipped(path, method="HEAD").headers, self.gzipped(path).headers)

    def test_static_gzip_and_ranges(self) -> None:
        """A range is one of the file as it is, and never of what is compressed anew each time."""
        for path, text in (("/a.txt", TEXT), ("/long.txt", LONG)):
            answer = self.gzipped(path, "Range: bytes=2-5")
            self.assertEqual((answer.status, answer.body), (206, text[2:6]))
            self.assertNotIn(b"content-encoding", answer.headers)
            self.assertEqual(answer.headers[b"vary"], b"Accept-Encoding")
            tag = self.gzipped(path).headers[b"etag"].decode()
            answer = self.gzipped(path, "Range: bytes=2-5", f"If-Range: {tag}")
            self.assertEqual((answer.status, answer.body), (200, text))

    def test_static_gzip_bounds(self) -> None:
        """What is too small, too large or no text is sent as it is, without Vary where nothing varies."""
        self.assertEqual(self.coding("/tiny.txt", "gzip"), "none")
        self.assertEqual(self.coding("/i.png", "gzip"), "none")
        for path in ("/tiny.txt", "/i.png"):
            self.assertNotIn(b"vary", self.rig.get(path, BROWSER).headers)
        for rig in (Rig(self.root, compress_max=1000), Rig(self.root, compress=False)):
            self.assertNotIn(b"content-encoding", rig.get("/a.txt", BROWSER).headers)
        self.assertIn(b"content-encoding", Rig(self.root, compress_min=0).get("/tiny.txt", BROWSER).headers)

    def test_static_gzip_wanted_more_than_a_sibling(self) -> None:
        """A peer that likes gzip better than the sibling that is there gets gzip."""
        write(self.root, "a.txt.br", b"sibling", age=900.0)
        self.assertEqual(self.coding("/a.txt", "gzip, br;q=0.5"), "gzip")
        self.assertEqual(self.coding("/a.txt", "gzip, br"), "br")
        self.assertEqual(self.coding("/a.txt", "gzip"), "gzip")
        self.assertEqual(self.coding("/a.txt", "identity, gzip;q=0.5"), "none")

    def test_static_nothing_acceptable(self) -> None:
        """A peer that takes neither what is there nor the file as it is gets 406."""
        for path, value in (("/i.png", "identity;q=0"), ("/a.txt", "*;q=0"), ("/i.png", "gzip, *;q=0")):
            answer = self.rig.get(path, f"Accept-Encoding: {value}")
            self.assertEqual((answer.status, answer.headers[b"vary"]), (406, b"Accept-Encoding"))
        self.assertEqual(self.coding("/a.txt", "gzip, identity;q=0"), "gzip")

    def test_static_gzip_of_a_long_file_is_chunked(self) -> None:
        """A long file is compressed block by block between turns, and waits for a peer that does not read."""
        peer = self.rig.connect()
        peer.send(request("/long.txt", BROWSER))
        producer = peer.transport.producer
        real = os.pread
        blocks = []

        def read(descriptor: int, length: int, offset: int) -> bytes:
            blocks.append(length)
            if len(blocks) == 2:
                producer.pauseProducing()
            return real(descriptor, length, offset)

        with mock.patch.object(compress.os, "pread", read):
            self.turn(peer)
            self.assertEqual(len(blocks), 2)
            producer.resumeProducing()
            self.turn(peer)
        self.assertEqual((max(blocks), sum(blocks)), (compress.BLOCK, len(LONG)))
        (answer,) = peer.answers()
        self.assertEqual(answer.headers[b"transfer-encoding"], b"chunked")
        self.assertEqual(gzip.decompress(answer.body), LONG)

    def test_static_gzip_paused_before_a_block(self) -> None:
        """A pause between two turns holds the next block back."""
        peer = self.rig.connect()
        peer.send(request("/long.txt", BROWSER))
        producer = peer.transport.producer
        producer.pauseProducing()
        before = len(peer.received)
        self.turn(peer)
        self.assertEqual(len(peer.received), before)
        producer.resumeProducing()
        self.turn(peer)
        self.assertEqual(gzip.decompress(peer.answers()[0].body), LONG)

    def test_static_gzip_peer_leaves(self) -> None:
        """A peer that leaves in the middle leaves nothing open and no timer."""
        peer = self.rig.connect()
        peer.send(request("/long.txt", BROWSER))
        peer.leave()
        self.turn(peer)

    def test_static_gzip_of_a_file_that_changes(self) -> None:
        """A long file that is cut or changed while it is compressed breaks the answer visibly."""
        for data in (b"short", LONG[:-1] + b"!"):
            write(self.root, "long.txt", LONG)
            peer = self.rig.connect()
            peer.send(request("/long.txt", BROWSER))
            with mock.patch.object(compress.os, "pread", self.then(data)), capturedLogs() as logs:
                self.turn(peer)
            self.assertTrue(peer.transport.closed)
            self.assertNotIn(b"\r\n0\r\n\r\n", peer.received)
            self.assertEqual([one["event"] for one in logs if "event" in one][-1], "http-file-changed")

    def then(self, data: bytes) -> Callable[..., bytes]:
        """A pread after which the file has become another."""
        real = os.pread

        def read(*arguments: int) -> bytes:
            found = real(*arguments)
            write(self.root, "long.txt", data, age=500.0)
            return found

        return read

    def test_static_gzip_unreadable(self) -> None:
        """A disk that fails in the middle breaks the answer."""
        peer = self.rig.connect()
        peer.send(request("/long.txt", BROWSER))
        with mock.patch.object(compress.os, "pread", side_effect=OSError(5, "Input/output error")), capturedLogs():
            self.turn(peer)
        self.assertTrue(peer.transport.closed)

    def test_static_gzip_in_http_1_0(self) -> None:
        """A peer of HTTP/1.0 gets a long file compressed as well, ended by closing."""
        peer = self.rig.connect()
        peer.send(f"GET /long.txt HTTP/1.0\r\n{BROWSER}\r\n\r\n".encode())
        self.turn(peer)
        self.assertTrue(peer.transport.closed)
        self.assertEqual(gzip.decompress(peer.answers()[0].body), LONG)


class MemoryTests(CodingCase):
    def ask_twice(self, path: str, *fields: str, host: str = "example.com") -> tuple[Answer, Answer]:
        """The answers to two requests alike, of which the second comes from memory."""
        peer = self.rig.connect()
        octets = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()
        peer.send(octets)
        before = len(self.rig.exchanges)
        peer.send(octets)
        self.assertEqual(len(self.rig.exchanges), before, (path, fields))
        first, second = peer.answers()
        return first, second

    def test_static_memory_by_coding(self) -> None:
        """Every coding is answered from memory, and never in another's place."""
        for path, field in (
            ("/b.js", BROWSER), ("/b.js", "Accept-Encoding: gzip"), ("/b.js", "Accept-Encoding: zstd"),
            ("/b.js", "X: y"),
            ("/a.txt", BROWSER), ("/a.txt", "X: y"), ("/i.png", BROWSER),
        ):  # fmt: skip
            first, second = self.ask_twice(path, field)
            self.assertEqual(first, second)
            self.assertEqual(first, Rig(self.root, cache=0).get(path, field))

    def test_static_memory_by_site(self) -> None:
        """What is kept for a site is not given to another."""
        self.rig.ready._site_of = site_by_host
        self.ask_twice("/a.txt", host="one.example")
        before = len(self.rig.exchanges)
        self.ask_twice("/a.txt", host="two.example")
        self.assertEqual(len(self.rig.exchanges), before + 1)
        plain, secure = self.rig.ready.keys(self.rig.exchanges[-1].head)
        self.assertIsNotNone(self.rig.ready.find(plain, NOW))
        self.assertIsNone(self.rig.ready.find(secure, NOW))

    def test_static_memory_of_304(self) -> None:
        """304 comes from memory, by tag and by date, also when nobody has asked for the whole."""
        for field in (BROWSER, "X: y"):
            answer = Rig(self.root).get("/b.js", field)
            tag, date = answer.headers[b"etag"].decode(), answer.headers[b"last-modified"].decode()
            for condition in (f"If-None-Match: {tag}", f"If-None-Match: W/{tag}", f"If-Modified-Since: {date}"):
                first, second = self.ask_twice("/b.js", field, condition)
                self.assertEqual((first.status, first), (304, second))
            self.ask_twice("/b.js", field, f"If-None-Match: {tag}", "If-Modified-Since: yesterday")
        self.rig.clock.advance(1.0)
        self.rig.factory._look() if self.rig.factory._call is None else None
        self.assertGreater(sum(self.rig.metrics.metrics["http_requests"].values.values()), 0)

    def test_static_memory_and_other_conditions(self) -> None:
        """Another tag, a later date, a list and a malformed field are looked at properly."""
        answer = self.rig.get("/a.txt")
        tag, date = answer.headers[b"etag"].decode(), answer.headers[b"last-modified"].decode()
        for fields, status in (
            (('If-None-Match: "x"',), 200),
            ((f'If-None-Match: "x", {tag}',), 304),
            (("If-None-Match: *",), 304),
            (("If-None-Match:",), 200),
            ((f"If-None-Match: {tag}", 'If-None-Match: "x"'), 304),
            (('If-None-Match: "x"', f"If-Modified-Since: {date}"), 200),
            (("If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT",), 304),
            (("If-Modified-Since: Fri, 15 Jan 1999 08:00:00 GMT",), 200),
            (("If-Modified-Since: soon",), 200),
        ):
            for _ in range(2):
                self.assertEqual(self.rig.get("/a.txt", *fields).status, status, fields)

    def test_static_memory_is_renewed(self) -> None:
        """What is kept is looked at once a second, and compressed once; a sibling that appears is seen."""
        self.ask_twice("/a.txt", BROWSER)
        with mock.patch("netsvc.services.http.static.files.gzipped", side_effect=AssertionError):
            for _ in range(3):
                self.rig.factory.epoch += 2.0
                self.rig.clock.advance(2.0)
                self.assertEqual(self.rig.get("/a.txt", BROWSER).headers[b"content-encoding"], b"gzip")
        write(self.root, "a.txt.br", b"sibling", age=900.0)
        self.rig.clock.advance(2.0)
        self.rig.factory.epoch += 2.0
        self.assertEqual(self.rig.get("/a.txt", BROWSER).body, b"sibling")

    def test_static_memory_and_a_sibling_that_changes(self) -> None:
        """A kept sibling that is removed or written anew is seen at the next request."""
        self.ask_twice("/b.js", BROWSER)
        write(self.root, "b.js.br", b"new", age=800.0)
        self.assertEqual(self.rig.get("/b.js", BROWSER).body, b"new")
        self.ask_twice("/b.js", BROWSER)
        (self.root / "b.js.br").unlink()
        self.assertEqual(self.rig.get("/b.js", BROWSER).body, b"z" * 250)


class RuleTests(CodingCase):
    def test_static_cache_control(self) -> None:
        """The first pattern that fits gives Cache-Control to 200, 206 and 304."""
        write(self.root, "assets/app.css", b"x" * 10)
        write(self.root, "d/index.html", b"<p>")
        rules = (
            ("/assets/*", "max-age=31536000, immutable"),
            ("*.js", "max-age=60"),
            ("d/index.html", "no-cache"),
            ("*.txt", 'private="a, b", no-store'),
        )
        rig = Rig(self.root, cache_control=rules)
        for path, value in (
            ("/assets/app.css", b"max-age=31536000, immutable"),
            ("/b.js", b"max-age=60"),
            ("/d/", b"no-cache"),
            ("/a.txt", b'private="a, b", no-store'),
            ("/i.png", None),
        ):
            answer = rig.get(path)
            self.assertEqual(answer.headers.get(b"cache-control"), value, path)
            tag = answer.headers[b"etag"].decode()
            self.assertEqual(rig.get(path, f"If-None-Match: {tag}").headers.get(b"cache-control"), value)
            self.assertEqual(rig.get(path, "Range: bytes=0-0").headers.get(b"cache-control"), value)
        self.assertNotIn(b"cache-control", rig.get("/nothing.js").headers)
        self.assertIsNone(CacheRules((("[a]*", "no-cache"),)).value(b"/b\xff"))
        self.assertEqual(CacheRules((("*", "no-cache"),)).value(b"/b\xff"), b"no-cache")

    def test_static_cache_control_is_checked(self) -> None:
        """A line without value, a value that is none, and a pattern that comes twice are faults."""
        kind = cache_rules()
        text = "*.css max-age=3600, public\n  /a/* \t no-cache\n"
        self.assertEqual(kind.parse(text, HERE), (("*.css", "max-age=3600, public"), ("/a/*", "no-cache")))
        self.assertEqual(kind.parse(kind.show(kind.parse(text, HERE)), HERE), kind.parse(text, HERE))
        for bad in ("*.css", "* a b", "* a=", "* x\u00e9", "* a, ,b", "*.a b\n*.a c", "* " + "a" * 2000, '* a="\x01"'):
            with self.assertRaises(BadValue):
                kind.parse(bad, HERE)

    def test_static_types_added(self) -> None:
        """Types can be added, and take the place of netsvc's own."""
        write(self.root, "a.foo", b"x")
        write(self.root, "a.bar", b"x")
        table = write(self.root, "mime.types", b"# types\ntext/x-bar\tbar BAZ\nvideo/x-ts ts\nbad type\n\n")
        rig = Rig(self.root, types=((".foo", "text/x-foo"), (".txt", "text/plain;charset=koi8-r")), types_file=table)
        for path, kind in (
            ("/a.foo", b"text/x-foo; charset=utf-8"),
            ("/a.bar", b"text/x-bar; charset=utf-8"),
            ("/a.txt", b"text/plain;charset=koi8-r"),
        ):
            self.assertEqual(rig.get(path).headers[b"content-type"], kind)
        self.assertEqual(MediaTypes({}, read_types_file(table)).of(b"a.ts"), b"video/mp2t")
        with self.assertRaises(StartError):
            Rig(self.root, types_file=self.root / "none")

    def test_static_types_are_checked(self) -> None:
        """A suffix without its dot, a type that is none, and a suffix that comes twice are faults."""
        kind = type_rules()
        text = ".FOO text/x-foo\n.b \ta/b; charset=x"
        self.assertEqual(kind.parse(text, HERE), ((".foo", "text/x-foo"), (".b", "a/b; charset=x")))
        self.assertEqual(kind.parse(kind.show(kind.parse(text, HERE)), HERE), kind.parse(text, HERE))
        for bad in ("foo text/x", ".foo", ".foo text", ".a/b text/x", ".a a/b\n.A a/c", ".a a/b\u00e9", ".a.b a/b"):
            with self.assertRaises(BadValue):
                kind.parse(bad, HERE)

    def test_static_types_of_today(self) -> None:
        """What is common in 2026 has its registered type, text with a charset."""
        for name, kind in (
            ("a.wasm", "application/wasm"), ("a.mjs", "text/javascript; charset=utf-8"), ("a.avif", "image/avif"),
            ("a.webp", "image/webp"), ("a.jxl", "image/jxl"), ("a.woff2", "font/woff2"),
            ("site.webmanifest", "application/manifest+json; charset=utf-8"), ("a.jsonld", "application/ld+json"),
            ("a.ics", "text/calendar; charset=utf-8"), ("README.md", "text/markdown; charset=utf-8"),
            ("a.vtt", "text/vtt; charset=utf-8"), ("a.opus", "audio/opus"), ("a.mkv", "video/matroska"),
            ("a.m4a", "audio/mp4"), ("a.csv", "text/csv; charset=utf-8"), ("a.pdf", "application/pdf"),
            ("a.tar.zst", "application/zstd"), ("a.tgz", "application/gzip"), ("a.rs", "text/plain; charset=utf-8"),
            ("a.ico", "image/vnd.microsoft.icon"), ("a.xml", "text/xml; charset=utf-8"),
            ("a.epub", "application/epub+zip"),
            ("Makefile", "application/octet-stream"), (".html", "application/octet-stream"),
            ("a.\u00e9", "application/octet-stream"),
        ):  # fmt: skip
            self.assertEqual(media_type(name.encode()), kind.encode(), name)
        for kind, found in (
            (b"text/html; charset=utf-8", True), (b"application/ld+json", True),
            (b"image/svg+xml; charset=utf-8", True),
            (b"application/wasm", True), (b"image/png", False), (b"application/zip", False), (b"font/woff2", False),
        ):  # fmt: skip
            self.assertIs(shrinks(kind), found, kind)
