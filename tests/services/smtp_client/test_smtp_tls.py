"""Facts about TLS: real handshakes in memory between a Connection and a scripted server."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.services.smtp_client.protocol import Connection
from netsvc.services.smtp_client.routing.answers import TLSA
from netsvc.services.smtp_client.routing.dane_tls import relay_tls
from netsvc.services.smtp_client.session import Session
from netsvc.services.smtp_client.terms import Envelope, Outcome, Relay, Timeouts
from netsvc.services.smtp_client.tls_policy import RelayTLS, TLSPolicyError, handshake_problem
from tests.services.smtp_client.certs import Issued, authority, self_signed, server
from tests.services.smtp_client.stage import EHLO, GO, GREETING, LOGIN, MESSAGE, OK

OFFER = b"250-x\r\n250 STARTTLS\r\n"
HOST = "mail.example"


class Inner(Protocol):
    """The server above TLS: hands the lines on."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def dataReceived(self, data: bytes) -> None:
        self._server.heard(data, self.transport)


class PlainTLS(TLSMemoryBIOFactory):
    protocol = TLSMemoryBIOProtocol


class Server(Protocol):
    """Answers each line with the next reply of a script; the word STARTTLS in a script begins TLS after its reply."""

    def __init__(self, script: list[bytes], options: Any, *, implicit: bool = False) -> None:
        self.script = script
        self.options = options
        self.implicit = implicit
        self.lines: list[tuple[bool, bytes]] = []
        self.tls: Any = None
        self.body = False

    def connectionMade(self) -> None:
        if self.implicit:
            self.secure()
        self.reply(self.tls or self.transport)

    def reply(self, transport: Any) -> None:
        if self.script:
            transport.write(self.script.pop(0))

    def secure(self) -> None:
        factory = PlainTLS(self.options, False, Factory.forProtocol(lambda: Inner(self)), Clock())
        self.tls = factory.buildProtocol(None)
        self.tls.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        if self.tls is not None:
            self.tls.dataReceived(data)
        else:
            self.heard(data, self.transport)

    def connectionLost(self, reason: Any = None) -> None:
        if self.tls is not None:
            self.tls.connectionLost(reason)

    def heard(self, data: bytes, transport: Any) -> None:
        self.lines.append((self.tls is not None, data))
        if data == b"STARTTLS\r\n":
            self.reply(transport)
            if self.options is not None:
                self.secure()
        elif data != b"QUIT\r\n":
            self.reply(transport)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The server's side of TLS."""

    def __init__(self, issued: Issued, most: int = 0) -> None:
        self.context = SSL.Context(SSL.TLS_METHOD)
        if most:
            self.context.set_cipher_list(b"ALL:@SECLEVEL=0")
            self.context.set_max_proto_version(most)
        self.context.use_privatekey(issued.key)
        self.context.use_certificate(issued.certificate)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)


class TLSCase(SynchronousTestCase):
    def roots(self, name: str = "test CA") -> Path:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "roots.pem")
        path.write_bytes(b"# comment\n" + authority("test CA").pem + authority(name).pem)
        return path

    def relay(self, **changes: Any) -> Relay:
        return evolve(Relay(host=HOST, port=25, tls="verify", trust_roots=self.roots()), **changes)

    def play(
        self,
        relay: Relay,
        peer: Protocol,
        content: bytes = MESSAGE,
        timeouts: Timeouts | None = None,
        *,
        require_tls: bool = False,
        sender: str = "me@x",
    ) -> tuple[list[Outcome], IOPump, Connection]:
        clock = Clock()
        session = Session(relay, helo_name="me", timeouts=timeouts or Timeouts())
        envelope = Envelope(sender=sender, recipients=("a@x",), require_tls=require_tls)
        connection = Connection(session, creator=relay_tls(relay), clock=clock)
        outcomes: list[Outcome] = []
        pump = connect(
            peer,
            FakeTransport(peer, isServer=True),
            connection,
            FakeTransport(connection, isServer=False),
            clock=clock,
            greet=False,
        )
        connection.send(envelope, content).addCallback(outcomes.extend)
        pump.flush()
        self.clock = clock
        return outcomes, pump, connection

    def refusal(self, issued: Issued, **changes: Any) -> Outcome:
        peer = Server([GREETING, OFFER, b"220 go\r\n", EHLO], ServerTLS(issued))
        outcomes, _, connection = self.play(self.relay(**changes), peer)
        self.assertEqual(len(outcomes), 1)
        self.assertEqual((outcomes[0].result, outcomes[0].phase), ("retry", "tls"))
        self.assertFalse([line for _, line in peer.lines if line.startswith(b"MAIL")])
        self.tls_failed = connection.session.tls_failed
        return outcomes[0]


class DeliveredTests(TLSCase):
    SCRIPT = (GREETING, OFFER, b"220 go\r\n", EHLO, OK, OK, GO, OK)

    def test_starttls(self) -> None:
        """With a good certificate the mail goes over TLS, all of it after a second EHLO."""
        for relay in (
            self.relay(),
            self.relay(tls="require", trust_roots=None),
            self.relay(tls="may"),
        ):
            peer = Server(list(self.SCRIPT), ServerTLS(server(HOST)))
            outcomes, _, _ = self.play(relay, peer)
            self.assertEqual([outcome.result for outcome in outcomes], ["delivered"])
            self.assertEqual([line for tls, line in peer.lines if not tls], [b"EHLO me\r\n", b"STARTTLS\r\n"])
            self.assertEqual(b"".join(line for tls, line in peer.lines if tls).count(b"EHLO"), 1)

    def test_implicit(self) -> None:
        """Implicit TLS says nothing in clear."""
        peer = Server([GREETING, EHLO, OK, OK, GO, OK], ServerTLS(server(HOST)), implicit=True)
        outcomes, _, _ = self.play(self.relay(implicit=True), peer)
        self.assertEqual([outcome.result for outcome in outcomes], ["delivered"])
        self.assertEqual({tls for tls, _ in peer.lines}, {True})

    def test_auth_after_tls(self) -> None:
        """The login goes once TLS stands."""
        script = [GREETING, OFFER, b"220 go\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"235 in\r\n", OK, OK, GO, OK]
        peer = Server(script, ServerTLS(server(HOST)))
        outcomes, _, _ = self.play(self.relay(username="anna", password=LOGIN.password), peer)
        self.assertEqual([outcome.result for outcome in outcomes], ["delivered"])
        self.assertTrue(all(tls for tls, line in peer.lines if line.startswith(b"AUTH")))

    def test_other_names(self) -> None:
        """A certificate for one of the relay's other names is as good as one for its host."""
        relay = self.relay(names=("example.org", "mx.example.org"))
        for name, result in ((HOST, "delivered"), ("mx.example.org", "delivered"), ("x.example.org", "retry")):
            peer = Server(list(self.SCRIPT), ServerTLS(server(name)))
            outcomes, _, _ = self.play(relay, peer)
            self.assertEqual(outcomes[0].result, result, name)

    def test_dane(self) -> None:
        """With TLSA records they decide, whatever CA issued the certificate; a mismatch sends nothing of the mail."""
        issued = server(HOST, by="other CA")
        digest = sha256(issued.certificate.public_bytes(Encoding.DER)).digest()
        for data, result in ((digest, "delivered"), (bytes(32), "retry")):
            peer = Server(list(self.SCRIPT), ServerTLS(issued))
            relay = self.relay(tlsa=(TLSA(3, 0, 1, data),))
            (outcome,), _, _ = self.play(relay, peer)
            self.assertEqual(outcome.result, result, outcome)
            if result == "retry":
                self.assertEqual(outcome.phase, "tls")
                self.assertTrue(outcome.text.startswith("TLS: "), outcome.text)
                self.assertFalse([line for secure, line in peer.lines if secure])
            else:
                self.assertTrue(outcome.tls.endswith(" dane"))

    def test_outcomes_tell_the_tls(self) -> None:
        """What protected the way stands in the outcome: version, cipher, and whether the peer was known."""
        for tls, trust in (("verify", "verified"), ("require", "unverified"), ("may", "unverified")):
            peer = Server(list(self.SCRIPT), ServerTLS(server(HOST)))
            (outcome,), _, _ = self.play(self.relay(tls=tls), peer)
            self.assertRegex(outcome.tls, rf"\ATLSv1\.3 TLS_[A-Z0-9_]+ {trust}\Z")
            self.assertEqual(outcome.via, f"smtp:{HOST}:25")
        peer = Server([GREETING, EHLO, OK, OK, GO, OK], None)
        (outcome,), _, _ = self.play(self.relay(tls="may"), peer)
        self.assertEqual((outcome.result, outcome.tls), ("delivered", ""))

    def test_requiretls(self) -> None:
        """Over verified TLS, REQUIRETLS is passed on to a server that offers it; no other gets the message."""
        script = [GREETING, OFFER, b"220 go\r\n", b"250-x\r\n250 REQUIRETLS\r\n", OK, OK, GO, OK]
        peer = Server(list(script), ServerTLS(server(HOST)))
        self.assertEqual(self.play(self.relay(), peer, require_tls=True)[0][0].result, "delivered")
        self.assertIn((True, b"MAIL FROM:<me@x> REQUIRETLS\r\n"), peer.lines)
        peer = Server(list(script), ServerTLS(server(HOST)))
        self.assertEqual(self.play(self.relay(tls="may"), peer, require_tls=True, sender="")[0][0].result, "delivered")
        self.assertIn((True, b"MAIL FROM:<> REQUIRETLS\r\n"), peer.lines)
        for relay, ehlo, status in (
            (self.relay(), EHLO, "5.7.30"),
            (self.relay(tls="require"), b"250-x\r\n250 REQUIRETLS\r\n", "5.7.10"),
        ):
            peer = Server([GREETING, OFFER, b"220 go\r\n", ehlo, OK, OK, GO, OK], ServerTLS(server(HOST)))
            (outcome,), _, _ = self.play(relay, peer, require_tls=True)
            self.assertEqual((outcome.result, outcome.enhanced), ("permanent", status))
            self.assertFalse([line for _, line in peer.lines if line.startswith(b"MAIL")])

    def test_unverified_policies_take_any_certificate(self) -> None:
        """`require` and `may` encrypt whatever the certificate says."""
        for tls in ("require", "may"):
            peer = Server(list(self.SCRIPT), ServerTLS(self_signed("other.example")))
            outcomes, _, _ = self.play(self.relay(tls=tls), peer)
            self.assertEqual([outcome.result for outcome in outcomes], ["delivered"])

    def test_addresses_and_wildcards(self) -> None:
        """An address is verified as an address; a wildcard covers one label; names in other scripts as A-labels."""
        for host, names in (
            ("127.0.0.1", ("127.0.0.1",)),
            ("::1", ("::1",)),
            ("mail.example.com", ("*.example.com",)),
            ("bücher.example.com.", ("xn--bcher-kva.example.com",)),
        ):
            peer = Server(list(self.SCRIPT), ServerTLS(server(*names)))
            outcomes, _, _ = self.play(self.relay(host=host), peer)
            self.assertEqual([outcome.result for outcome in outcomes], ["delivered"], host)

    def test_a_big_message_over_tls(self) -> None:
        """A message of many blocks arrives whole."""
        content = b"Subject: x\r\n\r\n" + b".0123456789\r\n" * 50_000
        peer = Big()
        peer.options = ServerTLS(server(HOST))
        outcomes, pump, _ = self.play(self.relay(implicit=True), peer, content)
        while not outcomes:
            self.assertTrue(pump.pump())
        self.assertEqual([outcome.result for outcome in outcomes], ["delivered"])
        self.assertEqual(peer.got.replace(b"\r\n..", b"\r\n."), content + b".\r\n")


class Big(Server):
    """Takes a body until its dot."""

    def __init__(self) -> None:
        super().__init__([GREETING, b"250 x\r\n", OK, OK, GO], None, implicit=True)
        self.got = b""

    def heard(self, data: bytes, transport: Any) -> None:
        if self.script or data == b"QUIT\r\n":
            super().heard(data, transport)
            return
        self.got += data
        if self.got.endswith(b"\r\n.\r\n"):
            transport.write(OK)


class RefusedTests(TLSCase):
    def test_mail_fault_16_unknown_ca(self) -> None:
        """A certificate of a CA that is not trusted, or of none: retry, with the reason in words."""
        outcome = self.refusal(server(HOST, by="other CA"))
        self.assertEqual(outcome.text, "TLS: the server's certificate was issued by a CA that is not trusted here")
        self.assertEqual(outcome.enhanced, "4.7.5")
        self.assertEqual(self.refusal(self_signed(HOST)).text, "TLS: the server's certificate is self-signed")

    def test_mail_fault_16_platform_trust(self) -> None:
        """Without a CA file the platform's CAs count, and a test CA is none of them."""
        self.assertIn("not trusted here", self.refusal(server(HOST), trust_roots=None).text)

    def test_mail_fault_17_wrong_name(self) -> None:
        """A certificate for another name is refused, also for an address or a deeper wildcard."""
        for host, names in (
            (HOST, ("other.example",)),
            ("127.0.0.1", (HOST,)),
            ("a.b.example.com", ("*.example.com",)),
        ):
            outcome = self.refusal(server(*names), host=host)
            self.assertEqual(outcome.text, "TLS: the server's certificate bears other names")

    def test_mail_fault_18_expired(self) -> None:
        """An expired certificate, or one of tomorrow, is refused."""
        self.assertEqual(self.refusal(server(HOST, days=(-5, -1))).text, "TLS: the server's certificate has expired")
        self.assertEqual(self.refusal(server(HOST, days=(1, 5))).text, "TLS: the server's certificate is not valid yet")

    def test_an_expired_ca(self) -> None:
        """A certificate without any name is refused."""
        from tests.services.smtp_client import certs

        nameless = certs._issue("x", authority("test CA"), ())
        self.assertIn("the server's certificate", self.refusal(nameless).text)

    def test_mail_fault_19_handshake_hangs(self) -> None:
        """A handshake that hangs ends by its own limit."""
        peer = Server([GREETING, OFFER, b"220 go\r\n"], None)
        outcomes, _, connection = self.play(self.relay(), peer)
        self.clock.advance(58)
        self.assertEqual(outcomes, [])
        self.clock.advance(2)
        self.assertEqual((outcomes[0].result, outcomes[0].text), ("retry", "the TLS handshake took too long"))
        self.assertFalse(connection.session.tls_failed)

    def test_mail_fault_20_cut_in_handshake(self) -> None:
        """A cut in the handshake is a retry."""
        peer = Server([GREETING, OFFER, b"220 go\r\n"], None)
        outcomes, pump, _ = self.play(self.relay(), peer)
        assert peer.transport is not None
        peer.transport.loseConnection()
        pump.flush()
        self.assertEqual(outcomes[0].result, "retry")
        self.assertEqual(outcomes[0].text, "the connection was lost during the TLS handshake")

    def test_mail_fault_15_replies_in_clear_after_the_handshake_began(self) -> None:
        """Replies in clear that come in a segment of their own break the handshake, never the rule."""
        peer = Server([GREETING, OFFER, b"220 go\r\n"], None)
        outcomes, pump, _ = self.play(self.relay(tls="require"), peer)
        assert peer.transport is not None
        peer.transport.write(EHLO + OK + OK + GO + OK)
        pump.flush()
        self.assertEqual((outcomes[0].result, outcomes[0].phase), ("retry", "tls"))
        self.assertEqual([line for _, line in peer.lines if b"MAIL" in line], [])

    def test_mail_fault_21_old_tls_only(self) -> None:
        """TLS 1.1 is not spoken."""
        peer = Server([GREETING, OFFER, b"220 go\r\n", EHLO], ServerTLS(server(HOST), SSL.TLS1_1_VERSION))
        outcomes, _, _ = self.play(self.relay(tls="require"), peer)
        self.assertEqual((outcomes[0].result, outcomes[0].phase), ("retry", "tls"))
        self.assertIn("protocol version", outcomes[0].text)

    def test_optional_tls_that_fails_is_marked(self) -> None:
        """Only an optional STARTTLS that failed in its handshake may be followed by one without."""
        peer = Server([GREETING, OFFER, b"220 go\r\n"], None)
        outcomes, pump, connection = self.play(self.relay(tls="may"), peer)
        assert peer.transport is not None
        peer.transport.loseConnection()
        pump.flush()
        self.assertEqual(outcomes[0].result, "retry")
        self.assertTrue(connection.session.tls_failed)

    def test_tls_that_ends_in_the_body(self) -> None:
        """A server that ends TLS in the middle of the body is a retry, and the connection closes."""
        for content in (b"a: b\r\n\r\n" + b"x" * 70 * 1024 * 4, MESSAGE):
            peer = EndsInBody()
            peer.options = ServerTLS(server(HOST))
            outcomes, pump, _ = self.play(self.relay(implicit=True), peer, content)
            pump.flush()
            self.assertIn(outcomes[0].result, {"retry", "ambiguous"} if content is MESSAGE else {"retry"})
            self.assertEqual(self.clock.getDelayedCalls(), [])


class EndsInBody(Server):
    def __init__(self) -> None:
        super().__init__([GREETING, b"250 x\r\n", OK, OK, GO], None, implicit=True)

    def heard(self, data: bytes, transport: Any) -> None:
        if self.script:
            super().heard(data, transport)
        else:
            transport.loseConnection()


class PolicyTests(TLSCase):
    def test_an_unusable_ca_file(self) -> None:
        """A CA file that is missing or empty is said to be so; a changed one is read again."""
        path = self.roots()
        relay = self.relay(trust_roots=path)
        RelayTLS(relay)
        path.write_bytes(b"nothing")
        os.utime(path, ns=(1, 1))
        with self.assertRaises(TLSPolicyError) as caught:
            RelayTLS(relay)
        self.assertIn("no usable certificates", str(caught.exception))
        path.unlink()
        with self.assertRaises(TLSPolicyError) as caught:
            RelayTLS(relay)
        self.assertIn("No such file", str(caught.exception))

    def test_an_unusable_name(self) -> None:
        """A host that no certificate can bear is refused before anything is sent."""
        with self.assertRaises(TLSPolicyError):
            RelayTLS(self.relay(host="a b"))

    def test_problems_in_words(self) -> None:
        """An empty error queue is a lost connection; an unknown check keeps its number; a broken certificate is one."""
        creator = RelayTLS(self.relay())
        self.assertIn("lost during", handshake_problem(creator, SSL.Error([])))
        self.assertIn("lost during", handshake_problem(creator, SSL.Error([("", "", "")])))
        check: Callable[..., bool] = creator._check
        self.assertFalse(check(None, None, 99, 1, 0))
        self.assertIn("a certificate of the server's chain fails verification (error 99)", creator.problem or "")
        creator = RelayTLS(self.relay())
        self.assertFalse(creator._check(None, None, 0, 0, 1))  # type: ignore[arg-type]
        self.assertEqual(creator.problem, "the server's certificate cannot be read")
