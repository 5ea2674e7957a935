"""CGI as peers see it: a real twistd, the sample site, and scripts that misbehave."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from tests.live.daemon import Daemon
from tests.shared import SharedCase
from tests.waiting import wait_until

SITE = Path(__file__).resolve().parents[2] / "etc" / "www"
BOUND = 180.0  # seconds
MIB = 1 << 20


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def reset(connection: socket.socket) -> None:
    """Leave at once, with RST: a FIN alone could come from a peer that has only closed its half."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Case(SharedCase):
    """Tests that share one daemon."""

    daemon: ClassVar[Daemon]
    options: ClassVar[str] = ""

    @classmethod
    def docroot(cls) -> Path:
        return SITE

    @classmethod
    def set_up_shared(cls) -> None:
        ini = f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.docroot()}\n{cls.options}"
        cls.daemon = Daemon(ini).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.daemon.port("http")), BOUND)
        self.addCleanup(connection.close)
        return connection

    def ask(
        self, path: str, method: str = "GET", body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=BOUND)
        with closing(client):
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            client.request(method, path, body, fields, encode_chunked=not isinstance(body, bytes | None))
            answer = client.getresponse()
            return answer, answer.read()


class SampleSiteTest(Case):
    """Every script of etc/www."""

    def test_hello(self) -> None:
        """The tutorials' first script says hello, in Python and in the shell."""
        answer, body = self.ask("/cgi-bin/hello.py")
        self.assertEqual((answer.status, answer.getheader("Content-type")), (200, "text/html"))
        self.assertIn(b"<h2>Hello, World!</h2>", body)
        self.assertIn(b"Hello, &lt;b&gt;!", self.ask("/cgi-bin/hello.sh?name=<b>")[1])

    def test_form_get(self) -> None:
        """FieldStorage reads a query, in any script."""
        _, body = self.ask("/cgi-bin/form.py?name=%E5%8C%97%E4%BA%AC&like=tea&like=%3Cb%3E")
        self.assertIn("Hello, 北京!", body.decode())
        self.assertEqual(re.findall(rb"<th>like</th><td>(.*?)</td>", body), [b"tea", b"&lt;b&gt;"])

    def test_form_post(self) -> None:
        """FieldStorage reads both encodings of a posted form, files included."""
        body = self.ask("/cgi-bin/form.py", "POST", b"name=Tracy", Content_Type="application/x-www-form-urlencoded")[1]
        self.assertIn(b"Hello, Tracy!", body)
        form = (
            b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nSarah\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
            + bytes(range(256))
            + b"\r\n"
            b"--x--\r\n"
        )
        body = self.ask("/cgi-bin/form.py", "POST", form, Content_Type="multipart/form-data; boundary=x")[1]
        self.assertIn(b"Hello, Sarah!", body)
        self.assertIn(b"a.bin, 256 octets", body)

    def test_env(self) -> None:
        """The variables are shown, escaped, with PATH_INFO."""
        _, body = self.ask("/cgi-bin/env.py/Some/%3Cwhere%3E?a=<b>")
        self.assertIn(b"<th>PATH_INFO</th><td>/Some/&lt;where&gt;</td>", body)
        self.assertIn(b"<th>SERVER_PROTOCOL</th><td>HTTP/1.1</td>", body)
        self.assertNotIn(b"<b>", body)

    def test_post(self) -> None:
        """A body of 100 MB reaches the script whole, by length and in chunks, and the daemon's memory stays flat."""
        block = os.urandom(MIB)
        digest = hashlib.sha256()
        for _ in range(100):
            digest.update(block)
        self.ask("/cgi-bin/post.py", "POST", block)
        before = self.daemon.resident()
        expected = f"octets: {100 * MIB}\nsha256: {digest.hexdigest()}\n".encode()
        for headers in ({"Content_Length": str(100 * MIB)}, {"Transfer_Encoding": "chunked"}):
            chunked = "Transfer_Encoding" in headers
            pieces = (block for _ in range(100))
            if chunked:
                _, body = self.ask("/cgi-bin/post.py", "POST", pieces, **headers)
            else:
                client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=BOUND)
                with closing(client):
                    client.request("POST", "/cgi-bin/post.py", pieces, {"Content-Length": str(100 * MIB)})
                    body = client.getresponse().read()
            self.assertEqual(body, expected)
        self.assertLess(self.daemon.resident() - before, 8 * MIB)

    def test_source_is_not_served(self) -> None:
        """No spelling of a script's path shows its source."""
        for path in (
            "/cgi-bin/../cgi-bin/hello.py",
            "/./cgi-bin/hello.py",
            "/%63gi-bin/hello.py",
            "//cgi-bin/hello.py",
        ):
            _, body = self.ask(path)
            self.assertNotIn(b"print(", body)

    def test_half_closed(self) -> None:
        """A peer that closes its half after the request gets the whole answer of a script."""
        connection = self.connect()
        connection.sendall(b"GET /cgi-bin/hello.py HTTP/1.0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            self.assertTrue(stream.read().endswith(b"</html>\n"))

    def test_pipelined(self) -> None:
        """Pipelined requests to scripts and files are answered in order on one connection."""
        connection = self.connect()
        connection.sendall(
            b"GET /cgi-bin/hello.py HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /netsvc.svg HTTP/1.1\r\nHost: x\r\n\r\n"
            b"POST /cgi-bin/post.py HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            b"GET /cgi-bin/hello.sh HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        with connection.makefile("rb") as stream:
            found = stream.read()
        marks = [found.index(mark) for mark in (b"<h2>Hello", b"<svg", b"octets: 3", b"<h1>Hello")]
        self.assertEqual(marks, sorted(marks))
        self.assertEqual(found.count(b"HTTP/1.1 200 OK"), 4)


class MisbehaviourTest(Case):
    """Scripts and peers that misbehave."""

    SCRIPTS: ClassVar[dict[str, str]] = {
        "crash.py": "#!/usr/bin/python3\nprint('Content-Type: a/b\\n\\npart', flush=True)\nraise OSError('on purpose')",
        "die.sh": "#!/bin/sh\nkill -9 $$",
        "long.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; sleep 1000 & echo $$ $!; wait",
        "stubborn.sh": "#!/bin/sh\ntrap '' TERM\nprintf 'Content-Type: a/b\\n\\n'; echo $$; sleep 1000; sleep 1000",
        "chatty.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; while echo $$; do sleep 0.05; done",
        "flood.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; exec cat /dev/zero",
        "away.sh": "#!/bin/sh\nprintf 'Location: /cgi-bin/there.sh?x=1\\n\\n'",
        "there.sh": '#!/bin/sh\nprintf "Content-Type: a/b\\n\\n$REQUEST_METHOD $QUERY_STRING $CONTENT_LENGTH"',
        "file.sh": "#!/bin/sh\nprintf 'Location: /page.txt\\n\\n'",
        "lies.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 2\\nTransfer-Encoding: chunked\\n\\nhello'",
        "short.sh": "#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 9\\n\\nhello'",
        "nope.sh": "#!/bin/sh\nprintf 'HTTP/1.1 404 Nope\\r\\nContent-Type: a/b\\r\\n\\r\\nno'",
    }
    options = "cgi_debug = yes\ncgi_kill_grace = 500ms\ncgi_max_scripts = 4\ncgi_queue = 0\n"

    @classmethod
    def docroot(cls) -> Path:
        return cls.place

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-www-"))
        (cls.place / "page.txt").write_text("a file")
        (cls.place / "cgi-bin").mkdir()
        for name, text in cls.SCRIPTS.items():
            (cls.place / "cgi-bin" / name).write_text(text)
            (cls.place / "cgi-bin" / name).chmod(0o755)
        (cls.place / "cgi-bin" / "plain.sh").write_text("#!/bin/sh\n")
        super().set_up_shared()

    @classmethod
    def tear_down_shared(cls) -> None:
        super().tear_down_shared()
        shutil.rmtree(cls.place)

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log().replace("Traceback (most", "", 1), "Unhandled")

    def running(self, name: str) -> tuple[socket.socket, list[int]]:
        """Start a script that prints process ids, and stay connected."""
        connection = self.connect()
        connection.sendall(f"GET /cgi-bin/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        found = b""
        while not (match := re.search(rb"\r\n\r\n[0-9a-f]+\r\n([0-9 ]+)\n", found)):
            found += connection.recv(4096)
        return connection, [int(one) for one in match[1].split()]

    def test_crash_in_body(self) -> None:
        """A crash in the middle leaves the last chunk out; the complaint is in the log with the request."""
        with self.assertRaises((http.client.IncompleteRead, ConnectionResetError)):
            self.ask("/cgi-bin/crash.py")
        self.daemon.wait_for("on purpose")
        self.daemon.wait_for("crashed in the middle")

    def test_crash_before_head(self) -> None:
        """One before the head is a 500 that says, on this machine, how it ended."""
        answer, body = self.ask("/cgi-bin/die.sh")
        self.assertEqual(answer.status, 500)
        self.assertIn(b"signal SIGKILL", body)

    def test_peer_leaves(self) -> None:
        """When the peer leaves, the script, its child and one that ignores SIGTERM end."""
        for name in ("long.sh", "stubborn.sh"):
            connection, pids = self.running(name)
            self.assertTrue(all(map(is_alive, pids)))
            reset(connection)
            wait_until(lambda: not any(map(is_alive, pids)))  # noqa: B023

    def test_peer_closes(self) -> None:
        """A peer that has closed both halves is noticed when the script prints: until then it may want the answer."""
        connection, pids = self.running("chatty.sh")
        connection.close()
        wait_until(lambda: not any(map(is_alive, pids)))

    def test_slow_peer(self) -> None:
        """An endless answer to a peer that does not read costs no memory; when the peer leaves it ends."""
        before = self.daemon.resident()
        connection = self.connect()
        connection.sendall(b"GET /cgi-bin/flood.sh HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(1000):
            connection.recv(65536)
        end = time.monotonic() + 0.5
        wait_until(lambda: time.monotonic() > end)
        self.assertLess(self.daemon.resident() - before, 8 * MIB)

    def test_busy(self) -> None:
        """Beyond cgi_max_scripts, without a queue, the answer is 503 with Retry-After."""
        held = [self.running("long.sh") for _ in range(4)]
        answer, _ = self.ask("/cgi-bin/nope.sh")
        self.assertEqual(answer.status, 503)
        self.assertIsNotNone(answer.getheader("Retry-After"))
        for connection, _ in held:
            reset(connection)
        wait_until(lambda: not any(is_alive(pid) for _, pids in held for pid in pids))
        wait_until(lambda: self.ask("/cgi-bin/nope.sh")[0].status == 404)

    def test_redirects(self) -> None:
        """A local redirect is answered by the other script or file, as to a GET."""
        self.assertEqual(self.ask("/cgi-bin/away.sh", "POST", b"abc")[1], b"GET x=1 ")
        self.assertEqual(self.ask("/cgi-bin/file.sh")[1], b"a file")

    def test_framing(self) -> None:
        """What a script says of its body's length and coding never puts the connection out of step."""
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=BOUND)
        with closing(client):
            for _ in range(2):
                client.request("GET", "/cgi-bin/lies.sh")
                answer = client.getresponse()
                self.assertEqual((answer.getheader("Transfer-Encoding"), answer.read()), (None, b"he"))
        with self.assertRaises((http.client.IncompleteRead, ConnectionResetError)):
            self.ask("/cgi-bin/short.sh")

    def test_status_line(self) -> None:
        """A status line as the tutorials print it is the answer's."""
        answer, body = self.ask("/cgi-bin/nope.sh")
        self.assertEqual((answer.status, answer.reason, body), (404, "Nope", b"no"))

    def test_not_executable(self) -> None:
        """A file without the execute bit is 403."""
        self.assertEqual(self.ask("/cgi-bin/plain.sh")[0].status, 403)

    def test_stop(self) -> None:
        """When the daemon stops no script is left."""
        ini = (
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {self.place}\n"
            "drain_timeout = 200ms\ncgi_kill_grace = 300ms\n"
        )
        mine = type(self).daemon
        with Daemon(ini) as daemon:
            type(self).daemon = daemon
            try:
                _, pids = self.running("stubborn.sh")
                _, more = self.running("long.sh")
            finally:
                type(self).daemon = mine
            self.assertIn(daemon.stop(), (0, -signal.SIGTERM))
            self.assertFalse(any(map(is_alive, [*pids, *more])))
