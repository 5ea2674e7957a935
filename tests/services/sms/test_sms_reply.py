"""Replies: paths into them, conditions over all parts, tables of codes, and when in doubt ambiguous."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import BadValue
from netsvc.services.sms.reply import (
    MEANINGS,
    Reply,
    Rules,
    judge,
    parse_codes,
    parse_condition,
    parse_path,
    retry_after,
)

PARTS = Rules(
    success=parse_condition("$.messages[*].status == 0"),
    code=parse_path("$.messages[*].status"),
    codes=parse_codes("1 -> retry\n6 -> permanent\n5 -> ambiguous\n0 -> sent"),
)

any_case = settings(derandomize=True, deadline=None)


def reply(value: Any, status: int = 200) -> Reply:
    """A reply in JSON."""
    return Reply(status, json.dumps(value).encode())


def parts(*codes: Any) -> Reply:
    """A reply with a part for each code."""
    return reply({"messages": [{"status": code} for code in codes]})


class PathTests(SynchronousTestCase):
    def test_json(self) -> None:
        """Names, indices and every part; what is not there, null or no single value is nothing."""
        given_reply = reply({"a": [{"b": 1}, {"b": "x"}, {}], "t": True, "n": None, "o": {}})
        for path, values in (
            ("$.a[*].b", ["1", "x", None]),
            ("$.a[1].b", ["x"]),
            ("$.a[7].b", [None]),
            ("$.t", ["true"]),
            ("$.n", [None]),
            ("$.o", [None]),
            ("$.x[*].y", []),
            ("$", [None]),
        ):
            self.assertEqual(parse_path(path).values(given_reply), values, path)

    def test_others(self) -> None:
        """The status, the text, and a piece of the text."""
        given_reply = Reply(202, b'Success "07-ab"\r\n')
        self.assertEqual(parse_path("http").values(given_reply), ["202"])
        self.assertEqual(parse_path("body").values(given_reply), ['Success "07-ab"'])
        self.assertEqual(parse_path('body /^Success "([^"]*)"/').values(given_reply), ["07-ab"])
        self.assertEqual(parse_path("body /Error/").values(given_reply), [None])

    def test_faults(self) -> None:
        """What is no path, condition or table is refused at its place."""
        for parse, text, at in (
            (parse_path, "code", 0),
            (parse_path, "$.a b", 3),
            (parse_path, "$a", 1),
            (parse_path, "body /(/", 6),
            (parse_condition, "$.a", 3),
            (parse_condition, "$.a = 2", 3),
            (parse_condition, "$.a ==", 4),
            (parse_condition, "$.a exists 2", 4),
            (parse_condition, "$.a matches [", 12),
            (parse_codes, "1 -> retry\n2 retry", 11),
            (parse_codes, "1 -> retry\n2 -> later", 15),
            (parse_codes, "1 -> retry\n1 -> sent", 11),
        ):
            with self.assertRaises(BadValue) as raised:
                parse(text)  # type: ignore[operator]
            self.assertEqual(raised.exception.at, at, text)

    @any_case
    @given(st.text(max_size=40))
    def test_nonsense(self, text: str) -> None:
        """Nonsense is refused, or understood and shown again as it was."""
        for parse in (parse_path, parse_condition):
            try:
                found = parse(text)
            except BadValue as bad:
                self.assertLessEqual(bad.at, len(text))
            else:
                self.assertEqual(str(found), text)


class VerdictTests(SynchronousTestCase):
    def test_one_value(self) -> None:
        """Numbers and texts compare alike."""
        for condition, value, holds in (
            ("$.code == 2", 2, True),
            ("$.code == 2", "2", True),
            ("$.code == 2", 20, False),
            ("$.code != 2", 3, True),
            ("$.code in 1 2 3", 2, True),
            ("$.code matches ^4", 4085, True),
            ("$.code exists", 0, True),
        ):
            self.assertEqual(parse_condition(condition).parts(reply({"code": value})), (holds,), condition)
        self.assertEqual(parse_condition("$.code != 2").parts(reply({})), (False,))

    def test_every_part(self) -> None:
        """All parts taken is sent; some is ambiguous; none is what the table says, the worst of several."""
        for codes, meaning in (
            ((0, "0"), "sent"),
            ((0, 1), "ambiguous"),
            ((1, 1), "retry"),
            ((6, 1), "permanent"),
            ((5, 1), "ambiguous"),
            ((99,), "permanent"),
        ):
            self.assertEqual(judge(PARTS, parts(*codes)).meaning, meaning, codes)

    def test_unreadable(self) -> None:
        """A 200 that is no JSON, or has no part, may mean anything."""
        for content in (b"", b"<html>", b"{}", b'{"messages": []}', b"[" * 100_000, b'{"messages":[{}]}', b"\xff"):
            self.assertEqual(judge(PARTS, Reply(200, content)).meaning, "ambiguous", content[:30])

    def test_status(self) -> None:
        """Without a code that is known the HTTP status decides: 503 waits, 400 is refused, of 500 nobody knows."""
        for status, meaning in (
            *((one, "retry") for one in (401, 402, 403, 407, 408, 425, 429, 503)),
            *((one, "permanent") for one in (301, 302, 400, 404, 405, 422)),
            *((one, "ambiguous") for one in (500, 502, 504, 199)),
        ):
            self.assertEqual(judge(PARTS, Reply(status, b"oops")).meaning, meaning, status)

    def test_a_word_against_the_status(self) -> None:
        """A reply that says taken with the status of a fault is ambiguous."""
        contradicting = Reply(500, parts(0).content)
        self.assertEqual(judge(PARTS, contradicting).meaning, "ambiguous")

    def test_retry_after(self) -> None:
        """Seconds or a date; anything else is nothing."""
        now = 1_795_233_906.0
        self.assertEqual(retry_after("120", now), 120)
        self.assertEqual(retry_after("Sat, 21 Nov 2026 04:06:06 GMT", now), 60)
        self.assertEqual(retry_after("Sat, 21 Nov 2020 04:06:06 GMT", now), 0)
        for nonsense in ("", "soon", "-5", "1e9", "9" * 20):
            self.assertIsNone(retry_after(nonsense, now))
        self.assertEqual(judge(PARTS, Reply(503, b"", 120)).pause, 120)

    @any_case
    @given(st.binary(max_size=80), st.integers(100, 599))
    def test_any_reply(self, content: bytes, status: int) -> None:
        """Whatever a gateway says, there is a verdict; what cannot be read is never sent."""
        verdict = judge(PARTS, Reply(status, content))
        self.assertIn(verdict.meaning, MEANINGS)
        self.assertNotEqual(verdict.meaning, "sent")

    @any_case
    @given(st.lists(st.sampled_from([0, 1, 5, 6, 99, None, "0"]), max_size=5))
    def test_any_parts(self, codes: list[Any]) -> None:
        """It is sent when every part is taken, and tried again only when none was."""
        meaning = judge(PARTS, parts(*codes)).meaning
        taken = [str(one) == "0" for one in codes]
        self.assertEqual(meaning == "sent", bool(codes) and all(taken))
        if any(taken) and not all(taken):
            self.assertEqual(meaning, "ambiguous")
        if meaning == "retry":
            self.assertFalse(any(taken))
