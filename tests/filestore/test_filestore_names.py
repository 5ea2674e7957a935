"""Names of files: what may be given, what may be asked for."""

from __future__ import annotations

from unicodedata import normalize

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.errors import BadNameError
from netsvc.filestore.names import check_name, parse_path, readable, twin_key


class Names(SynchronousTestCase):
    def test_any_script(self) -> None:
        """Names of any script, with blanks, emoji and several dots, are taken as they are."""
        for name in ("a", "Bericht (2).tar.gz", "写真.jpg", "😀 party.png", "_", "-rf", "a..b", "e\u0301t\u00e9"):
            self.assertEqual(check_name(name), normalize("NFC", name))

    def test_file_abuse_15_ways_out(self) -> None:
        """Slashes, backslashes and dots that lead elsewhere are no part of a name."""
        for name in ("..", ".", "../x", "a/b", "..\\x", "a\\b", "\\\\host\\share"):
            with self.assertRaises(BadNameError):
                check_name(name)

    def test_file_abuse_21_controls(self) -> None:
        """NUL, newline, ESC, DEL, C1, line separators and bidirectional controls are no part of a name."""
        for one in "\0\n\r\t\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200f":
            with self.assertRaises(BadNameError):
                check_name(f"a{one}b")
            self.assertFalse(readable(f"a{one}b"))

    def test_file_abuse_22_decomposed(self) -> None:
        """A decomposed name becomes the composed one; both have one key, as have names that differ in case."""
        self.assertEqual(check_name("e\u0301"), "\u00e9")
        self.assertEqual(twin_key("E\u0301t\u00e9"), twin_key("\u00e9TE\u0301"))
        self.assertEqual(twin_key("STRASSE"), twin_key("straße"))
        self.assertNotEqual(twin_key("a"), twin_key("ä"))

    def test_file_abuse_23_long(self) -> None:
        """A name has 255 octets at most, not characters; a path 4,095."""
        check_name("a" * 255)
        for name in ("a" * 256, "ä" * 128):
            with self.assertRaises(BadNameError):
                check_name(name)
        parse_path("/".join(["d" * 80] * 50))
        with self.assertRaises(BadNameError):
            parse_path("/".join(["d" * 80] * 51))

    def test_file_abuse_24_not_utf8(self) -> None:
        """Octets that are no UTF-8 stand as lone surrogates in a name, and are refused."""
        with self.assertRaises(BadNameError):
            check_name(b"a\xffb".decode("utf-8", "surrogateescape"))

    def test_hidden_and_trailing(self) -> None:
        """Leading dots and blanks, trailing dots and blanks, and nothing at all are no names."""
        for name in (".x", ".netsvc-0.part", " x", "x ", "x.", "", "..."):
            with self.assertRaises(BadNameError):
                check_name(name)

    def test_windows(self) -> None:
        """Windows' devices and signs are refused only when asked."""
        for name in ("CON", "aux.txt", "com1", "LPT9.tar.gz", "a:b", "what?", "a|b"):
            self.assertEqual(check_name(name), name)
            with self.assertRaises(BadNameError):
                check_name(name, windows=True)
        for name in ("console", "common", "com10", "null"):
            check_name(name, windows=True)

    def test_paths(self) -> None:
        """Dots of a path are resolved by its text, and never lead above the root."""
        for text, names in (
            ("", ()),
            ("/", ()),
            ("/a//b/", ("a", "b")),
            ("a/./b/../c", ("a", "c")),
            ("../../etc/passwd", ("etc", "passwd")),
        ):
            self.assertEqual(parse_path(text), names)

    @given(st.text())
    def test_what_is_taken_is_safe(self, name: str) -> None:
        """Whatever is taken is one visible component in NFC, and is taken again as it is."""
        try:
            taken = check_name(name)
        except BadNameError:
            return
        self.assertEqual(check_name(taken), taken)
        self.assertTrue(readable(taken))
        self.assertNotIn("/", taken)
        self.assertLessEqual(len(taken.encode()), 255)
