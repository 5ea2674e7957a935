"""HTTP/2 as curl, nghttp2's client and its load generator speak it to a real twistd; HTTP/1 for those that do not."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from tests.live.daemon import Daemon
from tests.runtime.certificates import make_certificate
from tests.shared import SharedCase
from tests.waiting import wait_until

BOUND = 180.0  # seconds
MIB = 1 << 20

ECHO = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n%s %s %s %s\\n' "$REQUEST_METHOD" "$SERVER_PROTOCOL" "$HTTPS" "$HTTP_HOST"
sha256sum
"""
SLOW = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
echo begun
touch "$PATH_TRANSLATED"
exec sleep 600
"""


class Http2Tests(SharedCase):
    """One daemon with TLS for all tests that do not stop it."""

    place: ClassVar[Path]
    daemon: ClassVar[Daemon]
    certificate: ClassVar[Path]
    ini: ClassVar[str]
    url: ClassVar[str]
    large: ClassVar[bytes]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-http2-"))
        cls.large = hashlib.shake_256(b"netsvc").digest(8 * MIB)
        scripts = cls.place / "www" / "cgi-bin"
        scripts.mkdir(parents=True)
        for name, text in (("echo", ECHO), ("slow", SLOW)):
            (scripts / name).write_text(text)
            (scripts / name).chmod(0o755)
        (cls.place / "www" / "small.txt").write_bytes(b"small\n" * 100)
        (cls.place / "www" / "large.bin").write_bytes(cls.large)
        cls.certificate, key = make_certificate(cls.place, "netsvc.test")
        cls.ini = (
            f"[http]\nlisten = tls:0:interface=127.0.0.1:privateKey={key}:certKey={cls.certificate}\n"
            f"docroot = {cls.place}/www\ndrain_timeout = 100s\n"
        )
        cls.daemon = Daemon(cls.ini).__enter__()
        cls.url = f"https://localhost:{cls.daemon.port('http', 'tls')}"

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place, ignore_errors=True)

    def curl(self, *arguments: str) -> bytes:
        """What curl prints."""
        command = ("curl", "-sS", "--cacert", str(self.certificate), *arguments)
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=BOUND).stdout

    def nghttp(self, *arguments: str) -> str:
        """What nghttp prints."""
        command = ("nghttp", *arguments)
        done = subprocess.run(command, check=True, capture_output=True, timeout=BOUND)
        return done.stdout.decode("latin-1")

    def test_core_alpn(self) -> None:
        """A peer gets the version that it asks for, and the same file; a peer without ALPN gets HTTP/1.1."""
        answers = {}
        for flag, version in (("--http2", b"2"), ("--http1.1", b"1.1")):
            out = self.curl(flag, "-w", "%{http_version}", f"{self.url}/small.txt")
            answers[version] = out.removesuffix(version)
            self.assertTrue(out.endswith(version), out)
        self.assertEqual(answers, dict.fromkeys(answers, b"small\n" * 100))
        context = ssl.create_default_context(cafile=str(self.certificate))
        raw = socket.create_connection(("127.0.0.1", self.daemon.port("http", "tls")), BOUND)
        with closing(context.wrap_socket(raw, server_hostname="localhost")) as connection:
            self.assertIsNone(connection.selected_alpn_protocol())
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 "))

    def test_static_files(self) -> None:
        """Large files, ranges and conditions over HTTP/2, with curl."""
        self.assertEqual(self.curl("--http2", f"{self.url}/large.bin"), self.large)
        self.assertEqual(self.curl("--http2", "-r", "5-9", f"{self.url}/large.bin"), self.large[5:10])
        heads = self.curl("--http2", "-I", f"{self.url}/small.txt").decode()
        self.assertRegex(heads, r"^HTTP/2 200")
        (tag,) = re.findall(r"etag: (\S+)", heads)
        out = self.curl("--http2", "-w", "%{http_code}", "-H", f"If-None-Match: {tag}", f"{self.url}/small.txt")
        self.assertEqual(out, b"304")

    def test_core_06_many_at_once(self) -> None:
        """Many large answers on one connection are whole, each its own."""
        wanted = [f"{self.url}/large.bin?{at}" for at in range(10)]
        out = self.place / "out"
        out.mkdir()
        outputs = [part for at, url in enumerate(wanted) for part in (url, "-o", str(out / str(at)))]
        self.curl("--http2", "--parallel", "--parallel-max", "10", *outputs)
        for at in range(10):
            self.assertEqual((out / str(at)).read_bytes(), self.large)

    def test_cgi_04_upload(self) -> None:
        """A large body with and without a length reaches a script whole."""
        digest = hashlib.sha256(self.large).hexdigest()
        for more in ((), ("-H", "Content-Length:")):
            file = f"@{self.place}/www/large.bin"
            out = self.curl("--http2", "--data-binary", file, *more, f"{self.url}/cgi-bin/echo").decode()
            self.assertEqual(out.split()[:3], ["POST", "HTTP/2.0", "on"])
            self.assertEqual(out.split()[4], digest)

    def test_cgi_08_peer_leaves(self) -> None:
        """A script whose stream ends with its peer is gone."""
        mark = self.place / "www" / "mark"
        with subprocess.Popen(
            ("curl", "-sSN", "--http2", "--cacert", str(self.certificate), f"{self.url}/cgi-bin/slow/mark"),
            stdout=subprocess.PIPE,
        ) as peer:
            assert peer.stdout is not None
            self.assertEqual(peer.stdout.readline(), b"begun\n")
            wait_until(mark.exists, "the script did not start")
            peer.kill()
        self.daemon.wait_for(r"/cgi-bin/slow/mark 200 6 aborted")

    def test_core_08_nghttp(self) -> None:
        """nghttp2 finds nothing to complain of: many requests, small windows, padding, trailers, CONTINUATION."""
        for arguments in (
            ("-m20",),
            ("-w10", "-W16"),
            ("-b100",),
            ("--continuation",),
            ("--trailer", "x: y", "-d", f"{self.place}/www/small.txt"),
            ("--no-dep",),
            ("--header-table-size=0",),
            ("--encoder-header-table-size=0",),
        ):
            path = "/cgi-bin/echo" if "-d" in arguments else "/large.bin" if "-w10" in arguments else "/small.txt"
            out = self.nghttp("-nv", *arguments, f"{self.url}{path}")
            self.assertIn(":status: 200", out, arguments)
            self.assertNotIn("RST_STREAM", out, arguments)
            self.assertNotIn("_ERROR", re.sub(r"(NO_ERROR|send GOAWAY)", "", out), arguments)

    def test_core_11_load(self) -> None:
        """h2load gets every answer whole, of small files, scripts and errors."""
        for path, count, status in (("/small.txt", 5000, "2xx"), ("/cgi-bin/echo", 100, "2xx"), ("/no", 1000, "4xx")):
            command = ("h2load", "-n", str(count), "-c", "4", "-m", "32", f"{self.url}{path}")
            out = subprocess.run(command, check=True, capture_output=True, timeout=BOUND, text=True).stdout
            self.assertIn(f"{count} done", out)
            self.assertIn("0 errored, 0 timeout", out)
            self.assertIn(f"{count} {status}", out)

    def test_core_06_drain(self) -> None:
        """A daemon that is told to stop finishes an answer that is on its way; idle connections end at once."""
        with Daemon(self.ini) as daemon:
            url = f"https://localhost:{daemon.port('http', 'tls')}/large.bin"
            with subprocess.Popen(
                ("curl", "-sSN", "--http2", "--cacert", str(self.certificate), "--limit-rate", "4M", url),
                stdout=subprocess.PIPE,
            ) as peer:
                assert peer.stdout is not None
                found = peer.stdout.read(100_000)
                daemon._process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
                found += peer.stdout.read()
            self.assertEqual(found, self.large)
            self.assertEqual(peer.returncode, 0)
            daemon.wait()
