"""A list from its order to the manifest, on a network and with a clock that the tests play."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, ensureDeferred, execute
from twisted.logger import globalLogPublisher

from netsvc.config.secrets import Secret
from netsvc.net.unix_peer import UnixPeer
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Pace
from netsvc.outbox.recovery import recover
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits, Runner
from netsvc.services.fetch.book import Book
from netsvc.services.fetch.delivery import Courier
from netsvc.services.fetch.desk import Desk
from netsvc.services.fetch.download import Downloader, Terms
from netsvc.services.fetch.listing import Feed
from netsvc.services.fetch.manifest import Manifest
from netsvc.services.fetch.path import parse_path
from netsvc.services.fetch.runs import Plan
from netsvc.services.fetch.settings import Listed
from netsvc.services.fetch.wire import Request
from tests.fakes import FakeMetrics
from tests.outbox.kit import START, ImmediateStore, open_database
from tests.services.fetch.download.net import Downloads, Wire, reply

ROOT = UnixPeer(0, 1)
SOMEBODY = UnixPeer(1000, 2)


class Lists(Downloads):
    """Has all of a service but its socket and its schedule."""

    terms = Terms(first_byte_timeout=5.0)
    plan = Plan(listed=(Listed("http://a.example/1.jpg"),), reserved="manifest.jsonl")

    def setUp(self) -> None:
        super().setUp()
        self.served = 0
        self.outbox = ImmediateStore(open_database(self))
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.boot()

    def now(self) -> float:
        return START + float(self.net.seconds())

    def changed(self) -> None:
        self.manifest.changed()

    def boot(self, **changes: Any) -> None:
        """Begin as a daemon does that is started, with another plan perhaps."""
        self.plan = evolve(self.plan, **changes)
        self.book = Book(self.root.parent / f"{self.root.name}.records", execute, self.changed)
        self.addCleanup((self.root.parent / f"{self.root.name}.records").unlink, missing_ok=True)
        self.book.open()
        self.addCleanup(self.book.close)
        self.manifest = Manifest(self.store, self.plan.reserved, "fetch", self.book.records, self.net, execute)
        self.downloader = Downloader(self.net, self.store, self.terms, execute)
        self.courier = Courier(
            queue="fetch",
            plan=self.plan,
            downloader=self.downloader,
            files=self.store,
            book=self.book,
            in_thread=execute,
            outbox=lambda: self.runner.store,
            now=self.now,
        )
        self.runner = Runner(
            queue="fetch",
            reactor=self.net,
            open_store=lambda: self.outbox,
            deliver=self.courier,
            custody=Custody(retry=RetryPolicy(first=10.0, longest=60.0, give_up=3600.0)),
            metrics=FakeMetrics(),
            random=lambda: 0.5,
            limits=Limits(pace=Pace(concurrency=4, first=10.0, longest=60.0), concurrency=8, drain_timeout=5.0),
            wall_clock=self.now,
            settled=self.courier.settled,
        )
        metrics, operators = FakeMetrics(), lambda: frozenset({0})
        self.desk = Desk(self.runner, self.book, "this", self.plan.destination, metrics, operators, self.now)
        self.runner.startService()
        self.addCleanup(self.halt)

    def halt(self) -> None:
        """The service stops."""
        stopped: Deferred[None] = self.runner.stopService()
        self.net.advance(60)
        self.successResultOf(stopped)
        self.successResultOf(self.downloader.close())
        self.book.close()

    def ask(self, command: str = "run", peer: UnixPeer = SOMEBODY, **values: Any) -> dict[str, Any]:
        asked = ensureDeferred(self.desk.answer(Request(command, **values), peer))
        self.net.advance(0)
        return dict(self.successResultOf(asked))

    def next_wire(self, within: int = 0) -> Wire:
        """The next connection that is asked for.

        :param within: seconds.
        """
        for _ in range(within):
            if self.idle():
                self.net.advance(1)
        self.assertGreater(len(self.net.tcpClients), self.served, "nobody connects")
        self.served += 1
        return self.wire(self.served - 1)

    def idle(self) -> bool:
        return len(self.net.tcpClients) == self.served

    def tally(self, run: str) -> dict[str, int]:
        return dict(self.ask("tally", id=run)["files"])

    def lines(self) -> dict[str, dict[str, Any]]:
        """The manifest, by URL."""
        self.successResultOf(self.manifest.flush())
        text = (self.root / "manifest.jsonl").read_text()
        return {one["url"]: one for one in map(json.loads, text.splitlines())}


class RunTests(Lists):
    def test_one_file(self) -> None:
        """An order becomes a file and a line of the manifest; the books balance."""
        run = self.ask()
        self.assertEqual((run["ok"], run["repeated"]), (True, False))
        wire = self.next_wire()
        self.assertIn("GET /1.jpg HTTP/1.1", wire.requests()[0])
        self.assertEqual(self.tally(run["id"]), {"waiting": 1})
        wire.answer(reply(b"picture", "200 OK", 'ETag: "x"', "Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT"))
        self.net.advance(0)
        self.assertEqual(self.tally(run["id"]), {"delivered": 1})
        self.assertEqual(
            self.lines()["http://a.example/1.jpg"],
            {
                "url": "http://a.example/1.jpg",
                "name": "1.jpg",
                "size": 7,
                "sha256": hashlib.sha256(b"picture").hexdigest(),
                "etag": '"x"',
                "last_modified": "Sat, 01 Nov 2025 10:00:00 GMT",
                "fetched": "2023-11-14T22:13:20Z",
                "status": "fetched",
            },
        )
        self.assertEqual((self.root / "1.jpg").read_bytes(), b"picture")
        self.assertTrue(self.ask("audit")["audit"]["balanced"])

    def test_feed(self) -> None:
        """Pages of a feed are read in order until one is empty; the key is sent, and stands nowhere else."""
        feed = Feed(
            template="http://api.example/social/?key={key}&page={page}",
            path=parse_path("newslist[*].picUrl"),
            key=Secret("env:KEY", "geheim"),
            pages=(1, 9),
        )
        self.halt()
        self.boot(listed=(), feed=feed)
        run = self.ask()
        wire = self.next_wire()
        for page, some in ((1, ["http://a.example/x/1.jpg", "/2.jpg"]), (2, ["http://a.example/y/1.jpg"]), (3, [])):
            self.assertIn(f"GET /social/?key=geheim&page={page} ", wire.requests()[0])
            content = json.dumps({"newslist": [{"picUrl": one} for one in some]}).encode()
            wire.answer(reply(content, "200 OK", "Content-Type: application/json"))
        self.net.advance(0)
        self.assertEqual(self.tally(run["id"]), {"waiting": 3})
        bodies = {"/x/1.jpg": b"one", "/y/1.jpg": b"two", "/2.jpg": b"three"}
        for each in (wire, *(self.next_wire() for _ in range(len(self.net.tcpClients) - self.served))):
            for head in each.requests():
                each.answer(reply(bodies[head.split()[1]]))
        self.net.advance(0)
        self.assertEqual(self.tally(run["id"]), {"delivered": 3})
        self.lines()
        files = {name: octets for name, octets in self.files().items() if name != "manifest.jsonl"}
        self.assertEqual(files, {"1.jpg": b"one", "1-2.jpg": b"two", "2.jpg": b"three"})
        self.assertNotIn("geheim", repr(self.events))
        self.assertNotIn("geheim", json.dumps(self.ask("queue", done=True)))
        self.assertNotIn("geheim", (self.root / "manifest.jsonl").read_text())

    def test_feed_that_is_another(self) -> None:
        """An answer that has no such path ends the run, in words; a 503 of the feed is tried again when it says."""
        feed = Feed(template="http://api.example/", path=parse_path("newslist[*].picUrl"))
        self.halt()
        self.boot(listed=(), feed=feed)
        run = self.ask()
        self.next_wire().answer(reply(b"", "503 Service Unavailable", "Retry-After: 120", "Connection: close"))
        self.net.advance(119)
        self.assertTrue(self.idle())
        self.net.advance(1)
        self.next_wire().answer(reply(b'{"code": 230, "msg": "key"}'))
        self.net.advance(0)
        tally = self.ask("tally", id=run["id"])
        self.assertEqual(tally["run"]["state"], "bounced")
        self.assertIn("there is no newslist", tally["run"]["reason"])

    def test_once_more(self) -> None:
        """A run that has not begun is not ordered twice; one while files wait orders only what does not wait."""
        self.halt()
        feed = Feed(template="http://api.example/", path=parse_path("[*]"))
        self.boot(feed=feed)
        first = self.ask()
        again = self.ask()
        self.assertEqual((again["id"], again["repeated"]), (first["id"], True))
        self.next_wire().answer(reply(b"[]", "200 OK", "Connection: close"))
        self.net.advance(0)
        held = self.next_wire()
        second = self.ask()
        self.assertNotEqual(second["id"], first["id"])
        self.next_wire().answer(reply(b'["http://b.example/2.jpg"]', "200 OK", "Connection: close"))
        self.net.advance(0)
        self.next_wire().answer(reply(b"two"))
        self.net.advance(0)
        self.assertEqual((self.tally(first["id"]), self.tally(second["id"])), ({"waiting": 1}, {"delivered": 1}))
        held.answer(reply(b"one"))
        self.net.advance(0)
        self.assertEqual(self.tally(first["id"]), {"delivered": 1})
        self.assertTrue(self.idle())

    def test_what_is_here(self) -> None:
        """Without a mirror, what is here is not asked for again, unless it was changed or removed here."""
        self.ask()
        self.next_wire().answer(reply(b"picture", "200 OK", 'ETag: "x"', "Connection: close"))
        self.net.advance(1)
        self.assertEqual(self.tally(self.ask()["id"]), {})
        self.assertTrue(self.idle())
        (self.root / "1.jpg").write_bytes(b"spoiled")
        self.net.advance(1)
        self.ask()
        wire = self.next_wire()
        self.assertNotIn("If-None-Match", wire.requests()[0])
        wire.answer(reply(b"picture"))
        self.net.advance(0)
        self.assertEqual((self.root / "1.jpg").read_bytes(), b"picture")

    def test_mirror(self) -> None:
        """A mirror asks with what the origin said; a 304 keeps the file, a 200 replaces it; the manifest tells."""
        self.halt()
        self.boot(mirror=True)
        self.ask()
        self.next_wire().answer(reply(b"old", "200 OK", 'ETag: "x"', "Connection: close"))
        for status, body, expected in (("304 Not Modified", b"", "unchanged"), ("200 OK", b"new", "fetched")):
            self.net.advance(1)
            self.ask()
            wire = self.next_wire()
            self.assertIn('If-None-Match: "x"', wire.requests()[0])
            wire.answer(reply(body, status, "Connection: close", length=None if status[0] == "3" else -1))
            self.net.advance(0)
            self.assertEqual(self.lines()["http://a.example/1.jpg"]["status"], expected)
        self.assertEqual((self.root / "1.jpg").read_bytes(), b"new")

    def test_checksums(self) -> None:
        """A file comes only if the list has its checksum, and only with that one; another one now brings it anew."""
        self.halt()
        listed = tuple(Listed(f"http://a.example/{name}") for name in ("1.jpg", "2.jpg", "3.jpg"))
        self.boot(listed=listed, checksums="http://a.example/SHA256SUMS")

        def sums(**files: bytes) -> bytes:
            return "".join(f"{hashlib.sha256(octets).hexdigest()}  {n}.jpg\n" for n, octets in files.items()).encode()

        def serve(content: bytes) -> dict[str, int]:
            run = self.ask()["id"]
            self.next_wire().answer(reply(content, "200 OK", "Connection: close"))
            self.net.advance(0)
            while not self.idle():
                wire = self.next_wire()
                wire.answer(
                    reply(b"one" if " /1.jpg " in wire.requests()[0] else b"two", "200 OK", "Connection: close")
                )
                self.net.advance(0)
            return self.tally(run)

        content = f"{hashlib.sha256(b'one').hexdigest()}  1.jpg\n{hashlib.sha256(b'other').hexdigest()}  2.jpg\n"
        self.assertEqual(serve(content.encode()), {"delivered": 1, "bounced": 2})
        lines = self.lines()
        self.assertEqual(self.files().keys() - {"manifest.jsonl"}, {"1.jpg"})
        self.assertIn("SHA-256", lines["http://a.example/2.jpg"]["reason"])
        self.assertEqual(lines["http://a.example/3.jpg"]["reason"], "the list of checksums has no line for it")
        self.assertEqual(lines["http://a.example/3.jpg"]["status"], "failed")
        self.flushLoggedErrors()


class TryingAgainTests(Lists):
    def test_500_then_200(self) -> None:
        """A 500 is tried again after a delay with jitter, and then it comes."""
        run = self.ask()["id"]
        self.next_wire().answer(reply(b"sorry", "500 Internal Server Error", "Connection: close"))
        self.net.advance(0)
        self.assertEqual(self.lines()["http://a.example/1.jpg"]["status"], "retry")
        self.net.advance(4.9)
        self.assertTrue(self.idle())
        self.net.advance(0.1)
        self.next_wire().answer(reply(b"picture"))
        self.net.advance(0)
        self.assertEqual(self.tally(run), {"delivered": 1})
        line = self.lines()["http://a.example/1.jpg"]
        self.assertEqual((line["status"], "reason" in line), ("fetched", False))

    def test_retry_after(self) -> None:
        """Retry-After of a 429 or 503 is waited for, by all files of the host; other hosts are asked meanwhile."""
        listed = tuple(Listed(f"http://{host}.example/{name}") for host, name in (("a", "1"), ("a", "2"), ("b", "3")))
        for status in ("429 Too Many Requests", "503 Service Unavailable"):
            self.halt()
            self.boot(listed=listed, mirror=True)
            run = self.ask()["id"]
            wires = {}
            while not self.idle():
                wire = self.next_wire()
                wires[wire.requests()[0].split()[1]] = wire
            wires["/1"].answer(reply(b"", status, "Retry-After: 300", "Connection: close"))
            wires["/2"].answer(reply(b"", status, "Retry-After: 200", "Connection: close"))
            wires["/3"].answer(reply(b"three", "200 OK", "Connection: close"))
            self.net.advance(0)
            self.assertEqual(self.tally(run), {"waiting": 2, "delivered": 1})
            self.net.advance(199)
            self.assertTrue(self.idle())
            self.net.advance(101)
            while not self.idle():
                self.next_wire().answer(reply(b"x", "200 OK", "Connection: close"))
            self.net.advance(0)
            self.net.advance(60)
            while not self.idle():
                self.next_wire().answer(reply(b"x", "200 OK", "Connection: close"))
            self.net.advance(0)
            self.assertEqual(self.tally(run), {"delivered": 3})

    def test_a_host_that_answers_again(self) -> None:
        """A host that asked to be left alone and then sends a file after all is asked for others when they are due."""
        self.halt()
        self.boot(listed=tuple(Listed(f"http://a.example/{number}") for number in range(3)))
        self.ask()
        asked, sent, failed = (self.next_wire() for _ in range(3))
        asked.answer(reply(b"", "503 Service Unavailable", "Retry-After: 300", "Connection: close"))
        self.net.advance(0)
        sent.answer(reply(b"one", "200 OK", "Connection: close"))
        failed.answer(reply(b"", "500 Internal Server Error", "Connection: close"))
        self.net.advance(0)
        self.assertTrue(self.idle())
        self.next_wire(within=60).answer(reply(b"two", "200 OK", "Connection: close"))

    def test_a_host_that_is_down(self) -> None:
        """A host that does not answer is left alone after some tries; files of another come at once meanwhile."""
        self.net.names["down.example"] = ["93.184.216.1"]
        down = tuple(Listed(f"http://down.example/{number}") for number in range(6))
        self.halt()
        self.boot(listed=(*down, *(Listed(f"http://up.example/{number}.jpg") for number in range(6))))
        run = self.ask()["id"]
        done = 0
        while not self.idle():
            host, *_ = self.net.tcpClients[self.served]
            wire = self.next_wire()
            for _ in wire.requests():
                wire.answer(reply(b"up", "200 OK", "Connection: close")) if host == "93.184.216.34" else None
            self.net.advance(0)
            done = self.tally(run).get("delivered", 0)
        self.assertEqual(done, 6)
        self.assertEqual(self.tally(run), {"delivered": 6, "waiting": 6})

    def test_not_found(self) -> None:
        """A 404 ends it; an error page is never the file."""
        run = self.ask()["id"]
        self.next_wire().answer(reply(b"<html>", "404 Not Found"))
        self.net.advance(0)
        tally = self.ask("tally", id=run)
        self.assertEqual(tally["files"], {"bounced": 1})
        self.assertEqual(tally["failed"][0]["reason"], "the answer is 404")
        self.assertEqual(self.lines()["http://a.example/1.jpg"]["status"], "failed")
        self.assertEqual(self.files().keys(), {"manifest.jsonl"})

    def test_private_address(self) -> None:
        """An address that is not public is not asked; the reason says which option would allow it."""
        self.net.names["a.example"] = ["127.0.0.1"]
        run = self.ask()["id"]
        self.net.advance(0)
        self.assertTrue(self.idle())
        (failed,) = self.ask("tally", id=run)["failed"]
        self.assertIn("(private_addresses = yes allows it)", failed["reason"])

    def test_expiry(self) -> None:
        """What does not come for long is given up, and the manifest has it as failed."""
        run = self.ask()["id"]
        for _ in range(400):
            if self.idle():
                self.net.advance(20)
                continue
            self.next_wire().answer(reply(b"", "500 Internal Server Error", "Connection: close"))
            self.net.advance(0)
        self.assertEqual(self.tally(run), {"expired": 1})
        self.assertEqual(self.lines()["http://a.example/1.jpg"]["status"], "failed")


class RestartTests(Lists):
    def test_file_abuse_49_restart_in_a_resume(self) -> None:
        """Stopped in a file, and again in its resume: each start goes on at once, where the one before stopped."""
        body = bytes(range(256)) * 4096
        third = len(body) // 3
        run = self.ask()["id"]
        for offset, until in ((0, third), (third, 2 * third), (2 * third, len(body))):
            wire = self.next_wire()
            head = wire.requests()[0]
            status, fields = "200 OK", ['ETag: "x"']
            if offset:
                self.assertIn(f"Range: bytes={offset}-", head)
                self.assertIn('If-Range: "x"', head)
                status = "206 Partial Content"
                fields.append(f"Content-Range: bytes {offset}-{len(body) - 1}/{len(body)}")
            wire.answer(reply(b"", status, *fields, length=len(body) - offset) + body[offset:until], piece=65536)
            if until < len(body):
                self.halt()
                self.boot()
        self.net.advance(0)
        self.assertEqual((self.root / "1.jpg").read_bytes(), body)
        self.assertEqual(self.tally(run), {"delivered": 1})
        self.assertEqual(self.parts(), [])

    def test_published_and_not_recorded(self) -> None:
        """A file that came just before the daemon died is not got again: the records have it."""
        self.ask()
        self.outbox.failures["settle"] = [Deferred()]  # the daemon dies while the disk writes it
        self.next_wire().answer(reply(b"picture", "200 OK", "Connection: close"))
        self.net.advance(0)
        self.book.close()
        self.runner.running = 0
        self.outbox = ImmediateStore(self.outbox.database)
        recover(self.outbox.database, self.outbox.database.leased(), Custody(), None, now=START, random=lambda: 0.5)
        self.boot()
        self.net.advance(60)
        self.assertTrue(self.idle())
        (item,) = [one for one in self.ask("queue", done=True)["items"] if one["order"] == "file"]
        self.assertEqual(item["became"], "delivered")
        self.assertIn("was here before", item["last"])

    def test_file_abuse_48_clock_jump(self) -> None:
        """A wall clock that jumps a year loses no file that waits, and none that is here."""
        self.ask()
        self.next_wire().answer(reply(b"", "500 Internal Server Error", "Connection: close"))
        self.net.advance(0)
        before = self.now
        self.now = lambda: before() + 365 * 86400.0  # type: ignore[method-assign]
        self.halt()
        self.boot()
        self.next_wire(within=60).answer(reply(b"picture"))
        self.net.advance(0)
        self.assertEqual(self.lines()["http://a.example/1.jpg"]["status"], "fetched")
        self.assertEqual(self.files()["1.jpg"], b"picture")


class DeskTests(Lists):
    def test_who_may(self) -> None:
        """Anybody who reaches the socket may order and look; only root and the daemon's user remove and requeue."""
        run = self.ask()["id"]
        (item,) = [one for one in self.ask("queue")["items"] if one["order"] == "file"]
        self.assertEqual(self.ask("remove", id=item["id"])["code"], "5.7.1")
        self.next_wire().answer(reply(b"", "404 Not Found"))
        self.net.advance(0)
        self.assertEqual(self.ask("show", id=item["id"])["item"]["became"], "bounced")
        self.assertEqual(self.ask("requeue", ROOT, id=item["id"])["count"], 1)
        self.net.advance(0)
        self.assertEqual(self.tally(run), {"waiting": 1})

    def test_faults(self) -> None:
        """Unknown ids are answered; a store that fails is told as try again."""
        self.assertEqual(self.ask("show", id="0a")["code"], "5.0.0")
        self.assertEqual(self.ask("tally", id="0a")["code"], "5.0.0")
        from tests.outbox.kit import disk_full

        self.outbox.failures["accept"] = [disk_full()]
        self.assertEqual(self.ask()["code"], "4.3.0")
