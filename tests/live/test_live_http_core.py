"""The protocol core as peers meet it: raw sockets and curl against a real twistd; passwords and access logs with it."""

from __future__ import annotations

import json
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import ClassVar

from tests.live.daemon import NETSVC, Daemon
from tests.shared import SharedCase
from tests.waiting import wait_until

BOUND = 120.0  # seconds
CLOSE = "Connection: close"
LARGE = 3 << 20  # octets; more than socket buffers hold


def read_all(connection: socket.socket) -> bytes:
    """What comes until the end, or until a reset."""
    found = bytearray()
    while True:
        try:
            data = connection.recv(1 << 16)
        except ConnectionResetError:
            return bytes(found)
        if not data:
            return bytes(found)
        found += data


def statuses(octets: bytes) -> list[int]:
    """The status of each answer, interim ones too."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", octets)]


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    """A request by its lines."""
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + body


class Case(SharedCase):
    """One daemon: a site, scripts, a place with a password, an access log in a file."""

    daemon: ClassVar[Daemon]
    temporary: ClassVar[Path]
    place: ClassVar[Path]
    record: ClassVar[Path]
    OPTIONS = "max_body = 1MiB\nmax_target = 1000B\nmax_head = 4000B\nmax_headers = 20\naccess_log_format = json\n"

    @classmethod
    def set_up_shared(cls) -> None:
        cls.temporary = Path(tempfile.mkdtemp(prefix="netsvc-core-"))
        cls.place = cls.temporary / "www"
        for name in ("cgi-bin", "private", "dir"):
            (cls.place / name).mkdir(parents=True)
        (cls.place / "a.txt").write_text("hello")
        (cls.place / "private" / "p.txt").write_text("for alice")
        (cls.place / "large.bin").write_bytes(b"x" * LARGE)
        script = cls.place / "cgi-bin" / "cat.sh"
        script.write_text("#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n%s ' \"$REMOTE_USER\"; cat\n")
        script.chmod(0o755)
        users = cls.temporary / "users"
        for user, extra in (("alice", ()), ("bob", ("--argon2",))):
            subprocess.run(
                [NETSVC, "htpasswd", users, user, *extra], input=b"s\xc3\xa9cret\n", check=True, capture_output=True
            )
        cls.record = cls.temporary / "access.log"
        cls.daemon = Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.place}\naccess_log = {cls.record}\n"
            f"{cls.OPTIONS}"
            f"[http /private]\nauth_file = {users}\nauth_failures = 5/1m\nauth_users = alice\n"
            f"[http /cgi-bin]\nauth_file = {users}\nauth_failures = none\n"
        ).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.temporary)

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.daemon.port("http")), BOUND)
        self.addCleanup(connection.close)
        return connection

    def ask(self, octets: bytes) -> bytes:
        """What comes until the end."""
        connection = self.connect()
        connection.sendall(octets)
        return read_all(connection)

    def fed(self, octets: bytes) -> list[list[int]]:
        """The statuses of the answers when octets come at once, one by one, and with a request behind them."""
        found = [
            statuses(self.ask(octets)),
            statuses(self.ask(octets + request("GET /a.txt HTTP/1.1", "Host: a", CLOSE))),
        ]
        connection = self.connect()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for at in range(len(octets)):
                connection.sendall(octets[at : at + 1])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused before its end
        found.append(statuses(read_all(connection)))
        return found

    def curl(self, *arguments: str, path: str = "/a.txt") -> subprocess.CompletedProcess[bytes]:
        url = f"http://127.0.0.1:{self.daemon.port('http')}{path}"
        return subprocess.run(
            ["curl", "-sS", "--max-time", "120", "--path-as-is", *arguments, url], capture_output=True, check=False
        )


class CoreTest(Case):
    def test_core_01_hosts(self) -> None:
        """No Host, two, a wrong one: 400 and the end. The absolute form and OPTIONS * are answered."""
        for fields in ((), ("Host: a", "Host: a"), ("Host: a b",), ("Host: a/b",)):
            self.assertEqual(self.fed(request("GET / HTTP/1.1", *fields)), [[400]] * 3)
        answer = self.ask(request("GET http://b.example/a.txt HTTP/1.1", "Host: a", CLOSE))
        self.assertTrue(answer.endswith(b"\r\n\r\nhello"), answer)
        self.assertEqual(statuses(self.ask(request("OPTIONS * HTTP/1.1", "Host: a", CLOSE))), [204])

    def test_core_02_request_lines(self) -> None:
        """400, 414, 431, 501, 505 come as answers, however the octets come, and the connection ends."""
        for line, status in (
            ("GET /a#b HTTP/1.1", 400),
            ("GET /a b HTTP/1.1", 400),
            ("GET /a\x01 HTTP/1.1", 400),
            ("GET / HTTP/2.0", 505),
            ("GET / HTTP/0.9", 505),
            ("FOO / HTTP/1.1", 501),
            (f"GET /{'a' * 1100} HTTP/1.1", 414),
        ):
            self.assertEqual(self.fed(request(line, "Host: a")), [[status]] * 3, line)
        self.assertEqual(self.fed(request("GET / HTTP/1.1", "Host: a", "X: " + "y" * 5000)), [[431]] * 3)
        self.assertEqual(self.fed(request("GET / HTTP/1.1", "Host: a", *["X: y"] * 30)), [[431]] * 3)
        self.assertEqual(statuses(self.ask(request("GET /a.txt HTTP/1.7", "Host: a", CLOSE))), [200])
        answer = self.ask(request("DELETE /a.txt HTTP/1.1", "Host: a", CLOSE))
        self.assertIn(b"\r\nAllow: GET, HEAD, OPTIONS\r\n", answer)

    def test_core_02_long_head_gets_an_answer(self) -> None:
        """A peer that writes megabytes of a target or of fields reads its answer, not a reset."""
        for start, status in ((b"GET /", 414), (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 431)):
            connection = self.connect()
            connection.sendall(start + b"a" * LARGE)
            self.assertEqual(statuses(read_all(connection)), [status])

    def test_core_03_octets(self) -> None:
        """CR without LF, NUL, a bad name, space before the colon, folding, bare LF: 400, and nobody hangs."""
        for data in (
            b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        ):
            self.assertEqual(self.fed(data), [[400]] * 3, data)

    def test_core_04_lengths(self) -> None:
        """Smuggling by length and coding: 400 or 501, and what stands behind is not answered."""
        for fields, status in (
            (("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
            (("Transfer-Encoding: identity",), 400),
            (("Transfer-Encoding: chunked, gzip",), 400),
            (("Transfer-Encoding: foo, chunked",), 501),
            (("Content-Length: 5", "Content-Length: 6"), 400),
            (("Content-Length: -5",), 400),
            (("Content-Length: +5",), 400),
            (("Content-Length: 0x5",), 400),
            (("Content-Length: " + "9" * 30,), 400),
        ):
            self.assertEqual(
                self.fed(request("POST / HTTP/1.1", "Host: a", *fields, body=b"0\r\n\r\n")), [[status]] * 3
            )
        self.assertEqual(
            self.fed(request("POST / HTTP/1.0", "Transfer-Encoding: chunked", body=b"0\r\n\r\n")), [[400]] * 3
        )

    def test_core_05_chunks(self) -> None:
        """A script gets what was sent in chunks; broken chunks are 400."""
        for way in ((), ("--http1.0",)):
            done = self.curl("-u", "alice:s\u00e9cret", "-d", "a=b", *way, path="/cgi-bin/cat.sh")
            self.assertEqual(done.stdout, b"alice a=b")
        done = self.curl(
            "-u", "bob:s\u00e9cret", "-H", "Transfer-Encoding: chunked", "-d", "c=d", path="/cgi-bin/cat.sh"
        )
        self.assertEqual(done.stdout, b"bob c=d")
        user = "Authorization: Basic YWxpY2U6c8OpY3JldA=="
        for body in (
            b"5x\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"-5\r\n",
            b"f" * 17 + b"\r\n",
        ):
            data = request("POST /cgi-bin/cat.sh HTTP/1.1", "Host: a", user, "Transfer-Encoding: chunked", body=body)
            self.assertEqual(statuses(self.ask(data)), [400], body)

    def test_core_06_pipeline_and_half_close(self) -> None:
        """A hundred pipelined requests and a half-close: a hundred answers, in order, and the end."""
        paths = [("/a.txt", b"hello"), ("/none", b""), ("/large.bin", b"")]
        data = b"".join(request(f"GET {paths[at % 2][0]} HTTP/1.1", "Host: a") for at in range(100))
        connection = self.connect()
        connection.sendall(data + request("GET /large.bin HTTP/1.1", "Host: a"))
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
        self.assertEqual(statuses(answer), [200, 404] * 50 + [200])
        self.assertTrue(answer.endswith(b"x" * LARGE))

    def test_core_06_half_closed_peer_of_a_script(self) -> None:
        """A peer as netcat -N gets the answer of a script, whole."""
        user = "Authorization: Basic YWxpY2U6c8OpY3JldA=="
        connection = self.connect()
        connection.sendall(
            request("POST /cgi-bin/cat.sh HTTP/1.1", "Host: a", user, "Content-Length: 5", body=b"hello")
        )
        connection.shutdown(socket.SHUT_WR)
        # As a chunk and the last one, or in one piece with its length when the script was seen to have exited.
        answer = read_all(connection)
        self.assertTrue(answer.endswith((b"hello\r\n0\r\n\r\n", b"\r\n\r\nalice hello")), answer)

    def test_core_06_early_error(self) -> None:
        """An upload that is refused early: the answer is read by a client that writes all first."""
        connection = self.connect()
        connection.sendall(request("POST /a.txt HTTP/1.1", "Host: a", f"Content-Length: {LARGE}"))
        connection.sendall(b"x" * LARGE)
        self.assertEqual(statuses(read_all(connection)), [413])
        data = request("POST /a.txt HTTP/1.1", "Host: a", "Content-Length: 5", body=b"hello")
        self.assertEqual(statuses(self.ask(data + request("GET /a.txt HTTP/1.1", "Host: a", CLOSE))), [405, 200])

    def test_core_06_old_keep_alive(self) -> None:
        """HTTP/1.0 is kept when it asks, by curl too."""
        url = f"http://127.0.0.1:{self.daemon.port('http')}/a.txt"
        done = subprocess.run(
            ["curl", "-sS", "-0", "-H", "Connection: keep-alive", "-w", "%{num_connects} ", url, url],
            capture_output=True,
            check=True,
        )
        self.assertEqual(done.stdout, b"hello1 hello0 ")

    def test_core_07_expect(self) -> None:
        """By curl: a 100 for a body that is wanted, the final status for one that is not, and none over 1.0."""
        body = self.temporary / "body"
        body.write_bytes(b"y" * 5000)
        upload = ("-v", "-H", "Expect: 100-continue", "--expect100-timeout", "100", "--data-binary", f"@{body}")
        start = time.monotonic()
        done = self.curl(*upload, "-u", "alice:s\u00e9cret", path="/cgi-bin/cat.sh")
        self.assertIn(b"HTTP/1.1 100 Continue", done.stderr)
        self.assertEqual(done.stdout, b"alice " + b"y" * 5000)
        for path, status in (("/a.txt", b"405"), ("/cgi-bin/cat.sh", b"401")):
            done = self.curl(*upload, path=path)
            self.assertNotIn(b"100 Continue", done.stderr)
            self.assertIn(b"HTTP/1.1 " + status, done.stderr)
        none = ("-0", "--expect100-timeout", "0.1")  # it waits in vain, and sends the body all the same
        done = self.curl(*upload, *none, "-u", "alice:s\u00e9cret", path="/cgi-bin/cat.sh")
        self.assertNotIn(b"100 Continue", done.stderr)
        self.assertEqual(done.stdout, b"alice " + b"y" * 5000)
        self.assertLess(time.monotonic() - start, 100.0)

    def test_core_08_every_answer(self) -> None:
        """HEAD equals GET but for the body; every answer has one Date."""
        for path in ("/a.txt", "/none", "/dir", "/large.bin"):
            get, head = (
                self.ask(request(f"{method} {path} HTTP/1.1", "Host: a", CLOSE)).partition(b"\r\n\r\n")
                for method in ("GET", "HEAD")
            )
            still = re.compile(rb"Date: [^\r]*")
            lines = [sorted(still.sub(b"", one[0]).split(b"\r\n")) for one in (get, head)]
            self.assertEqual(lines[0], lines[1])
            self.assertEqual((head[2], get[0].count(b"\r\nDate: ")), (b"", 1))

    def test_core_11_connections(self) -> None:
        """Connections past their limits are closed at once; when some leave, others are served again."""
        with Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {self.place}\nmax_connections_per_source = 3\n"
        ) as daemon:
            port = daemon.port("http")
            held = [socket.create_connection(("127.0.0.1", port), BOUND) for _ in range(3)]
            for connection in held:
                connection.sendall(request("GET /a.txt HTTP/1.1", "Host: a"))
                self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200 "))
            with socket.create_connection(("127.0.0.1", port), BOUND) as refused:
                self.assertEqual(read_all(refused), b"")
            for connection in held:
                connection.close()

            def served() -> bool:
                with socket.create_connection(("127.0.0.1", port), BOUND) as connection:
                    try:
                        connection.sendall(request("GET /a.txt HTTP/1.1", "Host: a", CLOSE))
                    except (BrokenPipeError, ConnectionResetError):
                        return False
                    return read_all(connection).endswith(b"hello")

            wait_until(served)

    def test_core_11_reset(self) -> None:
        """Peers that reset in the middle of anything harm nobody."""
        for data in (
            b"GET",
            request("GET /large.bin HTTP/1.1", "Host: a"),
            request("POST / HTTP/1.1", "Host: a", "Content-Length: 9"),
        ):
            connection = self.connect()
            connection.sendall(data)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self.assertEqual(self.curl().stdout, b"hello")

    def test_paths_by_curl(self) -> None:
        """Nothing above the root and no source, as curl sends paths as they are."""
        for path in (
            "/../secret",
            "/..%2f..%2fetc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/%00",
            "/a.txt%00",
            "/x%2f..%2fcgi-bin/cat.sh",
        ):
            done = self.curl("-w", "%{http_code}", "-o", "/dev/null", path=path)
            self.assertIn(done.stdout, (b"400", b"404"), path)
        for path in ("/./cgi-bin/cat.sh", "/%2e/cgi-bin/cat.sh", "//cgi-bin/cat.sh", "/private/../cgi-bin/cat.sh"):
            self.assertNotIn(b"#!/bin/sh", self.curl("-u", "alice:s\u00e9cret", path=path).stdout, path)
            self.assertIn(b"401", self.curl("-w", "%{http_code}", "-o", "/dev/null", path=path).stdout, path)


class DeadlinesTest(Case):
    OPTIONS = Case.OPTIONS + "head_timeout = 1s\nbody_timeout = 1s\nkeepalive_timeout = 2s\n"

    def test_core_11_deadlines(self) -> None:
        """A slow head and a slow body are 408, an idle connection is closed, all in their time and others served."""
        user = "Authorization: Basic YWxpY2U6c8OpY3JldA=="
        slow, body, idle = (self.connect() for _ in range(3))
        slow.sendall(b"GET / HTTP/1.1\r\n")
        body.sendall(request("POST /cgi-bin/cat.sh HTTP/1.1", "Host: a", user, "Content-Length: 1000", body=b"x"))
        idle.sendall(request("GET /a.txt HTTP/1.1", "Host: a"))
        start = time.monotonic()
        found = {}
        readers = [
            threading.Thread(target=lambda one=one: found.update({one: (read_all(one), time.monotonic() - start)}))
            for one in (slow, body, idle)
        ]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers):
            self.assertEqual(self.curl().stdout, b"hello")
            readers[0].join(0.05)
        self.assertEqual([statuses(found[one][0]) for one in (slow, body, idle)], [[408], [408], [200]])
        self.assertLess(max(seconds for _, seconds in found.values()), 40.0)


class AuthTest(Case):
    def code(self, *arguments: str, path: str = "/private/p.txt") -> bytes:
        return self.curl("-w", "%{http_code}", "-o", "/dev/null", *arguments, path=path).stdout

    def test_static_auth(self) -> None:
        """The right password in UTF-8 lets curl in; without one the file is never sent, from memory neither."""
        spelled = ("/private/p.txt", "//private/p.txt", "/./private/p.txt", "/dir/../private/p.txt", "/%70rivate/p.txt")
        for _ in range(2):
            self.assertEqual(self.curl("-u", "alice:s\u00e9cret", path="/private/p.txt").stdout, b"for alice")
            for path in spelled:
                self.assertEqual(self.code(path=path), b"401", path)
        self.assertEqual(self.code("-u", "bob:s\u00e9cret"), b"401")  # not among auth_users
        self.assertEqual(self.curl().stdout, b"hello")
        answer = self.ask(request("GET /private/p.txt HTTP/1.1", "Host: a", CLOSE))
        self.assertIn(b'\r\nWWW-Authenticate: Basic realm="Restricted", charset="UTF-8"\r\n', answer)

    def test_static_auth_guessing(self) -> None:
        """Guesses are refused, then limited, while others are served at once and nothing secret is logged."""
        found = [self.code("-u", f"alice:guess{at}-s\u00e9cret") for at in range(8)]
        self.assertEqual(found[-1], b"429")
        self.assertLessEqual(found.count(b"401"), 6)
        self.assertEqual(self.curl().stdout, b"hello")
        self.daemon.wait_for("is not let in as alice")
        self.assertNotIn("guess", self.daemon.log())

    def test_static_auth_does_not_hold_others_up(self) -> None:
        """While passwords are checked in threads, other requests are answered."""
        self.assertTrue(any(self.overtakes_guesses() for _ in range(5)))

    def overtakes_guesses(self) -> bool:
        """Whether a request is answered before the last of some with passwords that were there before it."""
        guessers = [self.connect() for _ in range(6)]
        for one in guessers:
            one.sendall(request("GET /cgi-bin/cat.sh HTTP/1.1", "Host: a", "Authorization: Basic dTp4", CLOSE))
        self.assertTrue(self.ask(request("GET /a.txt HTTP/1.1", "Host: a", CLOSE)).endswith(b"hello"))
        answered, _, _ = select.select(guessers, [], [], 0)
        self.assertEqual([statuses(read_all(one)) for one in guessers], [[401]] * 6)
        return len(answered) < len(guessers)


class AccessLogTest(Case):
    def lines(self, target: str) -> list[dict[str, object]]:
        text = self.record.read_text()
        return [one for line in text.splitlines() if (one := json.loads(line))["target"] == target]

    def test_static_access_log(self) -> None:
        """Each request is a line of JSON within a second, with user and agent; a forged one is one line."""
        self.curl("-A", 'evil"\u202e\x9b[2J', "-e", "http://x/", path="/a.txt?one")
        self.curl("-u", "alice:s\u00e9cret", path="/cgi-bin/cat.sh?two")
        wait_until(lambda: self.lines("/a.txt?one") and self.lines("/cgi-bin/cat.sh?two"))
        (one,), (two,) = self.lines("/a.txt?one"), self.lines("/cgi-bin/cat.sh?two")
        self.assertEqual(
            [one[key] for key in ("peer", "status", "octets", "referer", "user_agent", "aborted")],
            ["127.0.0.1", 200, 5, "http://x/", 'evil"\u202e\x9b[2J', False],
        )
        self.assertEqual((two["user"], two["status"]), ("alice", 200))
        self.assertTrue(self.record.read_text().isascii())

    def test_static_access_log_aborted(self) -> None:
        """A peer that leaves in the middle is marked."""
        connection = self.connect()
        connection.sendall(request("GET /large.bin?leaves HTTP/1.1", "Host: a"))
        connection.recv(1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        wait_until(lambda: self.lines("/large.bin?leaves"))
        self.assertTrue(self.lines("/large.bin?leaves")[0]["aborted"])

    def test_static_access_log_rotation(self) -> None:
        """A file that logrotate moves away is followed by a new one, with or without its signal."""
        for number, by_signal in enumerate((False, True)):
            self.curl(path=f"/a.txt?before{number}")
            wait_until(lambda number=number: self.lines(f"/a.txt?before{number}"))
            self.record.rename(self.record.with_suffix(f".{number}"))
            if by_signal:
                self.daemon._process.send_signal(signal.SIGUSR1)  # type: ignore[union-attr]
            self.curl(path=f"/a.txt?after{number}")
            wait_until(self.record.exists)
            wait_until(lambda number=number: self.lines(f"/a.txt?after{number}"))
            self.assertEqual(self.lines(f"/a.txt?before{number}"), [])

    def test_static_access_log_disk_full(self) -> None:
        """A full disk is told once and harms no request (/dev/full is refused at the start)."""
        with Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {self.place}\n"
            f"access_log = {self.temporary}/small.log\n",
            launcher=("prlimit", "--fsize=200"),
        ) as daemon:
            for _ in range(3):
                for _ in range(20):
                    with socket.create_connection(("127.0.0.1", daemon.port("http")), BOUND) as connection:
                        connection.sendall(request("GET /a.txt HTTP/1.1", "Host: a", CLOSE))
                        self.assertTrue(read_all(connection).endswith(b"hello"))
                daemon.wait_for("the access log .* cannot be written: File too large")
            self.assertEqual(daemon.log().count("cannot be written"), 1)
