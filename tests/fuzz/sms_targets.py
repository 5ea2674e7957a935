"""Targets of what text messages read: replies of gateways, and the small languages of the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

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
from netsvc.services.sms.template import Values, parse_template
from tests.fuzz.terms import Target, check

_RULES = tuple(
    Rules(
        success=parse_condition(success),
        code=parse_path(code),
        message_id=parse_path("$.id"),
        reason=parse_path("$.error"),
        codes=parse_codes("7 8 -> retry\n9 -> permanent\n0 -> sent"),
    )
    for success, code in (
        ("$.code == 2", "$.code"),
        ("$.parts[*].status in 0 1", "$.parts[*].status"),
        ("body matches ^ok", "body /([0-9]+)/"),
        ("http == 202", "http"),
        ("$[0].id exists", "$[0].code"),
    )
)


def gateway(data: bytes) -> None:
    """A gateway's reply: whatever it is, a meaning, and words that are bounded."""
    field, _, content = data.partition(b"\n")
    pause = retry_after(field.decode("latin-1"), 1_800_000_000.0)
    check(pause is None or pause >= 0, field)
    for rules in _RULES:
        for status in (200, 202, 302, 400, 429, 500):
            verdict = judge(rules, Reply(status, content, pause))
            check(verdict.meaning in MEANINGS, verdict)
            check(len(verdict.words) <= 200 and (verdict.pause is None or 0 <= verdict.pause <= 3600), verdict)
            check(status < 300 or rules.success.path.kind == "http" or verdict.meaning != "sent" or verdict.code == "0")


def _read(parse: Callable[[str], Any], text: str) -> Any:
    """What was understood; None where the text is none, with a place that is in it."""
    try:
        return parse(text)
    except BadValue as bad:
        for one in (bad, *bad.more):
            check(0 <= one.at <= len(text), (one.at, one.message, text))
        return None


def languages(data: bytes) -> None:
    """Paths, conditions, codes, templates: understood the same again from what they print, or a fault in its place."""
    text = data.decode("utf-8", "replace")
    for parse in (parse_path, parse_condition):
        found = _read(parse, text)
        check(found is None or parse(str(found)) == found, text)
    for _, meaning in _read(parse_codes, text) or ():
        check(meaning in MEANINGS, text)
    template = _read(parse_template, text)
    if template is not None:
        check(parse_template(str(template)) == template, text)
        check(all(re.fullmatch("[a-z0-9_]+", name) for name in template.names()), text)
        template.render(_VALUES)


_VALUES = Values(
    text="Grüße 🙂",
    number="+8613800138000",
    national="13800138000",
    id="i1",
    time=datetime(2026, 1, 1, tzinfo=UTC),
    random="0123456789abcdef" * 4,
    gsm7=False,
)

SMS_TARGETS: dict[str, Target] = {
    "sms-gateway": Target(
        gateway,
        (
            b'120\n{"code": 2, "id": "a", "error": "e"}',
            b'Fri, 15 Jan 2027 08:00:00 GMT\n{"parts": [{"status": 0}, {"status": "9"}], "id": 4}',
            b'\n[{"id": null, "code": 7}]',
            b"-1\nok 8",
        ),
    ),
    "sms-languages": Target(
        languages,
        (
            b"$.parts[*].status == 0",
            b"body /([a-z]+)/ in 1 2",
            b"http exists",
            b"7 8 -> retry\n9 -> permanent",
            b"{{{time:%Y%m%d}{random:8}}}{hmac_sha256:password:{text}{md5:{number}}}",
            b"{alphabet:{text}:{hex_utf16:{text}}}{base64:a}",
        ),
    ),
}
