"""Receipts through a real daemon: gateways that call as they document, one that is asked; what is left on the disk."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon
from tests.live.postfix import free_ports
from tests.live.test_live_sms import CODE, IHUYI, NUMBER, TEXT, daemon, section, shown, sms
from tests.services.sms.gateways import (
    BARRED,
    PASSWORD,
    Answer,
    Asked,
    Gateway,
    ihuyi,
    jasmin,
    kannel,
    twilio,
    vonage,
)
from tests.waiting import wait_until

TOKEN = "0123456789abcdef-token"
PATIENCE = 180.0  # seconds until what is to disappear fails the test
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def call(url: str, body: str = "", headers: dict[str, str] | None = None, method: str = "") -> tuple[int, str]:
    """Call us as a gateway does; status and body of the answer."""
    parsed = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parsed.port or 80, timeout=30)
    target = parsed.path + (f"?{parsed.query}" if parsed.query else "")
    connection.request(method or ("POST" if body else "GET"), target, body or None, headers or {})
    response = connection.getresponse()
    said = response.read().decode()
    connection.close()
    return response.status, said


def receipt(one: Daemon, queue_id: str) -> dict[str, Any] | None:
    """What the daemon knows of the first number's receipt."""
    found: dict[str, Any] | None = shown(one, queue_id)["targets"][0]["receipt"]
    return found


class LiveReceipts(SynchronousTestCase):
    def sent(self, one: Daemon) -> str:
        """A message that the gateway took."""
        done = sms(one, "send", "--to", NUMBER, "--wait", "150", TEXT)
        self.assertEqual((done.returncode, done.stderr), (0, ""), one.log())
        queue_id = done.stdout.strip()
        self.assertIsNone(receipt(one, queue_id))
        return queue_id

    def test_twilio_calls(self) -> None:
        """Twilio is told a URL, signs what it says there, and what it says is in the records; forged calls are not."""
        (port,) = free_ports(1)
        listen = (f"receipt_listen = tcp:{port}:interface=127.0.0.1", f"receipt_url = http://127.0.0.1:{port}/twilio")
        with Gateway(twilio) as gateway, daemon(section("twilio", gateway.url("/{account}"), *listen)) as one:
            queue_id = self.sent(one)
            url = gateway.asked[0].fields["StatusCallback"]
            self.assertEqual(url, f"http://127.0.0.1:{port}/twilio")
            said = {"MessageSid": "SM0123456789abcdef0123456789abcdef", "MessageStatus": "sent", "To": f"+86{NUMBER}"}
            for status, signed, answer in (("delivered", False, 403), ("sent", True, 200), ("undelivered", True, 200)):
                fields = {**said, "MessageStatus": status, "ErrorCode": "30003"}
                text = url + "".join(name + value for name, value in sorted(fields.items()))
                digest = hmac.new(PASSWORD.encode(), text.encode(), hashlib.sha1).digest()
                headers = {**FORM, "X-Twilio-Signature": base64.b64encode(digest).decode() if signed else "forged"}
                self.assertEqual(call(url, urlencode(fields), headers)[0], answer, one.log())
            told = receipt(one, queue_id) or {}
            self.assertEqual((told["result"], told["text"]), ("failed", "undelivered 30003"))
            self.assertIn("receipt    +86*********00: failed", sms(one, "show", queue_id).stdout)
            self.assertNotIn(NUMBER, one.log())

    def test_the_others_call(self) -> None:
        """Vonage, Jasmin and Kannel call the URL with its token as they document, and hear what they want to."""
        (port,) = free_ports(1)
        listen = (
            f"receipt_listen = tcp:{port}:interface=127.0.0.1",
            f"receipt_url = http://127.0.0.1:{port}/receipts",
            f"receipt_token = literal:{TOKEN}",
        )
        url = f"http://127.0.0.1:{port}/receipts/{TOKEN}"
        dlr = {"msisdn": f"86{NUMBER}", "messageId": "0A0000000123ABCD1", "status": "delivered", "err-code": "0"}
        for preset, answer in (("vonage", vonage), ("jasmin", jasmin), ("kannel", kannel)):
            with Gateway(answer) as gateway, daemon(section(preset, gateway.url("/send"), *listen)) as one:
                queue_id = self.sent(one)
                asked = gateway.asked[0].fields
                self.assertEqual(call(url[:-1], json.dumps(dlr), {"Content-Type": "application/json"})[0], 404)
                if preset == "vonage":
                    said = call(url, json.dumps(dlr), {"Content-Type": "application/json"})
                elif preset == "jasmin":
                    self.assertEqual((asked["dlr"], asked["dlr-level"], asked["dlr-url"]), ("yes", "2", url))
                    fields = {"id": "07033084-5cfd-4812-90a4-e4d24ffb6e3d", "message_status": "DELIVRD", "level": "2"}
                    said = call(asked["dlr-url"], urlencode(fields), FORM)
                    self.assertEqual(said[1], "ACK/Jasmin")
                else:
                    self.assertEqual(asked["dlr-mask"], "19")
                    query = parse_qs(urlsplit(asked["dlr-url"]).query)
                    self.assertEqual(query, {"id": [f"{queue_id}-0"], "type": ["%d"]})
                    said = call(asked["dlr-url"].replace("%d", "1"))
                self.assertEqual(said[0], 200, one.log())
                told = receipt(one, queue_id) or {}
                self.assertEqual(told.get("result"), "delivered", f"{preset} {one.log()}")
                self.assertNotIn(TOKEN, one.log())

    def test_asked_for(self) -> None:
        """A gateway that does not call is asked until it says what became of the message; over a restart, too."""
        states = ["queued", "sent"]

        def answer(asked: Asked) -> Answer:
            if asked.method == "POST":
                return twilio(asked)
            return 200, {"status": states.pop(0) if states else "delivered", "error_code": None}, {}

        with Gateway(answer) as gateway:
            poll = (f"poll_url = {gateway.url('/Messages/{message_id}.json')}", "poll_interval = 1s")
            with daemon(section("twilio", gateway.url("/{account}"), *poll)) as one:
                queue_id = self.sent(one)
                wait_until(lambda: len(gateway.asked) > 1, one.log())
                one.stop()
                one.lines.clear()
                one.start()
                one.wait_for(r"ready: \d+ services")
                wait_until(lambda: receipt(one, queue_id), one.log())
                self.assertEqual((receipt(one, queue_id) or {})["result"], "delivered")
                question = gateway.asked[-1]
                self.assertEqual(question.path, "/Messages/SM0123456789abcdef0123456789abcdef.json")
                self.assertTrue(question.headers["authorization"].startswith("Basic "))

    def test_nothing_is_left_on_the_disk(self) -> None:
        """When all is final neither number nor text, nor a digest of them, is in any file of the queue, log included; a
        message that was refused cannot be requeued, and one of which nobody knows keeps what it needs.
        """
        with Gateway(ihuyi) as gateway:
            with daemon(section("ihuyi", gateway.url(IHUYI), "reply_timeout = 5s")) as one:
                done = sms(one, "send", "--to", NUMBER, "--to", BARRED, "--key", "k", "--wait", "150", TEXT)
                refused = sms(one, "send", "--to", BARRED, "--wait", "150", TEXT).stdout.strip()
                self.assertEqual(done.returncode, 69)
                content = json.dumps({"v": 1, "to": ["+86" + BARRED], "text": TEXT}, ensure_ascii=False)
                digests = [hashlib.sha256(content.encode()).hexdigest()]
                secrets = [one.encode() for one in (NUMBER, BARRED, TEXT, CODE, *digests)]
                self.assert_gone(one, secrets)
                again = sms(one, "requeue", refused)
                self.assertEqual(again.returncode, 65)
                self.assertIn("was redacted", again.stderr)
                gateway.answer = lambda _: None
                held = sms(one, "send", "--to", NUMBER, "--wait", "150", TEXT).stdout.strip()
                self.assertIn(TEXT.encode(), self.files(one))
                gateway.answer = ihuyi
                self.assertEqual(sms(one, "requeue", held).returncode, 0)
                wait_until(lambda: shown(one, held)["targets"][0]["state"] == "delivered", one.log())
                self.assert_gone(one, secrets)
                repeated = sms(one, "send", "--to", NUMBER, "--to", BARRED, "--key", "k", TEXT)
                self.assertEqual((repeated.returncode, repeated.stdout), (0, done.stdout))
                self.assertIn("the books balance", sms(one, "audit").stdout)

    def files(self, one: Daemon) -> bytes:
        """All that the queue has on the disk."""
        found = b""
        for path in sorted((one.state / "outbox").rglob("*")):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # SQLite removes its own as it likes
                found += path.read_bytes()
        return found

    def assert_gone(self, one: Daemon, secrets: list[bytes]) -> None:
        """The secrets go from the files within a moment."""
        end = time.monotonic() + PATIENCE
        while left := [secret for secret in secrets if secret in self.files(one)]:
            self.assertLess(time.monotonic(), end, f"{left} {one.log()}")
            sms(one, "audit")
