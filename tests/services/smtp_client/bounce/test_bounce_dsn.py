"""Facts about the form of notices."""

from __future__ import annotations

import quopri
from email import message_from_bytes, policy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.bounce.dsn import write_dsn
from netsvc.services.smtp_client.transcode import prepare
from tests.services.smtp_client.bounce.kit import CONTENT, HOUR, NOW, ORIGIN, Report, item, target

DATE = "Tue, 14 Nov 2023 22:13:20 +0000"


def report(content: bytes | None = CONTENT, **changed: Any) -> Report:
    """The notice of one recipient; what is changed is a fact of the message or of the recipient."""
    of_item = {
        name: changed.pop(name) for name in ("sender", "ret", "envid", "received_from", "queue_id") if name in changed
    }
    also = changed.pop("also", 0)
    return Report(write_dsn(item(**of_item), [target(**changed)], content, ORIGIN, now=NOW, also=also))


class Failed(SynchronousTestCase):
    def test_header(self) -> None:
        """A notice is from the mail system to the sender, is no cause for an answer, and threads with the message."""
        message = report().message
        for name, value in (
            ("From", "Mail Delivery System <MAILER-DAEMON@here.example>"),
            ("To", "ann@x.example"),
            ("Subject", "Undelivered mail returned to sender"),
            ("Date", DATE),
            ("Message-ID", "<0123456789abcde.0.failed.1700000000@mail.here.example>"),
            ("In-Reply-To", "<m@x.example>"),
            ("References", "<m@x.example>"),
            ("Auto-Submitted", "auto-replied"),
        ):
            self.assertEqual(message[name], value)

    def test_fields(self) -> None:
        """The fields for programs are those of RFC 3464, the message's first."""
        of_message, of_target = report(
            envid="env+1",
            received_from="[192.0.2.1]",
            original="rfc822;Bob@old.example",
            text="no such user",
            address="bob@y.example",
        ).groups
        self.assertEqual(
            of_message.items(),
            [
                ("Reporting-MTA", "dns; mail.here.example"),
                ("Original-Envelope-Id", "env+1"),
                ("Received-From-MTA", "dns; [192.0.2.1]"),
                ("Arrival-Date", "Tue, 14 Nov 2023 21:13:20 +0000"),
                ("X-Netsvc-Queue-Id", "0123456789abcde"),
            ],
        )
        self.assertEqual(
            of_target.items(),
            [
                ("Original-Recipient", "rfc822; Bob@old.example"),
                ("Final-Recipient", "rfc822; bob@y.example"),
                ("Action", "failed"),
                ("Status", "5.1.1"),
                ("Remote-MTA", "dns; mx.y.example"),
                ("Diagnostic-Code", "smtp; 550 5.1.1 no such user"),
                ("Last-Attempt-Date", DATE),
            ],
        )

    def test_words(self) -> None:
        """A person reads who was not reached, who said so and in which words, in short lines."""
        words = report(text="go away, " * 30).words
        self.assertIn("<bob@y.example>: failed\n    mx.y.example said: 550 5.1.1 go away,", words)
        self.assertIn("0123456789abcde", words)
        self.assertTrue(all(len(line) <= 76 for line in words.split("\n")))

    def test_given_up(self) -> None:
        """What was given up on says so, with the last reason."""
        words = " ".join(report(status="4.4.7", code=450, enhanced="4.2.1", text="later").words.split())
        self.assertIn("the time for delivery is over; the last attempt: mx.y.example said: 450 4.2.1 later", words)

    def test_several_recipients(self) -> None:
        """Each recipient has his own fields and words."""
        octets = write_dsn(
            item(),
            [target(), target(address="c@z.example", index=1, code=None, text="gave up", remote="")],
            CONTENT,
            ORIGIN,
            now=NOW,
        )
        _, first, second = Report(octets).groups
        self.assertEqual(
            (first["Final-Recipient"], second["Final-Recipient"]), ("rfc822; bob@y.example", "rfc822; c@z.example")
        )
        self.assertEqual((second["Diagnostic-Code"], second["Remote-MTA"]), ("X-Netsvc; gave up", None))

    def test_remote_addresses(self) -> None:
        """A server that was reached by its address is named in brackets."""
        for remote, shown in (("192.0.2.1", "[192.0.2.1]"), ("[2001:db8::1]", "[IPv6:2001:db8::1]"), ("mx", "mx")):
            self.assertEqual(report(remote=remote).groups[1]["Remote-MTA"], f"dns; {shown}")

    def test_hostile_words(self) -> None:
        """What a peer says makes no field, no part and moves no cursor; words in any script are encoded."""
        made = report(text="ü 汤\r\nAction: delivered\r\n\r\n--=_x\x1b[2J\u202e ok")
        self.assertEqual(len(made.parts), 3)
        [_, fields] = made.groups
        self.assertEqual(fields.get_all("Action"), ["failed"])
        self.assertTrue(made.parts[1].as_bytes().isascii())
        shown = message_from_bytes(made.parts[1].as_bytes(), policy=policy.default).get_payload()[1]["Diagnostic-Code"]  # type: ignore[index, union-attr]
        self.assertIn("ü 汤 Action: delivered --=_x [2J ok", str(shown))
        self.assertIn("ü 汤 Action", made.words)
        for text in ("x" * 5000, "ü" * 5000, "\0", ""):
            report(text=text)

    def test_counted(self) -> None:
        """A notice for several messages says for how many, and has no third part when there is no message at hand."""
        made = report(None, also=4)
        self.assertIn("4 more messages", " ".join(made.words.split()))
        self.assertEqual(len(made.parts), 2)
        self.assertIn("one more message of", " ".join(report(None, also=1).words.split()))

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.text(max_size=80), st.text(max_size=80), st.binary(max_size=200), st.sampled_from([None, 250, 550]))
    def test_any_facts(self, text: str, remote: str, content: bytes, code: int | None) -> None:
        """Whatever a peer says and a message holds, the notice is well formed, and passes every server as it is."""
        octets = write_dsn(item(), [target(text=text, code=code)], content.replace(b"\0", b""), ORIGIN, now=NOW)
        made = Report(octets)
        self.assertEqual((len(made.parts), len(made.groups)), (3, 2))
        self.assertEqual(prepare(octets, eight_bit_mime=False, smtputf8=False).content, octets)


class Sorts(SynchronousTestCase):
    def test_delayed(self) -> None:
        """A delay says until when delivery is tried, and brings the header only."""
        made = report(action="delayed", status="4.4.1", code=None, text="timed out", retry_until=NOW + 120 * HOUR)
        until = "Sun, 19 Nov 2023 22:13:20 +0000"
        self.assertEqual(made.message["Subject"], "Delayed mail, still being retried")
        self.assertEqual((made.groups[1]["Action"], made.groups[1]["Will-Retry-Until"]), ("delayed", until))
        self.assertIn(until, " ".join(made.words.split()))
        self.assertEqual(made.parts[2].get_content_type(), "text/rfc822-headers")

    def test_success(self) -> None:
        """What was delivered, relayed or expanded is told in one sort of notice."""
        for action in ("delivered", "relayed", "expanded"):
            made = report(action=action, status="2.0.0", code=250, text="ok")
            self.assertEqual(made.groups[1]["Action"], action)
            self.assertEqual(made.message["Subject"], "Successful mail delivery report")
            self.assertEqual(made.parts[2].get_content_type(), "text/rfc822-headers")


class Returned(SynchronousTestCase):
    def test_whole(self) -> None:
        """A failed message comes back whole, octet by octet where it is 7-bit."""
        [returned] = report().parts[2].iter_parts()
        self.assertEqual((returned["Subject"], returned.get_content()), ("hello", "the body\r\n"))
        self.assertIn(CONTENT, write_dsn(item(), [target()], CONTENT, ORIGIN, now=NOW))

    def test_header_only(self) -> None:
        """RET=HDRS, or a message over the limit, brings the header."""
        for made in (
            report(ret="hdrs"),
            report(CONTENT + b"x\r\n" * 20_000),
            report(CONTENT + b"x\r\n" * 20_000, ret="full"),
        ):
            part = made.parts[2]
            self.assertEqual(part.get_content_type(), "text/rfc822-headers")
            self.assertIn("Subject: hello", part.get_content())
            self.assertNotIn("the body", part.get_content())
        monstrous = report(b"X: y\r\n" * 100_000, ret="hdrs").parts[2].get_content()
        self.assertTrue(60_000 < len(monstrous) < 70_000)

    def test_eight_bit(self) -> None:
        """A body in 8 bits comes back encoded, and reads the same."""
        made = report(CONTENT + "MIME: ä\r\n".encode())
        [returned] = made.parts[2].iter_parts()
        self.assertEqual(returned.get_content(), "the body\r\nMIME: ä\r\n")

    def test_what_cannot_be_encoded(self) -> None:
        """A signed message in 8 bits would break if it were encoded: its header comes back."""
        signed = b"Subject: s\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xe4\r\n--b--\r\n"
        self.assertEqual(report(signed).parts[2].get_content_type(), "text/rfc822-headers")

    def test_utf8_header(self) -> None:
        """A message with a header in UTF-8 is message/global, its header alone message/global-headers (RFC 6533)."""
        content = "Subject: Grüße\r\nTo: ü@例.example\r\n\r\nhällo\r\n".encode()
        for changed, kind, octets in (
            ({}, "message/global", content),
            ({"ret": "hdrs"}, "message/global-headers", content.partition(b"\r\n\r\n")[0]),
        ):
            made = write_dsn(item(**changed), [target()], content, ORIGIN, now=NOW)
            self.assertTrue(made.isascii())
            self.assertEqual(Report(made).parts[2].get_content_type(), kind)
            body = made.partition(f"Content-Type: {kind}".encode())[2].partition(b"\r\n\r\n")[2]
            self.assertIn(octets, quopri.decodestring(body).replace(b"\n", b"\r\n").replace(b"\r\r", b"\r"))

    def test_octets_of_no_charset(self) -> None:
        """A header in no charset that we know comes back without loss of an octet."""
        made = report(b"Subject: \xe4\r\n\r\n", ret="hdrs").parts[2]
        self.assertEqual(
            (made.get_content_type(), made.get_payload(decode=True)), ("text/rfc822-headers", b"Subject: \xe4\r\n")
        )

    def test_boundary(self) -> None:
        """A message that holds our boundary does not end the part."""
        first = report().message.get_boundary()
        made = report(CONTENT + f"--{first}--\r\n".encode())
        self.assertEqual(len(made.parts), 3)


class International(SynchronousTestCase):
    def test_address(self) -> None:
        """An address that is not ASCII makes the fields message/global-delivery-status with the type utf-8."""
        made = report(address="用@户.example", original="utf-8;用@old.example", sender="ü@x.example")
        self.assertEqual(made.parts[1].get_content_type(), "message/global-delivery-status")
        self.assertEqual(made.message["Content-Transfer-Encoding"], "8bit")
        octets = write_dsn(
            item(sender="ü@x.example"),
            [target(address="用@户.example", original="utf-8;用@old.example")],
            CONTENT,
            ORIGIN,
            now=NOW,
        )
        self.assertIn(
            "\r\nOriginal-Recipient: utf-8; 用@old.example\r\nFinal-Recipient: utf-8; 用@户.example\r\n".encode(),
            octets,
        )
        self.assertIn("<用@户.example>: failed", made.words)

    def test_seven_bit_server(self) -> None:
        """A notice with such an address to a sender in ASCII passes a server without 8BITMIME, encoded."""
        octets = write_dsn(item(), [target(address="用@户.example")], CONTENT, ORIGIN, now=NOW)
        made = Report(prepare(octets, eight_bit_mime=False, smtputf8=False).content)
        self.assertEqual(
            [part.get_content_type() for part in made.parts],
            ["text/plain", "message/global-delivery-status", "message/rfc822"],
        )
