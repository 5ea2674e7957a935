"""What receipts say, and whose they are: tables, several in one request, signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import BadValue
from netsvc.services.sms.receipts.meaning import ReceiptRules, arrived, parse_table, read
from netsvc.services.sms.receipts.signature import OLDEST, is_signed
from netsvc.services.sms.reply import parse_path

FORM = "application/x-www-form-urlencoded"
RULES = ReceiptRules(
    id=parse_path("$.id"),
    status=parse_path("$.status"),
    reason=parse_path("$.err"),
    table=parse_table("DELIVRD -> delivered\nUNDELIV EXPIRED -> failed\nUNKNOWN -> unknown"),
)
NOW = 1_795_233_906.0


class Meaning(SynchronousTestCase):
    def test_forms(self) -> None:
        """Query, form and JSON say the same."""
        pairs = {"id": "a1", "status": "UNDELIV", "err": 7}
        for query, body, kind in (
            (urlencode(pairs), b"", ""),
            ("", urlencode(pairs).encode(), FORM),
            ("id=a1", b"status=UNDELIV&err=7", FORM),
            ("", json.dumps(pairs).encode(), "application/json"),
        ):
            (one,) = read(RULES, arrived(query, body, kind))
            self.assertEqual((one.name, one.fate, one.status, one.words), ("a1", "failed", "UNDELIV", "7"), kind)

    def test_several(self) -> None:
        """A list of receipts is read one by one; what is no receipt is left out."""
        rules = ReceiptRules(id=parse_path("$[*].id"), status=parse_path("$[*].status"), table=RULES.table)
        said = [{"id": "a", "status": "DELIVRD"}, {"id": "b"}, 7, {"id": "c", "status": "new"}]
        found = read(rules, arrived("", json.dumps(said).encode(), "application/json"))
        self.assertEqual([(one.name, one.fate) for one in found], [("a", "delivered"), ("c", "pending")])

    def test_tables(self) -> None:
        """A fault in a table is found where it is."""
        for text, at in (("DELIVRD", 0), ("a -> b", 4), ("x -> failed\nx -> unknown", 12), ("-> failed", 0)):
            with self.assertRaises(BadValue) as raised:
                parse_table(text)
            self.assertEqual(raised.exception.at, at, text)

    @settings(deadline=None)
    @given(st.text(), st.binary(), st.sampled_from(["", FORM, "application/json"]))
    def test_anything(self, query: str, body: bytes, kind: str) -> None:
        """Whatever comes is read or nothing."""
        read(RULES, arrived(query, body, kind))
        for signature in ("twilio", "vonage-sha256"):
            signed = is_signed(
                signature, "k", url="u", query=query, body=body, media_type=kind, signature="AA==", now=NOW
            )
            self.assertFalse(signed)


class Signatures(SynchronousTestCase):
    def test_twilio(self) -> None:
        """The example of Twilio's own "Security" page is good; a changed octet of anything is not."""
        pairs = {
            "CallSid": "CA1234567890ABCDE",
            "Caller": "+12349013030",
            "Digits": "1234",
            "From": "+12349013030",
            "To": "+18005551212",
        }
        good = {
            "key": "12345",
            "url": "https://mycompany.com/myapp.php",
            "query": "foo=1&bar=2",
            "body": urlencode(pairs).encode(),
            "media_type": FORM,
            "signature": "0/KCTR6DLpKmkAf8muzZqo1nDgQ=",
        }
        self.assertTrue(is_signed("twilio", now=NOW, **good))  # type: ignore[arg-type]
        for change in (
            {"key": "12346"},
            {"url": "http://mycompany.com/myapp.php"},
            {"query": "foo=1&bar=3"},
            {"body": urlencode({**pairs, "Digits": "1235"}).encode()},
            {"signature": ""},
        ):
            self.assertFalse(is_signed("twilio", now=NOW, **{**good, **change}), change)  # type: ignore[arg-type]

    def test_vonage(self) -> None:
        """A signature over the sorted parameters, whose special characters are replaced; not one that is too old."""
        pairs = {"messageId": "0A", "text": "a&b=c", "status": "delivered", "timestamp": str(int(NOW))}
        text = f"&messageId=0A&status=delivered&text=a_b_c&timestamp={int(NOW)}"
        for kind in ("md5", "sha1", "sha256", "sha512"):
            sig = hmac.new(b"secret", text.encode(), getattr(hashlib, kind)).hexdigest()

            def signed(*, now: float = NOW, sig: str = sig, kind: str = kind, as_json: bool = False) -> bool:
                said = {**pairs, "sig": sig}
                return is_signed(
                    f"vonage-{kind}",
                    "secret",
                    url="",
                    query="" if as_json else urlencode(said),
                    body=json.dumps(said).encode() if as_json else b"",
                    media_type="application/json" if as_json else "",
                    signature="",
                    now=now,
                )

            self.assertTrue(signed())
            self.assertTrue(signed(sig=sig.upper(), as_json=True))
            self.assertFalse(signed(sig=sig[:-1] + "x"))
            self.assertFalse(signed(now=NOW + OLDEST + 1))
