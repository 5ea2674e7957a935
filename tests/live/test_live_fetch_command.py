"""``netsvc fetch`` as people run it: beside origins that serve, fail, stall and come back."""

from __future__ import annotations

import contextlib
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

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import NETSVC
from tests.live.fetch_origin import faulty, nginx
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds until a command that hangs fails the test
# Runs the command with a disk that syncs nothing until there is a file of this name.
SLOW_DISK = """
import os, sys, time
from pathlib import Path
from netsvc.cli.main import main

def fsync(descriptor, real=os.fsync, go=Path(sys.argv[1])):
    while not go.exists():
        time.sleep(0.01)
    real(descriptor)

os.fsync = os.fdatasync = fsync
sys.exit(main(sys.argv[2:]))
"""


class CommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-fetch-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.root, self.state, self.to = (self.directory / name for name in ("root", "state", "to"))
        for one in (self.root, self.state, self.to):
            one.mkdir()

    def fetch(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [NETSVC, "fetch", "--private-addresses", *words],
            capture_output=True,
            text=True,
            cwd=self.to,
            timeout=PATIENCE,
        )

    def files(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in self.to.iterdir() if one.name[0] != "."}


class FetchTests(CommandCase):
    def test_many(self) -> None:
        """Many files come at once, octet for octet; a missing one is status 1, named, and no file."""
        expected = {f"{number}.jpg": os.urandom(number * 500) for number in range(40)}
        for name, octets in expected.items():
            (self.root / name).write_bytes(octets)
        with nginx(self.root, self.state) as origin:
            urls = [f"{origin.url}/{name}" for name in (*expected, "none")]
            done = self.fetch(*urls, "--manifest", "m.jsonl", "--json")
            self.assertEqual(done.returncode, 3)
            self.assertEqual(
                done.stderr.splitlines(),
                [f"netsvc fetch: {origin.url}/none: the answer is 404", "netsvc fetch: 1 of 41 files are not here"],
            )
            found = self.files()
            lines = [json.loads(line) for line in found.pop("m.jsonl").splitlines()]
            self.assertEqual(found, expected)
            ends = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual(sum(one["event"] == "done" for one in ends), 40)
            self.assertEqual([one["status"] for one in lines], ["fetched"] * 40 + ["failed"])
            sums = {one["name"]: one["sha256"] for one in lines[:-1]}
            self.assertEqual(sums, {name: hashlib.sha256(octets).hexdigest() for name, octets in expected.items()})
            again = self.fetch("-c", "--json", *urls[:-1])
            facts = [json.loads(line) for line in again.stdout.splitlines()]
            self.assertEqual(again.returncode, 0)
            self.assertTrue(all(one["unchanged"] for one in facts if one["event"] == "done"))

    def test_a_list(self) -> None:
        """Lists from a file and from standard input, with comments and checksums; two that end alike are two files."""
        (self.root / "1").mkdir()
        for name in ("a", "1/a"):
            (self.root / name).write_bytes(name.encode())
        good = hashlib.sha256(b"a").hexdigest()
        with nginx(self.root, self.state) as origin:
            lines = f"# some\n\n{origin.url}/a sha256:{good} # good\n  {origin.url}/1/a\r\n"
            (self.directory / "list").write_text(lines)
            done = self.fetch("--from", str(self.directory / "list"), "-q")
            self.assertEqual((done.returncode, done.stderr, self.files()), (0, "", {"a": b"a", "a-2": b"1/a"}))
            command = [NETSVC, "fetch", "--private-addresses", "--from", "-"]
            wrong = lines.replace(good, "0" * 64)
            done = subprocess.run(command, input=wrong, capture_output=True, text=True, cwd=self.to, timeout=PATIENCE)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("/a: what came is not what was promised", done.stderr)
        self.assertEqual(self.files(), {"a": b"a", "a-2": b"1/a"})

    def test_file_abuse_49_a_kill_in_a_file(self) -> None:
        """After kill -9 in the middle of a file -c goes on where it was last written down; the file is right."""
        body = os.urandom(16 << 20)
        (self.root / "a").write_bytes(body)
        slow = f"location /first/ {{ alias {self.root}/; limit_rate_after 7m; limit_rate 400k; }}"
        with nginx(self.root, self.state, slow) as origin:
            command = [NETSVC, "fetch", "--private-addresses", "-c", f"{origin.url}/first/a"]
            run = subprocess.Popen(command, cwd=self.to, stderr=subprocess.DEVNULL)
            wait_until(lambda: self.noted() > 1 << 20, "nothing is written down")
            run.kill()
            run.wait(PATIENCE)
            self.assertEqual(self.files(), {})
            done = self.fetch("-c", "--json", f"{origin.url}/first/a")
        self.assertEqual((done.returncode, self.files()), (0, {"a": body}))
        self.assertGreater(json.loads(done.stdout.splitlines()[0])["octets"], 1 << 20)

    def noted(self) -> int:
        """Octets that are written down of what is not whole."""
        records = self.to.glob(".netsvc/uploads/*.json")
        return max((json.loads(one.read_bytes())["offset"] for one in records), default=0)

    def test_feed_and_checksums(self) -> None:
        """A feed page by page with a key, and SHA256SUMS of a URL: what differs is refused."""
        for name in ("a.jpg", "b.jpg"):
            (self.root / name).write_bytes(name.encode())
        (self.root / "feed").write_text(json.dumps({"newslist": [{"picUrl": "/a.jpg"}, {"picUrl": "/b.jpg"}]}))
        good, bad = hashlib.sha256(b"a.jpg").hexdigest(), hashlib.sha256(b"c").hexdigest()
        (self.root / "SHA256SUMS").write_text(f"{good}  a.jpg\n{bad}  b.jpg\n")
        (self.to / ".key").write_text("geheim\n")
        with nginx(self.root, self.state) as origin:
            feed = ("--feed", f"{origin.url}/feed?key={{key}}", "--key", "file:.key", "--path", "newslist[*].picUrl")
            done = self.fetch(*feed, "--checksums", f"{origin.url}/SHA256SUMS")
            self.assertEqual((done.returncode, self.files()), (5, {"a.jpg": b"a.jpg"}))
            self.assertNotIn("geheim", done.stdout + done.stderr)
            done = self.fetch(*feed, "-q")
            self.assertEqual((done.returncode, done.stderr, len(self.files())), (0, "", 2))

    def test_head_and_body(self) -> None:
        """-i prints the head without what could move a cursor; -o saves the body."""

        def origin(connection: socket.socket, head: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Odd: a\xc2\x9b31mb\r\nContent-Length: 2\r\n\r\nhi")

        with faulty(origin) as port:
            done = self.fetch("-i", "-o", "page", f"http://127.0.0.1:{port}/x/")
        self.assertEqual((done.returncode, self.files()), (0, {"page": b"hi"}))
        self.assertTrue(done.stdout.startswith("HTTP 200 OK\nx-odd: a"))
        self.assertTrue(done.stdout.replace("\n", "").isprintable())

    def test_on_a_terminal(self) -> None:
        """With bars on the terminal, heads go to standard output, and a line stays of each file and of all."""
        for name in ("a", "b"):
            (self.root / name).write_bytes(b"12345")
        master, slave = os.openpty()
        with nginx(self.root, self.state) as origin, open(master, "rb", buffering=0) as terminal:
            command = [NETSVC, "fetch", "--private-addresses", "-i", f"{origin.url}/a", f"{origin.url}/b"]
            shown = bytearray()

            def watch() -> None:
                with contextlib.suppress(OSError):  # EIO: its end
                    while data := terminal.read(65536):
                        shown.extend(data)

            watching = threading.Thread(target=watch)
            watching.start()  # now: a terminal holds some KiB, and whoever writes more waits
            try:
                environ = {**os.environ, "TERM": "xterm"}
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, stderr=slave, cwd=self.to, env=environ, timeout=PATIENCE
                )
            finally:
                os.close(slave)
                watching.join()
        self.assertEqual((done.returncode, done.stdout.count(b"HTTP 200 OK\n")), (0, 2))
        for name in (b"a", b"b", b"2 files"):
            self.assertRegex(shown, name + rb": \d+ B in \d+:\d\d, [^,\n]*\r\n")

    def test_trying_again(self) -> None:
        """A 500 and then a 503 with Retry-After are tried again; a host that is down does not hold up another."""
        asked: list[float] = []

        def origin(connection: socket.socket, head: bytes) -> None:
            asked.append(0)
            answers = (b"500 X\r\n", b"503 X\r\nRetry-After: 1\r\n", b"200 OK\r\n")
            connection.sendall(
                b"HTTP/1.1 " + answers[min(len(asked), 3) - 1] + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi"
            )

        with faulty(origin) as port, socket.create_server(("127.0.0.1", 0)) as deaf:
            down = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            words = [f"{down}/{number}" for number in range(12)]
            done = self.fetch(*words, f"http://localhost:{port}/a", "--timeout", "5", "--retry-for", "12")
        self.assertEqual((done.returncode, self.files(), len(asked)), (1, {"a": b"hi"}, 3))
        self.assertIn("again in", done.stderr)

    def test_private_addresses(self) -> None:
        """Without --private-addresses this machine is refused, with a hint."""
        done = subprocess.run([NETSVC, "fetch", "http://127.0.0.1:9/a"], capture_output=True, text=True, cwd=self.to)
        self.assertEqual(done.returncode, 4)
        self.assertIn("no address on the public Internet", done.stderr)
        self.assertIn("--private-addresses", done.stderr)


class SlowDiskTests(CommandCase):
    def test_names_are_looked_up_while_the_disk_is_slow(self) -> None:
        """Files that wait for the disk, more than the reactor has threads, do not keep others from being asked for."""
        count = 24
        asked: list[bytes] = []

        def origin(connection: socket.socket, head: bytes) -> None:
            asked.append(head)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")

        with faulty(origin) as port:
            urls = [f"http://localhost:{port}/{number}" for number in range(count)]
            words = ["fetch", "--private-addresses", "-q", "-j", "12", "--per-host", "12", *urls]
            run = subprocess.Popen(
                [sys.executable, "-c", SLOW_DISK, self.directory / "go", *words],
                cwd=self.to,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                wait_until(lambda: len(asked) == count, "some are not asked for")
            finally:
                (self.directory / "go").touch()
                _, err = run.communicate(timeout=PATIENCE)
        self.assertEqual((run.returncode, err), (0, ""))
        self.assertEqual(self.files(), {str(number): b"hi" for number in range(count)})


class InterruptedTests(CommandCase):
    def test_file_abuse_49_ctrl_c_in_a_resume(self) -> None:
        """Ctrl-C in a file, and SIGTERM in its resume: status 130, the part is kept, and -c goes on from there."""
        body = os.urandom(6 << 20).replace(b"\0", b"\1")
        spans: list[tuple[int, int]] = [(0, 2 << 20), (2 << 20, 4 << 20), (4 << 20, 6 << 20)]
        asked: list[str] = []

        def origin(connection: socket.socket, head: bytes) -> None:
            ranges = [one[7:] for one in head.decode().split("\r\n") if one.startswith("Range: ")]
            asked.append(ranges[0] if ranges else "")
            begin, end = spans[len(asked) - 1]
            first = b"206 Partial\r\n" if begin else b"200 OK\r\n"
            span = f"Content-Range: bytes {begin}-{len(body) - 1}/{len(body)}\r\n" if begin else ""
            more = f'ETag: "x"\r\n{span}Content-Length: {len(body) - begin}\r\n\r\n'
            connection.sendall(b"HTTP/1.1 " + first + more.encode() + body[begin:end])
            connection.recv(1)  # until the peer leaves

        with faulty(origin) as port:
            for number in range(3):
                run = subprocess.Popen(
                    [NETSVC, "fetch", "--private-addresses", "-c", f"http://127.0.0.1:{port}/large"],
                    cwd=self.to,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                if number < 2:
                    wait_until(lambda end=spans[number][1]: self.part() >= end, "the part does not come")  # type: ignore[misc]
                    run.send_signal((signal.SIGINT, signal.SIGTERM)[number])
                _, err = run.communicate(timeout=PATIENCE)
                if number < 2:
                    self.assertEqual(run.returncode, 130, err)
                    self.assertIn("with -c goes on from here", err)
                    self.assertEqual(self.files(), {})
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(asked, ["", f"bytes={2 << 20}-", f"bytes={4 << 20}-"])
        self.assertEqual(self.files(), {"large": body})

    def part(self) -> int:
        """Octets that have come of the part: there is room for more, with zeros in it."""
        parts = list(self.to.glob(".netsvc-*.part"))
        return len(parts[0].read_bytes().rstrip(b"\0")) if parts else 0
