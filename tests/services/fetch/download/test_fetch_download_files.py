"""What is published, and what is not, on a network that the test plays."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, execute

from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms as StoreTerms
from netsvc.services.fetch.download import Checksum, Downloader, Permanent, Transient, Validators, Wanted
from netsvc.services.fetch.download.sink import SMALL
from tests.services.fetch.download.net import Downloads, reply

LARGE = bytes(range(256)) * (SMALL // 128)  # twice what is collected before there is an upload


class WholeTests(Downloads):
    """Files that come."""

    def test_file_comes_whole_however_its_octets_are_cut(self) -> None:
        """Whole, byte by byte, with a length or in chunks: the same file, its digest and the answer's fields."""
        body = b"some octets"
        chunked = (
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "x"\r\n\r\n'
            b"4;a=b\r\nsome\r\n7\r\n octets\r\n0\r\nTrailer: x\r\n\r\n"
        )
        for octets in (reply(body, "200 OK", 'ETag: "x"'), chunked):
            for piece in (None, 1, 3):
                self.begin()
                started = self.start()
                self.wire().answer(octets, piece=piece)
                done = self.successResultOf(started)
                self.assertEqual(self.files(), {"a.bin": body})
                self.assertEqual((done.size, done.sha256), (len(body), hashlib.sha256(body).digest()))
                self.assertEqual((done.etag, done.status, done.from_cache), ('"x"', 200, False))
        self.assertEqual(self.parts(), [])

    def test_large_file_goes_to_the_disk_as_it_comes(self) -> None:
        """Beyond what is collected there is a partial file, and only in the end one of the name."""
        started = self.start()
        wire = self.wire()
        octets = reply(LARGE)
        wire.answer(octets[:-1], piece=50_000)
        self.assertEqual((self.files(), len(self.parts())), ({}, 1))
        wire.answer(octets[-1:])
        self.assertEqual(self.successResultOf(started).size, len(LARGE))
        self.assertEqual((self.files(), self.parts()), ({"a.bin": LARGE}, []))

    def test_no_room_for_the_part(self) -> None:
        """Where there is no room when a part is to be begun, it is for another time; threads may answer late."""
        waiting: list[Any] = []

        def later(call: Any, *arguments: Any) -> Deferred[Any]:
            answer: Deferred[Any] = Deferred()
            waiting.append((answer, partial(execute, call, *arguments)))
            return answer

        store = FileStore(self.root, StoreTerms(keep_free=1 << 60))
        started = Downloader(self.net, store, self.terms, later).download(
            Wanted(url="http://example.com/a.bin", names=("a.bin",))
        )
        while True:
            while waiting:
                answer, call = waiting.pop(0)
                call().chainDeferred(answer)
            if started.called:
                break
            self.wire(0).answer(reply(LARGE)[:-1], piece=50_000)
            self.assertTrue(waiting)
        self.assertEqual(self.failure(started, Transient).reason, "no space left")
        self.assertEqual((self.files(), self.parts()), ({}, []))

    def test_empty_file_is_a_file(self) -> None:
        """A length of 0 makes an empty file."""
        started = self.start()
        self.wire().answer(reply(b""))
        self.assertEqual((self.successResultOf(started).size, self.files()), (0, {"a.bin": b""}))

    def test_modification_time_is_the_peer_s(self) -> None:
        """Last-Modified becomes the file's time."""
        started = self.start()
        self.wire().answer(reply(b"x", "200 OK", "Last-Modified: Thu, 01 Jan 1970 00:16:40 GMT"))
        self.successResultOf(started)
        self.assertEqual((self.root / "a.bin").stat().st_mtime, 1000)

    def test_checksum_is_verified(self) -> None:
        """Each algorithm, small and large: the right one publishes, the wrong one leaves nothing."""
        for body in (b"abc", LARGE):
            for algorithm in ("md5", "sha1", "sha256", "sha512"):
                right = hashlib.new(algorithm, body).digest()
                for digest in (right, right[::-1]):
                    self.begin()
                    started = self.start(names=("b",), checksum=Checksum(algorithm, digest))  # type: ignore[arg-type]
                    self.wire().answer(reply(body, "200 OK", 'ETag: "x"'))
                    if digest == right:
                        self.successResultOf(started)
                        (self.root / "b").unlink()
                    else:
                        self.assertIn("promised", self.failure(started, Permanent).reason)
                    self.assertEqual((self.files(), self.parts()), ({}, []))

    def test_name_is_the_answer_s_or_the_url_s(self) -> None:
        """RFC 6266 first, without its directories; a name that the store refuses falls back to the URL's."""
        for field, name in (
            ("Content-Disposition: attachment; filename=b.bin", "b.bin"),
            ("Content-Disposition: attachment; filename=\"../../etc/c\"; filename*=UTF-8''%e2%82%ac%20x", "€ x"),
            ('Content-Disposition: attachment; filename="../../etc/cron"', "cron"),
            ('Content-Disposition: attachment; filename=".bashrc"', "a b.bin"),
            ('Content-Disposition: attachment; filename="x', "a b.bin"),
            ("X: y", "a b.bin"),
        ):
            self.begin()
            started = self.start("http://example.com/d/a%20b.bin?x=/y", directory=())
            self.wire().answer(reply(b"x", "200 OK", field))
            self.assertEqual(self.successResultOf(started).names, (name,))
        for url in ("http://example.com/d/", "http://example.com/d/%2e%2e", "http://example.com/d/%00"):
            self.begin()
            started = self.start(url, directory=())
            self.wire().answer(reply(b"x"))
            self.assertIn("names a file", self.failure(started, Permanent).reason)

    def test_nothing_is_replaced_unless_allowed(self) -> None:
        """With replace=False a file that is there stays."""
        (self.root / "a.bin").write_bytes(b"old")
        started = self.start(replace=False)
        self.wire().answer(reply(b"new"))
        self.failure(started, Permanent)
        self.assertEqual(self.files(), {"a.bin": b"old"})


class RefusedTests(Downloads):
    """Files that do not come."""

    def test_error_page_is_never_the_file(self) -> None:
        """Which errors pass, which stay, and how long to wait; nothing is saved."""
        for status, kind in (
            ("404 Not Found", Permanent),
            ("403 Forbidden", Permanent),
            ("401 Unauthorized", Permanent),
            ("204 No Content", Permanent),
            ("206 Partial Content", Permanent),
            ("304 Not Modified", Permanent),
            ("416 Range Not Satisfiable", Permanent),
            ("300 Multiple Choices", Permanent),
            ("302 Found", Permanent),
            ("501 Not Implemented", Permanent),
            ("408 Request Timeout", Transient),
            ("429 Too Many Requests", Transient),
            ("500 Internal Server Error", Transient),
            ("502 Bad Gateway", Transient),
            ("503 Service Unavailable", Transient),
        ):
            self.begin()
            started = self.start()
            self.wire().answer(reply(b"<html>" if status[:3] not in {"204", "304"} else b"", status))
            self.assertEqual(self.failure(started, kind).status, int(status[:3]))
        self.assertEqual((self.files(), self.parts()), ({}, []))

    def test_retry_after_is_understood_and_bounded(self) -> None:
        """Seconds and dates; a year is a day."""
        for value, seconds in (("7", 7), ("99999999", 86400), ("soon", None), ("-1", None)):
            self.begin()
            started = self.start()
            self.wire().answer(reply(b"", "503 Busy", f"Retry-After: {value}"))
            error = self.failure(started, Transient)
            assert isinstance(error, Transient)
            self.assertEqual(error.retry_after, seconds)
        self.begin()
        started = self.start()
        self.wire().answer(reply(b"", "503 Busy", "Retry-After: Fri, 31 Dec 2999 23:59:59 GMT"))
        self.assertEqual(self.failure(started, Transient).retry_after, 86400)  # type: ignore[attr-defined]

    def test_file_abuse_30_shorter_than_declared(self) -> None:
        """A connection that ends before the length is reached is no success, in order or not."""
        for error in (None, ConnectionResetError()):
            for body in (b"abc", LARGE):
                self.begin()
                started = self.start()
                wire = self.wire()
                wire.answer(reply(body, length=len(body) + 1))
                wire.close(error)
                self.assertIn("cut", self.failure(started, Transient).reason)
        self.assertEqual((self.files(), self.parts()), ({}, []))

    def test_file_abuse_13_14_chunks_without_their_end(self) -> None:
        """A chunked answer whose last chunk never comes is no success; nor is one whose chunk is longer than said."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body, kind in (
            (b"3\r\nabc\r\n", Transient),
            (b"3\r\nabc\r\n0\r\n", Transient),
            (b"3\r\nabcd\r\n", Permanent),
        ):
            self.begin()
            started = self.start()
            wire = self.wire()
            wire.answer(head + body)
            if wire.is_open:
                wire.close()
            self.failure(started, kind)
        self.assertEqual(self.files(), {})

    def test_file_abuse_30_longer_than_declared(self) -> None:
        """Octets behind the declared length are none of the file's, and the connection serves no more."""
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"abc", length=3) + b"HTTP/1.1 200 OK\r\n\r\nevil")
        self.successResultOf(started)
        self.assertEqual(self.files(), {"a.bin": b"abc"})
        self.assertFalse(wire.is_open)

    def test_file_abuse_31_impossible_lengths(self) -> None:
        """Negative, 2^63, 2^64, signs, two that differ, with chunks: refused before anything is written."""
        for length in ("-1", str(1 << 63), str(1 << 64), "+3", "0x3", "3, 4", "", "3 3", "\u00b3"):
            self.begin()
            started = self.start()
            self.wire().answer(reply(b"abc", length=length.encode().decode("latin-1")))
            self.assertIn("Content-Length", self.failure(started, Permanent).reason)
        for coding in ("chunked\r\nContent-Length: 3", "gzip, chunked", "identity", "chunked, chunked"):
            self.begin()
            started = self.start()
            self.wire().answer(reply(b"3\r\nabc\r\n0\r\n\r\n", "200 OK", f"Transfer-Encoding: {coding}", length=None))
            self.assertIn("Transfer-Encoding", self.failure(started, Permanent).reason)
        self.assertEqual((self.files(), self.parts()), ({}, []))

    def test_largest_length_is_refused_by_the_size_limit(self) -> None:
        """2^63 - 1 is a number, and longer than any limit: refused by the head alone; so is a chunked body in time."""
        self.begin(max_size=10)
        for length in (11, (1 << 63) - 1):
            started = self.start()
            wire = self.wire()
            wire.answer(reply(b"", length=length))
            self.assertIn("longer than 10", self.failure(started, Permanent).reason)
            self.assertFalse(wire.is_open)
        started = self.start()
        self.wire().answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n")
        self.assertIn("longer than 10", self.failure(started, Permanent).reason)
        self.assertEqual((self.files(), self.parts()), ({}, []))

    def test_coded_content_is_refused(self) -> None:
        """What was compressed for the way is not the file."""
        started = self.start()
        self.wire().answer(reply(b"x", "200 OK", "Content-Encoding: gzip"))
        self.assertIn("Content-Encoding", self.failure(started, Permanent).reason)

    def test_end_of_a_plain_connection_proves_nothing(self) -> None:
        """A body without a length is taken only if a checksum says that it is whole."""
        started = self.start()
        wire = self.wire()
        wire.answer(reply(b"abc", length=None))
        wire.close()
        self.assertIn("no length", self.failure(started, Permanent).reason)
        self.assertEqual(self.files(), {})
        started = self.start(checksum=Checksum("sha256", hashlib.sha256(b"abc").digest()))
        wire = self.wire()
        wire.answer(reply(b"abc", length=None))
        wire.close()
        self.successResultOf(started)
        self.assertEqual(self.files(), {"a.bin": b"abc"})

    def test_heads_are_bounded(self) -> None:
        """Too long, too many fields, no HTTP, interim answers without end: each ends the connection."""
        for octets in (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ):
            for piece in (None, 997):
                self.begin()
                started = self.start()
                wire = self.wire()
                wire.answer(octets, piece=piece)
                self.failure(started, Permanent)
                self.assertFalse(wire.is_open)

    def test_interim_answers_are_passed_over(self) -> None:
        """103 and 100 come before the answer."""
        started = self.start()
        self.wire().answer(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Go on\r\n\r\n" + reply(b"abc"), piece=1
        )
        self.assertEqual(self.successResultOf(started).size, 3)

    def test_file_abuse_29_wrong_final_digest(self) -> None:
        """A file whose digest is another is not published, and what was there stays."""
        (self.root / "a.bin").write_bytes(b"old")
        started = self.start(checksum=Checksum("sha256", bytes(32)))
        self.wire().answer(reply(b"new"))
        self.failure(started, Permanent)
        self.assertEqual((self.files(), self.parts()), ({"a.bin": b"old"}, []))


class MirrorTests(Downloads):
    """Conditional requests."""

    def test_unchanged_file_is_kept(self) -> None:
        """The validators go out as they came; 304 keeps the file."""
        (self.root / "a.bin").write_bytes(b"old")
        known = Validators(etag='W/"1"', last_modified="Thu, 01 Jan 1970 00:16:40 GMT")
        started = self.start(validators=known)
        wire = self.wire()
        (request,) = wire.requests()
        self.assertIn('\r\nIf-None-Match: W/"1"', request)
        self.assertIn("\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:16:40 GMT", request)
        wire.answer(reply(b"", "304 Not Modified", 'ETag: W/"1"', length=None))
        done = self.successResultOf(started)
        self.assertEqual((done.from_cache, done.size, done.status), (True, 3, 304))
        self.assertEqual(self.files(), {"a.bin": b"old"})

    def test_missing_file_is_asked_for_without_conditions(self) -> None:
        """Validators of a file that is gone are not sent: 304 would leave nothing."""
        started = self.start(validators=Validators(etag='"1"'))
        wire = self.wire()
        self.assertNotIn("If-None-Match", wire.requests()[0])
        wire.answer(reply(b"new"))
        self.assertFalse(self.successResultOf(started).from_cache)
