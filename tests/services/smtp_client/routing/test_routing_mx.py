"""Facts about the hosts that take mail for a domain, from a DNS in memory."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.routing.answers import MX, Answer, Decision
from netsvc.services.smtp_client.routing.mx import (
    MAX_ADDRESSES,
    MAX_HOSTS,
    MAX_OF_HOST,
    Exchanger,
    Exchangers,
    exchangers,
    in_order,
)
from netsvc.services.smtp_client.routing.ourselves import Ourselves, is_here
from tests.services.smtp_client.routing.names import FAILED, NO_NAME, NOBODY, NOTHING, Names, found, now


def ask(names: Names, domain: str = "a.example", ourselves: Ourselves = NOBODY) -> Exchangers | Decision:
    """Look a domain up, with a chance that is always the same."""
    return now(exchangers(domain, names, ourselves, Random(1).random))


class Found(SynchronousTestCase):
    def hosts(self, names: Names, domain: str = "a.example", ourselves: Ourselves = NOBODY) -> list[str]:
        answer = ask(names, domain, ourselves)
        assert isinstance(answer, Exchangers), answer
        return [one.host for one in answer.hosts]

    def test_preference(self) -> None:
        """Hosts come by preference, with all their addresses, whatever order the answer had."""
        names = Names(
            mx={"a.example": found(MX(20, "b.mx"), MX(10, "a.mx"), secure=True)},
            addresses={"a.mx": found("2001:db8::1", "192.0.2.1", secure=True), "b.mx": found("192.0.2.2")},
        )
        self.assertEqual(
            ask(names),
            Exchangers(
                "a.example",
                (
                    Exchanger("a.mx", ("2001:db8::1", "192.0.2.1"), "a.mx", secure=True),
                    Exchanger("b.mx", ("192.0.2.2",), "b.mx"),
                ),
                "mx",
                secure=True,
            ),
        )

    def test_equals_are_shuffled(self) -> None:
        """Of hosts of one preference each is first about as often."""
        records = [MX(10, host) for host in ("a", "b", "c", "d")]
        random = Random(7).random
        firsts = Counter(in_order(records, random)[0].host for _ in range(4000))
        self.assertEqual(len(firsts), 4)
        self.assertTrue(all(850 < count < 1150 for count in firsts.values()), firsts)

    @given(st.lists(st.builds(MX, st.integers(0, 65535), st.sampled_from("abcdef"))), st.randoms(use_true_random=False))
    def test_any_order(self, records: list[MX], random: Random) -> None:
        """The order is one by preference, and nothing is lost or made up."""
        ordered = in_order(records, random.random)
        self.assertEqual([one.preference for one in ordered], sorted(one.preference for one in records))
        self.assertEqual(Counter(ordered), Counter(records))

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=8), st.integers(0, 5))
    def test_any_loop(self, hosts: list[tuple[int, int]], at: int) -> None:
        """Whoever the hosts are: what is tried is better than this machine, and all that is better is tried."""
        records = [MX(preference, f"h{n}.mx") for n, (preference, _) in enumerate(hosts)]
        names = Names(
            mx={"a.example": found(*records, MX(at, "we.example"))},
            addresses={f"h{n}.mx": found(f"192.0.2.{n}") if count else NOTHING for n, (_, count) in enumerate(hosts)},
        )
        answer = ask(names, ourselves=Ourselves(["we.example"], look=False))
        better = {f"h{n}.mx" for n, (preference, count) in enumerate(hosts) if preference < at and count}
        if better:
            assert isinstance(answer, Exchangers)
            self.assertEqual({one.host for one in answer.hosts}, better)
        else:
            assert isinstance(answer, Decision)
            self.assertEqual(answer.enhanced, "5.4.6")

    def test_implicit(self) -> None:
        """A domain without MX is its own host, after aliases."""
        names = Names(mx={"a.example": NOTHING}, addresses={"a.example": found("192.0.2.1")})
        answer = ask(names)
        assert isinstance(answer, Exchangers)
        self.assertEqual((answer.how, answer.hosts[0].host), ("implicit", "a.example"))
        alias = Answer[MX]("nothing", name="real.example")
        names = Names(mx={"a.example": alias}, addresses={"real.example": found("192.0.2.1")})
        self.assertEqual(self.hosts(names), ["real.example"])

    def test_alias_host(self) -> None:
        """An MX host that is an alias is used, though RFC 2181 10.3 forbids it; its true name is kept."""
        names = Names(
            mx={"a.example": found(MX(1, "alias.mx"))}, addresses={"alias.mx": found("192.0.2.1", name="true.mx")}
        )
        answer = ask(names)
        assert isinstance(answer, Exchangers)
        self.assertEqual((answer.hosts[0].host, answer.hosts[0].name), ("alias.mx", "true.mx"))

    def test_idn(self) -> None:
        """A domain in another script is asked for in A-labels; case and a final dot do not matter."""
        names = Names(mx={"xn--bcher-kva.example": found(MX(1, "m.mx"))}, addresses={"m.mx": found("192.0.2.1")})
        self.assertEqual(self.hosts(names, "BÜCHER.example."), ["m.mx"])

    def test_some_are_unusable(self) -> None:
        """A host without addresses, one that does not exist, one that cannot be looked up: the next is used."""
        records = (MX(1, "none.mx"), MX(2, "gone.mx"), MX(3, "mute.mx"), MX(4, "bad name.mx"), MX(5, ""), MX(6, "m.mx"))
        names = Names(
            mx={"a.example": found(*records)},
            addresses={"none.mx": NOTHING, "gone.mx": NO_NAME, "mute.mx": FAILED, "m.mx": found("192.0.2.1")},
        )
        self.assertEqual(self.hosts(names), ["m.mx"])

    def test_literal(self) -> None:
        """An address literal is its own host, without any look-up."""
        for domain, address in (
            ("[192.0.2.1]", "192.0.2.1"),
            ("[IPv6:2001:DB8::1]", "2001:db8::1"),
            ("[ipv6:::ffff:192.0.2.1]", "192.0.2.1"),
        ):
            names = Names()
            self.assertEqual(self.hosts(names, domain), [address])
            self.assertEqual(names.asked, [])

    def test_bounded_hosts(self) -> None:
        """Of 500 hosts no more than 16 are looked up."""
        names = Names(mx={"a.example": found(*(MX(1, f"h{n}.mx") for n in range(500)))})
        ask(names)
        self.assertEqual(len(names.asked), 1 + MAX_HOSTS)

    def test_bounded_addresses(self) -> None:
        """No more than 8 addresses are tried, of one host no more than 4; then nothing is looked up any more."""
        many = found(*(f"192.0.2.{n}" for n in range(100)))
        names = Names(
            mx={"a.example": found(*(MX(n, f"h{n}.mx") for n in range(9)))},
            addresses={"h0.mx": many, "h1.mx": found("192.0.2.1"), "h2.mx": many, "h3.mx": many},
        )
        answer = ask(names)
        assert isinstance(answer, Exchangers)
        counts = [len(one.addresses) for one in answer.hosts]
        self.assertEqual((counts[0], sum(counts)), (MAX_OF_HOST, MAX_ADDRESSES))
        self.assertEqual(counts, [4, 1, 3])
        self.assertEqual(len(names.asked), 4)

    def test_mapped(self) -> None:
        """IPv4 within IPv6 is IPv4, and counts once."""
        names = Names(
            mx={"a.example": found(MX(1, "m.mx"))}, addresses={"m.mx": found("::ffff:192.0.2.1", "192.0.2.1")}
        )
        answer = ask(names)
        assert isinstance(answer, Exchangers)
        self.assertEqual(answer.hosts[0].addresses, ("192.0.2.1",))


class Nowhere(SynchronousTestCase):
    def decision(self, names: Names, domain: str = "a.example", ourselves: Ourselves = NOBODY) -> Decision:
        answer = ask(names, domain, ourselves)
        assert isinstance(answer, Decision), answer
        return answer

    def check(self, decision: Decision, result: str, code: int, enhanced: str) -> None:
        self.assertEqual((decision.result, decision.code, decision.enhanced), (result, code, enhanced))

    def test_mail_fault_63_servfail(self) -> None:
        """A look-up that fails is tried later, with 4.4.3; so is one whose every usable host cannot be looked up."""
        self.check(self.decision(Names(mx={"a.example": FAILED})), "retry", 451, "4.4.3")
        self.check(
            self.decision(Names(mx={"a.example": NOTHING}, addresses={"a.example": FAILED})), "retry", 451, "4.4.3"
        )
        names = Names(mx={"a.example": found(MX(1, "a.mx"), MX(2, "gone.mx"))}, addresses={"a.mx": FAILED})
        self.check(self.decision(names), "retry", 451, "4.4.3")

    def test_mail_fault_63_nxdomain(self) -> None:
        """A domain that does not exist takes no mail, 5.1.2."""
        self.check(self.decision(Names()), "permanent", 550, "5.1.2")

    def test_mail_fault_63_null_mx(self) -> None:
        """A null MX is final: 556 5.1.10, whatever its preference, and nothing else is asked."""
        for preference in (0, 10):
            names = Names(mx={"a.example": found(MX(preference, ""))}, addresses={"a.example": found("192.0.2.1")})
            self.check(self.decision(names), "permanent", 556, "5.1.10")
            self.assertEqual(names.asked, ["a.example"])

    def test_no_addresses(self) -> None:
        """Without a single address it is final: 5.4.4 with MX, 5.1.2 without."""
        self.check(self.decision(Names(mx={"a.example": found(MX(1, "a.mx"))})), "permanent", 550, "5.4.4")
        self.check(self.decision(Names(mx={"a.example": found(MX(1, "a b"))})), "permanent", 550, "5.4.4")
        names = Names(mx={"a.example": NOTHING}, addresses={"a.example": NOTHING})
        self.check(self.decision(names), "permanent", 550, "5.1.2")

    def test_no_domain(self) -> None:
        """What is no domain is final and not asked for; its control characters are not shown."""
        for domain in (
            "",
            ".",
            "a..b",
            "a b",
            "-a",
            "x" * 64,
            "x." * 127 + "xx",
            "\u200b",
            "[1.2.3]",
            "[x]",
            "[",
            "[IPv6:1.2.3.4]",
        ):
            names = Names()
            decision = self.decision(names, domain)
            self.check(decision, "permanent", 550, "5.1.2")
            self.assertEqual(names.asked, [])
        self.assertNotIn("\r", self.decision(Names(), "a\r\nb").text)

    def test_mail_fault_64_by_name(self) -> None:
        """An MX that is our name ends it: 5.4.6; better hosts are still used, equal and worse ones never."""
        we = Ourselves(["We.Example."], look=False)
        names = Names(
            mx={"a.example": found(MX(10, "we.example"), MX(10, "equal.mx"), MX(20, "worse.mx"))},
            addresses={"equal.mx": found("192.0.2.1"), "worse.mx": found("192.0.2.2")},
        )
        self.check(self.decision(names, ourselves=we), "permanent", 550, "5.4.6")
        names.mx_answers["a.example"] = found(*names.mx_answers["a.example"].records, MX(5, "better.mx"))
        names.address_answers["better.mx"] = found("192.0.2.3")
        answer = ask(names, ourselves=we)
        assert isinstance(answer, Exchangers)
        self.assertEqual([one.host for one in answer.hosts], ["better.mx"])

    def test_mail_fault_64_by_address(self) -> None:
        """An MX with one of our addresses is this machine, under whatever name; so is an alias of our name."""
        names = Names(mx={"a.example": found(MX(10, "x.mx"))}, addresses={"x.mx": found("192.0.2.9", "192.0.2.1")})
        we = Ourselves(addresses=["192.0.2.1"], look=False)
        self.check(self.decision(names, ourselves=we), "permanent", 550, "5.4.6")
        names.address_answers["x.mx"] = found("192.0.2.7", name="we.example")
        self.check(self.decision(names, ourselves=Ourselves(["we.example"], look=False)), "permanent", 550, "5.4.6")

    def test_mail_fault_64_by_the_kernel(self) -> None:
        """Loopback, mapped loopback and the unspecified address are this machine; an address of others is not."""
        for address in ("127.0.0.1", "127.1.2.3", "::ffff:127.0.0.1", "0.0.0.0"):
            names = Names(mx={"a.example": found(MX(10, "x.mx"))}, addresses={"x.mx": found(address)})
            self.check(self.decision(names, ourselves=Ourselves()), "permanent", 550, "5.4.6")
        self.check(self.decision(Names(), "[127.0.0.1]", Ourselves()), "permanent", 550, "5.4.6")
        self.assertFalse(is_here("192.0.2.1"))

    def test_mail_fault_64_better_is_mute(self) -> None:
        """A better host that cannot be looked up now may take it later: a loop is not called so too early."""
        names = Names(mx={"a.example": found(MX(5, "mute.mx"), MX(10, "we.example"))}, addresses={"mute.mx": FAILED})
        self.check(self.decision(names, ourselves=Ourselves(["we.example"], look=False)), "retry", 451, "4.4.3")
