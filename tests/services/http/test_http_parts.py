"""The parts of an answer: heads, conditions, ranges, types, pages, listings."""

from __future__ import annotations

import contextlib
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.answer import (
    chunk,
    field_lines,
    framing,
    http_date,
    may_have_body,
    reason_phrase,
    status_line,
)
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.pages import error_page
from netsvc.services.http.static.conditional import Validators, etag_matches, parse_date, precondition, range_applies
from netsvc.services.http.static.media_types import media_type
from netsvc.services.http.static.ranges import Range, UnsatisfiableError, content_range, parse_ranges, part_heads
from tests.services.http.http_rig import NOW

MODIFIED = int(NOW) - 1000
THEN = http_date(MODIFIED).decode()
EARLIER = http_date(MODIFIED - 1).decode()
LATER = http_date(MODIFIED + 1).decode()
VALIDATORS = Validators(etag=b'"a"', modified=MODIFIED)


def asked(method: str = "GET", **fields: str) -> RequestHead:
    """A request with some fields; _ stands for -."""
    headers = tuple((name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items())
    return RequestHead(
        method=method, target=b"/", path=b"/", query=b"", version=(1, 1), headers=headers, host="example.com"
    )


class AnswerTests(SynchronousTestCase):
    def test_status_line(self) -> None:
        """A status has its phrase or the given one, unless that would break the line."""
        self.assertEqual(status_line(404), b"HTTP/1.1 404 Not Found\r\n")
        self.assertEqual(status_line(404, "Nope"), b"HTTP/1.1 404 Nope\r\n")
        self.assertEqual(status_line(404, "a\r\nb"), b"HTTP/1.1 404 Not Found\r\n")
        self.assertEqual(status_line(404, "é"), b"HTTP/1.1 404 Not Found\r\n")
        self.assertEqual(status_line(799), b"HTTP/1.1 799 \r\n")
        self.assertEqual(reason_phrase(413), "Content Too Large")

    def test_core_08_date(self) -> None:
        """A date is an IMF-fixdate; a time that none can say is the nearest that one can."""
        self.assertEqual(http_date(784111777), b"Sun, 06 Nov 1994 08:49:37 GMT")
        self.assertEqual(http_date(-1e13), b"Mon, 01 Jan 0001 00:00:00 GMT")
        self.assertEqual(http_date(1e13), b"Fri, 31 Dec 9999 23:59:59 GMT")

    def test_an_answer_is_never_split(self) -> None:
        """A field with CR, LF or NUL, or a name that is none, is not sent."""
        self.assertEqual(field_lines(((b"A", b"b\tc"), (b"D", b""))), b"A: b\tc\r\nD: \r\n")
        for bad in ((b"A", b"b\r\nC: d"), (b"A", b"\n"), (b"A", b"\0"), (b"A b", b"c"), (b"", b"c"), (b"A:", b"c")):
            with self.assertRaises(ValueError):
                field_lines((bad,))

    def test_core_08_framing(self) -> None:
        """No length on 1xx, 204 and 304; HEAD has GET's; 1.0 ends by closing."""
        for status in (101, 204, 304):
            self.assertEqual(framing("GET", status, 5, (1, 1)), (b"", False, False))
            self.assertFalse(may_have_body("GET", status))
        self.assertEqual(framing("GET", 200, 5, (1, 1)), (b"Content-Length: 5\r\n", False, False))
        self.assertEqual(framing("HEAD", 200, 5, (1, 1)), (b"Content-Length: 5\r\n", False, False))
        self.assertEqual(framing("GET", 200, None, (1, 1)), (b"Transfer-Encoding: chunked\r\n", True, False))
        self.assertEqual(framing("HEAD", 200, None, (1, 1)), (b"Transfer-Encoding: chunked\r\n", False, False))
        self.assertEqual(framing("GET", 200, None, (1, 0)), (b"", False, True))
        self.assertEqual(framing("HEAD", 200, None, (1, 0)), (b"", False, False))
        self.assertEqual(chunk(b"a" * 26), b"1a\r\n" + b"a" * 26 + b"\r\n")


class ConditionTests(SynchronousTestCase):
    def test_core_09_if_match(self) -> None:
        """If-Match compares strongly: a list, a star, no weak tags; else 412."""
        for value, found in (
            ('"a"', None),
            ('"b", "a"', None),
            ("*", None),
            ('"b"', 412),
            ('W/"a"', 412),
            ("a", 412),
            ("", 412),
        ):
            self.assertEqual(precondition(asked(if_match=value), VALIDATORS), found, value)

    def test_core_09_if_unmodified_since(self) -> None:
        """If-Unmodified-Since is 412 when the file is newer; ignored when invalid or when If-Match is there."""
        self.assertEqual(precondition(asked(if_unmodified_since=EARLIER), VALIDATORS), 412)
        for value in (THEN, LATER, "yesterday", ""):
            self.assertIsNone(precondition(asked(if_unmodified_since=value), VALIDATORS))
        self.assertIsNone(precondition(asked(if_match='"a"', if_unmodified_since=EARLIER), VALIDATORS))

    def test_core_09_if_none_match(self) -> None:
        """If-None-Match compares weakly: a list, a star; 304, or 412 for other methods."""
        for value, found in (
            ('"a"', 304),
            ('W/"a"', 304),
            ('"b" , W/"a"', 304),
            ("*", 304),
            ('"b"', None),
            ("a", None),
        ):
            self.assertEqual(precondition(asked(if_none_match=value), VALIDATORS), found, value)
        self.assertEqual(precondition(asked("HEAD", if_none_match="*"), VALIDATORS), 304)
        self.assertEqual(precondition(asked("PUT", if_none_match="*"), VALIDATORS), 412)

    def test_core_09_if_modified_since(self) -> None:
        """If-Modified-Since is 304 unless the file is newer; If-None-Match wins; invalid dates are ignored."""
        self.assertEqual(precondition(asked(if_modified_since=THEN), VALIDATORS), 304)
        self.assertEqual(precondition(asked(if_modified_since=LATER), VALIDATORS), 304)
        self.assertIsNone(precondition(asked(if_modified_since=EARLIER), VALIDATORS))
        self.assertIsNone(precondition(asked(if_modified_since="x"), VALIDATORS))
        self.assertIsNone(precondition(asked("PUT", if_modified_since=THEN), VALIDATORS))
        self.assertIsNone(precondition(asked(if_none_match='"b"', if_modified_since=LATER), VALIDATORS))
        twice = asked(if_modified_since=THEN)
        doubled = RequestHead(
            method="GET", target=b"/", path=b"/", query=b"", version=(1, 1), headers=twice.headers * 2, host="a"
        )
        self.assertIsNone(precondition(doubled, VALIDATORS))

    def test_core_09_if_range(self) -> None:
        """If-Range holds with the strong tag or the exact date of a file that is a second old."""
        for value, holds in (
            ('"a"', True), ('W/"a"', False), ('"b"', False), ("a", False), (THEN, True), (EARLIER, False),
            (LATER, False), ("x", False),
        ):  # fmt: skip
            self.assertIs(range_applies(asked(if_range=value), VALIDATORS, NOW), holds, value)
        self.assertIs(range_applies(asked(), VALIDATORS, NOW), True)
        self.assertIs(range_applies(asked(if_range=THEN), VALIDATORS, MODIFIED + 0.5), False)

    def test_core_09_hostile_tags(self) -> None:
        """A field of nothing but blanks between tags, as long as a head may be, takes no time."""
        for value in ('"b",' + " " * 32_000 + "x", '"b"' + "\t" * 32_000 + "x", '"' + "a" * 32_000, "," * 32_000):
            start = time.process_time()
            self.assertIsNone(precondition(asked(if_none_match=value), VALIDATORS))
            self.assertLess(time.process_time() - start, 1.0)

    def test_core_09_order(self) -> None:
        """If-Match comes before If-None-Match."""
        self.assertEqual(precondition(asked(if_match='"b"', if_none_match='"a"'), VALIDATORS), 412)

    def test_dates(self) -> None:
        """The three forms of a date are read; everything else is none."""
        for text in ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"):
            self.assertEqual(parse_date(text.encode()), 784111777, text)
        self.assertEqual(parse_date(b"Friday, 15-Jan-27 08:00:00 GMT"), 1800000000)
        self.assertIsNotNone(parse_date(b"Sat, 31 Dec 2016 23:59:60 GMT"))
        for text in (
            b"", b"Sun, 06 Nov 1994 08:49:37", b"Sun, 31 Feb 1994 08:49:37 GMT", b"Sun, 06 Foo 1994 08:49:37 GMT",
            b"\xff", b"0",
            b"Sun, 06 Nov 1994 25:49:37 GMT", b"Sun, 06 Nov 0000 08:49:37 GMT", b"784111777",
        ):  # fmt: skip
            self.assertIsNone(parse_date(text), text)

    @given(st.binary(max_size=60))
    @settings(derandomize=True, deadline=None)
    def test_any_octets(self, value: bytes) -> None:
        """Any octets are a date or none, a list of tags or none, and never an error."""
        parse_date(value)
        etag_matches(value, b'"a"', weak=True)
        with_range = value.replace(b"\n", b"")
        with contextlib.suppress(UnsatisfiableError):
            parse_ranges(b"bytes=" + with_range, 100)


class RangeTests(SynchronousTestCase):
    def spans(self, value: bytes, length: int = 100) -> list[tuple[int, int]] | None:
        found = parse_ranges(value, length)
        return None if found is None else [(one.start, one.stop) for one in found]

    def test_core_10_ranges(self) -> None:
        """First and last, open, and suffix ranges; a suffix longer than the file is the whole file."""
        for value, found in (
            (b"bytes=0-9", [(0, 10)]),
            (b"Bytes=90-", [(90, 100)]),
            (b"bytes=-10", [(90, 100)]),
            (b"bytes=-1000", [(0, 100)]),
            (b"bytes=5-1000", [(5, 100)]),
            (b"bytes= 0-0 , ,20-29", [(0, 1), (20, 30)]),
            (b"bytes=0-0,1000-", [(0, 1)]),
        ):
            self.assertEqual(self.spans(value), found, value)

    def test_core_10_ignored(self) -> None:
        """What cannot be read, and other units, are as if absent."""
        for value in (
            b"", b"bytes", b"bytes=", b"bytes=,", b"bytes=a-b", b"bytes=5-4", b"bytes=+1-2", b"bytes=1-1_0",
            b"bytes=--1", b"items=0-1",
            b"bytes=0-1;2-3", b"bytes=0-1,x", b"bytes=1", b"bytes=\xb2-3", b"bytes=0x1-2", b"bytes=-",
            b"bytes=" + b"1" * 19 + b"-", b"bytes 0-1",
        ):  # fmt: skip
            self.assertIsNone(self.spans(value), value)

    def test_core_10_unsatisfiable(self) -> None:
        """A set of which nothing is there is unsatisfiable: behind the end, an empty suffix, an empty file."""
        for value, length in (
            (b"bytes=100-", 100),
            (b"bytes=-0", 100),
            (b"bytes=0-", 0),
            (b"bytes=-5", 0),
            (b"bytes=200-300,400-", 100),
        ):
            with self.assertRaises(UnsatisfiableError):
                parse_ranges(value, length)

    def test_core_10_joined_and_capped(self) -> None:
        """Ranges that touch or overlap are joined, in order; too many are as if absent."""
        self.assertEqual(self.spans(b"bytes=50-59,0-9,5-19,20-29"), [(0, 30), (50, 60)])
        self.assertEqual(self.spans(b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(64))), [(0, 64)])
        self.assertIsNone(self.spans(b"bytes=" + b",".join([b"0-"] * 65)))

    def test_core_10_multipart_length(self) -> None:
        """The length of a multipart body is what it will be."""
        ranges = (Range(0, 5), Range(90, 100))
        heads, tail, total = part_heads(ranges, 100, b"text/plain", b"b")
        body = heads[0] + b"x" * 5 + heads[1] + b"x" * 10 + tail
        self.assertEqual(len(body), total)
        self.assertTrue(body.startswith(b"--b\r\n"))
        self.assertTrue(body.endswith(b"\r\n--b--\r\n"))
        self.assertEqual(content_range(ranges[1], 100), b"bytes 90-99/100")


class TypeTests(SynchronousTestCase):
    def test_types(self) -> None:
        """Text has a charset, a packed file is what it is, the unknown is octets."""
        for name, kind in (
            (b"a.html", b"text/html; charset=utf-8"),
            (b"A.HTM", b"text/html; charset=utf-8"),
            (b"a.js", b"text/javascript; charset=utf-8"),
            (b"a.mjs", b"text/javascript; charset=utf-8"),
            (b"a.css", b"text/css; charset=utf-8"),
            (b"a.txt", b"text/plain; charset=utf-8"),
            (b"a.py", b"text/plain; charset=utf-8"),
            (b"a.json", b"application/json; charset=utf-8"),
            (b"a.svg", b"image/svg+xml; charset=utf-8"),
            (b"a.png", b"image/png"),
            (b"a.woff2", b"font/woff2"),
            (b"a.wasm", b"application/wasm"),
            (b"a.tar.gz", b"application/gzip"),
            (b"a.txt.br", b"application/octet-stream"),
            (b"a", b"application/octet-stream"),
            (b"a.unknown", b"application/octet-stream"),
            (b"html", b"application/octet-stream"),
            (b"\xff.html", b"text/html; charset=utf-8"),
            (b"http://a/b%00.html", b"text/html; charset=utf-8"),
        ):
            self.assertEqual(media_type(name), kind, name)


class PageTests(SynchronousTestCase):
    def test_error_page(self) -> None:
        """A page has status, phrase and request id, escaped."""
        page = error_page(404, "<b>", "id&1").decode()
        self.assertIn("404 &lt;b&gt;", page)
        self.assertIn("id&amp;1", page)
        self.assertNotIn("<b>", page)
        self.assertNotIn("<script", page)
        self.assertIn("color-scheme:light dark", page)
        self.assertIn("viewport", page)
        self.assertIn("799 Error", error_page(799, None, "").decode())
