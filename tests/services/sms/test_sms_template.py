"""Templates: small, strict, and every fault at its place."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.errors import BadValue
from netsvc.services.sms.template import Values, parse_template

VALUES = Values(
    text="Hallo {€}",
    number="+8613800138000",
    national="13800138000",
    id="q1-0",
    time=datetime(2026, 11, 21, 4, 5, 6, 700000, tzinfo=UTC),
    random="0123456789abcdef" * 4,
    gsm7=True,
    sender="netsvc",
    account="me",
    password=Secret("literal", "geheim"),
    signing_key=Secret("literal", "key"),
)

PIECES = ("{", "}", ":", "text", "md5", "alphabet", "time", "%", "hmac_sha256", "password", "random", "7")
any_case = settings(derandomize=True, deadline=None)


def rendered(text: str, values: Values = VALUES) -> str:
    """What a template becomes."""
    return parse_template(text).render(values)


class TemplateTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """Fields stand for what their names say; doubled braces for one."""
        self.assertEqual(rendered("{number} {digits} {national}"), "+8613800138000 8613800138000 13800138000")
        self.assertEqual(rendered("{account}:{password}:{signing_key}:{sender}:{id}"), "me:geheim:key:netsvc:q1-0")
        self.assertEqual(rendered('{{"a": "{text}"}}'), '{"a": "Hallo {€}"}')
        self.assertEqual(rendered("no field"), "no field")

    def test_time(self) -> None:
        """Seconds, milliseconds, or a pattern with colons."""
        self.assertEqual(rendered("{time} {time:unix_ms}"), "1795233906 1795233906700")
        self.assertEqual(rendered("{time:%Y-%m-%dT%H:%M:%SZ}"), "2026-11-21T04:05:06Z")

    def test_random(self) -> None:
        """As many digits as asked for, the same in the whole request."""
        self.assertEqual(rendered("{random} {random:4} {random:4}"), "0123456789abcdef 0123 0123")

    def test_digests(self) -> None:
        """Digests are of templates, also of other digests; the key of an HMAC is a secret of the configuration."""
        self.assertEqual(rendered("{md5:{account}{password}}"), hashlib.md5(b"megeheim").hexdigest())
        self.assertEqual(rendered("{sha1:a:b}"), hashlib.sha1(b"a:b").hexdigest())
        inner = hashlib.md5(b"geheim").hexdigest()
        self.assertEqual(
            rendered("{sha256:{md5:{password}}{text}}"), hashlib.sha256(f"{inner}Hallo {{€}}".encode()).hexdigest()
        )
        signed = hmac.new(b"key", b"t=1795233906", hashlib.sha256).hexdigest()
        self.assertEqual(rendered("{hmac_sha256:signing_key:t={time}}"), signed)
        self.assertEqual(rendered("{base64:{account}}"), base64.b64encode(b"me").decode())
        self.assertEqual(rendered("{hex_utf16:验😀}"), "9a8cd83dde00")

    def test_alphabet(self) -> None:
        """One of two templates, by what the text is sent in; either may be empty."""
        import attrs

        self.assertEqual(rendered("{alphabet:0:8}{alphabet:{text}:}"), "0Hallo {€}")
        self.assertEqual(rendered("{alphabet:0:8}{alphabet:{text}:}", attrs.evolve(VALUES, gsm7=False)), "8")

    def test_names(self) -> None:
        """It is known which fields a template uses, however deep, and which keys."""
        names = parse_template("{md5:{sha1:{text}}}{hmac_sha256:password:{id}}").names()
        self.assertEqual(names, {"md5", "sha1", "text", "hmac_sha256", "password", "id"})

    def test_faults(self) -> None:
        """Every fault is found when the configuration is read, and its place is told."""
        for text, at, words in (
            ("a{txt}", 2, "no field {txt}"),
            ("{", 0, "name is missing"),
            ("ab{text", 2, "not closed"),
            ("ab}", 2, "closes nothing"),
            ("{text:x}", 5, "ends with a brace"),
            ("{md5}", 0, "needs more"),
            ("{md5:{nr}}", 6, "no field {nr}"),
            ("{hmac_sha256:secret:{text}}", 13, "password or signing_key"),
            ("{time:now}", 6, "neither unix"),
            ("{time:%Q}", 6, "neither unix"),
            ("{random:0}", 8, "1 to 64"),
            ("{random:65}", 8, "1 to 64"),
            ("{random:x}", 8, "1 to 64"),
            ("{alphabet:a}", 0, "needs more"),
            ("{md5:" * 9 + "}" * 9, 40, "deep"),
            ("{TEXT}", 0, "name is missing"),
        ):
            with self.assertRaises(BadValue) as raised:
                parse_template(text)
            self.assertIn(words, raised.exception.message)
            self.assertEqual(raised.exception.at, at, text)
        with self.assertRaises(BadValue) as raised:
            parse_template("{numbr}")
        self.assertEqual(raised.exception.suggestion, "number")

    @any_case
    @given(st.text())
    def test_literals(self, text: str) -> None:
        """Any text with its braces doubled stands for itself."""
        self.assertEqual(rendered(text.replace("{", "{{").replace("}", "}}")), text)

    @any_case
    @given(
        st.lists(
            st.sampled_from(
                ["{", "}", ":", "text", "md5", "alphabet", "time", "%", "hmac_sha256", "password", "random", "7"]
            )
        )
    )
    def test_nonsense(self, words: list[str]) -> None:
        """Nonsense is refused within its length, or renders."""
        text = "".join(words)
        try:
            template = parse_template(text)
        except BadValue as bad:
            self.assertLessEqual(bad.at, len(text))
        else:
            self.assertEqual(str(template), text)
            template.render(VALUES)

    @any_case
    @given(st.integers(1, 8), st.sampled_from(["{text}", "x", "{id}"]))
    def test_nesting(self, depth: int, inner: str) -> None:
        """What is nested within the bound is understood."""
        depth -= inner.startswith("{")
        self.assertTrue(rendered("{sha256:" * depth + inner + "}" * depth))

    def test_secrets_stay_out_of_sight(self) -> None:
        """Neither values nor templates show a secret, a number or a text in their repr."""
        shown = repr(VALUES) + repr(parse_template("{password}"))
        for secret in ("geheim", "13800138000", "Hallo"):
            self.assertNotIn(secret, shown)
