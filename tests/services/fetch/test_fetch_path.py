"""Facts about paths into JSON, feeds, checksums and names."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.services.fetch.checksums import ChecksumError, Sum, parse_list, parse_sum
from netsvc.services.fetch.feed import FeedError, feed_url, files_of
from netsvc.services.fetch.naming import free_name, name_in
from netsvc.services.fetch.orders import FileOrder, OrderError, RunOrder, decode
from netsvc.services.fetch.path import PathError, parse_path

NEWS = {"code": 200, "newslist": [{"picUrl": "http://a.example/1.jpg"}, {"title": "none"}, {"picUrl": "/2.jpg"}]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


class PathTests(SynchronousTestCase):
    def found(self, path: str, value: Any) -> list[Any]:
        return parse_path(path).find(value)

    def test_the_tutorials(self) -> None:
        """newslist[*].picUrl gives each picture, and passes over what has none."""
        self.assertEqual(self.found("newslist[*].picUrl", NEWS), ["http://a.example/1.jpg", "/2.jpg"])

    def test_forms(self) -> None:
        """A dollar may stand for the whole; quotes hold any name; a star takes an object's values, too."""
        value = {"a.b": [[1, 2], [3]], "c": {"x": 4, "y": 5}}
        self.assertEqual(self.found('$["a.b"][0][1]', value), [2])
        self.assertEqual(self.found('["a.b"][*][*]', value), [1, 2, 3])
        self.assertEqual(self.found("c[*]", value), [4, 5])
        self.assertEqual(self.found("[*].n", [{"n": 1}, {}, 2, {"n": 3}]), [1, 3])
        self.assertEqual(self.found("$.c.x", value), [4])

    def test_what_is_not_there(self) -> None:
        """A part that lacks before the first star is an error: the document is another; an empty list is none."""
        for path, value in (("newslist[*].picUrl", {"code": 230}), ("a[3]", {"a": []}), ("a[*]", {"a": 1}), ("[*]", 1)):
            self.assertRaises(PathError, self.found, path, value)
        self.assertEqual(self.found("newslist[*].picUrl", {"newslist": []}), [])

    def test_malformed(self) -> None:
        """What is no path is refused."""
        for text in ("", "$", ".a", "a.", "a..b", "a[", "a[-1]", "a[x]", "a b", 'a["', 'a["\\q"]', "[*]x", "a" * 1001):
            self.assertRaises(PathError, parse_path, text)

    @given(st.text(max_size=30), JSON)
    def test_any_text(self, text: str, value: Any) -> None:
        """Any text is a path or refused; a path meets any value with a list or a PathError."""
        with contextlib.suppress(PathError):
            parse_path(text).find(value)

    @given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
    def test_quoted_names(self, names: list[str]) -> None:
        """Every name can be written in quotes."""
        value: Any = "x"
        for name in reversed(names):
            value = {name: value}
        self.assertEqual(self.found("".join(f"[{json.dumps(name)}]" for name in names), value), ["x"])


class FeedTests(SynchronousTestCase):
    def test_files(self) -> None:
        """Relative URLs start at the feed's, without its query; what comes twice comes once."""
        content = json.dumps({"newslist": [*NEWS["newslist"], {"picUrl": " /2.jpg "}, {"picUrl": 3}]}).encode()  # type: ignore[misc]
        path = parse_path("newslist[*].picUrl")
        found = files_of(content, path, "https://api.example/social/?key=geheim")
        self.assertEqual(found, ["http://a.example/1.jpg", "https://api.example/2.jpg"])

    def test_wrong(self) -> None:
        """What is no JSON, another document, no text or no URL is refused in words without anything of it."""
        path = parse_path("newslist[*].picUrl")
        for content in (
            b"<html>",
            b"\xff",
            b"[" * 100_000,
            b'{"code": 230, "msg": "geheim"}',
            b'{"newslist": [{"picUrl": 1}]}',
            b'{"newslist": [{"picUrl": "http://[geheim"}]}',
            b'{"newslist": [{"picUrl": "http://a/\\ud800"}]}',
        ):
            with self.assertRaises(FeedError) as caught:
                files_of(content, path, "http://a/")
            self.assertNotIn("geheim", str(caught.exception))

    def test_url(self) -> None:
        """Key and page come into the URL escaped, other braces too."""
        url = feed_url("http://a/?key={key}&page={page}&x={y}", Secret("env:K", "a&b=c/ü"), 3)
        self.assertEqual(url, "http://a/?key=a%26b%3Dc%2F%C3%BC&page=3&x=%7By%7D")


class ChecksumTests(SynchronousTestCase):
    def test_lists(self) -> None:
        """Lines of sha256sum, in text and binary, of BSD, escaped names, and other lengths."""
        a, b, c = "a" * 64, "B" * 64, "c" * 128
        text = f"{a}  one.iso\n{b} *dir/two.iso\n\n# none\nSHA512 (three.iso) = {c}\n\\{a}  x\\\\y\n{c}  four\r\n"
        self.assertEqual(
            parse_list(text.encode()),
            {
                "one.iso": Sum("sha256", a),
                "two.iso": Sum("sha256", b.lower()),
                "three.iso": Sum("sha512", c),
                "x\\y": Sum("sha256", a),
                "four": Sum("sha512", c),
            },
        )

    def test_wrong_lists(self) -> None:
        """What is no list is refused with its line."""
        for text in (
            b"x",
            b"a" * 64,
            b"a" * 63 + b"  x",
            b"\xff",
            b"MD9 (x) = aa",
            b"a" * 64 + b"  x\n" + b"b" * 64 + b"  y/x",
        ):
            self.assertRaises(ChecksumError, parse_list, text)

    def test_single(self) -> None:
        """algorithm:HEX; the algorithm decides the length."""
        self.assertEqual(str(parse_sum("SHA-256:" + "A" * 64)), "sha256:" + "a" * 64)
        for text in ("", "sha256", "sha256:", "sha256:" + "a" * 63, "sha256:" + "g" * 64, "crc:aa"):
            self.assertRaises(ChecksumError, parse_sum, text)

    @given(st.binary(max_size=200))
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are a list or refused."""
        with contextlib.suppress(ChecksumError):
            parse_list(octets)


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        """The last part of the URL, decoded; nothing where no file may have it."""
        self.assertEqual(name_in("http://a/b/c%20d.jpg?x=1#y"), "c d.jpg")
        for url in ("http://a/", "http://a/..", "http://a/%2e%2e%2fx", "http://a/.x", "ftp://a/b", "http://a/b%00"):
            self.assertEqual(name_in(url), "", url)

    def test_twins(self) -> None:
        """A second file of one name has a number in front of its suffix."""
        taken = {"a.jpg", "a-2.jpg", "b", ".x"}
        self.assertEqual(free_name("a.jpg", taken.__contains__), "a-3.jpg")
        self.assertEqual(free_name("b", taken.__contains__), "b-2")
        self.assertEqual(free_name("c", taken.__contains__), "c")
        self.assertEqual(free_name("", taken.__contains__), "")


class OrderTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """An order is read as it was written; its repr shows no URL."""
        order = FileOrder(url="http://u:geheim@a/b", name="b", checksum="sha256:" + "0" * 64)
        self.assertEqual(decode(order.encode()), order)
        self.assertNotIn("geheim", repr(order))
        self.assertEqual(decode(RunOrder().encode()), RunOrder())

    def test_no_order(self) -> None:
        """Anything else is refused."""
        for content in (b"", b"x", b"[]", b"1", b'{"v":2}', b'{"v":1,"url":1}'):
            self.assertRaises(OrderError, decode, content)
