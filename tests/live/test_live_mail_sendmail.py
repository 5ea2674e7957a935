"""netsvc-sendmail with the programs that call sendmail: what they send arrives in the Maildir as they meant it."""

from __future__ import annotations

import json
import mailbox
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a program that does not end fails the test
# netsvc-sendmail with more patience than it has: a restart takes long where the disk is slow and much else runs.
PATIENT = """
import sys
from netsvc.cli.sendmail import submit
from netsvc.cli.sendmail.main import main
submit.PATIENCE = 100.0
sys.exit(main())
"""
SENDMAIL = Path(sys.executable).with_name("netsvc-sendmail")
SUBJECT = "汇总数据 für Ångström"
TEXT = "你好,\n.\n..\nFrom me\n\tend\n"


class Programs(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = Daemon("")
        self.addCleanup(self.daemon.close)
        self.directory = self.daemon.directory
        self.daemon.config.write_text(
            f"[netsvc]\nstate_directory = {self.daemon.state}\n[smtp_client]\nrelay = maildir:mail\nretry_first = 1s\n"
        )
        self.daemon.start()
        self.daemon.wait_for(r"ready: \d+ services")
        self.home = self.directory / "home"
        self.home.mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "NETSVC_MAIL_SOCKET": str(self.daemon.state / "mail.sock"),
        }

    def run_program(self, *words: str | Path, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
        """Run a program that must succeed; its output."""
        done = subprocess.run(
            words, input=stdin, capture_output=True, timeout=PATIENCE, env=self.environ, cwd=cwd or self.directory
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def arrived(self, count: int = 1) -> list[Any]:
        """The messages in the Maildir, once there are so many, in the order of their recipients."""
        new = self.daemon.state / "mail" / "new"
        wait_until(lambda: new.is_dir() and len(list(new.iterdir())) >= count)
        found: list[Any] = [message_from_bytes(one.read_bytes(), policy=policy.default) for one in new.iterdir()]
        self.assertEqual(len(found), count)
        for one in found:
            self.assertEqual(one.defects, [])
            self.assertEqual(len(one.get_all("From")), 1)
            self.assertEqual((len(one.get_all("Date")), len(one.get_all("Message-ID"))), (1, 1))
        return sorted(found, key=lambda one: str(one["Delivered-To"]))

    def text(self, message: Any) -> str:
        """The text of a message, with LF."""
        return str(message.get_body(("plain",)).get_content().replace("\r\n", "\n"))

    def test_cron(self) -> None:
        """What cron pipes in arrives for the user at this machine, from cron's name."""
        said = (
            b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@box> date\nX-Cron-Env: <A=b>\n\nout\xe4\xb8\xad\n"
        )
        self.run_program(SENDMAIL, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", stdin=said)
        (one,) = self.arrived()
        self.assertRegex(str(one["Delivered-To"]), r"^root@")
        self.assertEqual(str(one["Subject"]), "Cron <root@box> date")
        self.assertTrue(one.as_bytes().endswith(b"\n\nout\xe4\xb8\xad\n"))

    def test_mutt(self) -> None:
        """Mutt sends an attachment of any name to several people; who is in Bcc stays unseen."""
        file = self.directory / "汇总 数据.xlsx"
        file.write_bytes(random.Random(1).randbytes(100_000))
        (self.home / ".muttrc").write_text(
            f"set sendmail='{SENDMAIL} -oem -oi'\nset from='汤众 <a@x.example>'\n"
            "set use_envelope_from=yes\nset charset=utf-8\n"
        )
        self.run_program(
            *("mutt", "-F", self.home / ".muttrc", "-s", SUBJECT, "-c", "c@x.example", "-b", "d@x.example"),
            *("-a", file, "--", "b@x.example"),
            stdin=TEXT.encode(),
        )
        found = self.arrived(3)
        self.assertEqual([str(one["Delivered-To"]) for one in found], ["b@x.example", "c@x.example", "d@x.example"])
        for one in found:
            self.assertEqual((str(one["Subject"]), self.text(one), one["Bcc"]), (SUBJECT, TEXT, None))
            self.assertEqual(str(one["Return-Path"]), "<a@x.example>")
            self.assertEqual(one["From"].addresses[0].display_name, "汤众")
            (part,) = one.iter_attachments()
            self.assertEqual(part.get_payload(decode=True), file.read_bytes())

    def test_mail(self) -> None:
        """The mail command of BSD sends what it reads."""
        (self.home / ".mailrc").write_text(f"set sendmail={SENDMAIL}\n")
        self.run_program("bsd-mailx", "-s", "hello", "b@x.example", "c@x.example", stdin=b"one\n..two\nthree\n")
        for one in self.arrived(2):
            self.assertEqual((str(one["Subject"]), self.text(one)), ("hello", "one\n..two\nthree\n"))

    def test_s_nail(self) -> None:
        """So does its successor, in UTF-8."""
        self.run_program(
            *("s-nail", "-:/", "-Smta=" + str(SENDMAIL), "-Sttycharset=utf-8", "-S", "from=a@x.example"),
            *("-s", SUBJECT, "b@x.example"),
            stdin=TEXT.encode(),
        )
        (one,) = self.arrived()
        self.assertEqual((str(one["Subject"]), self.text(one)), (SUBJECT, TEXT))

    def test_git(self) -> None:
        """A patch that git send-email sent can be applied: every octet of it is there."""
        repository = self.directory / "repository"
        for words in (
            ("init", "-q", str(repository)),
            ("-C", str(repository), "config", "user.name", "汤众"),
            ("-C", str(repository), "config", "user.email", "a@x.example"),
            ("-C", str(repository), "commit", "-q", "--allow-empty", "-m", "first"),
        ):
            self.run_program("git", *words)
        (repository / "data").write_bytes(b"\xe4\xb8\xad\n.\n..\n" + b"long " * 300 + b"\nend without newline")
        self.run_program("git", "-C", repository, "add", "data")
        self.run_program("git", "-C", repository, "commit", "-q", "-m", SUBJECT)
        self.run_program(
            *(
                "git",
                "-C",
                repository,
                "send-email",
                f"--smtp-server={SENDMAIL}",
                "--to=B <b@x.example>",
                "--cc=c@x.example",
            ),
            *(
                "--confirm=never",
                "--envelope-sender=auto",
                "--suppress-cc=all",
                "--quiet",
                "--validate",
                "--transfer-encoding=auto",
                "HEAD^",
            ),
        )
        for one in self.arrived(2):
            self.assertEqual(str(one["Return-Path"]), "<a@x.example>")
            self.assertEqual(str(one["Subject"]), f"[PATCH] {SUBJECT}")
        clone = self.directory / "clone"
        self.run_program("git", "clone", "-q", repository, clone)
        self.run_program("git", "-C", clone, "config", "user.name", "x")
        self.run_program("git", "-C", clone, "config", "user.email", "x@x.example")
        self.run_program("git", "-C", clone, "reset", "-q", "--hard", "HEAD^")
        patch = next((self.daemon.state / "mail" / "new").iterdir())
        self.run_program("git", "-C", clone, "am", "-q", patch)
        self.assertEqual((clone / "data").read_bytes(), (repository / "data").read_bytes())

    def test_php(self) -> None:
        """PHP's mail(), with a header block of CR LF and a text of LF, as it calls sendmail."""
        self.run_program(
            *("php", "-d", f"sendmail_path={SENDMAIL} -t -i", "-r"),
            "mail('b@x.example', 'hello', \"one\\n.\\ntwo\", "
            "['From' => 'a@x.example', 'Cc' => 'c@x.example', 'Bcc' => 'd@x.example'], '-fe@x.example') or exit(1);",
        )
        found = self.arrived(3)
        self.assertEqual([str(one["Delivered-To"]) for one in found], ["b@x.example", "c@x.example", "d@x.example"])
        for one in found:
            self.assertEqual((self.text(one), one["Bcc"]), ("one\n.\ntwo\n", None))
            self.assertEqual(str(one["Return-Path"]), "<e@x.example>")

    def test_swaks(self) -> None:
        """Swaks speaks SMTP with -bs through a pipe; so does a program that pipelines everything at once."""
        self.run_program(
            *(
                "swaks",
                "--pipe",
                f"{SENDMAIL} -bs",
                "--from",
                "a@x.example",
                "--to",
                "b@x.example",
                "--body",
                "one\n.\ntwo",
            ),
        )
        said = (
            b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@x.example>\r\nRCPT TO:<bad>\r\nDATA\r\n"
            b"From: a@x\r\n\r\n..\r\n.\r\nQUIT\r\n"
        )
        replies = self.run_program(SENDMAIL, "-bs", stdin=said).decode().splitlines()
        self.assertEqual(
            [one[:3] for one in replies if one[3] == " "], ["220", "250", "250", "250", "553", "354", "250", "221"]
        )
        first, second = self.arrived(2)
        self.assertEqual(self.text(first), "one\n.\ntwo\n\n\n")
        self.assertEqual((self.text(second), str(second["Return-Path"])), (".\n", "<>"))

    def test_as_mail_transfer_agent(self) -> None:
        """Under the names sendmail, mailq and newaliases it is what packages expect."""
        sbin = self.directory / "sbin"
        sbin.mkdir()
        for name in ("sendmail", "mailq", "newaliases"):
            (sbin / name).symlink_to(SENDMAIL)
        self.assertEqual(self.run_program(sbin / "mailq"), b"Mail queue is empty\n")
        self.run_program(sbin / "newaliases")
        self.run_program(sbin / "sendmail", "-t", stdin=b"To: b@x.example\nSubject: x\n\n\n")
        self.arrived()

    def test_restarted_meanwhile(self) -> None:
        """While the daemon is killed and started again, every call succeeds, and every message is there once."""
        failed: list[int] = []

        def send(number: int) -> None:
            for count in range(10):
                said = f"From: a@x\nSubject: m{number}-{count}\n\n".encode()
                done = subprocess.run(
                    [sys.executable, "-c", PATIENT, "-i", "b@x.example"], input=said, env=self.environ, timeout=PATIENCE
                )
                failed.extend([done.returncode] if done.returncode else [])

        threads = [threading.Thread(target=send, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for number in (signal.SIGKILL, signal.SIGTERM):
            time.sleep(0.3)  # not to wait for anything: the moment is to be any
            self.daemon.stop(number)
            self.daemon.lines.clear()
            self.daemon.start()
            self.daemon.wait_for(r"ready: \d+ services")
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        subjects = {f"m{number}-{count}" for number in range(3) for count in range(10)}
        box = self.daemon.state / "mail"
        wait_until(lambda: {str(one["Subject"]) for one in mailbox.Maildir(box, create=False)} == subjects)
        self.assertEqual(len(mailbox.Maildir(box, create=False)), len(subjects))

    def test_operators(self) -> None:
        """What waits is held, explained, listed, released and deleted; a suppressed address is refused."""
        bound = socket.socket()  # where nobody listens
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        relay = f"smtp:127.0.0.1:{bound.getsockname()[1]}\ntls = none"
        self.daemon.stop()
        self.daemon.config.write_text(self.daemon.config.read_text().replace("maildir:mail", relay))
        self.daemon.lines.clear()
        self.daemon.start()
        self.daemon.wait_for(r"ready: \d+ services")
        netsvc = SENDMAIL.with_name("netsvc")

        def mail(*words: str) -> str:
            return self.run_program(netsvc, "mail", *words).decode()

        queue_id = self.run_program(SENDMAIL, "-v", "b@x.example", "c@y.example", stdin=b"\n").decode().split()[-1]
        wait_until(lambda: "refused" in mail("explain", queue_id))
        self.assertIn("TLS: none, by tls of the section", " ".join(mail("explain", queue_id).split()))

        def held() -> str:
            hold = subprocess.run([netsvc, "mail", "hold", queue_id], env=self.environ, capture_output=True)
            return hold.stdout.decode() if hold.returncode == 0 else ""  # it is being tried again

        self.assertIn("2 recipients", wait_until(held, "it is not held"))
        self.assertEqual(json.loads(mail("queue", "--json"))["state"], "held")
        self.assertIn(f"{queue_id}! ", self.run_program(SENDMAIL, "-bp").decode())
        self.assertIn("1 recipient of 1 message released", mail("release", "--domain", "x.example"))
        self.run_program(SENDMAIL, f"-qI{queue_id}")
        self.assertIn("flushed by uid:", mail("log", queue_id))
        wait_until(lambda: "1 recipient of" in mail("delete", "--domain", "x.example"))
        mail("suppress", "d@x.example", "--reason", "gone")
        done = subprocess.run([SENDMAIL, "d@x.example"], input=b"\n", env=self.environ, capture_output=True)
        self.assertEqual((done.returncode, b"gone" in done.stderr), (77, True))
        done = subprocess.run([SENDMAIL, "-bv", "d@x.example", "e@x.example"], env=self.environ, capture_output=True)
        self.assertEqual(done.returncode, 67)
        self.assertEqual(
            done.stdout.decode().splitlines(),
            [
                "d@x.example... the address is suppressed: gone",
                "e@x.example... deliverable: mailer smtp, host 127.0.0.1, user e@x.example",
            ],
        )
        self.assertIn("The books balance.", mail("audit"))
