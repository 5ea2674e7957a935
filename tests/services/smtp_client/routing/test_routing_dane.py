"""Facts about DANE: which records count, which chains match them, and handshakes in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.services.smtp_client.routing.answers import TLSA
from netsvc.services.smtp_client.routing.dane import MAX_RECORDS, problem, usable
from netsvc.services.smtp_client.routing.dane_tls import DaneMismatch, DaneTLS, relay_tls
from netsvc.services.smtp_client.routing.questions import MALFORMED
from netsvc.services.smtp_client.terms import Relay
from netsvc.services.smtp_client.tls_policy import RelayTLS, handshake_problem
from tests.services.smtp_client.certs import Issued, authority, self_signed, server

HOST = "mx.example"
LEAF = server(HOST)
CA = authority("test CA")


def record(usage: int, selector: int, matching: int, of: Issued) -> TLSA:
    """The record about a certificate."""
    octets = of.certificate.public_bytes(Encoding.DER)
    if selector:
        octets = of.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = {0: bytes, 1: lambda one: sha256(one).digest(), 2: lambda one: sha512(one).digest()}[matching]
    return TLSA(usage, selector, matching, digest(octets))


def look(records: list[TLSA], *chain: Issued, names: tuple[str, ...] = (HOST,), **how: Any) -> str | None:
    """What is wrong with a chain."""
    return problem(usable(records), [one.certificate for one in chain], names, **how)


class Usable(SynchronousTestCase):
    def test_uses(self) -> None:
        """Uses 2 and 3, selectors 0 and 1, matching 0 to 2 with digests of the right length count, and nothing else."""
        good = [record(use, part, how, LEAF) for use in (2, 3) for part in (0, 1) for how in (0, 2)]
        self.assertEqual(usable(good), tuple(good))
        for bad in (
            TLSA(0, 0, 1, b"x" * 32),
            TLSA(1, 1, 1, b"x" * 32),
            TLSA(255, 1, 1, b"x" * 32),
            TLSA(3, 2, 1, b"x" * 32),
            TLSA(3, 1, 3, b"x" * 32),
            TLSA(3, 1, 1, b"x" * 31),
            TLSA(3, 1, 2, b"x" * 32),
            TLSA(3, 1, 0, b""),
            MALFORMED,
        ):
            self.assertEqual(usable([bad]), ())

    def test_agility(self) -> None:
        """Where there are SHA-512 digests of one kind, SHA-256 ones of that kind do not count (RFC 7671 9)."""
        weak, strong, other = record(3, 1, 1, LEAF), record(3, 1, 2, CA), record(3, 0, 1, LEAF)
        self.assertEqual(usable([weak, strong, other]), (strong, other))

    def test_bounded(self) -> None:
        """Of many records 32 are looked at."""
        many = [TLSA(3, 1, 1, sha256(bytes([n])).digest()) for n in range(100)]
        self.assertEqual(len(usable(many)), MAX_RECORDS)

    @given(st.lists(st.builds(TLSA, *[st.integers(0, 4)] * 3, st.sampled_from([b"", b"x", b"x" * 32, b"x" * 64]))))
    def test_any_records(self, records: list[TLSA]) -> None:
        """Whatever the records are, those that count are among them, and a chain matches them or not."""
        self.assertLessEqual(set(usable(records)), set(records))
        if usable(records):
            self.assertIsNotNone(look(records, LEAF, CA))


class Matching(SynchronousTestCase):
    def test_dane_ee(self) -> None:
        """DANE-EE matches the server's own certificate, whole or its key, in every form, and whatever its names."""
        for selector in (0, 1):
            for matching in (0, 1, 2):
                self.assertIsNone(look([record(3, selector, matching, LEAF)], LEAF, names=("other.example",)))
                self.assertIsNotNone(look([record(3, selector, matching, self_signed(HOST))], LEAF))
                self.assertIsNotNone(look([record(3, selector, matching, CA)], LEAF, CA))

    def test_mail_fault_18_dane_ee_dates(self) -> None:
        """With DANE-EE the dates of a certificate do not matter, nor that it is self-signed (RFC 7672 3.1.1)."""
        for one in (server(HOST, days=(-5, -1)), self_signed(HOST)):
            self.assertIsNone(look([record(3, 1, 1, one)], one))

    def test_dane_ta(self) -> None:
        """DANE-TA matches an authority in the chain; then names and dates count."""
        for selector in (0, 1):
            for matching in (0, 1, 2):
                self.assertIsNone(look([record(2, selector, matching, CA)], LEAF, CA))
        self.assertIsNone(look([record(2, 0, 0, CA)], LEAF))  # the authority stands in the record
        self.assertIsNone(look([record(2, 0, 1, CA)], LEAF, CA, names=("a.example", HOST)))

    def test_mail_fault_16_dane_ta_other_authority(self) -> None:
        """A certificate under another authority than the record's does not match, though the right one be sent, too."""
        other = server(HOST, by="other CA")
        self.assertIn("match none", look([record(2, 0, 1, CA)], other, authority("other CA")) or "")
        self.assertIn("does not stand under", look([record(2, 0, 1, CA)], other, CA) or "")
        self.assertIn("match none", look([record(2, 0, 1, CA)], LEAF) or "")

    def test_mail_fault_17_dane_ta_name(self) -> None:
        """With DANE-TA the certificate must bear one of the names."""
        self.assertIn("other names", look([record(2, 0, 1, CA)], LEAF, CA, names=("other.example",)) or "")

    def test_mail_fault_18_dane_ta_expired(self) -> None:
        """With DANE-TA a certificate that has expired does not match."""
        later = datetime.now(UTC) + timedelta(days=100)
        self.assertIn("expired", look([record(2, 0, 1, CA)], LEAF, CA, at=later) or "")

    def test_no_authority(self) -> None:
        """A server's certificate is no authority for another."""
        self.assertIsNotNone(look([record(2, 0, 1, LEAF)], LEAF, CA))

    def test_one_is_enough(self) -> None:
        """One record that matches is enough, as when certificates are changed."""
        self.assertIsNone(look([record(3, 1, 1, CA), record(3, 1, 1, LEAF)], LEAF))

    def test_nothing_shown(self) -> None:
        """A server without a certificate matches nothing."""
        self.assertIsNotNone(look([record(3, 1, 1, LEAF)]))


class End(Protocol):
    """Remembers what came and how it ended."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Any = None

    def connectionMade(self) -> None:
        self.transport.write(b"hello")  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


@implementer(IOpenSSLServerConnectionCreator)
class Options:
    """The server's side of TLS."""

    def __init__(self, leaf: Issued, *others: Issued, old: bool) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        if old:
            self._context.set_cipher_list(b"ALL:@SECLEVEL=0")
            self._context.set_max_proto_version(SSL.TLS1_1_VERSION)
        self._context.use_privatekey(leaf.key)
        self._context.use_certificate(leaf.certificate)
        for one in others:
            self._context.add_extra_chain_cert(one.certificate)

    def serverConnectionForTLS(self, _: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


def shake(relay: Relay, *chain: Issued, old: bool = False) -> tuple[DaneTLS, End, End]:
    """A handshake in memory: the client's side of TLS, the client, the server."""
    options = Options(*chain, old=old)
    creator, client, far, clock = DaneTLS(relay), End(), End(), Clock()
    here = TLSMemoryBIOFactory(creator, True, Factory.forProtocol(lambda: client), clock).buildProtocol(None)
    there = TLSMemoryBIOFactory(options, False, Factory.forProtocol(lambda: far), clock).buildProtocol(None)
    pump = connect(there, FakeTransport(there, True), here, FakeTransport(here, False))
    for _ in range(5):
        pump.flush()
        clock.advance(0.1)
    return creator, client, far


class Handshakes(SynchronousTestCase):
    def relay(self, *records: TLSA, host: str = HOST, names: tuple[str, ...] = ()) -> Relay:
        return Relay(host=host, port=25, tls="verify", tlsa=records, names=names)

    def test_match(self) -> None:
        """With a certificate that a record names, octets pass."""
        for chain, one in (((LEAF,), record(3, 1, 1, LEAF)), ((LEAF, CA), record(2, 0, 2, CA))):
            creator, client, far = shake(self.relay(one), *chain)
            self.assertEqual((client.received, far.received, creator.problem), (b"hello", b"hello", None))

    def test_mail_fault_16_dane_handshake(self) -> None:
        """With another certificate the connection ends before an octet of ours passed, and it is said why."""
        creator, client, far = shake(self.relay(record(3, 1, 1, CA)), LEAF)
        self.assertEqual(far.received, b"")
        self.assertEqual(creator.problem, "the server's certificates match none of its TLSA records")
        self.assertIsInstance(client.lost.value, DaneMismatch)
        self.assertIn("match none", handshake_problem(creator, client.lost.value))  # type: ignore[arg-type]

    def test_mail_fault_17_dane_handshake(self) -> None:
        """With DANE-TA the other names of the relay count as well as its host, and none beside them."""
        one = record(2, 0, 1, CA)
        creator, _, far = shake(self.relay(one, host="alias.example", names=(HOST,)), LEAF, CA)
        self.assertEqual((creator.problem, far.received), (None, b"hello"))
        creator, _, far = shake(self.relay(one, host="alias.example"), LEAF, CA)
        self.assertEqual((creator.problem, far.received), ("the server's certificate bears other names", b""))

    def test_mail_fault_21_dane_handshake(self) -> None:
        """A server that knows only TLS 1.1 gets nothing, though a record names its certificate."""
        creator, client, far = shake(self.relay(record(3, 1, 1, LEAF)), LEAF, old=True)
        self.assertEqual(far.received, b"")
        self.assertIsNone(creator.problem)
        self.assertIn("TLS handshake failed", handshake_problem(creator, client.lost.value))

    def test_which(self) -> None:
        """Records make it DANE; without them the authorities of this machine are asked."""
        self.assertIsInstance(relay_tls(self.relay(record(3, 1, 1, LEAF))), DaneTLS)
        self.assertIsInstance(relay_tls(self.relay()), RelayTLS)
