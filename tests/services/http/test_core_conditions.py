"""Line 9 of the protocol core, as a peer meets it: conditions in their order, 304 and 412, If-Range."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.answer import http_date
from tests.services.http.http_rig import NOW, Answer, Rig, request, write

THEN = http_date(NOW - 1000).decode()
EARLIER = http_date(NOW - 1001).decode()
LATER = http_date(NOW - 999).decode()
LARGE = b"0123456789" * 20_000  # is not kept in memory


class ConditionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        write(self.root, "a.txt", b"0123456789")
        write(self.root, "large.bin", LARGE)
        self.rig = Rig(self.root, cache_control=(("*", "max-age=60"),))
        self.tags = {path: self.rig.get(path).headers[b"etag"].decode() for path in ("/a.txt", "/large.bin")}

    def each(self, *fields: str, method: str = "GET") -> list[Answer]:
        """The answers to a request for a small and a large file; TAG stands for its own."""
        found = []
        for path, tag in self.tags.items():
            found.append(self.rig.get(path, *(field.replace("TAG", tag) for field in fields), method=method))
        return found

    def check(self, status: int, *fields: str) -> None:
        for answer in self.each(*fields):
            self.assertEqual(answer.status, status, fields)

    def test_core_09_if_match(self) -> None:
        """If-Match takes a strong tag, a list with it, and the star; else 412, and a weak tag never matches."""
        for value, status in (
            ("TAG", 200), ('"x", TAG', 200), ("*", 200), ('"x"', 412), ("W/TAG", 412), ("nonsense", 412), ("", 412),
        ):  # fmt: skip
            self.check(status, f"If-Match: {value}")

    def test_core_09_if_unmodified_since(self) -> None:
        """If-Unmodified-Since is 412 when the file is newer, and counts only without If-Match."""
        self.check(412, f"If-Unmodified-Since: {EARLIER}")
        self.check(200, f"If-Unmodified-Since: {THEN}")
        self.check(200, f"If-Unmodified-Since: {LATER}")
        self.check(200, "If-Match: TAG", f"If-Unmodified-Since: {EARLIER}")
        self.check(412, 'If-Match: "x"', f"If-Unmodified-Since: {LATER}")

    def test_core_09_if_none_match(self) -> None:
        """If-None-Match compares weakly: a tag, a weak one, lists over several fields, the star; it wins over dates."""
        for value in ("TAG", "W/TAG", '"x",TAG , "y"', "*", ', "x" ,, TAG'):
            self.check(304, f"If-None-Match: {value}")
        self.check(304, 'If-None-Match: "x"', "If-None-Match: TAG")
        for value in ('"x"', "x", "", 'W/"x"'):
            self.check(200, f"If-None-Match: {value}")
        self.check(200, 'If-None-Match: "x"', f"If-Modified-Since: {LATER}")
        self.check(304, "If-None-Match: TAG", f"If-Modified-Since: {EARLIER}")

    def test_core_09_if_modified_since(self) -> None:
        """If-Modified-Since is 304 unless the file is newer; one that is said twice counts for nothing."""
        self.check(304, f"If-Modified-Since: {THEN}")
        self.check(304, f"If-Modified-Since: {LATER}")
        self.check(200, f"If-Modified-Since: {EARLIER}")
        self.check(200, f"If-Modified-Since: {LATER}", f"If-Modified-Since: {LATER}")
        self.check(304, "If-Modified-Since: Friday, 15-Jan-27 08:00:00 GMT")
        self.check(304, "If-Modified-Since: Fri Jan 15 08:00:00 2027")

    def test_core_09_invalid_dates(self) -> None:
        """Invalid dates are ignored, wherever they stand."""
        for value in ("yesterday", "0", "", "Fri, 32 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 08:00:00", "1800000000"):
            self.check(200, f"If-Modified-Since: {value}")
            self.check(200, f"If-Unmodified-Since: {value}")

    def test_core_09_order(self) -> None:
        """If-Match decides before If-None-Match; conditions before Range."""
        self.check(412, 'If-Match: "x"', "If-None-Match: TAG")
        self.check(304, "If-Match: TAG", "If-None-Match: TAG")
        self.check(304, "If-None-Match: TAG", "Range: bytes=0-0")
        self.check(412, 'If-Match: "x"', "Range: bytes=999999999-")
        self.check(206, "If-Match: TAG", "Range: bytes=0-0")

    def test_core_09_fields_of_304(self) -> None:
        """304 carries ETag, Date, Cache-Control and Last-Modified, Vary where the answer varies; and no length."""
        write(self.root, "b.txt", b"x" * 5000)
        tag = self.rig.get("/b.txt").headers[b"etag"].decode()
        for answer in (*self.each("If-None-Match: TAG"), self.rig.get("/b.txt", f"If-None-Match: {tag}")):
            self.assertEqual(answer.status, 304)
            for name in (b"etag", b"date", b"cache-control", b"last-modified"):
                self.assertIn(name, answer.headers)
            for name in (b"content-length", b"content-type", b"transfer-encoding"):
                self.assertNotIn(name, answer.headers)
        self.assertEqual(answer.headers[b"vary"], b"Accept-Encoding")

    def test_core_09_head(self) -> None:
        """HEAD is asked the same conditions."""
        for answer in self.each("If-None-Match: TAG", method="HEAD"):
            self.assertEqual(answer.status, 304)
        for answer in self.each('If-Match: "x"', method="HEAD"):
            self.assertEqual(answer.status, 412)

    def test_core_09_if_range(self) -> None:
        """If-Range takes the strong tag or the exact date; anything else gets the whole file."""
        for value, status in (
            ("TAG", 206), (THEN, 206), ("W/TAG", 200), ('"x"', 200), (EARLIER, 200), (LATER, 200), ("*", 200),
            ("TAG, TAG", 200), ("soon", 200),
        ):  # fmt: skip
            self.check(status, "Range: bytes=5-6", f"If-Range: {value}")
        self.check(200, "Range: bytes=5-6", "If-Range: TAG", "If-Range: TAG")
        self.check(200, 'If-Range: "x"')
        for answer in self.each("Range: bytes=5-6", "If-Range: TAG"):
            self.assertEqual(answer.body, b"56")

    def test_core_09_a_young_date_is_weak(self) -> None:
        """A file that was changed within this second is not resumed by its date."""
        write(self.root, "young.txt", b"0123456789", age=0.0)
        date = self.rig.get("/young.txt").headers[b"last-modified"].decode()
        self.assertEqual(self.rig.get("/young.txt", "Range: bytes=5-6", f"If-Range: {date}").status, 200)

    def test_core_09_a_304_keeps_the_connection(self) -> None:
        """Answers without a body are followed by the next one, in order."""
        peer = self.rig.connect()
        tag = self.tags["/a.txt"]
        conditional = request("/a.txt", f"If-None-Match: {tag}")
        peer.send(conditional + request("/a.txt", 'If-Match: "x"') + request("/a.txt") + conditional)
        self.assertEqual(peer.statuses, [304, 412, 200, 304])
