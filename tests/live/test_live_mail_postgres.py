"""Two real daemons on one queue in PostgreSQL: one dies, one is cut off, and the server itself goes down.

The oracle: what was acknowledged is at the sink, by the digest of its body; what is there twice has an attempt of
unknown result in its ledger; nothing was on its way twice at the same time; the books balance.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import Connection
from tests.live.daemon import NETSVC, Daemon
from tests.live.mail_sink import Sink, digest
from tests.outbox.cluster import Cluster
from tests.outbox.proxy import Proxy
from tests.waiting import wait_until

SENDMAIL = Path(sys.executable).with_name("netsvc-sendmail")
LEASE = 5.0  # seconds, the least that may be configured
LONG = 90.0  # seconds; two leases, back-off, and a loaded machine
EX_TEMPFAIL = 75
TOKEN = "0123456789abcdef"
INI = f"""\
[netsvc]
state_directory = {{state}}
[smtp_client]
helo_name = {{name}}.example
relay = smtp:127.0.0.1:{{port}}
tls = none
queue_database = {{conninfo}}
lease_timeout = 5s
allow_volatile = yes
submission_listen = tcp:0:interface=127.0.0.1
http_listen = tcp:0:interface=127.0.0.1
http_token = literal:{TOKEN}
retry_first = 1s
retry_longest = 1s
destination_retry_first = 1s
destination_retry_longest = 1s
drain_timeout = 2s
"""


class Sender:
    """Hands messages in from some threads, and keeps what was acknowledged: digest -> queue id."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        self.refused: list[str] = []
        self._threads: list[threading.Thread] = []

    def send(self, daemon: Daemon, name: str, *, held: bool = False) -> None:
        """Hand one in by SMTP.

        :raises OSError: it was not taken (smtplib's errors are such).
        """
        body = f"{'hold' if held else 'free'} {name}\r\n".encode() * 40
        head = f"From: a@example.com\r\nTo: b@example.net\r\nNetsvc-Idempotency-Key: {name}\r\n\r\n".encode()
        with smtplib.SMTP("127.0.0.1", daemon.port("smtp_client"), timeout=60) as client:
            client.ehlo()
            client.mail("a@example.com")
            client.rcpt("b@example.net")
            code, text = client.data(head + body)
            if code != 250:
                raise smtplib.SMTPDataError(code, text)
        self.acknowledged[digest(body)] = text.decode().partition("kept as ")[2].split()[0]

    def begin(self, daemon: Daemon, name: str, count: int, *, insist: bool) -> None:
        """In a thread of its own, one after the other.

        :param insist: again until it is taken; else the first that is refused is the last.
        """

        def work() -> None:
            end = time.monotonic() + LONG
            for number in range(count):
                while True:
                    try:
                        self.send(daemon, f"{name}-{number}")
                        break
                    except OSError as error:
                        self.refused.append(str(error))
                        if not insist or time.monotonic() > end:
                            return

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def finish(self) -> None:
        """Wait until all are through."""
        for one in self._threads:
            one.join(LONG)
            assert not one.is_alive(), "a sender hangs"


class TwoDaemons(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.addCleanup(self.cluster.remove)
        self.sender = Sender()

    def start(self, sink: Sink, name: str, conninfo: str = "") -> Daemon:
        """A daemon on the cluster's queue, ready."""
        one = Daemon("")
        self.addCleanup(one.close)
        values = {"state": one.state, "name": name, "port": sink.port, "conninfo": conninfo or self.cluster.conninfo}
        one.config.write_text(INI.format(**values))
        one.start()
        one.wait_for(r"ready: \d+ services")
        return one

    def ask(self, daemon: Daemon, **question: Any) -> Any:
        """Ask over the daemon's socket, until the database is there."""

        def answer() -> Any:
            with contextlib.suppress(CommandError), Connection(daemon.state / "mail.sock") as connection:
                return connection.ask(question)

        return wait_until(answer, daemon.log())

    def wait_for_end(self, daemon: Daemon) -> dict[str, Any]:
        """The books, when nothing waits any more."""
        end = time.monotonic() + LONG
        while True:
            books: dict[str, Any] = self.ask(daemon, command="audit")["audit"]
            if not books["waiting"] or time.monotonic() > end:
                break
            time.sleep(0.2)
        self.assertEqual(books["waiting"], 0, daemon.log())
        done = subprocess.run(
            [NETSVC, "mail", "audit", "--socket", daemon.state / "mail.sock"], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return books

    def judge(self, sink: Sink, daemon: Daemon) -> Counter[str]:
        """The oracle; how often each message was taken."""
        books = self.wait_for_end(daemon)
        taken = Counter(one.digest for one in sink.transactions() if one.taken)
        self.assertEqual([one for one in self.sender.acknowledged if one not in taken], [], daemon.log())
        self.assertEqual(sink.at_once(), [])
        self.assertTrue(books["balanced"])
        self.assertEqual(books["delivered"], books["accepted"])
        for one in (one for one, times in taken.items() if times > 1 and one in self.sender.acknowledged):
            ledger = self.ask(daemon, command="show", id=self.sender.acknowledged[one])["item"]["ledger"]
            self.assertIn("ambiguous", [line["result"] for line in ledger])
        return taken

    def test_mail_fault_60_one_of_two_is_killed(self) -> None:
        """Both do work; what the killed one had leased is taken over when its leases are over, and nothing is lost."""
        sink = Sink(pause=0.02)
        self.addCleanup(sink.stop)
        one, two = self.start(sink, "one"), self.start(sink, "two")
        for number in range(3):
            self.sender.begin(one, f"one-{number}", 40, insist=False)
            self.sender.begin(two, f"two-{number}", 40, insist=False)
        both = {"one.example", "two.example"}
        wait_until(
            lambda: sink.count() > 60 and {item.peer for item in sink.transactions()} == both, "one does nothing"
        )
        one.stop(signal.SIGKILL)
        self.sender.finish()
        self.judge(sink, two)
        self.assertGreater(len(self.sender.acknowledged), 150)

    def test_mail_fault_60_leases_of_the_killed(self) -> None:
        """Messages that the killed one was sending come from the other, not before its leases are over."""
        sink = Sink()
        self.addCleanup(sink.stop)
        one, two = self.start(sink, "one"), self.start(sink, "two")
        for number in range(10):
            self.sender.send(one, f"x{number}", held=True)
        wait_until(lambda: len(sink.transactions()) == 10, "they are not on their way")
        mine = {item.digest for item in sink.transactions() if item.peer == "one.example"}
        self.assertTrue(mine)
        killed = time.monotonic()
        one.stop(signal.SIGKILL)
        wait_until(lambda: all(item.ended for item in sink.transactions() if item.peer == "one.example"))
        sink.let_go()
        taken = self.judge(sink, two)
        self.assertEqual((set(taken.values()), len(taken)), ({1}, 10))
        again = [item for item in sink.transactions() if item.digest in mine and item.peer == "two.example"]
        self.assertEqual({item.digest for item in again}, mine)
        self.assertGreater(min(item.began for item in again) - killed, LEASE / 2)
        for item in mine:
            ledger = self.ask(two, command="show", id=self.sender.acknowledged[item])["item"]["ledger"]
            self.assertEqual([line["result"] for line in ledger], ["ambiguous", "delivered"])

    def test_mail_fault_60_one_is_cut_off(self) -> None:
        """Who cannot reach the database ends what he sends before another begins it, refuses mail, and comes back."""
        sink = Sink()
        self.addCleanup(sink.stop)
        proxy = Proxy(self.cluster.directory)
        self.addCleanup(proxy.close)
        one = self.start(sink, "one", proxy.conninfo)
        for number in range(10):
            self.sender.send(one, f"x{number}", held=True)
        wait_until(lambda: len(sink.transactions()) == 10, "they are not on their way")
        two = self.start(sink, "two")
        proxy.hold()
        for number in range(20):
            self.sender.send(two, f"y{number}")
        one.wait_for("others may take their leases")
        wait_until(lambda: all(item.ended for item in sink.transactions() if item.peer == "one.example"))
        sink.let_go()
        self.assert_refuses(one)
        taken = self.judge(sink, two)
        self.assertEqual((set(taken.values()), len(taken)), ({1}, 30))
        proxy.go_on()
        one.wait_for("is there again", bound=LONG)
        self.sender.send(one, "z")
        self.judge(sink, one)
        self.assertGreaterEqual(self.ask(two, command="audit")["audit"]["unknown_attempts"], 10)

    def test_mail_fault_60_stopped_while_cut_off(self) -> None:
        """Who cannot reach the database stops all the same; the other takes over what he was sending."""
        sink = Sink()
        self.addCleanup(sink.stop)
        proxy = Proxy(self.cluster.directory)
        self.addCleanup(proxy.close)
        one = self.start(sink, "one", proxy.conninfo)
        self.sender.send(one, "x", held=True)
        wait_until(lambda: len(sink.transactions()) == 1, "it is not on its way")
        proxy.hold()
        self.assertEqual(one.stop(), -signal.SIGTERM, one.log())
        sink.let_go()
        self.assertEqual(set(self.judge(sink, self.start(sink, "two")).values()), {1})

    def test_another_section(self) -> None:
        """A schema has the queue of one section: another does not start on it, and says so."""
        sink = Sink()
        self.addCleanup(sink.stop)
        self.start(sink, "one")
        other = Daemon("")
        self.addCleanup(other.close)
        values = {"state": other.state, "name": "b", "port": sink.port, "conninfo": self.cluster.conninfo}
        other.config.write_text(INI.format(**values).replace("[smtp_client]", "[smtp_client:bulk]"))
        other.start()
        other.wait_for(r"the schema netsvc has the queue of \[smtp_client\]; give \[smtp_client:bulk\] another")
        self.assertNotEqual(other.wait(), 0)

    def assert_refuses(self, daemon: Daemon) -> None:
        """Each way in says that it cannot take mail now: 451, 503, EX_TEMPFAIL."""
        with self.assertRaises(smtplib.SMTPDataError) as caught:
            self.sender.send(daemon, "refused")
        self.assertEqual(caught.exception.smtp_code, 451)
        environ = {"NETSVC_MAIL_SOCKET": str(daemon.state / "mail.sock"), "PATH": "/usr/bin:/bin"}
        done = subprocess.run([SENDMAIL, "b@example.net"], input=b"\nhello\n", env=environ, capture_output=True)
        self.assertEqual(done.returncode, EX_TEMPFAIL, done.stderr)
        port = next(int(line.rpartition(":")[2]) for line in reversed(daemon.lines) if "listening on tcp" in line)
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.addCleanup(client.close)
        fields = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        client.request(
            "POST", "/v1/messages", '{"to": ["b@example.net"], "from": "a@example.com", "text": "x"}', fields
        )
        self.assertEqual(client.getresponse().status, 503)

    def test_mail_fault_61_restarted_while_both_work(self) -> None:
        """The server dies twice under both; who insists is heard in the end, and has one message for each key."""
        sink = Sink(pause=0.02)
        self.addCleanup(sink.stop)
        daemons = [self.start(sink, "one"), self.start(sink, "two")]
        for number in range(3):
            for at, one in enumerate(daemons):
                self.sender.begin(one, f"{at}-{number}", 40, insist=True)
        for count in (50, 120):
            wait_until(lambda count=count: sink.count() > count, "nothing arrives")  # type: ignore[misc]
            self.cluster.restart()
        self.sender.finish()
        taken = self.judge(sink, daemons[0])
        self.assertEqual((len(self.sender.acknowledged), len(taken)), (240, 240))
        self.assertEqual(self.ask(daemons[1], command="audit")["audit"]["accepted"], 240)

    def test_mail_fault_61_away_for_a_while(self) -> None:
        """While the server is away mail is refused for now, and a daemon stops as it should; none starts."""
        sink = Sink()
        self.addCleanup(sink.stop)
        one, two = self.start(sink, "one"), self.start(sink, "two")
        self.sender.send(one, "x")
        self.cluster.stop()
        self.assert_refuses(one)
        self.assertEqual(one.stop(), -signal.SIGTERM, one.log())
        one.start()
        one.wait_for("the queue netsvc in PostgreSQL cannot be opened: ")
        self.assertNotEqual(one.wait(), 0)
        self.cluster.start()
        two.wait_for("is there again", bound=LONG)
        self.judge(sink, two)
