"""The htpasswd file: what is taken, what is refused, and that no fault shows a hash."""

from __future__ import annotations

import contextlib

import bcrypt
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.passwords import htpasswd
from netsvc.net.passwords.htpasswd import HtpasswdError, check, make, parse, with_user

BCRYPT = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$KuBjEBv1yZHB9VYrJ9qNGg"


class ParseTests(SynchronousTestCase):
    def fault(self, text: str | bytes) -> str:
        with self.assertRaises(HtpasswdError) as caught:
            parse(text if isinstance(text, bytes) else text.encode())
        return str(caught.exception)

    def test_static_htpasswd_lines(self) -> None:
        """Comments, empty lines, CRLF and what stands behind a second colon are passed over."""
        text = f"# a\n\n \na:{BCRYPT}\r\nb c:{ARGON2} :x:y\n#d:e\n\u00e9:{BCRYPT}"
        self.assertEqual(parse(text.encode()), {"a": BCRYPT, "b c": ARGON2, "\u00e9": BCRYPT})
        self.assertEqual(parse(b""), {})

    def test_static_htpasswd_schemes(self) -> None:
        """Every other scheme is refused by the number of its line and its name, never with the hash."""
        for hashed, words in (
            ("$apr1$OgGNi8Qb$cTlBUH0xOKHfTh2w.JfBu1", "MD5 (apr1)"),
            ("{SHA}EfatjsUqKYSH5t", "SHA1"),
            ("$1$ab$cdefgh", "crypt (MD5)"),
            ("$5$ab$cdefgh", "crypt (SHA-256)"),
            ("$6$ab$cdefgh", "crypt (SHA-512)"),
            ("$y$j9T$cdefgh", "crypt (yescrypt)"),
            ("rl0uE8LV2fY1M", "crypt or a plain password"),
            ("", "crypt or a plain password"),
            (ARGON2.replace("argon2id", "argon2i"), "another argon2"),
            (BCRYPT[:-1], "a damaged bcrypt hash"),
            (BCRYPT[:28] + "z" + BCRYPT[29:], "a damaged bcrypt hash"),
            ("$2x$" + BCRYPT[4:], "a damaged bcrypt hash"),
        ):
            fault = self.fault(f"# one\nalice:{hashed}\n")
            self.assertIn("line 2 has ", fault)
            self.assertIn(words, fault)
            if hashed:
                self.assertNotIn(hashed, fault)

    def test_static_htpasswd_costs(self) -> None:
        """A hash that would hold a thread for minutes, or take all memory, is refused."""
        for cost, fine in (("03", False), ("04", True), ("16", True), ("17", False), ("31", False)):
            line = f"a:$2b${cost}${BCRYPT[7:]}"
            if fine:
                parse(line.encode())
            else:
                self.assertIn(f"bcrypt of cost {cost}", self.fault(line))
        for numbers, words in (
            ("m=999999,t=1,p=1", "more memory"),
            ("m=8,t=1,p=2", "senseless"),
            ("m=8,t=0,p=1", "senseless"),
            ("m=8,t=1,p=0", "senseless"),
            ("m=262144,t=9,p=1", "too long"),
        ):
            self.assertIn(words, self.fault("a:" + ARGON2.replace("m=8,t=1,p=1", numbers)))

    def test_static_htpasswd_faults(self) -> None:
        """What has no name, a strange one or one twice, is not UTF-8, or is too long is refused."""
        self.assertIn("line 1 does not begin", self.fault("alice"))
        self.assertIn("line 1 does not begin", self.fault(f":{BCRYPT}"))
        self.assertIn("line 1 does not begin", self.fault(f" a:{BCRYPT}"))
        self.assertIn("line 1 does not begin", self.fault(f"a\x1b[m:{BCRYPT}"))
        self.assertIn("line 2 has a user who", self.fault(f"\u00e9:{BCRYPT}\ne\u0301:{BCRYPT}"))
        self.assertIn("line 1 is not UTF-8", self.fault(b"\xff:x"))
        self.assertIn("more than 4 MiB", self.fault(b"#" * (htpasswd.LONGEST_FILE + 1)))

    @given(st.binary(max_size=300))
    @settings(derandomize=True, deadline=None, max_examples=500)
    def test_static_htpasswd_any_octets(self, data: bytes) -> None:
        """Any octets: users or a fault."""
        with contextlib.suppress(HtpasswdError):
            parse(data)


class HashTests(SynchronousTestCase):
    def test_static_htpasswd_round_trip(self) -> None:
        """A hash that is made is one that is taken, and knows its password in NFC and no other."""
        for scheme in ("bcrypt", "argon2"):
            hashed = make("caf\u00e9", scheme)
            self.assertEqual(parse(f"a:{hashed}".encode()), {"a": hashed})
            self.assertTrue(check(hashed, "cafe\u0301"))
            self.assertFalse(check(hashed, "cafe"))

    def test_static_htpasswd_bcrypt_variants(self) -> None:
        """$2a$, $2b$ and $2y$ are the same; a password is cut at 72 octets, as where the hash was made."""
        for prefix in ("$2a$", "$2b$", "$2y$"):
            self.assertTrue(check(prefix + BCRYPT[4:], "x"))
        long = bcrypt.hashpw(b"y" * 72, bcrypt.gensalt(4)).decode()
        self.assertTrue(check(long, "y" * 90))
        self.assertFalse(check(long, "y" * 71))

    def test_static_htpasswd_passwords(self) -> None:
        """No hash is made of an empty password, of one with controls, or of more than bcrypt knows."""
        for password in ("", "a\n", "\0", "\x7f", "x" * 1025):
            self.assertRaises(ValueError, make, password, "argon2")
        self.assertRaises(ValueError, make, "x" * 73, "bcrypt")
        self.assertTrue(check(make("x" * 73, "argon2"), "x" * 73))

    def test_static_htpasswd_stand_in(self) -> None:
        """What stands in for a hash is one that is taken."""
        self.assertEqual(list(parse(f"a:{htpasswd.STAND_IN}".encode())), ["a"])
        self.assertEqual(htpasswd.stand_in({}, 7), htpasswd.STAND_IN)


class ChangeTests(SynchronousTestCase):
    def test_static_htpasswd_change(self) -> None:
        """One user's line is added, replaced or removed; all others stay as they are."""
        before = b"# a:b\n\na:1:rest\r\nc:2"
        self.assertEqual(with_user(before, "d", "3"), b"# a:b\n\na:1:rest\r\nc:2\nd:3\n")
        self.assertEqual(with_user(before, "a", "3"), b"# a:b\n\na:3\nc:2\n")
        self.assertEqual(with_user(before, "a", None), b"# a:b\n\nc:2\n")
        self.assertEqual(with_user(b"", "a", "1"), b"a:1\n")
        self.assertEqual(with_user("e\u0301:1\n".encode(), "\u00e9", "2"), "\u00e9:2\n".encode())
