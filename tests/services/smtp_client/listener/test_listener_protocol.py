"""The submission listener on a transport: acceptance, deadlines, memory, flow control, TLS, the end."""

from __future__ import annotations

import socket
import tempfile
import weakref
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import SystemdAddress, TcpAddress, UdpAddress, UnixAddress
from netsvc.config.options import Context
from netsvc.config.secrets import Secret
from netsvc.config.tls import TlsDirectory
from netsvc.errors import BadValue, StartError
from netsvc.net.accepted import AcceptedConnection
from netsvc.net.json_lines import Refusal
from netsvc.net.passwords import htpasswd
from netsvc.net.passwords.checks import PasswordChecks
from netsvc.net.passwords.users import UserFile
from netsvc.outbox.model import StoreFullError, SuppressedError
from netsvc.services.smtp_client.intake import Intake, take_key
from netsvc.services.smtp_client.listener import protocol as module
from netsvc.services.smtp_client.listener.deadline import Deadline
from netsvc.services.smtp_client.listener.events import Terms
from netsvc.services.smtp_client.listener.login import FAILURES, Logins
from netsvc.services.smtp_client.listener.protocol import ListenerFactory, ListenerProtocol, ListenerRules
from netsvc.services.smtp_client.listener.settings import tls_place
from netsvc.services.smtp_client.settings import SmtpClientSettings
from tests.outbox.kit import START
from tests.services.smtp_client.test_smtp_submission import SubmissionCase, Transport

HERE = IPv4Address("TCP", "127.0.0.1", 4711)
ENVELOPE = b"EHLO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n"
MAIL = ENVELOPE + b"DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n"
LOGIN = b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"  # joe, secret
WRONG = b"AUTH PLAIN AGpvZQB3cm9uZw==\r\n"  # joe, wrong


class HalfTransport(Transport):
    """A transport that can be closed in one direction, cut, and put under TLS."""

    half_closed = False
    cut = False
    TLS = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.cut = True


class ListenerCase(SubmissionCase):
    def setUp(self) -> None:
        super().setUp()
        self.listener = self.listening()

    def listening(self, *, logins: Logins | None = None, memory: int = 1 << 20) -> ListenerFactory:
        terms = Terms(host="h", max_message=5000, max_recipients=3, login=logins is not None, starttls=True)
        rules = ListenerRules(terms=terms, deadline=30.0, logins=logins, start_tls=self.start_tls, memory=memory)
        return ListenerFactory(Intake(self.runner, self.metrics), rules, self.clock)

    def start_tls(self, transport: Any) -> None:
        transport.TLS = True

    def open(self, address: Any = HERE) -> tuple[ListenerProtocol, HalfTransport]:
        protocol = self.listener.buildProtocol(address)
        transport = HalfTransport()
        protocol.makeConnection(transport)
        self.assertTrue(transport.value().startswith(b"220 "))
        transport.clear()
        return protocol, transport

    def codes(self, transport: HalfTransport) -> list[int]:
        """The codes of the replies so far."""
        self.clock.advance(0)
        self.clock.advance(0)
        found = [int(line[:3]) for line in transport.value().splitlines() if line[3:4] == b" "]
        transport.clear()
        return found


class Taking(ListenerCase):
    def test_answered_after_the_commit(self) -> None:
        """250 comes when the store has the message; nothing is read meanwhile, and what came behind waits."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.open()
        protocol.dataReceived(MAIL + b"NOOP\r\n")
        self.assertEqual(self.codes(transport), [250, 250, 250, 354])
        self.assertEqual(transport.producerState, "paused")
        slow.callback(None)
        self.assertEqual(self.codes(transport), [250, 250])
        self.assertEqual(transport.producerState, "producing")
        (summary,) = self.store.database.listing("", 10, None, False)
        self.assertEqual(summary.item.submitter, "smtp:127.0.0.1")
        self.assertEqual(summary.item.meta["protocol"], "ESMTP")

    def test_unix(self) -> None:
        """A peer on a UNIX socket is of this machine."""
        protocol, transport = self.open(UNIXAddress(None))
        protocol.dataReceived(MAIL)
        self.assertEqual(self.codes(transport)[-1], 250)
        (summary,) = self.store.database.listing("", 10, None, False)
        self.assertEqual(summary.item.submitter, "smtp:local")

    def test_refused(self) -> None:
        """What the outbox does not take is refused, and nothing of it is kept: full, a NUL, a key that is none."""
        self.store.failures["accept"] = [StoreFullError("full")]
        keyed = MAIL.replace(b"Subject", b"Netsvc-Idempotency-Key: \r\nSubject")
        for mail, code in ((MAIL, 452), (MAIL.replace(b"hello", b"\0"), 554), (keyed, 554)):
            protocol, transport = self.open()
            protocol.dataReceived(mail)
            self.assertEqual(self.codes(transport)[-1], code)
        self.assertEqual(self.store.database.audit().accepted, 0)

    def test_suppressed(self) -> None:
        """Recipients on the suppression list are named; when nobody else is left the message is refused."""
        self.store.failures["accept"] = [SuppressedError({"b@y": "bounced"})]
        protocol, transport = self.open()
        protocol.dataReceived(MAIL)
        self.assertEqual(self.codes(transport)[-1], 554)
        protocol._wire.taken("q1", suppressed={"b@y": "bounced"})
        self.assertEqual(protocol._wire.output(), b"250 2.0.0 kept as q1, but not for b@y\r\n")

    def test_the_key_of_a_message(self) -> None:
        """The field is found whatever its case, and taken out; twice, folded or empty it is none."""
        self.assertEqual(
            take_key(b"A: b\r\nnetsvc-idempotency-KEY:  k 1 \r\nC: d\r\n\r\nx"), ("k 1", b"A: b\r\nC: d\r\n\r\nx")
        )
        self.assertEqual(take_key(b"From x\nNetsvc-Idempotency-Key: k\n\nx"), ("k", b"From x\n\nx"))
        self.assertEqual(
            take_key(b"A: b\r\n\r\nNetsvc-Idempotency-Key: k"), (None, b"A: b\r\n\r\nNetsvc-Idempotency-Key: k")
        )
        for field in (
            b": k\r\nNetsvc-Idempotency-Key: k\r\n",
            b": k\r\n l\r\n",
            b":\r\n",
            b": " + b"x" * 201 + b"\r\n",
            b": \xff\r\n",
        ):
            self.assertRaises(Refusal, take_key, b"Netsvc-Idempotency-Key" + field + b"\r\n")


class Connections(ListenerCase):
    def test_deadline(self) -> None:
        """A command or a message that does not arrive in time is 421, however it drips."""
        for octets in (b"", b"EHLO", ENVELOPE + b"DATA\r\nx"):
            protocol, transport = self.open()
            protocol.dataReceived(octets)
            self.codes(transport)
            for _ in range(2):
                self.clock.advance(15)
                protocol.dataReceived(b"x")
            self.assertEqual(self.codes(transport), [421])
            self.assertTrue(transport.half_closed)

    def test_no_deadline_while_the_outbox_works(self) -> None:
        """The peer does not pay for a slow disk."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.open()
        protocol.dataReceived(MAIL)
        self.codes(transport)
        self.clock.advance(1000)
        slow.callback(None)
        self.assertEqual(self.codes(transport), [250])

    def test_the_end(self) -> None:
        """After the last reply what still comes is thrown away for a moment; then the connection closes."""
        protocol, transport = self.open()
        protocol.dataReceived(b"QUIT\r\nNOOP\r\n")
        protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(self.codes(transport), [221])
        self.assertEqual((transport.half_closed, transport.disconnecting), (True, False))
        self.clock.advance(module.LINGER)
        self.assertTrue(transport.disconnecting)

    def test_half_close(self) -> None:
        """A peer that says all at once and half-closes gets all its replies, then the end."""
        protocol, transport = self.open()
        protocol.dataReceived(MAIL)
        protocol.readConnectionLost()
        self.assertEqual(self.codes(transport), [250, 250, 250, 354, 250])
        self.assertTrue(transport.disconnecting)

    def test_peer_does_not_read(self) -> None:
        """While a peer does not read its replies no command is obeyed."""
        protocol, transport = self.open()
        protocol.pauseProducing()
        protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(self.codes(transport), [])
        protocol.resumeProducing()
        self.assertEqual(self.codes(transport), [250])

    def test_memory_that_is_announced(self) -> None:
        """A message whose SIZE finds no memory waits for its 354 until there is some."""
        self.listener = self.listening(memory=2000)
        sized = ENVELOPE.replace(b"<a@x>", b"<a@x> SIZE=1500") + b"DATA\r\n"
        (first, one), (second, other) = self.open(), self.open()
        first.dataReceived(sized)
        second.dataReceived(sized)
        self.assertEqual((self.codes(one)[-1], self.codes(other)[-1]), (354, 250))
        first.dataReceived(b"x\r\n.\r\n")
        self.assertEqual((self.codes(one), self.codes(other)), ([250], [354]))
        second.dataReceived(b"x\r\n.\r\n")
        self.assertEqual(self.codes(other), [250])

    def test_memory_that_is_not_announced(self) -> None:
        """A message that outgrows its memory, when there is no more, is refused for now."""
        self.listener = self.listening(memory=1000)
        (first, one), (second, other) = self.open(), self.open()
        first.dataReceived(ENVELOPE.replace(b"<a@x>", b"<a@x> SIZE=600") + b"DATA\r\n")
        second.dataReceived(ENVELOPE.replace(b"<a@x>", b"<a@x> SIZE=300") + b"DATA\r\n")
        second.dataReceived(b"x" * 2000)
        second.dataReceived(b"\r\n.\r\n")
        self.assertEqual(self.codes(other)[-1], 452)
        first.dataReceived(b"x\r\n.\r\n")
        self.assertEqual(self.codes(one)[-1], 250)

    def test_given_back(self) -> None:
        """Memory is given back however a message ends."""
        for end in (b"x\r\n.\r\n", b"x\n.\n", None):
            protocol, transport = self.open()
            protocol.dataReceived(ENVELOPE.replace(b"<a@x>", b"<a@x> SIZE=600") + b"DATA\r\n")
            if end is None:
                protocol.connectionLost()
            else:
                protocol.dataReceived(end)
            self.codes(transport)
            self.assertEqual(self.listener.budget._used, 0)

    def test_starttls_hangs(self) -> None:
        """A handshake that does not come about is cut."""
        protocol, transport = self.open()
        protocol.dataReceived(b"EHLO x\r\nSTARTTLS\r\nNOOP\r\n")
        self.assertEqual(self.codes(transport), [250, 220])
        self.assertTrue(transport.TLS)
        self.clock.advance(module.HANDSHAKE)
        self.assertTrue(transport.cut)

    def test_drain(self) -> None:
        """A service that stops says 421 to who waits, and lets a transaction end."""
        (_, one), (busy, other) = self.open(), self.open()
        busy.dataReceived(ENVELOPE)
        self.listener.drain()
        self.assertEqual((self.codes(one), self.codes(other)), ([421], [250, 250, 250]))
        busy.dataReceived(b"DATA\r\nx\r\n.\r\n")
        self.assertEqual(self.codes(other), [354, 250, 421])


class LoggingIn(ListenerCase):
    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory(prefix="netsvc-users-")
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "users"
        self.path.write_text("joe:$2b$04$abcdefghijklmnopqrstuuu5kz8JqDAgE1e2lNzz8JTCpT3kZ6NSS\n")
        self.checks: list[Any] = []
        self.fault: Exception | None = None
        self.patch(htpasswd, "check", lambda hashed, password: password == "secret")
        users = UserFile(self.path, self.clock.seconds, lambda: START)
        self.logins = Logins(
            users, PasswordChecks(self.in_thread), seconds=self.clock.seconds, metrics=self.metrics, service="mail"
        )
        self.logins.open()
        self.listener = self.listening(logins=self.logins)

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        self.checks.append(args)
        if self.fault is not None:
            raise self.fault
        return maybeDeferred(function, *args)

    def test_login(self) -> None:
        """The right password lets a user in, who is the submitter; it is remembered, so that it costs once."""
        for _ in range(2):
            protocol, transport = self.open()
            protocol.dataReceived(b"EHLO x\r\n" + LOGIN + MAIL)
            self.assertEqual(self.codes(transport), [250, 235, 250, 250, 250, 354, 250])
        self.assertEqual(len(self.checks), 1)
        summary = self.store.database.listing("", 10, None, False)[0]
        self.assertEqual((summary.item.submitter, summary.item.meta["protocol"]), ("smtp:joe@127.0.0.1", "ESMTPA"))

    def test_wrong(self) -> None:
        """A wrong password is 535, logged without it; and whoever fails too often must wait."""
        for _ in range(FAILURES.count):
            protocol, transport = self.open()
            protocol.dataReceived(b"EHLO x\r\n" + WRONG)
            self.assertEqual(self.codes(transport), [250, 535])
        protocol, transport = self.open()
        protocol.dataReceived(b"EHLO x\r\n" + WRONG)
        self.assertEqual(self.codes(transport), [250, 454])
        self.assertEqual(len(self.checks), FAILURES.count)

    def test_nobody(self) -> None:
        """A name that is none, or a password that is too long, is checked against nothing."""
        for user, password in (("a\nb", "x"), ("joe", "x" * 2000)):
            self.assertEqual(self.successResultOf(self.logins.check(user, password, "192.0.2.1")), "refused")
        self.assertEqual(self.checks, [])

    def test_users_that_cannot_be_read(self) -> None:
        """A file of users that is not there ends the start."""
        users = UserFile(self.path / "none", self.clock.seconds, lambda: START)
        logins = Logins(
            users, PasswordChecks(self.in_thread), seconds=self.clock.seconds, metrics=self.metrics, service="mail"
        )
        self.assertRaises(StartError, logins.open)


class Settings(SynchronousTestCase):
    def faults(self, **options: Any) -> list[str]:
        return [f"{key}: {message}" for key, message in SmtpClientSettings(**options).check()]

    def test_who_reaches_the_listener(self) -> None:
        """On this machine anything goes; for other machines there must be users, and TLS for their passwords."""
        here = TcpAddress(port=25, interface="127.0.0.1")
        users, place = Path("/users"), TlsDirectory(Path("/tls"))
        for address in (
            here,
            attrs.evolve(here, interface="::1"),
            UnixAddress(path=Path("/s")),
            SystemdAddress(index=0),
        ):
            self.assertEqual(self.faults(submission_listen=(address,)), [])
        for away in (TcpAddress(port=25), TcpAddress(port=25, interface="192.0.2.1")):
            self.assertIn("in clear", self.faults(submission_listen=(away,), submission_users=users)[0])
            self.assertIn("set submission_users", self.faults(submission_listen=(away,), submission_tls=place)[0])
            self.assertEqual(self.faults(submission_listen=(away,), submission_tls=place, submission_users=users), [])
            secure = attrs.evolve(away, tls=place)
            self.assertIn("set submission_users", self.faults(submission_listen=(secure,))[0])
            self.assertEqual(self.faults(submission_listen=(secure,), submission_users=users), [])
        self.assertIn("UDP", self.faults(submission_listen=(UdpAddress(port=25),))[0])
        self.assertIn("haproxy", self.faults(submission_listen=(attrs.evolve(here, haproxy=True),))[0])
        self.assertIn("nothing to protect", self.faults(submission_tls=place)[0])

    def test_who_reaches_the_endpoint(self) -> None:
        """The endpoint needs a token that cannot be guessed, and TLS where other machines reach it."""
        here, away = (TcpAddress(port=80, interface="127.0.0.1"),), (TcpAddress(port=80),)
        token = Secret("literal", "x" * 16)
        self.assertEqual(self.faults(http_listen=here, http_token=token), [])
        self.assertEqual(self.faults(http_listen=here), ["http_listen: http_listen needs a http_token"])
        self.assertEqual(self.faults(http_token=token), ["http_token: http_listen needs a http_token"])
        self.assertIn("in clear", self.faults(http_listen=away, http_token=token)[0])
        for weak in ("x" * 15, "x" * 15 + " x", "x" * 16 + "ä"):
            self.assertIn("16 visible", self.faults(http_listen=here, http_token=Secret("literal", weak))[0])

    def test_certificates(self) -> None:
        """Certificates are named as in a tls: endpoint, and shown so."""
        kind, context = tls_place(), Context(Path("/"))
        place = kind.parse("directory=/tmp", context)
        self.assertEqual((place, kind.show(place)), (TlsDirectory(Path("/tmp")), "directory=/tmp"))
        for wrong in ("/tmp", "certificate=/x", "privateKey=/nowhere"):
            self.assertRaises(BadValue, kind.parse, wrong, context)


class Reading(ListenerCase):
    def test_while_the_outbox_works(self) -> None:
        """A peer that sends while its message is worked on is read once, and then when that has been looked at."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.open()
        protocol.dataReceived(MAIL)
        self.assertEqual(transport.producerState, "producing")
        protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(transport.producerState, "paused")
        self.assertEqual(self.codes(transport), [250, 250, 250, 354])
        slow.callback(None)
        self.assertEqual(self.codes(transport), [250, 250])
        self.assertEqual(transport.producerState, "producing")

    def test_while_the_peer_does_not_read(self) -> None:
        """A peer that sends and does not read its replies is not read either, until it does."""
        protocol, transport = self.open()
        protocol.pauseProducing()
        protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(transport.producerState, "paused")
        protocol.resumeProducing()
        self.assertEqual(transport.producerState, "producing")

    def test_gone_while_the_outbox_works(self) -> None:
        """A peer that leaves before its message is kept costs nothing more, and the message is kept."""
        slow: Deferred[Any] = Deferred()
        self.store.failures["accept"] = [slow]
        protocol, transport = self.open()
        protocol.dataReceived(MAIL)
        self.codes(transport)
        protocol.connectionLost()
        slow.callback(None)
        self.assertEqual((self.codes(transport), self.store.database.audit().accepted), ([], 1))
        self.assertEqual(self.listener.budget._used, 0)


class Ending(ListenerCase):
    def test_quit(self) -> None:
        """A peer that took its leave has nothing more to say: the connection closes behind the reply."""
        protocol, transport = self.open()
        protocol.dataReceived(b"QUIT\r\n")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.codes(transport), [221])
        protocol.connectionLost()
        self.assertEqual([one for one in self.clock.getDelayedCalls() if one.func == protocol._deadline._look], [])


class AtOnce(ListenerCase):
    def real(self) -> tuple[ListenerProtocol, AcceptedConnection, socket.socket]:
        """A conversation on a socket, the transport, and the peer's socket, which has the greeting."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        protocol = self.listener.buildProtocol(HERE)
        transport = AcceptedConnection(near, protocol, ("peer", 0), None, 0, MemoryReactor())
        protocol.makeConnection(transport)
        self.assertEqual(far.recv(100), b"220 h ESMTP netsvc\r\n")
        return protocol, transport, far

    def test_quit(self) -> None:
        """The last reply and the end leave in the same turn."""
        protocol, _, far = self.real()
        protocol.dataReceived(b"QUIT\r\n")
        self.assertEqual((far.recv(100), far.recv(100)), (b"221 2.0.0 good bye\r\n", b""))
        self.assertEqual(self.listener.connections, set())

    def test_no_circle(self) -> None:
        """A conversation that is over is gone: nothing of it waits for the garbage collector."""
        protocol, transport, _ = self.real()
        for octets in (ENVELOPE + b"DATA\r\n", b"Subject: x\r\n\r\nhello\r\n.\r\n", b"QUIT\r\n"):
            protocol.dataReceived(octets)
            self.clock.advance(0)
        self.assertEqual(self.store.database.audit().accepted, 1)
        gone = weakref.ref(protocol), weakref.ref(transport)
        del protocol, transport
        self.assertEqual([one() for one in gone], [None, None])

    def test_reply(self) -> None:
        """A reply leaves before the next turn of the loop; an error of the socket is left for the loop to find."""
        protocol, transport, far = self.real()
        protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(far.recv(100), b"250 2.0.0 so be it\r\n")
        far.close()
        protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(transport._tempDataBuffer, [b"250 2.0.0 so be it\r\n"])


class Deadlines(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.passed: list[float] = []
        self.deadline = Deadline(self.clock)

    def begin(self, seconds: float) -> None:
        self.deadline.begin(seconds, lambda: self.passed.append(self.clock.seconds()))

    def test_moved(self) -> None:
        """It passes once, so long after it began last, be that sooner or later than before."""
        self.begin(10.0)
        self.clock.advance(9)
        self.begin(10.0)
        self.clock.pump([9, 1, 100])
        self.assertEqual(self.passed, [19.0])
        self.begin(10.0)
        self.begin(1.0)
        self.clock.pump([1, 100])
        self.assertEqual(self.passed, [19.0, 120.0])

    def test_stopped(self) -> None:
        """It does not pass once it is stopped, and can begin anew; ended, it leaves nothing behind."""
        self.begin(10.0)
        self.deadline.stop()
        self.clock.advance(20)
        self.assertEqual((self.passed, self.deadline.runs), ([], False))
        self.begin(10.0)
        self.deadline.end()
        self.deadline.end()
        self.assertEqual((self.passed, self.clock.getDelayedCalls()), ([], []))
