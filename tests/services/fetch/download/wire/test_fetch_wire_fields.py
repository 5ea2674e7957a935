"""Fields and URLs: what they say, and that nothing makes them fail otherwise than they promise."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.fetch.download.addresses import is_public
from netsvc.services.fetch.download.wire.conditions import ContentRange, content_range, retry_after, strong_validator
from netsvc.services.fetch.download.wire.disposition import disposed_name
from netsvc.services.fetch.download.wire.head import Head
from netsvc.services.fetch.download.wire.url import UrlError, clean_url, parse_url


def head(*fields: tuple[str, str]) -> Head:
    """A head with these fields."""
    return Head(1, 200, fields)


class ConditionTests(SynchronousTestCase):
    """Ranges, validators, waits."""

    def test_content_range(self) -> None:
        """RFC 9110 14.4; what contradicts itself is nothing."""
        for value, found in (
            ("bytes 0-0/1", ContentRange(0, 0, 1)),
            ("Bytes 5-9/*", ContentRange(5, 9, None)),
            ("bytes */9", ContentRange(None, None, 9)),
            ("bytes 5-4/9", None),
            ("bytes 0-9/9", None),
            ("bytes -1-4/9", None),
            ("items 0-1/2", None),
            (f"bytes 0-{10**30}/{10**31}", None),
            ("", None),
            (None, None),
        ):
            self.assertEqual(content_range(value), found)

    def test_strong_validators(self) -> None:
        """Strong tags; neither weak nor malformed nor contradictory ones."""
        for fields, found in (
            ((("etag", '"a"'),), '"a"'),
            ((("etag", 'W/"a"'),), None),
            ((("etag", "a"),), None),
            ((("etag", '"a b"'),), None),
            ((("etag", '"a"'), ("etag", '"b"')), None),
        ):
            self.assertEqual(strong_validator(head(*fields)), found)

    @settings(deadline=None)
    @given(st.text())
    def test_any_value(self, value: str) -> None:
        """Whatever a field says is understood or passed over."""
        found = head(("retry-after", value), ("last-modified", value), ("date", value), ("content-range", value))
        wait = retry_after(found, 0.0, 10.0)
        self.assertTrue(wait is None or 0 <= wait <= 10)
        strong_validator(found)
        content_range(value)
        name = disposed_name(value)
        self.assertFalse(name and ("/" in name or "\\" in name))


class DispositionTests(SynchronousTestCase):
    """RFC 6266."""

    def test_names(self) -> None:
        """Tokens, quoted strings, extended values, which win; directories are cut off."""
        for value, name in (
            ("attachment; filename=a.txt", "a.txt"),
            ('attachment; filename="a b.txt"', "a b.txt"),
            ('inline;FILENAME="a\\"b"', 'a"b'),
            ("attachment; filename*=UTF-8''%e2%82%ac; filename=euro", "€"),
            ("attachment; filename=euro; filename*=ISO-8859-1'en'%A3", "£"),
            ("attachment; filename=euro; filename*=UTF-8''%ff", "euro"),
            ("attachment; filename=euro; filename*=KOI8-R''x", "euro"),
            ('attachment; filename="/etc/passwd"', "passwd"),
            ('attachment; filename="..\\\\..\\\\x"', "x"),
            ("attachment; filename*=UTF-8''..%2f..%2fx", "x"),
            ("attachment; filename=a; filename=b", "a"),
            ('attachment; filename="na\xc3\xafve"', "naïve"),
            ('attachment; filename="na\xefve"', "naïve"),
            ("attachment", None),
            ("attachment; filename=", None),
            ('attachment; filename="a', None),
            ('attachment; filename="dir/"', None),
            ("", None),
        ):
            self.assertEqual(disposed_name(value), name, value)


class UrlTests(SynchronousTestCase):
    """URLs."""

    def test_parts(self) -> None:
        """Host in ASCII, port by scheme, target escaped, fragment dropped, name decoded."""
        for text, authority, target, name in (
            ("http://Example.COM", "example.com", "/", ""),
            ("https://example.com:443/a?b=c#d", "example.com", "/a?b=c", "a"),
            ("http://example.com:8080/ä b/%C3%A4", "example.com:8080", "/%C3%A4%20b/%C3%A4", "ä"),
            ("http://bücher.example/x\r\ny", "xn--bcher-kva.example", "/xy", "xy"),
            ("http://[::1]:80/x", "[::1]", "/x", "x"),
            ("http://a/%ff", "a", "/%ff", "%ff"),
            ("http://a?q", "a", "/?q", ""),
        ):
            url = parse_url(text)
            self.assertEqual((url.authority, url.target, url.name), (authority, target, name))

    def test_not_downloadable(self) -> None:
        """Other schemes, no host, hosts that are none, ports that are none."""
        for text in (
            "ftp://a/",
            "file:///etc/passwd",
            "http:///x",
            "http://a b/",
            "http://a\\b/",
            "http://a:99999/",
            "http://[x/",
            "//a/b",
            "a",
            "",
            "http://" + "a" * 300,
            "http://a/" + "b" * 20_000,
        ):
            with self.assertRaises(UrlError):
                parse_url(text)

    def test_password_is_never_shown(self) -> None:
        """Neither of a URL nor of what only looks like one."""
        for text in ("http://u:secret@a/b", "gopher://u:secret@a/", "http://u:secret@a b/"):
            self.assertNotIn("secret", clean_url(text))
        self.assertNotIn("secret", str(parse_url("http://u:secret@a/b")) + repr(parse_url("http://u:secret@a/b")))
        self.assertNotIn("\x1b", clean_url("x\x1b[2J"))

    @settings(deadline=None)
    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """A URL or a UrlError; what is sent has no blanks, controls or line breaks."""
        base = parse_url("http://a/b/c?d")
        for make in (parse_url, base.redirected, lambda one: parse_url("http://a/" + one)):
            try:
                url = make(text)
            except UrlError:
                continue
            self.assertTrue((url.target + url.authority).isascii())
            self.assertTrue(set(url.target + url.authority).isdisjoint(" \r\n\t\0"))


class AddressTests(SynchronousTestCase):
    """Public addresses."""

    def test_public_and_not(self) -> None:
        """Every special range, and IPv4 inside of IPv6."""
        for one in (
            "8.8.8.8",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "172.32.0.1",
        ):
            self.assertTrue(is_public(one), one)
        for one in (
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "localhost",
            "",
        ):
            self.assertFalse(is_public(one), one)
