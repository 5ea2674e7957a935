"""Mail through a real daemon, with real peers and a real kill: what was acknowledged arrives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mailbox
import random
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import Connection
from tests.live.daemon import NETSVC, Daemon
from tests.services.smtp_client.certs import authority, server
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a test that waits for something fails
QUICK = "retry_first = 1s\nretry_longest = 1s\n"
PASSWORD = "Tr0ub4dor&3-never-to-be-seen"


class Sink:
    """An aiosmtpd handler that counts what it took; some it refuses for now, some it takes and cuts the connection.

    :ivar taken: (subject, recipient) -> how often.
    """

    def __init__(self, dice: random.Random | None = None) -> None:
        self.taken: Counter[tuple[str, str]] = Counter()
        self.connections = 0
        self.stalling = False
        self.stalled = threading.Event()
        self._dice = dice

    def _chance(self, of: float) -> bool:
        return self._dice is not None and self._dice.random() < of

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, smtp: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self._chance(0.05):
            return "450 4.2.0 later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, smtp: Any, session: Any, envelope: Any) -> str:
        while self.stalling:
            self.stalled.set()
            await asyncio.sleep(0.01)
        subject = str(message_from_bytes(envelope.original_content)["Subject"])
        self.taken.update((subject, one) for one in envelope.rcpt_tos)
        if self._chance(0.03):
            smtp.transport.abort()
        return "250 2.0.0 taken"


@contextlib.contextmanager
def running(sink: Sink, **options: Any) -> Iterator[int]:
    """The port of an aiosmtpd with a handler."""

    class OnFreePort(Controller):
        def factory(self) -> SMTP:
            return SMTP(sink, enable_SMTPUTF8=True, **options)

        def _trigger_server(self) -> None:
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    controller = OnFreePort(sink, hostname="127.0.0.1", port=0)
    controller.start()
    try:
        yield controller.port
    finally:
        sink.stalling = False
        controller.stop()


def daemon(*sections: str) -> Daemon:
    """A daemon whose state directory is its own, not yet started."""
    made = Daemon("")
    made.config.write_text("\n".join((f"[netsvc]\nstate_directory = {made.state}", *sections)))
    return made


def start(one: Daemon) -> None:
    """Start it, or start it again, and wait until it is ready."""
    one.lines.clear()
    one.start()
    one.wait_for(r"ready: \d+ services")


def mail(
    one: Daemon, *words: str, text: bytes = b"hello\n", name: str = "mail.sock"
) -> subprocess.CompletedProcess[str]:
    """Run ``netsvc mail``."""
    done = subprocess.run(
        [NETSVC, "mail", *words, "--socket", one.state / name], input=text, capture_output=True, timeout=PATIENCE
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def send(one: Daemon, *words: str, text: bytes = b"hello\n") -> str:
    """Send a message that is taken; its queue id."""
    done = mail(one, "send", "--from", "a@example.com", "--to", "b@example.com", *words, text=text)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


def books(one: Daemon, name: str = "mail.sock") -> dict[str, Any]:
    """What ``netsvc mail audit`` says."""
    return cast("dict[str, Any]", json.loads(mail(one, "audit", "--json", name=name).stdout))


class Mail(SynchronousTestCase):
    def daemon(self, *sections: str) -> Daemon:
        """A daemon that runs."""
        made = daemon(*sections)
        self.addCleanup(made.close)
        start(made)
        return made

    def test_killed_at_any_moment(self) -> None:
        """Nothing that was acknowledged is lost by kill -9; a second copy is one of an attempt of unknown result."""
        dice = random.Random(7)
        sink = Sink(random.Random(8))
        acknowledged: list[tuple[str, str, tuple[str, ...]]] = []

        def hand_in(number: int) -> None:
            for count in range(25):
                subject, which = f"m{number}-{count}", ("mail.sock", "mail-box.sock")[count % 2]
                to = tuple(f"{subject}r{one}@example.com" for one in range(1 + count % 3))
                content = (
                    f"Subject: {subject}\r\nFrom: a@b.c\r\n\r\n".encode() + b".\r\nx" * (1, 100, 20_000)[count % 3]
                )
                head = {"command": "send", "sender": "a@b.c", "recipients": to, "length": len(content), "key": subject}
                end = time.monotonic() + PATIENCE
                while time.monotonic() < end:
                    try:
                        with Connection(one.state / which) as connection:
                            connection.ask(head, content)
                        acknowledged.append((which, subject, to))
                        break
                    except CommandError:
                        time.sleep(0.02)  # it is dead just now

        with running(sink) as port:
            one = self.daemon(
                f"[smtp_client]\nrelay = smtp:127.0.0.1:{port}\ntls = none\n{QUICK}",
                f"[smtp_client:box]\nrelay = maildir:mail\n{QUICK}",
            )
            senders = [threading.Thread(target=hand_in, args=(number,)) for number in range(4)]
            for thread in senders:
                thread.start()
            for _ in range(6):
                time.sleep(dice.uniform(0.05, 0.4))  # not to wait for anything: the moment is to be any
                one.stop(signal.SIGKILL)
                start(one)
            for thread in senders:
                thread.join()
            found = wait_until(
                lambda: (
                    (all_of := [books(one, name) for name in ("mail.sock", "mail-box.sock")])
                    and not any(each["waiting"] for each in all_of)
                    and all_of
                )
            )
        self.assertEqual(len(acknowledged), 100)
        self.assertEqual([each["balanced"] for each in found], [True, True])
        read = mailbox.Maildir(one.state / "mail", create=False)
        kept = Counter((str(each["Subject"]), str(each["Delivered-To"])) for each in read)
        for which, subject, to in acknowledged:
            for address in to:
                self.assertTrue((sink.taken if which == "mail.sock" else kept)[subject, address], (which, subject))
        self.assertEqual(set(kept.values()), {1})
        self.assertLessEqual(sum(each - 1 for each in sink.taken.values()), found[0]["unknown_attempts"])
        self.assertEqual(list((one.state / "mail" / "tmp").iterdir()), [])

    def test_mail_fault_62_stopped_in_data(self) -> None:
        """SIGTERM while the relay holds the message: it is cut after the drain time, waits, and is sent again."""
        sink = Sink()
        sink.stalling = True
        with running(sink) as port:
            one = self.daemon(f"[smtp_client]\nrelay = smtp:127.0.0.1:{port}\ntls = none\ndrain_timeout = 0s\n{QUICK}")
            send(one, "--subject", "x")
            self.assertTrue(sink.stalled.wait(PATIENCE))
            one.stop()
            self.assertIn("attempts cut at the end of the drain", one.log())
            sink.stalling = False
            start(one)
            wait_until(lambda: books(one)["delivered"] == 1)
        self.assertGreaterEqual(sink.taken["x", "b@example.com"], 1)

    def test_two_daemons(self) -> None:
        """A second daemon on the same queue ends with one line and its status, and the first goes on."""
        one = self.daemon("[smtp_client]\nrelay = maildir:mail")
        other = daemon(f"[smtp_client]\nrelay = maildir:mail\nsocket = {one.directory}/other.sock")
        self.addCleanup(other.close)
        other.config.write_text(other.config.read_text().replace(str(other.state), str(one.state)))
        other.start()
        self.assertEqual(other.wait(), 1)
        self.assertRegex(other.lines[-1], rf"the queue .* is in use by process {one.pid}; one queue has one daemon$")
        self.assertFalse((one.directory / "other.sock").exists())
        send(one)
        one.wait_for("delivered: 2.0.0 written to the Maildir")

    def test_private(self) -> None:
        """Nobody else can read a message: not in the queue, not in its log, not in the Maildir."""
        one = self.daemon("[smtp_client]\nrelay = maildir:mail")
        send(one)
        one.wait_for("delivered")
        for path in one.state.rglob("*"):
            if not path.is_socket():
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        self.assertEqual((one.state / "mail.sock").stat().st_mode & 0o777, 0o660)

    def test_octets(self) -> None:
        """A megabyte of every octet, a text of dots and a name in Chinese arrive as they left."""
        one = self.daemon("[smtp_client]\nrelay = maildir:mail")
        content = random.Random(1).randbytes(1 << 20)
        file = one.directory / '汇总 "数据".xlsx'
        file.write_bytes(content)
        text = ".\n..\n.x\nFrom me\n漢字\n"
        send(one, "--subject", "数据", "--attach", str(file), "--cc", "汤众 <c@example.com>", text=text.encode())
        wait_until(lambda: books(one)["delivered"] == 2)
        for each in mailbox.Maildir(one.state / "mail", create=False):
            message: Any = message_from_bytes(each.as_bytes(), policy=policy.default)
            (part,) = message.iter_attachments()
            self.assertEqual((part.get_filename(), part.get_payload(decode=True)), (file.name, content))
            self.assertEqual(message.get_body().get_content().replace("\r\n", "\n"), text)
            self.assertEqual((message["Subject"], message["Cc"].addresses[0].display_name), ("数据", "汤众"))

    def test_no_way_in_clear(self) -> None:
        """With a certificate of an unknown CA nothing is sent, the log says why, and the password is nowhere."""
        issued = server("127.0.0.1")
        sink = Sink()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        one = daemon()
        self.addCleanup(one.close)
        pem = one.directory / "server.pem"
        pem.write_bytes(issued.pem + issued.key_pem)
        context.load_cert_chain(pem)
        roots = one.directory / "roots.pem"
        roots.write_bytes(authority("another CA").pem)
        secret = one.directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        with running(sink, tls_context=context) as port:
            one.config.write_text(
                f"{one.config.read_text()}\n[smtp_client]\nrelay = smtp:127.0.0.1:{port}\ntrust_roots = {roots}\n"
                f"username = anna\npassword = file:{secret}\n{QUICK}"
            )
            start(one)
            queue_id = send(one)
            one.wait_for("deferred: 4.7.5 TLS: .* CA that is not trusted here")
            wait_until(lambda: sink.connections >= 2)  # it was tried again
            shown = mail(one, "show", queue_id).stdout + mail(one, "queue", "--json").stdout
            processes = Path(f"/proc/{one.pid}/cmdline").read_bytes() + Path(f"/proc/{one.pid}/environ").read_bytes()
        self.assertIn("4.7.5", shown)
        self.assertEqual(sink.taken, {})
        for text in (shown, one.log(), processes.decode()):
            self.assertNotIn(PASSWORD, text)

    def test_rubbish(self) -> None:
        """Whatever comes over the socket ends at most its own connection; mail is taken meanwhile."""
        one = self.daemon("[smtp_client]\nrelay = maildir:mail\nsubmission_timeout = 3s\nmax_message = 1MiB")

        def say(octets: bytes) -> bytes:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(PATIENCE)
                peer.connect(str(one.state / "mail.sock"))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    peer.sendall(octets)
                with peer.makefile("rb") as file:
                    return file.readline()

        def head(**values: Any) -> bytes:
            whole = {"v": 1, "command": "send", "sender": "a@b.c", "recipients": ["b@c.d"], **values}
            return json.dumps(whole).encode() + b"\n"

        for octets, code in (
            (random.Random(1).randbytes(5000).replace(b"\n", b"") + b"\n", "5.5.2"),
            (b"GET / HTTP/1.0\r\n\r\n", "5.5.2"),
            (b"\0" * 500_000, "5.5.2"),
            (b"[" * 300_000 + b"\n", "5.5.2"),
            (head(length=-1), "5.5.2"),
            (head(length=10**30), "5.3.4"),
            (head(length=2 << 20) + b"x" * (2 << 20), "5.3.4"),
            (head(length=10) + b"short", "4.4.2"),
            (b"{", "4.4.2"),
            (head(length=1, recipients=["a\r\nDATA@b.c"]) + b"x", "5.1.3"),
        ):
            self.assertEqual(json.loads(say(octets))["code"], code, octets[:80])
            send(one)
        self.assertEqual(one.stop(), -signal.SIGTERM)
        self.assertNotIn("Traceback", one.log())
