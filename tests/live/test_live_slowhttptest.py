"""slowhttptest, the usual tool against slow servers, in its four modes; others are served meanwhile."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from tests.live.daemon import Daemon
from tests.shared import SharedCase

SECONDS = 6  # that an attack lasts
PEERS = 150
REQUEST = b"GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class SlowTest(SharedCase):
    daemon: ClassVar[Daemon]
    place: ClassVar[Path]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-slow-"))
        (cls.place / "a.txt").write_text("hello")
        (cls.place / "large.bin").write_bytes(b"x" * (4 << 20))
        (cls.place / "cgi-bin").mkdir()
        script = cls.place / "cgi-bin" / "cat.sh"
        script.write_text("#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; cat\n")
        script.chmod(0o755)
        cls.daemon = Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.place}\naccess_log = no\n"
            "head_timeout = 2s\nbody_timeout = 2s\nsend_timeout = 2s\nkeepalive_timeout = 2s\n"
        ).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place)

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")

    def ask(self) -> float:
        """Seconds that a request takes, which must be answered."""
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.daemon.port("http")), 120) as connection:
            connection.sendall(REQUEST)
            answer = b""
            while data := connection.recv(4096):
                answer += data
        self.assertTrue(answer.endswith(b"hello"), answer)
        return time.monotonic() - start

    def attack(self, mode: str, path: str, *arguments: str) -> str:
        """Run one mode while others ask; what the tool says at its end. It ends when all its connections are closed."""
        before = self.daemon.resident()
        tool = subprocess.Popen(
            ["slowhttptest", mode, "-c", str(PEERS), "-r", str(PEERS), "-l", str(SECONDS), "-p", "3", *arguments,
             "-u", f"http://127.0.0.1:{self.daemon.port('http')}{path}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.place,
        )  # fmt: skip
        took = []
        try:
            while tool.poll() is None:
                took.append(self.ask())
                time.sleep(0.02)  # the pace of those who ask; nothing depends on it
            said, _ = tool.communicate(timeout=120)
        finally:
            if tool.poll() is None:
                tool.kill()
                tool.communicate()
        took.sort()
        self.assertGreater(len(took), 10)
        self.assertLess(took[len(took) // 2], 1.0)
        self.assertNotIn("service available:                 NO", said)
        self.assertLess(self.daemon.resident() - before, 64 << 20)
        return said

    def test_core_11_slow_headers(self) -> None:
        """-H (slowloris): every connection is closed by head_timeout; others are served."""
        said = self.attack("-H", "/", "-i", "1", "-x", "10")
        self.assertIn("No open connections left", said)

    def test_core_11_slow_bodies(self) -> None:
        """-B (R-U-Dead-Yet): every connection is closed by body_timeout, to a file and to a script."""
        for path in ("/a.txt", "/cgi-bin/cat.sh"):
            said = self.attack("-B", path, "-i", "1", "-x", "10", "-s", "100000")
            self.assertIn("No open connections left", said)

    def test_core_11_many_ranges(self) -> None:
        """-R (Apache killer): overlapping ranges by the hundred cost neither memory nor time."""
        self.attack("-R", "/large.bin", "-a", "1", "-b", "3000")

    def test_core_11_slow_read(self) -> None:
        """-X: peers with tiny windows that hardly read are cut by send_timeout; others are served."""
        self.attack("-X", "/large.bin", "-w", "64", "-y", "128", "-n", "1", "-z", "16", "-k", "2")
