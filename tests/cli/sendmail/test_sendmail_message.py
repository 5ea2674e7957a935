"""What netsvc-sendmail reads in a message and writes into it."""

from __future__ import annotations

import os
import socket
import tempfile
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import default
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.sendmail import head, people
from netsvc.cli.sendmail.addresses import AddressError, addresses, is_qualified
from netsvc.services.smtp_client import trace
from netsvc.services.smtp_client.wire import canonical


class Addresses(SynchronousTestCase):
    def test_lists(self) -> None:
        """Addresses are found in every form that a field may have them in."""
        for text, found in (
            ("a@x", ["a@x"]),
            ("a@x, b@x", ["a@x", "b@x"]),
            ("Ann <a@x>,\r\n\tb@x (Bob)", ["a@x", "b@x"]),
            ('"Ho, Jo" <a@x>', ["a@x"]),
            ('"<c@x>" <a@x>', ["a@x"]),
            (r'"a \" b" <a@x>', ["a@x"]),
            ("汤众 <a@x>, =?utf-8?q?a=2Cb?= <b@x>", ["a@x", "b@x"]),
            ("a@x (one (two), three \\) )", ["a@x"]),
            ("(c) a (c) @ (c) x", ["a@x"]),
            ('"a b"@x', ['"a b"@x']),
            ('"a@b"', ['"a@b"']),
            ("all: a@x, Ann <b@x>;, c@x", ["a@x", "b@x", "c@x"]),
            ("undisclosed-recipients:;", []),
            ("", []),
            (" , ,", []),
            ("root", ["root"]),
            ("John.Doe@x.example", ["John.Doe@x.example"]),
            ("<@r.example,@s.example:a@x>", ["a@x"]),
            ("Ann <>", [""]),
            ("a@[127.0.0.1], b@[IPv6:::1]", ["a@[127.0.0.1]", "b@[IPv6:::1]"]),
            ("user+tag@x", ["user+tag@x"]),
            ("J. R. Ewing <a@x>", ["a@x"]),
        ):
            self.assertEqual(list(addresses(text)), found, text)

    def test_none(self) -> None:
        """What is no list of addresses is refused whole: a guess would send mail to somebody else."""
        for text in ("a@x b@x", '"a@x', "<a@x", "a@x (b", "a@x>", "<a@x> <b@x>", "John Doe"):
            self.assertRaises(AddressError, addresses, text)

    def test_qualified(self) -> None:
        """An @ in quotes makes no domain."""
        self.assertEqual([is_qualified(one) for one in ("a", "a@x", '"a@b"', '"a@b"@x')], [False, True, False, True])

    @given(st.text('ab@<>(),;:". \\\n[]', max_size=40))
    def test_anything(self, text: str) -> None:
        """Any text is read or refused."""
        try:
            found = addresses(text)
        except AddressError:
            return
        for one in found:
            if '"' not in one and "[" not in one:
                self.assertEqual("".join(one.split()), one)

    def test_time(self) -> None:
        """Half a megabyte of brackets, quotes or parentheses is looked at once."""
        for text in (
            "(" * 500_000,
            '"' + "\\" * 500_001,
            "<" * 500_000,
            "(" * 250_000 + ")" * 250_000,
            "a@x," * 100_000,
        ):
            try:
                addresses(text)
            except AddressError:
                continue


class Heads(SynchronousTestCase):
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"From a@x Mon\n",
                    b"To: a@x\n",
                    b"Bcc : b\r\n",
                    b" more\n",
                    b"\n",
                    b"\r\n",
                    b"text\n",
                    b"X:",
                    b"\xff: a\n",
                ]
            ),
            max_size=8,
        )
    )
    def test_same_as_the_daemon(self, lines: list[bytes]) -> None:
        """The command sees the header section that the daemon sees."""
        content = b"".join(lines)
        mine, theirs = head.read(content), trace.split_head(content)
        self.assertEqual([name for name, _ in mine.fields], [name for name, _ in theirs.fields])
        self.assertEqual(mine.newline, theirs.newline)

    @given(
        st.sampled_from([b"", b"From a@x Mon\n", b"From a@x Mon\r\n"]),
        st.sampled_from([b"", b"To: a@x\n", b"To: a@x\r\nX: y\r\n z\r\n"]),
        st.sampled_from([b"\n", b"\r\n", b""]),
        st.sampled_from([b"", b"text", b"text\n.\n", b"\xe4\xb8\xad\r\n"]),
    )
    def test_from_added(self, mbox: bytes, fields: bytes, separator: bytes, body: bytes) -> None:
        """A missing From is added at the top; every other field and every octet of the text stays."""
        content = mbox + fields + separator + body
        found = head.with_from(content, head.read(content), b"Jo <jo@x>")
        before, after = trace.split_head(content), trace.split_head(found)
        self.assertEqual([name for name, _ in after.fields], [b"from", *(name for name, _ in before.fields)])
        self.assertTrue(found.endswith(body))
        self.assertEqual(head.with_from(found, head.read(found), b"x@y"), found)

    @given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"To: a@x", b" b@x", b"."])).map(b"".join))
    def test_whole_lines(self, content: bytes) -> None:
        """A CR alone ends a line, as it does for the service: the message is the same, and shows all its fields."""
        found = head.with_whole_lines(content)
        self.assertEqual(canonical(found), canonical(content))
        self.assertEqual(found.count(b"\r"), found.count(b"\r\n"))

    def test_recipient_behind_a_lone_cr(self) -> None:
        """A field behind a CR alone is one of its own: whom To names is not lost in it."""
        found = head.read(head.with_whole_lines(b"To: a@x\rBcc: b@x\n\nc"))
        self.assertEqual(head.recipient_fields(found), ["a@x", "b@x"])

    def test_key(self) -> None:
        """A key in the field of that name is taken out; all else stays."""
        content = b"From a@x Mon\nTo: a\nNetsvc-Idempotency-Key: k 1\r\nCc: b\n\nNetsvc-Idempotency-Key: no\n"
        without = b"From a@x Mon\nTo: a\nCc: b\n\nNetsvc-Idempotency-Key: no\n"
        self.assertEqual(head.take_key(content, head.read(content)), ("k 1", without))
        self.assertEqual(head.take_key(without, head.read(without)), ("", without))

    def test_recipient_fields(self) -> None:
        """Of a message that was sent on only the Resent fields count."""
        plain = b"To: a\nCc: b,\n c\nBCC: d\nReply-To: e\n\nTo: f\n"
        self.assertEqual(head.recipient_fields(head.read(plain)), ["a", "b,\n c", "d"])
        resent = b"Resent-To: g\nResent-Bcc: h\n" + plain
        self.assertEqual(head.recipient_fields(head.read(resent)), ["g", "h"])


class People(SynchronousTestCase):
    def test_user(self) -> None:
        """LOGNAME counts when it is another name of the same uid, NAME always; else the passwd file says."""
        me = mock.Mock(pw_name="jo", pw_uid=7, pw_gecos="Jo & Ho,Room 1")
        second = mock.Mock(pw_name="jojo", pw_uid=7, pw_gecos="")
        other = mock.Mock(pw_name="eve", pw_uid=8, pw_gecos="Eve")
        names = {"jojo": second, "eve": other}
        with mock.patch("pwd.getpwuid", return_value=me), mock.patch("pwd.getpwnam", side_effect=names.__getitem__):
            self.assertEqual(people.user({}, 7), ("jo", "Jo Jo Ho"))
            self.assertEqual(people.user({"LOGNAME": "jojo", "NAME": "J"}, 7), ("jojo", "J"))
            self.assertEqual(people.user({"LOGNAME": "eve"}, 7), ("jo", "Jo Jo Ho"))
            self.assertEqual(people.user({"LOGNAME": "nobody"}, 7)[0], "jo")
        with mock.patch("pwd.getpwuid", side_effect=KeyError):
            self.assertEqual(people.user({}, 12345), ("12345", ""))

    def test_origin(self) -> None:
        """Bare names get the domain of /etc/mailname, else the machine's name, else localhost."""
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "mailname")
            file.write_text("mail.example.com\n")
            self.assertEqual(people.origin(str(file)), "mail.example.com")
            with mock.patch.object(socket, "gethostname", return_value="box"):
                for text in ("", "a b", "é"):
                    file.write_text(text)
                    self.assertEqual(people.origin(str(file)), "box")
            with mock.patch.object(socket, "gethostname", return_value="(none)"):
                self.assertEqual(people.origin(os.path.join(directory, "none")), "localhost")

    @given(st.text(max_size=200))
    def test_mailbox(self, name: str) -> None:
        """Whatever the name is, the field is one address in ASCII, and reads back as that name."""
        field = b"From: " + people.mailbox(name, "jo@x.example") + b"\n\n"
        self.assertTrue(field.isascii())
        message: Any = message_from_bytes(field, policy=default)
        self.assertEqual(message.keys(), ["From"])
        (one,) = message["From"].addresses
        self.assertEqual(one.addr_spec, "jo@x.example")
        shown = " ".join("".join(each if each.isprintable() else " " for each in name).split())
        if "=?" not in shown:
            # Not by display_name alone: Python 3.11 puts a space between two encoded words.
            phrase = field.decode()[6:].rpartition(" <")[0]
            read = str(make_header(decode_header(phrase))) if phrase.startswith("=?") else one.display_name
            self.assertEqual(read, shown)
