"""Facts about what SMTP sends: command lines and the encoded body."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.wire import (
    BodyEncoder,
    ascii_mailbox,
    blocks,
    canonical,
    command,
    valid_mailbox,
)

# Octets that matter to the encoder come often.
BODIES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\r\n.\r\n", b"\xff", b"QUIT"])).map(
    b"".join
)


def decode(wire: bytes) -> bytes:
    """What a strict server makes of it (RFC 5321 4.5.2): the message, if the first final dot is the end."""
    lines = wire.split(b"\r\n")
    end = lines.index(b".")
    assert lines[end:] == [b".", b""], "the message ended early, or octets follow it"
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire)
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])


class BodyTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(BODIES, st.lists(st.integers(0, 40)))
    def test_decoding_gives_the_canonical_message(self, body: bytes, cuts: list[int]) -> None:
        """However a message is cut into pieces, a server reads its canonical form, and then the end."""
        encoder = BodyEncoder()
        marks = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        wire = b"".join(encoder.encode(body[a:b]) for a, b in pairwise(marks)) + encoder.finish()
        self.assertEqual(decode(wire), canonical(body))

    @settings(derandomize=True, deadline=None)
    @given(BODIES, st.integers(1, 9))
    def test_blocks_hold_the_dot_in_the_last(self, body: bytes, size: int) -> None:
        """Blocks joined are the encoded message; the end is whole in the last block."""
        parts = list(blocks(body, size))
        self.assertEqual(decode(b"".join(parts)), canonical(body))
        self.assertTrue(parts[-1].endswith(b".\r\n"))

    def test_mail_fault_46_a_dot_at_every_offset_around_16384(self) -> None:
        """A line of one dot is stuffed at every offset around 16,384 and around our block."""
        for edge in (0, 16_384, 65_536):
            for offset in range(max(0, edge - 5), edge + 6):
                body = b"x" * max(0, offset - 2) + b"\r\n"[: offset if offset < 2 else 2] + b".\r\nQUIT\r\n"
                self.assertEqual(decode(b"".join(blocks(body))), canonical(body))

    def test_mail_fault_47_line_ends(self) -> None:
        """CR, LF and CRLF, mixed, each end one line."""
        self.assertEqual(b"".join(blocks(b"a\rb\nc\r\nd\r\r\ne\n\rf")), b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf\r\n.\r\n")
        self.assertEqual(b"".join(blocks(b"a\n.\nb\r.\r")), b"a\r\n..\r\nb\r\n..\r\n.\r\n")

    def test_mail_fault_50_empty(self) -> None:
        """An empty message is the final dot alone, not an empty line."""
        self.assertEqual(list(blocks(b"")), [b".\r\n"])
        self.assertEqual(canonical(b""), b"")


class CommandTests(SynchronousTestCase):
    def test_no_line_end_gets_in(self) -> None:
        """A command with a line end or a NUL in it is not made."""
        for bad in ("a\r", "a\nb", "\0"):
            with self.assertRaises(ValueError):
                command("EHLO", bad)
        self.assertEqual(command("MAIL", "FROM:<ü@x>", "SIZE=1"), "MAIL FROM:<ü@x> SIZE=1\r\n".encode())

    def test_mailboxes(self) -> None:
        """What may stand between angle brackets."""
        for good in (
            "a@b",
            "postmaster",
            "a.b+c@x.example",
            '"a b\\"@"@x',
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
            "用@户.例",
        ):
            self.assertTrue(valid_mailbox(good), good)
        for bad in (
            "",
            "a@",
            "@b",
            "a@b@c",
            "a>b@c",
            "a@b c",
            'a"@b',
            '"a@b',
            "a\x7f@b",
            "a@b\n",
            "a@b\u2028",
            "\udc80@b",
        ):
            self.assertFalse(valid_mailbox(bad), bad)

    @settings(derandomize=True, deadline=None)
    @given(st.text(max_size=30))
    def test_no_text_escapes_its_brackets(self, text: str) -> None:
        """Whatever passes as a mailbox makes one RCPT line with one closing bracket outside quotes."""
        if valid_mailbox(text):
            line = command("RCPT", f"TO:<{text}>")
            self.assertEqual(len(line.splitlines()), 1)
            self.assertEqual(len(re.sub(rb'"(?:[^"\\]|\\.)*"', b"", line).split(b">")), 2)

    def test_ascii_mailbox(self) -> None:
        """A domain becomes A-labels; a local part cannot."""
        self.assertEqual(ascii_mailbox("a@bücher.example"), "a@xn--bcher-kva.example")
        self.assertEqual(ascii_mailbox("a@b"), "a@b")
        for address in ("ü@b", "ü", "a@\u2615..x", "a@-ü"):
            self.assertIsNone(ascii_mailbox(address))
