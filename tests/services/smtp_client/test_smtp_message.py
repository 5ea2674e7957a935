"""Messages that people type, read back by the standard library."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import getaddresses

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.message import (
    Attachment,
    Draft,
    Mailbox,
    build,
    content_type,
    parse_mailboxes,
    text_of,
)

NOW = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
ME = Mailbox("汤众", "a@example.com")
YOU = Mailbox("", "b@example.com")

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn", "Co")), max_size=60)


def read(draft: Draft) -> EmailMessage:
    """Build, check the form of every line, and parse."""
    content = build(draft, now=NOW).content
    for line in content.split(b"\r\n"):
        assert len(line) <= 998, line
        assert b"\n" not in line
        assert b"\r" not in line
    parsed = message_from_bytes(content, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def addresses(draft: Draft, field: str) -> list[tuple[str, str]]:
    """The addresses of a field. Not by the new parser, which puts a space between the encoded words of a long name."""
    raw = message_from_bytes(build(draft, now=NOW).content)[field]
    return [(str(make_header(decode_header(name))), address) for name, address in getaddresses([raw])]


def words(message: EmailMessage) -> str:
    """The text, with this machine's line ends."""
    return str(message.get_content()).replace("\r\n", "\n")


class Headers(SynchronousTestCase):
    def test_plain(self) -> None:
        """A message has Date, Message-ID, From, To and Subject once, and says it is MIME."""
        message = read(Draft(ME, to=[YOU], cc=[Mailbox("", "c@x")], subject="Hello", text="hi\n"))
        self.assertEqual(
            (message["Date"], message["To"], message["Cc"], message["Subject"], message["MIME-Version"]),
            ("Fri, 20 Nov 2026 21:00:00 +0000", "b@example.com", "c@x", "Hello", "1.0"),
        )
        self.assertRegex(message["Message-ID"], r"<[0-9a-f]{24}@example\.com>")
        self.assertEqual(len(message.keys()), len({one.lower() for one in message}))

    def test_any_script(self) -> None:
        """A Chinese sender's name and subject arrive as they were typed, in ASCII octets."""
        draft = Draft(ME, to=[YOU], subject="汇总数据、请查收", text="你好\n")
        self.assertTrue(build(draft, now=NOW).content.isascii())
        message = read(draft)
        (sender,) = message["From"].addresses
        self.assertEqual((sender.display_name, sender.addr_spec), ("汤众", "a@example.com"))
        self.assertEqual(message["Subject"], "汇总数据、请查收")
        self.assertEqual(words(message), "你好\n")

    def test_bcc(self) -> None:
        """Blind copies are in the envelope and not in the message."""
        built = build(Draft(ME, to=[YOU], bcc=[Mailbox("", "secret@x")]), now=NOW)
        self.assertEqual(built.recipients, ("b@example.com", "secret@x"))
        self.assertNotIn(b"secret", built.content)
        self.assertNotIn(b"Bcc", built.content)

    def test_only_bcc(self) -> None:
        """A message with blind copies only is to nobody in particular."""
        message = read(Draft(ME, bcc=[YOU]))
        self.assertEqual(message["To"].groups[0].display_name, "undisclosed-recipients")

    def test_nobody(self) -> None:
        """A message to nobody is refused."""
        self.assertRaises(Refusal, build, Draft(ME), now=NOW)

    def test_same_recipient(self) -> None:
        """Who is named twice is in the envelope once."""
        self.assertEqual(build(Draft(ME, to=[YOU], cc=[YOU]), now=NOW).recipients, ("b@example.com",))

    def test_many_recipients(self) -> None:
        """Two hundred recipients with long names are folded, and all there."""
        many = [Mailbox(f'Doe, "J\\" {n} x{"ö" * (n % 50)}', f"u{n}@example.com") for n in range(200)]
        self.assertEqual(addresses(Draft(ME, to=many), "To"), [tuple(one) for one in many])

    def test_further(self) -> None:
        """Further fields are taken; addresses in Reply-To are read as such."""
        message = read(Draft(ME, to=[YOU], headers=[("X-A", " välue "), ("Reply-To", "Jö <r@x>")]))
        self.assertEqual(message["X-A"], "välue")
        self.assertEqual(message["Reply-To"].addresses[0].display_name, "Jö")

    def test_long_words(self) -> None:
        """A long Message-ID or URL in a further field is not encoded: nobody would decode it there."""
        reference, url = f"<{'a' * 120}@x>", f"<https://example.com/{'u' * 300}>"
        content = build(
            Draft(ME, to=[YOU], headers=[("In-Reply-To", reference), ("List-Unsubscribe", url)]), now=NOW
        ).content
        for word in (reference, url):
            self.assertIn(f" {word}\r\n".encode(), content)

    def test_ours(self) -> None:
        """The fields that the command writes, and names that are none, are refused as further ones."""
        for name in ("From", "BCC", "content-type", "", "X Y", "X:Y", "X-ü", "X\r\nBcc"):
            with self.assertRaises(Refusal, msg=name):
                build(Draft(ME, to=[YOU], headers=[(name, "x")]), now=NOW)

    def test_injection(self) -> None:
        """A line end in a name, an address, a subject or a further field is refused."""
        for end in ("\r\n", "\n", "\r", "\0", "\x0b", "\x85", "\u2028"):
            bad = f"x{end}Bcc: c@x"
            for draft in (
                Draft(ME, to=[YOU], subject=bad),
                Draft(Mailbox(bad, "a@x"), to=[YOU]),
                Draft(ME, to=[Mailbox("", bad)]),
                Draft(ME, to=[YOU], headers=[("X-A", bad)]),
            ):
                self.assertRaises(Refusal, build, draft, now=NOW)
            self.assertRaises(Refusal, parse_mailboxes, bad)

    def test_smtputf8(self) -> None:
        """Only an address whose local part is not ASCII needs SMTPUTF8."""
        self.assertFalse(build(Draft(ME, to=parse_mailboxes("x@例子.公司")), now=NOW).smtputf8)
        self.assertTrue(build(Draft(ME, to=parse_mailboxes("用户@例子.公司")), now=NOW).smtputf8)

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(NAMES, NAMES)
    def test_any_names(self, name: str, subject: str) -> None:
        """Any name and subject arrive as they were, but for space at the ends and in a row."""
        name = " ".join(name.split())
        draft = Draft(Mailbox(name, "a@x"), to=[Mailbox(name, "b@x"), YOU], subject=subject)
        self.assertEqual(addresses(draft, "From"), [(name, "a@x")])
        self.assertEqual(addresses(draft, "To"), [(name, "b@x"), ("", "b@example.com")])
        self.assertEqual(read(draft)["Subject"].strip(), subject.strip())


class Mailboxes(SynchronousTestCase):
    def test_good(self) -> None:
        """Addresses come alone, with names in any script, quoted, and several in one."""
        self.assertEqual(
            parse_mailboxes('汤众 <a@example.com>, "Doe, J" <b@x>, c@x'),
            (Mailbox("汤众", "a@example.com"), Mailbox("Doe, J", "b@x"), Mailbox("", "c@x")),
        )

    def test_name(self) -> None:
        """A name without a domain may stand alone: aliases or the origin complete it."""
        self.assertEqual(parse_mailboxes(" root "), (Mailbox("", "root"),))
        content = build(Draft(parse_mailboxes("cron")[0], to=parse_mailboxes("root")), now=NOW).content
        self.assertIn(b"\r\nFrom: cron\r\nTo: root\r\n", content)
        self.assertRegex(content, rb"Message-ID: <[0-9a-f]+@localhost>\r\n")

    def test_idn(self) -> None:
        """An international domain becomes its A-label form."""
        self.assertEqual(parse_mailboxes("x@例子.公司")[0].address, "x@xn--fsqu00a.xn--55qx5d")
        self.assertRaises(Refusal, parse_mailboxes, "x@" + "é" * 300)

    def test_of_today(self) -> None:
        """International domains are of IDNA 2008: no other one's name comes out of it."""
        self.assertEqual(parse_mailboxes("x@faß.example")[0].address, "x@xn--fa-hia.example")

    def test_address_as_name(self) -> None:
        """What stands before angle brackets is a name, whatever it looks like: the message goes to one address."""
        for name in ("boss@example.com", "Doe @ Home", "Doe [x]", "Doe (x)"):
            self.assertEqual(parse_mailboxes(f"{name} <a@x>"), (Mailbox(name, "a@x"),))
        self.assertEqual(
            parse_mailboxes('"\\"a\\" b" <a@x>, c@x (C, D),'), (Mailbox('"a" b', "a@x"), Mailbox("C, D", "c@x"))
        )

    def test_quoted_local_part(self) -> None:
        """A quoted local part stays as it is, whatever it holds."""
        for address in ('"a b"@x', '"a@b,c"@x', '"<a>"@x', '"a\\"b"@x'):
            self.assertEqual(parse_mailboxes(address), (Mailbox("", address),))
            self.assertEqual(parse_mailboxes(f"N <{address}> "), (Mailbox("N", address),))

    def test_bad(self) -> None:
        """What is no address is refused."""
        for text in (
            "",
            "root, a@x",
            "Doe, Ann <a@x>",
            "<root>",
            "a@",
            "<>",
            "a b",
            "a@x y@z",
            ",",
            "a <b@x> c",
            '"a <b@x>',
            "G: a@x;",
            "<a@x> <b@x>",
            "Jö, B <a@x>",
            "Name <a@x"[:6],
        ):
            self.assertRaises(Refusal, parse_mailboxes, text)


class Bodies(SynchronousTestCase):
    def test_attachment(self) -> None:
        """An .xlsx with a Chinese name arrives with its name, its type and every octet."""
        content = bytes(range(256)) * 50
        message = read(Draft(ME, to=[YOU], text="see\n", attachments=[Attachment("汇总数据.xlsx", content)]))
        (part,) = message.iter_attachments()
        self.assertEqual(part.get_filename(), "汇总数据.xlsx")
        self.assertEqual(part.get_content_type(), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
        self.assertEqual(part.get_payload(decode=True), content)

    def test_text_attachment(self) -> None:
        """A text file goes along octet for octet, whatever its line ends and encoding."""
        content = b"a\r\nb\nc\r\xff\n"
        message = read(Draft(ME, to=[YOU], attachments=[Attachment("a.txt", content)]))
        (part,) = message.iter_attachments()
        self.assertEqual((part.get_content_type(), part.get_payload(decode=True)), ("text/plain", content))

    def test_types(self) -> None:
        """Types follow the name; compressed files are what they are; mail is sent as octets."""
        for name, kind in (
            ("a.pdf", "application/pdf"),
            ("a.tar.gz", "application/gzip"),
            ("a.eml", "application/octet-stream"),
            ("a", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
            ("data:text/html,x", "application/octet-stream"),
            ("A.XLSX", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ):
            self.assertEqual("/".join(content_type(name)), kind, name)

    def test_names_of_files(self) -> None:
        """A file's name loses directories, control characters and what is not text."""
        for given_name, name in (
            ("../../etc/passwd", "passwd"),
            ("C:\\x\\y.txt", "y.txt"),
            ("a\r\nb.txt", "a__b.txt"),
            ("a\udcffb.txt", "a?b.txt"),
            ("dir/", "attachment"),
        ):
            message = read(Draft(ME, to=[YOU], attachments=[Attachment(given_name, b"x")]))
            self.assertEqual(next(iter(message.iter_attachments())).get_filename(), name)

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(NAMES, st.binary(max_size=200))
    def test_any_file(self, name: str, content: bytes) -> None:
        """Any attachment arrives octet for octet."""
        message = read(Draft(ME, to=[YOU], attachments=[Attachment(name, content)]))
        self.assertEqual(next(iter(message.iter_attachments())).get_payload(decode=True), content)

    @settings(derandomize=True, deadline=None)
    @given(
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))
    )
    def test_any_text(self, text: str) -> None:
        """Any text arrives as it was, but for a line end at its end."""
        message = read(Draft(ME, to=[YOU], text=text))
        self.assertEqual(words(message).rstrip("\n"), text.rstrip("\n"))

    def test_html(self) -> None:
        """HTML has a form in plain text beside it: the one given, or its words."""
        html = "<title>t</title><style>p {}</style><h1>Hi</h1><p>a &amp;\n b<br>c</p></script>"
        message = read(Draft(ME, to=[YOU], html=html))
        self.assertEqual(message.get_content_type(), "multipart/alternative")
        plain, rich = (message.get_body((one,)) for one in ("plain", "html"))
        assert plain is not None
        assert rich is not None
        self.assertEqual(words(plain), "Hi\n\na & b\nc\n")
        self.assertIn("<h1>Hi</h1>", rich.get_content())
        given_text = read(Draft(ME, to=[YOU], html=html, text="mine\n")).get_body(("plain",))
        assert given_text is not None
        self.assertEqual(words(given_text), "mine\n")

    def test_words(self) -> None:
        """The words of a page are those a person would read."""
        self.assertEqual(text_of("<ul><li>a<li>b</ul><script>x</script>c"), "a\nb\nc\n")
