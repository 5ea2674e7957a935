"""The whole mail service: made from its settings, and alive in a process of its own."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from unittest import mock

from aiosmtpd.controller import Controller
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.errors import StartError
from netsvc.net.json_lines import encode
from netsvc.outbox.model import Outcome
from netsvc.services.smtp_client import way as way_module
from netsvc.services.smtp_client.routing.places import Smarthost, ToSmarthosts
from netsvc.services.smtp_client.service import SmtpClient, make_service
from netsvc.services.smtp_client.settings import SmtpClientSettings
from netsvc.services.smtp_client.terms import Outcome as DeliveryOutcome
from netsvc.services.smtp_client.terms import Timeouts
from tests.fakes import FakeRuntime
from tests.outbox.kit import START
from tests.outbox.test_outbox_rules import lease
from tests.ports import free_port

PATIENCE = 180.0  # seconds until a test that waits for a process fails
ROOT = Path(__file__).parents[3]


class Making(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-mail-")
        self.addCleanup(directory.cleanup)
        self.state = Path(directory.name)
        self.runtime: Any = FakeRuntime(self.state, "smtp_client")
        self.calls: list[Any] = []
        self.runtime.reactor.callFromThread = lambda *call: self.calls.append(call)

    def test_socket(self) -> None:
        """It listens on the socket that the settings name; operators are root and whom the daemon has become."""
        made = make_service(SmtpClientSettings(socket_mode=0o600), self.runtime)
        self.assertIsInstance(made, SmtpClient)
        ((settings, factory, datagram),) = self.runtime.served
        self.assertEqual((settings.listen[0].path, settings.listen[0].mode), (self.state / "mail.sock", 0o600))
        self.assertEqual(factory.rules.operators(), {0, os.geteuid()})
        with mock.patch.object(os, "geteuid", return_value=77):
            self.assertEqual(factory.rules.operators(), {0, 77})
        self.assertIsNone(datagram)

    def test_nothing_before_the_start(self) -> None:
        """Making the service touches no file."""
        make_service(SmtpClientSettings(), self.runtime)
        self.assertEqual(list(self.state.iterdir()), [])

    def test_long_path(self) -> None:
        """A state directory whose socket would be too long ends the start, with a way out."""
        self.runtime.state_directory = self.state / ("x" * 100)
        with self.assertRaisesRegex(StartError, "longer than 107 octets; set socket"):
            make_service(SmtpClientSettings(), self.runtime)

    def stopped(self, made: Any) -> None:
        stopping = made.stopService()
        deadline = time.monotonic() + PATIENCE
        done: list[Any] = []
        stopping.addBoth(done.append)
        while not done:
            self.assertLess(time.monotonic(), deadline)
            while self.calls:
                function, *arguments = self.calls.pop(0)
                function(*arguments)
            select.select([], [], [], 0.001)  # let the store's thread go on
        self.assertIsNone(done[0])

    def test_start_and_stop(self) -> None:
        """It starts, refuses a second one on its queue, and stops whatever its listener does."""
        made = make_service(SmtpClientSettings(), self.runtime)
        made.startService()
        second = make_service(SmtpClientSettings(), self.runtime)
        self.assertRaises(StartError, second.startService)
        self.stopped(second)
        self.stopped(made)
        made = make_service(SmtpClientSettings(), self.runtime)
        made.startService()
        with mock.patch.object(made, "_listener") as listener:
            listener.stopService.side_effect = ZeroDivisionError
            with self.assertRaises(AssertionError):
                self.stopped(made)

    def test_host_name(self) -> None:
        """Without a helo_name the machine's is taken, if it is one."""
        with mock.patch.object(socket, "gethostname", return_value="box.example"):
            self.assertEqual(way_module.host_name(), "box.example")
        with mock.patch.object(socket, "gethostname", return_value="a b"):
            self.assertEqual(way_module.host_name(), "localhost")

    def test_smarthost(self) -> None:
        """A smarthost gets envelope, stamped content and credentials; its outcomes come back with their way."""
        secret = Secret("literal", "p")
        settings = SmtpClientSettings(
            relay=ToSmarthosts((Smarthost("mx.example", 465, True),)),
            username="u",
            password=secret,
            tls="require",
            helo_name="h.example",
            phase_timeout=60.0,
        )
        asked: list[Any] = []

        def deliver(*args: Any, **kwargs: Any) -> Deferred[Any]:
            asked.append((args, kwargs))
            via, tls = "smtps:mx.example:465", "TLSv1.3 X verified"
            return succeed((DeliveryOutcome("b@x", "delivered", 250, "2.0.0", "ok", via=via, tls=tls),))

        with mock.patch.object(way_module, "deliver", deliver):
            way = way_module.make_way(settings, self.runtime)
            outcomes = self.successResultOf(way(lease("b@x"), b"\r\nhello"))
        self.assertEqual(
            outcomes,
            (
                Outcome(
                    target="b@x",
                    result="delivered",
                    code=250,
                    enhanced="2.0.0",
                    text="ok",
                    via="smtps:mx.example:465 TLSv1.3 X verified",
                ),
            ),
        )
        ((reactor, (relay,), envelope, content), kwargs) = asked[0]
        self.assertIs(reactor, self.runtime.reactor)
        self.assertEqual((relay.host, relay.port, relay.implicit, relay.tls), ("mx.example", 465, True, "require"))
        self.assertEqual((relay.username, relay.password), ("u", secret))
        self.assertEqual((envelope.sender, envelope.recipients), ("a@example.com", ("b@x",)))
        self.assertTrue(content.startswith(b"Received: by h.example"))
        self.assertEqual((kwargs["helo_name"], kwargs["timeouts"]), ("h.example", Timeouts.within(60.0)))
        self.assertIs(kwargs["pool"], way.pool)

    def test_turns(self) -> None:
        """What waits for its turn is sent when another's ends; one that is stopped before was not tried."""
        relay = ToSmarthosts((Smarthost("mx.example", 465, True),))
        sending: list[Deferred[Any]] = []

        def deliver(*_: Any, **__: Any) -> Deferred[Any]:
            sending.append(Deferred())
            return sending[-1]

        with mock.patch.object(way_module, "deliver", deliver):
            way = way_module.make_way(SmtpClientSettings(relay=relay, per_destination=2), self.runtime, processes=2)
            first, second, third = (way(lease("b@x"), b"\r\nhello") for _ in range(3))
            self.assertEqual(len(sending), 1)
            second.cancel()
            (outcome,) = self.successResultOf(second)  # type: ignore[misc]
            self.assertEqual((outcome.result, outcome.enhanced), ("retry", "4.3.2"))
            self.assertFalse(outcome.unreachable)
            sending[0].callback((DeliveryOutcome("b@x", "delivered", 250, "2.0.0", "ok"),))
            self.successResultOf(first)
            self.assertEqual(len(sending), 2)
            sending[1].callback((DeliveryOutcome("b@x", "delivered", 250, "2.0.0", "ok"),))
            self.successResultOf(third)

    def test_maildir(self) -> None:
        """A relative Maildir is in the state directory; the file's name holds the queue id."""
        way = way_module.make_way(SmtpClientSettings(helo_name="h.example"), self.runtime)
        (outcome,) = self.successResultOf(way(lease("b@x"), b"Subject: x\r\n\r\nhello"))  # type: ignore[misc]
        self.assertEqual((outcome.result, outcome.via), ("delivered", "maildir:mail"))
        (file,) = (self.state / "mail" / "new").iterdir()
        self.assertEqual(file.name, f"{int(START)}.Q{'0' * 15}.h.exampleR0")

    def test_long_name(self) -> None:
        """A machine's name of the longest kind does not make the file's name too long."""
        way = way_module.make_way(SmtpClientSettings(helo_name=".".join(["h" * 50] * 5)), self.runtime)
        (outcome,) = self.successResultOf(way(lease("b@x"), b"Subject: x\r\n\r\nhello"))  # type: ignore[misc]
        self.assertEqual(outcome.result, "delivered")


class Sink:
    """An SMTP server that takes from good, refuses never, and defers everybody else."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("good"):
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 fine"
        return "550 5.1.1 no such user" if address.startswith("never") else "450 4.2.0 greylisted"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        return "250 2.0.0 taken"


class Alive(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-mail-")
        self.addCleanup(directory.cleanup)
        self.state = Path(directory.name)
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, kill_at: str = "", relay: str = "maildir:mail") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.services.smtp_client.mail_child", str(self.state), relay, kill_at]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        self.addCleanup(self.end, child)
        assert child.stdout is not None
        self.assertTrue(select.select([child.stdout], [], [], PATIENCE)[0], "the child is silent")
        self.assertEqual(child.stdout.readline(), b"ready\n")
        return child

    def end(self, child: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        if child.poll() is None:
            child.send_signal(number)
        child.communicate(timeout=PATIENCE)
        return child.returncode

    def exchange(self, octets: bytes) -> Any:
        """One request; its reply, or None when the child died instead."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.state / "mail.sock"))
            connection.sendall(octets)
            line = connection.makefile("rb").readline()
        return json.loads(line) if line else None

    def send(self, content: bytes = b"Subject: x\r\n\r\nhello\r\n", **values: Any) -> Any:
        head = {"v": 1, "command": "send", "sender": "a@x", "recipients": ["b@x"], "length": len(content), **values}
        return self.exchange(encode(head) + content)

    def until(self, **expected: int) -> dict[str, int]:
        """The books, once they say what is expected."""
        deadline = time.monotonic() + PATIENCE
        while True:
            books: dict[str, int] = self.exchange(encode({"v": 1, "command": "audit"}))["audit"]
            if all(books[name] == value for name, value in expected.items()):
                return books
            self.assertLess(time.monotonic(), deadline, books)
            select.select([], [], [], 0.02)

    def files(self) -> list[Path]:
        return list((self.state / "mail" / "new").iterdir())

    def test_delivers(self) -> None:
        """A message that is handed in lands in the Maildir; a graceful stop leaves nothing leased and no error."""
        child = self.start()
        queue_id = self.send(recipients=["b@x", "c@x"])["id"]
        self.assertTrue(self.until(delivered=2)["balanced"])
        self.assertEqual(len(self.files()), 2)
        self.assertTrue(all(f".Q{queue_id}." in one.name for one in self.files()))
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=PATIENCE)
        self.assertEqual((child.returncode, errors), (0, b""))

    def test_killed_before_the_acknowledgement(self) -> None:
        """What was committed when the daemon died unsaid is delivered by the next; the same key sends no second."""
        child = self.start("accepted")
        self.assertIsNone(self.send(key="k"))
        self.assertEqual(self.end(child), -signal.SIGKILL)
        self.start()
        self.assertTrue(self.send(key="k")["repeated"])
        self.until(delivered=1, accepted=1)
        self.assertEqual(len(self.files()), 1)

    def test_killed_after_the_delivery(self) -> None:
        """A delivery that could not be recorded is recorded as unknown, made again, and finds itself done: one file."""
        child = self.start("delivered")
        queue_id = self.send()["id"]
        self.assertEqual(child.wait(PATIENCE), -signal.SIGKILL)
        self.assertEqual(len(self.files()), 1)
        self.start()
        self.assertEqual(self.until(delivered=1)["unknown_attempts"], 1)
        self.assertEqual(len(self.files()), 1)
        ledger = self.exchange(encode({"v": 1, "command": "show", "id": queue_id}))["item"]["ledger"]
        self.assertEqual([one["result"] for one in ledger], ["ambiguous", "delivered"])

    def test_killed_at_any_moment(self) -> None:
        """Whatever was acknowledged before a kill is in the Maildir in the end, once, octet for octet."""
        acknowledged: dict[str, bytes] = {}
        for turn in range(3):
            child = self.start()
            for number in range(10 * turn + 1):
                content = f"Subject: {turn} {number}\r\n\r\n".encode() + os.urandom(3000).hex().encode() + b"\r\n"
                acknowledged[self.send(content)["id"]] = content.replace(b"\r\n", b"\n")
            self.end(child, signal.SIGKILL)
        self.start()
        self.assertTrue(self.until(waiting=0)["balanced"])
        found = {re.search(r"\.Q(\w+)\.", one.name)[1]: one.read_bytes() for one in self.files()}  # type: ignore[index]
        self.assertEqual(found.keys(), acknowledged.keys())
        for queue_id, content in acknowledged.items():
            self.assertTrue(found[queue_id].endswith(content))
        self.assertEqual(len(self.files()), len(acknowledged))

    def test_smarthost(self) -> None:
        """Through a smarthost each recipient has his own end: delivered, bounced, or waiting."""
        sink = Sink()
        port = free_port()  # aiosmtpd connects to itself and so must be told one
        server = Controller(sink, hostname="127.0.0.1", port=port, ready_timeout=PATIENCE)
        server.start()
        self.addCleanup(server.stop)
        self.start(relay=f"smtp:127.0.0.1:{port}")
        content = b"Subject: x\r\n\r\n.\r\n..\r\n.hidden\r\n"
        queue_id = self.send(content, recipients=["good@x", "never@x", "later@x"])["id"]
        self.until(accepted=4, delivered=1, bounced=1, waiting=2)  # with the bounce, which this server defers
        ((sender, recipients, received),) = sink.taken
        self.assertEqual((sender, recipients), ("a@x", ["good@x"]))
        self.assertTrue(received.endswith(content[content.index(b"Subject") :]))
        targets = self.exchange(encode({"v": 1, "command": "show", "id": queue_id}))["item"]["targets"]
        self.assertEqual([(one["state"], one["code"]) for one in targets][1:], [("bounced", 550), ("waiting", 450)])

    def test_command(self) -> None:
        """`netsvc mail send` with a Chinese name and 汇总数据.xlsx puts them into the Maildir, octet for octet."""
        self.start()
        sheet = self.state / "汇总数据.xlsx"
        sheet.write_bytes(os.urandom(5000))
        command = [
            *(sys.executable, "-c", "import sys; from netsvc.cli.main import main; sys.exit(main())"),
            *("mail", "send", "--socket", str(self.state / "mail.sock"), "--from", "汤众 <a@example.com>"),
            *(
                "--to",
                "张三 <b@example.com>",
                "--bcc",
                "c@example.com",
                "--subject",
                "汇总数据",
                "--attach",
                str(sheet),
            ),
        ]
        done = subprocess.run(command, input="你好\n".encode(), capture_output=True, cwd=ROOT, timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertRegex(done.stdout.decode(), r"\A[0-9a-z]{15}\n\Z")
        self.until(delivered=2)
        message = message_from_bytes(self.files()[0].read_bytes(), policy=default)
        assert isinstance(message, EmailMessage)
        self.assertEqual(message["From"].addresses[0].display_name, "汤众")
        self.assertEqual(message["Subject"], "汇总数据")
        self.assertIsNone(message["Bcc"])
        (part,) = message.iter_attachments()
        self.assertEqual((part.get_filename(), part.get_payload(decode=True)), (sheet.name, sheet.read_bytes()))
