"""Mail first, a text message if it is not delivered: one daemon with both, a mail server and a gateway here."""

from __future__ import annotations

import json
import signal
import socketserver
import subprocess
import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import NETSVC, Daemon
from tests.live.test_live_sms import IHUYI, NUMBER, daemon, section, shown, sms
from tests.services.sms.gateways import Gateway, ihuyi
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a command that hangs fails the test
TEXT = "the boiler is cold"


class Server(socketserver.ThreadingTCPServer):
    """A mail server that answers each RCPT with one line, and takes the rest."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, rcpt: bytes) -> None:
        server = self
        self.rcpt = rcpt

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline():
                    verb = line.split()[0].upper() if line.split() else b""
                    if verb == b"DATA":
                        self.wfile.write(b"354 go\r\n")
                        while self.rfile.readline() not in (b".\r\n", b""):
                            pass
                    self.wfile.write(server.rcpt + b"\r\n" if verb == b"RCPT" else b"250 fine\r\n")

        super().__init__(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def both(gateway: Gateway, server: Server, *more: str) -> Daemon:
    """A daemon with both services."""
    port = server.server_address[1]
    mail = ("[smtp_client]", f"relay = smtp:127.0.0.1:{port}", "tls = none", "retry_first = 1h", "retry_longest = 4h")
    return daemon("\n".join((*mail, "allow_volatile = yes", *more, section("ihuyi", gateway.url(IHUYI)))))


def mail(one: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Send a mail."""
    command = [NETSVC, "mail", "send", "--socket", str(one.state / "mail.sock"), "--to", "b@example.com"]
    command += ["--from", "a@example.com", "--subject", TEXT, *words]
    return subprocess.run(command, input="x\n", capture_output=True, timeout=PATIENCE, text=True)


def messages(one: Daemon) -> list[dict[str, Any]]:
    """All text messages."""
    return [json.loads(line) for line in sms(one, "queue", "--all", "--json").stdout.splitlines()]


class MailThenSms(SynchronousTestCase):
    def test_delivered(self) -> None:
        """Of a mail that is delivered no text message goes: it is withdrawn as soon as that is known, and redacted."""
        with Gateway(ihuyi) as gateway, Server(b"250 fine") as server, both(gateway, server) as one:
            done = mail(one, "--sms-to", NUMBER, "--sms-after", "1h")
            self.assertEqual((done.returncode, done.stderr), (0, ""), one.log())
            wait_until(lambda: messages(one) and messages(one)[0]["states"] == {"removed": 1}, one.log())
            item = shown(one, messages(one)[0]["id"])
            self.assertEqual(item["mail"], f"smtp_client {done.stdout.strip()}")
            self.assertIn("was delivered", item["ledger"][-1]["text"])
            self.assertEqual(gateway.asked, [])
            self.assertIn("the books balance", sms(one, "audit").stdout)

    def test_not_delivered_in_time(self) -> None:
        """A mail that still waits is followed by its text message, once, when the time is over; the key of the mail
        stands for both, and a daemon that was killed in between forgets neither.
        """
        with Gateway(ihuyi) as gateway, Server(b"451 later") as server, both(gateway, server) as one:
            begun = time.monotonic()
            for _ in range(2):
                done = mail(one, "--key", "k", "--sms-to", NUMBER, "--sms-after", "12s")
                self.assertEqual((done.returncode, done.stderr), (0, ""), one.log())
            one.stop(signal.SIGKILL)
            one.lines.clear()
            one.start()
            one.wait_for(r"ready: \d+ services")
            self.assertEqual(len(messages(one)), 1)
            wait_until(lambda: gateway.asked, one.log())
            self.assertGreater(gateway.asked[0].at - begun, 11)
            self.assertEqual(gateway.asked[0].fields["content"], TEXT)
            wait_until(lambda: messages(one)[0]["states"] == {"delivered": 1}, one.log())
            mail(one, "--key", "k", "--sms-to", NUMBER, "--sms-after", "12s")
            self.assertEqual((len(messages(one)), len(gateway.asked)), (1, 1))
            self.assertNotIn(TEXT, one.log())

    def test_bounced(self) -> None:
        """A mail that is refused for good is followed by its text message at once, with the text that was given."""
        with Gateway(ihuyi) as gateway, Server(b"550 nobody") as server, both(gateway, server) as one:
            done = mail(one, "--sms-to", NUMBER, "--sms-after", "1h", "--sms-text", "call home")
            self.assertEqual((done.returncode, done.stderr), (0, ""), one.log())
            wait_until(lambda: gateway.asked, one.log())
            self.assertEqual(gateway.asked[0].fields["content"], "call home")

    def test_refused(self) -> None:
        """A number that is none, and a section that is not there, refuse the mail before it is taken."""
        with Gateway(ihuyi) as gateway, Server(b"250 fine") as server:
            with both(gateway, server) as one:
                done = mail(one, "--sms-to", "12")
                self.assertEqual(done.returncode, 65)
                self.assertIn("the text message: a number has", done.stderr)
                self.assertEqual(mail(one, "--sms-to", NUMBER, "--sms-after", "soon").returncode, 65)
            with both(gateway, server, "sms_service = sms:alarm") as one:
                done = mail(one, "--sms-to", NUMBER)
                self.assertEqual(done.returncode, 65)
                self.assertIn("there is no [sms:alarm]", done.stderr)
                self.assertEqual(messages(one), [])
