"""Facts about the session without any transport: several messages on one connection, and inputs out of turn."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.conversation import Action, BeginTLS, Close, Finished, PullBody, Send
from netsvc.services.smtp_client.session import Session
from netsvc.services.smtp_client.terms import Envelope, Relay, Timeouts
from tests.services.smtp_client.stage import EHLO, GO, GREETING, LOGIN, MESSAGE, OK, PLAIN

TO_A = Envelope(sender="me@x", recipients=("a@x",))


class Wire:
    """Runs a session's actions in memory."""

    def __init__(self, relay: Relay = PLAIN) -> None:
        self.session = Session(relay, helo_name="me", timeouts=Timeouts())
        self.sent = b""
        self.finished: list[Finished] = []
        self.closed: list[bool] = []
        self.tls = 0

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(data):
                    self.sent += data
                case PullBody():
                    while more := self.session.body_wanted():
                        self.do(more)
                case Finished():
                    self.finished.append(action)
                case Close(abort):
                    self.closed.append(abort)
                case BeginTLS():
                    self.tls += 1
                case _:
                    pass

    def say(self, *replies: bytes) -> None:
        for reply in replies:
            self.do(self.session.receive(reply))


class ImportTests(SynchronousTestCase):
    def test_the_session_knows_no_twisted(self) -> None:
        """The sans-I/O modules import without Twisted."""
        names = (
            "terms",
            "replies",
            "auth.choice",
            "auth.scrubber",
            "auth.token",
            "wire",
            "encoded_words",
            "transcode",
            "conversation",
            "transaction",
            "session",
        )
        imports = ", ".join(f"netsvc.services.smtp_client.{name}" for name in names)
        check = "[name for name in sys.modules if name.partition('.')[0] == 'twisted']"
        done = subprocess.run([sys.executable, "-c", f"import sys, {imports}; print({check})"], capture_output=True)
        self.assertEqual((done.stdout, done.stderr), (b"[]\n", b""))


class ReuseTests(SynchronousTestCase):
    def begun(self, *replies: bytes) -> Wire:
        wire = Wire()
        wire.do(wire.session.begin(TO_A, MESSAGE))
        wire.say(GREETING, EHLO, *replies)
        self.assertEqual(len(wire.finished), 1)
        wire.sent = b""
        return wire

    def test_a_second_message_without_rset(self) -> None:
        """After a delivered message the next begins with MAIL."""
        wire = self.begun(OK, OK, GO, OK)
        wire.do(wire.session.begin(TO_A, MESSAGE))
        self.assertEqual(wire.sent, b"MAIL FROM:<me@x> SIZE=21\r\n")
        wire.say(OK, OK, GO, OK)
        self.assertEqual(wire.finished[1].outcomes[0].result, "delivered")

    def test_a_second_message_after_a_broken_transaction(self) -> None:
        """After a transaction left open, RSET comes first."""
        for replies in ((OK, b"550 x\r\n"), (OK, OK, b"451 x\r\n")):
            wire = self.begun(*replies)
            wire.do(wire.session.begin(TO_A, MESSAGE))
            self.assertEqual(wire.sent, b"RSET\r\n")
            wire.say(OK)
            self.assertTrue(wire.sent.startswith(b"RSET\r\nMAIL"))

    def test_mail_fault_45_421_after_rset(self) -> None:
        """421 or a refusal to RSET retries the second message and leaves the first as it was."""
        for reply in (b"421 bye\r\n", b"500 what\r\n"):
            wire = self.begun(OK, b"550 x\r\n")
            wire.do(wire.session.begin(TO_A, MESSAGE))
            wire.say(reply)
            self.assertEqual(wire.finished[0].outcomes[0].result, "permanent")
            outcome = wire.finished[1].outcomes[0]
            self.assertEqual((outcome.result, outcome.code, outcome.phase), ("retry", int(reply[:3]), "rset"))

    def test_a_reply_between_messages(self) -> None:
        """Anything said between two messages ends the connection for the second; it is retried."""
        wire = self.begun(OK, OK, GO, OK)
        wire.say(b"421 idle too long\r\n")
        self.assertFalse(wire.session.usable)
        wire.do(wire.session.begin(TO_A, MESSAGE))
        self.assertEqual(wire.finished[1].outcomes[0].result, "retry")
        self.assertEqual(wire.sent, b"")
        wire.do(wire.session.quit())
        self.assertEqual(wire.closed, [True])

    def test_a_loss_between_messages(self) -> None:
        """A connection lost between two messages changes no outcome."""
        wire = self.begun(OK, OK, GO, OK)
        wire.do(wire.session.connection_lost("gone"))
        wire.do(wire.session.deadline_passed())
        self.assertEqual((len(wire.finished), wire.session.usable), (1, False))


class OrderTests(SynchronousTestCase):
    def test_knowledge_from_before_tls_is_dropped(self) -> None:
        """After TLS the session greets again, and what was offered before counts no more (AUTH before TLS only)."""
        relay = Relay(host="x", port=25, tls="require", username=LOGIN.username, password=LOGIN.password)
        wire = Wire(relay)
        wire.do(wire.session.begin(TO_A, MESSAGE))
        wire.say(GREETING, b"250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", b"220 go\r\n")
        self.assertEqual(wire.tls, 1)
        wire.say(b"250 in clear\r\n")
        self.assertEqual(wire.finished, [])
        wire.do(wire.session.tls_established())
        self.assertTrue(wire.sent.endswith(b"STARTTLS\r\nEHLO me\r\n"))
        wire.say(b"250-x\r\n250 STARTTLS\r\n")
        self.assertEqual(wire.finished[0].outcomes[0].phase, "auth")
        self.assertNotIn(b"AUTH", wire.sent)

    def test_inputs_out_of_turn_do_nothing(self) -> None:
        """A handshake nobody began and a body nobody asked for are ignored."""
        wire = Wire()
        wire.do(wire.session.begin(TO_A, MESSAGE))
        self.assertEqual(wire.session.tls_established() + wire.session.body_wanted(), [])

    def test_no_recipient_can_be_forgotten(self) -> None:
        """Finished is never given while a recipient is open."""
        from netsvc.services.smtp_client.transaction import Transaction

        with self.assertRaises(AssertionError):
            Transaction(TO_A, b"", str).finished()
