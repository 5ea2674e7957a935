"""The tutorial's job by a real daemon on the sample site, beside the tutorial's own threads; deaths in the middle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.net.json_lines import encode
from tests.live.daemon import NETSVC, Daemon
from tests.live.fetch_origin import faulty
from tests.waiting import wait_until

SITE = Path(__file__).parents[2] / "etc" / "www"
TUTORIAL = Path(__file__).parent / "tutorials" / "pictures.py"
HTTP = "[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {root}\n"
FETCH = "[fetch]\nprivate_addresses = yes\nretry_first = 1s\nretry_longest = 1s\n"


class FetchCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-fetch-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.pictures = self.directory / "pictures"

    def daemon(self, ini: str) -> Daemon:
        """A daemon whose state directory is its own."""
        made = Daemon("")
        made.config.write_text(f"[netsvc]\nstate_directory = {made.state}\n{ini}")
        return made

    def fetch(self, *lines: str) -> str:
        return FETCH + f"directory = {self.pictures}\n" + "".join(f"{line}\n" for line in lines)

    def ask(self, one: Daemon, **request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(180)
            connection.connect(os.fspath(one.state / "fetch.sock"))
            connection.sendall(encode({"v": 1, **request}))
            return dict(json.loads(connection.makefile("rb").readline()))

    def files(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in self.pictures.iterdir() if one.is_file() and one.name[0] != "."}

    def manifest(self) -> dict[str, dict[str, Any]]:
        lines = (self.pictures / "manifest.jsonl").read_text().splitlines()
        return {one["name"]: one for one in map(json.loads, lines)}

    def come(self, one: Daemon, count: int) -> None:
        """Wait until so many files are delivered, with the run's own order."""
        wait_until(lambda: self.ask(one, command="audit")["audit"]["delivered"] >= count, "the files do not come")


class TutorialTests(FetchCase):
    def site(self) -> Path:
        """The sample site, with more pictures."""
        root = self.directory / "www"
        shutil.copytree(SITE, root)
        for number in range(20):
            (root / f"{number}.jpg").write_bytes(os.urandom(1000 * number))
        return root

    def name_all(self, root: Path, base: str) -> None:
        """Have the site's feed name them too, where the site is in this test."""
        feed = json.loads((root / "news.json").read_text().replace("http://127.0.0.1:8000/", base))
        feed["newslist"] += [{"picUrl": f"{base}{number}.jpg"} for number in range(20)]
        (root / "news.json").write_text(json.dumps(feed))

    def test_the_feed_of_the_sample_site(self) -> None:
        """All pictures of the feed come, octet for octet, when told; the manifest has them; the key is in no log."""
        root = self.site()
        key = self.directory / "key"
        key.write_text("geheim")
        with self.daemon(HTTP.format(root=root)) as origin:
            base = f"http://127.0.0.1:{origin.port('http')}/"
            self.name_all(root, base)
            url = f"{base}news.json"
            lines = (f"feed = {url}?key={{key}}", "feed_path = newslist[*].picUrl", f"feed_key = file:{key}")
            with self.daemon(self.fetch(*lines, "when_told = yes")) as one:
                words = ["fetch", "run", "--wait", "--json", "--config", one.config]
                told = json.loads(subprocess.run([NETSVC, *words], capture_output=True, check=True, timeout=180).stdout)
                self.assertEqual((told["files"], told["failed"]), ({"delivered": 22}, []))
                self.assertTrue(self.ask(one, command="audit")["audit"]["balanced"])
                one.stop()
                self.assertNotIn("geheim", one.log())
            pictures = self.tutorial(url)
        found = self.files()
        del found["manifest.jsonl"]
        self.assertEqual(found, pictures)
        manifest = self.manifest()
        self.assertEqual(manifest.keys(), pictures.keys())
        for name, octets in pictures.items():
            self.assertEqual((root / name).read_bytes(), octets)
            self.assertEqual(manifest[name]["sha256"], hashlib.sha256(octets).hexdigest())
            self.assertEqual((manifest[name]["size"], manifest[name]["status"]), (len(octets), "fetched"))

    def tutorial(self, url: str) -> dict[str, bytes]:
        """What the tutorials' downloader gets, as people run it."""
        to = self.directory / "tutorial"
        to.mkdir()
        subprocess.run([sys.executable, TUTORIAL, url, to], check=True, timeout=180)
        return {one.name: one.read_bytes() for one in to.iterdir()}


class DeathTests(FetchCase):
    def test_file_abuse_49_killed_in_a_list(self) -> None:
        """Killed in the middle of a list and of a file: the next start goes on, and asks for nothing that is here."""
        body = os.urandom(1 << 20) * 68
        half = 66 << 20  # more than what is lost at most
        asked: list[str] = []
        cut = threading.Event()

        def origin(connection: socket.socket, head: bytes) -> None:
            lines = head.decode().split("\r\n")
            asked.append(lines[0].split()[1] + "".join(one[6:] for one in lines if one.startswith("Range: ")))
            path = lines[0].split()[1]
            if path == "/large":
                begin = next((int(one[13:-1]) for one in lines if one.startswith("Range: bytes=")), 0)
                status = "206 Partial Content" if begin else "200 OK"
                span = f"Content-Range: bytes {begin}-{len(body) - 1}/{len(body)}\r\n" if begin else ""
                answer = f'HTTP/1.1 {status}\r\nETag: "x"\r\n{span}Content-Length: {len(body) - begin}\r\n\r\n'
                connection.sendall(answer.encode() + body[begin : len(body) if begin else half])
                if not begin:
                    cut.wait(180)
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsmall")

        with faulty(origin) as port:
            urls = [f"http://127.0.0.1:{port}/{name}" for name in ("large", *(f"{n}.jpg" for n in range(9)))]
            one = self.daemon(self.fetch("keep_free = 0", "urls =", *(f"    {url}" for url in urls)))
            with one:
                self.come(one, 10)
                wait_until(self.kept, "no part is kept")
                os.kill(one.pid, signal.SIGKILL)
                one.wait()
                cut.set()
                self.assertNotIn("large", self.files())
                before = len(asked)
                one.lines.clear()
                one.start()
                one.wait_for(r"ready: \d+ services")
                self.come(one, 11)
                self.assertTrue(self.ask(one, command="audit")["audit"]["balanced"])
                again = asked[before:]
            self.assertEqual(len(again), 1, again)
            self.assertTrue(again[0].startswith("/large bytes="), again)
        self.assertEqual(self.files()["large"], body)

    def kept(self) -> bool:
        partial = FileStore(self.pictures, Terms()).find_partial(("large",), "fetch")
        return partial is not None and partial.offset > 0

    def test_once(self) -> None:
        """A list without times is run when the daemon starts first, and not by later starts."""
        asked: list[bytes] = []

        def origin(connection: socket.socket, head: bytes) -> None:
            asked.append(head)
            status = b"500 Sorry" if len(asked) == 1 else b"200 OK"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")

        with faulty(origin) as port:
            one = self.daemon(self.fetch("urls =", f"    http://127.0.0.1:{port}/a"))
            with one:
                self.come(one, 2)
                self.assertEqual(self.files()["a"], b"hi")
                one.stop()
                (self.pictures / "a").unlink()
                one.lines.clear()
                one.start()
                one.wait_for(r"ready: \d+ services")
                self.assertEqual(self.ask(one, command="queue")["items"], [])
        self.assertEqual(len(asked), 2)
