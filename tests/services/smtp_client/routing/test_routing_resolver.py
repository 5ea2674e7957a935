"""Facts about DNS look-ups: messages, caching and retrying in memory, and the whole way to a real server."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dns.flags
import dns.message
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.errors import BadValue
from netsvc.services.smtp_client.routing.answers import MX, TLSA, Answer
from netsvc.services.smtp_client.routing.cache import Cache
from netsvc.services.smtp_client.routing.exchange import NoAnswer
from netsvc.services.smtp_client.routing.questions import MALFORMED, Kind, NotOurs, Question, Truncated
from netsvc.services.smtp_client.routing.resolver import Resolver, together
from netsvc.services.smtp_client.routing.servers import Server, SystemServers, dns_servers, named, of_system
from tests.services.smtp_client.routing.authority import SOA, Authority
from tests.services.smtp_client.routing.names import FAILED, NO_NAME, NOTHING, found, now
from tests.services.smtp_client.routing.route_child import run


def reply(question: Question, *rrsets: tuple[Any, ...], flags: int = dns.flags.RA, rcode: int = 0) -> bytes:
    """What a server might say."""
    message = dns.message.make_response(dns.message.from_wire(question.octets()))
    message.flags |= flags
    message.set_rcode(rcode)  # type: ignore[arg-type]
    for where, name, ttl, kind, *values in rrsets:
        getattr(message, where).append(dns.rrset.from_text(name, ttl, "IN", kind, *values))
    return message.to_wire()


def read(question: Question, octets: bytes, **how: bool) -> Answer[Any]:
    """Read it as it comes over UDP from a server that is believed."""
    return question.read(octets, **{"believed": True, "datagram": True, **how})


class Messages(SynchronousTestCase):
    question = Question("a.example", "MX", 7)

    def test_question(self) -> None:
        """A question wants recursion and AD and says what fits."""
        message = dns.message.from_wire(self.question.octets())
        self.assertEqual((message.id, message.flags, message.payload), (7, dns.flags.RD | dns.flags.AD, 1232))

    def test_records(self) -> None:
        """Every kind of record is read: names in small letters without final dot, texts joined."""
        for kind, text, record in (
            ("MX", "10 M.Example.", MX(10, "m.example")),
            ("MX", "0 .", MX(0, "")),
            ("A", "192.0.2.1", "192.0.2.1"),
            ("AAAA", "2001:DB8::1", "2001:db8::1"),
            ("TXT", '"v=STSv1; " "id=1;"', "v=STSv1; id=1;"),
            ("TXT", '"\\195\\169"', "\ufffd\ufffd"),
            ("TLSA", "3 1 0 00ff", TLSA(3, 1, 0, b"\x00\xff")),
        ):
            question = Question("a.example", kind, 7)  # type: ignore[arg-type]
            answer = read(question, reply(question, ("answer", "a.example.", 60, kind, text)))
            self.assertEqual((answer.status, answer.records, answer.ttl), ("found", (record,), 60))

    def test_aliases(self) -> None:
        """Aliases are followed; the true name is told, and the shortest time counts."""
        octets = reply(
            self.question,
            ("answer", "a.example.", 30, "CNAME", "B.example."),
            ("answer", "b.example.", 60, "MX", "1 m.example."),
        )
        answer = read(self.question, octets)
        self.assertEqual((answer.name, answer.records, answer.ttl), ("b.example", (MX(1, "m.example"),), 30))

    def test_circle(self) -> None:
        """Aliases in a circle are a failure."""
        octets = reply(self.question, ("answer", "a.example.", 30, "CNAME", "a.example."))
        self.assertEqual(read(self.question, octets).status, "failed")

    def test_absences(self) -> None:
        """Nothing, no name and a failure are three things; an absence holds as its SOA says, 3 hours at most."""
        soa = ("authority", "example.", 99999, "SOA", SOA.replace("60 60 60 60", "1 1 1 50000"))
        answer = read(self.question, reply(self.question, soa))
        self.assertEqual((answer.status, answer.ttl), ("nothing", 10800))
        self.assertEqual(read(self.question, reply(self.question, soa, rcode=3)).status, "no-name")
        for rcode, text in ((2, "SERVFAIL"), (5, "REFUSED"), (1, "FORMERR")):
            answer = read(self.question, reply(self.question, rcode=rcode))
            self.assertEqual((answer.status, answer.reason), ("failed", text))

    def test_lame(self) -> None:
        """An empty answer of a server that does no recursion means nothing."""
        self.assertEqual(read(self.question, reply(self.question, flags=0)).status, "failed")

    def test_authenticity(self) -> None:
        """AD counts from a server that is believed, and from no other."""
        record = ("answer", "a.example.", 60, "MX", "1 m.example.")
        octets = reply(self.question, record, flags=dns.flags.RA | dns.flags.AD)
        self.assertTrue(read(self.question, octets).secure)
        self.assertFalse(read(self.question, octets, believed=False).secure)
        self.assertFalse(read(self.question, reply(self.question, record)).secure)

    def test_cut(self) -> None:
        """A cut datagram asks for TCP; a cut stream is a failure."""
        octets = reply(self.question, flags=dns.flags.TC)
        with self.assertRaises(Truncated):
            read(self.question, octets)
        self.assertEqual(read(self.question, octets, datagram=False).status, "failed")

    def test_strangers(self) -> None:
        """An answer to another number, name or kind, a question, and rubbish are not ours."""
        others = [Question("a.example", "MX", 8), Question("b.example", "MX", 7), Question("a.example", "A", 7)]
        for strange in (*map(reply, others), self.question.octets(), b"rubbish" * 9, b""):
            with self.assertRaises(NotOurs):
                read(self.question, strange)

    def test_malformed(self) -> None:
        """Trailing octets, or too few, are a failure; TLSA records that cannot be read are there, but of no use."""
        octets = reply(self.question, ("answer", "a.example.", 60, "MX", "1 m.example."))
        for wrong in (octets + b"x", octets[:-1]):
            self.assertEqual(read(self.question, wrong).status, "failed")
        question = Question("a.example", "TLSA", 7)
        octets = reply(question, ("answer", "a.example.", 60, "TLSA", "3 1 1 " + "00" * 32))
        octets = octets.replace(b"\x03\x01\x01", b"\x03\x01\x02")
        answer = read(question, octets)
        self.assertEqual((answer.status, answer.records), ("found", (MALFORMED,)))

    @given(st.data())
    def test_any_octets(self, data: st.DataObject) -> None:
        """Whatever comes is an answer, cut, or not ours; a reply with octets changed, too."""
        octets = bytearray(reply(self.question, ("answer", "a.example.", 60, "MX", "1 m.example.")))
        for at in data.draw(st.lists(st.integers(2, len(octets) - 1), max_size=5)):
            octets[at] = data.draw(st.integers(0, 255))
        for what in (bytes(octets), data.draw(st.binary(max_size=60))):
            with contextlib.suppress(NotOurs, Truncated):
                self.assertIsInstance(read(self.question, what), Answer)

    def test_no_name(self) -> None:
        """What is no name is a ValueError."""
        for name in ("a..b", "x" * 64, "a." * 130):
            with self.assertRaises(ValueError):
                Question(name, "A", 1).octets()


class Kept(SynchronousTestCase):
    def test_for_its_time(self) -> None:
        """What is kept is gone when its time is over; what holds for no time is not kept."""
        clock = Clock()
        cache: Cache[str, int] = Cache(clock.seconds, 10)
        cache.put("a", 1, 5)
        cache.put("b", 2, 0)
        clock.advance(4.9)
        self.assertEqual((cache.get("a"), cache.get("b")), (1, None))
        clock.advance(0.2)
        self.assertEqual((cache.get("a"), len(cache)), (None, 0))

    def test_bounded(self) -> None:
        """When it is full, what nobody asked for goes first."""
        cache: Cache[str, int] = Cache(Clock().seconds, 2)
        cache.put("a", 1, 5)
        cache.put("b", 2, 5)
        cache.get("a")
        cache.put("c", 3, 5)
        self.assertEqual([cache.get(one) for one in "abc"], [1, None, 3])


class Servers(SynchronousTestCase):
    def test_option(self) -> None:
        """Servers are addresses, with a port or without."""
        text = "192.0.2.1, 192.0.2.2:5353\n2001:db8::1 [::1]:5353 [::1]"
        value = dns_servers().parse(text, Context(Path("/")))
        self.assertEqual(
            [(one.host, one.port) for one in value][1:4], [("192.0.2.2", 5353), ("2001:db8::1", 53), ("::1", 5353)]
        )
        self.assertEqual(dns_servers().parse(dns_servers().show(value), Context(Path("/"))), value)
        for bad, at in (("dns.example", 0), ("192.0.2.1:0", 10), ("192.0.2.1 [::1]:99999", 16), ("[::1", 0)):
            with self.assertRaises(BadValue, msg=bad) as caught:
                dns_servers().parse(bad, Context(Path("/")))
            self.assertEqual(caught.exception.at, at, bad)

    def test_belief(self) -> None:
        """A named server on loopback is believed; any, or none, if that is said."""
        servers = [Server("127.0.0.1"), Server("::1"), Server("192.0.2.1")]
        self.assertEqual([one.believed for one in named(servers, "loopback")], [True, True, False])
        self.assertEqual([one.believed for one in named(servers, "yes")], [True] * 3)
        self.assertEqual([one.believed for one in named(servers, "no")], [False] * 3)

    def test_system(self) -> None:
        """resolv.conf names three servers at most, believed if it says trust-ad; an empty one means this machine."""
        text = "# x\nnameserver 192.0.2.1\nnameserver bad\nnameserver ::1\nsearch a\n"
        text += "nameserver 1.1.1.1\nnameserver 2.2.2.2\n"
        self.assertEqual([one.host for one in of_system(text)], ["192.0.2.1", "::1", "1.1.1.1"])
        self.assertFalse(any(one.believed for one in of_system(text)))
        self.assertTrue(all(one.believed for one in of_system(text + "options edns0 trust-ad\n")))
        self.assertEqual(of_system("nameserver"), (Server("127.0.0.1"),))

    def test_changes(self) -> None:
        """A changed resolv.conf is read again; one that is gone leaves the servers of before."""
        with TemporaryDirectory() as directory:
            path = Path(directory, "resolv.conf")
            servers = SystemServers(path)
            self.assertEqual(servers(), (Server("127.0.0.1"),))
            for host in ("192.0.2.1", "192.0.2.2"):
                path.write_text(f"nameserver {host}\n")
                os.utime(path, ns=(0, int(host[-1])))
                self.assertEqual(servers(), (Server(host),))
            path.unlink()
            self.assertEqual(servers(), (Server("192.0.2.2"),))


class Script:
    """Gives answers, or raises, in turn."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.asked: list[tuple[str, str, Kind, int]] = []

    async def __call__(self, reactor: Any, server: Server, question: Question, seconds: float) -> Answer[Any]:
        self.asked.append((server.host, question.name, question.kind, question.number))
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Deferred):
            await result
        return result  # type: ignore[no-any-return]


SERVERS = (Server("192.0.2.1"), Server("192.0.2.2"))


class LookUps(SynchronousTestCase):
    def make(self, *results: Any) -> tuple[Resolver, Script, Clock]:
        clock, script = Clock(), Script(*results)
        return Resolver(clock, lambda: SERVERS, random=lambda: 0.5, exchange=script), script, clock

    def test_mail_fault_63_next_server(self) -> None:
        """A server that is silent or fails is followed by the next; what one says of absence is believed."""
        resolver, script, _ = self.make(NoAnswer("silence"), FAILED, NO_NAME)
        self.assertEqual(now(resolver.mx("a.example")).status, "no-name")
        self.assertEqual([one[0] for one in script.asked], ["192.0.2.1", "192.0.2.2", "192.0.2.1"])
        self.assertEqual(script.asked[0][1:], ("a.example", "MX", 32768))

    def test_mail_fault_63_nobody(self) -> None:
        """When each was asked twice it has failed, with words, and this is kept for some seconds only."""
        resolver, script, clock = self.make(*[NoAnswer("silence")] * 4, found("x"))
        answer = now(resolver.txt("a.example"))
        self.assertEqual((answer.status, answer.reason), ("failed", "192.0.2.2:53: silence"))
        now(resolver.txt("A.example"))
        self.assertEqual(len(script.asked), 4)
        clock.advance(6)
        self.assertEqual(now(resolver.txt("a.example")).status, "found")

    def test_kept(self) -> None:
        """An answer is kept for its time."""
        resolver, _, clock = self.make(found(MX(1, "m")), found(MX(2, "m")))
        first = now(resolver.mx("a.example"))
        clock.advance(299)
        self.assertEqual(now(resolver.mx("a.example")), first)
        clock.advance(2)
        self.assertNotEqual(now(resolver.mx("a.example")), first)

    def test_faults(self) -> None:
        """What is no name fails; a fault of ours is logged and fails; no server at all fails."""
        resolver, _, _ = self.make(ValueError("not a name"), ZeroDivisionError())
        self.assertEqual(now(resolver.mx("a")), Answer("failed", reason="not a name"))
        self.assertEqual(now(resolver.mx("b")).status, "failed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(now(Resolver(Clock(), tuple, random=lambda: 0.0).mx("a.example")).status, "failed")

    def test_at_once(self) -> None:
        """Who asks the same while a question is out waits for its answer; one who leaves does not spoil it."""
        waiting: Deferred[None] = Deferred()
        resolver, script, _ = self.make(waiting, found(MX(1, "m")))
        first, second, third = (Deferred.fromCoroutine(resolver.mx("a.example")) for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.successResultOf(third).status, "found")
        self.assertEqual(len(script.asked), 2)
        now(resolver.mx("a.example"))
        self.assertEqual(len(script.asked), 2)

    def test_cancelled(self) -> None:
        """To cancel a look-up ends it."""
        resolver, _, _ = self.make(Deferred())
        asked = Deferred.fromCoroutine(resolver.mx("a.example"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        resolver, _, _ = self.make(Deferred(), Deferred())
        both = Deferred.fromCoroutine(resolver.addresses("m.example"))
        both.cancel()
        self.failureResultOf(both, CancelledError)

    def test_tlsa_name(self) -> None:
        """TLSA records stand at the port's name."""
        resolver, script, _ = self.make(NO_NAME)
        now(resolver.tlsa("m.example", 25))
        self.assertEqual(script.asked[0][1:3], ("_25._tcp.m.example", "TLSA"))

    def test_addresses(self) -> None:
        """Both families come in turn, IPv6 first; secure only together; one that fails does not hide the other."""
        six, four = found("::1", "::2", secure=True), found("192.0.2.1", secure=True)
        self.assertEqual(together(six, four).records, ("::1", "192.0.2.1", "::2"))
        self.assertTrue(together(six, four).secure)
        self.assertFalse(together(six, found("192.0.2.1")).secure)
        self.assertTrue(together(NOTHING, four).secure)
        self.assertEqual(together(FAILED, four).records, ("192.0.2.1",))
        self.assertEqual(together(FAILED, NOTHING).status, "failed")
        self.assertEqual(together(NO_NAME, NO_NAME).status, "no-name")
        self.assertEqual(together(NOTHING, NOTHING).status, "nothing")


RECORDS = {
    ("a.example", "MX"): ["10 m.example."],
    ("m.example", "A"): ["192.0.2.1"],
    ("m.example", "AAAA"): ["2001:db8::1"],
    ("_25._tcp.m.example", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("long.example", "TXT"): [f'"{n:0200d}"' for n in range(50)],
    ("forged.example", "MX"): ["5 true.example."],
    ("alias.example", "CNAME"): ["a.example."],
    ("plain.example", "MX"): ["10 m.example."],
}
MODES = {
    "broken.example": "servfail",
    "silent.example": "silent",
    "forged.example": "forged",
    "long.example": "long",
    "plain.example": "insecure",
}


class RealServer(SynchronousTestCase):
    def ask(self, *questions: tuple[Any, ...], trust: str = "loopback", timeout: float = 5.0) -> list[dict[str, Any]]:
        with Authority(RECORDS, MODES) as authority:
            self.authority = authority
            task = {"servers": [f"127.0.0.1:{authority.port}"], "ask": questions, "trust": trust, "timeout": timeout}
            return run(task)  # type: ignore[no-any-return]

    def test_records(self) -> None:
        """Each kind of look-up works against a real server, AD is believed on loopback, and once is enough."""
        mx, addresses, tlsa, alias, gone, plain, again = self.ask(
            ("mx", "a.example"),
            ("addresses", "m.example"),
            ("tlsa", "m.example", 25),
            ("mx", "alias.example"),
            ("mx", "gone.example"),
            ("mx", "plain.example"),
            ("mx", "a.example"),
        )
        self.assertEqual((mx["records"], mx["secure"]), ([{"preference": 10, "host": "m.example"}], True))
        self.assertEqual((addresses["records"], addresses["secure"]), (["2001:db8::1", "192.0.2.1"], True))
        self.assertEqual(tlsa["records"][0], {"usage": 3, "selector": 1, "matching": 1, "data": "ab" * 32})
        self.assertEqual((alias["name"], alias["records"]), ("a.example", mx["records"]))
        self.assertEqual((gone["status"], gone["secure"]), ("no-name", True))
        self.assertEqual((plain["status"], plain["secure"]), ("found", False))
        self.assertEqual(again, mx)
        self.assertEqual(self.authority.asked.count(("a.example", "MX", "udp")), 1)

    def test_not_believed(self) -> None:
        """With trust = no, AD counts for nothing."""
        (mx,) = self.ask(("mx", "a.example"), trust="no")
        self.assertEqual((mx["status"], mx["secure"]), ("found", False))

    def test_long(self) -> None:
        """What does not fit a datagram comes over TCP."""
        (txt,) = self.ask(("txt", "long.example"))
        self.assertEqual(len(txt["records"]), 50)
        self.assertEqual([way for _, _, way in self.authority.asked], ["udp", "tcp"])

    def test_forged(self) -> None:
        """Datagrams that answer something else are passed over."""
        (mx,) = self.ask(("mx", "forged.example"))
        self.assertEqual(mx["records"][0]["host"], "true.example")

    def test_mail_fault_63_live(self) -> None:
        """SERVFAIL and silence are failures with words, after two questions each."""
        (broken,) = self.ask(("mx", "broken.example"))
        (silent,) = self.ask(("mx", "silent.example"), timeout=0.2)
        self.assertEqual(broken["status"], "failed")
        self.assertIn("SERVFAIL", broken["reason"])
        self.assertIn("no answer within 0.2 seconds", silent["reason"])
        self.assertEqual([one for one, _, _ in self.authority.asked].count("silent.example"), 2)

    def test_nobody_there(self) -> None:
        """A closed port is told at once, not after the time limit."""
        with Authority({}) as gone:
            pass
        (mx,) = run({"servers": [f"127.0.0.1:{gone.port}"], "ask": [("mx", "a.example")], "timeout": 50.0})
        self.assertEqual(mx["status"], "failed")
        self.assertIn("refused", mx["reason"])
