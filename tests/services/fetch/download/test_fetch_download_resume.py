"""Downloads that are continued: only what is certainly the same file, from where it stood."""

from __future__ import annotations

from typing import Any

from netsvc.services.fetch.download import Checksum, Done, Permanent, Transient
from netsvc.services.fetch.download.sink import SMALL
from tests.services.fetch.download.net import Downloads, Wire, reply

FILE = bytes(range(256)) * (SMALL // 64)
HALF = len(FILE) // 2
TAG = 'ETag: "one"'
DATE = "Date: Fri, 02 Jan 1970 00:00:00 GMT"
OLD = "Last-Modified: Thu, 01 Jan 1970 00:16:40 GMT"


class ResumeTests(Downloads):
    """A first attempt brings half of the file."""

    def half(self, *fields: str, **wanted: Any) -> Transient:
        """The error of an attempt that broke off."""
        started = self.start(**wanted)
        wire = self.wire()
        wire.answer(reply(FILE[:HALF], "200 OK", *fields, length=len(FILE)))
        wire.close(ConnectionResetError())
        error = self.failure(started, Transient)
        assert isinstance(error, Transient)
        self.begin()
        return error

    def again(self, **wanted: Any) -> tuple[Any, Wire, str]:
        """The next attempt: its result, connection and request."""
        started = self.start(**wanted)
        wire = self.wire()
        return started, wire, wire.requests()[0]

    def rest(self, *fields: str, first: int = HALF, size: int | str = len(FILE), body: bytes | None = None) -> bytes:
        """A 206."""
        content = FILE[first:] if body is None else body
        span = f"Content-Range: bytes {first}-{first + len(content) - 1}/{size}"
        return reply(content, "206 Partial Content", span, *fields)

    def finished(self, started: Any, resumed_from: int) -> Done:
        """The file is there, and nothing else."""
        done: Done = self.successResultOf(started)
        self.assertEqual((self.files(), self.parts()), ({"a.bin": FILE}, []))
        self.assertEqual((done.size, done.resumed_from), (len(FILE), resumed_from))
        return done

    def test_rest_is_asked_for_and_put_behind(self) -> None:
        """Range and If-Range go out; a 206 that fits completes the file."""
        self.assertIsNotNone(self.half(TAG).resume)
        self.assertEqual((self.files(), len(self.parts())), ({}, 1))
        started, wire, request = self.again()
        self.assertIn(f'\r\nRange: bytes={HALF}-\r\nIf-Range: "one"', request)
        wire.answer(self.rest(TAG), piece=70_000)
        self.finished(started, HALF)

    def test_attempt_may_break_off_again_and_again(self) -> None:
        """Each goes on where the one before it ended; an error of the server's costs nothing."""
        self.half(TAG)
        started, wire, _ = self.again()
        wire.answer(reply(b"", "503 Busy"))
        self.assertIsNotNone(self.failure(started, Transient).resume)
        started, _, request = self.again_on(wire)
        wire.answer(self.rest(TAG)[:-1000])
        wire.close()
        self.failure(started, Transient)
        self.begin()
        started, wire, request = self.again()
        self.assertIn(f"bytes={len(FILE) - 1000}-", request)
        wire.answer(self.rest(first=len(FILE) - 1000))
        self.finished(started, len(FILE) - 1000)

    def again_on(self, wire: Wire) -> tuple[Any, Wire, str]:
        """The next attempt on the connection that was kept."""
        started = self.start()
        return started, wire, wire.requests()[0]

    def test_upload_is_found_by_its_id(self) -> None:
        """Who does not know the name beforehand continues by the id in the error."""
        error = self.half(TAG, directory=())
        started, wire, request = self.again(directory=(), resume=error.resume)
        self.assertIn("If-Range", request)
        wire.answer(self.rest(TAG))
        self.assertEqual(self.finished(started, HALF).names, ("a.bin",))

    def test_date_is_a_validator_when_it_is_old_enough(self) -> None:
        """Last-Modified well before Date is strong; without a Date, just before it, or beside a weak tag it is not."""
        for fields, sent in (
            ((OLD, DATE), True),
            ((OLD,), False),
            ((OLD, "Date: Thu, 01 Jan 1970 00:16:59 GMT"), False),
            ((OLD, DATE, 'ETag: W/"one"'), False),
            ((OLD, DATE, "ETag: one"), False),
            ((), False),
        ):
            error = self.half(*fields)
            self.assertEqual(error.resume is not None, sent)
            self.assertEqual(len(self.parts()), int(sent))
            started, wire, request = self.again()
            self.assertEqual("If-Range: Thu, 01 Jan 1970 00:16:40 GMT" in request, sent)
            self.assertEqual("Range" in request, sent)
            wire.answer(reply(FILE))
            self.finished(started, 0)
            (self.root / "a.bin").unlink()
            self.begin()

    def test_file_abuse_27_45_changed_source_begins_anew(self) -> None:
        """A stale If-Range is answered with 200: the old part goes, the new file comes whole."""
        self.half(TAG)
        started, wire, _ = self.again()
        wire.answer(reply(FILE[::-1], "200 OK", 'ETag: "two"'))
        self.assertEqual(self.successResultOf(started).resumed_from, 0)
        self.assertEqual((self.files(), self.parts()), ({"a.bin": FILE[::-1]}, []))

    def test_file_abuse_25_26_part_that_does_not_fit_is_not_used(self) -> None:
        """Wrong place, size, tag, length, only a piece, several ranges, a 416: asked again at once without a range."""
        wrong = (
            self.rest(TAG, first=HALF - 1),
            self.rest(TAG, size=len(FILE) + 1),
            self.rest(TAG, size="*"),
            self.rest('ETag: "two"'),
            self.rest(TAG, body=FILE[HALF:-1]),
            reply(b"x" * 3, "206 Partial Content", f"Content-Range: bytes {HALF}-{len(FILE) - 1}/{len(FILE)}"),
            reply(b"x", "206 Partial Content"),
            reply(b"x", "206 Partial Content", "Content-Type: multipart/byteranges; boundary=x"),
            reply(b"", "416 Range Not Satisfiable", f"Content-Range: bytes */{HALF}"),
        )
        for octets in wrong:
            self.half(TAG)
            made = len(self.net.tcpClients)
            started, wire, _ = self.again()
            wire.answer(octets)
            if len(self.net.tcpClients) > made + 1:
                wire = self.wire()
            (request,) = wire.requests()
            self.assertNotIn("Range", request)
            wire.answer(reply(FILE, "200 OK", TAG))
            self.finished(started, 0)
            (self.root / "a.bin").unlink()
            self.begin()

    def test_file_abuse_30_rest_in_chunks_shorter_than_its_range(self) -> None:
        """Chunks that end in order before the range does complete nothing."""
        self.half(TAG)
        started, wire, _ = self.again()
        span = f"Content-Range: bytes {HALF}-{len(FILE) - 1}/{len(FILE)}"
        body = b"3\r\nabc\r\n0\r\n\r\n"
        wire.answer(reply(body, "206 Partial Content", span, "Transfer-Encoding: chunked", length=None))
        self.failure(started, Transient)
        self.assertEqual((self.files(), self.parts()), ({}, []))

    def test_part_of_another_url_is_not_used(self) -> None:
        """The same name from elsewhere begins anew."""
        self.half(TAG)
        started = self.start("http://example.com/b.bin")
        wire = self.wire()
        self.assertNotIn("Range", wire.requests()[0])
        wire.answer(reply(FILE))
        self.finished(started, 0)

    def test_rest_is_asked_for_only_where_the_validator_is_from(self) -> None:
        """A redirect to another origin is asked for the whole: its tags mean something else."""
        self.half(TAG)
        started, wire, _ = self.again()
        wire.answer(reply(b"", "302 Found", "Location: http://mirror.example.net/a.bin"))
        wire = self.wire()
        self.assertNotIn("Range", wire.requests()[0])
        wire.answer(reply(FILE, "200 OK", TAG))
        self.finished(started, 0)

    def test_damaged_part_begins_anew(self) -> None:
        """Octets of the part that changed on the disk are found out."""
        self.half(TAG)
        part = self.parts()[0]
        part.write_bytes(b"x" * HALF)
        started, wire, request = self.again()
        self.assertNotIn("Range", request)
        wire.answer(reply(FILE))
        self.finished(started, 0)

    def test_file_that_is_gone_leaves_its_part(self) -> None:
        """A 404 removes nothing: the part may be of use to whoever mends the URL."""
        self.half(TAG)
        started, wire, _ = self.again()
        wire.answer(reply(b"", "404 Not Found"))
        self.assertIsNotNone(self.failure(started, Permanent).resume)
        self.assertEqual(len(self.parts()), 1)

    def test_wrong_checksum_after_a_resume_may_pass(self) -> None:
        """The part may be at fault: it goes, and another attempt may do."""
        for algorithm, octets in (("sha256", 32), ("sha512", 64)):
            self.half(TAG)
            started, wire, _ = self.again(checksum=Checksum(algorithm, bytes(octets)))  # type: ignore[arg-type]
            wire.answer(self.rest(TAG))
            self.assertIsNone(self.failure(started, Transient).resume)
            self.assertEqual((self.files(), self.parts()), ({}, []))
            self.begin()

    def test_stop_keeps_what_came(self) -> None:
        """Closing the Downloader, or cancelling, keeps the part; the next one goes on."""
        for stop in ("close", "cancel"):
            started = self.start()
            wire = self.wire()
            wire.answer(reply(FILE[:HALF], "200 OK", TAG, length=len(FILE)))
            if stop == "close":
                self.successResultOf(self.downloader.close())
                self.assertIsNotNone(self.failure(started, Transient).resume)
            else:
                started.cancel()
                self.failureResultOf(started)
            self.assertFalse(wire.is_open)
            self.begin()
            started, wire, _ = self.again()
            wire.answer(self.rest(TAG))
            self.finished(started, HALF)
            (self.root / "a.bin").unlink()
            self.begin()
