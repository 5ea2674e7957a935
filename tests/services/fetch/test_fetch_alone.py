"""One call of the command on a network and with a clock that the tests play."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, execute

from netsvc.services.fetch.alone.crew import Crew
from netsvc.services.fetch.alone.records import OWNER
from netsvc.services.fetch.alone.request import FeedRequest, Request
from netsvc.services.fetch.checksums import parse_list
from netsvc.services.fetch.download import Done, Downloader, Terms
from netsvc.services.fetch.path import parse_path
from netsvc.services.fetch.settings import Listed
from tests.services.fetch.download.net import Downloads, Wire, reply


class Shown:
    """A display that remembers."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.at: dict[int, int] = {}
        self.totals: dict[int, int | None] = {}
        self.ended: dict[int, Any] = {}
        self.said: list[str] = []

    def add(self, name: str, total: int | None = None, *, at: int = 0) -> int:
        self.names.append(name)
        task = len(self.names) - 1
        self.expect(task, total, at=at)
        return task

    def expect(self, task: int, total: int | None, *, at: int) -> None:
        self.totals[task], self.at[task] = total, at

    def advance(self, task: int, octets: int) -> None:
        self.at[task] += octets

    def done(self, task: int, **facts: Any) -> None:
        self.ended[task] = facts

    def failed(self, task: int, reason: str, **facts: Any) -> None:
        self.ended[task] = reason

    def say(self, line: str) -> None:
        self.said.append(line)


class CrewTests(Downloads):
    def run_crew(self, *urls: str, **more: Any) -> Deferred[set[str]]:
        whole = more.pop("whole", False)
        request = Request(urls=tuple(map(Listed, urls)), **more)
        self.served = 0
        self.shown = Shown()
        self.heads: list[Done] = []
        self.downloader = Downloader(self.net, self.store, Terms(), execute, owner=OWNER)
        self.crew = Crew(
            request,
            reactor=self.net,
            store=self.store,
            downloader=self.downloader,
            in_thread=execute,
            display=self.shown,
            on_head=self.heads.append,
            whole=whole,
            random=lambda: 1.0,
            now=lambda: 0.0,
        )
        return Deferred.fromCoroutine(self.crew.run())

    def next_wire(self) -> Wire:
        self.served += 1
        return self.wire(self.served - 1)

    def test_delays(self) -> None:
        """Delays double; Retry-After makes one longer; when the next would be too late, it is the end."""
        status = self.run_crew("http://a.example/x", retry_for=60.0)
        for wait, fields in ((1, ()), (2, ()), (10, ("Retry-After: 10",)), (8, ()), (16, ())):
            self.next_wire().answer(reply(b"", "503 Sorry", *fields, "Connection: close"))
            self.net.advance(wait - 0.01)
            self.assertEqual(len(self.net.tcpClients), self.served)
            self.net.advance(0.01)
        self.next_wire().answer(reply(b"", "503 Sorry", "Connection: close"))
        self.assertEqual(self.successResultOf(status), {"failed"})
        self.assertEqual(self.shown.said[0], "netsvc fetch: x: the answer is 503; again in 1 s")
        self.assertEqual(self.shown.said[-1], "netsvc fetch: http://a.example/x: the answer is 503")
        self.assertEqual(self.shown.ended, {0: "the answer is 503"})

    def test_fault_of_ours(self) -> None:
        """What nobody expected fails the file, and the call; the others come."""
        whole = Downloader.download

        def download(downloader: Downloader, wanted: Any, *more: Any) -> Deferred[Done]:
            if wanted.url.endswith("/x"):
                raise RuntimeError("fault")
            return whole(downloader, wanted, *more)

        self.patch(Downloader, "download", download)
        status = self.run_crew("http://a.example/x", "http://a.example/y")
        self.next_wire().answer(reply(b"y"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual((self.successResultOf(status), self.files()), ({"failed"}, {"y": b"y"}))
        self.assertIn("netsvc fetch: http://a.example/x: netsvc failed", self.shown.said)

    def test_retry_after_that_is_too_long(self) -> None:
        """A peer that wants to be left alone for longer than the command waits ends it at once."""
        status = self.run_crew("http://a.example/x", retry_for=60.0)
        self.next_wire().answer(reply(b"", "429 Sorry", "Retry-After: 61"))
        self.assertEqual(self.successResultOf(status), {"failed"})

    def test_tries(self) -> None:
        """A file is asked for so often and no more."""
        status = self.run_crew("http://a.example/x", tries=2)
        for wait in (1, 0):
            self.next_wire().answer(reply(b"", "503 Sorry", "Connection: close"))
            self.net.advance(wait)
        self.assertEqual((self.successResultOf(status), self.served), ({"failed"}, 2))

    def test_a_host_that_wants_to_be_left_alone(self) -> None:
        """Retry-After of a 429 holds for the other files of the host, too, which were not asked for yet."""
        status = self.run_crew(*(f"http://a.example/{number}" for number in range(3)), jobs=1, per_host=1)
        self.next_wire().answer(reply(b"", "429 Sorry", "Retry-After: 9", "Connection: close"))
        self.next_wire().answer(reply(b"1", "200 OK", "Connection: close"))  # that waited for its connection already
        self.net.advance(0)
        self.net.advance(8.9)
        self.assertEqual(len(self.net.tcpClients), 2)
        self.assertIn("netsvc fetch: 2: a.example asked to be left alone; again in 9 s", self.shown.said)
        self.net.advance(0.1)
        self.next_wire().answer(reply(b"0", "200 OK", "Connection: close"))
        self.net.advance(0)
        self.next_wire().answer(reply(b"2", "200 OK", "Connection: close"))
        self.net.advance(0)
        self.assertEqual((self.successResultOf(status), len(self.files())), (set(), 3))

    def test_ends(self) -> None:
        """In which ways it failed: no such file, not allowed, anything else."""
        for line, end in (("404 No", "missing"), ("403 No", "forbidden"), ("400 No", "failed")):
            self.net.tcpClients.clear()
            status = self.run_crew("http://a.example/x")
            self.next_wire().answer(reply(b"", line))
            self.assertEqual(self.successResultOf(status), {end})

    def test_thousands_that_fail_at_once(self) -> None:
        """A list of what no request is made for ends, however long it is."""
        status = self.run_crew(*(f"http://~/{number}" for number in range(3000)))
        while self.net.getDelayedCalls():
            self.net.advance(0)
        self.assertEqual(self.successResultOf(status), {"failed"})
        self.assertEqual(set(self.shown.ended.values()), {"the host of the URL is no name"})

    def test_stop(self) -> None:
        """Ctrl-C ends a transfer and a wait; the status is 130, and what came is kept."""
        status = self.run_crew("http://a.example/x", "http://b.example/y")
        first, second = self.next_wire(), self.next_wire()
        second.answer(reply(b"", "500 Sorry", "Connection: close"))
        first.answer(reply(b"x" * 300_000, "200 OK", 'ETag: "x"', length=400_000))
        self.crew.stop()
        self.crew.stop()
        self.assertEqual(self.successResultOf(status), {"interrupted"})
        self.assertEqual(self.shown.ended, {0: "interrupted", 1: "interrupted"})
        self.assertEqual(self.shown.said[-1], "netsvc fetch: interrupted; the same command with -c goes on from here")
        partial = self.store.find_partial(("x",), OWNER)
        assert partial is not None
        self.assertEqual(partial.offset, 300_000)
        self.net.advance(0)
        self.assertEqual(self.net.getDelayedCalls(), [])

    def test_with_and_without_c(self) -> None:
        """-c sends a Range for what is kept; without it the part is given up."""
        for resume, expected in ((True, "Range: bytes=300000-"), (False, "")):
            self.run_crew("http://a.example/x", resume=True)
            self.next_wire().answer(reply(b"x" * 300_000, "200 OK", 'ETag: "x"', length=400_000))
            self.crew.stop()
            self.net.tcpClients.clear()
            self.run_crew("http://a.example/x", resume=resume)
            head = self.next_wire().requests()[0]
            self.assertEqual(
                [one for one in head.split("\r\n") if one.startswith("Range")], [expected] if expected else []
            )
            self.crew.stop()
            self.net.tcpClients.clear()
            for part in self.store_parts():
                self.store.drop(part, OWNER)

    def store_parts(self) -> list[str]:
        found = self.store.find_partial(("x",), OWNER)
        return [] if found is None else [found.id]

    def test_whole(self) -> None:
        """One transfer stands for all: its size is known when all sizes are, and it counts every octet once."""
        status = self.run_crew("http://a.example/x", "http://b.example/y", whole=True)
        self.next_wire().answer(reply(b"x" * 1000))
        self.assertIsNone(self.shown.totals[0])
        self.next_wire().answer(reply(b"y" * 500))
        self.assertEqual(self.successResultOf(status), set())
        self.assertEqual((self.shown.names[0], self.shown.totals[0], self.shown.at[0]), ("2 files", 1500, 1500))
        self.assertEqual({task: self.shown.at[task] for task in (1, 2)}, {1: 1000, 2: 500})

    def test_whole_without_one(self) -> None:
        """What fails before its size is known is not waited for; the size of all the others is."""
        status = self.run_crew("http://a.example/x", "http://b.example/y", "http://c.example/z", whole=True)
        for answer in (reply(b"x" * 1000), reply(b"", "404 No"), reply(b"z" * 500)):
            self.next_wire().answer(answer)
        self.assertEqual(self.successResultOf(status), {"missing"})
        self.assertEqual((self.shown.names[0], self.shown.totals[0], self.shown.at[0]), ("3 files", 1500, 1500))
        self.assertEqual(self.shown.said[-1], "netsvc fetch: 1 of 3 files are not here")

    def test_names(self) -> None:
        """Two URLs that end alike are two files; -o names the one; -J takes the answer's name."""
        status = self.run_crew("http://a.example/1/x.jpg", "http://b.example/2/x.jpg", manifest="m")
        self.next_wire().answer(reply(b"one"))
        self.next_wire().answer(reply(b"two"))
        self.assertEqual(self.successResultOf(status), set())
        self.assertEqual(self.files().keys(), {"x.jpg", "x-2.jpg", "m"})
        self.net.tcpClients.clear()
        status = self.run_crew("http://a.example/", answer_names=True, head=True)
        self.next_wire().answer(reply(b"three", "200 OK", 'Content-Disposition: attachment; filename="../n"'))
        self.assertEqual(self.successResultOf(status), set())
        self.assertIn("n", self.files())
        self.assertEqual(self.heads[0].status, 200)

    def test_what_the_manifest_knows(self) -> None:
        """With -c what is here as the manifest has it is asked for by its ETag; what is another now comes anew."""
        url = "http://a.example/x"
        self.run_crew(url, manifest="m")
        self.next_wire().answer(reply(b"one", "200 OK", 'ETag: "1"'))
        for answer in ("304 Not Modified", "404 Not Found", "304 Not Modified"):  # a 304 repeats no ETag here
            self.net.tcpClients.clear()
            self.run_crew(url, manifest="m", mirror=True)
            wire = self.next_wire()
            self.assertIn('\r\nIf-None-Match: "1"', wire.requests()[0])
            wire.answer(reply(b"", answer))
        self.net.tcpClients.clear()
        (self.root / "x").write_bytes(b"two")
        self.run_crew(url, manifest="m", mirror=True)
        wire = self.next_wire()
        self.assertNotIn("\r\nIf-", wire.requests()[0])
        wire.answer(reply(b"one"))

    def test_checksums(self) -> None:
        """What the list has no line for is not asked for; with another sum it is no file."""
        sums = parse_list(b"0" * 64 + b"  x\n")
        status = self.run_crew("http://a.example/x", "http://a.example/y", sums=sums, retry_for=0.0)
        self.next_wire().answer(reply(b"x"))
        self.assertEqual((self.successResultOf(status), self.files()), ({"unverified"}, {}))
        self.assertIn("the list of checksums has no line for it", self.shown.ended.values())

    def test_feed_that_fails(self) -> None:
        """Without its list there is nothing to do: status 1, and no word of the key."""
        feed = FeedRequest(template="http://a.example/feed", path=parse_path("a[*]"))
        status = self.run_crew(feed=feed)
        self.next_wire().answer(reply(b"{}"))
        self.assertEqual(self.successResultOf(status), {"failed"})
        self.assertIn("the list cannot be had: the feed is another than expected", self.shown.said[0])
