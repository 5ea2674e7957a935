"""The mailers that people have, by SMTP to the submission listener: STARTTLS, a certificate to check, a login."""

from __future__ import annotations

import os
import random
import subprocess
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.passwords import htpasswd
from tests.live.daemon import Daemon
from tests.live.test_live_mail import daemon, start
from tests.services.smtp_client.certs import authority, server
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a program that does not end fails the test
SUBJECT = "汇总数据 für Ångström"
TEXT = "你好,\n.\n..\nFrom me\n\tend\n"
PASSWORD = "se cret:ü"  # with what a client may get wrong


class Clients(SynchronousTestCase):
    one: Daemon

    def setUp(self) -> None:
        self.one = daemon()
        self.addCleanup(self.one.close)
        self.place = self.one.directory
        (self.place / "users").write_text(f"joe:{htpasswd.make(PASSWORD, 'argon2')}\n")
        issued = server("localhost", "127.0.0.1")
        (self.place / "server.pem").write_bytes(issued.pem + issued.key_pem)
        (self.place / "ca.pem").write_bytes(authority("test CA").pem)
        self.one.config.write_text(
            f"[netsvc]\nstate_directory = {self.one.state}\n[smtp_client]\nrelay = maildir:mail\n"
            "submission_listen = tcp:0:interface=127.0.0.1\n"
            f"submission_users = {self.place}/users\nsubmission_tls = privateKey={self.place}/server.pem\n"
        )
        start(self.one)
        self.port = self.one.port("smtp_client")
        self.home = self.place / "home"
        self.home.mkdir()

    def run_program(self, *words: str | Path, text: str = "") -> str:
        """Run a program that must succeed; what it said."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        done = subprocess.run(
            words, input=text.encode(), capture_output=True, timeout=PATIENCE, env=environ, cwd=self.place
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.one.log().encode())
        return done.stdout.decode()

    def arrived(self, count: int = 1) -> list[Any]:
        """The messages in the Maildir, in the order of their recipients; all came with TLS and joe's login."""
        new = self.one.state / "mail" / "new"
        wait_until(lambda: new.is_dir() and len(list(new.iterdir())) >= count)
        found: list[Any] = [message_from_bytes(one.read_bytes(), policy=policy.default) for one in new.iterdir()]
        self.assertEqual(len(found), count)
        for one in found:
            self.assertRegex(str(one.get_all("Received")[-1]), r"from smtp joe@127\.0\.0\.1\) with ESMTPSA\b")
        return sorted(found, key=lambda one: str(one["Delivered-To"]))

    def text(self, message: Any) -> str:
        """The text of a message, with LF."""
        return str(message.get_body(("plain",)).get_content().replace("\r\n", "\n"))

    def test_msmtp(self) -> None:
        """Msmtp hands on what sendmail's callers give it, so that a machine with msmtp can send through ours."""
        config = self.home / ".msmtprc"
        config.write_text(
            f"account default\nhost localhost\nport {self.port}\ntls on\ntls_trust_file {self.place}/ca.pem\n"
            f"auth on\nuser joe\npassword {PASSWORD}\nfrom a@x.example\n"
        )
        config.chmod(0o600)
        self.run_program("msmtp", "-t", text=f"To: b@x.example\nBcc: c@x.example\nSubject: s\n\n{TEXT}")
        for one, address in zip(self.arrived(2), ("b@x.example", "c@x.example"), strict=True):
            self.assertEqual((str(one["Delivered-To"]), one["Bcc"]), (address, None))
            self.assertTrue(one.as_bytes().endswith(TEXT.encode()))

    def test_mutt(self) -> None:
        """Mutt sends an attachment of any name."""
        file = self.place / "汇总 数据.xlsx"
        file.write_bytes(random.Random(1).randbytes(100_000))
        (self.home / ".muttrc").write_text(
            f"set smtp_url='smtp://joe@localhost:{self.port}'\nset smtp_pass='{PASSWORD}'\nset ssl_starttls=yes\n"
            f"set ssl_force_tls=yes\nset certificate_file={self.place}/ca.pem\nset from='汤众 <a@x.example>'\n"
            "set charset=utf-8\n"
        )
        words = (
            "mutt",
            "-F",
            self.home / ".muttrc",
            "-s",
            SUBJECT,
            "-b",
            "c@x.example",
            "-a",
            file,
            "--",
            "b@x.example",
        )
        self.run_program(*words, text=TEXT)
        for one in self.arrived(2):
            self.assertEqual((str(one["Subject"]), self.text(one), one["Bcc"]), (SUBJECT, TEXT, None))
            (part,) = one.iter_attachments()
            self.assertEqual(part.get_payload(decode=True), file.read_bytes())

    def test_s_nail(self) -> None:
        """The mail command of today sends in UTF-8."""
        self.run_program(
            *("s-nail", "-:/", "-Sv15-compat", f"-Smta=smtp://localhost:{self.port}", "-Ssmtp-use-starttls"),
            *(f"-Stls-ca-file={self.place}/ca.pem", "-Stls-verify=strict", "-Ssmtp-auth=plain", "-Suser=joe"),
            *(f"-Spassword={PASSWORD}", "-Sttycharset=utf-8", "-S", "from=a@x.example", "-s", SUBJECT, "b@x.example"),
            text=TEXT,
        )
        (one,) = self.arrived()
        self.assertEqual((str(one["Subject"]), self.text(one)), (SUBJECT, TEXT))

    def test_swaks(self) -> None:
        """Swaks logs in by PLAIN and by LOGIN, and pipelines."""
        for mechanism in ("PLAIN", "LOGIN"):
            said = self.run_program(
                *("swaks", "--server", f"localhost:{self.port}", "--from", "a@x.example", "--to", "b@x.example"),
                *("--tls", "--tls-verify", "--tls-ca-path", self.place / "ca.pem", "--pipeline"),
                *("--auth", mechanism, "--auth-user", "joe", "--auth-password", PASSWORD, "--body", "one\n.\ntwo"),
            )
            self.assertIn("250 2.0.0 kept as ", said)
        for one in self.arrived(2):
            self.assertIn("one\n.\ntwo", self.text(one))

    def test_git(self) -> None:
        """A patch that git send-email sent by SMTP can be applied."""
        git = ("git", "-C", self.place / "repository")
        self.run_program("git", "init", "-q", self.place / "repository")
        for name, value in (
            *(("user.name", "汤众"), ("user.email", "a@x.example"), ("sendemail.smtpServer", "localhost")),
            *(("sendemail.smtpServerPort", str(self.port)), ("sendemail.smtpEncryption", "tls")),
            *(("sendemail.smtpSSLCertPath", str(self.place / "ca.pem")), ("sendemail.smtpUser", "joe")),
            *(("sendemail.smtpPass", "plain"), ("sendemail.confirm", "never")),
        ):
            self.run_program(*git, "config", name, value)
        (self.place / "users").write_text(f"joe:{htpasswd.make('plain', 'argon2')}\n")  # its Perl sends Latin-1
        self.run_program(*git, "commit", "-q", "--allow-empty", "-m", "first")
        data = b"\xe4\xb8\xad\n.\n..\n" + b"long " * 300 + b"\nend without newline"
        (self.place / "repository" / "data").write_bytes(data)
        self.run_program(*git, "add", "data")
        self.run_program(*git, "commit", "-q", "-m", SUBJECT)
        self.run_program(*git, "send-email", "--to=B <b@x.example>", "--suppress-cc=all", "--validate", "HEAD^")
        (one,) = self.arrived()
        self.assertEqual(str(one["Subject"]), f"[PATCH] {SUBJECT}")
        self.run_program(*git, "reset", "-q", "--hard", "HEAD^")
        self.run_program(*git, "am", "-q", next((self.one.state / "mail" / "new").iterdir()))
        self.assertEqual((self.place / "repository" / "data").read_bytes(), data)
