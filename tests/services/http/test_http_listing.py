"""Lists of directories: what is shown, in which order, as a page and as JSON."""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.listing import lists as listing_module
from netsvc.services.http.listing.entries import (
    MAX_ENTRIES,
    Entry,
    Order,
    asked_order,
    in_order,
    natural,
    read_directory,
)
from netsvc.services.http.listing.in_json import listing_json, rfc3339
from netsvc.services.http.listing.page import date_and_time, listing_page, name_text, size_text
from netsvc.services.http.site.paths import Policy, split
from tests.services.http.http_rig import Rig, request, write

ENTRIES = [
    Entry(name=b"<b>&.txt", size=5, modified=0.5),
    Entry(name=b"javascript:alert(1)", size=2000, modified=1.0),
    Entry(name=b"zoo", directory=True, modified=2.0),
    Entry(name=b"l\xff", link=True),
]
ODD = (b"new\nline", b"esc\x1b[31m", b"back\\slash", b"del\x7f")  # no address leads to these
LINK = re.compile(rb'href="\./([^"?]+)"')


class PageTests(SynchronousTestCase):
    def order(self, query: bytes) -> list[bytes]:
        return [one.name for one in in_order(ENTRIES, asked_order(query))]

    def test_listing_page(self) -> None:
        """Names are escaped, links are relative to here; directories come first; there is no script."""
        page = listing_page((b"a", b"b<"), ENTRIES, False, Order()).decode()
        self.assertIn('<a href="./%3Cb%3E%26.txt"><bdi>&lt;b&gt;&amp;.txt</bdi></a>', page)
        self.assertIn('href="./javascript%3Aalert%281%29"', page)
        self.assertIn('href="./l%FF"', page)
        self.assertIn("Index of /a/b&lt;/", page)
        self.assertIn('<a href="../../">/</a> <a href="../"><bdi>a</bdi>/</a>', page)
        self.assertIn('<a aria-current="page" href="./"><bdi>b&lt;</bdi>/</a>', page)
        self.assertIn('href="../">Parent directory', page)
        self.assertIn("1 directory; 3 files, 2.0 KiB", page)
        self.assertLess(page.index("zoo"), page.index("%3Cb"))
        self.assertNotIn("<script", page)

    def test_listing_order(self) -> None:
        """Lists sort by name, size and date, both ways; links have neither size nor date; unknown words are ignored."""
        self.assertEqual(self.order(b""), [b"zoo", b"<b>&.txt", b"javascript:alert(1)", b"l\xff"])
        self.assertEqual(self.order(b"order=desc"), [b"zoo", b"l\xff", b"javascript:alert(1)", b"<b>&.txt"])
        self.assertEqual(self.order(b"sort=size&order=asc"), [b"zoo", b"l\xff", b"<b>&.txt", b"javascript:alert(1)"])
        self.assertEqual(self.order(b"sort=size&order=desc"), [b"zoo", b"javascript:alert(1)", b"<b>&.txt", b"l\xff"])
        self.assertEqual(self.order(b"sort=date&order=desc"), [b"zoo", b"javascript:alert(1)", b"<b>&.txt", b"l\xff"])
        for query in (b"sort=nonsense;drop", b"order=x", b"\xff=\xff&&=", b"sort", b"sort=owner&a=b"):
            self.assertEqual(self.order(query), self.order(b""), query)

    def test_listing_natural_order(self) -> None:
        """Numbers in names sort by their value, and case does not count."""
        names = [b"a10", b"a9", b"B1", b"a", b"\xc3\xa4", b"10", b"9", b"a9b10", b"a9b9", b"\xff"]
        self.assertEqual(
            sorted(names, key=natural),
            [b"9", b"10", b"a", b"a9", b"a9b9", b"a9b10", b"a10", b"B1", b"\xc3\xa4", b"\xff"],
        )

    def test_listing_heads(self) -> None:
        """The sorted column says so, to machines too, and turns; size and date begin with the largest and newest."""
        page = listing_page((), ENTRIES, False, Order()).decode()
        self.assertIn('<th scope="col" aria-sort="ascending"><a href="?sort=name&amp;order=desc">', page)
        self.assertIn('<th scope="col"><a href="?sort=size&amp;order=desc">', page)
        page = listing_page((), ENTRIES, False, Order(by="size", descending=True)).decode()
        self.assertIn('aria-sort="descending"><a href="?sort=size&amp;order=asc">', page)
        self.assertEqual(page.partition("<main>")[2].count("aria-sort"), 1)
        self.assertNotIn("Parent directory", page)

    def test_listing_empty_and_cut(self) -> None:
        """An empty directory says so, with the way up; one that is cut says so."""
        page = listing_page((b"a",), [], False, Order()).decode()
        self.assertIn("This directory is empty.", page)
        self.assertIn("Parent directory", page)
        self.assertNotIn("<table", listing_page((), [], False, Order()).decode())
        self.assertIn("Only 10,000", listing_page((), ENTRIES, True, Order()).decode())

    def test_listing_names_that_deceive(self) -> None:
        """What turns the direction of text, or cannot be seen, is spelled out."""
        self.assertEqual(name_text("a\u202etxt.exe".encode()), "a<i>U+202E</i>txt.exe")
        self.assertEqual(name_text(b"a\nb\xff"), "a<i>U+000A</i>b\\xff")
        page = listing_page(
            ("x\u202ey".encode(),), [Entry(name=b"a\nb"), Entry(name=b"d\x01", directory=True)], False, Order()
        )
        self.assertIn(b"<span title=", page)
        self.assertNotIn(b"a\nb", page)
        self.assertNotIn("\u202e".encode(), page)

    def test_listing_times(self) -> None:
        """Times are for people; one that no calendar has is left out."""
        self.assertEqual(date_and_time(1_800_000_000), ("2027-01-15", "08:00"))
        self.assertEqual(rfc3339(1_800_000_000.25), "2027-01-15T08:00:00.250000Z")
        for seconds in (None, -1e13, 1e13, 1e300):
            self.assertEqual(date_and_time(seconds), ("", ""))
            self.assertIsNone(rfc3339(seconds))

    def test_listing_sizes(self) -> None:
        """Sizes are for people."""
        for octets, text in (
            (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), ((1 << 20) - 1, "1.0 MiB"), (5 << 30, "5.0 GiB"),
            (5000 << 40, "5000.0 TiB"),
        ):  # fmt: skip
            self.assertEqual(size_text(octets), text)

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.binary(max_size=30))
    @settings(derandomize=True, deadline=None)
    def test_listing_of_any_names(self, names: list[bytes], query: bytes) -> None:
        """Any names give a page without anything that a name could put there, and JSON that can be read."""
        entries = [
            Entry(name=name.replace(b"/", b"").replace(b"\0", b"") or b"x", size=1, modified=1.0) for name in names
        ]
        order = asked_order(query)
        page = listing_page((), entries, False, order)
        self.assertEqual(page.count(b"<tr>"), len(entries) + bool(entries))
        self.assertNotRegex(page.partition(b"<main>")[2], rb"[\x00-\x09\x0b-\x1f\x7f]")
        for link in LINK.findall(page):
            self.assertIsInstance(split(b"/" + link), tuple)
        found = json.loads(listing_json((), entries, False, order))
        self.assertEqual(len(found["entries"]), len(entries))

    def test_listing_is_fast(self) -> None:
        """A page of 10,000 names is made in well under a second."""
        entries = [Entry(name=b"file-%d name.txt" % at, size=at, modified=1e9 + at) for at in range(MAX_ENTRIES)]
        start = time.process_time()
        self.assertEqual(listing_page((), entries, False, Order()).count(b"<tr>"), MAX_ENTRIES + 1)
        self.assertLess(time.process_time() - start, 1.0)


class ListingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        (self.root / "list").mkdir()
        self.rig = Rig(self.root, listing=True, compress_min=0)

    def listed(self, *fields: str) -> Any:
        answer = self.rig.get("/list/", "Accept: application/json", *fields)
        self.assertEqual(answer.headers[b"content-type"], b"application/json")
        return json.loads(answer.body)


class AnswerTests(ListingCase):
    def test_listing_json(self) -> None:
        """JSON has name, type, size, time and address of each entry."""
        write(self.root, "list/b c.txt", b"hello", age=0.75)
        (self.root / "list/sub").mkdir()
        (self.root / "list/up").symlink_to("sub")
        (self.root / "list/dangling").symlink_to("nothing")
        found = self.listed()
        self.assertEqual((found["path"], found["truncated"]), ("/list/", False))
        self.assertEqual(
            [(one["name"], one["type"], one["size"], one["href"]) for one in found["entries"]],
            [
                ("sub", "directory", None, "./sub/"),
                ("up", "directory", None, "./up/"),
                ("b c.txt", "file", 5, "./b%20c.txt"),
                ("dangling", "link", None, "./dangling"),
            ],
        )
        self.assertEqual(found["entries"][2]["mtime"], "2027-01-15T07:59:59.250000Z")
        self.assertIsNone(found["entries"][3]["mtime"])

    def test_listing_negotiation(self) -> None:
        """Programs that name JSON get it, browsers and who takes everything get the page; both say Vary."""
        for accept, kind in (
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", b"text/html; charset=utf-8"),
            ("*/*", b"text/html; charset=utf-8"),
            ("", b"text/html; charset=utf-8"),
            ("image/png", b"text/html; charset=utf-8"),
            ("application/json", b"application/json"),
            ("application/json, text/plain, */*", b"application/json"),
            ("APPLICATION/JSON;q=0.9, text/html;q=0.8", b"application/json"),
            ("application/json;q=0.1, text/html;q=0.8", b"text/html; charset=utf-8"),
            ("application/*, text/html;q=0", b"application/json"),
            ("application/json;q=0, */*", b"text/html; charset=utf-8"),
            ("application/json;version=1", b"text/html; charset=utf-8"),
            ("application/json;q=2, ;;;, x", b"text/html; charset=utf-8"),
        ):
            answer = self.rig.get("/list/", f"Accept: {accept}")
            self.assertEqual((answer.status, answer.headers[b"content-type"]), (200, kind), accept)
            self.assertEqual(answer.headers[b"vary"], b"Accept, Accept-Encoding")
        self.assertEqual(self.rig.get("/list/").headers[b"content-type"], b"text/html; charset=utf-8")

    def test_listing_conditions(self) -> None:
        """A list has a tag of its content, by which it is 304; it is looked at anew each time; HEAD is as GET."""
        write(self.root, "list/a", b"")
        first = self.rig.get("/list/")
        tag = first.headers[b"etag"].decode()
        self.assertEqual(first.headers[b"cache-control"], b"no-cache")
        self.assertNotIn(b"last-modified", first.headers)
        again = self.rig.get("/list/", f"If-None-Match: {tag}")
        self.assertEqual((again.status, again.headers[b"etag"].decode()), (304, tag))
        self.assertEqual(again.headers[b"vary"], b"Accept, Accept-Encoding")
        self.assertEqual(self.rig.get("/list/", "If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT").status, 200)
        self.assertEqual(self.rig.get("/list/", "If-Unmodified-Since: Fri, 15 Jan 1999 08:00:00 GMT").status, 200)
        self.assertEqual(self.rig.get("/list/", 'If-Match: "x"').status, 412)
        head = self.rig.get("/list/", method="HEAD")
        self.assertEqual((head.status, head.headers), (200, first.headers))
        write(self.root, "list/b", b"")
        self.assertEqual(self.rig.get("/list/", f"If-None-Match: {tag}").status, 200)
        self.assertNotEqual(self.rig.get("/list/", "Accept: application/json").headers[b"etag"].decode(), tag)

    def test_listing_compressed(self) -> None:
        """A list is compressed for peers that take it, under a tag of its own."""
        plain = self.rig.get("/list/")
        packed = self.rig.get("/list/", "Accept-Encoding: gzip, br")
        self.assertEqual(packed.headers[b"content-encoding"], b"gzip")
        self.assertEqual(gzip.decompress(packed.body), plain.body)
        self.assertNotEqual(packed.headers[b"etag"], plain.headers[b"etag"])
        self.assertNotIn(
            b"content-encoding",
            Rig(self.root, listing=True, compress=False).get("/list/", "Accept-Encoding: gzip").headers,
        )

    def test_listing_of_odd_names(self) -> None:
        """Names that can be asked for are links that work; the others, by control character or backslash, are shown."""
        shown = (b"quo\"te'<b>", b"\xff\xfe", b"a%41", b"s;x ", b"q?x#y", b"-d", b"a&amp;b", b"dot.", b"\xe6\xb1\x87")
        for name in ODD + shown:
            write(self.root, "list/" + os.fsdecode(name), name)
        body = self.rig.get("/list/").body
        self.assertNotRegex(body, rb"[\x00-\x09\x0b-\x1f\x7f]")
        links = LINK.findall(body)
        self.assertEqual({self.rig.get("/list/" + link.decode()).body for link in links}, set(shown))
        self.assertIn(b"new<i>U+000A</i>line", body)
        entries = self.listed()["entries"]
        self.assertEqual(len(entries), len(ODD + shown))
        self.assertEqual({one["name"].encode() for one in entries if one["href"] is None}, set(ODD))

    def test_listing_hides(self) -> None:
        """Hidden names, CGI directories in any spelling and what is neither file nor directory are not shown."""
        for name in ("list/.git", "list/cgi-bin", "list/Scripts"):
            (self.root / name).mkdir()
        os.mkfifo(self.root / "list/fifo")
        self.assertEqual([one["name"] for one in self.listed()["entries"]], ["Scripts"])
        rig = Rig(self.root, listing=True, cgi_directories=("Scripts",), dotfiles=True)
        body = rig.get("/list/").body
        self.assertNotIn(b"Scripts", body)
        self.assertIn(b"./.git/", body)

    def test_listing_is_bounded(self) -> None:
        """A huge directory is shown in part; a name that vanishes meanwhile is left out."""
        entry = mock.Mock()
        entry.name = "a"
        write(self.root, "a.txt", b"")
        entry.stat.return_value = os.stat(self.root / "a.txt")
        gone = mock.Mock()
        gone.name = "b"
        gone.stat.side_effect = FileNotFoundError
        with mock.patch("os.scandir") as scandir:
            scandir.return_value.__enter__.return_value = [gone] + [entry] * (MAX_ENTRIES + 1)
            entries, more = read_directory(0, Policy())
        self.assertEqual((len(entries), more), (MAX_ENTRIES, True))

    def test_listing_later(self) -> None:
        """The list comes from a thread; a peer that leaves meanwhile leaves nothing open."""
        made: list[tuple[Deferred[Any], Any]] = []

        def in_thread(function: Any, *arguments: Any) -> Deferred[Any]:
            made.append((Deferred(), lambda: function(*arguments)))
            return made[-1][0]

        for equipment in self.rig.routes._equipment.values():
            equipment.listings._in_thread = in_thread
        stays, leaves = self.rig.connect(), self.rig.connect()
        for peer in (stays, leaves):
            peer.send(request("/list/"))
        leaves.leave()
        for waiting, make in made:
            waiting.callback(make())
        self.assertEqual(stays.statuses, [200])
        self.assertEqual(leaves.received, b"")

    def listings(self) -> Any:
        """What lists the root's directories, in a thread that waits for `make`; the directories count as still."""
        (equipment,) = self.rig.routes._equipment.values()
        self.made: list[tuple[Deferred[Any], Any]] = []

        def in_thread(function: Any, *arguments: Any) -> Deferred[Any]:
            self.made.append((Deferred(), lambda: function(*arguments)))
            return self.made[-1][0]

        found: Any = equipment.listings
        found._in_thread = in_thread
        found._now = lambda: time.time() + 10
        return found

    def make(self) -> None:
        """Make the list that was begun last."""
        waiting, make = self.made[-1]
        waiting.callback(make())

    def ask(self, *fields: str, query: str = "") -> Any:
        peer = self.rig.connect()
        peer.send(request("/list/" + query, *fields))
        return peer

    def test_listing_is_kept(self) -> None:
        """A list of a directory that has been still is kept for a second, unless a name comes, goes or changes."""
        self.listings()
        self.ask()
        self.make()
        again = self.ask()
        self.assertEqual((again.statuses, len(self.made)), ([200], 1))
        for query, field in (("?sort=size", ""), ("?order=desc", ""), ("", "Accept: application/json")):
            before = len(self.made)
            self.ask(*filter(None, [field]), query=query)
            self.assertEqual(len(self.made), before + 1)
            self.make()
        before = len(self.made)
        self.ask("Accept-Encoding: gzip")
        self.make()
        self.assertEqual(self.ask("Accept-Encoding: gzip;q=0.5").answers()[0].headers[b"content-encoding"], b"gzip")
        self.assertEqual(len(self.made), before + 1)
        write(self.root, "list/new", b"")
        changed = self.ask()
        self.assertEqual(changed.statuses, [])
        self.make()
        self.assertIn(b"./new", changed.received)
        self.rig.clock.advance(1.0)
        before = len(self.made)
        self.ask()
        self.assertEqual(len(self.made), before + 1)
        self.make()

    def test_listing_of_a_directory_that_changes_is_not_kept(self) -> None:
        """A list of a directory that was just changed is made anew: a coarse clock could hide the next change."""
        self.listings()._now = time.time
        for count in (1, 2):
            write(self.root, f"list/{count}", b"")
            self.ask()
            self.make()
            self.assertEqual(len(self.made), count)

    def test_listing_in_the_making(self) -> None:
        """Who asks while a list is in the making shares the next one with all others who do: it is never older."""
        self.listings()._now = time.time
        first = self.ask()
        write(self.root, "list/new", b"")
        later = [self.ask() for _ in range(3)]
        other = self.ask(query="?sort=date")
        self.assertEqual(len(self.made), 2)
        waiting, make = self.made[0]
        waiting.callback(make())
        self.assertEqual(([first.statuses, *(peer.statuses for peer in later)]), [[200], [], [], []])
        self.assertEqual(len(self.made), 3)
        self.make()
        for peer in later:
            self.assertIn(b"./new", peer.received)
        self.assertEqual(other.statuses, [])
        waiting, make = self.made[1]
        waiting.callback(make())
        self.assertEqual((other.statuses, len(self.made)), ([200], 3))

    def test_listing_in_the_making_of_what_is_still(self) -> None:
        """Who asks for the list of a still directory while it is in the making gets that one."""
        self.listings()
        peers = [self.ask() for _ in range(3)]
        self.make()
        self.assertEqual([peer.statuses for peer in peers], [[200]] * 3)
        self.assertEqual(len(self.made), 1)

    def test_listing_memory_is_bounded(self) -> None:
        """Lists are kept up to so many octets; the oldest go first."""
        listings = self.listings()
        with mock.patch.object(listing_module, "KEPT_OCTETS", 10_000):
            for query in ("", "?sort=size", "?sort=date", "?order=desc", "?sort=size&order=desc"):
                self.ask(query=query)
                self.make()
                self.assertLessEqual(sum(len(one.body) for one in listings._kept.values()), 10_000)
        self.assertEqual(len(self.made), 5)
        self.assertTrue(listings._kept)
        self.rig.clock.advance(1.0)
        self.assertEqual(listings._kept, {})

    def test_listing_fails_for_all(self) -> None:
        """A directory that cannot be read is 500 for all who wait; a fault with one costs none of the others."""
        self.listings()._now = time.time
        peers = [self.ask() for _ in range(3)]
        with capturedLogs():
            self.made[0][0].errback(OSError(5, "Input/output error"))
            self.assertEqual([peer.statuses for peer in peers], [[500], [], []])
            with mock.patch.object(listing_module, "precondition", side_effect=[ValueError("a fault"), None]):
                self.make()
        self.assertEqual([peer.statuses for peer in peers], [[500], [500], [200]])

    def test_listing_fails(self) -> None:
        """A directory that cannot be read is 500, and the log says why."""
        with (
            mock.patch.object(listing_module, "read_directory", side_effect=OSError(5, "Input/output error")),
            capturedLogs() as logs,
        ):
            self.assertEqual(self.rig.get("/list/").status, 500)
        (event,) = [one for one in logs if one.get("event") == "http-listing-failed"]
        self.assertIn("Input/output error", event["reason"])

    def tearDown(self) -> None:
        for name in os.listdir("/proc/self/fd"):
            try:
                link = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            self.assertNotIn(str(self.root), link, "a descriptor is left open")
