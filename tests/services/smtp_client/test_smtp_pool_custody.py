"""The property that counts: what a server took and what we say it took are the same, over kept and broken connections.

A model server speaks honest SMTP and fails where the test likes. It writes down for whom it took which message; nobody
gets one twice, and nothing it took is called undelivered, but where the outcome is ambiguous.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.delivery import Envelope, Outcome, Relay, deliver
from netsvc.services.smtp_client.pool import Pool
from tests.services.smtp_client.test_smtp_pool import Peer

RELAYS = (Relay(host="192.0.2.1", port=25, tls="none"), Relay(host="192.0.2.2", port=25, tls="none"))
RECIPIENTS = tuple(f"r{number}@x" for number in range(5))
MESSAGES = 4
# 2, 4, 5: a reply of 421, 451, 550; c: cut; t: at the dot, take the message and cut. Most commands go well.
WHIMS = st.sampled_from(["", "", "", "", "", "", "", "t", "t", *"245c"])


class Cut(Exception):
    """The server ends the connection."""


class Model:
    """One connection of a server that takes three recipients a transaction.

    :param whims: what goes wrong: one letter for each command, nothing once they are used up.
    :param taken: where it writes down (message, recipient).
    """

    def __init__(self, peer: Peer, whims: Iterator[str], taken: Counter[tuple[str, str]], pipelining: bool) -> None:
        self.peer, self.whims, self.taken = peer, whims, taken
        self.ehlo = b"250-x\r\n250-PIPELINING\r\n250 8BITMIME\r\n" if pipelining else b"250 x\r\n"
        self.alive = True
        self.buffer = b""
        self.in_data = False
        self.sender: str | None = None
        self.recipients: list[str] = []
        self.reply(lambda: b"220 x\r\n")

    def run(self) -> None:
        """Answer until there is nothing more to answer."""
        while self.alive:
            self.buffer += self.peer.sent()
            end = b"\r\n.\r\n" if self.in_data else b"\r\n"
            unit, found, rest = self.buffer.partition(end)
            if self.in_data and self.buffer.startswith(b".\r\n"):
                unit, found, rest = b"", b".", self.buffer[3:]
            if not found:
                if self.peer.pipe.disconnecting or self.peer.pipe.aborted:
                    self.end()
                return
            self.buffer = rest
            self.reply(lambda unit=unit: self.dot(unit) if self.in_data else self.command(unit))  # type: ignore[misc]

    def reply(self, make: object) -> None:
        try:
            reply = make()  # type: ignore[operator]
        except Cut:
            self.end()
            return
        self.peer.say_only(reply)
        if reply[:3] == b"421":
            self.end()

    def end(self) -> None:
        if self.alive:
            self.alive = False
            self.peer.lose(ConnectionLost())

    def whim(self) -> str:
        return next(self.whims, "")

    def command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"QUIT":
            raise Cut
        whim = self.whim()
        if whim == "c":
            raise Cut
        if whim in "245" and whim:
            return {"2": b"421 4.3.2 off\r\n", "4": b"451 4.3.0 not now\r\n", "5": b"550 5.7.1 never\r\n"}[whim]
        if verb == b"EHLO":
            return self.ehlo
        if verb == b"MAIL":
            self.sender, self.recipients = line.decode(), []
        elif verb == b"RSET":
            self.sender, self.recipients = None, []
        elif self.sender is None:
            return b"503 5.5.1 MAIL first\r\n"
        elif verb == b"RCPT":
            if len(self.recipients) == 3:
                return b"452 4.5.3 enough\r\n"
            self.recipients += re.findall(r"<(.*?)>", line.decode())
        elif verb == b"DATA":
            if not self.recipients:
                return b"554 5.5.1 nobody\r\n"
            self.in_data = True
            return b"354 go\r\n"
        return b"250 2.0.0 ok\r\n"

    def dot(self, body: bytes) -> bytes:
        self.in_data = False
        recipients, self.sender, self.recipients = self.recipients, None, []
        whim = self.whim()
        if whim == "c":
            raise Cut
        if whim in "245" and whim:
            return {"2": b"421 4.3.2 off\r\n", "4": b"451 4.3.0 not now\r\n", "5": b"550 5.7.1 never\r\n"}[whim]
        message = body.partition(b"\r\n\r\n")[2].decode()
        self.taken.update((message, recipient) for recipient in recipients)
        if whim == "t":
            raise Cut
        return b"250 2.0.0 taken\r\n"


class Wire(Peer):
    """A peer that leaves what the client sent for the model to read."""

    def say_only(self, reply: bytes) -> None:
        self.protocol.dataReceived(reply)
        while self.pipe.producer is not None:
            self.pipe.producer.resumeProducing()


class CustodyTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None, max_examples=400)
    @given(st.lists(WHIMS, min_size=40, max_size=80), st.booleans(), st.text("..r", max_size=8))
    def test_the_books_agree(self, whims: list[str], pipelining: bool, refusals: str) -> None:
        """Delivered means taken once, ambiguous at most once, anything else not at all."""
        reactor = MemoryReactorClock()
        pool = Pool(reactor)
        taken: Counter[tuple[str, str]] = Counter()
        moods, doors = iter(whims), iter(refusals)
        models: list[Model] = []
        for number in range(MESSAGES):
            outcomes: list[tuple[Outcome, ...]] = []
            envelope = Envelope(sender="me@x", recipients=RECIPIENTS)
            content = f"Subject: x\r\n\r\nm{number}".encode()
            deliver(reactor, RELAYS, envelope, content, helo_name="me", pool=pool).addCallback(outcomes.append)
            while not outcomes:
                while reactor.tcpClients:
                    factory = reactor.tcpClients.pop()[2]
                    if next(doors, ".") == "r":
                        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
                    else:
                        models.append(Model(Wire(factory.buildProtocol(None)), moods, taken, pipelining))
                for model in models:
                    model.run()
            self.assertEqual(tuple(outcome.recipient for outcome in outcomes[0]), RECIPIENTS)
            for outcome in outcomes[0]:
                count = taken[f"m{number}", outcome.recipient]
                most = {"delivered": (1,), "ambiguous": (0, 1)}.get(outcome.result, (0,))
                self.assertIn(count, most, (whims, pipelining, refusals, outcome))
        self.assertLessEqual(len(pool), 2)
        pool.stop()
        for model in models:
            model.run()
        self.assertEqual([call for call in reactor.getDelayedCalls() if call.active()], [])
