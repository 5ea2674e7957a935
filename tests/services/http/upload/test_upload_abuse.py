"""Faults and abuse at the HTTP door, by the numbers of the specification of files."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.services.http.http2.h2_rig import Peer2
from tests.services.http.http_rig import Peer
from tests.services.http.upload.test_upload_put import etag
from tests.services.http.upload.upload_rig import UploadRig, left_over

PUT = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n"
CHUNKED = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class AbuseTests(SynchronousTestCase):
    """After each of these nothing is left over, and nothing is there that was not whole."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute() / "root"
        self.root.mkdir(parents=True)
        self.rig = UploadRig(self.root)

    def tearDown(self) -> None:
        self.assertEqual(left_over(self.root), [])

    def names(self) -> list[str]:
        """What is in the root, for all to see."""
        return sorted(one for one in os.listdir(self.root) if not one.startswith(".netsvc"))

    def begun(self, octets: bytes) -> Peer:
        """A connection on which a part of an upload has come."""
        peer = self.rig.connect()
        peer.send(octets)
        self.assertEqual(peer.received, b"")
        self.assertEqual(len(left_over(self.root)), 1)
        return peer

    def test_file_abuse_01_a_reset_in_an_upload(self) -> None:
        """An upload that a reset cuts off leaves nothing, neither a file nor a partial one."""
        for octets in (PUT.format(9).encode() + b"part", CHUNKED + b"4\r\npart\r\n"):
            self.begun(octets).leave(clean=False)
            self.assertEqual(self.names(), [])
            self.assertEqual(left_over(self.root), [])

    def test_file_abuse_02_an_end_in_an_upload(self) -> None:
        """A peer that says that it is done before it is gets 400, and nothing is stored."""
        for octets in (PUT.format(9).encode() + b"part", CHUNKED + b"4\r\npart\r\n"):
            peer = self.begun(octets)
            peer.half_close()
            self.assertEqual(peer.statuses, [400])
            self.assertEqual(self.names(), [])

    def test_file_abuse_15_ways_out_of_the_root(self) -> None:
        """However a way out of the root is written, nothing is written, read or removed outside of it."""
        outside = self.root.parent / "outside"
        outside.write_bytes(b"outside")
        for path in (
            "/../outside", "/a/../../outside", "/%2e%2e/outside", "/..%2foutside", "/..\\outside", "/..%5coutside",
            "/%252e%252e/outside", "/%c0%ae%c0%ae/outside", "/.%00./outside", "/a/%2e%2e/%2e%2e/outside",
            "/..%c0%afoutside", "/....//outside", "/..;/outside",
        ):  # fmt: skip
            for method in ("PUT", "DELETE", "MKCOL"):
                self.assertIn(self.rig.send(method, path).status, (400, 404, 409), (method, path))
            self.assertIn(self.rig.get(path).status, (400, 404), path)
        self.assertEqual(outside.read_bytes(), b"outside")
        self.assertEqual(self.names(), [])

    def test_file_abuse_16_an_absolute_path(self) -> None:
        """A path that looks absolute begins at the root, in any form of the target."""
        for target in (
            str(self.root.parent / "x"),
            f"/{self.root.parent}/x",
            f"http://example.com/{self.root.parent}/x",
        ):
            self.assertEqual(self.rig.put(target, b"x").status, 409, target)
        self.assertEqual(self.rig.put("//a", b"x").status, 201)
        self.assertEqual(self.names(), ["a"])
        self.assertEqual(os.listdir(self.root.parent), ["root"])

    def test_file_abuse_21_controls_in_names(self) -> None:
        """A name with a control character, or one that turns the text around, is refused; NUL too."""
        for name in (
            "%00",
            "a%00b",
            "a%0ab",
            "a%0d%0ab",
            "a%1b[31m",
            "a%7f",
            "a%c2%85",
            "%e2%80%aegnp.exe",
            "a%e2%80%a8",
        ):
            for method in ("PUT", "MKCOL"):
                self.assertEqual(self.rig.send(method, f"/{name}").status, 400, name)
        self.assertEqual(self.names(), [])

    def test_file_abuse_23_long_names(self) -> None:
        """A name of 256 octets is refused and one of 255 taken; long paths and 200 levels are what they are."""
        self.assertEqual(self.rig.put("/" + "x" * 256, b"x").status, 400)
        self.assertEqual(self.rig.put("/" + "%c3%a9" * 128, b"x").status, 400)
        self.assertEqual(self.rig.put("/" + "x" * 255, b"x").status, 201)
        self.assertEqual(self.rig.put("/" + "/".join(["d" * 99] * 41), b"x").status, 400)
        self.assertEqual(self.rig.put("/" + "x" * 10_000, b"x").status, 414)
        self.assertEqual(self.rig.put("/d" * 200 + "/x", b"x").status, 409)
        path = ""
        for _ in range(200):
            path += "/d"
            self.assertEqual(self.rig.send("MKCOL", path).status, 201)
        self.assertEqual(self.rig.put(path + "/x", b"deep").status, 201)
        self.assertEqual(self.rig.get(path + "/x").body, b"deep")

    def test_file_abuse_24_names_that_are_no_utf8(self) -> None:
        """A name that is not UTF-8, is overlong, or is half of a surrogate pair, is refused."""
        for name in ("%ff", "a%c3", "%c0%80", "%ed%a0%80", "%f4%90%80%80"):
            for method in ("PUT", "MKCOL", "DELETE"):
                self.assertEqual(self.rig.send(method, f"/{name}").status, 400, name)
        self.assertEqual(self.names(), [])

    def test_file_abuse_29_a_wrong_digest(self) -> None:
        """A file whose octets are not those that were promised is not published, nor is the old one lost."""
        self.rig.put("/a", b"old")
        for name, algorithm in (("Repr-Digest", "sha-256"), ("Content-Digest", "sha-512")):
            value = b64encode(hashlib.new(algorithm.replace("-", ""), b"promised").digest()).decode()
            self.assertEqual(self.rig.put("/a", b"other", f"{name}: {algorithm}=:{value}:").status, 400)
        self.assertEqual(self.rig.get("/a").body, b"old")

    def test_file_abuse_30_longer_or_shorter_than_declared(self) -> None:
        """Of a longer body what was declared is the file, and the rest no request; a shorter one is no file."""
        peer = self.rig.connect()
        peer.send(PUT.format(3).encode() + b"abc\x00more")
        self.assertEqual([one.status for one in peer.answers("PUT")], [201, 400])
        self.assertEqual((self.root / "a").read_bytes(), b"abc")
        peer = self.begun(PUT.format(3).encode() + b"ab")
        peer.leave()
        self.assertEqual((self.root / "a").read_bytes(), b"abc")
        for end in (b"3\r\nabcd\r\n0\r\n\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n"):
            peer = self.rig.connect()
            peer.send(CHUNKED + end)
            self.assertEqual(peer.statuses, [400], end)
        self.assertEqual((self.root / "a").read_bytes(), b"abc")

    def test_file_abuse_31_sizes_that_no_file_has(self) -> None:
        """Sizes that are negative, signed, 2^63 or 2^64, or just too large, are refused before anything is sent."""
        for size, status in (
            ("-1", 400), ("+1", 400), (str(2**63), 400), (str(2**64), 400), (str(2**64 + 3), 400), ("0x3", 400),
            ("1_0", 400), ("3, 3", 400), ("", 400), (str(10**18 - 1), 413), (str(1 << 50), 413),
        ):  # fmt: skip
            peer = self.rig.connect()
            peer.send(f"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n\r\n".encode())
            self.assertEqual(peer.statuses, [status], size)
        rig = UploadRig(self.root, max_body=1 << 50)
        self.assertIn(rig.ask(PUT.format(1 << 50).encode(), "PUT")[0].status, (413, 507))
        self.assertEqual(self.names(), [])

    def test_file_abuse_32_an_octet_every_ten_seconds(self) -> None:
        """A body that drips is cut off with 408, and what came of it is removed."""
        peer = self.begun(PUT.format(1000).encode() + b"x")
        for _ in range(4):
            peer.wait(10)
            if not peer.statuses:
                peer.send(b"x")
        self.assertEqual(peer.statuses, [408])
        self.assertTrue(peer.transport.closed)
        self.assertEqual(self.names(), [])

    def test_file_abuse_32_a_slow_disk_is_not_a_slow_peer(self) -> None:
        """While the disk is slow the peer is not read, and no time of his runs."""
        self.rig.threads.held = True
        peer = self.rig.connect()
        peer.send(PUT.format(5 << 20).encode())
        for _ in range(1000):
            peer.wait(1)
        self.assertEqual(peer.received, b"")
        self.rig.threads.let_go()
        for _ in range(80):
            peer.send(b"x" * 65536)
        self.assertEqual(peer.statuses, [201])

    def test_file_abuse_33_memory_is_flat_while_the_disk_waits(self) -> None:
        """A peer that sends faster than the disk writes is paused when a mebibyte waits, and then goes on."""
        peer = self.rig.connect()
        peer.send(PUT.format(5 << 20).encode())
        self.rig.threads.held = True
        sent = 0
        while peer.transport.producerState == "producing":
            peer.send(b"x" * 65536)
            sent += 65536
            self.assertLess(sent, 2 << 20)
        self.rig.threads.let_go()
        self.assertEqual(peer.transport.producerState, "producing")
        while sent < 5 << 20:
            peer.send(b"x" * 65536)
            sent += 65536
        self.assertEqual(peer.statuses, [201])
        self.assertEqual((self.root / "a").stat().st_size, 5 << 20)

    def test_file_abuse_33_a_reader_that_never_reads(self) -> None:
        """Of a large file no more is read than its reader takes; who takes nothing is cut off."""
        (self.root / "a").write_bytes(b"x" * (8 << 20))
        peer = self.rig.connect()
        peer.transport.blocked = True
        peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertLess(len(peer.transport.dataBuffer), 1 << 20)
        peer.wait(200)
        self.assertTrue(peer.transport.aborted)
        self.assertLess(len(peer.transport.dataBuffer), 1 << 20)
        peer.leave(clean=False)

    def test_file_abuse_45_a_stale_if_range(self) -> None:
        """Who has the beginning of another version gets all of the new one, and never a mixture."""
        old = self.rig.put("/a", b"old version").headers[b"etag"].decode()
        part = self.rig.get("/a", "Range: bytes=4-", f"If-Range: {old}")
        self.assertEqual((part.status, part.body), (206, b"version"))
        new = self.rig.put("/a", b"new version").headers[b"etag"].decode()
        self.assertNotEqual(old, new)
        for stale in (old, f"W/{new}", "Fri, 15 Jan 2027 07:00:00 GMT", '"other"'):
            whole = self.rig.get("/a", "Range: bytes=4-", f"If-Range: {stale}")
            self.assertEqual((whole.status, whole.body), (200, b"new version"), stale)
        self.assertEqual(self.rig.get("/a", "Range: bytes=4-", f"If-Range: {new}").status, 206)

    def test_file_abuse_45_the_same_octets_again(self) -> None:
        """A file that was put again with the same octets is the same version: its download goes on."""
        tag = self.rig.put("/a", b"same").headers[b"etag"].decode()
        self.rig.put("/a", b"same")
        self.assertEqual(self.rig.get("/a", "Range: bytes=2-", f"If-Range: {tag}").body, b"me")

    def test_file_abuse_46_many_ranges(self) -> None:
        """Ranges that overlap are joined, and a thousand of them are all of the file, once."""
        body = bytes(range(256)) * 40
        self.rig.put("/a", body)
        overlapping = self.rig.get("/a", "Range: bytes=0-99,50-149,100-199")
        self.assertEqual((overlapping.status, overlapping.body), (206, body[:200]))
        for one in ("0-", "0-0", "5000-5001"):
            many = self.rig.get("/a", "Range: bytes=" + ",".join([one] * 1000))
            self.assertEqual((many.status, many.body), (200, body), one)
        apart = self.rig.get("/a", "Range: bytes=" + ",".join(f"{at * 10}-{at * 10}" for at in range(1000)))
        self.assertEqual((apart.status, apart.body), (200, body))

    def test_file_abuse_47_a_cut_is_no_end(self) -> None:
        """However the connection ends, with Content-Length it is the octets that count, and else the last chunk."""
        for octets in (PUT.format(9).encode() + b"part", CHUNKED + b"4\r\npart\r\n", CHUNKED + b"4\r\npart\r\n0\r\n"):
            for clean in (True, False):
                self.begun(octets).leave(clean=clean)
                self.assertEqual(self.names(), [])
        for version in ("1.0", "1.1"):
            peer = self.rig.connect()
            peer.send(f"PUT /a HTTP/{version}\r\nHost: a\r\n\r\npart".encode())
            self.assertEqual(peer.statuses[:1], [411])
        self.assertEqual(self.names(), [])


class Abuse2Tests(SynchronousTestCase):
    """The same over HTTP/2."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.rig = UploadRig(self.root)
        self.peer = Peer2(self.rig)

    def tearDown(self) -> None:
        self.assertEqual(left_over(self.root), [])

    def begun(self, *fields: tuple[str, str]) -> int:
        """A stream on which a part of an upload has come."""
        stream = self.peer.open("/a", *fields, method="PUT", end=False)
        self.peer.data(stream, b"part")
        self.assertEqual(len(left_over(self.root)), 1)
        return stream

    def test_it_works(self) -> None:
        """Files are put, got, told of and removed as over HTTP/1.1."""
        self.peer.data(self.begun(), b" two", end=True)
        answer = self.peer.answers[1]
        self.assertEqual((answer.status, answer.headers[b"etag"]), (201, etag(b"part two")))
        self.assertEqual(self.peer.get("/a").body, b"part two")
        stream = self.peer.open("/a", ("if-none-match", "*"), ("content-length", "1"), method="PUT", end=False)
        self.assertEqual(self.peer.answers[stream].status, 412)
        self.assertEqual(self.peer.get("/d", method="MKCOL").status, 201)
        self.assertEqual(self.peer.get("/empty", method="PUT").status, 201)
        self.assertEqual(self.peer.get("/a", method="DELETE").status, 204)
        self.assertEqual(sorted(os.listdir(self.root)), ["d", "empty"])

    def test_continue(self) -> None:
        """100 is sent when nothing speaks against the file, and not otherwise."""
        expects = ("expect", "100-continue")
        stream = self.peer.open("/a", expects, ("content-length", "4"), method="PUT", end=False)
        self.assertEqual(self.peer.answers[stream].informational, [100])
        self.peer.data(stream, b"part", end=True)
        self.assertEqual(self.peer.answers[stream].status, 201)
        stream = self.peer.open("/no/a", expects, ("content-length", "4"), method="PUT", end=False)
        answer = self.peer.answers[stream]
        self.assertEqual((answer.informational, answer.status), ([], 409))

    def test_file_abuse_01_a_reset_in_an_upload(self) -> None:
        """A stream that is reset, or whose connection ends, leaves nothing."""
        self.peer.h2.reset_stream(self.begun())
        self.peer.flush()
        self.assertEqual(left_over(self.root), [])
        self.begun()
        self.peer.leave()
        self.assertEqual(os.listdir(self.root), [])

    def test_file_abuse_29_a_wrong_digest(self) -> None:
        """Nothing is published that is not what was promised."""
        self.peer.data(self.begun(("repr-digest", f"sha-256=:{b64encode(bytes(32)).decode()}:")), b"x", end=True)
        self.assertEqual(self.peer.answers[1].status, 400)
        self.assertEqual(os.listdir(self.root), [])

    def test_file_abuse_30_longer_or_shorter_than_declared(self) -> None:
        """A body that is not as long as was declared is no file: the stream is reset."""
        self.peer.h2.config.validate_outbound_headers = False
        for octets in (b"", b"longer"):
            stream = self.begun(("content-length", "6"))
            self.peer.data(stream, octets, end=True)
            self.assertNotEqual(self.peer.answers[stream].reset, None)
        self.assertEqual(os.listdir(self.root), [])

    def test_file_abuse_33_memory_is_flat_while_the_disk_waits(self) -> None:
        """A stream that is faster than the disk gets no more window until the disk has caught up."""
        stream = self.peer.open("/a", method="PUT", end=False)
        self.rig.threads.held = True
        sent = 0
        while self.peer.h2.local_flow_control_window(stream) and sent < 8 << 20:
            piece = min(16384, self.peer.h2.local_flow_control_window(stream))
            self.peer.data(stream, b"x" * piece)
            sent += piece
        self.assertLess(sent, 4 << 20)
        self.rig.threads.let_go()
        self.peer.flush()
        self.assertGreater(self.peer.h2.local_flow_control_window(stream), 0)
        self.peer.data(stream, b"", end=True)
        self.assertEqual(self.peer.answers[stream].status, 201)
        self.assertEqual((self.root / "a").stat().st_size, sent)

    def test_file_abuse_32_an_octet_every_ten_seconds(self) -> None:
        """A stream that drips is ended with 408, and what came of it is removed."""
        stream = self.begun()
        for _ in range(6):
            self.peer.wait(10)
            if stream in self.peer.answers:
                break
            self.peer.data(stream, b"x")
        self.assertEqual(self.peer.answers[stream].status, 408)
        self.assertEqual(os.listdir(self.root), [])
