"""The submission listener through a real daemon, spoken to by what programs use: smtplib, curl, swaks, Postfix."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
from email import message_from_bytes
from email.message import EmailMessage, Message
from pathlib import Path

from aiosmtpd.controller import Controller
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.passwords import htpasswd
from tests.live.daemon import Daemon
from tests.live.test_live_mail import books, daemon, start
from tests.ports import free_port
from tests.services.smtp_client.certs import authority, server
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a test that waits for something fails
HASH = htpasswd.make("secret", "argon2")
LOOPBACK = "tcp:0:interface=127.0.0.1"


class Discarded:
    """Takes everything and keeps nothing."""

    async def handle_DATA(self, *_: object) -> str:
        return "250 2.0.0 taken"


class Listening(SynchronousTestCase):
    def daemon(self, *lines: str, listen: str = LOOPBACK) -> Daemon:
        """A daemon with a submission listener and a Maildir; users and certificates are in its directory."""
        made = daemon()
        self.addCleanup(made.close)
        place = made.directory
        (place / "users").write_text(f"joe:{HASH}\n")
        issued = server("localhost", "127.0.0.1")
        (place / "server.pem").write_bytes(issued.pem + issued.key_pem)
        (place / "ca.pem").write_bytes(authority("test CA").pem)
        options = "\n".join(lines).replace("PLACE", str(place))
        section = (
            f"[smtp_client]\nhelo_name = here.example\nsubmission_listen = {listen.replace('PLACE', str(place))}\n"
        )
        made.config.write_text(f"[netsvc]\nstate_directory = {made.state}\n{section}{options}\n")
        start(made)
        return made

    def delivered(self, one: Daemon, count: int) -> list[Message]:
        """The messages in the Maildir, when there are so many."""
        new = one.state / "mail" / "new"
        wait_until(lambda: new.is_dir() and len(os.listdir(new)) >= count)
        return [message_from_bytes(file.read_bytes()) for file in new.iterdir()]

    def run_client(self, *command: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a client that must succeed."""
        done = subprocess.run(command, input=text, capture_output=True, timeout=PATIENCE, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def context(self, one: Daemon) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(one.directory / "ca.pem"))

    def test_smtplib_in_clear(self) -> None:
        """Smtplib sends on loopback in clear; the message is in the Maildir as it was, with a trace of its way."""
        one = self.daemon()
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "汤众 <a@example.com>", "b@example.com", "中文"
        message["Netsvc-Idempotency-Key"] = "k1"
        message.set_content(".\n..\nhello\n")
        with smtplib.SMTP("127.0.0.1", one.port("smtp_client")) as client:
            self.assertEqual(client.send_message(message), {})
            self.assertEqual(client.send_message(message), {})
        (found,) = self.delivered(one, 1)
        self.assertEqual(found.get_payload(), ".\n..\nhello\n")
        self.assertIn("by here.example (netsvc, from smtp 127.0.0.1) with ESMTP", found["Received"])
        self.assertNotIn("Netsvc-Idempotency-Key", found)
        self.assertEqual(books(one)["accepted"], 1)

    def test_starttls_and_login(self) -> None:
        """With STARTTLS and a password mail is taken; without, or with a wrong one, it is not."""
        one = self.daemon("submission_users = PLACE/users", "submission_tls = privateKey=PLACE/server.pem")
        port = one.port("smtp_client")
        with smtplib.SMTP("localhost", port) as client:
            client.starttls(context=self.context(one))
            with self.assertRaises(smtplib.SMTPAuthenticationError):
                client.login("joe", "wrong")
            with self.assertRaises(smtplib.SMTPSenderRefused) as caught:
                client.sendmail("a@example.com", "b@example.com", "Subject: x\r\n\r\nx\r\n")
            self.assertEqual(caught.exception.smtp_code, 530)
            client.login("joe", "secret")
            client.sendmail("a@example.com", ["b@example.com", "c@example.com"], "Subject: x\r\n\r\nx\r\n")
        found = self.delivered(one, 2)[0]
        self.assertIn("from smtp joe@127.0.0.1) with ESMTPSA", found["Received"])
        self.assertNotIn("secret", one.log())

    def test_requiretls(self) -> None:
        """What came with REQUIRETLS goes on to a server that promises it; where none does, its header comes back."""
        tls = "submission_tls = privateKey=PLACE/server.pem"
        there = self.daemon(tls)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(there.directory / "server.pem")
        port = free_port()  # aiosmtpd connects to itself and so must be told one
        plain = Controller(Discarded(), hostname="127.0.0.1", port=port, tls_context=context, ready_timeout=PATIENCE)
        plain.start()
        self.addCleanup(plain.stop)
        here = self.daemon(
            tls,
            "origin = home.example",
            "trust_roots = PLACE/ca.pem",
            "relay = maildir:mail",
            f"routes = good.example smtp:localhost:{there.port('smtp_client')}\n  plain.example smtp:localhost:{port}",
        )
        message = b"Subject: secret\r\n\r\nhello\r\n"
        with smtplib.SMTP("127.0.0.1", here.port("smtp_client")) as client:
            client.ehlo()
            self.assertFalse(client.has_extn("REQUIRETLS"))
            client.starttls(context=self.context(here))
            client.ehlo()
            self.assertTrue(client.has_extn("REQUIRETLS"))
            to = ["a@good.example", "b@plain.example"]
            self.assertEqual(client.sendmail("me@home.example", to, message, ["REQUIRETLS"]), {})
        (found,) = self.delivered(there, 1)
        self.assertEqual((found["Subject"], found.get_payload()), ("secret", "hello\n"))
        (notice,) = self.delivered(here, 1)
        text = notice.as_string()
        self.assertIn("b@plain.example", text)
        self.assertNotIn("a@good.example", text)
        self.assertIn("Status: 5.7.30", text)
        self.assertIn("Subject: secret", text)
        self.assertNotIn("hello", text)

    def test_clear_text_behind_starttls(self) -> None:
        """What comes in clear behind STARTTLS is not obeyed under TLS (RFC 3207 4.2)."""
        one = self.daemon("submission_users = PLACE/users", "submission_tls = privateKey=PLACE/server.pem")
        with socket.create_connection(("127.0.0.1", one.port("smtp_client")), PATIENCE) as raw:
            stream = raw.makefile("rb")
            self.assertTrue(stream.readline().startswith(b"220"))
            raw.sendall(b"EHLO x\r\n")
            while stream.readline()[3:4] == b"-":
                pass
            raw.sendall(b"STARTTLS\r\nEHLO evil\r\nNOOP\r\n")
            self.assertTrue(stream.readline().startswith(b"220"))
            with self.context(one).wrap_socket(raw, server_hostname="localhost") as secure:
                secure.sendall(b"AUTH PLAIN\r\nQUIT\r\n")
                answer = b""
                while octets := secure.recv(1000):
                    answer += octets
        self.assertEqual([line[:3] for line in answer.splitlines()], [b"503", b"221"])

    def test_implicit_tls_with_curl(self) -> None:
        """The client curl sends with TLS from the first octet and a password."""
        one = self.daemon(
            "submission_users = PLACE/users", listen="tls:0:interface=127.0.0.1:privateKey=PLACE/server.pem"
        )
        url = f"smtps://localhost:{one.port('smtp_client', 'tls')}"
        words = ("curl", "-sS", "--cacert", one.directory / "ca.pem", "--mail-from", "a@example.com", "-T", "-", url)
        self.run_client(*words, "--user", "joe:secret", "--mail-rcpt", "b@example.com", text="Subject: x\n\nhello\n")
        (found,) = self.delivered(one, 1)
        self.assertIn("with ESMTPSA", found["Received"])

    def test_swaks(self) -> None:
        """Swaks logs in by PLAIN and by LOGIN, in clear on loopback and under STARTTLS."""
        one = self.daemon("submission_users = PLACE/users", "submission_tls = privateKey=PLACE/server.pem")
        words = ["swaks", "--server", f"127.0.0.1:{one.port('smtp_client')}", "--from", "a@example.com"]
        words += ["--to", "b@example.com", "--auth-user", "joe", "--auth-password", "secret"]
        for more in (["--auth", "PLAIN"], ["--auth", "LOGIN"], ["--auth", "PLAIN", "--tls"], ["--pipeline"]):
            with self.subTest(more):
                self.assertIn("250 2.0.0 kept as", self.run_client(*words, *more).stdout)
        self.delivered(one, 4)

    def test_smtp_source(self) -> None:
        """Postfix's smtp-source hands in 200 messages over ten connections, and every one is delivered once."""
        one = self.daemon()
        source = shutil.which("smtp-source", path="/usr/sbin:/usr/bin") or "smtp-source"
        port = one.port("smtp_client")
        self.run_client(
            source,
            "-s",
            "10",
            "-m",
            "200",
            "-l",
            "4096",
            "-f",
            "a@example.com",
            "-t",
            "b@example.com",
            f"127.0.0.1:{port}",
        )
        self.assertEqual(len(self.delivered(one, 200)), 200)
        self.assertEqual(books(one)["accepted"], 200)

    def test_smuggling(self) -> None:
        """A message hidden behind LF . CRLF is no message: the connection ends and nothing is kept."""
        one = self.daemon()
        with socket.create_connection(("127.0.0.1", one.port("smtp_client")), PATIENCE) as raw:
            raw.sendall(
                b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: x\r\n\r\nx\n.\r\n"
            )
            raw.sendall(b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nhidden\r\n.\r\nQUIT\r\n")
            answer = b""
            while octets := raw.recv(10000):
                answer += octets
        self.assertTrue(answer.splitlines()[-1].startswith(b"554 5.5.2"))
        self.assertEqual(books(one)["accepted"], 0)

    def test_shut_down(self) -> None:
        """A daemon that stops lets an open transaction end, and tells who waits 421."""
        one = self.daemon()
        port = one.port("smtp_client")
        with smtplib.SMTP("127.0.0.1", port) as idle, smtplib.SMTP("127.0.0.1", port) as busy:
            idle.ehlo()
            busy.ehlo()
            busy.mail("a@example.com")
            os.kill(one.pid, signal.SIGTERM)
            self.assertEqual(idle.getreply()[0], 421)
            busy.rcpt("b@example.com")
            self.assertEqual(busy.data(b"Subject: x\r\n\r\nlast\r\n")[0], 250)
            self.assertEqual(busy.getreply()[0], 421)
        one.wait()
        self.assertNotIn("Traceback", one.log())
