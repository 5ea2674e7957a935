"""Facts about routes: the table, the hosts and the TLS they must have; from a DNS in memory, and from real servers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.routing.answers import MX, TLSA, Answer, Decision
from netsvc.services.smtp_client.routing.mta_sts import Policy
from netsvc.services.smtp_client.routing.places import Place, ToMX, place
from netsvc.services.smtp_client.routing.policy import Policies
from netsvc.services.smtp_client.routing.questions import MALFORMED
from netsvc.services.smtp_client.routing.route import Hops, Local, Router, Rules
from netsvc.services.smtp_client.routing.settings import Login
from netsvc.services.smtp_client.routing.table import routes, tls_policies
from netsvc.services.smtp_client.terms import Relay, TLSWish
from netsvc.services.smtp_client.wishes import tls_wish
from tests.services.smtp_client.certs import authority, server
from tests.services.smtp_client.routing.authority import Authority
from tests.services.smtp_client.routing.names import FAILED, NO_NAME, NOBODY, NOTHING, Names, found, now
from tests.services.smtp_client.routing.route_child import run
from tests.services.smtp_client.routing.test_routing_sts import Https, plain

HERE = Context(Path("/"))
GOOD = TLSA(3, 1, 1, b"x" * 32)
MAIL_HOSTS = ToMX()
SECRET = Secret("literal", "x")


def signed(**more: Answer[TLSA]) -> Names:
    """A domain whose DNS is all secure: hosts ``one.mx`` and ``two.mx``."""
    return Names(
        mx={"a.example": found(MX(1, "one.mx"), MX(2, "two.mx"), secure=True)},
        addresses={host: found(address, secure=True) for host, address in (("one.mx", "192.0.2.1"), ("two.mx", "::2"))},
        tlsa={(f"{host}.mx", 25): answer for host, answer in more.items()},
    )


def unsigned() -> Names:
    """The same without DNSSEC, but with TLSA records that claim to be secure."""
    names = signed(one=found(GOOD, secure=True), two=found(GOOD, secure=True))
    names.mx_answers["a.example"] = found(*names.mx_answers["a.example"].records)
    return names


class Case(SynchronousTestCase):
    def router(
        self,
        names: Names,
        *,
        sts: Policy | None = None,
        policies: str = "",
        table: str = "",
        default: Place = MAIL_HOSTS,
    ) -> Router:
        async def policy(domain: str) -> Policy | None:
            self.sts_asked.append(domain)
            return sts

        self.sts_asked: list[str] = []
        return Router(
            rules=Rules(
                routes=routes().parse(table, HERE),
                default=default,
                smarthost=Relay(host="", port=25, tls="verify", username="own", password=SECRET),
                logins={"work": Login("work", "anna", SECRET)},
            ),
            resolver=names,
            policies=Policies(
                table=tls_policies().parse(policies, HERE), resolver=names, sts=policy, trust_roots=None, port=25
            ),
            ourselves=NOBODY,
            random=lambda: 0.5,
        )

    def route(
        self,
        names: Names,
        to: str = "a.example",
        sender: str = "me@b.example",
        wish: TLSWish = TLSWish(),  # noqa: B008
        **how: Any,
    ) -> Any:
        return now(self.router(names, **how).route(to, sender, wish))

    def hops(self, names: Names, **how: Any) -> list[tuple[str, str, str]]:
        """Host, policy and where it comes from."""
        answer = self.route(names, **how)
        assert isinstance(answer, Hops), answer
        return [(one.host, one.tls, one.tls_source) for one in answer.relays]


ENFORCE = Policy("enforce", 1, ("one.mx",))
TESTING = Policy("testing", 1, ("one.mx",))


class TLS(Case):
    def test_nothing_said(self) -> None:
        """Without any policy TLS is used where it is offered, and no host's credentials are used."""
        answer = self.route(unsigned())
        self.assertEqual(
            [(one.host, one.address, one.port, one.tls, one.username) for one in answer.relays],
            [("one.mx", "192.0.2.1", 25, "may", None), ("two.mx", "::2", 25, "may", None)],
        )
        self.assertEqual(answer.source, "relay: mx")

    def test_dane(self) -> None:
        """Secure TLSA records make their host verified, by the names of RFC 7672 3.2.2; others stay as they are."""
        names = signed(one=found(GOOD, secure=True), two=Answer("nothing", secure=True))
        answer = self.route(names)
        one, two = answer.relays
        self.assertEqual((one.tls, one.tlsa, one.names), ("verify", (GOOD,), ("one.mx", "a.example")))
        self.assertEqual(one.tls_source, "DANE: TLSA records of one.mx")
        self.assertEqual((two.tls, two.tlsa), ("may", ()))

    def test_requiretls(self) -> None:
        """With REQUIRETLS hosts are verified whose names are certain; where none is, there is no way, now or later."""
        wish = TLSWish(required=True, waived=lambda: True)
        words = "no policy: TLS where it is offered; the message says REQUIRETLS"
        names = signed(one=found(GOOD, secure=True), two=Answer("nothing", secure=True))
        dane = "DANE: TLSA records of one.mx"
        self.assertEqual(self.hops(names, wish=wish), [("one.mx", "verify", dane), ("two.mx", "verify", words)])
        answer = self.route(unsigned(), wish=wish)
        self.assertEqual((answer.result, answer.enhanced), ("permanent", "5.7.10"))
        self.assertIn("neither DNSSEC nor MTA-STS vouches for one.mx as mail host of a.example", answer.text)
        sts = "MTA-STS of a.example, mode enforce"
        self.assertEqual(self.hops(unsigned(), sts=ENFORCE, wish=wish), [("one.mx", "verify", sts)])
        self.assertEqual(self.route(unsigned(), sts=TESTING, wish=wish).enhanced, "5.7.10")
        self.assertEqual({tls for _, tls, _ in self.hops(unsigned(), policies="* verify", wish=wish)}, {"verify"})
        bounce = self.hops(unsigned(), sender="", wish=TLSWish(required=True))
        self.assertEqual(bounce, self.hops(unsigned(), sender=""))  # RFC 8689 5: none is thrown away
        names = unsigned()
        names.address_answers["b.example"], names.mx_answers["b.example"] = found("192.0.2.9"), NOTHING
        self.assertEqual(self.hops(names, to="b.example", wish=wish), [("b.example", "verify", words)])
        names = unsigned()
        names.address_answers["two.mx"] = FAILED
        names.address_answers["one.mx"] = FAILED
        self.assertEqual(self.route(names, wish=wish).result, "retry")

    def test_requiretls_and_smarthosts(self) -> None:
        """A smarthost, too, is verified for such a message, whatever it is for others."""
        wish = TLSWish(required=True)
        for policy in ("none", "may", "require"):
            ((host, tls, source),) = self.hops(
                unsigned(), default=place("smtp:s.example"), policies=f"s.example {policy}", wish=wish
            )
            self.assertEqual((host, tls), ("s.example", "verify"))
            self.assertIn("; the message says REQUIRETLS", source)

    def test_tls_required_no(self) -> None:
        """With TLS-Required: No neither DANE nor MTA-STS counts, nor are they asked; the own table does."""
        for field, waived in (
            (b"TLS-Required: No\r\n", True),
            (b"tls-required:\tno \n", True),
            (b"TLS-Required: Yes\n", False),
        ):
            wish = tls_wish({}, b"Subject: x\r\n" + field + b"\r\n")
            names = signed(one=found(GOOD, secure=True), two=FAILED)
            found_tls = [tls for _, tls, _ in self.hops(names, sts=ENFORCE, wish=wish)]
            self.assertEqual(found_tls, ["may", "may"] if waived else ["verify"])
            self.assertEqual("_25._tcp.one.mx" in names.asked, not waived)
            self.assertEqual(len(self.hops(unsigned(), sts=ENFORCE, wish=wish)), 2 if waived else 1)
            self.assertEqual(bool(self.sts_asked), not waived)
        wish = tls_wish({}, b"TLS-Required: No\r\n\r\n")
        self.assertEqual({tls for _, tls, _ in self.hops(unsigned(), policies="* verify", wish=wish)}, {"verify"})
        wish = tls_wish({"require_tls": "yes"}, b"TLS-Required: No\r\n\r\n")
        self.assertEqual(self.route(unsigned(), wish=wish).enhanced, "5.7.10")
        self.assertFalse(tls_wish({}, b"Subject: x\r\n\r\nTLS-Required: No\r\n").waived())

    def test_dane_needs_dnssec(self) -> None:
        """TLSA records count only if the hosts, their addresses and the records themselves are secure."""
        names = unsigned()
        self.assertEqual([tls for _, tls, _ in self.hops(names)], ["may", "may"])
        self.assertNotIn("_25._tcp.one.mx", names.asked)
        names = signed(one=found(GOOD, secure=True), two=found(GOOD))
        names.address_answers["one.mx"] = found("192.0.2.1")
        self.assertEqual([tls for _, tls, _ in self.hops(names)], ["may", "may"])
        self.assertNotIn("_25._tcp.one.mx", names.asked)

    def test_dane_unusable(self) -> None:
        """Secure records that cannot be used ask for TLS with any certificate."""
        for record in (TLSA(1, 1, 1, b"x" * 32), MALFORMED):
            (_, tls, source), _ = self.hops(signed(one=found(record, secure=True)))
            self.assertEqual(tls, "require")
            self.assertIn("DANE: no TLSA record of one.mx can be used", source)

    def test_mail_fault_14_dane_cannot_be_looked_up(self) -> None:
        """A host whose TLSA records cannot be looked up is left out: who suppresses them must not get the mail."""
        self.assertEqual([host for host, _, _ in self.hops(signed(one=FAILED))], ["two.mx"])
        answer = self.route(signed(one=FAILED, two=FAILED))
        self.assertEqual((answer.result, answer.enhanced), ("retry", "4.7.5"))
        self.assertIn("SERVFAIL", answer.text)

    def test_dane_alias(self) -> None:
        """Of a host that is an alias records at its true name come first, then those at the alias (RFC 7672 2.2.3)."""
        names = signed()
        names.address_answers["one.mx"] = found("192.0.2.1", secure=True, name="true.mx")
        names.tlsa_answers = {("true.mx", 25): found(GOOD, secure=True)}
        answer = self.route(names)
        self.assertEqual(answer.relays[0].names, ("true.mx", "one.mx", "a.example"))
        other = TLSA(3, 1, 1, b"y" * 32)
        names.tlsa_answers = {("true.mx", 25): NO_NAME, ("one.mx", 25): found(other, secure=True)}
        self.assertEqual(self.route(names).relays[0].tlsa, (other,))

    def test_mail_fault_14_sts_enforce(self) -> None:
        """MTA-STS in mode enforce wants TLS verified, and no host that it does not name."""
        self.assertEqual(
            self.hops(unsigned(), sts=ENFORCE), [("one.mx", "verify", "MTA-STS of a.example, mode enforce")]
        )
        answer = self.route(unsigned(), sts=Policy("enforce", 1, ("other.mx",)))
        self.assertEqual((answer.result, answer.enhanced), ("retry", "4.7.5"))
        self.assertIn("does not name its mail host one.mx", answer.text)

    def test_sts_softer(self) -> None:
        """Mode testing changes nothing but the words, mode none nothing at all."""
        (_, tls, one), (_, other, two) = self.hops(unsigned(), sts=TESTING)
        self.assertEqual((tls, other), ("may", "may"))
        self.assertIn("mode testing: ", one)
        self.assertIn("does not name this host", two)
        self.assertEqual(self.hops(unsigned(), sts=Policy("none", 1)), self.hops(unsigned()))

    def test_dane_outranks_sts(self) -> None:
        """Where DANE speaks MTA-STS neither softens nor forbids; beside records of no use, enforce still counts."""
        names = signed(one=found(GOOD, secure=True), two=found(GOOD, secure=True))
        self.assertEqual([source[:5] for _, _, source in self.hops(names, sts=ENFORCE)], ["DANE:"] * 2)
        self.assertEqual(self.sts_asked, [])
        names = signed(one=FAILED, two=FAILED)
        self.assertIsInstance(self.route(names, sts=TESTING), Decision)
        names = signed(one=found(MALFORMED, secure=True), two=found(MALFORMED, secure=True))
        self.assertEqual(self.hops(names, sts=ENFORCE), [("one.mx", "verify", "MTA-STS of a.example, mode enforce")])
        self.assertEqual([tls for _, tls, _ in self.hops(names, sts=TESTING)], ["require", "require"])

    def test_table(self) -> None:
        """A line of tls_policies is the last word: neither DANE nor MTA-STS is asked."""
        for word in ("none", "may", "require", "verify"):
            names = signed(one=found(GOOD, secure=True))
            hops = self.hops(names, sts=ENFORCE, policies=f"b.example none\n.example {word}")
            self.assertEqual(hops[0], ("one.mx", word, f"tls_policies, line 2 (.example {word})"))
            self.assertEqual((len(hops), self.sts_asked), (2, []))
            self.assertNotIn("_25._tcp.one.mx", names.asked)

    def test_mail_fault_14_only_dane(self) -> None:
        """With dane in the table a host without usable secure records is left out, and without any mail waits."""
        names = signed(one=found(MALFORMED, secure=True), two=found(GOOD, secure=True))
        self.assertEqual([host for host, _, _ in self.hops(names, policies="* dane")], ["two.mx"])
        for names in (unsigned(), signed(), signed(one=found(MALFORMED, secure=True), two=NOTHING)):
            answer = self.route(names, policies="a.example dane", sts=ENFORCE)
            self.assertEqual((answer.result, answer.enhanced), ("retry", "4.7.5"))
            self.assertIn("tls_policies, line 1 (a.example dane)", answer.text)

    def test_literal(self) -> None:
        """An address literal has neither DANE nor MTA-STS."""
        answer = self.route(Names(), "[192.0.2.1]", sts=ENFORCE)
        self.assertEqual(
            [(one.host, one.address, one.tls) for one in answer.relays], [("192.0.2.1", "192.0.2.1", "may")]
        )
        self.assertEqual(self.sts_asked, [])

    def test_every_address(self) -> None:
        """Each address of a host is a hop of its own, with the host's name and policy."""
        names = signed(one=found(GOOD, secure=True))
        names.address_answers["one.mx"] = found("::1", "192.0.2.1", secure=True)
        relays = self.route(names).relays
        self.assertEqual([one.address for one in relays], ["::1", "192.0.2.1", "::2"])
        self.assertEqual({(one.host, one.tlsa) for one in relays[:2]}, {("one.mx", (GOOD,))})


class Places(Case):
    def test_smarthosts(self) -> None:
        """Smarthosts come in their order, not looked up, with the section's TLS and login or a login of their own."""
        names = Names()
        answer = self.route(names, default=place("smtp:x.example:587 smtps:[::1] login=work"))
        one, two = answer.relays
        self.assertEqual(
            (one.host, one.port, one.implicit, one.tls, one.username), ("x.example", 587, False, "verify", "own")
        )
        self.assertEqual(
            (two.host, two.port, two.implicit, two.tls, two.username), ("::1", 465, True, "verify", "anna")
        )
        self.assertEqual((one.address, one.tls_source, answer.source), ("", "tls of the section", "relay"))
        self.assertEqual(names.asked, [])

    def test_smarthost_policies(self) -> None:
        """A smarthost's own line counts; smtps: is TLS whatever the line says."""
        where = place("smtp:x.example smtps:y.example smtp:[::1]")
        hops = self.hops(Names(), default=where, policies="x.example none\ny.example may\n[::1] require")
        self.assertEqual([tls for _, tls, _ in hops], ["none", "require", "require"])
        self.assertIn("smtps: is TLS in any case", hops[1][2])

    def test_smarthost_dane(self) -> None:
        """With dane a smarthost needs secure TLSA records at its port; without, the next is used, or mail waits."""
        names = Names(
            addresses={"x.example": found("192.0.2.1", secure=True), "mute.example": FAILED},
            tlsa={("x.example", 587): found(GOOD, secure=True)},
        )
        where = place("smtp:mute.example smtp:gone.example smtp:x.example:25 smtp:x.example:587")
        answer = self.route(names, default=where, policies="* dane")
        self.assertEqual(
            [(one.port, one.tls, one.tlsa, one.address) for one in answer.relays], [(587, "verify", (GOOD,), "")]
        )
        answer = self.route(names, default=place("smtp:mute.example"), policies="* dane")
        self.assertEqual((answer.result, answer.enhanced), ("retry", "4.7.5"))

    def test_table(self) -> None:
        """The table decides by domain and sender, the rest goes the default way; each says which line it was."""
        table = "b.example maildir:m\nfrom:boss@b.example smtp:x.example\n.c.example mx"
        local = self.route(Names(), "b.example", table=table)
        assert isinstance(local, Local)
        self.assertEqual((str(local.maildir), local.source), ("maildir:m", "routes, line 1 (b.example)"))
        hops = self.route(Names(), "a.example", "boss@b.example", table=table)
        self.assertEqual((hops.relays[0].host, hops.source), ("x.example", "routes, line 2 (from:boss@b.example)"))
        self.assertEqual(self.route(Names(), "x.c.example", table=table).enhanced, "5.1.2")


class Destinations(Case):
    def test_words(self) -> None:
        """Domains with mail hosts are apart from each other; what goes to one place is together."""
        router = self.router(Names(), table=".in.example maildir:m\nfrom:boss@b.example smtp:x:25 smtp:y:25")
        for domain, sender, word in (
            ("A.Example.", "", "a.example"),
            ("b.example", "", "b.example"),
            ("x.in.example", "", "maildir:m"),
            ("y.in.example", "boss@b.example", "maildir:m"),
            ("a.example", "boss@b.example", "smtp:x:25 smtp:y:25"),
        ):
            self.assertEqual(router.destination(domain, sender), word)


class Never(Case):
    def test_raises(self) -> None:
        """A fault of ours delays the message and is logged."""
        router = self.router(Names(), default=place("smtp:x login=nobody"))
        answer = now(router.route("a.example", ""))
        self.assertEqual((answer.result, answer.enhanced), ("retry", "4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_cancelled(self) -> None:
        """A look-up that is stopped ends in a retry."""

        class Waiting(Names):
            async def mx(self, domain: str) -> Answer[MX]:
                return await Deferred()

        results: list[Any] = []
        asked = Deferred.fromCoroutine(self.router(Waiting()).route("a.example", ""))
        asked.addBoth(results.append)
        asked.cancel()
        self.assertEqual((results[0].result, results[0].enhanced), ("retry", "4.3.2"))
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])

    def test_mail_fault_63_and_64(self) -> None:
        """What the DNS decides comes out as it is."""
        self.assertEqual(self.route(Names(mx={"a.example": FAILED})).enhanced, "4.4.3")
        self.assertEqual(self.route(Names(mx={"a.example": found(MX(0, ""))})).enhanced, "5.1.10")
        self.assertEqual(self.route(Names()).enhanced, "5.1.2")


DIGEST = "ab" * 32
RECORDS = {
    ("dane.example", "MX"): ["10 mx.dane.example."],
    ("mx.dane.example", "AAAA"): ["2001:db8::1"],
    ("mx.dane.example", "A"): ["192.0.2.1"],
    ("_25._tcp.mx.dane.example", "TLSA"): ["3 1 1 " + DIGEST],
    ("sts.example", "MX"): ["20 b.sts.example.", "10 a.sts.example."],
    ("a.sts.example", "A"): ["192.0.2.3"],
    ("b.sts.example", "A"): ["192.0.2.4"],
    ("_mta-sts.sts.example", "TXT"): ['"v=STSv1; id=7;"'],
    ("mta-sts.sts.example", "A"): ["127.0.0.1"],
    ("null.example", "MX"): ["0 ."],
    ("loop.example", "MX"): ["10 here.example.", "20 b.sts.example."],
    ("here.example", "A"): ["192.0.2.9"],
    ("local.example", "MX"): ["10 localhost.example."],
    ("localhost.example", "A"): ["127.0.0.1"],
    ("implicit.example", "A"): ["192.0.2.5"],
}
MODES = {"broken.example": "servfail", "sts.example": "insecure"}
POLICY = b"version: STSv1\nmode: enforce\nmx: a.sts.example\nmax_age: 86400\n"


class Live(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name)
        (path / "roots.pem").write_bytes(authority("test CA").pem)
        with (
            Authority(RECORDS, MODES) as self.names,
            Https(server("mta-sts.sts.example"), path, plain(POLICY)) as self.web,
        ):
            where = ["dane", "sts", "null", "loop", "local", "implicit", "broken", "gone", "kept"]
            found = run(
                {
                    "servers": [f"127.0.0.1:{self.names.port}"],
                    "routes": "kept.example maildir:m",
                    "names": ["here.example"],
                    "route": [(f"{one}.example", "me@here.example") for one in where],
                    "sts": {"domain": "", "port": self.web.port, "roots": str(path / "roots.pem"), "state": str(path)},
                }
            )
        self.found = dict(zip(where, found, strict=False))
        self.again = found[len(where) :]

    def test_all(self) -> None:
        """From real servers: DANE, MTA-STS, a Maildir, an implicit MX; and the second time is kept."""
        self.assertEqual(
            [
                (one["host"], one["address"], one["tls"], one["tlsa"][0]["data"], one["tls_source"])
                for one in self.found["dane"]["relays"]
            ],
            [
                ("mx.dane.example", address, "verify", DIGEST, "DANE: TLSA records of mx.dane.example")
                for address in ("2001:db8::1", "192.0.2.1")
            ],
        )
        self.assertEqual(
            [(one["host"], one["tls"], one["tls_source"]) for one in self.found["sts"]["relays"]],
            [("a.sts.example", "verify", "MTA-STS of sts.example, mode enforce")],
        )
        self.assertEqual([one["host"] for one in self.found["implicit"]["relays"]], ["implicit.example"])
        self.assertEqual((self.found["kept"]["kind"], self.found["kept"]["maildir"]["path"]), ("Local", "m"))
        self.assertEqual(len(self.web.asked), 1)
        self.assertEqual(self.again, list(self.found.values()))
        self.assertEqual(self.names.asked.count(("dane.example", "MX", "udp")), 1)

    def test_mail_fault_63_and_64(self) -> None:
        """SERVFAIL waits; no name, a null MX and a loop by name or by address are final."""
        self.assertEqual(
            {
                one: (self.found[one]["result"], self.found[one]["enhanced"])
                for one in ("broken", "gone", "null", "loop", "local")
            },
            {
                "broken": ("retry", "4.4.3"),
                "gone": ("permanent", "5.1.2"),
                "null": ("permanent", "5.1.10"),
                "loop": ("permanent", "5.4.6"),
                "local": ("permanent", "5.4.6"),
            },
        )
