"""authorized_keys: options that hold, options that make a line unused, addresses and times."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp.login.authorized_keys import AuthorizedKey, parse

KEY = ed25519.Ed25519PrivateKey.generate()


def text_of(key: object) -> str:
    """Kind and base64."""
    made: bytes = key.public_key().public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return made.decode()


LINE = text_of(KEY)


def one(line: str) -> AuthorizedKey:
    """The key of a line that has one."""
    found, faults = parse(line.encode())
    assert not faults, faults
    (key,) = found.values()
    return key


def fault(line: str) -> str:
    """Why a line is not used."""
    found, (text,) = parse(line.encode())
    assert not found
    return text


class AuthorizedKeysTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """Keys of every kind that signs without SHA-1 are taken, with comments, blanks and CR LF around them."""
        lines = [
            "# a comment",
            "",
            f"{LINE} bob@example.org",
            f"  {text_of(ec.generate_private_key(ec.SECP256R1()))}\r",
            f"{text_of(ec.generate_private_key(ec.SECP384R1()))} with spaces in it",
            f"restrict {text_of(ec.generate_private_key(ec.SECP521R1()))}",
            f"no-pty,no-X11-forwarding\t{text_of(rsa.generate_private_key(65537, 2048))}",
        ]
        found, faults = parse("\n".join(lines).encode())
        self.assertEqual((len(found), faults), (5, ()))

    def test_not_taken(self) -> None:
        """A DSA key, a short RSA key, a certificate, and what is no key are left out, by the number of the line."""
        short = rsa.generate_private_key(65537, 1024)
        old = "ssh-dss " + base64.b64encode(b"\0\0\0\x07ssh-dss").decode()
        body = LINE.split()[1]
        for line, words in (
            (text_of(short), "RSA keys have 2048 to 16384 bits, not 1024"),
            (old, "keys of the kind ssh-dss are not taken"),
            (f"ssh-ed25519-cert-v01@openssh.com {body}", "the key is of another kind than it says"),
            (f"ssh-rsa {body}", "the key is of another kind than it says"),
            ("ssh-ed25519", "there is no key in it"),
            ("ssh-ed25519 !!!!", "there is no key in it"),
            (f"ssh-ed25519 {body[:-8]}", "the message is cut short"),
            ("nothing of the kind", "there is no key in it"),
        ):
            self.assertEqual(fault(line), f"line 1: {words}")

    def test_options_unknown(self) -> None:
        """An option that would limit the key, and that nothing here knows, makes its line unused."""
        for options in (
            'command="/bin/true"',
            'command="internal-sftp -R"',
            "cert-authority",
            'principals="a"',
            'environment="A=b"',
            "no-touch-requird",
            'from=""',
            "from",
            'restrict="x"x',
            'expiry-time="tomorrow"',
            'expiry-time="20231399"',
            'from="host.example.org"',
            'from="192.0.2.1/24"',
        ):
            found, faults = parse(f"{options} {LINE}".encode())
            self.assertEqual((found, len(faults)), ({}, 1), options)

    def test_options_known(self) -> None:
        """Options that only take away what is not offered, and internal-sftp itself, are fine."""
        one(f'restrict,pty,no-port-forwarding,permitopen="a:1",command="internal-sftp" {LINE}')

    def test_from(self) -> None:
        """from= has addresses, networks, wildcards and exceptions, as sshd(8) has them."""
        key = one(f'from="192.0.2.0/24,!192.0.2.9,2001:db8::/32,198.51.100.?" {LINE}')
        for host, fits in (
            ("192.0.2.1", True),
            ("192.0.2.9", False),
            ("2001:db8::1", True),
            ("2001:db9::1", False),
            ("198.51.100.7", True),
            ("198.51.100.77", False),
            (None, False),
        ):
            self.assertEqual(key.why_not(host, 0) is None, fits, host)
        self.assertIsNone(one(LINE).why_not(None, 0))

    def test_expiry(self) -> None:
        """expiry-time ends a key's use; of two the earlier holds; without a Z it is local time."""
        key = one(f'expiry-time="20231114221320Z" {LINE}')
        self.assertIsNone(key.why_not("192.0.2.1", 1_699_999_999))
        self.assertEqual(key.why_not("192.0.2.1", 1_700_000_000), "the key has expired")
        both = one(f'expiry-time="20400101Z",expiry-time="202311142213Z" {LINE}')
        self.assertEqual(both.expires, 1_699_999_980)
        both = one(f'expiry-time="202311142213Z",expiry-time="20400101Z" {LINE}')
        self.assertEqual(both.expires, 1_699_999_980)
        local = one(f'expiry-time="20231114" {LINE}').expires
        assert local is not None
        self.assertLess(abs(local - 1_699_920_000), 86400)

    def test_token_options(self) -> None:
        """What a token must have seen is said by its line."""
        key = one(f"no-touch-required,verify-required {LINE}")
        self.assertEqual((key.touched, key.verified), (False, True))

    def test_first_line_holds(self) -> None:
        """Of two lines with one key the first holds, as with sshd."""
        self.assertEqual(one(f'from="192.0.2.1" {LINE}\n{LINE}').sources, ("192.0.2.1",))

    @settings(deadline=None)
    @given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60), st.binary(max_size=60))
    def test_nonsense(self, options: str, blob: bytes) -> None:
        """Whatever stands in a file, it is a key or a fault."""
        parse(f"{options} {LINE}".encode())
        parse(options.encode() + b" " + base64.b64encode(blob))
        parse(b"ssh-rsa " + base64.b64encode(b"\0\0\0\x07ssh-rsa" + blob))
        parse(blob)
