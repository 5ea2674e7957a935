"""Text messages through a real daemon to a gateway on this machine, beside the tutorial's own call."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import NETSVC, Daemon
from tests.ports import free_port
from tests.services.sms.gateways import (
    ACCOUNT,
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
from tests.services.smtp_client.certs import authority, self_signed, server
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a command that hangs fails the test
TEXT = "您的验证码是402817。请不要把验证码泄露给其他人。"
CODE = "402817"
NUMBER = "13800138000"
IHUYI = "/webservice/sms.php?method=Submit"


def section(preset: str, url: str, *more: str) -> str:
    """A section for a preset whose URL is here."""
    return "\n".join(
        (
            "[sms]",
            f"preset = {preset}",
            f"url = {url}",
            f"account = {ACCOUNT}",
            f"password = literal:{PASSWORD}",
            "sender = +4915112345678",
            "country_code = 86",
            "retry_first = 1s",
            "retry_longest = 1s",
            *more,
        )
    )


def daemon(ini: str) -> Daemon:
    """A daemon whose state directory is its own."""
    made = Daemon("")
    made.config.write_text(f"[netsvc]\nstate_directory = {made.state}\n{ini}\n")
    return made


def sms(one: Daemon, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``netsvc sms``."""
    return subprocess.run(
        [NETSVC, "sms", *words, "--socket", one.state / "sms.sock"],
        input=text,
        capture_output=True,
        timeout=PATIENCE,
        text=True,
    )


def shown(one: Daemon, queue_id: str) -> dict[str, Any]:
    """What the daemon knows of a message."""
    return dict(json.loads(sms(one, "show", queue_id, "--json").stdout))


def tutorials_call(port: int, text: str, mobile: str) -> bytes:
    """The tutorial's client: a form over http.client, and the reply."""
    parameters = urlencode(
        {"account": ACCOUNT, "password": PASSWORD, "content": text, "mobile": mobile, "format": "json"}
    )
    headers = {"Content-type": "application/x-www-form-urlencoded", "Accept": "text/plain"}
    connection = http.client.HTTPConnection("127.0.0.1", port=port, timeout=30)
    connection.request("POST", IHUYI, parameters, headers)
    reply = connection.getresponse().read()
    connection.close()
    return reply


class LiveSms(SynchronousTestCase):
    def assert_secret(self, one: Daemon) -> None:
        """Neither the log nor a listing has number, text, code or password; nor has the store once all is delivered."""
        said = one.log() + sms(one, "queue", "--all", "--json").stdout
        for secret in (NUMBER, BARRED, TEXT, CODE, PASSWORD):
            self.assertNotIn(secret, said)

    def test_the_tutorials_message(self) -> None:
        """What `netsvc sms send` makes of four lines of INI is the tutorial's request; nothing secret is in the log."""
        with Gateway(ihuyi) as gateway, daemon(section("ihuyi", gateway.url(IHUYI))) as one:
            self.assertEqual(json.loads(tutorials_call(gateway.port, TEXT, NUMBER))["code"], 2)
            done = sms(one, "send", "--to", "138 0013 8000", "--wait", "150", "-", text=TEXT + "\n")
            self.assertEqual((done.returncode, done.stderr), (0, ""), one.log())
            theirs, ours = gateway.asked
            self.assertEqual((ours.method, ours.path, ours.query), (theirs.method, theirs.path, theirs.query))
            self.assertEqual(ours.fields, theirs.fields)
            self.assertEqual(ours.headers["content-type"], theirs.headers["content-type"])
            item = shown(one, done.stdout.strip())
            self.assertEqual([one["state"] for one in item["targets"]], ["delivered"])
            self.assertIn("16236519862951234567", item["ledger"][-1]["text"])
            self.assertIn("the books balance", sms(one, "audit").stdout)
            one.wait_for(r"\+86\*+00 delivered")
            self.assert_secret(one)

    def test_every_preset(self) -> None:
        """Twilio, Vonage, Jasmin and Kannel take a message, in both alphabets, and their refusals are understood."""
        presets = (
            ("twilio", twilio, "/2010-04-01/Accounts/{account}/Messages.json", "bounced", "SM0123456789abcdef"),
            ("vonage", vonage, "/sms/json", "bounced", "0A0000000123ABCD1"),
            ("jasmin", jasmin, "/send", "waiting", "07033084-5cfd-4812-90a4-e4d24ffb6e3d"),
            ("kannel", kannel, "/cgi-bin/sendsms", "delivered", "0: Accepted"),
        )
        for preset, answer, path, refused, name in presets:
            with Gateway(answer) as gateway, daemon(section(preset, gateway.url(path))) as one:
                for text in ("Your code is 402817", TEXT):
                    done = sms(one, "send", "--to", NUMBER, "--wait", "150", text)
                    self.assertEqual((done.returncode, done.stderr), (0, ""), f"{preset} {one.log()}")
                self.assertIn(name, shown(one, done.stdout.strip())["ledger"][-1]["text"])
                done = sms(one, "send", "--to", BARRED, "--wait", "2" if refused == "waiting" else "150", TEXT)
                item = shown(one, done.stdout.strip())
                self.assertEqual([target["state"] for target in item["targets"]], [refused], f"{preset} {one.log()}")
                self.assertEqual(done.returncode, {"bounced": 69, "waiting": 75, "delivered": 0}[refused])
                self.assert_secret(one)
            first, second = gateway.asked[:2]
            if preset == "twilio":
                self.assertEqual(first.path, f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
                self.assertEqual(
                    first.fields, {"To": f"+86{NUMBER}", "From": "+4915112345678", "Body": "Your code is 402817"}
                )
            if preset == "vonage":
                self.assertEqual([one.fields["type"] for one in (first, second)], ["text", "unicode"])
            if preset == "jasmin":
                self.assertEqual(first.fields["content"], "Your code is 402817")
                self.assertEqual(bytes.fromhex(second.fields["hex-content"]).decode("utf-16-be"), TEXT)
            if preset == "kannel":
                self.assertEqual([one.query["coding"] for one in (first, second)], ["0", "2"])
                self.assertEqual(second.query["text"], TEXT)

    def test_silence_is_sent_once(self) -> None:
        """A gateway that says nothing is asked once: the message is held as ambiguous until a person requeues it."""
        with Gateway(lambda _: None) as gateway:
            with daemon(section("ihuyi", gateway.url(IHUYI), "reply_timeout = 5s")) as one:
                done = sms(one, "send", "--to", NUMBER, "--wait", "150", TEXT)
                self.assertEqual(done.returncode, 69)
                self.assertRegex(done.stderr, r"\+86\*+00: ambiguous the gateway's reply took longer than 5 s")
                self.assertEqual(len(gateway.asked), 1)
                gateway.answer = ihuyi
                queue_id = done.stdout.strip()
                self.assertEqual(sms(one, "requeue", queue_id).returncode, 0)
                wait_until(lambda: shown(one, queue_id)["targets"][0]["state"] == "delivered", one.log())
                self.assertEqual(len(gateway.asked), 2)
                self.assert_secret(one)

    def test_silence_of_every_gateway(self) -> None:
        """Whatever the gateway, a request that left and was not answered is made once, and its message is held."""
        for preset, path in (
            ("twilio", "/2010-04-01/Accounts/{account}/Messages.json"),
            ("vonage", "/sms/json"),
            ("jasmin", "/send"),
            ("kannel", "/cgi-bin/sendsms"),
        ):
            with Gateway(lambda _: None) as gateway:
                with daemon(section(preset, gateway.url(path), "reply_timeout = 1s")) as one:
                    done = sms(one, "send", "--to", NUMBER, "--wait", "150", TEXT)
                    self.assertEqual(done.returncode, 69, f"{preset} {one.log()}")
                    self.assertRegex(done.stderr, r"\+86\*+00: ambiguous the gateway's reply took longer than 1 s")
                    self.assertEqual(len(gateway.asked), 1, preset)
                    self.assertIn("ambiguous           1", sms(one, "audit").stdout)

    def test_a_gateway_that_knows_messages_again(self) -> None:
        """With an idempotency key, silence is followed by the same message under the same name."""
        more = ("idempotent = yes", "headers = Idempotency-Key = {id}", "reply_timeout = 1s")
        with Gateway(lambda _: None) as gateway, daemon(section("ihuyi", gateway.url(IHUYI), *more)) as one:
            queue_id = sms(one, "send", "--to", NUMBER, TEXT).stdout.strip()
            wait_until(lambda: gateway.asked, one.log())
            gateway.answer = ihuyi
            wait_until(lambda: shown(one, queue_id)["targets"][0]["state"] == "delivered", one.log())
            self.assertEqual({one.headers["idempotency-key"] for one in gateway.asked}, {f"{queue_id}-0"})

    def test_killed_in_a_request(self) -> None:
        """A daemon that is killed while the gateway thinks does not send again when it is back: held as ambiguous."""
        with Gateway(lambda _: None) as gateway, daemon(section("ihuyi", gateway.url(IHUYI))) as one:
            queue_id = sms(one, "send", "--to", NUMBER, TEXT).stdout.strip()
            wait_until(lambda: gateway.asked, one.log())
            one.stop(signal.SIGKILL)
            one.lines.clear()
            one.start()
            one.wait_for(r"ready: \d+ services")
            item = shown(one, queue_id)
            self.assertEqual((item["state"], item["targets"][0]["state"]), ("done", "ambiguous"))
            self.assertEqual(len(gateway.asked), 1)
            self.assertIn("the books balance", sms(one, "audit").stdout)

    def test_nobody_there(self) -> None:
        """A refused connection is tried again, and the message goes when the gateway is there."""
        with daemon(section("ihuyi", f"http://127.0.0.1:{free_port()}{IHUYI}")) as one:
            done = sms(one, "send", "--to", NUMBER, "--wait", "2", TEXT)
            self.assertEqual(done.returncode, 75)
            queue_id = done.stdout.strip()
            wait_until(lambda: "the connection was refused" in json.dumps(shown(one, queue_id)))
            self.assertIn("+86*********00", sms(one, "queue").stdout)
            # Not while it is being tried again.
            wait_until(lambda: sms(one, "remove", queue_id).returncode == 0, "it is not removed")
            self.assertIn("The queue is empty.", sms(one, "queue").stdout)

    def test_retry_after(self) -> None:
        """A gateway that asks for a pause gets it: nothing is sent before."""

        def busy_once(asked: Asked) -> Answer:
            return (503, "busy", {"Retry-After": "3"}) if len(gateway.asked) == 1 else ihuyi(asked)

        with Gateway(busy_once) as gateway, daemon(section("ihuyi", gateway.url(IHUYI))) as one:
            done = sms(one, "send", "--to", NUMBER, "--wait", "150", TEXT)
            self.assertEqual((done.returncode, done.stderr), (0, ""), one.log())
            first, second = gateway.asked
            self.assertGreaterEqual(second.at - first.at, 2.9)

    def test_key_and_limits(self) -> None:
        """A key makes a repetition harmless and free; a limit of a number refuses the next message with 75."""
        with Gateway(ihuyi) as gateway:
            with daemon(section("ihuyi", gateway.url(IHUYI), "limit_per_number = 1/h", "max_segments = 2")) as one:
                ids = {sms(one, "send", "--key", "k1", "--to", NUMBER, TEXT).stdout for _ in range(2)}
                self.assertEqual(len(ids), 1)
                over = sms(one, "send", "--to", NUMBER, TEXT)
                self.assertEqual(over.returncode, 75)
                self.assertRegex(over.stderr, r"4\.7\.1 limit_per_number is reached; again in \d+ s")
                self.assertEqual(sms(one, "send", "--to", "+491711234567", TEXT).returncode, 65)
                self.assertEqual(sms(one, "send", "--to", "13700137000", "x" * 400).returncode, 65)
                self.assertEqual(sms(one, "send", "--key", "k1", "--to", NUMBER, "another").returncode, 65)
                self.assert_secret(one)

    def test_tls(self) -> None:
        """A good certificate is believed; another is refused before anything is sent, and the message waits."""
        directory = Path(tempfile.mkdtemp(prefix="netsvc-sms-"))
        self.addCleanup(shutil.rmtree, directory)
        roots = directory / "ca.pem"
        roots.write_bytes(authority("test CA").pem)
        for name, issued, words in (
            ("good", server("127.0.0.1"), None),
            ("other", server("other.example"), "bears other names"),
            ("self", self_signed("127.0.0.1"), "certificate verify failed"),
        ):
            file = directory / f"{name}.pem"
            file.write_bytes(issued.pem + issued.key_pem)
            with Gateway(ihuyi, str(file)) as gateway:
                with daemon(section("ihuyi", gateway.url(IHUYI), f"trust_roots = {roots}")) as one:
                    done = sms(one, "send", "--to", NUMBER, "--wait", "150" if words is None else "2", TEXT)
                    if words is None:
                        self.assertEqual((done.returncode, done.stderr), (0, ""), one.log())
                        continue
                    self.assertEqual(done.returncode, 75, one.log())
                    said = re.compile(f"TLS: .*{re.escape(words)}")
                    wait_until(lambda: said.search(json.dumps(shown(one, done.stdout.strip()))))  # noqa: B023
                    self.assertEqual(gateway.asked, [])

    def test_without_a_gateway(self) -> None:
        """Segments are counted without a daemon; without one, sending says so with 69."""
        done = subprocess.run([NETSVC, "sms", "segments", TEXT * 3], capture_output=True, timeout=PATIENCE, text=True)
        self.assertRegex(done.stdout, r"^2 segments in UCS-2: \d+ UTF-16 units, 67 fit into each")
        done = subprocess.run(
            [NETSVC, "sms", "send", "--socket", "/nonexistent/sms.sock", "--to", "+491711234567", "x"],
            capture_output=True,
            timeout=PATIENCE,
            text=True,
        )
        self.assertEqual(done.returncode, 69)
