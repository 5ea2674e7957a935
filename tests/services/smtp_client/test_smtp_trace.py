"""What a message gets on its way out."""

from __future__ import annotations

from email import message_from_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.trace import MAX_RECEIVED, examine, split_head, stamp
from netsvc.services.smtp_client.transcode import prepare
from netsvc.services.smtp_client.wire import canonical


def stamped(content: bytes) -> bytes:
    """A message as it leaves."""
    return stamp(
        content,
        queue_id="0123456789abcde",
        accepted_at=1_700_000_000.0,
        sender="a@example.com",
        submitter="uid:1000",
        host="here.example",
    )


class Stamping(SynchronousTestCase):
    def test_whole_message(self) -> None:
        """A message with everything gets a Received field and nothing else."""
        content = b"From: a@x\r\nDate: d\r\nMessage-ID: <m@x>\r\n\r\nhello\r\n"
        received = (
            b"Received: by here.example (netsvc, from uid 1000)\r\n"
            b"\tid 0123456789abcde; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        )
        self.assertEqual(stamped(content), received + content)

    def test_missing(self) -> None:
        """Date, Message-ID and From are added when they are missing, with the line end that the message uses."""
        message = stamped(b"Subject: x\n\nhello\n")
        self.assertNotIn(b"\r", message)
        parsed = message_from_bytes(message)
        self.assertEqual(parsed["Message-ID"], "<0123456789abcde@here.example>")
        self.assertEqual(parsed["From"], "<a@example.com>")
        self.assertEqual(parsed["Date"], "Tue, 14 Nov 2023 22:13:20 +0000")
        self.assertEqual((parsed["Subject"], parsed.get_payload()), ("x", "hello\n"))

    def test_same_again(self) -> None:
        """A second attempt sends the same octets."""
        self.assertEqual(stamped(b"Subject: x\n\nhello\n"), stamped(b"Subject: x\n\nhello\n"))

    def test_bcc(self) -> None:
        """Bcc is removed with its continuation lines, wherever it stands; what is not Bcc stays."""
        message = stamped(
            b"Bcc: x@y,\r\n z@y\r\nTo: t@y\r\nbcc : q@y\r\nResent-Bcc: r@y\r\nX-Bcc: stays\r\n\r\nBcc: body\r\n"
        )
        for gone in (b"x@y", b"z@y", b"q@y", b"r@y"):
            self.assertNotIn(gone, message)
        self.assertTrue(message.endswith(b"To: t@y\r\nX-Bcc: stays\r\n\r\nBcc: body\r\n"))

    def test_no_header(self) -> None:
        """Text without a header section becomes the body."""
        parsed = message_from_bytes(stamped(b"hello: no, just\n"[6:]))
        self.assertEqual(parsed.get_payload(), " no, just\n")
        self.assertEqual(message_from_bytes(stamped(b"\nhello\n")).get_payload(), "hello\n")

    def test_header_only(self) -> None:
        """A message that ends within its header stays whole."""
        self.assertTrue(stamped(b"Subject: x").endswith(b"Subject: x\r\n"))
        self.assertTrue(stamped(b"Subject: x\r\n").endswith(b"Subject: x\r\n"))

    def test_body_without_empty_line(self) -> None:
        """A body that follows the header without an empty line gets one."""
        self.assertTrue(stamped(b"Subject: x\nhello there\n").endswith(b"Subject: x\n\nhello there\n"))

    def test_mbox_line(self) -> None:
        """The From line of an mbox is dropped."""
        self.assertTrue(stamped(b"From a Tue\nFrom: a@x\n\nhello\n").endswith(b"From: a@x\n\nhello\n"))

    def test_bcc_behind_a_lone_cr(self) -> None:
        """A lone CR ends a line here as it does on the wire: a Bcc behind one is removed too."""
        for content in (b"Subject: x\rBcc: secret@y\r\n\r\nhello\r\n", b"Subject: x\rBcc: secret@y\r\rhello"):
            made = prepare(stamped(content), eight_bit_mime=False, smtputf8=False).content
            self.assertNotIn(b"secret", made)
            self.assertTrue(made.endswith(b"Subject: x\r\n\r\nhello\r\n"))

    def test_submitter(self) -> None:
        """Whatever a submitter is called, his name stays within the comment of one field."""
        message = stamp(b"\n", queue_id="q", accepted_at=0.0, sender="", submitter="smtp:a)b(\\ü\r\nX: y", host="h")
        self.assertTrue(message.startswith(b"Received: by h (netsvc, from smtp a?b?????X  y)\n\tid q; "), message)
        self.assertEqual(message_from_bytes(message).keys(), ["Received", "Date", "Message-ID"])

    def test_null_sender(self) -> None:
        """The null sender makes no From."""
        message = stamp(b"\n", queue_id="q", accepted_at=0.0, sender="", submitter="uid:0", host="h")
        self.assertNotIn(b"From:", message)

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=200))
    def test_anything(self, content: bytes) -> None:
        """Any octets come out behind ours, but for Bcc and the line of an mbox; with a lone CR all lines get CR LF."""
        if content.count(b"\r") != content.count(b"\r\n"):
            content = canonical(content)
        head = split_head(content)
        self.assertTrue(stamped(content).endswith(content[head.end :]))


class Examining(SynchronousTestCase):
    def test_empty(self) -> None:
        """An empty message is refused."""
        with self.assertRaises(Refusal) as caught:
            examine(b"")
        self.assertEqual(caught.exception.code, "5.6.0")

    def test_monstrous(self) -> None:
        """A header section beyond a megabyte is refused, and not read to its end."""
        for content in (b"a: b\n" * 300_000, b"a: b\n" + b" \n" * 1_000_000, b"a:" + b"b" * (1 << 20)):
            with self.assertRaises(Refusal) as caught:
                examine(content)
            self.assertEqual(caught.exception.code, "5.6.0")
        examine(b"a: b\n\n" + b"c: d\n" * 300_000)

    def test_mail_fault_51_nul(self) -> None:
        """A message with a NUL, which no relay would take, is refused where somebody still hears it."""
        with self.assertRaises(Refusal) as caught:
            examine(b"Subject: x\r\n\r\na\0b")
        self.assertEqual(caught.exception.code, "5.6.0")

    def test_mail_fault_52_no_loop_after_acceptance(self) -> None:
        """What was accepted is not called a loop on its way out, with our own field on top of a hundred."""
        content = b"Received: x\r\n" * MAX_RECEIVED + b"\r\n"
        examine(content)
        prepare(stamped(content), eight_bit_mime=True, smtputf8=True)

    def test_mail_fault_52_loop(self) -> None:
        """A message with a hundred Received fields passes; one more is a loop."""
        examine(b"Received: x\r\n" * MAX_RECEIVED + b"\r\n")
        with self.assertRaises(Refusal) as caught:
            examine(b"Received: x\r\n" * (MAX_RECEIVED + 1) + b"\r\n")
        self.assertEqual(caught.exception.code, "5.4.6")
