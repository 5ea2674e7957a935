"""Facts about deliver(): connecting, its failures, the second try without TLS, and stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.error import (
    ConnectError,
    ConnectionLost,
    ConnectionRefusedError,
    NoRouteError,
    TCPTimedOutError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.services.smtp_client.delivery import Envelope, Outcome, Relay, Timeouts, deliver
from tests.services.smtp_client.stage import EHLO, GO, GREETING, MESSAGE, OK, Pipe

RELAY = Relay(host="127.0.0.1", port=25, tls="none")
TWO = Envelope(sender="me@x", recipients=("a@x", "b@x"))


class DeliverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.outcomes: list[tuple[Outcome, ...]] = []

    def deliver(self, relay: Relay = RELAY, envelope: Envelope = TWO, **more: Any) -> Any:
        deferred = deliver(self.reactor, relay, envelope, MESSAGE, helo_name="me", **more)
        deferred.addCallback(self.outcomes.append)
        return deferred

    def connect(self, at: int = -1) -> tuple[Any, Pipe]:
        """The connection attempt succeeds."""
        factory = self.reactor.tcpClients[at][2]
        protocol = factory.buildProtocol(None)
        pipe = Pipe()
        protocol.makeConnection(pipe)
        return protocol, pipe

    def fail_connect(self, error: BaseException, at: int = -1) -> None:
        self.reactor.tcpClients[at][2].clientConnectionFailed(None, Failure(error))

    def one(self) -> Outcome:
        self.assertEqual(len(self.outcomes), 1)
        self.assertEqual([outcome.recipient for outcome in self.outcomes[0]], ["a@x", "b@x"])
        first, second = self.outcomes[0]
        self.assertEqual(evolve(first, recipient="b@x"), second)
        return first

    def test_delivered(self) -> None:
        """A message goes over one connection to the relay's address and port."""
        self.deliver()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 25))
        protocol, pipe = self.connect()
        for reply in (GREETING, EHLO, OK, OK, OK, GO):
            protocol.dataReceived(reply)
        pipe.producer.resumeProducing()
        protocol.dataReceived(OK)
        self.assertEqual(self.one().result, "delivered")

    def test_an_ipv6_address(self) -> None:
        """An IPv6 address is connected to as it stands."""
        self.deliver(evolve(RELAY, host="::1"))
        self.assertEqual(self.reactor.tcpClients[0][:2], ("::1", 25))

    def test_nobody(self) -> None:
        """An envelope without recipients needs no connection."""
        self.deliver(envelope=Envelope(sender="", recipients=()))
        self.assertEqual((self.outcomes, self.reactor.tcpClients), ([()], []))

    def test_mail_fault_01_refused_and_kin(self) -> None:
        """Whatever keeps a connection from being made is a retry with its reason in words."""
        for error, words in (
            (ConnectionRefusedError(), "127.0.0.1 port 25: the connection was refused"),
            (ConnectTimeout(), "127.0.0.1 port 25: the connection attempt took too long"),
            (TCPTimedOutError(), "127.0.0.1 port 25: the connection attempt took too long"),
            (NoRouteError(), "127.0.0.1 port 25: there is no route to it"),
            (ConnectError(osError=13), "127.0.0.1 port 25: the connection failed: 13"),
            (OSError("no descriptors"), "127.0.0.1 port 25: the connection failed: no descriptors"),
        ):
            self.setUp()
            self.deliver()
            self.fail_connect(error)
            outcome = self.one()
            self.assertEqual((outcome.result, outcome.code, outcome.text), ("retry", None, words))
            self.assertEqual((outcome.enhanced, outcome.phase), ("4.4.1", "connect"))

    def test_mail_fault_02_black_hole(self) -> None:
        """A connection that is never made is given up after 30 seconds in all."""
        self.deliver()
        self.reactor.advance(29)
        self.assertEqual(self.outcomes, [])
        self.reactor.advance(1)
        self.assertEqual(self.one().text, "127.0.0.1 port 25: no connection within 30 seconds")
        self.assertEqual([call for call in self.reactor.getDelayedCalls() if call.active()], [])

    def resolve_to(self, resolve: Callable[[Any], None]) -> None:
        @implementer(IHostnameResolver)
        class Resolver:
            def resolveHostName(self, receiver: Any, name: str, *rest: Any, **more: Any) -> Any:
                receiver.resolutionBegan(self)
                resolve(receiver)
                return self

        self.reactor.installNameResolver(Resolver())

    def test_no_such_name(self) -> None:
        """A name without an address is a retry."""
        self.resolve_to(lambda receiver: receiver.resolutionComplete())
        self.deliver(evolve(RELAY, host="nowhere.example"))
        outcome = self.one()
        self.assertEqual((outcome.result, outcome.enhanced), ("retry", "4.4.4"))
        self.assertIn("no address", outcome.text)

    def test_a_look_up_that_hangs(self) -> None:
        """The time limit of connecting covers the look-up."""
        self.resolve_to(lambda receiver: None)
        self.deliver(evolve(RELAY, host="slow.example"), timeouts=Timeouts(connect=5))
        self.reactor.advance(5)
        self.assertEqual(self.one().text, "slow.example port 25: no connection within 5 seconds")

    def test_both_families_are_tried(self) -> None:
        """When IPv6 fails IPv4 is tried, and the first that connects is used."""
        from twisted.internet.address import IPv4Address, IPv6Address

        def resolve(receiver: Any) -> None:
            receiver.addressResolved(IPv6Address("TCP", "2001:db8::1", 25))
            receiver.addressResolved(IPv4Address("TCP", "192.0.2.1", 25))
            receiver.resolutionComplete()

        self.resolve_to(resolve)
        self.deliver(evolve(RELAY, host="both.example"))
        self.assertEqual(self.reactor.tcpClients[0][0], "2001:db8::1")
        self.fail_connect(NoRouteError())
        self.reactor.advance(0.3)
        self.assertEqual(self.reactor.tcpClients[1][0], "192.0.2.1")
        protocol, _ = self.connect()
        protocol.dataReceived(b"554 no\r\n")
        self.assertEqual(self.one().code, 554)

    def test_a_host_that_is_none(self) -> None:
        """A host name that cannot be one is a retry that says so."""
        self.deliver(evolve(RELAY, host="ü" * 80))
        self.assertIn("not a usable host name", self.one().text)

    def test_an_unusable_ca_file(self) -> None:
        """Without the file of CAs nothing is connected."""
        self.deliver(evolve(RELAY, tls="verify", trust_roots=Path("/nonexistent/ca.pem")))
        self.assertEqual((self.one().phase, self.reactor.tcpClients), ("tls", []))
        self.assertIn("/nonexistent/ca.pem", self.one().text)

    def test_a_fault_of_ours(self) -> None:
        """An exception on the way to a connection is logged once and retried."""
        self.reactor.connectTCP = None  # type: ignore[assignment]
        self.deliver()
        self.assertEqual(self.one().enhanced, "4.3.0")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_fault_of_ours_at_once(self) -> None:
        """deliver() does not raise, whatever it is given."""
        self.reactor.nameResolver = None  # type: ignore[assignment]
        self.deliver(evolve(RELAY, host="mail.example"))
        self.assertEqual(self.one().result, "retry")
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_optional_tls_that_fails_goes_on_in_clear(self) -> None:
        """Where TLS may be, a failed handshake is followed by one connection without; where it must be, by none."""
        for tls, connections in (("may", 2), ("require", 1), ("verify", 1)):
            self.setUp()
            self.deliver(evolve(RELAY, tls=tls))
            protocol, _ = self.connect()
            for reply in (GREETING, b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"):
                protocol.dataReceived(reply)
            protocol.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(len(self.reactor.tcpClients), connections)
            if connections == 1:
                self.assertEqual((self.one().result, self.one().phase), ("retry", "tls"))
                continue
            self.assertEqual(self.outcomes, [])
            protocol, pipe = self.connect()
            protocol.dataReceived(GREETING)
            protocol.dataReceived(b"250-x\r\n250 STARTTLS\r\n")
            self.assertIn(b"MAIL", pipe.value())
            protocol.dataReceived(b"550 x\r\n")
            self.assertEqual(self.one().code, 550)

    def test_stopping(self) -> None:
        """A delivery that is cancelled fires its outcomes at once, wherever it is; it does not fail."""
        deferred = self.deliver()
        deferred.cancel()
        self.assertEqual(self.one().text, "127.0.0.1 port 25: the delivery was stopped here")
        for tls in ("none", "may"):
            self.setUp()
            deferred = self.deliver(evolve(RELAY, tls=tls))
            protocol, pipe = self.connect()
            protocol.dataReceived(GREETING)
            if tls == "may":
                protocol.dataReceived(b"250-x\r\n250 STARTTLS\r\n")
                protocol.dataReceived(b"220 go\r\n")
            deferred.cancel()
            self.assertEqual(self.one().text, "the delivery was stopped here")
            self.assertTrue(pipe.aborted)
