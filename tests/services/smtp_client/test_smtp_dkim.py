"""Facts about DKIM signatures: dkimpy verifies them, and a canonical form of our own checks the hash of the body."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import tempfile
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.config.secrets import Secret
from netsvc.errors import BadValue
from netsvc.services.smtp_client.dkim import hash_body, signed
from netsvc.services.smtp_client.dkim_keys import DkimKey, dkim_keys
from netsvc.services.smtp_client.transcode import prepare
from netsvc.services.smtp_client.wire import canonical

RSA = generate_private_key(65537, 2048)
ED = Ed25519PrivateKey.generate()
RSA_PEM = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ED_SEED = base64.b64encode(ED.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()
KEYS = (
    DkimKey("example.com", "r1", Secret("literal", RSA_PEM)),
    DkimKey("example.com", "e1", Secret("literal", ED_SEED)),
)
RECORDS = {
    b"r1": b"v=DKIM1; k=rsa; p="
    + base64.b64encode(RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    b"e1": b"v=DKIM1; k=ed25519; p=" + base64.b64encode(ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
}
NOW = 1_700_000_000.0
HEAD = b"From: A <a@example.com>\r\nTo: b@x\r\nSubject: one\r\n two\r\nDate: d\r\nMessage-ID: <m@x>\r\n"


def verdicts(message: bytes) -> list[bool]:
    """What dkimpy thinks of each signature, from the top."""
    verifier = dkim.DKIM(message)
    count = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
    found = []
    for index in range(count):
        try:
            found.append(verifier.verify(index, dnsfunc=lambda name, timeout=5: RECORDS[name.partition(b".")[0]]))
        except dkim.DKIMException:
            found.append(False)
    return found


def tags(message: bytes) -> list[dict[str, str]]:
    """The tags of each signature, without blanks."""
    fields = re.findall(r"(?m)^DKIM-Signature:((?:.*\r\n)(?:[ \t].*\r\n)*)", message.decode("latin-1"))
    return [dict(part.split("=", 1) for part in "".join(field.split()).split(";") if part) for field in fields]


def relaxed(body: bytes) -> bytes:
    """RFC 6376 3.4.4, line by line as it stands there."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")[:-1]]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


class Signing(SynchronousTestCase):
    def test_two_signatures(self) -> None:
        """Both keys of a domain sign, each signature is good, and the message behind them is as it was."""
        content = HEAD + b"\r\nhello  \t world \r\n\r\n\r\n"
        made = signed(content, KEYS, now=NOW)
        self.assertEqual(verdicts(made), [True, True])
        self.assertTrue(made.endswith(content))
        for one, algorithm in zip(tags(made), ("rsa-sha256", "ed25519-sha256"), strict=True):
            self.assertEqual(
                (one["v"], one["a"], one["c"], one["d"]), ("1", algorithm, "relaxed/relaxed", "example.com")
            )
            self.assertEqual(one["t"], "1700000000")
            self.assertNotIn("l", one)
            self.assertEqual(one["bh"], base64.b64encode(hashlib.sha256(b"hello world\r\n").digest()).decode())

    def test_lines(self) -> None:
        """The field is folded below 78 characters, and no line of it is blank."""
        field = signed(HEAD + b"\r\n", KEYS, now=NOW)[: -len(HEAD) - 2]
        self.assertTrue(all(len(line.strip()) > 0 and len(line) <= 78 for line in field.decode().split("\r\n")[:-1]))

    def test_same_again(self) -> None:
        """A second attempt sends the same octets."""
        self.assertEqual(signed(HEAD + b"\r\nx\r\n", KEYS, now=NOW), signed(HEAD + b"\r\nx\r\n", KEYS, now=NOW))

    def test_any_change_breaks_it(self) -> None:
        """A changed, removed or added field that counts breaks each signature; what may change on the way does not."""
        made = signed(HEAD + b"\r\nx\r\n", KEYS, now=NOW)
        for field in (
            b"From",
            b"To",
            b"Cc",
            b"Subject",
            b"Date",
            b"Reply-To",
            b"Content-Type",
            b"MIME-Version",
            b"Sender",
        ):
            self.assertEqual(verdicts(field + b": added\r\n" + made), [False, False], field)
        for old, new in (
            (b"one\r\n two", b"one"),
            (b"b@x", b"c@x"),
            (b"\r\nx\r\n", b"\r\ny\r\n"),
            (b"Date: d\r\n", b""),
        ):
            self.assertEqual(verdicts(made.replace(old, new)), [False, False], old)
        for front in (b"Received: by x\r\n", b"List-Id: <x>\r\n", b"Return-Path: <>\r\n"):
            self.assertEqual(verdicts(front + made), [True, True])
        self.assertEqual(
            verdicts(made.replace(b"one\r\n two", b"one  two").replace(b"\r\nx\r\n", b"\r\nx \r\n\r\n")), [True, True]
        )

    def test_repeated_fields(self) -> None:
        """Of fields that occur twice both are signed, from the bottom."""
        made = signed(
            b"List-Id: <1>\r\nReferences: <1>\r\nReferences: <2>\r\nList-Id: <2>\r\n" + HEAD + b"\r\n", KEYS, now=NOW
        )
        self.assertEqual(verdicts(made), [True, True])
        self.assertEqual(verdicts(made.replace(b"List-Id: <1>", b"List-Id: <3>")), [False, False])
        self.assertEqual(tags(made)[0]["h"].split(":").count("references"), 3)

    def test_signed_last(self) -> None:
        """What is signed fits every server: 8-bit text and long lines are encoded before, and nothing changes later."""
        content = (
            HEAD.replace(b"one", "öne".encode())
            + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhä\nllo ".encode()
            + b"x" * 2000
        )
        made = signed(content, KEYS, now=NOW)
        self.assertTrue(made.isascii())
        for eight, utf8 in ((False, False), (True, False), (True, True)):
            self.assertEqual(prepare(made, eight_bit_mime=eight, smtputf8=utf8).content, made)
        self.assertEqual(verdicts(made), [True, True])

    def test_addresses_in_utf8(self) -> None:
        """A message that needs SMTPUTF8 is signed as it is; its domain is the A-label's."""
        key = DkimKey("xn--fsqu00a.example", "e1", Secret("literal", ED_SEED))
        made = signed("From: 用 <用@例子.example>\r\n\r\nhä\r\n".encode(), [key], now=NOW)
        self.assertIn("From: 用 <用@例子.example>".encode(), made)
        self.assertEqual(verdicts(made), [True])

    def test_whose_key(self) -> None:
        """From decides: the key of its domain or of the nearest above; none without a key, without From or with two."""
        keys = [
            DkimKey("example.com", "a", Secret("literal", ED_SEED)),
            DkimKey("sub.example.com", "b", Secret("literal", ED_SEED)),
        ]
        for sender, selectors in (
            (b"From: a@example.com", ["a"]),
            (b"from: A (x@y) <a@Sub.Example.COM>", ["b"]),
            (b"From: a@x.sub.example.com", ["b"]),
            (b"From: a@other.example.com", ["a"]),
            (b"From: a@notexample.com", []),
            (b"From: a@x\r\nFrom: a@example.com", []),
            (b"To: a@example.com", []),
            (b"From: example.com", []),
            ("From: a@\u2615..x".encode(), []),
        ):
            made = signed(sender + b"\r\n\r\nx", keys, now=NOW)
            self.assertEqual([one["s"] for one in tags(made)], selectors, sender)
            if not selectors:
                self.assertEqual(made, sender + b"\r\n\r\nx")

    def test_what_can_never_be_sent(self) -> None:
        """A message that no server takes is left to the attempt, which says why."""
        content = HEAD + b"\r\na\0b"
        self.assertIs(signed(content, KEYS, now=NOW), content)

    def test_odd_messages(self) -> None:
        """A message without a body, with an empty one, with LF line ends, and a signed one are all signed well."""
        for content in (HEAD, HEAD + b"\r\n", HEAD + b"\r\n\r\n\r\n", (HEAD + b"\r\nx\r\ny").replace(b"\r\n", b"\n")):
            self.assertEqual(verdicts(signed(content, KEYS, now=NOW)), [True, True], content)
        self.assertEqual(verdicts(signed(signed(HEAD + b"\r\n", KEYS, now=NOW), KEYS, now=NOW)), [True] * 4)

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(
        st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\n", b"b" * 70, b"\r\n" * 3])).map(b"".join),
        st.sampled_from([b"Subject: ", b"X: y\r\nTo:", b"List-Id: x\r\n  ", b"Cc:\t\t"]),
    )
    def test_any_message(self, body: bytes, field: bytes) -> None:
        """Whatever blanks and line ends a message has, its signatures are good."""
        head = b"From: a@example.com\r\n" + field + b" a \t b\r\n\t c\r\n"
        self.assertEqual(verdicts(signed(head + b"\r\n" + body, KEYS, now=NOW)), [True, True])


class Bodies(SynchronousTestCase):
    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(
        st.lists(
            st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"b" * 997, b" " * 800, b"\r\n" * 33_000, b"a \r\n" * 17_000]),
            max_size=8,
        ).map(b"".join)
    )
    def test_hash(self, body: bytes) -> None:
        """The hash made in pieces is that of the whole relaxed body, wherever the pieces part."""
        body = canonical(body)
        self.assertEqual(hash_body(body), hashlib.sha256(relaxed(body)).digest())

    def test_empty(self) -> None:
        """The empty body hashes as RFC 6376 3.4.4 says for relaxed: nothing at all."""
        for body in (b"", b"\r\n", b" \r\n\t\r\n"):
            self.assertEqual(base64.b64encode(hash_body(body)), b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")


class Keys(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-dkim-")
        self.addCleanup(directory.cleanup)
        self.here = Context(Path(directory.name), {"CREDENTIALS_DIRECTORY": directory.name, "ED": ED_SEED})
        Path(directory.name, "key.pem").write_text(RSA_PEM)

    def test_good(self) -> None:
        """Keys come from files, credentials and the environment; the algorithm is the key's; no repr shows it."""
        text = "Example.com r1 file:key.pem\n  example.com e1 env:ED\nbücher.example c credential:key.pem"
        keys = dkim_keys().parse(text, self.here)
        self.assertEqual(
            [(one.domain, one.selector, one.algorithm) for one in keys],
            [
                ("example.com", "r1", "rsa-sha256"),
                ("example.com", "e1", "ed25519-sha256"),
                ("xn--bcher-kva.example", "c", "rsa-sha256"),
            ],
        )
        self.assertEqual(dkim_keys().parse(dkim_keys().show(keys), self.here), keys)
        self.assertNotIn(ED_SEED, repr(keys))
        pkcs1 = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
        ed_pem = ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.assertEqual(DkimKey("a.b", "s", Secret("literal", pkcs1)).algorithm, "rsa-sha256")
        self.assertEqual(DkimKey("a.b", "s", Secret("literal", ed_pem)).algorithm, "ed25519-sha256")

    def test_bad(self) -> None:
        """What is wrong in a line is said with its place, and never with the key."""
        ec = generate_ec(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        Path(self.here.directory, "ec.pem").write_text(ec)
        # The package that we use makes no such key any more.
        small = subprocess.run(["openssl", "genrsa", "768"], check=True, capture_output=True).stdout
        Path(self.here.directory, "small.pem").write_bytes(small)
        for text, at, why in (
            ("example.com r1", 0, "a line is"),
            ("example r1 env:ED", 0, "no domain"),
            ("-.example r1 env:ED", 0, "no domain"),
            ("\u2615..x r1 env:ED", 0, "no domain"),
            ("example.com r1 file:small.pem", 15, "1024 bits at least"),
            ("example.com a..b env:ED", 12, "no selector"),
            ("example.com r1 literal:c2VjcmV0", 15, "neither PEM"),
            ("example.com r1 file:ec.pem", 15, "neither RSA nor"),
            ("example.com r1 env:NONE", 15, "no variable"),
            ("example.com r1 env:ED\n  example.com r1 file:key.pem", 24, "already"),
        ):
            with self.assertRaises(BadValue) as caught:
                dkim_keys().parse(text, self.here)
            self.assertEqual(caught.exception.at, at, text)
            self.assertIn(why, caught.exception.message)
            self.assertNotIn("c2VjcmV0", str(caught.exception))
