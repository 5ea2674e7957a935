"""Facts about making a message fit for a server."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.transcode import UnsendableError, _has_long_line, prepare
from netsvc.services.smtp_client.wire import blocks, canonical

HEAD = b"From: a@b\r\nMIME-Version: 1.0\r\n"
SEVEN = {"eight_bit_mime": False, "smtputf8": False}
EIGHT = {"eight_bit_mime": True, "smtputf8": False}
UTF8 = {"eight_bit_mime": True, "smtputf8": True}


def read(content: bytes) -> EmailMessage:
    """What a reader makes of it; it is 7-bit and its lines fit."""
    assert content.isascii()
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


class PlainTests(SynchronousTestCase):
    def test_what_fits_is_untouched(self) -> None:
        """A message that fits is sent as it is, but for line ends."""
        for content in (b"", b"a: b\n\nhi", b"\r\nonly body", b"no header at all", b"a: b\r\n\r\n" + b"x" * 998):
            self.assertEqual(prepare(content, **SEVEN).content, canonical(content))
        eight = HEAD + "\r\nhällo\r\n".encode()
        prepared = prepare(eight, **EIGHT)
        self.assertEqual((prepared.content, prepared.eight_bit, prepared.utf8_header), (eight, True, False))

    def test_known_line_ends(self) -> None:
        """Where the body's line ends are known nobody looks at them; the header section is looked at all the same."""
        body = b"x\r\ny"
        for head in (b"Subject: x\r\n\r\n", b"A: x\nB: y\r\n\r\n", b"A: x\rB: y\r\n\r\n", b"\r\n", b""):
            found = prepare(head + body, eight_bit_mime=True, smtputf8=True, is_canonical=True)
            self.assertEqual(found, prepare(head + body, eight_bit_mime=True, smtputf8=True))
        found = prepare(b"A: x\r\n\r\n1\n2", eight_bit_mime=True, smtputf8=True, is_canonical=True)
        self.assertEqual(found.content, b"A: x\r\n\r\n1\n2\r\n")

    def test_mail_fault_49_8bit_to_a_7bit_peer(self) -> None:
        """8-bit text becomes quoted-printable and reads the same."""
        prepared = prepare(HEAD + "Content-Type: text/plain; charset=utf-8\r\n\r\nhällo .\r\n.\r\n".encode(), **SEVEN)
        self.assertFalse(prepared.eight_bit)
        message = read(prepared.content)
        self.assertEqual(message.get_content(), "hällo .\r\n.\r\n")
        self.assertEqual(message["Content-Transfer-Encoding"], "quoted-printable")

    def test_mail_fault_49_text_without_a_label(self) -> None:
        """8-bit text without MIME fields that is UTF-8 is labelled so."""
        message = read(prepare("Subject: x\n\nhällo\n".encode(), **SEVEN).content)
        self.assertEqual((message.get_content(), message["MIME-Version"]), ("hällo\r\n", "1.0"))
        message = read(prepare(b"Subject: x\n\nh\xe4llo\n", **SEVEN).content)
        self.assertEqual(message["Content-Type"], None)

    def test_mail_fault_48_long_lines(self) -> None:
        """A line of 10,000 octets becomes quoted-printable; 998 octets stay, 999 do not."""
        message = read(prepare(HEAD + b"\r\n" + b"x" * 10_000 + b"\r\n", **EIGHT).content)
        self.assertEqual(message.get_content(), "x" * 10_000 + "\r\n")
        self.assertNotIn(b"quoted", prepare(HEAD + b"\r\n" + b"x" * 998, **EIGHT).content)
        self.assertIn(b"quoted", prepare(HEAD + b"\r\n" + b"x" * 999, **EIGHT).content)

    def test_mail_fault_51_nul(self) -> None:
        """A message with a NUL, should one be in the queue, is refused for ever before a server sees it."""
        for content in (b"a: \0\r\n\r\n", b"a: b\r\n\r\nx\0y"):
            with self.assertRaises(UnsendableError) as caught:
                prepare(content, **UTF8)
            self.assertEqual(caught.exception.enhanced, "5.6.0")

    def test_mail_fault_52_loop(self) -> None:
        """A hundred Received fields and our own pass; one more is a loop, behind a lone CR too."""
        prepare(b"Received: x\r\n" * 101 + b"\r\n", **UTF8)
        for content in (b"Received: x\r\n" * 102 + b"\r\n", b"Received: x\r" * 102 + b"\r"):
            with self.assertRaises(UnsendableError) as caught:
                prepare(content, **UTF8)
            self.assertEqual(caught.exception.enhanced, "5.4.6")

    def test_mail_fault_46_dots_after_mending(self) -> None:
        """A line of one dot at every offset around 16,384 is in the message once, whatever is mended before it."""
        for offset in range(16_384 - 4, 16_384 + 5):
            for head in (HEAD, HEAD + "Subject: ü\r\n".encode()):
                body = (
                    b"x\r\n" * ((offset - len(head)) // 3)
                    + b"y" * ((offset - len(head)) % 3)
                    + b"\r\n.\r\n"
                    + "ä".encode()
                )
                content = prepare(head + b"\r\n" + body, **SEVEN).content
                octets = b"".join(blocks(content))
                self.assertTrue(octets.endswith(b"\r\n.\r\n"))
                self.assertEqual(octets.count(b"\r\n.\r\n"), 1)
                unstuffed = octets.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
                self.assertEqual(read(unstuffed).get_payload(decode=True), body + b"\r\n")

    def test_long_encoded_parts_are_wrapped(self) -> None:
        """Base64 and quoted-printable in one long line are wrapped, not encoded twice."""
        from base64 import b64encode

        data = bytes(range(256)) * 10
        head = HEAD + b"Content-Type: application/x-y\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        self.assertEqual(read(prepare(head + b64encode(data), **SEVEN).content).get_content(), data)
        head = (
            HEAD + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding:\r\n quoted-printable\r\n\r\n"
        )
        self.assertEqual(read(prepare(head + b"=C3=A4" * 300, **SEVEN).content).get_content().strip(), "ä" * 300)
        head = HEAD + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        self.assertEqual(read(prepare(head + b64encode(b"x" * 999), **SEVEN).content).get_content(), "x" * 999)

    @settings(derandomize=True, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1))
    def test_any_text_survives(self, text: str) -> None:
        """Whatever a text says, it says the same after the conversion."""
        message = HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + (text + "ä").encode()
        content = prepare(message, **SEVEN).content
        part = read(content)
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        self.assertEqual(payload, canonical((text + "ä").encode()))


class LongLineTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(st.lists(st.sampled_from([0, 1, 2, 500, 996, 997, 998, 999, 1000, 1001]), max_size=6), st.booleans())
    def test_as_by_the_definition(self, lengths: list[int], ended: bool) -> None:
        """The leaping search finds what splitting would."""
        octets = b"\r\n".join(b"x" * length for length in lengths) + (b"\r\n" if ended else b"")
        self.assertEqual(_has_long_line(octets), any(length > 998 for length in lengths))


class StructureTests(SynchronousTestCase):
    def test_only_the_offending_parts_change(self) -> None:
        """In a multipart the parts that fit keep every octet, odd as they may be."""
        kept = b"Content-type:  TEXT/plain\r\nX-Odd:a\r\n  b\r\n\r\nkept =  \t\r\n"
        other = b"Content-Type: application/json; name=\xe6\xb1\x87.json\r\n"
        other += b'Content-Transfer-Encoding: 8bit\r\n\r\n"\xc3\xa4"'
        body = b"\r\n".join(
            [b"pre\xc3\xa4", b"--b", kept, b"--b \t", other, b"--b", b"", b"\xc3\xa4", b"--b--", b"epi\xe4"]
        )
        content = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
        made = prepare(content, **SEVEN).content
        self.assertIn(b"--b\r\n" + kept + b"\r\n--b", made)
        first, second, third = read(made).iter_parts()
        self.assertEqual(second.get_payload(decode=True), '"ä"'.encode())
        self.assertEqual(second.get_filename(), "汇.json")
        self.assertEqual(third.get_content(), "ä")
        self.assertEqual(read(made)["Content-Transfer-Encoding"], "7bit")
        self.assertEqual(first.get_content(), "kept =  \t\r\n")

    def test_a_part_of_one_line(self) -> None:
        """A part without a line end in it is broken into lines that end in CR LF, and stays without one at its end."""
        part = "h\u00e4llo " * 40
        head = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        whole = head + f"Content-Type: text/plain; charset=utf-8\r\n\r\n{part}\r\n--b--\r\n".encode()
        content = prepare(whole, **SEVEN).content
        self.assertEqual(content, canonical(content))
        (made,) = read(content).iter_parts()
        assert isinstance(made, EmailMessage)
        self.assertEqual(made.get_content(), part)

    def test_messages_within_messages(self) -> None:
        """A forwarded message is mended inside."""
        inner = HEAD + "Content-Type: text/plain; charset=utf-8\r\n\r\nü\r\n".encode()
        made = prepare(
            HEAD + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + inner, **SEVEN
        )
        attached = read(made.content)
        self.assertEqual(attached.get_content_type(), "message/rfc822")
        self.assertIn(b"=C3=BC", made.content)

    def test_what_cannot_be_mended(self) -> None:
        """Signed and broken structures are refused with a reason, never damaged."""
        for kind, why in (
            (b"multipart/signed; boundary=b", "would break"),
            (b"message/partial; id=x", "would break"),
            (b'a/b; x="' + b" ;" * 4096, "longer than 4096"),
            (b"multipart/mixed", "usable boundary"),
            (b"multipart/mixed; boundary*=utf-8''%C3%A4", "usable boundary"),
            (b"multipart/mixed; boundary=\xc3\xa4", "usable boundary"),
            (b"multipart/mixed; boundary=zz", "does not occur"),
            (b"text/plain\r\nContent-Transfer-Encoding: uuencode", "transfer encoding"),
            (b"text/plain\r\nContent-Transfer-Encoding: base64", "transfer encoding"),
        ):
            with self.assertRaises(UnsendableError) as caught:
                prepare(HEAD + b"Content-Type: " + kind + b"\r\n\r\n--b\r\n\r\n\xc3\xa4\r\n--b--\r\n", **SEVEN)
            self.assertIn(why, caught.exception.reason)
            self.assertTrue(caught.exception.enhanced.startswith("5.6."))

    def test_depth(self) -> None:
        """Multiparts nested without end are refused."""
        content = "ä".encode()
        for level in range(40):
            name = b"%d" % level
            content = b"Content-Type: multipart/mixed; boundary=x%sx\r\n\r\n--x%sx\r\n%s\r\n--x%sx--\r\n" % (
                name,
                name,
                content if level else b"\r\n" + content,
                name,
            )
        with self.assertRaises(UnsendableError):
            prepare(content, **SEVEN)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"Content-Type: multipart/mixed; boundary=b\r\n",
                    b"Content-Type: message/rfc822\r\n",
                    b"\r\n",
                    b"--b\r\n",
                    b"--b--",
                    b"Content-Type: text/plain\r\n",
                    b"\xc3\xa4",
                    b"\xff",
                    b"x" * 1000,
                    b"Content-Transfer-Encoding: base64\r\n",
                    b" ",
                    b":",
                    b"To: \xff <a@b>, (\r\n",
                    b"Subject: \xc3\xa4\r\n",
                    b"=?utf-8?q?=0D=0A?=",
                ]
            )
        ).map(b"".join)
    )
    def test_any_octets(self, content: bytes) -> None:
        """Whatever a message holds, it is made fit or refused, never anything else."""
        for how in (SEVEN, EIGHT, UTF8):
            try:
                prepared = prepare(content, **how)
            except UnsendableError:
                continue
            self.assertTrue(all(len(line) <= 998 for line in prepared.content.split(b"\r\n")))
            self.assertTrue(how["eight_bit_mime"] or prepared.content.isascii())


class HeaderTests(SynchronousTestCase):
    def test_raw_utf8_fields(self) -> None:
        """Raw UTF-8 fields go as SMTPUTF8 where that is offered, as RFC 2047 words elsewhere."""
        content = "Subject: Grüße\r\nTo: 汤众 <a@example.com>,\r\n b@x\r\nX: y\r\n\r\nhi\r\n".encode()
        prepared = prepare(content, **UTF8)
        self.assertEqual((prepared.content, prepared.utf8_header, prepared.eight_bit), (content, True, True))
        for how in (EIGHT, SEVEN):
            prepared = prepare(content, **how)
            self.assertFalse(prepared.utf8_header)
            message = read(prepared.content)
            self.assertEqual((message["Subject"], message["To"].addresses[0].display_name), ("Grüße", "汤众"))
            self.assertEqual(len(message["To"].addresses), 2)

    def test_latin1_fields(self) -> None:
        """Octets that are no UTF-8 become words too, SMTPUTF8 or not."""
        self.assertEqual(read(prepare(b"Subject: Gr\xfc\xdfe\r\n\r\n", **UTF8).content)["Subject"], "Grüße")

    def test_addresses_that_need_smtputf8(self) -> None:
        """An address in UTF-8 inside the header cannot be mended."""
        for field in ("To: ü@b.example", "From: x <a@bücher.example>", "Tü: x", "ü"):
            with self.assertRaises(UnsendableError) as caught:
                prepare(f"{field}\r\n\r\n".encode(), **EIGHT)
            self.assertEqual(caught.exception.enhanced, "5.6.7")

    def test_an_encoded_line_end_makes_no_field(self) -> None:
        """A line end hidden in an encoded word does not come out as a new header field."""
        for field in ("Subject: ü =?utf-8?q?a=0D=0ABcc:_x@y?=", "To: ü =?utf-8?q?a=0D=0ABcc:_x@y?= <a@b>"):
            try:
                made = prepare(f"{field}\r\n\r\n".encode(), **EIGHT).content
            except UnsendableError:
                continue
            self.assertNotIn(b"\nBcc", made)

    def test_mail_fault_48_long_header_lines_are_folded(self) -> None:
        """A header line over 998 octets is broken at blanks, which changes nothing; without blanks it is refused."""
        names = ", ".join(f"someone{n}@example.com" for n in range(200))
        content = f"To: {names}\r\nSubject: x\r\n\r\nhi\r\n".encode()
        made = prepare(content, **SEVEN).content
        self.assertEqual(made.replace(b"\r\n ", b" "), content)
        self.assertEqual(len(read(made)["To"].addresses), 200)
        with self.assertRaises(UnsendableError):
            prepare(b"X: " + b"y" * 1000 + b"\r\n\r\n", **SEVEN)
