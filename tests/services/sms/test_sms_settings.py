"""The configuration: presets, what overrides them, and every fault with its key and place; the requests that follow."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.load import load
from netsvc.config.secrets import Secret
from netsvc.errors import ConfigError
from netsvc.registry import kinds
from netsvc.services.sms.gateway import Request, UnsendableError
from netsvc.services.sms.presets import PRESETS
from netsvc.services.sms.settings import SmsSettings, queue_path, socket_path
from netsvc.services.sms.template import Values

VALUES = Values(
    text="Grüße & 1=1",
    number="+8613800138000",
    national="13800138000",
    id="q1-0",
    time=datetime(2026, 11, 21, tzinfo=UTC),
    random="0" * 64,
    gsm7=True,
    sender="+4915112345678",
    account="me",
    password=Secret("literal", "geheim"),
)
OWN = "url = https://gw.example/send\nparameters = to = {number}\nsuccess = http == 200\n"


class SettingsTests(SynchronousTestCase):
    def read(self, text: str) -> SmsSettings:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        file = Path(directory.name) / "a.ini"
        file.write_text(f"[sms]\n{text}\n")
        (instance,) = load(str(file), kinds()).instances
        settings = instance.settings
        assert isinstance(settings, SmsSettings)
        return settings

    def request(self, text: str) -> Request:
        return self.read(text).gateway().request(VALUES)

    def test_presets(self) -> None:
        """Each preset is whole with an account, a password, a sender and a country code."""
        for preset in PRESETS:
            if preset != "none":
                settings = self.read(
                    f"preset = {preset}\naccount = a\npassword = literal:b\nsender = c\ncountry_code = 86"
                )
                self.assertNotIn("geheim", repr(settings.gateway().request(VALUES)))

    def test_ihuyi_in_four_lines(self) -> None:
        """The tutorial's form, from four lines."""
        made = self.request("preset = ihuyi\naccount = me\npassword = literal:geheim\ncountry_code = 86")
        self.assertEqual((made.method, made.url), ("POST", "https://106.ihuyi.com/webservice/sms.php?method=Submit"))
        form = {
            "account": "me",
            "password": "geheim",
            "mobile": "13800138000",
            "content": VALUES.text,
            "format": "json",
        }
        self.assertEqual(
            {name: one for name, (one,) in parse_qs(made.body.decode()).items()}, {**form, "format": "json"}
        )

    def test_overridden(self) -> None:
        """What is said wins over the preset, parameter by parameter and code by code."""
        settings = self.read(
            "preset = ihuyi\naccount = me\npassword = literal:geheim\ncountry_code = 86\n"
            "url = https://gw.example/x\nencoding = json\ncodes = 4051 -> permanent\n"
            "parameters =\n    content = 【x】{text}\n    stamp = {time:%Y}\n"
        )
        gateway = settings.gateway()
        made = gateway.request(VALUES)
        self.assertEqual(made.url, "https://gw.example/x")
        body = json.loads(made.body)
        self.assertEqual(
            (body["content"], body["stamp"], body["mobile"]), ("【x】" + VALUES.text, "2026", "13800138000")
        )
        codes = dict(gateway.rules.codes)
        self.assertEqual((codes["4051"], codes["2"]), ("permanent", "sent"))

    def test_all_by_hand(self) -> None:
        """A gateway of one's own: a query, headers, a token; what stands in the URL's path is quoted."""
        made = self.request(
            "url = https://gw.example/a/{account}/send?x=1\nmethod = GET\nencoding = query\nauth = bearer\n"
            "account = a/b c\npassword = literal:geheim\nsuccess = body matches ^OK\n"
            "parameters =\n    t = {text}\n    s? = {alphabet::x}\nheaders = X-Id = {id}\n"
        )
        self.assertEqual(made.url, "https://gw.example/a/me/send?x=1&t=Gr%C3%BC%C3%9Fe+%26+1%3D1")
        self.assertEqual(dict(made.headers), {"X-Id": "q1-0", "Authorization": "Bearer geheim"})
        quoted = self.read("url = https://gw.example/{text}\nparameters = a = b\nsuccess = http == 200").gateway()
        self.assertEqual(quoted.request(VALUES).url, "https://gw.example/Gr%C3%BC%C3%9Fe%20%26%201%3D1")

    def test_headers_stay_whole(self) -> None:
        """A value that would end a header line is refused, without being repeated."""
        gateway = self.read(OWN + "headers = X-Text = {text}").gateway()
        for text in ("a\r\nX: y", "é"):
            with self.assertRaisesRegex(UnsendableError, "the header X-Text"):
                gateway.request(attrs.evolve(VALUES, text=text))

    def test_faults(self) -> None:
        """What cannot work is told with its place before anything starts."""
        for text, words in (
            ("", "without a preset there must be url"),
            ("url = https://x.example/\n", "there must be parameters"),
            (OWN + "preset = ihuiy", "a.ini:5:10: error[bad-value]: preset: 'ihuiy' is not one of"),
            ("preset = ihuyi", "the gateway needs"),
            (OWN.replace("{number}", "{numbr}"), "a.ini:3:20: error[bad-value]: parameters: there is no field {numbr}"),
            (OWN.replace("{number}", "{password}"), "the gateway needs password"),
            (OWN.replace("{number}", "{national}"), "the gateway needs country_code"),
            (OWN.replace("{number}", "{sender}"), "the gateway needs sender"),
            (OWN.replace("https", "ftp"), "begins with https"),
            (OWN.replace("gw.example", "{account}"), "begins with https"),
            (OWN.replace("https", "http"), "over http:"),
            (OWN + "idempotent = yes", "no template has {id}"),
            (OWN + "headers = Host = x", "no header that can be set"),
            (OWN.replace("https://", "https://a:b@"), "neither a user name"),
            (OWN.replace("/send", "/send#x"), "neither a user name"),
            (OWN.replace("/send", "{id}"), "in the path of the URL only"),
            (OWN + "method = GET\nencoding = json", "no body for JSON"),
            (OWN.replace("to = {number}", "nothing"), "NAME = TEMPLATE"),
            (OWN.replace("to = {number}", "\n    a = b\n    a = c"), "a stands twice"),
            (OWN + "country_code = +86", "is not 3 digits at most"),
            (OWN + "limit_total = 1/d, none", "stands alone"),
            (OWN + "method = GET", "say encoding = query"),
            (OWN + "limit_per_number = 1/x", "is not a unit"),
            (OWN + "codes = 1 -> later", "'later' is not one of"),
            (OWN.replace("http == 200", "$.a"), "stands one of"),
            (OWN + "retry_longest = 1s", "shorter than retry_first"),
        ):
            try:
                self.read(text)
            except ConfigError as error:
                self.assertIn(words, str(error))
            else:
                self.fail(text)

    def test_receipts(self) -> None:
        """What receipts need is asked for, with the key where it is missing; what is whole is taken."""
        twilio = "preset = twilio\naccount = a\npassword = literal:b\nsender = c\n"
        listen = "receipt_listen = tcp:8026:interface=127.0.0.1\n"
        url = "receipt_url = https://sms.example/r\n"
        token = "receipt_token = literal:0123456789abcdef"
        for text, words in (
            (OWN + listen + url + token, "there must be receipt_id"),
            (OWN + "poll_interval = 1m", "there must be poll_url"),
            (twilio + listen, "need each other"),
            (twilio + url, "need each other"),
            (twilio + "receipt_listen = tcp:8026\n" + url, "would cross in clear"),
            (twilio + "receipt_listen = udp:8026\n" + url, "by UDP"),
            (twilio + listen + "receipt_url = https://x/?a=b", "has no query"),
            (twilio + listen + url + "receipt_signature = none", "anybody could tell"),
            (twilio + listen + url + "receipt_signature = vonage-sha256", "needs the signing_key"),
            (twilio + listen + url + "receipt_token = literal:short", "16 letters"),
            (twilio + listen + url + "receipts = x -> y", "not one of delivered"),
            (twilio + "poll_interval = 1m\npoll_for = 10s", "shorter than poll_interval"),
            (twilio + "poll_interval = 1m\npoll_url = http://a.example/{message_id}", "would cross in clear"),
            (twilio + "parameters = x = {message_id}", "and not before"),
        ):
            with self.assertRaisesRegex(ConfigError, words):
                self.read(text)
        whole = self.read(twilio + listen + url + token + "\npoll_interval = 1m\nreceipts = queued -> unknown")
        found = whole.full_receipt_url()
        assert found is not None
        self.assertEqual(found.reveal(), "https://sms.example/r/0123456789abcdef")
        self.assertNotIn("0123456789abcdef", repr(found))
        self.assertEqual(whole.signature(), ("twilio", whole.password))
        rules = whole.receipt_rules(polled=True)
        self.assertEqual((str(rules.status), dict(rules.table)["queued"]), ("$.status", "unknown"))
        self.assertEqual(whole.question().method, "GET")

    def test_plain_http_here(self) -> None:
        """http: is fine on this machine, and elsewhere when somebody says so."""
        for url in ("http://127.0.0.1:1/x", "http://[::1]/x", "http://localhost/x"):
            self.read(OWN.replace("https://gw.example/send", url))
        self.read(OWN.replace("https", "http") + "without_tls = yes")

    def test_paths(self) -> None:
        """Socket and queue stand in the state directory, with the instance's name."""
        settings = self.read(OWN)
        state = Path("/s")
        self.assertEqual(socket_path(settings, state, "sms"), state / "sms.sock")
        self.assertEqual(socket_path(settings, state, "sms:b"), state / "sms-b.sock")
        self.assertEqual(queue_path(settings, state, "sms:b"), state / "outbox" / "sms-b")
