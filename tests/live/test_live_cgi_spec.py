"""The numbered lines of the specification's CGI section, over real connections to a real twistd."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import bcrypt

from tests.live.daemon import Daemon
from tests.live.test_live_cgi import MIB, Case, is_alive, reset
from tests.services.smtp_client.certs import server
from tests.waiting import wait_until

PYTHON = "#!/usr/bin/python3\n"
SHELL = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n"
MANY = 1000  # scripts that do not want to end
FRAMINGS = (("chunked", None), (None, "2"))  # of a script that prints two octets

# Ignores SIGTERM, tells its number, and stays; every fourth leaves a daemon of two forks behind, and has ended itself.
STUBBORN = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void tell(void) {
    char line[32];
    int out = open("../pids", O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (write(out, line, sprintf(line, "%d\n", getpid())) < 0) _exit(1);
    close(out);
}

int main(void) {
    const char *query = getenv("QUERY_STRING");
    signal(SIGTERM, SIG_IGN);
    tell();
    if (query && !strcmp(query, "daemon")) {
        if (!fork()) {
            setsid();
            tell();
            if (!fork()) {
                tell();
                close(0), close(1), close(2);
                for (;;) pause();
            }
            _exit(0);
        }
    }
    if (write(1, "Content-Type: a/b\n\nx\n", 21) < 0) _exit(1);
    for (;;) pause();
}
"""


def children(pid: int) -> list[int]:
    """What a process has started or inherited, zombies included."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


class SpecCase(Case):
    """A daemon over scripts of the test's own."""

    SCRIPTS: ClassVar[dict[str, str]] = {}

    @classmethod
    def docroot(cls) -> Path:
        return cls.place

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-www-"))
        for name, text in cls.SCRIPTS.items():
            file = cls.place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
        super().set_up_shared()

    @classmethod
    def tear_down_shared(cls) -> None:
        super().tear_down_shared()
        shutil.rmtree(cls.place)

    def variables(self, path: str, **headers: str) -> dict[str, str]:
        _, body = self.ask(path, **headers)
        return dict(line.split("=", 1) for line in body.decode().splitlines())

    def raw(self, request: bytes) -> bytes:
        """All that comes for some octets until the connection ends."""
        connection = self.connect()
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            return stream.read()


class VariablesTest(SpecCase):
    """Lines 1 to 3."""

    SCRIPTS: ClassVar[dict[str, str]] = {
        "cgi-bin/env": SHELL + "exec /usr/bin/env",
        "private/cgi-bin/env": SHELL + "exec /usr/bin/env",
        "deep/er/htbin/env": SHELL + "exec /usr/bin/env",
        "users": "",
    }

    @classmethod
    def set_up_shared(cls) -> None:
        super().set_up_shared()
        cls.daemon.close()
        issued = server("localhost", "127.0.0.1", "::1")
        for name, octets in (("server.crt", issued.pem), ("server.key", issued.key_pem)):
            (cls.place / name).write_bytes(octets)
        (cls.place / "users").write_text("ann:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode() + "\n")
        ini = (
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.place}\n"
            f"[http /private]\nauth_file = {cls.place}/users\n[http /mapped]\ndocroot = {cls.place}/deep\n"
            f"[http:six]\nlisten = tcp:0:interface=\\:\\:1\ndocroot = {cls.place}\n"
            f"[http:tls]\nlisten = tls:0:interface=127.0.0.1:certKey={cls.place}/server.crt"
            f":privateKey={cls.place}/server.key\ndocroot = {cls.place}\n"
        )
        cls.daemon = Daemon(ini, environ={"SECRET_OF_THE_DAEMON": "x"}).__enter__()

    def test_cgi_01_variables(self) -> None:
        """Every variable of line 1 is there and right, and those of line 3 of the daemon are not."""
        found = self.variables("/cgi-bin/env/In/Fo%20x?a=%20b&c", X_Twice="1", Cookie="a=1")
        port = self.daemon.port("http")
        expected = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "QUERY_STRING": "a=%20b&c",
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": "GET",
            "REQUEST_URI": "/cgi-bin/env/In/Fo%20x?a=%20b&c",
            "SCRIPT_NAME": "/cgi-bin/env",
            "SCRIPT_FILENAME": f"{self.place}/cgi-bin/env",
            "DOCUMENT_ROOT": str(self.place),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_ADDR": "127.0.0.1",
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "PATH_INFO": "/In/Fo x",
            "PATH_TRANSLATED": f"{self.place}/In/Fo x",
            "HTTP_COOKIE": "a=1",
        }
        self.assertEqual({name: found.get(name) for name in expected}, expected)
        self.assertRegex(found["REMOTE_PORT"], r"\A[0-9]+\Z")
        self.assertRegex(found["SERVER_SOFTWARE"], r"\Anetsvc/")
        self.assertRegex(found["UNIQUE_ID"], r"\A\w+\Z")
        self.assertIn("/usr/bin", found["PATH"])
        absent = {"CONTENT_LENGTH", "CONTENT_TYPE", "HTTPS", "AUTH_TYPE", "REMOTE_USER", "SECRET_OF_THE_DAEMON", "HOME"}
        self.assertEqual(absent & set(found), set())

    def test_cgi_01_tls(self) -> None:
        """Under TLS HTTPS is on."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = http.client.HTTPSConnection(
            "127.0.0.1", self.daemon.port("http:tls", "tls"), timeout=180, context=context
        )
        with closing(client):
            client.request("GET", "/cgi-bin/env")
            body = client.getresponse().read()
        self.assertIn(b"\nHTTPS=on\n", body)
        self.assertIn(b"\nREQUEST_SCHEME=https\n", body)

    def test_cgi_02_ipv6(self) -> None:
        """Over IPv6 addresses are bare and the name has its brackets."""
        port = self.daemon.port("http:six")
        client = http.client.HTTPConnection("::1", port, timeout=180)
        with closing(client):
            client.request("GET", "/cgi-bin/env")
            lines = client.getresponse().read().decode().splitlines()
        for line in ("REMOTE_ADDR=::1", "SERVER_ADDR=::1", "SERVER_NAME=[::1]", f"SERVER_PORT={port}"):
            self.assertIn(line, lines)

    def test_cgi_02_path_info(self) -> None:
        """PATH_INFO and PATH_TRANSLATED are absent when there is nothing behind the script."""
        self.assertEqual({"PATH_INFO", "PATH_TRANSLATED"} & set(self.variables("/cgi-bin/env")), set())
        self.assertEqual(self.variables("/cgi-bin/env/")["PATH_INFO"], "/")

    def test_cgi_03_fields(self) -> None:
        """Repeated fields are one variable; Proxy, names with "_" and Authorization are none."""
        answer = self.raw(
            b"GET /cgi-bin/env HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: a=1\r\nX-A: 1\r\n"
            b"Cookie: b=2\r\nX-A: 2\r\n"
            b"Proxy: http://evil\r\nX_B: no\r\nAuthorization: Basic eA==\r\n\r\n"
        )
        self.assertIn(b"\nHTTP_COOKIE=a=1; b=2\n", answer)
        self.assertIn(b"\nHTTP_X_A=1, 2\n", answer)
        self.assertNotRegex(answer, rb"HTTP_PROXY|X_B|AUTHORIZATION")

    def test_cgi_09_directories(self) -> None:
        """CGI directories of both names run at any depth; a file elsewhere is never run."""
        self.assertEqual(self.variables("/deep/er/htbin/env")["SCRIPT_NAME"], "/deep/er/htbin/env")
        self.assertEqual(self.ask("/users")[0].status, 200)

    def test_cgi_01_authenticated(self) -> None:
        """AUTH_TYPE and REMOTE_USER are there when netsvc has asked for the password; the password is not."""
        self.assertEqual(self.ask("/private/cgi-bin/env")[0].status, 401)
        word = base64.b64encode(b"ann:pw").decode()
        found = self.variables("/private/cgi-bin/env", Authorization=f"Basic {word}")
        self.assertEqual((found["AUTH_TYPE"], found["REMOTE_USER"]), ("Basic", "ann"))
        self.assertNotIn(word, str(found))
        self.assertNotIn("REMOTE_USER", self.variables("/cgi-bin/env", Authorization=f"Basic {word}"))

    def test_cgi_02_scope(self) -> None:
        """In a scope with a docroot of its own SCRIPT_NAME is the whole path, DOCUMENT_ROOT and PATH_TRANSLATED its."""
        found = self.variables("/mapped/er/htbin/env/Info")
        names = ("SCRIPT_NAME", "SCRIPT_FILENAME", "DOCUMENT_ROOT", "PATH_INFO", "PATH_TRANSLATED")
        self.assertEqual(
            [found[name].removeprefix(str(self.place)) for name in names],
            ["/mapped/er/htbin/env", "/deep/er/htbin/env", "/deep", "/Info", "/deep/Info"],
        )


class BodyTest(SpecCase):
    """Line 4."""

    options = "cgi_query_arguments = yes\ncgi_max_body = 1GiB\n"
    SCRIPTS: ClassVar[dict[str, str]] = {
        "cgi-bin/count": SHELL + 'echo "$CONTENT_LENGTH $(wc -c)"',
        "cgi-bin/sum": SHELL + "sha256sum",
        "cgi-bin/args": SHELL + 'printf "<%s>" "$@"',
        "cgi-bin/deaf": SHELL + "echo heard nothing",
        "cgi-bin/slow": SHELL + "sleep 0.3; wc -c",
    }

    def test_cgi_04_chunked(self) -> None:
        """A chunked body is decoded; the script has its length and its end."""
        for size in (0, 10, 100_000):
            pieces = iter([b"x" * 1000] * (size // 1000) or ([b"x" * size] if size else []))
            _, body = self.ask("/cgi-bin/count", "POST", pieces, Transfer_Encoding="chunked")
            self.assertEqual(body.split(), [str(size).encode()] * 2)

    def test_cgi_04_end_of_file(self) -> None:
        """The script sees the end of a body of known length, on a connection that goes on."""
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=180)
        with closing(client):
            for size in (1, 70_000, 3):
                client.request("POST", "/cgi-bin/count", b"x" * size)
                self.assertEqual(client.getresponse().read().split(), [str(size).encode()] * 2)

    def test_cgi_04_many_large(self) -> None:
        """Eight bodies of 25 MB at once reach scripts that read late; memory stays flat and others are served."""
        self.ask("/cgi-bin/sum", "POST", b"x")
        before = self.daemon.resident()
        block = os.urandom(MIB)
        expected = hashlib.sha256(block * 25).hexdigest().encode()

        def send(chunked: bool) -> bytes:
            if chunked:
                return self.ask("/cgi-bin/sum", "POST", (block for _ in range(25)), Transfer_Encoding="chunked")[1]
            client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=180)
            with closing(client):
                client.request("POST", "/cgi-bin/sum", (block for _ in range(25)), {"Content-Length": str(25 * MIB)})
                return client.getresponse().read()

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, [True, False] * 4))
        self.assertEqual([answer.split()[0] for answer in answers], [expected] * 8)
        self.assertLess(self.daemon.resident() - before, 16 * MIB)

    def test_cgi_04_head(self) -> None:
        """HEAD has the head of GET and no body, and the connection stays in step."""
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=180)
        with closing(client):
            for _ in range(2):
                client.request("HEAD", "/cgi-bin/deaf")
                answer = client.getresponse()
                self.assertEqual(
                    (answer.status, answer.getheader("Content-Type"), answer.read()), (200, "text/plain", b"")
                )

    def test_cgi_04_expect(self) -> None:
        """100 Continue is sent when the body is wanted, and the final status instead when it is too long."""
        connection = self.connect()
        connection.sendall(
            b"POST /cgi-bin/count HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"
            b"Connection: close\r\n\r\n"
        )
        self.assertEqual(connection.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(b"abc")
        with connection.makefile("rb") as stream:
            self.assertIn(b"\r\n3 3\n", stream.read())
        answer = self.raw(
            b"POST /cgi-bin/count HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999999\r\n\r\n"
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)

    def test_cgi_04_unread(self) -> None:
        """A script that does not read its body answers all the same, and the next request is answered."""
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=180)
        with closing(client):
            for _ in range(2):
                client.request("POST", "/cgi-bin/deaf", b"x" * 30_000)
                self.assertEqual(client.getresponse().read(), b"heard nothing\n")

    def test_cgi_04_arguments(self) -> None:
        """A query without "=" is arguments where the option says so; words that begin with "-" never are."""
        self.assertEqual(self.ask("/cgi-bin/args?one+tw%20o+$(id)")[1], b"<one><tw o><$(id)>")
        self.assertEqual(self.ask("/cgi-bin/args?-rf+x")[1], b"<>")
        self.assertEqual(self.ask("/cgi-bin/args?a=b")[1], b"<>")


class OutputTest(SpecCase):
    """Lines 5 to 7."""

    options = "cgi_debug = yes\n"
    SCRIPTS: ClassVar[dict[str, str]] = {
        "cgi-bin/crlf": "#!/bin/sh\nprintf 'Content-Type: a/b\\r\\nStatus:404\\r\\n\\r\\nno'",
        "cgi-bin/order": "#!/bin/sh\nprintf 'Location: http://example.com/\\nStatus: 303 See\\n\\n'",
        "cgi-bin/found": "#!/bin/sh\nprintf 'Location: http://example.com/\\n\\n'",
        "cgi-bin/loop": "#!/bin/sh\nprintf 'Location: /cgi-bin/loop\\n\\n'",
        "cgi-bin/local": "#!/bin/sh\nprintf 'Location: /cgi-bin/method?q\\n\\n'",
        "cgi-bin/method": SHELL + 'echo "$REQUEST_METHOD $QUERY_STRING ${CONTENT_LENGTH-none} $(wc -c)"',
        "cgi-bin/untyped": "#!/bin/sh\nprintf 'X-A: 1\\n\\nhello'",
        "cgi-bin/hop": "#!/bin/sh\nprintf 'Content-Type: a/b\\nConnection: close, x-mine\\nX-Mine: 1\\nKeep-Alive: 1\\n"
        "TE: x\\nTrailer: x\\nUpgrade: x\\nTransfer-Encoding: gzip\\n\\nok'",
        "cgi-bin/long": "#!/bin/sh\nprintf 'A: '; head -c 1000000 /dev/zero | tr '\\0' x; sleep 1000",
        "cgi-bin/more": "#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 2\\n\\nokHTTP/1.1 200 OK\\r\\n\\r\\n'",
        "cgi-bin/less": "#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 20\\n\\nok'",
        "cgi-bin/nph-own": "#!/bin/sh\nprintf 'HTTP/1.0 299 Mine\\r\\nX-Own: 1\\r\\n\\r\\nbody'",
        "cgi-bin/gigabyte": SHELL + "exec head -c 1000000000 /dev/zero",
        "cgi-bin/stream": SHELL + "echo one; read line; echo two",
        "cgi-bin/holder": SHELL + "echo done; sleep 1000 &",
        "cgi-bin/crash": "#!/bin/sh\necho '<b>why' >&2; echo again >&2; exit 3",
        "cgi-bin/cut": SHELL + "echo part; kill -9 $$",
    }

    def keep(self, *paths: str) -> list[tuple[int, bytes]]:
        """The answers to requests on one connection."""
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=180)
        found = []
        with closing(client):
            for path in paths:
                client.request("GET", path)
                answer = client.getresponse()
                found.append((answer.status, answer.read()))
        return found

    def test_cgi_05_status(self) -> None:
        """CRLF, Status without a space, Location before Status, and the redirect's own status."""
        self.assertEqual(self.keep("/cgi-bin/crlf"), [(404, b"no")])
        for path, status in (("order", 303), ("found", 302)):
            answer, _ = self.ask(f"/cgi-bin/{path}")
            self.assertEqual((answer.status, answer.getheader("Location")), (status, "http://example.com/"))

    def test_cgi_05_local_redirect(self) -> None:
        """A local redirect is GET without a body; a circle of them ends."""
        self.assertEqual(self.ask("/cgi-bin/local", "POST", b"abc")[1], b"GET q none 0\n")
        self.assertEqual(self.ask("/cgi-bin/loop")[0].status, 500)

    def test_cgi_05_untyped(self) -> None:
        """A missing Content-Type is announced once and not made up."""
        for _ in range(3):
            self.assertIsNone(self.ask("/cgi-bin/untyped")[0].getheader("Content-Type"))
        self.assertEqual(len(re.findall("untyped: sends no Content-Type", self.daemon.log())), 1)

    def test_cgi_05_connection_fields(self) -> None:
        """The script's fields about the connection are removed, and what Connection names."""
        answer, body = self.ask("/cgi-bin/hop")
        self.assertEqual(body, b"ok")
        names = {name.lower() for name, _ in answer.getheaders()}
        self.assertEqual(names & {"connection", "x-mine", "keep-alive", "te", "trailer", "upgrade"}, set())
        # The framing is netsvc's: chunks, or the length where the script was seen to have exited with its answer.
        self.assertIn((answer.getheader("Transfer-Encoding"), answer.getheader("Content-Length")), FRAMINGS)

    def test_cgi_05_endless_line(self) -> None:
        """A header line without end is 500, and its script ends."""
        self.assertEqual(self.ask("/cgi-bin/long")[0].status, 500)

    def test_cgi_05_wrong_length(self) -> None:
        """With a Content-Length that is too small the connection stays in step; too large a one cuts the answer."""
        found = self.keep("/cgi-bin/more", "/cgi-bin/crlf", "/cgi-bin/more")
        self.assertEqual(found, [(200, b"ok"), (404, b"no"), (200, b"ok")])
        with self.assertRaises((http.client.IncompleteRead, ConnectionResetError)):
            self.ask("/cgi-bin/less")

    def test_cgi_05_nph(self) -> None:
        """An nph- script's octets are the answer; the connection ends with it; the log has its status."""
        self.assertEqual(
            self.raw(b"GET /cgi-bin/nph-own HTTP/1.1\r\nHost: x\r\n\r\n"), b"HTTP/1.0 299 Mine\r\nX-Own: 1\r\n\r\nbody"
        )
        self.daemon.wait_for(r"nph-own.* 299 ")

    def test_cgi_06_streams(self) -> None:
        """What is printed arrives while the script waits for more of the body."""
        connection = self.connect()
        connection.sendall(b"POST /cgi-bin/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        found = b""
        while b"one" not in found:
            found += connection.recv(4096)
        connection.sendall(b"x" * 99_999 + b"\n")
        while b"two" not in found:
            found += connection.recv(4096)

    def test_cgi_06_background_child(self) -> None:
        """A child that keeps stdout does not hold the answer."""
        began = time.monotonic()
        self.assertEqual(self.ask("/cgi-bin/holder")[1], b"done\n")
        self.assertLess(time.monotonic() - began, 20)

    def test_cgi_06_a_gigabyte_unread(self) -> None:
        """A script that prints 1 GB to a peer that does not read costs no memory; read slowly, it arrives whole."""
        self.ask("/cgi-bin/crlf")
        before = self.daemon.resident()
        held = []
        for _ in range(4):
            connection = self.connect()
            connection.sendall(b"GET /cgi-bin/gigabyte HTTP/1.0\r\n\r\n")
            connection.recv(1)
            held.append(connection)
        self.ask("/cgi-bin/crlf")
        total, reader = 1, held.pop()
        while data := reader.recv(MIB):
            total += len(data)
        self.assertGreater(total, 1_000_000_000)
        self.assertLess(self.daemon.resident() - before, 8 * MIB)
        for connection in held:
            reset(connection)

    def test_cgi_07_debug_page(self) -> None:
        """A crash before the head is 500 with a request id; here, on loopback, with all that helps to mend it."""
        answer, body = self.ask("/cgi-bin/crash")
        page = body.decode()
        self.assertEqual(answer.status, 500)
        for part in ("exit status 3", "&lt;b&gt;why\nagain", "env -i", "GATEWAY_INTERFACE=CGI/1.1", "umask 0022"):
            self.assertIn(part, page)
        request_id = re.findall(r"Request (\w+)", page)[0]
        self.assertIn(f"UNIQUE_ID={request_id}", page)
        self.daemon.wait_for(rf"/cgi-bin/crash: <b>why \(request {request_id}\)")
        self.daemon.wait_for(rf"/cgi-bin/crash: again \(request {request_id}\)")

    def test_cgi_07_cut(self) -> None:
        """A crash in mid-answer leaves the last chunk out, and is in the log as aborted."""
        with self.assertRaises((http.client.IncompleteRead, ConnectionResetError)):
            self.ask("/cgi-bin/cut")
        self.daemon.wait_for("crashed in the middle of its answer, signal SIGKILL")


class LimitsTest(SpecCase):
    """Lines 8 and 9."""

    options = (
        f"cgi_kill_grace = 300ms\ncgi_max_scripts = {MANY}\ncgi_timeout = 12s\nmax_connections = 2000\n"
        "max_connections_per_source = 2000\n"
    )
    SCRIPTS: ClassVar[dict[str, str]] = {
        "cgi-bin/fds": PYTHON + "import os\nprint('Content-Type: a/b\\n')\n"
        "found = {int(one) for one in os.listdir('/proc/self/fd')}\n"
        "print(sorted(one for one in found if os.path.lexists(f'/proc/self/fd/{one}')))\n"
    }

    @classmethod
    def set_up_shared(cls) -> None:
        super().set_up_shared()
        source = cls.place / "stubborn.c"
        source.write_text(STUBBORN)
        subprocess.run(["gcc", "-O", "-o", cls.place / "cgi-bin" / "stubborn", source], check=True)

    def test_cgi_08_a_thousand_stubborn_scripts(self) -> None:
        """A thousand scripts that ignore SIGTERM, a quarter with daemons, are gone after their time with all traces."""
        self.ask("/cgi-bin/fds")
        pid = self.daemon.pid
        wait_until(lambda: len(children(pid)) <= 1)  # a fork server may stay
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        held = []
        for number in range(MANY):
            connection = self.connect()
            query = b"daemon" if number % 4 == 0 else b"stay"
            connection.sendall(b"GET /cgi-bin/stubborn?%s HTTP/1.0\r\n\r\n" % query)
            held.append(connection)
        expected = MANY + MANY // 4 * 2
        pids = self.place / "pids"
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == expected)
        for connection in held:
            connection.recv(1000)
        for connection in held[::2]:
            reset(connection)  # the other half ends by its time
        everyone = [int(one) for one in pids.read_text().split()]
        self.assertTrue(any(map(is_alive, everyone)))  # where they take long to start the time of the first is over
        wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in everyone))
        wait_until(lambda: len(children(pid)) <= 1)
        for connection in held:
            connection.close()
        wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= descriptors)
        self.assertEqual(self.ask("/cgi-bin/fds")[0].status, 200)

    def test_cgi_09_descriptors(self) -> None:
        """A script has descriptors 0, 1 and 2 and no other."""
        self.assertEqual(self.ask("/cgi-bin/fds")[1], b"[0, 1, 2]\n")


class EscapeTest(SpecCase):
    """Line 8: what is left when the daemon stops."""

    SCRIPTS: ClassVar[dict[str, str]] = {
        "cgi-bin/escape": SHELL + "trap '' TERM\n(setsid sh -c 'echo $$; exec sleep 1000' &)\n"
        "(env -i setsid sh -c 'echo $$; exec sleep 1000' &)\necho $$; sleep 1000"
    }

    def test_cgi_08_stop(self) -> None:
        """When the daemon stops nothing of a script is left, in whatever session it hides."""
        ini = (
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {self.place}\n"
            "drain_timeout = 200ms\ncgi_kill_grace = 300ms\n"
        )
        with Daemon(ini) as daemon:
            connection = socket.create_connection(("127.0.0.1", daemon.port("http")), 180)
            self.addCleanup(connection.close)
            connection.sendall(b"GET /cgi-bin/escape HTTP/1.0\r\n\r\n")
            found = b""
            while len(pids := re.findall(rb"^[0-9]+$", found, re.MULTILINE)) < 3:
                found += connection.recv(4096)
            self.assertTrue(all(is_alive(int(pid)) for pid in pids))
            self.assertIn(daemon.stop(), (0, -signal.SIGTERM))
            self.assertFalse(any(is_alive(int(pid)) for pid in pids))
