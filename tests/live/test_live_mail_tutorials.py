"""What the tutorials send, by one command and a few lines of INI, to a real Postfix: it arrives as it was meant.

Port 465 with a login, STARTTLS with a login, and plain SMTP; names, subjects and files in Chinese; several recipients;
and a clear code and reason when it fails.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from typing import Any, ClassVar

from tests.live.daemon import NETSVC, Daemon
from tests.live.postfix import HOST, NAME, PASSWORD, USERNAME, Postfix
from tests.shared import SharedCase
from tests.waiting import wait_until

SENDER = "汤众 <tang@example.org>"
WORKBOOK = "汇总数据.xlsx"
WORKBOOK_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TEXT = "这是正文。\n.\n..两点\nFrom here on\nünïcode\n"
WAYS = ("tls", "starttls", "plain")
BOUND = 180.0  # seconds


class Tutorials(SharedCase):
    postfix: ClassVar[Postfix]
    daemon: ClassVar[Daemon]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.postfix = Postfix().__enter__()
        cls.daemon = Daemon("")
        here, peer = cls.daemon.directory, cls.postfix
        for name, word in (("password", PASSWORD), ("wrong", "nothing")):
            (here / name).touch(0o600)
            (here / name).write_text(word)
        login = (
            f"username = {USERNAME}\npassword = file:{here}/password\ntrust_roots = {peer.roots}\nretry_first = 1s\n"
        )
        cls.daemon.config.write_text(
            f"[netsvc]\nstate_directory = {cls.daemon.state}\n"
            f"[smtp_client:tls]\nrelay = smtps:{NAME}:{peer.implicit}\n{login}"
            f"[smtp_client:starttls]\nrelay = smtp:{NAME}:{peer.starttls}\n{login}"
            f"[smtp_client:plain]\nrelay = smtp:{HOST}:{peer.plain}\ntls = none\n"
            f"[smtp_client:wrong]\nrelay = smtps:{NAME}:{peer.implicit}\n{login.replace('/password', '/wrong')}"
        )
        try:
            cls.daemon.start()
            cls.daemon.wait_for(r"ready: \d+ services")
        except BaseException:
            cls.tear_down_shared()
            raise

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        cls.postfix.close()

    def netsvc(self, *words: str, way: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``netsvc mail`` for one of the ways."""
        command = [NETSVC, "mail", *words, "--config", self.daemon.config, "--service", f"smtp_client:{way}"]
        return subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", timeout=BOUND)

    def send(self, way: str, *words: str, text: str = TEXT) -> str:
        """Send; the queue id."""
        done = self.netsvc("send", "--from", SENDER, *words, way=way, text=text)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.strip()

    def shown(self, way: str, queue_id: str) -> dict[str, Any]:
        """What is known of it."""
        found: dict[str, Any] = json.loads(self.netsvc("show", "--json", queue_id, way=way).stdout)
        return found

    def states(self, way: str, queue_id: str) -> dict[str, str]:
        """Recipient -> state."""
        return {one["address"]: one["state"] for one in self.shown(way, queue_id)["targets"]}

    def arrived(self, name: str, subject: str) -> Any:
        """The one message with a subject in a mailbox."""
        (found,) = wait_until(
            lambda: [one for one in self.postfix.messages(name) if one["Subject"] == subject],
            f"{subject} did not come to {name}:\n{self.daemon.log()}",
        )
        return found

    def test_text(self) -> None:
        """A text with names and subject in Chinese arrives by each way as it was, with the login where there is one."""
        for way in WAYS:
            subject = f"你好 {way}"
            self.send(way, "--to", "收件人 <b@example.com>", "--subject", subject)
            found = self.arrived("b", subject)
            self.assertEqual(found.get_content().replace("\r\n", "\n"), TEXT)
            (sender,), (recipient,) = found["From"].addresses, found["To"].addresses
            self.assertEqual((sender.display_name, sender.addr_spec), ("汤众", "tang@example.org"))
            self.assertEqual((recipient.display_name, recipient.addr_spec), ("收件人", "b@example.com"))
            self.assertEqual(found["Return-Path"], "<tang@example.org>")
            secure = any("with ESMTPSA" in one for one in found.get_all("Received"))
            self.assertEqual(secure, way != "plain")

    def test_attachments(self) -> None:
        """A workbook with a Chinese name and a picture arrive by each way octet for octet, with name and type."""
        dice = random.Random(465)
        files = {
            WORKBOOK: dice.randbytes(300_000),
            'a "b" c.png': b"\x89PNG\r\n\x1a\n" + dice.randbytes(5000),
            "0": b"",
        }
        for name, octets in files.items():
            (self.daemon.directory / name).write_bytes(octets)
        attached = [word for name in files for word in ("--attach", str(self.daemon.directory / name))]
        for way in WAYS:
            subject = f"附件 {way}"
            self.send(way, "--to", "c@example.com", "--subject", subject, *attached)
            found = self.arrived("c", subject)
            parts = list(found.iter_attachments())
            came = {part.get_filename(): hashlib.sha256(part.get_payload(decode=True)).digest() for part in parts}
            self.assertEqual(came, {name: hashlib.sha256(octets).digest() for name, octets in files.items()})
            self.assertEqual([part.get_content_type() for part in parts][:2], [WORKBOOK_TYPE, "image/png"])

    def test_html(self) -> None:
        """An HTML form goes beside the text."""
        (self.daemon.directory / "page.html").write_text("<h1>汇总</h1>", "utf-8")
        self.send(
            "tls", "--to", "b@example.com", "--subject", "网页", "--html", str(self.daemon.directory / "page.html")
        )
        found = self.arrived("b", "网页")
        self.assertEqual(found.get_content_type(), "multipart/alternative")
        self.assertEqual(found.get_body(("html",)).get_content().strip(), "<h1>汇总</h1>")

    def test_several_recipients(self) -> None:
        """To, Cc and Bcc arrive, Bcc unseen; who is refused has a code and a reason, and stops nobody else."""
        queue_id = self.send(
            "starttls",
            *("--to", "b@example.com, 丁 <d@example.com>", "--cc", "nobody@example.com", "--bcc", "e@example.com"),
            *("--subject", "多人"),
        )
        for name in "bde":
            found = self.arrived(name, "多人")
            self.assertEqual((len(found["To"].addresses), found["Bcc"]), (2, None))
        wait_until(lambda: "waiting" not in self.states("starttls", queue_id).values())
        states = self.states("starttls", queue_id)
        self.assertEqual(states.pop("nobody@example.com"), "bounced")
        self.assertEqual(set(states.values()), {"delivered"})
        told = " ".join(self.netsvc("show", queue_id, way="starttls").stdout.split())  # its lines are wrapped
        self.assertRegex(told, r"recipient nobody@example\.com: bounced 550 5\.1\.1 .*User unknown")

    def test_wrong_password(self) -> None:
        """A wrong password puts the mail off, with the server's code and words; the password is in no output."""
        queue_id = self.send("wrong", "--to", "b@example.com", "--subject", "never")
        wait_until(lambda: self.shown("wrong", queue_id)["ledger"])
        told = self.netsvc("queue", way="wrong").stdout + self.netsvc("show", queue_id, way="wrong").stdout
        self.assertRegex(" ".join(told.split()), r"535 5\.7\.8 .*authentication fail")
        self.assertEqual(self.states("wrong", queue_id), {"b@example.com": "waiting"})
        for word in (PASSWORD, "AG5vdGhpbmc", "nothing"):
            self.assertNotIn(word, told + self.daemon.log())
