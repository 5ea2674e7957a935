"""The tutorials' peers of the larger services, unchanged, against a real twistd that serves the sample site."""

from __future__ import annotations

import base64
import email
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import NETSVC, Daemon
from tests.ports import free_port
from tests.services.smtp_client.certs import authority, server
from tests.shared import SharedCase
from tests.waiting import wait_until

ETC = Path(__file__).parents[2] / "etc"
CLIENT = Path(__file__).parent / "tutorials" / "file_client.py"
BOUND = 180.0  # seconds

WORKBOOK = "汇总数据.xlsx"
SENDER = "汤众 <tang@example.com>"


class FileTransferTests(SynchronousTestCase):
    """The client that reads JSON to the end from 5566 and saves an identical picture."""

    def test_the_picture_is_identical(self) -> None:
        """Every size modulo 3, a large one, and an odd name, arrive octet for octet; the client saves them."""
        pictures = {name: os.urandom(size) for name, size in (("a.png", 0), ("b.png", 1), ("c.png", 2), ("d.png", 3))}
        pictures["图片 \\.png"] = os.urandom(5_000_000)
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        to = directory / "saved"
        to.mkdir()
        ini = "[netsvc]\nstate_directory = state\n"
        for number, (name, content) in enumerate(pictures.items()):
            (directory / name).write_bytes(content)
            ini += f"[filetransfer:n{number}]\nlisten = tcp:0:interface=127.0.0.1\noffer = {directory / name}\n"
        with Daemon(ini) as daemon:
            for number, (name, content) in enumerate(pictures.items()):
                with socket.create_connection(("127.0.0.1", daemon.port(f"filetransfer:n{number}")), BOUND) as peer:
                    octets = b"".join(iter(lambda: peer.recv(65536), b""))
                self.assertEqual(
                    octets.decode(), json.dumps({"filename": name, "filedata": base64.b64encode(content).decode()})
                )
                port = str(daemon.port(f"filetransfer:n{number}"))
                subprocess.run([sys.executable, CLIENT, "127.0.0.1", port, to], check=True, timeout=BOUND)
        self.assertEqual({one.name: one.read_bytes() for one in to.iterdir()}, pictures)


class WebTests(SharedCase):
    """Browsers and curl on 8000."""

    daemon: Daemon
    base: str

    @classmethod
    def set_up_shared(cls) -> None:
        cls.daemon = Daemon(
            f"[netsvc]\nstate_directory = state\n[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {ETC / 'www'}\n"
        )
        cls.daemon.__enter__()
        cls.base = f"http://127.0.0.1:{cls.daemon.port('http')}"

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()

    def curl(self, *arguments: str) -> str:
        done = subprocess.run(["curl", "-sS", "--fail", *arguments], capture_output=True, timeout=BOUND)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode()

    def test_the_page_and_its_picture(self) -> None:
        """The index, its style and its picture come with their types, as they are on disk."""
        for path, name, kind in (("/", "index.html", "text/html"), ("/hills.png", "hills.png", "image/png")):
            with urllib.request.urlopen(self.base + path, timeout=BOUND) as answer:
                self.assertEqual(answer.read(), (ETC / "www" / name).read_bytes())
                self.assertEqual(answer.headers.get_content_type(), kind)

    def test_forms(self) -> None:
        """A form by GET, by POST, and with a file, in any script."""
        form = f"{self.base}/cgi-bin/form.py"
        self.assertIn("Hello, Michael!", self.curl(f"{form}?name=Michael&town=x"))
        self.assertIn("Hello, 北京!", self.curl(f"{form}?name={urllib.parse.quote('北京')}"))
        self.assertIn("Hello, Tracy!", self.curl("-d", "name=Tracy", form))
        upload = self.curl("-F", "name=Sarah", "-F", f"file=@{ETC / 'netsvc.ini'}", form)
        self.assertIn("Hello, Sarah!", upload)
        self.assertIn(f"netsvc.ini, {(ETC / 'netsvc.ini').stat().st_size} octets", upload)

    def test_every_script_of_the_sample(self) -> None:
        """Each script in cgi-bin answers, and none shows its source by any spelling."""
        for script in (ETC / "www" / "cgi-bin").iterdir():
            self.assertTrue(self.curl("-d", "name=Sarah", f"{self.base}/cgi-bin/{script.name}"))
            for spelling in (
                f"/./cgi-bin/{script.name}",
                f"/%2e/cgi-bin/{script.name}",
                f"/x%2f..%2fcgi-bin/{script.name}",
                f"/cgi%2dbin/{script.name}",
                f"//cgi-bin/{script.name}",
                f"/cgi-bin//{script.name}",
                f"/cgi-bin/{script.name}/",
                f"/cgi-bin/%2e%2e/cgi-bin/{script.name}%00",
                f"/CGI-BIN/{script.name}",
            ):
                command = ["curl", "-sS", "--path-as-is", self.base + spelling]
                answer = subprocess.run(command, capture_output=True, timeout=BOUND).stdout
                self.assertNotIn(b"#!/", answer, spelling)


class MailTests(SynchronousTestCase):
    """A message with a Chinese sender's name and a workbook named 汇总数据.xlsx."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.workbook = self.directory / WORKBOOK
        self.workbook.write_bytes(b"PK\x03\x04" + os.urandom(50_000) + b"\r\n.\r\n\n.\n\0")

    def send(self, daemon: Daemon) -> str:
        """Send by the command; the queue id."""
        done = subprocess.run(
            [
                *(NETSVC, "mail", "send", "--config", daemon.config, "--subject", "汇总", "--attach", self.workbook),
                *("--from", SENDER, "--to", "张三 <a@example.com>", "--cc", "b@example.com", "--bcc", "c@example.com"),
            ],
            input=".\n见附件。\n.\n".encode(),
            capture_output=True,
            timeout=BOUND,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode().strip()

    def check(self, octets: bytes) -> None:
        """The message is what was sent."""
        message = email.message_from_bytes(octets, policy=policy.default)
        assert isinstance(message, EmailMessage)
        sender = message["From"].addresses[0]
        self.assertEqual((sender.display_name, sender.addr_spec), ("汤众", "tang@example.com"))
        self.assertEqual(message["To"].addresses[0].display_name, "张三")
        self.assertEqual(message["Subject"], "汇总")
        self.assertIsNone(message["Bcc"])
        body = message.get_body(("plain",))
        assert body is not None
        self.assertEqual(body.get_content().replace("\r\n", "\n"), ".\n见附件。\n.\n")
        (attachment,) = message.iter_attachments()
        self.assertEqual(attachment.get_filename(), WORKBOOK)
        self.assertEqual(
            attachment.get_content_type(), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
        )
        self.assertEqual(attachment.get_content(), self.workbook.read_bytes())

    def test_into_the_maildir(self) -> None:
        """It lands in the Maildir, once for each recipient or once for all, octet-right."""
        ini = "[netsvc]\nstate_directory = state\n[smtp_client]\nrelay = maildir:mail\n"
        with Daemon(ini) as daemon:
            self.send(daemon)
            new = daemon.state / "mail" / "new"
            wait_until(lambda: len(list(new.glob("*"))) == 3 if new.exists() else False)
            for file in new.iterdir():
                self.check(file.read_bytes())

    def relayed(self, relay: str, **options: Any) -> None:
        """Send through a smarthost with login that aiosmtpd plays."""
        taken: list[tuple[list[str], bytes, bool]] = []

        class Handler:
            async def handle_DATA(self, smtp: Any, session: Any, envelope: Any) -> str:
                taken.append((envelope.rcpt_tos, envelope.original_content, session.authenticated))
                return "250 2.0.0 taken"

        def login(smtp: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            good = (data.login, data.password) == (b"robot", b"s3cret word")
            return AuthResult(success=good, handled=False, auth_data="robot" if good else None)

        issued = server("localhost", "127.0.0.1")
        certificate, key, roots = (self.directory / name for name in ("server.crt", "server.key", "ca.crt"))
        certificate.write_bytes(issued.pem)
        key.write_bytes(issued.key_pem)
        roots.write_bytes(authority("test CA").pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        tls = {"ssl_context": context} if relay == "smtps" else {"tls_context": context, "require_starttls": True}
        port = free_port()
        controller = Controller(Handler(), hostname="127.0.0.1", port=port, authenticator=login, **tls, **options)
        controller.start()
        self.addCleanup(controller.stop)
        (self.directory / "password").write_text("s3cret word\n")
        ini = (
            f"[netsvc]\nstate_directory = state\n[smtp_client]\nrelay = {relay}:localhost:{port}\ntls = verify\n"
            f"trust_roots = {roots}\nusername = robot\npassword = file:{self.directory / 'password'}\n"
        )
        with Daemon(ini) as daemon:
            queue_id = self.send(daemon)
            wait_until(lambda: taken)
            daemon.wait_for(f"{queue_id} to .* delivered")
            audit = subprocess.run(
                [NETSVC, "mail", "audit", "--config", daemon.config], capture_output=True, timeout=BOUND
            )
            self.assertEqual(audit.returncode, 0, audit.stdout)
            self.assertNotIn("s3cret", daemon.log())
        recipients, octets, authenticated = taken[0]
        self.assertTrue(authenticated)
        self.assertEqual(sorted(recipients), ["a@example.com", "b@example.com", "c@example.com"])
        self.check(octets)

    def test_through_a_smarthost_with_implicit_tls(self) -> None:
        """Port 465's way: TLS from the first octet, login, verified certificate."""
        self.relayed("smtps", auth_require_tls=False)

    def test_through_a_smarthost_with_starttls(self) -> None:
        """Port 587's way: STARTTLS, login, verified certificate."""
        self.relayed("smtp")
