"""Facts about MTA-STS: what is read, what is kept, and the whole way over DNS and HTTPS to real servers."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.routing.mta_sts import MAX_AGE, BadPolicy, Policy, policy_id, read_policy
from netsvc.services.smtp_client.routing.sts_fetch import FetchError
from netsvc.services.smtp_client.routing.sts_policies import Kept, StsPolicies, load, save
from tests.services.smtp_client.certs import Issued, authority, self_signed, server
from tests.services.smtp_client.routing.authority import Authority
from tests.services.smtp_client.routing.names import FAILED, Names, found, now
from tests.services.smtp_client.routing.route_child import run

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 86400\r\n"


class Read(SynchronousTestCase):
    def test_id(self) -> None:
        """The id is that of the one STSv1 record; with two, or a bad one, there is none."""
        for records, value in (
            (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
            (["v=spf1 -all", "v=STSv1;id=a1"], "a1"),
            (["v=STSv1 ; other=x; id=a ;"], "a"),
            (["v=STSv1; id=a;", "v=STSv1; id=b;"], None),
            (["v=STSv1; id=a-b;"], None),
            (["v=STSv1; id=" + "a" * 33], None),
            (["v=STSv1;"], None),
            (["v=STSv10; id=a;"], None),
            ([" v=STSv1; id=a;"], None),
            ([], None),
        ):
            self.assertEqual(policy_id(records), value, records)

    def test_policy(self) -> None:
        """A policy has a mode, a time and hosts, with CRLF or LF, in any order, other fields beside."""
        expected = Policy("enforce", 86400, ("mail.example.com", "*.example.net"))
        self.assertEqual(read_policy(POLICY), expected)
        lines = POLICY.decode().split("\r\n")
        self.assertEqual(
            read_policy("\n".join([*reversed(lines[3:]), *lines[:3], "x-new: 1"]).encode()).mode, "enforce"
        )

    def test_first_counts(self) -> None:
        """Of a field that comes twice the first counts; a time of more than a year is a year."""
        policy = read_policy(b"version: STSv1\nmode:none\nmode: enforce\nmax_age: 9999999999\n")
        self.assertEqual(policy, Policy("none", MAX_AGE))

    def test_bad(self) -> None:
        """What breaks a rule is no policy."""
        for wrong, right in (
            (b"STSv2", b"STSv1"),
            (b"", b"version: STSv1\r\n"),
            (b"off", b"enforce"),
            (b"x", b"86400"),
            (b"-1", b"86400"),
            (b"mail example", b"mail.example.com"),
            (b"a.*.example", b"mail.example.com"),
            (b"*", b"mail.example.com"),
            (b"\xff", b"mail"),
            (b"<html>\r\nmode", b"mode"),
        ):
            with self.assertRaises(BadPolicy, msg=wrong):
                read_policy(POLICY.replace(right, wrong))
        for wrong in (
            b"",
            b"version: STSv1\nmode: enforce\nmax_age: 1\n",
            POLICY + b"mx: a.example\n" * 100,
            POLICY + b"x: " + b"y" * 65536,
        ):
            with self.assertRaises(BadPolicy):
                read_policy(wrong)

    def test_hosts(self) -> None:
        """A pattern is a name, or stands for exactly one label before it."""
        policy = read_policy(POLICY)
        for host, allowed in (
            ("mail.example.com", True),
            ("MAIL.example.com.", True),
            ("x.mail.example.com", False),
            ("a.example.net", True),
            ("a.b.example.net", False),
            ("example.net", False),
            ("aexample.net", False),
        ):
            self.assertEqual(policy.allows(host), allowed, host)

    @given(
        st.binary(max_size=200)
        | st.builds(lambda at, one: POLICY[:at] + one + POLICY[at:], st.integers(0, 90), st.binary())
    )
    def test_any_octets(self, octets: bytes) -> None:
        """Any octets are a policy or none."""
        try:
            self.assertIsInstance(read_policy(octets), Policy)
        except BadPolicy:
            return

    @given(st.lists(st.text(max_size=60), max_size=3))
    def test_any_texts(self, records: list[str]) -> None:
        """Any texts have an id or none."""
        self.assertIn(type(policy_id(records)), (str, type(None)))


class Web:
    """Gives policies, or fails, in turn."""

    def __init__(self, *results: bytes | Exception | Deferred[bytes]) -> None:
        self.results = list(results)
        self.asked: list[str] = []

    async def __call__(self, domain: str) -> bytes:
        self.asked.append(domain)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return await result if isinstance(result, Deferred) else result


class Keeping(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "mta-sts.json")
        self.clock = Clock()
        self.clock.advance(1e9)
        self.names = Names()

    def make(self, *results: Any) -> StsPolicies:
        self.web = Web(*results)
        return StsPolicies(
            self.names,
            self.web,
            path=self.path,
            now=self.clock.seconds,
            seconds=self.clock.seconds,
            in_thread=lambda function, *arguments: succeed(function(*arguments)),
        )

    def publish(self, current: str) -> None:
        self.names.txt_answers["_mta-sts.a.example"] = found(f"v=STSv1; id={current};")

    def test_none(self) -> None:
        """A domain without a record has no policy, and nothing is fetched."""
        policies = self.make()
        self.assertIsNone(now(policies.policy("a.example")))
        self.names.txt_answers["_mta-sts.a.example"] = FAILED
        self.assertIsNone(now(policies.policy("a.example")))
        self.assertEqual(self.web.asked, [])

    def test_once(self) -> None:
        """A policy is fetched once, as long as its id stays; a new id fetches the new one."""
        policies = self.make(POLICY, POLICY.replace(b"enforce", b"testing"))
        self.publish("1")
        for _ in range(3):
            self.assertEqual(now(policies.policy("a.example")), read_policy(POLICY))
        self.assertEqual(len(self.web.asked), 1)
        self.publish("2")
        policy = now(policies.policy("a.example"))
        assert policy is not None
        self.assertEqual(policy.mode, "testing")

    def test_survives_blindness(self) -> None:
        """A policy counts until its time is over though the DNS, the record or the web server are gone."""
        policies = self.make(POLICY, FetchError("gone"))
        self.publish("1")
        now(policies.policy("a.example"))
        for answer in (FAILED, found("v=STSv1; id=2;"), found("other")):
            self.names.txt_answers["_mta-sts.a.example"] = answer
            self.assertEqual(now(policies.policy("a.example")), read_policy(POLICY))
        self.clock.advance(86401)
        self.assertIsNone(now(policies.policy("a.example")))

    def test_refreshed(self) -> None:
        """In the second half of its time a policy is fetched again, so that it does not lapse."""
        policies = self.make(POLICY, POLICY)
        self.publish("1")
        now(policies.policy("a.example"))
        self.clock.advance(43201)
        now(policies.policy("a.example"))
        self.assertEqual(len(self.web.asked), 2)
        self.clock.advance(43201)
        self.names.txt_answers.clear()
        self.assertIsNotNone(now(policies.policy("a.example")))

    def test_failures_rest(self) -> None:
        """After a failed fetch, or a bad policy, there are five minutes without one; a new id does not wait."""
        policies = self.make(FetchError("no"), b"rubbish", FetchError("no"))
        self.publish("1")
        for advance, fetched in ((0, 1), (299, 1), (2, 2), (1, 2)):
            self.clock.advance(advance)
            self.assertIsNone(now(policies.policy("a.example")))
            self.assertEqual(len(self.web.asked), fetched)
        self.publish("2")
        now(policies.policy("a.example"))
        self.assertEqual(len(self.web.asked), 3)

    def test_at_once(self) -> None:
        """Of many messages at once one fetches the policy, and all heed it."""
        waiting: Deferred[bytes] = Deferred()
        policies = self.make(waiting)
        self.publish("1")
        asked = [Deferred.fromCoroutine(policies.policy("a.example")) for _ in range(20)]
        waiting.callback(POLICY)
        self.assertEqual({self.successResultOf(one) for one in asked}, {read_policy(POLICY)})
        self.assertEqual(self.web.asked, ["a.example"])

    def test_kept_on_disk(self) -> None:
        """A daemon that starts again knows the policies; the file is private and no other remains."""
        policies = self.make(POLICY)
        self.publish("1")
        now(policies.policy("a.example"))
        self.names.txt_answers.clear()
        self.assertEqual(now(self.make().policy("a.example")), read_policy(POLICY))
        self.assertEqual([one.name for one in self.path.parent.iterdir()], ["mta-sts.json"])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_two_keep_it(self) -> None:
        """What one process has fetched is not lost when another, which does not know it, writes the file."""
        one, other = self.make(POLICY), self.make(POLICY.replace(b"enforce", b"testing"), POLICY)
        self.publish("1")
        self.names.txt_answers["_mta-sts.b.example"] = found("v=STSv1; id=1;")
        now(other.policy("c.example"))  # the file is read
        now(one.policy("a.example"))
        now(other.policy("b.example"))
        modes = {domain: kept.policy.mode for domain, kept in load(self.path).items()}
        self.assertEqual(modes, {"a.example": "enforce", "b.example": "testing"})
        self.clock.advance(10)
        self.publish("2")
        now(other.policy("a.example"))
        self.assertEqual(load(self.path)["a.example"].id, "2")
        save(self.path, {"a.example": Kept("1", 1e9, read_policy(POLICY))})
        self.assertEqual(load(self.path)["a.example"].id, "2")

    def test_damaged(self) -> None:
        """Of a damaged file what can be read counts, and nothing raises."""
        now_and = {"id": "1", "fetched": 1e9, "mode": "enforce", "max_age": 86400, "mx": ["m.example"]}
        for bad in (b"", b"[]", b"\xff", b'{"policies": 7}', b'{"policies": [1]}', b"[" * 100_000):
            self.path.write_bytes(bad)
            self.assertEqual(len(load(self.path)), 0, bad)
        entries = {"a": now_and, "b": 7, "c": {**now_and, "mx": 3}, "d": {**now_and, "fetched": "x"}, "e": {}}
        self.path.write_text(json.dumps({"version": 1, "policies": entries}))
        self.assertEqual(list(load(self.path)), ["a"])

    def test_no_room(self) -> None:
        """A file that cannot be written costs the keeping, not the policy."""
        self.path = self.path.parent / "gone" / "mta-sts.json"
        policies = self.make(POLICY)
        self.publish("1")
        self.assertEqual(now(policies.policy("a.example")), read_policy(POLICY))

    def test_clock_of_the_future(self) -> None:
        """A policy that seems fetched more than a year from now does not count for ever."""
        policies = self.make(POLICY)
        self.publish("1")
        now(policies.policy("a.example"))
        self.clock.rightNow -= 2 * MAX_AGE
        self.names.txt_answers.clear()
        self.assertIsNone(now(self.make().policy("a.example")))


Answer = Callable[[BaseHTTPRequestHandler], None]


def plain(body: bytes = POLICY, status: int = 200, kind: str = "text/plain; charset=utf-8", **fields: str) -> Answer:
    """Answer with this."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


class Https:
    """A web server on loopback in a thread."""

    def __init__(
        self, certificate: Issued, directory: Path, answer: Answer, address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        asked: list[tuple[str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Host"]))
                answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that leaves is no news."""

        self.asked = asked
        pem = directory / "server.pem"
        pem.write_bytes(certificate.pem + certificate.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._server = Quiet(address, Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Https:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


RECORDS = {
    ("_mta-sts.a.example", "TXT"): ['"v=STSv1; id=1;"'],
    ("mta-sts.a.example", "A"): ["127.0.0.1"],
}
HOST = "mta-sts.a.example"


class Live(SynchronousTestCase):
    def policy(self, answer: Answer, certificate: Issued | None = None, **task: Any) -> tuple[Any, str, list[Any]]:
        """What the child has, what it logged, what the server was asked."""
        with TemporaryDirectory() as directory, Authority(RECORDS) as names:
            roots = Path(directory, "roots.pem")
            roots.write_bytes(authority("test CA").pem)
            with Https(certificate or server(HOST), Path(directory), answer) as web:
                result = run(
                    {
                        "servers": [f"127.0.0.1:{names.port}"],
                        "sts": {
                            "domain": "a.example",
                            "port": web.port,
                            "roots": str(roots),
                            "state": directory,
                            **task,
                        },
                    }
                )
            return result["policy"], result["log"], web.asked

    def test_fetched(self) -> None:
        """A policy comes over verified HTTPS from the well-known place."""
        policy, _, asked = self.policy(plain())
        self.assertEqual((policy["mode"], policy["patterns"]), ("enforce", ["mail.example.com", "*.example.net"]))
        self.assertEqual(asked[0][0], "/.well-known/mta-sts.txt")
        self.assertTrue(asked[0][1].startswith(HOST))

    def refused(self, reason: str, answer: Answer, certificate: Issued | None = None, **task: Any) -> list[Any]:
        policy, log, asked = self.policy(answer, certificate, **task)
        self.assertIsNone(policy)
        self.assertIn(reason, log)
        return asked

    def test_mail_fault_16_policy_of_unknown_ca(self) -> None:
        """A policy under an authority that is not trusted here, or none, is not fetched."""
        asked = self.refused("CA that is not trusted", plain(), server(HOST, by="other CA"))
        self.assertEqual(asked, [])
        self.refused("self-signed", plain(), self_signed(HOST))

    def test_mail_fault_17_policy_of_wrong_name(self) -> None:
        """A policy under another name is not fetched."""
        self.refused("bears other names", plain(), server("a.example"))

    def test_mail_fault_18_policy_expired(self) -> None:
        """A policy under a certificate that has expired is not fetched."""
        self.refused("has expired", plain(), server(HOST, days=(-5, -1)))

    def test_redirect(self) -> None:
        """A redirect is not followed."""
        asked = self.refused("status 302", plain(status=302, Location=f"https://{HOST}/x"))
        self.assertEqual(len(asked), 1)

    def test_other_answers(self) -> None:
        """Neither another status nor another type is a policy."""
        self.refused("status 404", plain(status=404))
        self.refused("not text/plain", plain(kind="text/html"))

    def test_too_long(self) -> None:
        """A policy of more than 64 KiB is none, nor are endless header fields."""
        self.refused("longer than 65536", plain(POLICY + b"x: " + b"y" * 70_000))
        self.refused(HOST, plain(**{f"X-{n}": "y" * 1000 for n in range(2000)}))

    def test_cut(self) -> None:
        """A policy that does not come whole is none."""

        def cut(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Type", "text/plain")
            request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(POLICY)

        def endless(request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + POLICY)

        self.refused("did not come whole", cut)
        self.refused("did not come whole", endless)

    def test_mail_fault_19_silence(self) -> None:
        """A web server that says nothing costs the time limit and no more."""
        done = threading.Event()
        self.addCleanup(done.set)
        self.refused("longer than 0.5 seconds", lambda _: bool(done.wait(20)) and None, timeout=0.5)

    def test_nobody_there(self) -> None:
        """A web server that is not there is told so."""
        self.refused("cannot be reached", plain(), port=1)
