"""Basic authentication: who is let in, who is not, and what a guess costs."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from unittest import mock

import bcrypt
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.config.values import Rate
from netsvc.errors import BadValue, StartError
from netsvc.net.passwords import htpasswd
from netsvc.net.passwords import users as auth_users
from netsvc.net.passwords.checks import WAITING
from netsvc.services.http.auth.authenticator import Authentication, credentials
from netsvc.services.http.auth.settings import AuthSettings, realm, user_name
from tests.fakes import FakeMetrics
from tests.services.http.http_rig import NOW, Answer, Peer, Rig, Sink, hello, request


def quick(password: str) -> str:
    """A bcrypt hash of the lowest cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ALICE, BOB = quick("secret"), CHEAP.hash("pa:ss")


def basic(user: str, password: str, encoding: str = "utf-8") -> str:
    """An Authorization field."""
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


class Threads:
    """Runs work when told to, as threads would."""

    def __init__(self) -> None:
        self.work: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.started = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((done, function, arguments))
        self.started += 1
        return done

    def run(self) -> None:
        """Do all that was asked for, and what comes of it."""
        while self.work:
            done, function, arguments = self.work.pop(0)
            maybeDeferred(function, *arguments).chainDeferred(done)


class Case(SynchronousTestCase):
    """A place that alice (bcrypt) and bob (argon2) may see."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.write(f"# users\nalice:{ALICE}\n\nbob:{BOB}:rest\r\n")
        self.clock = MemoryReactorClock()
        self.metrics = FakeMetrics()
        self.threads = Threads()
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def write(self, text: str | bytes, *, age: float = 100.0) -> None:
        """A new version of the file, put in place at once, that has been still for a while."""
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_bytes(text if isinstance(text, bytes) else text.encode())
        fresh.replace(self.path)
        self.now = self.path.stat().st_ctime + age

    def rig(self, *, at_once: int = 2, **options: Any) -> Rig:
        authentication = Authentication(
            clock=self.clock,
            in_thread=self.threads,
            metrics=self.metrics,
            service="http",
            now=lambda: self.now,
        )
        authentication._checks._free = at_once
        found = authentication.authenticator(AuthSettings(auth_file=self.path, **options))
        assert found is not None
        self.authenticator = found
        authentication.open()
        self.reached: list[str] = []

        def route(exchange: Any) -> None:
            def go_on() -> None:
                self.reached.append(exchange.user)
                hello(exchange)

            found.admit(exchange, go_on)

        return Rig(route=route, access_log=False)

    def ask(self, rig: Rig, *fields: str) -> Answer:
        """The answer to a request with some fields, all checks done."""
        peer = rig.connect()
        peer.send(request("/x", *fields))
        self.threads.run()
        (found,) = peer.answers()
        return found

    def count(self, result: str) -> float:
        return self.metrics.metrics["http_auth"].values.get((("result", result), ("service", "http")), 0)

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one.get("event") == event]


class AdmitTests(Case):
    def test_static_auth_asks(self) -> None:
        """Without credentials the answer is 401 with a challenge that says realm and UTF-8, and a page."""
        answer = self.ask(self.rig(auth_realm='My "own" \\ place'))
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.headers[b"www-authenticate"], b'Basic realm="My \\"own\\" \\\\ place", charset="UTF-8"')
        self.assertIn(b"401", answer.body)
        self.assertEqual((self.reached, self.threads.started, self.count("asked")), ([], 0, 1))

    def test_static_auth_lets_in(self) -> None:
        """A right password lets in, bcrypt and argon2id, with a colon in it, in any case of the scheme."""
        rig = self.rig()
        self.assertEqual(self.ask(rig, basic("alice", "secret")).body, b"/x")
        self.assertEqual(self.ask(rig, basic("bob", "pa:ss").replace("Basic ", "bASIC   ")).body, b"/x")
        self.assertEqual((self.reached, self.count("accepted")), (["alice", "bob"], 2))

    def test_static_auth_refuses(self) -> None:
        """A wrong password and an unknown user are 401, each after one check of a hash of the file."""
        rig = self.rig()
        for number, user in enumerate(("alice", "nobody", "", "ALICE", "alice "), 1):
            self.assertEqual(self.ask(rig, basic(user, "wrong")).status, 401, user)
            self.assertEqual(self.threads.started, number)
        self.assertEqual((self.reached, self.count("refused")), ([], 5))

    def test_static_auth_unknown_user_costs_the_same(self) -> None:
        """An unknown user's password is checked against a hash of the file, always the same; none is let in by it."""
        rig = self.rig()
        with mock.patch.object(htpasswd, "check", return_value=True) as check:
            for user in ("x1", "x2", "x3", "x4", "x1", "x5", "x6", "x7", "x8", "x9"):
                self.assertEqual(self.ask(rig, basic(user, "secret")).status, 401)
        hashes = [call.args[0] for call in check.call_args_list]
        self.assertLessEqual(set(hashes), {ALICE, BOB})
        self.assertEqual(hashes[0], hashes[4])
        self.write("# nobody\n")
        with mock.patch.object(htpasswd, "check", return_value=True) as check:
            self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 401)
        self.assertEqual(check.call_args.args[0], htpasswd.STAND_IN)

    def test_static_auth_malformed(self) -> None:
        """What is malformed is 401 as if nothing was sent: base64, UTF-8, colon, controls, length, number, scheme."""
        rig = self.rig()
        word = base64.b64encode
        for fields in (
            ("Authorization: Basic",),
            ("Authorization: Basic !!!",),
            ("Authorization: Basic YWxpY2U6c2VjcmV0=",),
            ("Authorization: Basic YWxpY2U6c2VjcmV",),
            ("Authorization: Basic YWxp Y2U6c2VjcmV0",),
            ("Authorization: Basic " + word(b"alice").decode(),),
            ("Authorization: Basic " + word(b"\xe9:x").decode(),),
            ("Authorization: Basic " + word(b"alice:sec\0ret").decode(),),
            ("Authorization: Basic " + word(b"alice:secret\n").decode(),),
            ("Authorization: Basic " + word(b"alice:\x7f").decode(),),
            ("Authorization: Basic " + word(b"alice:" + b"x" * 1025).decode(),),
            ("Authorization: Basic " + "A" * 8000,),
            ("Authorization: Basic YWxpY2U6c2VjcmV0\xe9",),
            ("Authorization: Bearer YWxpY2U6c2VjcmV0",),
            ("Authorization:",),
            (basic("alice", "secret"), basic("alice", "secret")),
            (basic("alice", "secret") + ", Basic x",),
        ):
            answer = self.ask(rig, *fields)
            self.assertEqual((answer.status, b"www-authenticate" in answer.headers), (401, True), fields)
        self.assertEqual(self.threads.started, 0)

    def test_static_auth_utf_8(self) -> None:
        """Names and passwords are UTF-8 and compared in NFC, however they were typed."""
        self.write("ren\u00e9:" + quick("caf\u00e9 \U0001f600") + "\n")
        rig = self.rig()
        self.assertEqual(self.ask(rig, basic("rene\u0301", "cafe\u0301 \U0001f600")).status, 200)
        self.assertEqual(self.ask(rig, basic("ren\u00e9", "caf\u00e9 \U0001f600")).status, 200)
        self.assertEqual(self.reached, ["ren\u00e9"] * 2)

    def test_static_auth_users(self) -> None:
        """Only the named users come in; another one with the right password gets what a wrong one gets."""
        rig = self.rig(auth_users=("bob",))
        self.assertEqual(self.ask(rig, basic("bob", "pa:ss")).status, 200)
        for _ in range(2):  # checked, then remembered
            self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 401)
        self.assertEqual(self.reached, ["bob"])

    def test_static_auth_exempt(self) -> None:
        """Peers of exempt networks are not asked, v4-mapped or not; peers on UNIX sockets are in no network."""
        rig = self.rig(auth_exempt=(ip_network("192.0.2.0/24"),))
        self.assertEqual(self.ask(rig).status, 200)
        self.assertEqual(self.reached, [""])
        for address, status in (
            (IPv4Address("TCP", "198.51.100.1", 4), 401),
            (IPv4Address("TCP", "::ffff:192.0.2.9", 4), 200),
            (UNIXAddress(None), 401),
        ):
            peer = rig.connect()
            peer.transport.peerAddr = address
            peer.send(request())
            self.assertEqual(peer.statuses, [status])

    def test_static_auth_password_is_not_logged(self) -> None:
        """A failure is logged with peer and user; no event has a password, right or wrong."""
        rig = self.rig()
        self.ask(rig, basic("evil\u202ename", "wrong-password"))
        self.ask(rig, basic("alice", "secret"))
        (event,) = self.logged("http-auth-failed")
        self.assertEqual((event["peer"], event["user"]), ("192.0.2.7", "evil\u202ename"))
        for event in self.events:
            self.assertNotIn("wrong-password", repr(event))
            self.assertNotIn("secret", repr(event))

    def test_static_auth_before_the_body(self) -> None:
        """Who is refused is not told to go on; a body that is let in arrives whole."""
        rig = self.rig()
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        self.assertEqual(peer.statuses, [401])
        self.assertNotIn(b"100 Continue", peer.received)
        sink = Sink()
        rig = Rig(
            route=lambda exchange: self.authenticator.admit(exchange, lambda: exchange.receive_body(sink)),
            access_log=False,
        )
        peer = rig.connect()
        peer.send(request("/", "Content-Length: 5", basic("alice", "secret"), method="POST", body=b"he"))
        peer.send(b"llo")
        self.assertEqual(sink.data, b"")
        self.threads.run()
        self.assertEqual((sink.data, sink.said), (b"hello", ["finished"]))

    def test_static_auth_peer_leaves(self) -> None:
        """A peer that leaves while its password is checked reaches nothing."""
        rig = self.rig()
        for password in ("secret", "wrong"):
            peer = rig.connect()
            peer.send(request("/x", basic("alice", password)))
            peer.leave()
            self.threads.run()
        self.assertEqual(self.reached, [])

    def test_static_auth_fault_of_the_check(self) -> None:
        """A check that breaks is 503 and logged, and costs the source nothing."""
        rig = self.rig(auth_failures=Rate(1, 60.0))
        with mock.patch.object(htpasswd, "check", side_effect=MemoryError):
            self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 503)
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)


class CostTests(Case):
    def test_static_auth_remembers(self) -> None:
        """A right password is checked once a minute; a wrong one each time; what is kept is no password."""
        rig = self.rig()
        for _ in range(3):
            self.ask(rig, basic("alice", "secret"))
        self.assertEqual(self.threads.started, 1)
        self.assertEqual(self.ask(rig, basic("alice", "wrong")).status, 401)
        self.assertEqual(self.threads.started, 2)
        self.clock.advance(auth_users.REMEMBERED_FOR + 1)
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)
        self.assertEqual(self.threads.started, 3)
        self.assertNotIn("secret", repr(vars(self.authenticator._users)))

    def test_static_auth_memory_is_bounded(self) -> None:
        """No more users are remembered than the bound; the oldest is forgotten."""
        self.patch(auth_users, "REMEMBERED", 1)
        rig = self.rig()
        for user, password in (("alice", "secret"), ("bob", "pa:ss"), ("alice", "secret")):
            self.ask(rig, basic(user, password))
        self.assertEqual(self.threads.started, 3)

    def test_static_auth_threads_are_bounded(self) -> None:
        """Few checks run at once, some wait in line; past that the answer is 503 with Retry-After, at once."""
        rig = self.rig(at_once=2, auth_failures=None)
        peers = [rig.connect() for _ in range(WAITING + 3)]
        for number, peer in enumerate(peers):
            peer.send(request("/x", basic(f"user{number}", "x")))
        self.assertEqual(len(self.threads.work), 2)
        self.assertEqual([peer.statuses for peer in peers[-3:]], [[503]] * 3)
        self.assertGreater(int(peers[-1].answers()[0].headers[b"retry-after"]), 0)
        self.threads.run()
        self.assertEqual({tuple(peer.statuses) for peer in peers[:-3]}, {(401,)})
        self.assertEqual(self.count("busy"), 3)
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)

    def test_static_auth_same_check_is_shared(self) -> None:
        """Requests with the same credentials, as a browser sends them, wait for one check."""
        rig = self.rig()
        peers = [rig.connect() for _ in range(6)]
        for peer in peers:
            peer.send(request("/x", basic("alice", "secret")))
        self.assertEqual(len(self.threads.work), 1)
        self.threads.run()
        self.assertEqual([peer.statuses for peer in peers], [[200]] * 6)

    def guess(self, rig: Rig, address: Any = None) -> Peer:
        peer = rig.connect()
        if address is not None:
            peer.transport.peerAddr = address
        peer.send(request("/x", basic("alice", "wrong")))
        self.threads.run()
        return peer

    def test_static_auth_failures_are_limited(self) -> None:
        """A source that fails too often gets 429 with Retry-After before anything is computed; others are let in."""
        rig = self.rig(auth_failures=Rate(3, 60.0))
        self.ask(rig, basic("alice", "secret"))
        statuses = [self.guess(rig).statuses[0] for _ in range(5)]
        self.assertEqual(statuses, [401, 401, 401, 429, 429])
        self.assertEqual((self.threads.started, self.count("limited")), (4, 2))
        self.assertEqual(self.guess(rig).answers()[0].headers[b"retry-after"], b"20")
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)  # remembered
        self.assertEqual(self.ask(rig, basic("bob", "pa:ss")).status, 429)
        self.assertEqual(self.guess(rig, IPv4Address("TCP", "198.51.100.1", 4)).statuses, [401])
        self.clock.advance(21.0)
        self.assertEqual(self.ask(rig, basic("bob", "pa:ss")).status, 200)
        self.assertEqual(self.ask(rig, basic("bob", "wrong")).status, 401)

    def test_static_auth_networks_of_one_customer(self) -> None:
        """All of an IPv6 /64 is one source."""
        rig = self.rig(auth_failures=Rate(1, 60.0))
        self.assertEqual(self.guess(rig, IPv4Address("TCP", "2001:db8::1", 4)).statuses, [401])
        self.assertEqual(self.guess(rig, IPv4Address("TCP", "2001:db8::2", 4)).statuses, [429])
        self.assertEqual(self.guess(rig, IPv4Address("TCP", "2001:db8:0:1::2", 4)).statuses, [401])

    def test_static_auth_unix_peers_are_not_limited(self) -> None:
        """Peers on UNIX sockets have no address, and do not lock each other out."""
        rig = self.rig(auth_failures=Rate(1, 60.0))
        for _ in range(3):
            self.assertEqual(self.guess(rig, UNIXAddress(None)).statuses, [401])

    def test_static_auth_right_passwords_cost_nothing(self) -> None:
        """Who is let in has not failed, and a queue that is full is nobody's failure."""
        rig = self.rig(auth_failures=Rate(1, 60.0))
        for _ in range(3):
            self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)
            self.clock.advance(auth_users.REMEMBERED_FOR + 1)
        self.authenticator._checks._waiting = WAITING
        self.assertEqual([self.ask(rig, basic("bob", "x")).status for _ in range(2)], [503, 503])


class FileTests(Case):
    def test_static_auth_file_is_read_again(self) -> None:
        """A new version counts from the next request on: new users, new passwords, nothing remembered."""
        rig = self.rig()
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)
        self.write(f"alice:{quick('other')}\ncarol:{quick('x')}\n")
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 401)
        self.assertEqual(self.ask(rig, basic("alice", "other")).status, 200)
        self.assertEqual(self.ask(rig, basic("carol", "x")).status, 200)
        self.assertEqual(self.ask(rig, basic("bob", "pa:ss")).status, 401)
        self.assertEqual([event["users"] for event in self.logged("password-file-read")], [2])

    def test_static_auth_file_changes_while_a_check_runs(self) -> None:
        """A check that began before a change is not remembered."""
        rig = self.rig()
        peer = rig.connect()
        peer.send(request("/x", basic("alice", "secret")))
        self.write(f"alice:{quick('other')}\n")
        rig.connect().send(request("/x", basic("alice", "other")))
        self.threads.run()
        self.assertEqual(peer.statuses, [200])  # it was right when it was sent
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 401)

    def test_static_auth_bad_version(self) -> None:
        """A version with a fault is told once, with its line and without the hash; the one before it goes on."""
        rig = self.rig()
        for text in ("alice:plain-text\n", b"\xff:x\n"):
            self.write(text)
            for _ in range(2):
                self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)
        first, second = self.logged("password-file-refused")
        self.assertIn("line 1 has crypt or a plain password", first["reason"])
        self.assertNotIn("plain-text", repr(first))
        self.assertEqual(second["reason"], "line 1 is not UTF-8")
        self.path.unlink()
        for _ in range(2):
            self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 200)
        self.assertEqual(len(self.logged("password-file-refused")), 3)
        self.write(f"bob:{BOB}\n")
        self.assertEqual(self.ask(rig, basic("alice", "secret")).status, 401)

    def test_static_auth_change_within_one_tick(self) -> None:
        """A change that leaves times and size as they were is seen as well while the file is young."""
        rig = self.rig()
        self.write(f"alice:{quick('one')}\n", age=0.5)
        self.assertEqual(self.ask(rig, basic("alice", "one")).status, 200)
        status = os.stat(self.path)
        with mock.patch.object(auth_users, "_identity", return_value=auth_users._identity(status)):
            self.path.write_text(f"alice:{quick('two')}\n")
            self.assertEqual(self.ask(rig, basic("alice", "two")).status, 200)

    def test_static_auth_start(self) -> None:
        """A file that is not there, is no file, or has a fault ends the start with a clear line."""
        for text, words in ((None, "No such file"), ("x", "line 1 does not begin"), ("fifo", "not a regular file")):
            self.path.unlink(missing_ok=True)
            if text == "fifo":
                os.mkfifo(self.path)
            elif text is not None:
                self.path.write_text(text)
            with self.assertRaises(StartError) as caught:
                self.rig()
            self.assertIn(words, str(caught.exception))
            self.assertIn(str(self.path), str(caught.exception))

    def test_static_auth_shared_file(self) -> None:
        """Scopes with the same file share what is remembered; a scope without one asks nobody."""
        authentication = Authentication(
            clock=self.clock, in_thread=self.threads, metrics=self.metrics, service="http", now=lambda: NOW
        )
        one, other = (authentication.authenticator(AuthSettings(auth_file=self.path)) for _ in range(2))
        assert one is not None
        assert other is not None
        self.assertIs(one._users, other._users)
        self.assertIsNone(authentication.authenticator(AuthSettings()))


class SettingsTests(SynchronousTestCase):
    def test_values(self) -> None:
        """A realm is visible ASCII; a user's name has no colon and no controls, and is kept in NFC."""
        self.assertEqual(realm().parse("My place", Context(Path("/"))), "My place")
        for text in ("", "x" * 200, "caf\u00e9", "a\tb"):
            self.assertRaises(BadValue, realm().parse, text, Context(Path("/")))
        self.assertEqual(user_name("rene\u0301"), "ren\u00e9")
        for text in ("a:b", "a\x1b"):
            self.assertRaises(BadValue, user_name, text)


class PropertyTests(SynchronousTestCase):
    @given(st.binary(max_size=200))
    @settings(derandomize=True, deadline=None, max_examples=500)
    def test_static_auth_any_field(self, data: bytes) -> None:
        """Any field: credentials or none, and no error."""
        for field in (data, b"Basic " + data, b"Basic " + base64.b64encode(data)):
            found = credentials(field)
            if found is not None:
                self.assertNotIn(":", found[0])

    @given(
        st.text(st.characters(min_codepoint=32, exclude_characters=":\x7f", exclude_categories=["Cs"])),
        st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=100),
    )
    @settings(derandomize=True, deadline=None)
    def test_static_auth_round_trip(self, user: str, password: str) -> None:
        """What a client sends by RFC 7617 is what is read, in NFC."""
        field = basic(user, password).partition(": ")[2].encode()
        if len(field) < 4096 and len(htpasswd.normal(password).encode()) <= 1024:
            found = credentials(field)
            self.assertEqual(found, tuple(htpasswd.normal(f"{user}:{password}").split(":", 1)))
