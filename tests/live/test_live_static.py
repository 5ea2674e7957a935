"""Files, lists and pages of a real twistd, as Chromium shows them without JavaScript, and as httplint reads them."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from httplint import HttpRequestLinter, HttpResponseLinter, levels

from tests.live.daemon import Daemon
from tests.shared import SharedCase

BOUND = 120.0  # seconds
CHROMIUM = shutil.which("chromium")
TEXT = b"<!doctype html>\n<title>t</title>\n" + b"<p>All work and no play makes Jack a dull boy.\n" * 200
LARGE = b"".join(b"%d bottles of beer\n" % at for at in range(60_000))  # a megabyte
NAMES = (
    "README.md", "img10.png", "img9.png", "a very long name " * 12, "x" * 200, "quote\"<b>'&.html", "\u202egnp.exe",
    "\u65e5\u672c\u8a9e.txt", "\u0639\u0631\u0628\u064a.txt", "new\nline", "a%41?#",
)  # fmt: skip


class Case(SharedCase):
    """Tests that share one daemon and one site."""

    daemon: ClassVar[Daemon]
    place: ClassVar[Path]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-static-"))
        (cls.place / "list/sub dir").mkdir(parents=True)
        (cls.place / "list/empty").mkdir()
        for at, name in enumerate(NAMES):
            (cls.place / "list" / name).write_bytes(b"x" * at * 1000)
        (cls.place / "page.html").write_bytes(TEXT)
        (cls.place / "large.txt").write_bytes(LARGE)
        (cls.place / "app.js").write_bytes(b"let a = 1;\n" * 500)
        (cls.place / "app.js.gz").write_bytes(gzip.compress(b"let a = 1;\n" * 500))
        for path in cls.place.iterdir():
            os.utime(path, (time.time() - 86400, time.time() - 86400))
        cls.daemon = Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.place}\nlisting = yes\n"
            "cache_control =\n    *.js max-age=31536000, immutable\n    * max-age=60\n"
        ).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place)

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")

    def ask(self, path: str, method: str = "GET", **fields: str) -> tuple[http.client.HTTPResponse, bytes]:
        """An answer and its body."""
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=BOUND)
        self.addCleanup(client.close)
        client.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = client.getresponse()
        return answer, answer.read()


class FileTest(Case):
    """What comes over the network."""

    def test_static_codings(self) -> None:
        """Small and large texts come compressed, siblings as they are, and the next time from memory."""
        for path, body in (("/page.html", TEXT), ("/large.txt", LARGE), ("/app.js", b"let a = 1;\n" * 500)):
            for _ in range(3):
                answer, packed = self.ask(path, Accept_Encoding="gzip, br")
                self.assertEqual(answer.headers["Content-Encoding"], "gzip")
                self.assertEqual(gzip.decompress(packed), body)
                self.assertEqual(self.ask(path)[1], body)
                tag = answer.headers["ETag"]
                again, _ = self.ask(path, Accept_Encoding="gzip, br", If_None_Match=tag)
                self.assertEqual((again.status, again.headers["ETag"]), (304, tag))

    def test_listing_json(self) -> None:
        """Programs get JSON; every name with an address can be fetched by it."""
        answer, body = self.ask("/list/", Accept="application/json")
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        entries = json.loads(body)["entries"]
        self.assertEqual({one["name"] for one in entries}, {*NAMES, "sub dir", "empty"})
        for one in entries:
            if one["href"] is None:
                self.assertIn("\n", one["name"])
            elif one["type"] == "file":
                self.assertEqual(len(self.ask(f"/list/{one['href'][2:]}")[1]), one["size"])


class LintTest(Case):
    """httplint has nothing to complain of, but for what is listed with its reason."""

    ACCEPTED: ClassVar[dict[str, str]] = {
        "FRESHNESS_HEURISTIC": "a permanent redirect may be kept for as long as a cache likes (RFC 9110 15.4.2)",
        "PARTIAL_WITHOUT_RANGE": "of several ranges each part has its own Content-Range, the answer must have none "
        "(RFC 9110 15.3.7.2); that of one range is asserted beside",
    }

    def lint(self, path: str, method: str = "GET", **fields: str) -> tuple[int, dict[str, str]]:
        """Status, and the notes of level bad and warning by name."""
        answer, body = self.ask(path, method, **fields)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.getheaders()]
        asking = HttpRequestLinter()
        asking.process_request_topline(method.encode(), f"http://127.0.0.1{path}".encode(), b"1.1")
        asking.process_headers([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])
        asking.finish_content(True)
        found: Any = HttpResponseLinter(start_time=time.time())
        found.request = asking
        found.is_head_response = method == "HEAD"
        found.base_uri = f"http://127.0.0.1{path}"
        found.process_response_topline(b"1.1", str(answer.status).encode(), answer.reason.encode())
        found.process_headers(raw)
        found.feed_content(body)
        found.finish_content(True)
        notes = {
            type(note).__name__: f"{note.subject}: {note.summary}"
            for note in found.notes
            if note.level in (levels.BAD, levels.WARN) and type(note).__name__ not in self.ACCEPTED
        }
        return answer.status, notes

    def test_static_lint(self) -> None:
        """200, 304, 206, 416, 404, 301, HEAD, lists, codings: no complaint."""
        tag = self.ask("/page.html")[0].headers["ETag"]
        date = self.ask("/page.html")[0].headers["Last-Modified"]
        for status, path, method, fields in (
            (200, "/page.html", "GET", {}),
            (200, "/page.html", "HEAD", {}),
            (200, "/page.html", "GET", {"Accept_Encoding": "gzip"}),
            (200, "/page.html", "HEAD", {"Accept_Encoding": "gzip"}),
            (200, "/large.txt", "GET", {}),
            (200, "/large.txt", "GET", {"Accept_Encoding": "gzip"}),
            (200, "/app.js", "GET", {"Accept_Encoding": "gzip, br, zstd"}),
            (304, "/page.html", "GET", {"If_None_Match": tag}),
            (304, "/page.html", "GET", {"If_Modified_Since": date}),
            (412, "/page.html", "GET", {"If_Match": '"x"'}),
            (206, "/page.html", "GET", {"Range": "bytes=0-9"}),
            (206, "/page.html", "GET", {"Range": "bytes=0-9,20-29"}),
            (416, "/page.html", "GET", {"Range": "bytes=999999-"}),
            (404, "/nothing", "GET", {}),
            (404, "/nothing", "HEAD", {}),
            (405, "/page.html", "DELETE", {}),
            (301, "/list", "GET", {}),
            (200, "/list/", "GET", {}),
            (200, "/list/", "HEAD", {}),
            (200, "/list/", "GET", {"Accept": "application/json", "Accept_Encoding": "gzip"}),
        ):
            with self.subTest(path=path, method=method, fields=fields):
                self.assertEqual(self.lint(path, method, **fields), (status, {}))
        self.assertEqual(
            self.ask("/page.html", Range="bytes=0-9")[0].headers["Content-Range"], f"bytes 0-9/{len(TEXT)}"
        )


class ChromiumTest(Case):
    """Pages in a browser that runs no scripts."""

    def look(self, width: int, scheme: str, path: str) -> tuple[Any, list[str]]:
        """A page, and what the browser's console says of it."""
        context = self.browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=False
        )
        context.set_default_timeout(1000 * BOUND)
        self.addCleanup(context.close)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"http://127.0.0.1:{self.daemon.port('http')}{path}")
        return page, said

    def setUp(self) -> None:
        super().setUp()
        from playwright.sync_api import sync_playwright  # slow, and for this class only

        playwright = sync_playwright().start()
        self.addCleanup(playwright.stop)
        self.browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        self.addCleanup(self.browser.close)

    def wide(self, page: Any) -> float:
        """How wide the content is, in pixels, measured through the protocol: the page itself runs no script."""
        session = page.context.new_cdp_session(page)
        return float(session.send("Page.getLayoutMetrics")["cssContentSize"]["width"])

    def test_listing_in_chromium(self) -> None:
        """The list fits a phone and a desk, dark and light; its links sort it and lead into directories and back."""
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                page, said = self.look(width, scheme, "/list/")
                self.assertLessEqual(self.wide(page), width)
                self.assertEqual(said, [])
                names = page.locator("tbody tr td:first-child").all_inner_texts()
                self.assertEqual(names[:3], ["Parent directory", "empty/", "sub dir/"])
                self.assertLess(names.index("img9.png"), names.index("img10.png"))
        page.get_by_role("columnheader", name="Size").get_by_role("link").click()
        self.assertTrue(page.url.endswith("/list/?sort=size&order=desc"), page.url)
        self.assertEqual(page.locator("th[aria-sort]").get_attribute("aria-sort"), "descending")
        names = page.locator("tbody tr td:first-child").all_inner_texts()
        self.assertEqual(names[3], NAMES[-1])
        page.get_by_role("columnheader", name="Size").get_by_role("link").click()
        self.assertEqual(page.locator("th[aria-sort]").get_attribute("aria-sort"), "ascending")
        page.get_by_role("link", name="empty").click()
        self.assertIn("This directory is empty.", page.locator("main").inner_text())
        page.get_by_role("link", name="Parent directory").click()
        self.assertTrue(page.url.endswith("/list/"), page.url)
        page.get_by_role("navigation").get_by_role("link", name="/", exact=True).click()
        self.assertTrue(page.url.endswith(f":{self.daemon.port('http')}/"), page.url)

    def test_error_page_in_chromium(self) -> None:
        """An error page fits a phone, and has its status and the word by which its request is found."""
        for width, scheme in ((390, "light"), (390, "dark"), (1280, "light")):
            page, said = self.look(width, scheme, "/" + "nothing" * 20)
            self.assertLessEqual(self.wide(page), width)
            self.assertEqual([one for one in said if "404" not in one], [])
            self.assertEqual(page.locator("h1").inner_text().split("\n")[-1].strip(), "Not Found")
            word = page.locator("code").inner_text()
            self.assertRegex(word, "^[0-9a-f]{12}$")
            self.daemon.wait_for(f"(request {word})")
