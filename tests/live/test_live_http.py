"""Files over HTTP as peers get them from a real twistd: slow, hostile and leaving peers; changing files; the end."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from tests.live.daemon import Daemon
from tests.shared import SharedCase
from tests.waiting import wait_until

BOUND = 120.0  # seconds
LOOK = 0.01  # seconds between two looks
MIB = 1 << 20
LARGE = 24 * MIB  # octets; more than all socket buffers on the way hold
CLOSE = b"Connection: close\r\n"


def request(path: str, fields: bytes = CLOSE) -> bytes:
    """A GET."""
    return b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path.encode(), fields)


def read_all(connection: socket.socket, pause: float = 0.0) -> bytes:
    """What comes until the end, or until a reset.

    :param pause: seconds after each MiB.
    """
    found = bytearray()
    due = MIB
    while True:
        try:
            data = connection.recv(1 << 16)
        except ConnectionResetError:
            return bytes(found)
        if not data:
            return bytes(found)
        found += data
        if pause and len(found) >= due:
            due += MIB
            time.sleep(pause)  # a slow reader is what is tested; no result depends on how slow


def body(answer: bytes) -> bytes:
    """Without the head."""
    return answer.partition(b"\r\n\r\n")[2]


class Case(SharedCase):
    """Tests that share one daemon and one site."""

    daemon: ClassVar[Daemon]
    temporary: ClassVar[Path]
    place: ClassVar[Path]
    unix: ClassVar[str]
    TIMES = ""
    SCRIPTS: ClassVar[dict[str, str]] = {
        "gate.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; echo $$; read line <../gate; echo done",
        "late.sh": "#!/bin/sh\n: >../late; read line <../gate; printf 'Content-Type: a/b\\n\\ndone'",
        "deaf.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\nanswer'",
        "env.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; env; ls /proc/self/fd",
    }

    @classmethod
    def set_up_shared(cls) -> None:
        cls.temporary = Path(tempfile.mkdtemp(prefix="netsvc-http-"))
        cls.place = cls.temporary / "www"
        cls.place.mkdir()
        (cls.place / "a.txt").write_text("hello")
        (cls.place / "large.bin").write_bytes(os.urandom(MIB) * (LARGE // MIB))
        (cls.place / "cgi-bin").mkdir()
        os.mkfifo(cls.place / "gate")
        for name, text in cls.SCRIPTS.items():
            (cls.place / "cgi-bin" / name).write_text(text)
            (cls.place / "cgi-bin" / name).chmod(0o755)
        key = cls.temporary / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-keyout", key, "-out", key],
            check=True, capture_output=True,
        )  # fmt: skip
        cls.unix = str(cls.temporary / "http.sock")
        cls.daemon = Daemon(
            "[http]\nlisten =\n    tcp:0:interface=127.0.0.1\n"
            f"    tls:0:interface=127.0.0.1:certKey={key}:privateKey={key}\n    unix:{cls.unix}\n"
            f"docroot = {cls.place}\nlisting = yes\n{cls.TIMES}"
        ).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.temporary)

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")

    def connect(self, daemon: Daemon | None = None) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", (daemon or self.daemon).port("http")), BOUND)
        self.addCleanup(connection.close)
        return connection

    def ask(self, octets: bytes) -> bytes:
        connection = self.connect()
        connection.sendall(octets)
        return read_all(connection)


class PeerTest(Case):
    """Peers that are slow or hostile.

    A test that reads or writes may itself stand still for a while where much else runs: the times are no shorter.
    """

    TIMES = "send_timeout = 3s\nhead_timeout = 3s\n"

    def test_slow_reader_on_a_unix_socket(self) -> None:
        """A peer on a UNIX socket that reads all the time gets a file that takes longer than send_timeout."""
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(BOUND)
        connection.connect(self.unix)
        connection.sendall(request("/large.bin"))
        self.assertEqual(len(body(read_all(connection, pause=0.2))), LARGE)

    def test_reader_that_does_not_read(self) -> None:
        """A peer that takes nothing is cut after send_timeout, on each kind of socket, and the memory stays flat."""
        before = self.daemon.resident()
        plain = self.connect()
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(self.unix)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        tls = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.daemon.port("http", "tls")), BOUND), suppress_ragged_eofs=True
        )
        seen = self.daemon.log().count("reads too slowly")
        for connection in (plain, unix, tls):
            self.addCleanup(connection.close)
            connection.settimeout(BOUND)
            connection.sendall(request("/large.bin"))
        wait_until(lambda: self.daemon.log().count("reads too slowly") >= seen + 3)
        for connection in (plain, unix, tls):
            self.assertLess(len(read_all(connection)), LARGE)
        self.assertLess(self.daemon.resident() - before, 8 * MIB)

    def test_upload_that_nobody_reads(self) -> None:
        """A client that writes all of a large body before it reads gets the answer of a script that takes none."""
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=BOUND)
        with closing(client):
            client.request("POST", "/cgi-bin/deaf.sh", b"x" * LARGE)
            self.assertEqual(client.getresponse().read(), b"answer")

    def test_hostile_condition(self) -> None:
        """The longest and worst If-None-Match holds nobody up."""
        before = self.daemon.used()
        answer = self.ask(request("/a.txt", CLOSE + b'If-None-Match: "a",' + b" " * 32_000 + b"x\r\n"))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"), answer[:100])
        self.assertLess(self.daemon.used() - before, 1.0)

    def test_slow_heads(self) -> None:
        """A head that drips in is 408 after head_timeout, however many come, while others are served."""
        many = [self.connect() for _ in range(50)]
        for connection in many:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        self.assertEqual(body(self.ask(request("/a.txt"))), b"hello")
        for connection in many:
            self.assertTrue(read_all(connection).startswith(b"HTTP/1.1 408 "))

    def test_tls(self) -> None:
        """Over TLS a file arrives whole, and the end of the connection is said (close_notify)."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        raw = socket.create_connection(("127.0.0.1", self.daemon.port("http", "tls")), BOUND)
        connection = context.wrap_socket(raw, suppress_ragged_eofs=False)
        self.addCleanup(connection.close)
        connection.sendall(request("/large.bin"))
        self.assertEqual(body(read_all(connection)), (self.place / "large.bin").read_bytes())

    def test_environment_of_scripts(self) -> None:
        """A script has three descriptors (and that of its own look), and of the daemon's environment nothing."""
        lines = body(self.ask(b"GET /cgi-bin/env.sh HTTP/1.0\r\nProxy: evil\r\nX_A: b\r\n\r\n")).decode().splitlines()
        self.assertEqual(lines[-4:], ["0", "1", "2", "3"])
        names = {line.partition("=")[0] for line in lines[:-4]}
        self.assertEqual(names & {"HTTP_PROXY", "HTTP_X_A", "HOME", "XDG_STATE_HOME", "SHELL", "USER"}, set())


class FileTest(Case):
    """Files that change while they are sent."""

    def download(self, change: Callable[[Path], object]) -> bytes:
        """What a peer gets of a file that is changed when it has its first octets."""
        path = self.place / "file.bin"
        path.write_bytes(b"a" * LARGE)
        connection = self.connect()
        connection.sendall(request("/file.bin"))
        first = connection.recv(1000)
        change(path)
        return body(first + read_all(connection))

    def test_replaced(self) -> None:
        """A file that is replaced, removed or renamed while it is sent arrives as it was."""

        def replace(path: Path) -> None:
            other = path.with_name("other")
            other.write_bytes(b"b" * LARGE)
            other.replace(path)

        for change in (replace, Path.unlink, lambda path: path.rename(path.with_name("moved.bin"))):
            self.assertEqual(self.download(change), b"a" * LARGE)

    def test_appended(self) -> None:
        """A log that grows while it is sent arrives as far as was promised."""

        def append(path: Path) -> None:
            with path.open("ab") as file:
                file.write(b"b" * 1000)

        self.assertEqual(self.download(append), b"a" * LARGE)

    def test_changed(self) -> None:
        """One that is cut short or written over never arrives as if it were whole."""

        def write_over(path: Path) -> None:
            with path.open("r+b") as file:
                file.seek(LARGE - MIB)
                file.write(b"b")

        for change in (lambda path: os.truncate(path, 10), write_over):
            self.assertLess(len(self.download(change)), LARGE)

    def test_edited(self) -> None:
        """An edit is seen by the next request, whatever is kept in memory."""
        path = self.place / "edited.txt"
        for text in (b"one", b"two", b"three"):
            path.write_bytes(text)
            self.assertEqual(body(self.ask(request("/edited.txt"))), text)


class EndTest(Case):
    """The daemon stops."""

    def daemon_of_mine(self, drain: str) -> Daemon:
        daemon = Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {self.place}\ndrain_timeout = {drain}\n"
        ).__enter__()
        self.addCleanup(daemon.close)
        return daemon

    def is_refused(self, daemon: Daemon) -> bool:
        try:
            self.connect(daemon)
        except ConnectionRefusedError:
            return True
        return False

    def test_drain(self) -> None:
        """A download, a script that has begun and one that has not are finished; an idle connection is closed."""
        daemon = self.daemon_of_mine("100s")
        idle, download, begun, late = (self.connect(daemon) for _ in range(4))
        idle.sendall(request("/a.txt", b""))
        while not idle.recv(4096).endswith(b"hello"):
            pass
        download.sendall(request("/large.bin"))
        first = download.recv(1000)
        begun.sendall(request("/cgi-bin/gate.sh", b""))
        head = begun.recv(4096)
        late.sendall(request("/cgi-bin/late.sh", b""))
        wait_until((self.place / "late").exists)
        os.kill(daemon.pid, signal.SIGTERM)
        daemon.wait_for("stopping")
        self.assertEqual(read_all(idle), b"")
        wait_until(lambda: self.is_refused(daemon))
        self.assertEqual(len(body(first + read_all(download))), LARGE)
        found: dict[socket.socket, bytes] = {}
        readers = [threading.Thread(target=lambda one=one: found.update({one: read_all(one)})) for one in (begun, late)]
        for reader in readers:
            reader.start()
        with open(self.place / "gate", "r+b", buffering=0) as gate:  # both ends: it never blocks
            while any(reader.is_alive() for reader in readers):
                gate.write(b"\n")
                readers[0].join(LOOK)
                readers[1].join(LOOK)
        self.assertTrue((head + found[begun]).endswith(b"done\n\r\n0\r\n\r\n"), head + found[begun])
        # In one piece with its length when the script was seen to have exited with it, else as a chunk.
        self.assertTrue(found[late].endswith((b"\r\n\r\ndone", b"4\r\ndone\r\n0\r\n\r\n")), found[late])
        self.assertIn(daemon.wait(), (0, -signal.SIGTERM))

    def test_drain_is_bounded(self) -> None:
        """What is not finished after drain_timeout is cut, visibly, and the log says so."""
        daemon = self.daemon_of_mine("300ms")
        download, script = self.connect(daemon), self.connect(daemon)
        download.sendall(request("/large.bin"))
        script.sendall(request("/cgi-bin/gate.sh"))
        script.recv(4096)
        start = time.monotonic()
        self.assertIn(daemon.stop(), (0, -signal.SIGTERM))
        self.assertLess(time.monotonic() - start, 60.0)
        self.assertLess(len(read_all(download)), LARGE)
        self.assertNotIn(b"\r\n0\r\n\r\n", read_all(script))
        self.assertRegex(daemon.log(), r"GET /large.bin 200 \d+ aborted")
