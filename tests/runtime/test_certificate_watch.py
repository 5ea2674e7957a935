"""Certificates that change while a listener uses them, as Python's own ssl sees them."""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.tls import Tls, TlsDirectory, TlsPlace
from netsvc.errors import StartError
from netsvc.runtime import certificate_watch
from netsvc.runtime.certificate_watch import (
    LOOK_ALWAYS,
    LOOK_EVERY,
    SETTLE,
    WARN_EVERY,
    CertificateWatch,
)
from netsvc.runtime.certificates import BadCertificateError
from netsvc.runtime.tls import context_maker, tls_factory
from tests.fakes import FakeMetrics
from tests.runtime.certificates import DAY, make_pem

METRIC = "tls_certificate_expiry_timestamp_seconds"
EVENTS = "tls-certificate-", "tls-directory-", "tls-name-"


class Case(SynchronousTestCase):
    """A directory of certificates and a watch on it."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.clock = Clock()
        self.wall = 0.0  # seconds that have passed for the time of day only
        self.metrics = FakeMetrics()
        self.events: list[dict[str, Any]] = []
        self.factory = Factory.forProtocol(Protocol)
        self.factory.noisy = False

        def observe(event: Any) -> None:
            if str(event.get("event", "")).startswith(EVENTS):
                self.events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def write(self, name: str, *names: str, **options: Any) -> bytes:
        """A certificate with its key in one file."""
        pem, key = make_pem(names, days=options.pop("days", 90), now=self.now(), **options)
        self.replace(name, pem + key)
        return pem

    def replace(self, name: str, octets: bytes) -> None:
        """As those do who are careful."""
        temporary = self.directory / f".{name}"
        temporary.write_bytes(octets)
        temporary.rename(self.directory / name)

    def now(self) -> float:
        return 1_800_000_000.0 + self.clock.seconds() + self.wall

    def begin(self, place: TlsPlace | None = None) -> CertificateWatch:
        self.watch = CertificateWatch(
            place or TlsDirectory(self.directory),
            service="web",
            reactor=self.clock,
            metrics=self.metrics,
            now=self.now,
        )
        self.make = context_maker(self.factory, self.watch.context)

        def make(chosen: Any) -> Any:  # a test may replace it
            return self.make(chosen)

        self.watch.load(make)
        self.watch.start()
        self.addCleanup(self.watch.stop)
        return self.watch

    def connect(self, name: str | None, ciphers: str = "") -> ssl.SSLObject:
        """A client of a new connection, its handshake done."""
        server: Any = tls_factory(self.watch, self.factory, self.clock).buildProtocol(None)
        transport: Any = StringTransport()
        transport.abortConnection = transport.loseConnection
        server.makeConnection(transport)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if ciphers:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=name)
        for _ in range(9):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                server.dataReceived(outgoing.read())
                self.clock.advance(0)
                if transport.disconnecting:  # cut: nothing arrives any more
                    incoming.write_eof()
                incoming.write(b"" if transport.disconnecting else transport.value())
                transport.clear()
            else:
                return client
        raise AssertionError("the handshake does not end")

    def served(self, name: str | None, ciphers: str = "") -> bytes:
        """The certificate that a peer gets, in PEM."""
        der = self.connect(name, ciphers).getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)

    def happened(self) -> list[str]:
        """The events since the last call."""
        names = [str(event["event"]) for event in self.events]
        self.events.clear()
        return names


class ServingTests(Case):
    def test_static_tls_names(self) -> None:
        """Each peer gets the certificate of the name that it asks for; with none or an unknown one, the default."""
        one = self.write("1.pem", "one.example")
        wild = self.write("2.pem", "*.example.org")
        www = self.write("3.pem", "www.example.org")
        self.begin()
        for name, expected in (
            ("one.example", one),
            ("ONE.example", one),
            ("www.example.org", www),
            ("blog.example.org", wild),
            ("a.b.example.org", one),
            ("unknown.example", one),
            (None, one),
        ):
            self.assertEqual(self.served(name), expected, name)
        self.assertEqual(
            sorted(dict(key)["certificate"] for key in self.metrics.metrics[METRIC].values), ["1.pem", "2.pem", "3.pem"]
        )
        self.assertEqual(self.happened(), [])

    def test_static_tls_both_kinds_of_keys(self) -> None:
        """A peer that knows RSA only gets the RSA certificate of a name, with a chain of its own; others get ECDSA."""
        signers = {kind: make_pem([f"{kind} signer"], now=self.now()) for kind in ("ec", "rsa")}
        served = {}
        for kind, signer in signers.items():
            served[kind], key = make_pem(["both.example"], days=90, kind=kind, signer=signer, now=self.now())
            self.replace(f"{kind}.pem", served[kind] + signer[0] + key)
        self.begin()
        for name in ("both.example", None):
            self.assertEqual(self.served(name), served["ec"])
            self.assertEqual(self.served(name, "ECDHE-ECDSA-AES128-GCM-SHA256"), served["ec"])
            self.assertEqual(self.served(name, "ECDHE-RSA-AES128-GCM-SHA256"), served["rsa"])
        for kind, ciphers in (("ec", "ECDHE-ECDSA-AES128-GCM-SHA256"), ("rsa", "ECDHE-RSA-AES128-GCM-SHA256")):
            client: Any = self.connect("both.example", ciphers)
            chain = [one.public_bytes() for one in client._sslobj.get_unverified_chain()]  # public since Python 3.13
            self.assertEqual(chain, [served[kind].decode(), signers[kind][0].decode()])

    def test_only_new_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken; there is no compression and no renegotiation, whichever name was asked for."""
        self.write("1.pem", "one.example")
        self.write("2.pem", "two.example")
        self.begin()
        for name in ("one.example", "two.example"):
            self.assertEqual(self.connect(name).version(), "TLSv1.3")
            client = self.connect(name, "ECDHE-ECDSA-AES128-GCM-SHA256")
            self.assertEqual((client.version(), client.compression()), ("TLSv1.2", None))
            options = SSL.Connection(self.watch.context(name.encode()), None).set_options(0)
            for forbidden in (SSL.OP_NO_RENEGOTIATION, SSL.OP_NO_COMPRESSION, SSL.OP_NO_TLSv1_1):
                self.assertTrue(options & forbidden)

    def test_fault_in_the_choice(self) -> None:
        """When no certificate can be chosen that handshake ends, and no other."""
        pem = self.write("1.pem", "one.example")
        self.begin()

        def context_for(name: bytes | None) -> Any:
            return self.watch.context(None) if name is None else 1 / 0

        self.make = context_maker(self.factory, context_for)
        self.write("1.pem", "one.example")
        self.clock.advance(LOOK_EVERY)
        self.assertRaises(ssl.SSLError, self.connect, "one.example")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNotEqual(self.served(None), pem)


class StartTests(Case):
    def refused(self, place: TlsPlace | None = None) -> str:
        return str(self.assertRaises(StartError, self.begin, place))

    def test_bad_at_start(self) -> None:
        """Everything that cannot be used is named at once, a line each."""
        self.write("good.pem", "good")
        pem = make_pem(["a"])[0]
        (self.directory / "bad.pem").write_bytes(pem)
        (self.directory / "other.crt").write_bytes(pem)
        (self.directory / "other.key").write_bytes(make_pem(["b"])[1])
        (self.directory / "folder").mkdir()
        (self.directory / "folder" / "fullchain.pem").write_bytes(pem)
        self.write("weak.pem", "weak", kind="weak")
        complaints = self.refused().splitlines()
        self.assertEqual(len(complaints), 4)
        for complaint, words in zip(
            complaints,
            ("bad.pem cannot be used", "privkey.pem cannot be used: No such", "does not belong", "ee key too small"),
            strict=True,
        ):
            self.assertIn(words, complaint)

    def test_nothing_at_start(self) -> None:
        """A directory without a certificate, or that cannot be read, is one clear line."""
        self.assertIn("there is no certificate in", self.refused())
        self.assertIn("No such file", self.refused(TlsDirectory(self.directory / "none")))

    def test_always_changing(self) -> None:
        """Files that change each time they are looked at are not trusted."""
        self.write("a.pem", "a")
        looks = iter(range(100))

        def identity(_: object) -> int:
            return next(looks)

        self.patch(certificate_watch, "_identity", identity)
        self.assertIn("change all the time", self.refused())


class ReloadTests(Case):
    def look(self) -> None:
        """A peer comes after a while."""
        self.clock.advance(LOOK_EVERY)
        self.watch.look_if_due()

    def test_renewed(self) -> None:
        """A renewed certificate answers the next handshake after LOOK_EVERY; connections go on as they were."""
        old = self.write("a.pem", "a")
        self.begin()
        open_before = self.connect("a")
        new = self.write("a.pem", "a", days=100)
        self.assertEqual(self.served("a"), old)
        self.clock.advance(LOOK_EVERY)
        self.assertEqual(self.served("a"), new)
        self.assertEqual(self.happened(), ["tls-certificate-loaded"])
        [ends] = self.metrics.metrics[METRIC].values.values()
        self.assertEqual(ends, x509.load_pem_x509_certificate(new).not_valid_after_utc.timestamp())
        self.assertIsNotNone(open_before.getpeercert(binary_form=True))

    def test_certbot(self) -> None:
        """Certbot turns its links to new files; that the links are gone for a moment harms nobody."""
        live = self.directory / "www"
        live.mkdir()
        archive = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, archive)
        pems = []
        for number in (1, 2):
            pem, key = make_pem(["www"], days=90, now=self.now())
            (archive / f"fullchain{number}.pem").write_bytes(pem)
            (archive / f"privkey{number}.pem").write_bytes(key)
            pems.append(pem)
        for name in ("fullchain", "privkey"):
            (live / f"{name}.pem").symlink_to(archive / f"{name}1.pem")
        self.write("other.pem", "other")
        self.begin()
        self.assertEqual(self.served("www"), pems[0])
        (live / "fullchain.pem").unlink()
        self.look()
        (live / "fullchain.pem").symlink_to(archive / "fullchain2.pem")
        self.look()
        self.assertEqual(self.served("www"), pems[0])
        (live / "privkey.pem").unlink()
        (live / "privkey.pem").symlink_to(archive / "privkey2.pem")
        self.look()
        self.assertEqual(self.served("www"), pems[1])
        self.assertEqual(self.happened(), ["tls-certificate-loaded"])

    def test_in_place(self) -> None:
        """The single-file form reloads in the same way: the key is written after the certificate."""
        place = Tls(self.directory / "a.crt", self.directory / "a.key", self.directory / "chain.pem")
        old, new = (make_pem(["a"], days=90, now=self.now()) for _ in range(2))
        for path, octets in zip((place.certificate, place.key, place.chain), (*old, old[0]), strict=True):
            assert path is not None
            path.write_bytes(octets)
        self.begin(place)
        self.assertEqual(self.served(None), old[0])
        place.certificate.write_bytes(new[0])
        self.look()
        self.assertEqual(self.served("a"), old[0])
        place.key.write_bytes(new[1])
        self.look()
        self.assertEqual(self.served("a"), new[0])
        self.assertEqual(self.happened(), ["tls-certificate-loaded"])
        place.key.unlink()
        self.look()
        self.look()
        self.assertEqual(self.served("a"), new[0])
        self.assertEqual(self.happened(), ["tls-certificate-refused"])

    def test_bad_stays_out(self) -> None:
        """A file that is bad for longer than a moment is told of once; the certificate before stays."""
        good = self.write("a.pem", "a")
        self.begin()
        for octets in (good[:100], b"", good, good + make_pem(["x"])[1]):
            (self.directory / "a.pem").write_bytes(octets)
            self.look()
            self.assertEqual(self.happened(), [])
            self.clock.advance(SETTLE)  # nobody comes: it looks again by itself
            self.assertEqual(self.happened(), ["tls-certificate-refused"])
            for _ in range(3):
                self.look()
            self.assertEqual(self.served("a"), good)
            self.assertEqual(self.happened(), [])
        new = self.write("a.pem", "a")
        self.look()
        self.assertEqual(self.served("a"), new)
        self.assertEqual(self.happened(), ["tls-certificate-loaded"])

    def test_added_bad(self) -> None:
        """A new file that cannot be used is told of once and removed in silence."""
        good = self.write("a.pem", "a")
        self.begin()
        (self.directory / "b.pem").write_bytes(b"later")
        for _ in range(4):
            self.look()
        self.assertEqual(self.happened(), ["tls-certificate-refused"])
        (self.directory / "b.pem").unlink()
        for _ in range(4):
            self.look()
        self.assertEqual(self.happened(), [])
        self.assertEqual(self.served("b"), good)

    def test_added_and_removed(self) -> None:
        """A certificate that is added is used; one that is removed goes, with its metric."""
        one = self.write("1.pem", "one")
        self.begin()
        two = self.write("2.pem", "two")
        self.look()
        self.assertEqual([self.served("one"), self.served("two")], [one, two])
        (self.directory / "1.pem").unlink()
        self.look()
        self.assertEqual(self.served("one"), one)
        self.clock.advance(SETTLE)
        self.assertEqual([self.served("one"), self.served("two"), self.served(None)], [two, two, two])
        self.assertEqual(self.happened(), ["tls-certificate-loaded", "tls-certificate-removed"])
        self.assertEqual(len(self.metrics.metrics[METRIC].values), 1)
        self.assertEqual(len(self.watch._contexts), 1)

    def test_the_last_stays(self) -> None:
        """A listener keeps its last certificate, whatever becomes of the directory; that is told once."""
        good = self.write("a.pem", "a")
        self.begin()
        (self.directory / "a.pem").rename(self.directory / ".a")
        for _ in range(3):
            self.look()
        self.assertEqual(self.happened(), ["tls-directory-refused"])
        (self.directory / "b.pem").write_bytes(b"bad")
        for _ in range(4):
            self.look()
        self.assertEqual(self.happened(), ["tls-certificate-refused"])
        self.directory.rename(f"{self.directory}-away")
        self.look()
        self.look()
        self.assertEqual(self.happened(), ["tls-directory-refused"])
        self.assertEqual(self.served("a"), good)
        Path(f"{self.directory}-away").rename(self.directory)
        new = self.write("a.pem", "a")
        self.look()
        self.assertEqual(self.served("a"), new)

    def test_not_readable(self) -> None:
        """Keys that cannot be read any more, as after privileges dropped, leave the old one in use."""
        good = self.write("a.pem", "a")
        self.begin()
        self.write("a.pem", "a")
        real = os.open

        def refusing(path: Any, *rest: Any, **named: Any) -> int:
            if str(path).endswith("a.pem"):
                raise PermissionError(13, "Permission denied")
            return real(path, *rest, **named)

        self.patch(os, "open", refusing)
        for _ in range(3):
            self.look()
        self.assertEqual(len(self.events), 1)
        self.assertIn("Permission denied", self.events[0]["reason"])
        self.assertEqual(self.happened(), ["tls-certificate-refused"])
        self.assertEqual(self.served("a"), good)

    def test_looks_are_few(self) -> None:
        """However many peers come, the files are looked at once in LOOK_EVERY; none is read that did not change."""
        self.write("a.pem", "a")
        watch = self.begin()
        looks: list[float] = []
        real = watch._sources

        def counted() -> Any:
            looks.append(self.clock.seconds())
            return real()

        watch._sources = counted  # type: ignore[method-assign]
        made: list[Any] = []
        self.make = made.append  # type: ignore[assignment]
        for _ in range(100):
            self.clock.advance(0.1)
            watch.look_if_due()
        self.assertIn(len(looks), range(4, 6))
        self.assertEqual(made, [])

    def test_together_refused(self) -> None:
        """Two kinds of keys that OpenSSL does not take together are no reason to serve nothing."""
        self.write("1.pem", "a", kind="rsa")
        self.write("2.pem", "a")

        real = context_maker(self.factory, {}.__getitem__)

        def make(chosen: Any) -> Any:
            if len(chosen) > 1:
                raise BadCertificateError("not together")
            return real(chosen)

        watch = CertificateWatch(
            TlsDirectory(self.directory), service="web", reactor=self.clock, metrics=self.metrics, now=self.now
        )
        watch.load(make)
        self.assertIs(watch.context(b"a"), watch.context(None))


class ExpiryTests(Case):
    def warnings(self) -> list[str]:
        found = [event["log_format"].partition(" has ")[1] or "soon" for event in self.events]
        self.happened()
        return found

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds // LOOK_ALWAYS)):
            self.clock.advance(LOOK_ALWAYS)

    def test_warns(self) -> None:
        """A certificate is warned of at the start and once a day, from 14 days before its end until it is replaced."""
        self.write("a.pem", "a", days=15.5)
        self.write("b.pem", "b", days=13)
        self.write("c.pem", "c", days=-0.5)
        self.begin()
        self.assertEqual(sorted(event["certificate"] for event in self.events), ["b.pem", "c.pem"])
        self.assertEqual(sorted(self.warnings()), [" has ", "soon"])
        self.pass_time(WARN_EVERY - LOOK_ALWAYS)
        self.assertEqual(self.happened(), [])
        self.pass_time(LOOK_ALWAYS)
        self.assertEqual(len(self.warnings()), 2)
        self.pass_time(WARN_EVERY)
        self.assertEqual(len(self.warnings()), 3)
        self.write("c.pem", "c", days=1)
        self.watch.look()
        self.assertEqual(self.happened(), ["tls-certificate-loaded", "tls-certificate-expires"])
        self.write("c.pem", "c", days=90)
        self.watch.look()
        self.assertEqual(self.happened(), ["tls-certificate-loaded"])

    def test_choice_follows_the_time(self) -> None:
        """One that has expired gives way to one that is valid, without a change of files; one that begins comes in."""
        old = self.write("1.pem", "a", days=2)
        new = self.write("2.pem", "a", begins=1, days=1.5)
        self.begin()
        self.assertEqual(self.served("a"), old)
        self.wall += 1.2 * DAY
        self.clock.advance(LOOK_ALWAYS)
        self.assertEqual(self.served("a"), old)
        self.write("2.pem", "a", begins=-1, days=3)
        self.wall += DAY
        self.clock.advance(LOOK_ALWAYS)
        self.assertNotIn(self.served("a"), (old, new))

    def test_stop(self) -> None:
        """After stop nothing is scheduled; a second start changes nothing."""
        self.write("a.pem", "a")
        self.begin()
        self.watch.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        (self.directory / "a.pem").write_bytes(b"")
        self.watch.look()
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.stop()
        self.watch.look()
        self.assertEqual(self.clock.getDelayedCalls(), [])
