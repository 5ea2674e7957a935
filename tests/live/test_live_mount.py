"""Resources, Klein and WSGI applications in a real twistd, asked by curl and by sockets."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import struct
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from tests.live.daemon import Daemon
from tests.shared import SharedCase
from tests.waiting import wait_until

BOUND = 120.0  # seconds
MIB = 1 << 20
LARGE = 64 * MIB  # octets; 1024 parts of 64 KiB

APPS = '''\
"""What a test mounts."""
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from klein import Klein

app = Klein()
lost = []

@app.route("/hello/<name>")
def hello(request, name):
    return f"hello {name}"

@app.route("/form", methods=["POST"])
def form(request):
    return b"|".join(request.args[b"a"])

class Tree(Resource):
    def getChild(self, path, request):
        return self
    def render_GET(self, request):
        if request.postpath == [] and request.prepath[-1] == b"fail":
            raise ValueError("secret")
        if request.prepath[-1] == b"exit":
            raise SystemExit("secret")
        if request.prepath[-1] == b"never":
            request.notifyFinish().addErrback(lambda _: lost.append(1))
            return NOT_DONE_YET
        if request.prepath[-1] == b"lost":
            return b"%d" % len(lost)
        reactor.callLater(0.01, request.write, b"later ")
        reactor.callLater(0.02, request.write, request.prePathURL())
        reactor.callLater(0.03, request.finish)
        return NOT_DONE_YET

def make():
    return Tree()

def wsgi(environ, start_response):
    import json
    path = environ["PATH_INFO"]
    if path == "/large":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (bytes(65536) for _ in range(1024))
    if path == "/fail":
        raise ValueError("secret")
    if path == "/length":
        size = 0
        while True:
            data = environ["wsgi.input"].read(65536)
            if not data:
                break
            size += len(data)
        start_response("200 OK", [])
        return [b"%d" % size]
    start_response("200 OK", [("Content-Type", "application/json")])
    shown = {key: value for key, value in environ.items() if isinstance(value, str)}
    return [json.dumps(shown).encode()]
'''

INI = """\
[http]
docroot = {place}
mount_path = {place}
listen =
    tcp:0:interface=127.0.0.1
[http /klein]
mount = netsvc_live_apps:app
[http /tree]
mount = netsvc_live_apps:make
[http /wsgi]
mount = wsgi:netsvc_live_apps:wsgi
"""


class MountTests(SharedCase):
    """One daemon with three applications."""

    daemon: ClassVar[Daemon]
    place: ClassVar[Path]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-mount-"))
        (cls.place / "netsvc_live_apps.py").write_text(APPS)
        (cls.place / "a.txt").write_text("a file")
        cls.daemon = Daemon(INI.format(place=cls.place))
        cls.daemon.__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place)

    def ask(self, path: str, *arguments: str) -> str:
        url = f"http://127.0.0.1:{self.daemon.port('http')}{path}"
        done = subprocess.run(["curl", "-sS", *arguments, url], capture_output=True, timeout=BOUND, check=True)
        return done.stdout.decode()

    def test_paths_mount_klein(self) -> None:
        """A Klein application answers below its place; files answer beside it."""
        self.assertEqual(self.ask("/klein/hello/you"), "hello you")
        self.assertEqual(self.ask("/klein/form", "-d", "a=1&a=2"), "1|2")
        self.assertEqual(self.ask("/klein/form", "-F", "a=3"), "3")
        self.assertEqual(self.ask("/klein/none", "-o", "/dev/null", "-w", "%{http_code}"), "404")
        self.assertEqual(self.ask("/a.txt"), "a file")

    def test_paths_mount_resource(self) -> None:
        """A tree of resources answers later; a fault costs its answer; one that waits hears that its peer has left."""
        port = self.daemon.port("http")
        self.assertEqual(self.ask("/tree/a/b"), f"later http://127.0.0.1:{port}/tree/a/b")
        for path in ("/tree/fail", "/tree/exit"):
            said = self.ask(path, "-i")
            self.assertTrue(said.startswith("HTTP/1.1 500 "))
            self.assertNotIn("secret", said)
            self.assertIn("Request ", said)
        with closing(socket.create_connection(("127.0.0.1", port), BOUND)) as peer:
            peer.sendall(b"GET /tree/never HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(self.ask("/tree/lost"), "0")
            # A reset: who only closes may still be reading, as far as the daemon can tell (RFC 9112 9.6).
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: self.ask("/tree/lost") == "1", "notifyFinish does not fire")

    def test_paths_mount_wsgi(self) -> None:
        """A WSGI application gets its environment and bodies of any length; its faults are its own."""
        environ = json.loads(self.ask("/wsgi/a%20b/c?q=1", "-H", "Proxy: evil", "-H", "X-A: 1"))
        for name, value in (
            ("SCRIPT_NAME", "/wsgi"),
            ("PATH_INFO", "/a b/c"),
            ("QUERY_STRING", "q=1"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("HTTP_X_A", "1"),
            ("wsgi.url_scheme", "http"),
        ):
            self.assertEqual(environ[name], value)
        self.assertNotIn("HTTP_PROXY", environ)
        upload = self.place / "upload"
        upload.write_bytes(bytes(5 * MIB))
        for arguments in ((), ("-H", "Transfer-Encoding: chunked")):
            self.assertEqual(self.ask("/wsgi/length", "--data-binary", f"@{upload}", *arguments), str(5 * MIB))
        self.assertIn("500", self.ask("/wsgi/fail", "-i").splitlines()[0])

    def test_paths_mount_slow_reader(self) -> None:
        """While a peer does not read a long answer of an application, memory stays flat; then it gets all of it."""
        port = self.daemon.port("http")
        self.ask("/wsgi/x")
        before = self.daemon.resident()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
        with closing(connection):
            connection.request("GET", "/wsgi/large")
            answer = connection.getresponse()
            seen = []

            def settled() -> bool:
                seen.append(self.daemon.resident())
                return len(seen) > 20 and seen[-1] == seen[-20]

            wait_until(settled)
            self.assertLess(max(seen) - before, LARGE // 4)
            self.assertEqual(len(answer.read()), LARGE)

    def test_paths_mount_start(self) -> None:
        """What cannot be imported ends the start with a clear line."""
        for mount, complaint in (
            ("netsvc_none:x", "cannot be imported: ModuleNotFoundError"),
            ("netsvc_live_apps:none", "cannot be imported: AttributeError"),
            ("netsvc_live_apps:lost", "gives no resource"),
        ):
            daemon = Daemon(INI.format(place=self.place) + f"[http /bad]\nmount = {mount}\n")
            try:
                daemon.start()
                self.assertEqual(daemon.wait(), 1)
                self.assertIn(f"[http] mount: {mount} {complaint}", daemon.log())
                self.assertNotIn("Traceback", daemon.log())
            finally:
                daemon.close()
