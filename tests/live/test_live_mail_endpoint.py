"""The HTTP endpoint through a real daemon, spoken to by curl."""

from __future__ import annotations

import json
import os
import subprocess
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon
from tests.live.test_live_mail import books, daemon, start
from tests.services.smtp_client.certs import authority, server
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a test that waits for something fails
TOKEN = "correct-horse-battery"


class Posting(SynchronousTestCase):
    def daemon(self, listen: str) -> Daemon:
        """A daemon with an endpoint and a Maildir."""
        made = daemon()
        self.addCleanup(made.close)
        place = made.directory
        issued = server("localhost", "127.0.0.1")
        (place / "server.pem").write_bytes(issued.pem + issued.key_pem)
        (place / "ca.pem").write_bytes(authority("test CA").pem)
        (place / "token").write_text(TOKEN + "\n")
        section = f"[smtp_client]\nhttp_listen = {listen}\nhttp_token = file:token\n"
        made.config.write_text(f"[netsvc]\nstate_directory = {made.state}\n{section}")
        start(made)
        return made

    def curl(self, *words: str | Path, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        """(status, JSON) of what curl is answered."""
        command = ("curl", "-sS", "--max-time", str(PATIENCE), "-w", "\n%{http_code}", "--data-binary", "@-")
        done = subprocess.run((*command, *words), input=body, capture_output=True, timeout=2 * PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        said, _, status = done.stdout.rpartition(b"\n")
        return int(status), json.loads(said)

    def delivered(self, one: Daemon, count: int) -> list[Message]:
        """The messages in the Maildir, when there are so many."""
        new = one.state / "mail" / "new"
        wait_until(lambda: new.is_dir() and len(os.listdir(new)) >= count)
        return [message_from_bytes(file.read_bytes()) for file in new.iterdir()]

    def test_json(self) -> None:
        """The client curl posts a message in JSON, of some size too; a repetition is the same message."""
        one = self.daemon("tcp:0:interface=127.0.0.1")
        url = f"http://127.0.0.1:{one.port('smtp_client')}/v1/messages"
        message = {
            "from": "a@example.com",
            "to": "汤众 <b@example.com>",
            "subject": "中文",
            "text": "hello\n" * 300_000,
        }
        octets = json.dumps(message).encode()
        words = ("-H", f"Authorization: Bearer {TOKEN}", "-H", "Content-Type: application/json", url)
        status, said = self.curl("-H", "Idempotency-Key: k", *words, body=octets)
        self.assertEqual((status, said["repeated"]), (202, False), said)
        again = self.curl("-H", "Idempotency-Key: k", *words, body=octets)
        self.assertEqual(again, (202, {"id": said["id"], "repeated": True}))
        (found,) = self.delivered(one, 1)
        self.assertIn("(netsvc, from http 127.0.0.1) with HTTP", found["Received"])
        self.assertEqual(books(one)["accepted"], 1)
        self.assertEqual(self.curl(*words, body=b"{}")[0], 422)
        self.assertEqual(self.curl("-H", "Content-Type: application/json", url, body=octets)[0], 401)
        self.assertNotIn(TOKEN, one.log())

    def test_raw_over_tls(self) -> None:
        """The client curl posts a message as it is, over TLS, in chunks."""
        one = self.daemon("tls:0:interface=127.0.0.1:privateKey=server.pem")
        port = one.port("smtp_client", "tls")
        url = f"https://localhost:{port}/v1/messages?from=a@example.com&to=b@example.com"
        words = ("--cacert", one.directory / "ca.pem", "-H", f"Authorization: Bearer {TOKEN}")
        more = ("-H", "Content-Type: message/rfc822", "-H", "Transfer-Encoding: chunked", url)
        status, said = self.curl(*words, *more, body=b"Subject: x\r\n\r\nhello\r\n")
        self.assertEqual(status, 202, said)
        (found,) = self.delivered(one, 1)
        self.assertEqual(found.get_payload(), "hello\n")
