"""Line 10 of the protocol core, as a peer meets it: one range, several, none that can be had, none that can be read."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.services.http.http_rig import Answer, Rig, write

SMALL = b"0123456789"
LARGE = bytes(range(256)) * 1000  # is not kept in memory
FILES = {"/small.bin": SMALL, "/large.bin": LARGE}


class RangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        for path, data in FILES.items():
            write(self.root, path[1:], data)
        write(self.root, "empty.bin", b"")
        self.rig = Rig(self.root)

    def parts(self, answer: Answer) -> list[tuple[bytes, bytes]]:
        """(Content-Range, octets) of each part of multipart/byteranges; everything else of it is checked."""
        kind = answer.headers[b"content-type"]
        match = re.fullmatch(rb"multipart/byteranges; boundary=([0-9a-zA-Z]{1,70})", kind)
        assert match is not None, kind
        self.assertEqual(int(answer.headers[b"content-length"]), len(answer.body))
        self.assertNotIn(b"content-range", answer.headers)
        first, *parts, last = (b"\r\n" + answer.body).split(b"\r\n--" + match[1])
        self.assertEqual((first, last), (b"", b"--\r\n"))
        found = []
        for part in parts:
            head, _, data = part.partition(b"\r\n\r\n")
            lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
            self.assertEqual(lines[b"Content-Type"], b"application/octet-stream")
            found.append((lines[b"Content-Range"], data))
        return found

    def test_core_10_one(self) -> None:
        """One range is 206 with Content-Range and the right length."""
        for path, data in FILES.items():
            size = len(data)
            for value, start, stop in (
                ("0-0", 0, 1), ("2-4", 2, 5), ("5-", 5, size), ("-3", size - 3, size), ("5-999999999", 5, size),
                (f"{size - 1}-", size - 1, size), ("0-", 0, size), (" 1-2 ", 1, 3), ("1-2,", 1, 3), (",,1-2", 1, 3),
            ):  # fmt: skip
                answer = self.rig.get(path, f"Range: bytes={value}")
                self.assertEqual((answer.status, answer.body), (206, data[start:stop]), value)
                self.assertEqual(answer.headers[b"content-range"], b"bytes %d-%d/%d" % (start, stop - 1, size))
                self.assertEqual(answer.headers[b"content-length"], b"%d" % (stop - start))

    def test_core_10_long_suffix(self) -> None:
        """A suffix that is longer than the file is the whole file."""
        for path, data in FILES.items():
            answer = self.rig.get(path, "Range: bytes=-999999999")
            self.assertEqual((answer.status, answer.body), (206, data))
            self.assertEqual(answer.headers[b"content-range"], b"bytes 0-%d/%d" % (len(data) - 1, len(data)))

    def test_core_10_only_get(self) -> None:
        """HEAD and other methods have no ranges."""
        for path, data in FILES.items():
            answer = self.rig.get(path, "Range: bytes=2-4", method="HEAD")
            self.assertEqual((answer.status, answer.headers[b"content-length"]), (200, b"%d" % len(data)))
            self.assertEqual(self.rig.get(path, "Range: bytes=2-4", method="POST").status, 405)

    def test_core_10_unreadable(self) -> None:
        """Syntax errors, unknown units and a field that comes twice give the whole file."""
        for value in (
            "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=+1-2", "bytes=1-1_0", "bytes=--1",
            "bytes=1", "bytes=0-1;2-3", "bytes=0-1,x", "bytes=0x1-2", "bytes 0-1", "items=0-1", "octets=0-1", "=0-1",
            "bytes=\xb2-3", "bytes=" + "1" * 40 + "-", "bytes=0-1,5-4", "none",
        ):  # fmt: skip
            answer = self.rig.get("/small.bin", f"Range: {value}")
            self.assertEqual((answer.status, answer.body), (200, SMALL), value)
        self.assertEqual(self.rig.get("/small.bin", "Range: bytes=0-1", "Range: bytes=0-1").status, 200)

    def test_core_10_unsatisfiable(self) -> None:
        """A set of which nothing is there is 416 with the length, an empty page's too."""
        for path, data in (*FILES.items(), ("/empty.bin", b"")):
            for value in ("999999999-", "-0", "999999999-,-0"):
                answer = self.rig.get(path, f"Range: bytes={value}")
                self.assertEqual(answer.status, 416, value)
                self.assertEqual(answer.headers[b"content-range"], b"bytes */%d" % len(data))
                self.assertIn(b"etag", answer.headers)
        self.assertEqual(self.rig.get("/empty.bin", "Range: bytes=-5").status, 416)

    def test_core_10_several(self) -> None:
        """Several ranges are multipart/byteranges, in order, each with its Content-Range."""
        for path, data in FILES.items():
            answer = self.rig.get(path, "Range: bytes=9-9,0-1,5-6,999999999-")
            self.assertEqual(answer.status, 206)
            size = len(data)
            self.assertEqual(
                self.parts(answer),
                [(b"bytes %d-%d/%d" % (a, b, size), data[a : b + 1]) for a, b in ((0, 1), (5, 6), (9, 9))],
            )

    def test_core_10_joined(self) -> None:
        """Ranges that touch or overlap are joined; if one is left, the answer is not multipart."""
        answer = self.rig.get("/large.bin", "Range: bytes=0-9,10-19,5-14,-300,100-101")
        self.assertEqual([octets for _, octets in self.parts(answer)], [LARGE[:20], LARGE[100:102], LARGE[-300:]])
        answer = self.rig.get("/large.bin", "Range: bytes=10-19,0-9")
        self.assertEqual((answer.headers[b"content-range"], answer.body), (b"bytes 0-19/256000", LARGE[:20]))

    def test_core_10_capped(self) -> None:
        """So many ranges that nobody can mean them give the whole file; as many as are allowed do not."""
        allowed = ",".join(f"{at * 10}-{at * 10}" for at in range(64))
        self.assertEqual(len(self.parts(self.rig.get("/large.bin", f"Range: bytes={allowed}"))), 64)
        for value in (allowed + ",9990-", ",".join(["0-"] * 500), ",".join(["0-0"] * 5000)):
            self.assertEqual(self.rig.get("/large.bin", f"Range: bytes={value}").status, 200)

    def test_core_10_boundaries_differ(self) -> None:
        """A boundary is new for each answer, so that no file can hold it."""
        kinds = {self.rig.get("/large.bin", "Range: bytes=0-0,9-9").headers[b"content-type"] for _ in range(5)}
        self.assertEqual(len(kinds), 5)

    @given(
        st.lists(
            st.tuples(st.integers(-300_000, 300_000), st.integers(0, 300_000) | st.none()), min_size=1, max_size=10
        )
    )
    @settings(derandomize=True, deadline=None, max_examples=60)
    def test_core_10_any_ranges(self, wanted: list[tuple[int, int | None]]) -> None:
        """Whatever ranges are asked for: the octets that come are those of the file at the places that are named."""
        rig = Rig(self.root, cache=0)
        value = ",".join(f"-{-a}" if a < 0 else f"{a}-" if b is None else f"{min(a, b)}-{max(a, b)}" for a, b in wanted)
        answer = rig.get("/large.bin", f"Range: bytes={value}")
        if answer.status == 416:
            return
        self.assertEqual(answer.status, 206, value)
        if b"content-range" in answer.headers:
            parts = [(answer.headers[b"content-range"], answer.body)]
        else:
            parts = self.parts(answer)
        for place, data in parts:
            match = re.fullmatch(rb"bytes (\d+)-(\d+)/256000", place)
            assert match is not None
            self.assertEqual(LARGE[int(match[1]) : int(match[2]) + 1], data)
