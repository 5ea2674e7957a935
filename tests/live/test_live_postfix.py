"""Deliveries to Postfix's own programs: every login it knows, every content that is hard, and many messages at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.mail_connection import Connection
from netsvc.cli.torture.content import digest, mark_of
from netsvc.cli.torture.faults import FAULTS
from tests.live.daemon import Daemon
from tests.live.postfix import HOST, NAME, PASSWORD, USERNAME, Postfix, free_ports
from tests.waiting import wait_until

CONTENTS = range(46, 51)  # of the torture's catalogue, those that must arrive
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
MANY = 600  # messages
SENDERS = 4  # at a time


@contextlib.contextmanager
def daemon(*sections: str) -> Iterator[Daemon]:
    """A daemon with a private state."""
    made = Daemon("")
    made.config.write_text("\n".join((f"[netsvc]\nstate_directory = {made.state}", *sections)))
    with made:
        yield made


def hand_in(queue: Connection, content: bytes, *recipients: str) -> str:
    """Hand a message in; its queue id."""
    request = {"command": "send", "sender": "a@example.org", "recipients": recipients, "length": len(content)}
    queue_id: str = queue.ask(request, content)["id"]
    return queue_id


def settled(queue: Connection, **expected: int) -> bool:
    """Whether the books balance and say so much."""
    books = queue.ask({"command": "audit"})["audit"]
    return bool(books["balanced"]) and all(books[key] == count for key, count in expected.items())


class PostfixTests(SynchronousTestCase):
    def test_contents(self) -> None:
        """Dots at every offset, mixed line ends, long lines, 8 bits and nothing at all arrive with their digest."""
        messages = [message for one in FAULTS if one.number in CONTENTS for message in one.messages]
        contents = {f"m{at}": message.content(f"m{at}") for at, message in enumerate(messages)}
        with Postfix() as peer, daemon(f"[smtp_client]\nrelay = smtp:{HOST}:{peer.plain}\ntls = none") as one:
            with Connection(one.state / "mail.sock") as queue:
                for content in contents.values():
                    hand_in(queue, content, "b@example.com", "c@example.com")
                wait_until(lambda: settled(queue, delivered=2 * len(contents), waiting=0), one.log())
            for name in "bc":
                peer.arrived(name, len(contents))
                files = (peer.directory / "mail" / name / "new").iterdir()
                came = {mark_of(content): digest(content) for content in (file.read_bytes() for file in files)}
                self.assertEqual(came, {mark: digest(content) for mark, content in contents.items()})

    def test_logins(self) -> None:
        """Each mechanism that Cyrus SASL offers alone is used, and no other."""
        with Postfix(*MECHANISMS) as peer, tempfile.TemporaryDirectory() as directory:
            password = Path(directory) / "password"
            password.touch(0o600)
            password.write_text(PASSWORD)
            sections = [
                f"[smtp_client:{mechanism.lower()}]\nrelay = smtps:{NAME}:{port}\ntrust_roots = {peer.roots}\n"
                f"username = {USERNAME}\npassword = file:{password}\n"
                for mechanism, port in peer.logins.items()
            ]
            with daemon(*sections) as one:
                for mechanism in MECHANISMS:
                    with Connection(one.state / f"mail-{mechanism.lower()}.sock") as queue:
                        hand_in(queue, b"Subject: x\r\n\r\nhello\r\n", "b@example.com")
                        wait_until(lambda queue=queue: settled(queue, delivered=1), mechanism)
            for mechanism in MECHANISMS:
                self.assertRegex(peer.log, rf"{mechanism}/.*sasl_method={mechanism}, sasl_username={USERNAME}@")

    def test_bounce(self) -> None:
        """Who is refused has Postfix's own code and words in the ledger, and the others get their mail."""
        with Postfix() as peer, daemon(f"[smtp_client]\nrelay = smtp:{HOST}:{peer.plain}\ntls = none") as one:
            with Connection(one.state / "mail.sock") as queue:
                mixed = hand_in(queue, b"Subject: x\r\n\r\nhello\r\n", "b@example.com", "nobody@example.com")
                peer.arrived("b")
                item = wait_until(
                    lambda: (
                        (found := queue.ask({"command": "show", "id": mixed})["item"])
                        and not any(each["state"] == "waiting" for each in found["targets"])
                        and found
                    )
                )
        ends = {each["address"]: (each["state"], each["code"], each["enhanced"]) for each in item["targets"]}
        self.assertEqual(ends["b@example.com"], ("delivered", 250, "2.0.0"))
        self.assertEqual(ends["nobody@example.com"], ("bounced", 550, "5.1.1"))
        self.assertIn("User unknown", json.dumps(item))


class SinkTests(SynchronousTestCase):
    def test_many(self) -> None:
        """Hundreds of messages from several hands at once: smtp-sink holds each of them once, by content."""
        (port,) = free_ports(1)
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o777)
            user = ["-u", "nobody"] if os.geteuid() == 0 else []
            sink = subprocess.Popen(["smtp-sink", *user, "-d", f"{directory}/%M.", f"{HOST}:{port}", "100"])
            try:
                digests = self.send_many(port)
            finally:
                sink.terminate()
                sink.wait(30)
            # One file a message: smtp-sink's own lines, which are header fields, are above it, and an empty one below.
            taken = [file.read_bytes().removesuffix(b"\n") for file in Path(directory).iterdir()]
        self.assertEqual(Counter(map(digest, taken)), Counter(digests))
        self.assertEqual(len(digests), MANY)

    def send_many(self, port: int) -> list[str]:
        """Hand many messages in and wait until all are delivered; their digests."""
        section = f"[smtp_client]\nrelay = smtp:{HOST}:{port}\ntls = none\nretry_first = 1s\nretry_longest = 1s"
        contents = [
            b"Subject: %d\r\n\r\nMessage %d\r\n%b" % (at, at, b".\r\n" * (at % 5) + b"x" * 70 + b"\r\n")
            for at in range(MANY)
        ]
        with daemon(section) as one:

            def send(part: int) -> None:
                with Connection(one.state / "mail.sock") as queue:
                    for content in contents[part::SENDERS]:
                        hand_in(queue, content, "b@example.com")

            with ThreadPoolExecutor(SENDERS) as pool:
                list(pool.map(send, range(SENDERS)))
            with Connection(one.state / "mail.sock") as queue:
                wait_until(lambda: settled(queue, delivered=MANY, waiting=0), "smtp-sink did not get all")
            self.assertIsNone(re.search("Traceback|ambiguous", one.log()))
        return [digest(content) for content in contents]
