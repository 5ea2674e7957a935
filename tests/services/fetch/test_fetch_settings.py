"""Facts about the options, and about the service as a whole."""

from __future__ import annotations

import os
import select
import tempfile
import time as clock
from datetime import time
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.config.secrets import Secret
from netsvc.errors import BadValue, StartError
from netsvc.services.fetch.path import parse_path
from netsvc.services.fetch.service import make_service
from netsvc.services.fetch.settings import FetchSettings, Listed
from tests.fakes import FakeRuntime

SUM = "sha256:" + "0" * 64
SETTINGS = FetchSettings(urls=(Listed("http://192.0.2.1/a"),), when_told=True)
PATIENCE = 180.0  # seconds until a store that does not close fails the test


def parsed(key: str, text: str) -> Any:
    """A value as the INI file would give it."""
    (one,) = [one for one in options(FetchSettings) if one.key == key]
    return one.value.parse(text, Context(Path("/")))


class OptionTests(SynchronousTestCase):
    def test_urls(self) -> None:
        """One a line, with a checksum or not; what is shown is read again; a repr has no password."""
        found = parsed("urls", f"http://u:geheim@a/b\nhttps://c/d {SUM.upper()}\n")
        self.assertEqual(found, (Listed("http://u:geheim@a/b"), Listed("https://c/d", SUM)))
        self.assertNotIn("geheim", repr(found))
        for text in ("ftp://a/b", "http:///x", "http://[x", f"http://a {SUM} x", "http://a sha256:12"):
            with self.assertRaises(BadValue) as caught:
                parsed("urls", "http://a/b\n" + text)
            self.assertEqual(caught.exception.at >= 11, True)

    def test_the_rest(self) -> None:
        """Paths, pages and times of the day."""
        self.assertEqual(parsed("feed_path", "a[*].b"), parse_path("a[*].b"))
        self.assertEqual((parsed("feed_pages", "2-5"), parsed("feed_pages", "3")), ((2, 5), (3, 3)))
        self.assertEqual(parsed("at", "03:00, 15:30"), (time(3), time(15, 30)))
        for key, text in (
            ("feed_path", "a..b"),
            ("feed_pages", "5-2"),
            ("feed_pages", "1-9999"),
            ("at", "24:00"),
            ("at", "noon"),
            ("feed", "x"),
        ):
            self.assertRaises(BadValue, parsed, key, text)

    def test_check(self) -> None:
        """What cannot stand together is told by its key."""
        self.assertEqual(list(SETTINGS.check()), [])
        path = parse_path("a")
        for key, changes in (
            ("urls", {"urls": ()}),
            ("feed", {"feed_path": path}),
            ("feed_path", {"feed": "http://a"}),
            ("feed", {"feed": "http://a/{x}", "feed_path": path}),
            ("feed_key", {"feed": "http://a/{key}", "feed_path": path}),
            ("feed_key", {"feed_key": Secret("env:X", "x")}),
            ("feed_pages", {"feed": "http://a", "feed_path": path, "feed_pages": (1, 2)}),
            ("when_told", {"every": 60.0}),
            ("manifest", {"manifest": "a/b"}),
            ("per_host", {"concurrency": 1}),
            ("retry_longest", {"retry_longest": 1.0}),
            ("socket", {"socket": Path("/" + "x" * 107)}),
        ):
            changed: Any = evolve(SETTINGS, **changes)  # type: ignore[arg-type]
            self.assertEqual([found for found, _ in changed.check()], [key], changes)

    def test_identity(self) -> None:
        """Another list is another list; another rate is not."""
        self.assertEqual(SETTINGS.identity(), evolve(SETTINGS, rate_limit=1).identity())
        self.assertNotEqual(SETTINGS.identity(), evolve(SETTINGS, urls=(Listed("http://192.0.2.1/b"),)).identity())


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-fetch-")
        self.addCleanup(directory.cleanup)
        self.state = Path(directory.name)
        self.runtime: Any = FakeRuntime(self.state, "fetch:pictures")
        self.calls: list[Any] = []
        self.runtime.reactor.callFromThread = lambda *call: self.calls.append(call)

    def test_start_and_stop(self) -> None:
        """It makes its directories when it starts, listens on its own socket, and keeps others out of its queue."""
        made: Any = make_service(SETTINGS, self.runtime)
        self.assertEqual(os.listdir(self.state), [])
        ((server, _, _),) = self.runtime.served
        self.assertEqual([one.path.name for one in server.listen], ["fetch-pictures.sock"])
        made.startService()
        self.assertTrue((self.state / "downloads" / "fetch-pictures").is_dir())
        self.assertTrue((self.state / "outbox" / "fetch-pictures").is_dir())
        second: Any = make_service(SETTINGS, self.runtime)
        self.assertRaises(StartError, second.startService)
        done: list[Any] = []
        made.stopService().addBoth(done.append)
        end = clock.monotonic() + PATIENCE
        while not done:
            self.assertLess(clock.monotonic(), end)
            while self.calls:
                function, *arguments = self.calls.pop(0)
                function(*arguments)
            select.select([], [], [], 0.001)  # let the store's thread go on
        self.assertEqual(done, [None])

    def test_cannot_start(self) -> None:
        """A socket path that is too long, or a directory that cannot be, ends the start with one line."""
        (self.state / "file").write_text("")
        made: Any = make_service(evolve(SETTINGS, directory=self.state / "file" / "x"), self.runtime)
        self.assertRaises(StartError, made.startService)
        self.runtime.state_directory = self.state / ("x" * 100)
        with self.assertRaisesRegex(StartError, "longer than 107 octets; set socket"):
            make_service(SETTINGS, self.runtime)
