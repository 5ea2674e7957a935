"""What people are told of the way that mail would go."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.guide import PATIENCE, Asked, Words
from netsvc.services.smtp_client.routing.answers import MX, TLSA, Answer
from netsvc.services.smtp_client.terms import TLSWish
from tests.services.smtp_client.guides import SECRET, make_guide
from tests.services.smtp_client.routing.names import FAILED, Names, found

GOOD = TLSA(3, 1, 1, b"x" * 32)
TABLE = ".corp.example smtp:mail.corp.example:587 login=work smtps:two.example\nhome.example maildir:home\n* mx"


class Silent(Names):
    """Nobody answers."""

    async def mx(self, domain: str) -> Answer[MX]:
        return await Deferred()


class Ways(SynchronousTestCase):
    def words(self, domain: str, names: Any = None, wish: TLSWish | None = None, **rules: Any) -> Words:
        asked = Asked(domain, "me@here.example", wish or TLSWish())
        guide = make_guide(Clock(), names, **{"table": TABLE, **rules})
        (told,) = self.successResultOf(Deferred.fromCoroutine(guide.ways([asked])))
        words: Words = told.words()
        self.assertNotIn(SECRET, repr(told) + repr(words))
        return words

    def test_smarthosts(self) -> None:
        """Smarthosts are told in their order: port, TLS and who says so, and the name of the login, not its secret."""
        self.assertEqual(
            self.words("a.corp.example", policies="two.example require"),
            {
                "rule": ["routes, line 1 (.corp.example): smtp:mail.corp.example:587 login=work smtps:two.example:465"],
                "server": [
                    "mail.corp.example, smtp port 587; TLS: verify, by tls of the section;"
                    " login as anna, by credentials, work",
                    "two.example, smtps port 465; TLS: require, by tls_policies, line 1 (two.example require);"
                    " login as own, by username",
                ],
            },
        )

    def test_mail_hosts(self) -> None:
        """Mail hosts are looked up: each address, and the TLS that DANE, or nobody, asks for there."""
        names = Names(
            mx={"far.example": found(MX(1, "one.mx"), MX(2, "two.mx"), secure=True)},
            addresses={"one.mx": found("192.0.2.1", "::1", secure=True), "two.mx": found("192.0.2.2")},
            tlsa={("one.mx", 25): found(GOOD, secure=True)},
        )
        dane = "smtp port 25; TLS: verify, by DANE: TLSA records of one.mx"
        self.assertEqual(
            self.words("far.example", names),
            {
                "rule": ["routes, line 3 (*): mx"],
                "server": [
                    f"one.mx [192.0.2.1], {dane}",
                    f"one.mx [::1], {dane}",
                    "two.mx [192.0.2.2], smtp port 25; TLS: may, by no policy: TLS where it is offered",
                ],
            },
        )
        (one, *_) = self.words("far.example", names, TLSWish(required=True))["server"][2:]
        self.assertIn("TLS: verify", one)

    def test_no_way(self) -> None:
        """What goes nowhere has its reason, and what will be done then; a Maildir is named."""
        self.assertEqual(self.words("home.example")["kept in"], ["maildir:home"])
        (text,) = self.words("none.example")["no way"]
        self.assertEqual(text, "550 5.1.2 the domain none.example does not exist; it is returned")
        (text,) = self.words("late.example", Names(mx={"late.example": FAILED}))["no way"]
        self.assertTrue(text.startswith("451 4.4.3 ") and text.endswith("; it is tried again"), text)

    def test_patience(self) -> None:
        """A look-up that takes too long is an answer, too; others do not wait for it longer than that."""
        clock = Clock()
        guide = make_guide(clock, Silent(), table=TABLE)
        asked = [Asked("far.example", ""), Asked("home.example", "")]
        told = Deferred.fromCoroutine(guide.ways(asked))
        clock.advance(PATIENCE - 1)
        self.assertNoResult(told)
        clock.advance(1)
        late, home = self.successResultOf(told)
        self.assertEqual(
            late.words()["no way"], ["451 4.4.3 the look-up took longer than 20 seconds; it is tried again"]
        )
        self.assertEqual((late.hosts, home.hosts, clock.getDelayedCalls()), ([], ["maildir:home"], []))

    def test_recipients(self) -> None:
        """Aliases and rewriting make of a name what they make of it in a message."""
        guide = make_guide(Clock())
        found = guide.recipients("root", "me")
        self.assertEqual(found, ("me@here.example", ("jo@far.example", "ed@here.example")))
        with self.assertRaises(Refusal):
            guide.recipients("a b", "")
