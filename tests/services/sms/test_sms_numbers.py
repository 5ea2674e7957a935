"""Telephone numbers: normalised, masked, taken out of what others say."""

from __future__ import annotations

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sms.numbers import NumberError, Numbering, labels, mask, scrub

CHINA = Numbering("86", "0")
GERMANY = Numbering("49", "0")

any_case = settings(derandomize=True, deadline=None)


class NumberTests(SynchronousTestCase):
    def test_international(self) -> None:
        """A plus or 00, separators, and the (0) of careful people: one number."""
        for one in ("+491711234567", "0049 171 1234567", "+49 (0)171/123-45.67", " +49\u00a0171 1234567 "):
            self.assertEqual(Numbering().normalise(one), "+491711234567")

    def test_national(self) -> None:
        """A national number gets the country code, without its trunk prefix; back again it has none."""
        self.assertEqual(CHINA.normalise("138 0013 8000"), "+8613800138000")
        self.assertEqual(GERMANY.normalise("0171-1234567"), "+491711234567")
        self.assertEqual(Numbering("1", "1").normalise("1 (212) 555-0123"), "+12125550123")
        self.assertEqual(CHINA.national("+8613800138000"), "13800138000")
        self.assertIsNone(CHINA.national("+491711234567"))
        self.assertIsNone(Numbering().national("+491711234567"))

    def test_no_numbers(self) -> None:
        """What is no number is refused, and the refusal does not repeat it."""
        for one in (
            "",
            "+",
            "abc",
            "+49 171 x",
            "++49171234567",
            "+0491711234567",
            "+491",
            "+4" * 8,
            "\uff11" * 9,
        ):
            with self.assertRaises(NumberError) as raised:
                GERMANY.normalise(one)
            self.assertFalse(len(one) > 3 and one in str(raised.exception))
        with self.assertRaisesRegex(NumberError, "set country_code"):
            Numbering().normalise("01711234567")

    @any_case
    @given(st.text(alphabet="+0123456789 ()-./a", max_size=24))
    def test_what_comes_out(self, text: str) -> None:
        """Whatever goes in: E.164 comes out, which stays the same when it goes in again, or a refusal."""
        try:
            number = GERMANY.normalise(text)
        except NumberError:
            return
        self.assertRegex(number, r"\A\+[1-9][0-9]{6,14}\Z")
        self.assertEqual(GERMANY.normalise(number), number)

    def test_masks(self) -> None:
        """Three characters in front and two behind stay; what looks alike is counted."""
        self.assertEqual(mask("+8613800138000"), "+86*********00")
        self.assertEqual(
            labels(("+8613800138000", "+8613900139000", "+8613900139001")),
            ("+86*********00", "+86*********00#2", "+86*********01"),
        )

    def test_scrub(self) -> None:
        """A gateway's words lose the number in any spelling, the text, and the codes that stand in it."""
        text = "Your code is 4711."
        words = scrub(
            "Number 13800138000 (+8613800138000): 'Your code is 4711.' 4711, +44 20 7946 0958 failed, code 30006",
            ("+8613800138000", "8613800138000", "13800138000"),
            text,
        )
        for secret in ("13800138000", "4711", "7946", "Your code"):
            self.assertNotIn(secret, words)
        self.assertIn("failed, code 30006", words)
        self.assertEqual(scrub("手机号码不能为空", ("+8613800138000",), "x"), "手机号码不能为空")

    def test_echoes(self) -> None:
        """Text and passwords go in every coding that a gateway may repeat them in: of forms, JSON, HTML, Base64."""
        text, key = 'Tür "3/b" & 汇', "p&ss w*rd/ü~"
        for secret in (text, key):
            for echo in (
                *(
                    quote(secret),
                    quote(secret, safe=""),
                    quote_plus(secret),
                    re.sub("%..", lambda one: one[0].lower(), quote_plus(secret)),
                ),
                *(urlencode({"": secret})[1:], json.dumps(secret)[1:-1], html.escape(secret)),
                base64.b64encode(secret.encode()).decode(),
            ):
                self.assertNotIn(echo.rstrip("="), scrub(f"wrong: a={echo}&b", (), text, (key,)), echo)

    @any_case
    @given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
    def test_masked_for_good(self, number: str) -> None:
        """Of a number's digits behind the country code at most two are shown."""
        self.assertLessEqual(len(re.sub(r"\*", "", mask(number))), 5)
        self.assertNotIn(number.removeprefix("+"), scrub(f"to {number}!", (number,), "hi"))
