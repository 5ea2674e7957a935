"""Facts about tables, masks and what they make of envelopes and messages."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.errors import BadValue
from netsvc.services.smtp_client.rewriting.headers import rewrite_head
from netsvc.services.smtp_client.rewriting.rules import Masquerade, Rewriting, mask_domains, mask_exceptions
from netsvc.services.smtp_client.rewriting.tables import NO_TABLE, Table, read_table, table

TABLE = Table(
    (
        ("root", "admin@corp.example"),
        ("root@db.local", "dba@corp.example"),
        ("@old.example", "@new.example"),
        ("@all.example", "one@corp.example"),
        ("bare", "other"),
    )
)


def complaints(text: str) -> list[tuple[int, int, str]]:
    """What is wrong in a file: (line, column, message) each."""
    found: list[tuple[int, int, str]] = []
    read_table(text, lambda line, column, message: found.append((line, column, message)))
    return found


class Tables(SynchronousTestCase):
    def test_look_up(self) -> None:
        """The address wins over the name in the origin domain, and that over the domain; case does not matter."""
        for address, result in (
            ("ROOT@Corp.Local", "admin@corp.example"),
            ("root@db.local", "dba@corp.example"),
            ("root@elsewhere.example", "root@elsewhere.example"),
            ("Jo.Doe@old.example", "Jo.Doe@new.example"),
            ("x@sub.old.example", "x@sub.old.example"),
            ("x@all.example", "one@corp.example"),
            ("bare@corp.local", "other@corp.local"),
            ("dba@corp.example", "dba@corp.example"),
        ):
            self.assertEqual(TABLE.look_up(address, "corp.local"), result)

    def test_file(self) -> None:
        """A file is read with comments and empty lines, quoted local parts and blanks of any width."""
        text = '# x\n\nRoot \t me@x.example\r\n  @a.example @b.example\n"a b"@c.example d\n'
        self.assertEqual(
            read_table(text, self.fail),
            Table((('"a b"@c.example', "d"), ("@a.example", "@b.example"), ("root", "me@x.example"))),
        )

    def test_faults(self) -> None:
        """Every fault of a file has its line and column."""
        found = complaints("a b c\nx@ me@x\n  root me@\nroot a@b\nROOT c@d\n@x y z\n@ a\n")
        self.assertEqual(
            [(line, column) for line, column, _ in found], [(1, 1), (2, 1), (3, 8), (5, 1), (6, 1), (7, 1)]
        )
        self.assertIn("stands in line 4", found[3][2])

    def test_option(self) -> None:
        """The option reads its file when the configuration is, and reports all faults with the file's name."""
        with tempfile.TemporaryDirectory(prefix="netsvc-tables-") as directory:
            here = Context(Path(directory))
            file = Path(directory, "canonical")
            file.write_text("root me@x.example\n")
            value = table().parse("canonical", here)
            self.assertEqual(value, ("canonical", Table((("root", "me@x.example"),))))
            self.assertEqual(table().parse(table().show(value), here), value)
            file.write_text("root me@x.example\nroot\nx @\n")
            with self.assertRaises(BadValue) as caught:
                table().parse("canonical", here)
            self.assertIn(f"{file}:2:1: an entry is two words", caught.exception.message)
            self.assertIn(f"{file}:3:3: ", caught.exception.more[0].message)
            file.write_bytes(b"\xff")
            for name in ("canonical", "missing", "."):
                with self.assertRaises(BadValue):
                    table().parse(name, here)
        self.assertEqual(table().parse("none", here), NO_TABLE)

    @settings(derandomize=True, deadline=None)
    @given(st.text('a@. \t\n#"\\ü', max_size=60))
    def test_any_file(self, text: str) -> None:
        """Whatever a file holds, it is a table or complaints within its lines."""
        for line, column, _ in complaints(text):
            self.assertTrue(1 <= line <= text.count("\n") + 1)
            self.assertTrue(1 <= column <= len(text.split("\n")[line - 1]))


class Masks(SynchronousTestCase):
    def test_masquerade(self) -> None:
        """Host parts are stripped but for exceptions; the longest domain counts, and ! leaves a host alone."""
        mask = Masquerade(
            domains=("example.com", "!keep.example.com", "in.keep.example.com"), exceptions=frozenset({"root"})
        )
        for address, result in (
            ("a@web.Example.com", "a@Example.com"),
            ("a@x.y.example.com", "a@example.com"),
            ("a@example.com", "a@example.com"),
            ("a@notexample.com", "a@notexample.com"),
            ("Root@web.example.com", "Root@web.example.com"),
            ("a@keep.example.com", "a@keep.example.com"),
            ("a@x.keep.example.com", "a@x.keep.example.com"),
            ("a@x.in.keep.example.com", "a@in.keep.example.com"),
        ):
            self.assertEqual(mask.apply(address), result)

    def test_options(self) -> None:
        """Domains and names of a mask are read in lower case; what is neither is said with its place."""
        here = Context(Path("/"))
        self.assertEqual(mask_domains().parse("Example.com, !a.b", here), ("example.com", "!a.b"))
        self.assertEqual(mask_exceptions().parse("root Daemon", here), ("root", "daemon"))
        for parse, text in ((mask_domains().parse, "a.b @c"), (mask_exceptions().parse, "ok a@b")):
            with self.assertRaises(BadValue) as caught:
                parse(text, here)
            self.assertEqual(caught.exception.at, text.index(" ") + 1)

    def test_order_and_classes(self) -> None:
        """Qualify, canonical, masquerade; each table only where it is said; generic only when mail leaves."""
        rules = Rewriting(
            origin="web.corp.example",
            canonical=Table((("root", "admin@db.corp.example"),)),
            canonical_classes=frozenset({"envelope_sender", "header_sender"}),
            masquerade=Masquerade(domains=("corp.example",)),
            generic=Table((("admin@corp.example", "corp@isp.example"),)),
        )
        self.assertEqual(rules.accepted("root", "envelope_sender"), "admin@corp.example")
        self.assertEqual(rules.accepted("root", "envelope_recipient"), "root@web.corp.example")
        self.assertEqual(rules.accepted("root", "header_recipient"), "root@corp.example")
        self.assertEqual(rules.outgoing("admin@corp.example"), "corp@isp.example")
        self.assertEqual((rules.accepted("", "envelope_sender"), rules.outgoing("")), ("", ""))
        self.assertEqual(Rewriting(origin="").accepted("root", "envelope_sender"), "root")


class Heads(SynchronousTestCase):
    RULES = Rewriting(
        origin="corp.example",
        canonical=Table((("root", "me@x.example"),)),
        generic=Table((("@x.example", "@y.example"),)),
    )

    def test_fields(self) -> None:
        """Address fields are rewritten, resent ones too; other fields, odd lines and the body are not."""
        content = (
            b"From: root (Cron <root>)\nSENDER : root\nSubject: root\nReply-To: root\nTo: a,\n b\nResent-Bcc: root\n"
            b"X-To: root\nMessage-ID: <root>\n\nTo: root\n"
        )
        made = (
            b"From: me@x.example (Cron <root>)\nSENDER : me@x.example\nSubject: root\nReply-To: me@x.example\n"
            b"To: a@corp.example,\n b@corp.example\nResent-Bcc: me@x.example\n"
            b"X-To: root\nMessage-ID: <root>\n\nTo: root\n"
        )
        self.assertEqual(rewrite_head(content, self.RULES, outgoing=False), made)
        self.assertEqual(rewrite_head(content, self.RULES, outgoing=True), made.replace(b"me@x.", b"me@y."))

    def test_mbox_line_and_octets_that_are_no_utf8(self) -> None:
        """The line of an mbox and octets in no charset come out as they were."""
        content = b"From x\nFrom: J\xf6rg <root>\nTo: \xff\n\n\xff"
        made = rewrite_head(content, self.RULES, outgoing=False)
        self.assertEqual(made, content.replace(b"<root>", b"<me@x.example>"))

    def test_names_that_lost_their_address(self) -> None:
        """A name in another script, or with blanks in quotes, is not made an address."""
        for name in ("汤", '"Jo Doe"', "Jo Doe"):
            content = f"From: {name}\n\n".encode()
            self.assertIs(rewrite_head(content, self.RULES, outgoing=False), content)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"From: ",
                    b"To:",
                    b"cc : ",
                    b"\r\n",
                    b"\n",
                    b"\r",
                    b"a@b.example",
                    b",",
                    b'"',
                    b"(",
                    b")",
                    b"<",
                    b">",
                    b"\xff",
                    b"\xc3\xa4",
                    b" ",
                    b":",
                    b"\\",
                    b"From x\n",
                    b"\0",
                ]
            )
        ).map(b"".join)
    )
    def test_identity(self, content: bytes) -> None:
        """A table that matches nothing leaves any message octet for octet, and makes no copy."""
        rules = Rewriting(
            origin="",
            canonical=Table((("nobody@no.example", "x@y.example"),)),
            masquerade=Masquerade(domains=("no.example",)),
            generic=Table((("@no.example", "@y.example"),)),
        )
        self.assertIs(rewrite_head(content, rules, outgoing=True), content)

    @settings(derandomize=True, deadline=None, max_examples=1000)
    @given(
        st.lists(
            st.sampled_from(
                [
                    *(
                        b"a",
                        b"@",
                        b"<",
                        b">",
                        b",",
                        b" ",
                        b"\r\n ",
                        b"\n",
                        b'"',
                        b"\\",
                        b"(",
                        b")",
                        b":",
                        b";",
                        b"\xc3\xa4",
                    ),
                    *(b"a@b", b"<a@b>", b"Jo Doe <a@b.c>", b'"x, y" <a@b>', b"root", b"[1]", b"a@b,\r\n\tc@d"),
                ]
            ),
            max_size=8,
        ).map(b"".join)
    )
    def test_no_rules(self, value: bytes) -> None:
        """Where there is no rule but the origin, a message becomes what a rule that matches nothing makes of it."""
        content = b"To: " + value + b"\r\nFrom:" + value
        plain = Rewriting(origin="o.example")
        ruled = Rewriting(origin="o.example", canonical=Table((("nobody@no.example", "x@y.example"),)))
        self.assertEqual(
            rewrite_head(content, plain, outgoing=True),
            rewrite_head(content, ruled, outgoing=True),
        )
        self.assertIs(rewrite_head(content, Rewriting(origin=""), outgoing=True), content)
