"""Facts about connections that are kept, and about relays that are tried one after the other."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth.token import Token, TokenError
from netsvc.services.smtp_client.delivery import Envelope, Outcome, Relay, deliver
from netsvc.services.smtp_client.pool import Keeping, Pool
from netsvc.services.smtp_client.tokens import MARGIN, UNKNOWN, Tokens
from tests.services.smtp_client.stage import EHLO, GO, GREETING, MESSAGE, OK, PIPELINING, Pipe

RELAY = Relay(host="127.0.0.1", port=25, tls="none")
SECOND = Relay(host="127.0.0.2", port=25, tls="none")
ONE = Envelope(sender="me@x", recipients=("a@x",))
TWO = Envelope(sender="me@x", recipients=("a@x", "b@x"))
LIMITED = b"250-x\r\n250 LIMITS MAILMAX=2\r\n"


class Peer:
    """One connection as the server sees it."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.pipe = Pipe()
        protocol.makeConnection(self.pipe)

    def say(self, *replies: bytes) -> bytes:
        for reply in replies:
            self.protocol.dataReceived(reply)
            while self.pipe.producer is not None:
                self.pipe.producer.resumeProducing()
        return self.sent()

    def sent(self) -> bytes:
        sent = bytes(self.pipe.value())
        self.pipe.clear()
        return sent

    def lose(self, error: Exception) -> None:
        if self.pipe.producer is not None:
            self.pipe.producer.stopProducing()
        self.protocol.connectionLost(Failure(error))


class PoolCase(SynchronousTestCase):
    keeping = Keeping()

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.pool = Pool(self.reactor, self.keeping)
        self.outcomes: list[tuple[Outcome, ...]] = []

    def deliver(self, relays: Any = RELAY, envelope: Envelope = ONE, **more: Any) -> Deferred[Any]:
        deferred = deliver(self.reactor, relays, envelope, MESSAGE, helo_name="me", **{"pool": self.pool, **more})
        return deferred.addCallback(self.outcomes.append)

    @property
    def connections(self) -> int:
        return len(self.reactor.tcpClients)

    def connect(self) -> Peer:
        """The last connection attempt succeeds."""
        return Peer(self.reactor.tcpClients[-1][2].buildProtocol(None))

    def refuse(self) -> None:
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    @property
    def results(self) -> list[str]:
        return [outcome.result for outcomes in self.outcomes for outcome in outcomes]

    def delivered(self, relays: Any = RELAY, ehlo: bytes = EHLO, **more: Any) -> Peer:
        """A message goes over a fresh connection."""
        self.deliver(relays, **more)
        peer = self.connect()
        peer.say(GREETING, ehlo, OK, OK, GO, OK)
        return peer


class ReuseTests(PoolCase):
    def test_the_next_message(self) -> None:
        """The next message to the same relay begins with MAIL on the same connection."""
        peer = self.delivered()
        self.assertFalse(peer.pipe.disconnecting)
        self.deliver()
        self.assertEqual(peer.sent(), b"MAIL FROM:<me@x> SIZE=21\r\n")
        peer.say(OK, OK, GO, OK)
        self.assertEqual((self.results, self.connections), (["delivered"] * 2, 1))

    def test_after_a_refusal(self) -> None:
        """A message that was refused leaves the connection usable; RSET comes first where a transaction is open."""
        self.deliver()
        peer = self.connect()
        peer.say(GREETING, EHLO, OK, b"550 5.1.1 who?\r\n")
        self.deliver()
        self.assertEqual(peer.sent(), b"RSET\r\n")
        peer.say(OK, OK, OK, GO, OK)
        self.assertEqual((self.results, self.connections), (["permanent", "delivered"], 1))

    def test_from_the_callback(self) -> None:
        """A delivery that is begun when the one before says its outcomes has the connection already."""
        deferred = self.deliver()
        deferred.addCallback(lambda _: self.deliver() and None)
        peer = self.connect()
        self.assertTrue(peer.say(GREETING, EHLO, OK, OK, GO, OK).endswith(b"\r\n.\r\nMAIL FROM:<me@x> SIZE=21\r\n"))
        peer.say(OK, OK, GO, OK)
        self.assertEqual((self.results, self.connections), (["delivered"] * 2, 1))

    def test_two_at_once(self) -> None:
        """A connection carries one message at a time; of two that are idle the one used last is taken."""
        first, second = (self.deliver(), self.connect())[1], (self.deliver(), self.connect())[1]
        second.say(GREETING, EHLO, OK, OK, GO, OK)
        first.say(GREETING, EHLO, OK, OK, GO, OK)
        second.sent()
        self.deliver()
        self.assertTrue(first.sent().endswith(b"MAIL FROM:<me@x> SIZE=21\r\n"))
        self.assertEqual((second.sent(), len(self.pool)), (b"", 1))

    def test_another_relay_name_or_login(self) -> None:
        """Only what leads to the same relay in the same way is taken."""
        self.delivered()
        for relay in (evolve(RELAY, port=26), evolve(RELAY, tls="may"), evolve(RELAY, username="anna")):
            before = self.connections
            self.deliver(relay)
            self.assertEqual(self.connections, before + 1)
        deliver(self.reactor, RELAY, ONE, MESSAGE, helo_name="other", pool=self.pool)
        self.assertEqual(self.connections, 5)

    def test_idle(self) -> None:
        """After five seconds without a message the connection ends politely."""
        peer = self.delivered()
        self.reactor.advance(4.9)
        self.assertEqual(peer.sent(), b"")
        self.reactor.advance(0.1)
        self.assertEqual((peer.sent(), peer.pipe.disconnecting, len(self.pool)), (b"QUIT\r\n", True, 0))
        peer.lose(ConnectionDone())
        self.assertEqual([call for call in self.reactor.getDelayedCalls() if call.active()], [])

    def test_messages_and_age(self) -> None:
        """A connection serves so many messages, or so long, and as many as the server says (RFC 9422)."""
        self.pool = Pool(self.reactor, Keeping(messages=2))
        peer = self.delivered()
        self.deliver()
        self.assertTrue(peer.say(OK, OK, GO, OK).endswith(b"QUIT\r\n"))
        self.pool = Pool(self.reactor, Keeping(idle=400.0))
        peer = self.delivered()
        self.reactor.advance(300)
        self.deliver()
        self.assertTrue(peer.say(OK, OK, GO, OK).endswith(b"QUIT\r\n"))
        peer = self.delivered(ehlo=LIMITED)
        self.deliver()
        self.assertTrue(peer.say(OK, OK, GO, OK).endswith(b"QUIT\r\n"))
        self.assertEqual(set(self.results), {"delivered"})

    def test_a_bounded_number(self) -> None:
        """One more than may be kept ends the one that waited longest; with none allowed each ends at once."""
        self.pool = Pool(self.reactor, Keeping(connections=1))
        first, second = self.delivered(), self.delivered(SECOND)
        self.assertTrue(first.sent().endswith(b"QUIT\r\n"))
        self.assertEqual((second.sent(), len(self.pool)), (b"", 1))
        self.pool = Pool(self.reactor, Keeping(connections=0))
        self.assertTrue(self.delivered().pipe.disconnecting)

    def test_a_server_that_speaks_or_leaves(self) -> None:
        """A kept connection on which the server says anything, or which it ends, is used no more."""
        for end in (
            lambda peer: peer.say(b"421 4.4.2 idle\r\n"),
            lambda peer: peer.lose(ConnectionDone()),
            lambda peer: peer.lose(ConnectionLost()),
        ):
            self.setUp()
            peer = self.delivered()
            end(peer)
            self.assertEqual(len(self.pool), 0)
            self.delivered()
            self.assertEqual((self.results, self.connections), (["delivered"] * 2, 2))

    def test_stop(self) -> None:
        """To stop ends what is idle at once, what is busy when it is done; it fires when the idle ones are closed."""
        idle = self.delivered(SECOND)
        self.deliver()
        busy = self.connect()
        stopped: list[None] = []
        self.pool.stop().addCallback(stopped.append)
        self.assertEqual((idle.sent(), stopped), (b"QUIT\r\n", []))
        idle.lose(ConnectionDone())
        self.assertEqual(stopped, [None])
        self.assertTrue(busy.say(GREETING, EHLO, OK, OK, GO, OK).endswith(b"QUIT\r\n"))
        self.assertEqual(self.results, ["delivered"] * 2)
        self.assertEqual(self.successResultOf(self.pool.stop()), None)

    def test_cancel(self) -> None:
        """A delivery that is stopped takes its connection with it."""
        self.delivered()
        deferred = self.deliver()
        deferred.cancel()
        self.assertEqual((self.results, len(self.pool)), (["delivered", "retry"], 0))


class StaleTests(PoolCase):
    def test_mail_fault_45_421_after_rset(self) -> None:
        """A kept connection that is dead, closing, or refuses RSET gives way to a fresh one, and the mail goes once."""
        for dirty, end in (
            (False, lambda peer: peer.lose(ConnectionLost())),
            (False, lambda peer: peer.lose(ConnectionDone())),
            (False, lambda peer: peer.say(b"421 4.4.2 idle\r\n")),
            (True, lambda peer: peer.say(b"421 4.4.2 idle\r\n")),
            (True, lambda peer: peer.say(b"500 RSET?\r\n")),
            (True, lambda peer: peer.lose(ConnectionLost())),
        ):
            self.setUp()
            self.deliver()
            peer = self.connect()
            peer.say(GREETING, EHLO, OK, *([b"550 x\r\n"] if dirty else [OK, GO, OK]))
            self.deliver()
            end(peer)
            self.assertEqual(self.connections, 2)
            self.connect().say(GREETING, EHLO, OK, OK, GO, OK)
            self.assertEqual(self.results, ["permanent" if dirty else "delivered", "delivered"])

    def test_once(self) -> None:
        """The fresh connection has no second chance."""
        peer = self.delivered()
        self.deliver()
        peer.lose(ConnectionLost())
        second = self.connect()
        second.say(GREETING, EHLO)
        second.lose(ConnectionLost())
        self.assertEqual((self.results, self.connections), (["delivered", "retry"], 2))

    def test_not_once_mail_was_taken(self) -> None:
        """From the reply to MAIL on a broken connection is an outcome; a refused MAIL is one as well."""
        for script in ([OK], [OK, OK], [OK, OK, GO]):
            self.setUp()
            peer = self.delivered()
            self.deliver()
            peer.say(*script)
            peer.lose(ConnectionLost())
            self.assertEqual((self.results[1], self.connections), ("ambiguous" if GO in script else "retry", 1))
        self.setUp()
        peer = self.delivered()
        self.deliver()
        peer.say(b"451 4.7.1 later\r\n")
        self.assertEqual((self.results, self.connections), (["delivered", "retry"], 1))

    def test_a_pipeline(self) -> None:
        """With a whole group sent and no reply to it nothing of the message was taken either."""
        self.deliver()
        peer = self.connect()
        peer.say(GREETING, PIPELINING, OK + OK + GO, OK)
        self.deliver()
        self.assertTrue(peer.sent().endswith(b"DATA\r\n"))
        peer.lose(ConnectionDone())
        self.connect().say(GREETING, PIPELINING, OK + OK + GO, OK)
        self.assertEqual((self.results, self.connections), (["delivered"] * 2, 2))


class FallbackTests(PoolCase):
    BOTH = (RELAY, SECOND)

    def test_the_first_that_answers(self) -> None:
        """The first relay has the message; the second hears nothing."""
        self.delivered(self.BOTH)
        self.assertEqual((self.results, self.connections), (["delivered"], 1))
        self.assertEqual(self.outcomes[0][0].via, "smtp:127.0.0.1:25")

    def test_mail_fault_01_refused_the_next_is_tried(self) -> None:
        """A relay that refuses connections gives way at once; the outcome names who took the mail."""
        self.deliver(self.BOTH, TWO)
        self.refuse()
        self.assertEqual(self.reactor.tcpClients[-1][0], "127.0.0.2")
        self.connect().say(GREETING, EHLO, OK, OK, OK, GO, OK)
        self.assertEqual(self.results, ["delivered"] * 2)
        self.assertEqual(self.outcomes[0][1].via, "smtp:127.0.0.2:25")

    def test_mail_fault_05_554_banner_next_relay(self) -> None:
        """Whatever is said or not said before MAIL moves on to the next relay: banner, EHLO, TLS, AUTH, silence."""
        login = evolve(RELAY, username="anna", password=Secret("literal", "x"), auth_without_tls=True)
        steps: list[tuple[Relay, Callable[[Peer], object]]] = [
            (RELAY, lambda peer: peer.say(b"554 5.7.1 no\r\n")),
            (RELAY, lambda peer: peer.say(b"421 4.3.2 busy\r\n")),
            (RELAY, lambda peer: peer.say(b"\x16\x03\x01\r\n")),
            (RELAY, lambda peer: peer.say(GREETING, b"550 no\r\n")),
            (RELAY, lambda peer: peer.lose(ConnectionDone())),
            (RELAY, lambda peer: self.reactor.advance(300)),
            (evolve(RELAY, tls="require"), lambda peer: peer.say(GREETING, EHLO)),
            (login, lambda peer: peer.say(GREETING, b"250-x\r\n250 AUTH PLAIN\r\n", b"535 5.7.8 no\r\n")),
        ]
        for relay, end in steps:
            self.setUp()
            self.deliver((relay, SECOND))
            end(self.connect())
            self.assertEqual(self.connections, 2)
            self.connect().say(GREETING, EHLO, OK, OK, GO, OK)
            self.assertEqual(self.results, ["delivered"])

    def test_what_is_said_of_the_message_stands(self) -> None:
        """A refusal at MAIL, and what is said of recipients or of the message, stands; no other relay is asked."""
        for script in (
            [b"550 x\r\n"],
            [OK, b"451 x\r\n"],
            [OK, b"550 x\r\n"],
            [OK, OK, b"451 x\r\n"],
            [OK, OK, GO, b"451 x\r\n"],
        ):
            self.setUp()
            self.deliver(self.BOTH)
            self.connect().say(GREETING, EHLO, *script)
            self.assertEqual((len(self.outcomes), self.connections), (1, 1))

    def test_mail_fault_27_put_off_at_mail(self) -> None:
        """A host that puts the message off at MAIL gives way to the next host, by none of its other addresses."""
        hosts = [evolve(RELAY, host="a", address=address) for address in ("::1", "::2")]
        for refusal in (b"451 4.3.1 full\r\n", b"421 4.3.2 busy\r\n"):
            self.setUp()
            self.deliver([*hosts, SECOND], TWO)
            self.connect().say(GREETING, EHLO, refusal)
            self.assertEqual([client[0] for client in self.reactor.tcpClients], ["::1", "127.0.0.2"])
            self.connect().say(GREETING, EHLO, OK, OK, OK, GO, OK)
            self.assertEqual(self.results, ["delivered"] * 2)

    def test_mail_fault_37_broken_off(self) -> None:
        """A host that breaks off gives way to the next for those of whom nothing is known; behind the dot none does."""
        for script in ([OK], [OK, b"550 5.1.1 who?\r\n"], [OK, b"550 5.1.1 who?\r\n", OK]):
            self.setUp()
            self.deliver(self.BOTH, TWO)
            peer = self.connect()
            peer.say(GREETING, EHLO, *script)
            peer.lose(ConnectionLost())
            refused = len(script) > 1
            self.connect().say(GREETING, EHLO, OK, OK, *([] if refused else [OK]), GO, OK)
            self.assertEqual(self.results, ["permanent" if refused else "delivered", "delivered"])
        self.setUp()
        self.deliver(self.BOTH)
        peer = self.connect()
        peer.say(GREETING, EHLO, OK, OK, GO)
        peer.lose(ConnectionLost())
        self.assertEqual((self.results, self.connections), (["ambiguous"], 1))

    def test_put_off_by_all(self) -> None:
        """Two may put a message off; what they said stands before what others failed at."""
        third = evolve(RELAY, host="127.0.0.3")
        self.deliver((RELAY, SECOND, third))
        for text in (b"451 one\r\n", b"451 two\r\n"):
            self.connect().say(GREETING, EHLO, text)
        self.assertEqual((self.connections, self.outcomes[0][0].text), (2, "two"))
        self.deliver((RELAY, SECOND, third), pool=None)
        self.connect().say(GREETING, EHLO, b"451 one\r\n")
        self.refuse()
        self.connect().say(b"554 no\r\n")
        self.assertEqual((self.connections, self.outcomes[1][0].text, self.outcomes[1][0].phase), (5, "one", "mail"))

    def test_none_answers(self) -> None:
        """When the last one fails too, its failure is the outcome; without any relay that is said."""
        self.deliver(self.BOTH)
        self.refuse()
        self.connect().say(b"554 no\r\n")
        self.assertEqual((self.outcomes[0][0].code, self.outcomes[0][0].via), (554, "smtp:127.0.0.2:25"))
        self.assertEqual(self.results, ["retry"])
        self.deliver(())
        self.assertEqual((self.results[-1], self.outcomes[-1][0].phase), ("retry", "connect"))

    def test_requiretls_over_several(self) -> None:
        """A relay that will never do bounces the message only if no other may do later."""
        envelope = evolve(ONE, require_tls=True)
        self.deliver(self.BOTH, envelope)
        self.refuse()
        self.connect().say(GREETING, EHLO)
        self.assertEqual(self.results, ["retry"])
        self.deliver(self.BOTH, envelope)
        self.connect().say(GREETING, EHLO)
        self.assertEqual((self.results, self.connections), (["retry", "permanent"], 3))

    def test_cancelled(self) -> None:
        """A delivery that is stopped tries no other relay."""
        self.deliver(self.BOTH).cancel()
        self.assertEqual((self.results, self.connections), (["retry"], 1))

    def test_an_address_is_connected_to(self) -> None:
        """A relay whose address is known is not looked up; its words name both."""
        self.deliver(evolve(RELAY, host="mx.example", address="192.0.2.7"))
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("192.0.2.7", 25))
        self.refuse()
        self.assertIn("mx.example (192.0.2.7) port 25", self.outcomes[0][0].text)


class TokenTests(PoolCase):
    RELAY = evolve(RELAY, username="anna", token_command=("token", "x"), auth_without_tls=True)

    OFFER = b"250-x\r\n250 AUTH XOAUTH2\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.running: list[Deferred[Token]] = []
        self.ran: list[Any] = []
        self.tokens = Tokens(self.reactor, self.in_thread)

    def in_thread(self, function: Any, *args: Any) -> Deferred[Token]:
        self.ran.append((function.__name__, args))
        self.running.append(Deferred())
        return self.running[-1]

    def begin(self) -> None:
        self.deliver(self.RELAY, tokens=self.tokens, pool=None)

    def print(self, text: str, lifetime: float | None = None) -> None:
        self.running[-1].callback(Token(Secret("token command", text), lifetime))

    def login(self) -> str:
        """The token that a fresh connection sends."""
        self.peer = self.connect()
        line = self.peer.say(GREETING, self.OFFER).split()[-1]
        return base64.b64decode(line).decode().split("Bearer ")[1].rstrip("\1")

    def test_a_token_is_shared(self) -> None:
        """The program runs once, in a thread, for all connections that come while it runs or its token is good."""
        self.begin()
        self.begin()
        self.assertEqual((self.connections, self.ran), (0, [("fetch_token", (("token", "x"),))]))
        self.print("abcdefgh")
        self.assertEqual((self.connections, self.login()), (2, "abcdefgh"))
        self.reactor.advance(UNKNOWN - 1)
        self.begin()
        self.assertEqual((self.connections, self.login(), len(self.ran)), (3, "abcdefgh", 1))
        self.reactor.advance(1)
        self.begin()
        self.assertEqual((self.connections, len(self.ran)), (3, 2))

    def test_the_end_that_is_known(self) -> None:
        """A token is used until a minute before its end; one that ends sooner serves those who waited for it."""
        self.begin()
        self.print("one", 3599.0)
        self.reactor.advance(3599.0 - MARGIN - 1)
        self.begin()
        self.assertEqual(len(self.ran), 1)
        self.reactor.advance(1)
        self.begin()
        self.print("two", 1.0)
        self.assertEqual(self.login(), "two")
        self.begin()
        self.assertEqual(len(self.ran), 3)

    def test_logins_are_apart(self) -> None:
        """Another user name or command has its own token."""
        self.begin()
        self.deliver(evolve(self.RELAY, username="bert"), tokens=self.tokens)
        self.deliver(evolve(self.RELAY, token_command=("token", "y")), tokens=self.tokens)
        self.assertEqual([args[0] for _, args in self.ran], [("token", "x"), ("token", "x"), ("token", "y")])

    def test_a_refused_token(self) -> None:
        """A token that was kept and is refused is asked for anew, once; one that is new and refused is an outcome."""
        self.begin()
        self.print("old")
        self.login()
        self.begin()
        self.login()
        self.peer.say(b"535 5.7.8 expired\r\n")
        self.assertEqual((self.results, len(self.ran)), ([], 2))
        self.print("new")
        self.assertEqual(self.login(), "new")
        self.peer.say(b"535 5.7.8 no\r\n")
        self.assertEqual((self.results, self.outcomes[0][0].phase), (["retry"], "auth"))
        self.begin()
        self.assertEqual(len(self.ran), 3)

    def test_a_server_that_is_busy(self) -> None:
        """A 454 says nothing against the token."""
        self.begin()
        self.print("good")
        self.login()
        self.peer.say(b"454 4.7.0 later\r\n")
        self.begin()
        self.assertEqual((self.results, self.login(), len(self.ran)), (["retry"], "good", 1))

    def test_one_stops_waiting(self) -> None:
        """Who is stopped while he waits leaves the others their token."""
        first = self.deliver(self.RELAY, tokens=self.tokens, pool=None)
        self.begin()
        first.cancel()
        self.assertEqual(self.results, ["retry"])
        self.print("abc")
        self.assertEqual((self.connections, self.login()), (1, "abc"))

    def failing(self, error: Exception) -> Tokens:
        return Tokens(self.reactor, lambda *_: fail(error))

    def test_no_token(self) -> None:
        """Without a token nothing is connected, and the next relay is tried."""
        self.deliver((self.RELAY, SECOND), tokens=self.failing(TokenError("the token command ended with status 3")))
        self.assertEqual([client[0] for client in self.reactor.tcpClients], ["127.0.0.2"])
        self.deliver(self.RELAY, tokens=self.failing(TokenError("the token command ended with status 3")))
        outcome = self.outcomes[-1][0]
        self.assertEqual((outcome.text, outcome.phase), ("the token command ended with status 3", "auth"))

    def test_a_fault_of_ours(self) -> None:
        """Anything else is logged once, without what it holds, and retried."""
        self.deliver(self.RELAY, tokens=self.failing(KeyError("x")))
        self.assertEqual(self.outcomes[0][0].text, "an internal error (KeyError)")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_stopped(self) -> None:
        """A delivery can be stopped while it waits for its token."""
        self.deliver(self.RELAY, tokens=self.tokens).cancel()
        self.assertEqual((self.results, self.connections), (["retry"], 0))
