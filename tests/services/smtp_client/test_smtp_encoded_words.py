"""Facts about header fields that are not ASCII, and the ASCII that is made of them."""

from __future__ import annotations

import time
from email import message_from_string, policy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.encoded_words import NotExpressibleError, ascii_field


def read(field: str) -> Any:
    """The field as the standard library reads it; every line of it is ASCII and short or unbreakable."""
    assert field.isascii()
    assert field.endswith("\r\n")
    assert all(line[:1] in " \t" and line.strip() for line in field.split("\r\n")[1:-1])
    return message_from_string(field + "\r\n", policy=policy.default)


class UnstructuredTests(SynchronousTestCase):
    def test_words_between_words(self) -> None:
        """Only what is not ASCII is encoded; blanks between encoded words survive."""
        self.assertEqual(ascii_field("Subject", "plain ü text"), "Subject: plain =?utf-8?b?w7w=?= text\r\n")
        for text in ("Grüße an alle", "ü ö  ä", "ü", "a ü", "ü =?utf-8?b?w7w=?= x", "=?utf-8?b?w7w=?= ü", "汤" * 100):
            plain = text.replace("=?utf-8?b?w7w=?=", "ü")
            self.assertEqual(read(ascii_field("Subject", text))["Subject"], plain, text)

    @settings(derandomize=True, deadline=None)
    @given(st.text('aü汤 \t😀?=_"(,', max_size=80))
    def test_any_text_reads_the_same(self, text: str) -> None:
        """A reader gets the words of the text, in order, with a blank where there was one."""
        text = " ".join(text.split())
        if "=?" not in text:
            self.assertEqual(" ".join(read(ascii_field("X-Any", text))["X-Any"].split()), text)


class AddressTests(SynchronousTestCase):
    def test_names_groups_and_comments(self) -> None:
        """Display names, quoted or not, group names and comments are encoded; addresses stand as they are."""
        value = '汤众 <a@example.com>, "Müller, Jörg" <b@example.com>, c@example.com, Ü "Ö" x <d@example.com>'
        made = ascii_field("To", value)
        addresses = read(made)["To"].addresses
        self.assertEqual(
            [(each.display_name, each.addr_spec) for each in addresses],
            [
                ("汤众", "a@example.com"),
                ("Müller, Jörg", "b@example.com"),
                ("", "c@example.com"),
                ("Ü Ö x", "d@example.com"),
            ],
        )
        self.assertEqual(ascii_field("Cc", "a@b (ü)"), "Cc: a@b (=?utf-8?b?w7w=?=)\r\n")
        self.assertEqual(ascii_field("Cc", "ü: a@b;"), "Cc: =?utf-8?b?w7w=?= : a@b;\r\n")
        self.assertEqual(ascii_field("From", '"ü"<a@b>'), "From: =?utf-8?b?w7w=?= <a@b>\r\n")

    def test_what_has_no_encoding(self) -> None:
        """Addresses in UTF-8, quotes without an end and names of fields that are none are refused."""
        for name, value in (
            ("To", "ü@b"),
            ("To", "ü @ b"),
            ("To", '"ü"@b'),
            ("To", "a@ü"),
            ("To", "x <a@ü>"),
            ("Resent-To", 'ü "open'),
            ("To", "ü <open"),
            ("To", "ü )"),
            ("Tü", "x"),
            ("", "ü"),
            ("a b", "ü"),
            ("Content-Type", "text/ü"),
        ):
            with self.assertRaises(NotExpressibleError):
                ascii_field(name, value)

    @settings(derandomize=True, deadline=None)
    @given(st.text('aü <>@,:;()"\\.', max_size=40))
    def test_any_value(self, value: str) -> None:
        """Whatever stands in an address field, the addresses in brackets are not changed by it, or it is refused."""
        try:
            made = ascii_field("To", value.strip())
        except NotExpressibleError:
            return
        self.assertTrue(made.isascii())
        self.assertEqual(made.count("\r\n"), len(made.splitlines()))


class ParameterTests(SynchronousTestCase):
    def test_file_names(self) -> None:
        """A file name in any script, quoted or not, becomes an RFC 2231 parameter."""
        for value in (
            'attachment; filename="汇总 \\"数据\\".xlsx"; size=1',
            'attachment;filename="汇总 \\"数据\\".xlsx"',
        ):
            message = read(ascii_field("Content-Disposition", value))
            self.assertEqual(message.get_filename(), '汇总 "数据".xlsx')
        self.assertEqual(read(ascii_field("Content-Type", "a/b; name=ü")).get_param("name"), "ü")


class TimeTests(SynchronousTestCase):
    def test_time_is_in_proportion(self) -> None:
        """Fields made to be slow to read are not."""
        began = time.process_time()
        for piece in ('"a" ', ",", "(", '"\\', "<", "ü ", "=?", ';a="', ";a=ü"):
            value = piece * 10_000
            for name in ("To", "Subject", "Content-Type"):
                try:
                    ascii_field(name, f"ü {value}")
                except NotExpressibleError:
                    continue
        self.assertLess(time.process_time() - began, 20)
