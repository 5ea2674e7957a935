"""Delivery agents in a real daemon: what a death, a stop and a hang of one mean to mail."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.mail_connection import Connection
from tests.live.daemon import Daemon
from tests.ports import free_port
from tests.waiting import wait_until

INI = """\
[smtp_client]
relay = smtp:127.0.0.1:{port}
tls = none
username = robot
password = literal:hush-hush-hush
auth_without_tls = yes
auth_mechanisms = PLAIN
retry_first = 1s
retry_longest = 1s
drain_timeout = 500ms
allow_volatile = yes
{more}
"""
# Looks after its agents more often than every 15 seconds.
FASTER = """\
import runpy, sys
from netsvc.services.smtp_client.agents import agents
agents.LOOK = 0.2
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
CONTENT = b"From: a@home.example\r\nTo: b@far.example\r\nSubject: x\r\n\r\nhello\r\n"


class Host:
    """A relay that keeps who hands mail in waiting behind the final dot, while it is told to."""

    def __init__(self) -> None:
        self.waiting = 0
        self.holding = False
        self.taken: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.waiting += 1
        while self.holding:  # noqa: ASYNC110 - let go from another thread
            await asyncio.sleep(0.01)
        self.taken.append(envelope.original_content)
        return "250 2.0.0 taken"


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    try:
        lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return []
    return [int(child) for found in lists for child in found.split()]


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class AgentsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.host = Host()
        self.port = free_port()  # aiosmtpd connects to itself and so must be told one
        server = Controller(
            self.host,
            hostname="127.0.0.1",
            port=self.port,
            ready_timeout=30.0,
            auth_require_tls=False,
            auth_callback=lambda *_: True,
        )
        server.start()
        self.addCleanup(server.stop)
        self.addCleanup(setattr, self.host, "holding", False)

    def daemon(self, more: str = "") -> Daemon:
        return Daemon(INI.format(port=self.port, more=more))

    def start_again(self, daemon: Daemon) -> None:
        daemon.lines.clear()
        daemon.start()
        daemon.wait_for(r"ready: \d+ services")

    def ask(self, daemon: Daemon, head: dict[str, Any], content: bytes = b"") -> Any:
        sockets = wait_until(lambda: list(daemon.directory.glob("**/mail.sock")), "the socket is not there")
        with Connection(sockets[0]) as connection:
            return connection.ask(head, content)

    def send(self, daemon: Daemon) -> str:
        head = {"command": "send", "sender": "a@home.example", "recipients": ["b@far.example"], "length": len(CONTENT)}
        return str(self.ask(daemon, head, CONTENT)["id"])

    def show(self, daemon: Daemon, queue_id: str) -> Any:
        return self.ask(daemon, {"command": "show", "id": queue_id})["item"]

    def is_done(self, daemon: Daemon, queue_id: str) -> bool:
        return bool(self.show(daemon, queue_id)["state"] == "done")

    def test_an_agent_is_there_when_it_is_needed(self) -> None:
        """Nothing is started before there is mail; it knows no secret that others could see; another follows it."""
        with self.daemon() as daemon:
            wait_until(lambda: list(daemon.directory.glob("**/mail.sock")), "the socket is not there")
            self.assertEqual(children(daemon.pid), [])
            first = self.send(daemon)
            wait_until(lambda: self.is_done(daemon, first), "the mail was not delivered")
            (agent,) = children(daemon.pid)
            for name in ("cmdline", "environ"):
                self.assertNotIn(b"hush-hush", Path(f"/proc/{agent}/{name}").read_bytes())
            os.kill(agent, signal.SIGKILL)
            wait_until(lambda: not is_alive(agent), "the agent lives")
            second = self.send(daemon)
            wait_until(lambda: self.is_done(daemon, second), "the next mail was not delivered")
            self.assertNotIn("agent-died", daemon.log())  # it had nothing
        self.assertEqual(len(self.host.taken), 2)

    def test_an_agent_dies_in_an_attempt(self) -> None:
        """What it had is unknown and tried again, and the ledger says so; the books balance."""
        self.host.holding = True
        with self.daemon() as daemon:
            queue_id = self.send(daemon)
            wait_until(lambda: self.host.waiting, "the mail did not come")
            (agent,) = children(daemon.pid)
            os.kill(agent, signal.SIGKILL)
            daemon.wait_for("a delivery agent died; the results of 1 attempts are unknown")
            self.host.holding = False
            wait_until(lambda: self.is_done(daemon, queue_id), "the mail was not delivered")
            item = self.show(daemon, queue_id)
            self.assertEqual([one["result"] for one in item["ledger"]], ["ambiguous", "delivered"])
            self.assertTrue(self.ask(daemon, {"command": "audit"})["audit"]["balanced"])

    def test_signals_are_for_the_daemon(self) -> None:
        """What systemd or a terminal sends to every process ends the agent only by the daemon's word."""
        with self.daemon() as daemon:
            first = self.send(daemon)
            wait_until(lambda: self.is_done(daemon, first), "the mail was not delivered")
            (agent,) = children(daemon.pid)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(agent, number)
            second = self.send(daemon)
            wait_until(lambda: self.is_done(daemon, second), "the mail was not delivered")
            self.assertEqual(children(daemon.pid), [agent])
            daemon.stop()
            self.assertFalse(is_alive(agent))

    def test_the_daemon_dies(self) -> None:
        """Its agent ends with it."""
        self.host.holding = True
        with self.daemon() as daemon:
            self.send(daemon)
            wait_until(lambda: self.host.waiting, "the mail did not come")
            (agent,) = children(daemon.pid)
            os.kill(daemon.pid, signal.SIGKILL)
            wait_until(lambda: not is_alive(agent), "the agent outlives the daemon")

    def test_the_daemon_stops_behind_the_dot(self) -> None:
        """At the end of the drain the attempt is cut in the agent, which says that its result is unknown."""
        self.host.holding = True
        with self.daemon() as daemon:
            queue_id = self.send(daemon)
            wait_until(lambda: self.host.waiting, "the mail did not come")
            daemon.stop()
            self.assertNotIn("agent-hung", daemon.log())
            self.host.holding = False
            self.start_again(daemon)
            wait_until(lambda: self.is_done(daemon, queue_id), "the mail was not delivered")
            first = self.show(daemon, queue_id)["ledger"][0]
            text = "the message was sent whole and never acknowledged: the delivery was stopped here"
            self.assertEqual((first["result"], first["text"]), ("ambiguous", text))

    def test_a_hung_agent(self) -> None:
        """One that does not answer when its attempts are cut is killed, and their results are unknown."""
        self.host.holding = True
        with self.daemon() as daemon:
            queue_id = self.send(daemon)
            wait_until(lambda: self.host.waiting, "the mail did not come")
            (agent,) = children(daemon.pid)
            os.kill(agent, signal.SIGSTOP)
            daemon.stop()
            self.assertIn("a delivery agent hangs, and is killed", daemon.log())
            self.assertFalse(is_alive(agent))
            self.host.holding = False
            self.start_again(daemon)
            wait_until(lambda: self.is_done(daemon, queue_id), "the mail was not delivered")

    def test_a_frozen_agent(self) -> None:
        """One that answers nothing any more is found without a stop, and its mail is sent by another."""
        self.host.holding = True
        launcher = (sys.executable, "-c", FASTER)
        with Daemon(INI.format(port=self.port, more=""), launcher=launcher) as daemon:
            queue_id = self.send(daemon)
            wait_until(lambda: self.host.waiting, "the mail did not come")
            (agent,) = children(daemon.pid)
            os.kill(agent, signal.SIGSTOP)
            daemon.wait_for("a delivery agent hangs, and is killed")
            self.host.holding = False
            wait_until(lambda: self.is_done(daemon, queue_id), "the mail was not delivered")
            self.assertFalse(is_alive(agent))

    def test_without_agents(self) -> None:
        """delivery_processes = 0: the daemon does it itself."""
        with self.daemon("delivery_processes = 0") as daemon:
            queue_id = self.send(daemon)
            wait_until(lambda: self.is_done(daemon, queue_id), "the mail was not delivered")
            self.assertEqual(children(daemon.pid), [])

    def test_several(self) -> None:
        """More agents are started when those that are there have much to do."""
        self.host.holding = True
        with self.daemon("delivery_processes = 2") as daemon:
            sent = [self.send(daemon) for _ in range(8)]
            wait_until(lambda: self.host.waiting == 8, "not all mail came")
            self.assertEqual(len(children(daemon.pid)), 2)
            self.host.holding = False
            wait_until(lambda: all(self.is_done(daemon, one) for one in sent), "not all mail was delivered")
        self.assertEqual(len(self.host.taken), 8)
