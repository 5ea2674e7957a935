"""Files that curl, rclone and rude peers put into a real twistd, and get from it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import ClassVar

from netsvc.net.passwords import htpasswd
from tests.live.daemon import Daemon
from tests.runtime.certificates import make_certificate
from tests.shared import SharedCase
from tests.waiting import wait_until

MIB = 1 << 20
BOUND = 180.0  # seconds
NETSVC = Path(sys.executable).parent / "netsvc"
INI = """\
[http]
listen =
    tcp:0:interface=127.0.0.1
    tls:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}
docroot = {place}/www
auth_file = {place}/users

[http /files/]
docroot = {place}/files
upload = yes
upload_delete = yes
upload_directories = yes
upload_access =
    alice full
    bob read-only
    * upload-only
listing = yes
max_file_size = 300MiB

[http /home/]
docroot = {place}/home/%u
upload = yes
quota = 1MiB
"""


class UploadTests(SharedCase):
    """One daemon, three accounts."""

    place: ClassVar[Path]
    daemon: ClassVar[Daemon]
    port: ClassVar[int]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-upload-"))
        for name in ("www", "files", "home"):
            (cls.place / name).mkdir()
        users = "".join(f"{user}:{htpasswd.make(user, 'bcrypt')}\n" for user in ("alice", "bob", "carol"))
        (cls.place / "users").write_text(users)
        certificate, key = make_certificate(cls.place, "netsvc.test")
        cls.daemon = Daemon(INI.format(place=cls.place, certificate=certificate, key=key)).__enter__()
        cls.port = cls.daemon.port("http")

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place, ignore_errors=True)

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")

    def source(self, length: int) -> Path:
        """A file of so many octets."""
        path = self.place / f"source-{length}"
        path.write_bytes(os.urandom(min(length, MIB)) * max(1, length // MIB))
        return path

    def curl(self, path: str, *options: str | Path, user: str = "alice", tls: bool = False) -> list[str]:
        """What curl tells of a request: status, octets sent, ETag."""
        where = f"https://127.0.0.1:{self.daemon.port('http', 'tls')}" if tls else f"http://127.0.0.1:{self.port}"
        told = "%{http_code} %{size_upload} %header{etag}"
        run = subprocess.run(
            ["curl", "-sSk", "-o", "/dev/stderr", "-w", told, "-u", f"{user}:{user}", *options, where + path],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BOUND,
            check=False,
        )
        return run.stdout.split()

    def partials(self) -> list[Path]:
        """What the store has that is not whole."""
        return list((self.place / "files").glob(".netsvc-*.part"))

    def test_curl(self) -> None:
        """Curl puts a file, gets it, replaces it under a condition, makes and removes directories."""
        source = self.source(3 * MIB)
        tag = f'"{hashlib.sha256(source.read_bytes()).hexdigest()}"'
        self.assertEqual(self.curl("/files/d/", "-X", "MKCOL")[0], "201")
        self.assertEqual(self.curl("/files/d/", "-T", source), ["201", str(3 * MIB), tag])
        self.assertEqual((self.place / "files/d" / source.name).read_bytes(), source.read_bytes())
        self.assertEqual(self.curl(f"/files/d/{source.name}"), ["200", "0", tag])
        other = self.source(100)
        self.assertEqual(self.curl(f"/files/d/{source.name}", "-T", other, "-H", "If-None-Match: *")[0], "412")
        self.assertEqual(self.curl(f"/files/d/{source.name}", "-T", other, "-H", f"If-Match: {tag}")[0], "204")
        self.assertEqual(self.curl("/files/d", "-X", "DELETE")[0], "409")
        self.assertEqual(self.curl(f"/files/d/{source.name}", "-X", "DELETE")[0], "204")
        self.assertEqual(self.curl("/files/d", "-X", "DELETE")[0], "204")
        self.assertFalse((self.place / "files/d").exists())

    def test_curl_over_http2(self) -> None:
        """The same over HTTP/2, chunks and all; the memory of the daemon does not grow with the file."""
        source = self.source(64 * MIB)
        digest = b64encode(hashlib.sha256(source.read_bytes()).digest()).decode()
        before = self.daemon.resident()
        for options in (("--http2",), ("--http1.1",), ("--http1.1", "-H", "Transfer-Encoding: chunked")):
            promise = ("-H", f"Repr-Digest: sha-256=:{digest}:")
            status, _, _ = self.curl("/files/large", "-T", source, *promise, *options, tls=True)
            self.assertIn(status, ("201", "204"), options)
        self.assertLess(self.daemon.resident() - before, 16 * MIB)
        (self.place / "files/large").unlink()

    def test_a_part_is_no_whole(self) -> None:
        """Curl's way to go on with an upload would make a part of a file pass for all of it: 400."""
        source = self.source(2 * MIB)
        self.curl("/files/part", "-T", source)
        self.assertEqual(self.curl("/files/part", "-C", "1000", "-T", source)[0], "400")
        self.assertEqual((self.place / "files/part").read_bytes(), source.read_bytes())

    def test_refused_before_the_body(self) -> None:
        """Whoever waits for 100 Continue sends nothing in vain: 401, 403, 409, 412, 413, 507."""
        small, large = self.source(3 * MIB), self.place / "huge"
        with large.open("wb") as file:
            file.truncate(301 * MIB)
        waits = ("--expect100-timeout", "170", "-H", "Expect: 100-continue")
        for path, source, user, status, more in (
            ("/files/x", small, "nobody", "401", ()),
            ("/files/x", small, "bob", "403", ()),
            ("/files/no/x", small, "alice", "409", ()),
            ("/files/x", small, "alice", "412", ("-H", "If-Match: *")),
            ("/files/x", large, "alice", "413", ()),
            ("/home/x", small, "alice", "507", ()),
        ):
            self.assertEqual(self.curl(path, "-T", source, *waits, *more, user=user)[:2], [status, "0"], status)
        self.assertEqual(self.curl("/home/x", "-T", self.source(100), *waits)[0], "201")

    def test_accounts(self) -> None:
        """Each account may do what it may, and sees its own root only."""
        source = self.source(100)
        self.assertEqual(self.curl("/files/inbox", "-T", source, user="carol")[0], "201")
        self.assertEqual(self.curl("/files/inbox", "-T", source, user="carol")[0], "409")
        self.assertEqual(self.curl("/files/inbox", user="carol")[0], "403")
        self.assertEqual(self.curl("/files/inbox", user="bob")[0], "200")
        self.assertEqual(self.curl("/files/inbox", "-X", "DELETE", user="bob")[0], "403")
        self.assertEqual(self.curl("/home/own", "-T", source, user="bob")[0], "201")
        self.assertEqual(self.curl("/home/own", user="carol")[0], "404")
        self.assertEqual((self.place / "home/bob/own").read_bytes(), source.read_bytes())

    def test_rclone_reads(self) -> None:
        """Rclone's http remote copies a tree from the lists, and what it has is what was put."""
        source = self.source(MIB)
        self.curl("/files/tree", "-X", "MKCOL")
        for name in ("a b.bin", "%C3%A9.bin", "100%25.bin"):
            self.curl("/files/tree/" + name.replace(" ", "%20"), "-T", source)
        url = f"http://alice:alice@127.0.0.1:{self.port}/files/tree/"
        run = subprocess.run(
            ["rclone", "--config", "", "copy", ":http:", str(self.place / "copy"), "--http-url", url],
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(sorted(os.listdir(self.place / "copy")), ["100%.bin", "a b.bin", "\u00e9.bin"])
        for one in (self.place / "copy").iterdir():
            self.assertEqual(one.read_bytes(), source.read_bytes())

    def head(self, path: str, *fields: str) -> bytes:
        """The head of a PUT of alice's."""
        given = b64encode(b"alice:alice").decode()
        lines = (f"PUT {path} HTTP/1.1", "Host: a", f"Authorization: Basic {given}", *fields, "", "")
        return "\r\n".join(lines).encode()

    def test_file_abuse_01_a_reset_in_an_upload(self) -> None:
        """A reset in an upload leaves neither a file nor a part of one."""
        with socket.create_connection(("127.0.0.1", self.port), BOUND) as peer:
            peer.sendall(self.head("/files/reset", "Content-Length: 9000000") + b"x" * 3_000_000)
            wait_until(self.partials, "nothing has come")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: not self.partials(), "the part is still there")
        self.assertFalse((self.place / "files/reset").exists())

    def test_file_abuse_47_a_tls_cut_is_no_end(self) -> None:
        """Over TLS a connection that is cut without close_notify publishes nothing, whatever had come."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for field, body in (
            ("Content-Length: 2000001", b"x" * 2_000_000),
            ("Transfer-Encoding: chunked", b"1e8480\r\n" + b"x" * 2_000_000 + b"\r\n"),
            ("Transfer-Encoding: chunked", b"1e8480\r\n" + b"x" * 2_000_000 + b"\r\n0\r\n"),
        ):
            plain = socket.create_connection(("127.0.0.1", self.daemon.port("http", "tls")), BOUND)
            with plain, context.wrap_socket(plain, do_handshake_on_connect=True) as peer:
                peer.sendall(self.head("/files/cut", field) + body)
                wait_until(self.partials, "nothing has come")
                peer.shutdown(socket.SHUT_RDWR)  # of TCP: TLS is told nothing
            wait_until(lambda: not self.partials(), "the part is still there")
            self.assertFalse((self.place / "files/cut").exists(), field)

    def test_check(self) -> None:
        """``netsvc check`` names what would take files from anybody, and where it stands."""
        path = self.place / "anybody.ini"
        path.write_text("[netsvc]\nstate_directory = /var\n[http]\nlisten = tcp:8000\ndocroot = /srv\nupload = yes\n")
        run = subprocess.run([NETSVC, "check", path], capture_output=True, text=True, timeout=BOUND, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn(":6:10: error[conflict]: upload: anybody could fill the disk", run.stdout + run.stderr)

    def test_nothing_is_taken(self) -> None:
        """Where no files are taken, the command says that it is not allowed, whatever is there."""
        (self.place / "www" / "there").write_bytes(b"")
        for arguments in (("put", self.source(10)), ("put", "-c", self.source(10)), ("rm",)):
            for name in ("there", "not-there"):
                url = f"http://alice:alice@127.0.0.1:{self.port}/{name}"
                run = subprocess.run(
                    [NETSVC, *arguments, url], capture_output=True, text=True, timeout=BOUND, check=False
                )
                self.assertEqual(run.returncode, 4, run.stderr)
                self.assertIn("405 Method Not Allowed", run.stderr)

    def test_longer_than_a_request(self) -> None:
        """``netsvc put -c`` brings a file that is longer than a request may be."""
        (self.place / "long").mkdir()
        ini = (
            "[http]\nlisten = tcp:0:interface=127.0.0.1\nupload = yes\nmax_body = 1MiB\nmax_file_size = 3MiB\n"
            f"docroot = {self.place}/long\n"
        )
        with Daemon(ini) as daemon:
            environ = {**os.environ, "XDG_STATE_HOME": str(self.place / "state")}
            for length, status in ((3 * MIB, 0), (4 * MIB, 1)):
                source = self.source(length)
                run = subprocess.run(
                    [NETSVC, "put", "-c", "--verify", source, f"http://127.0.0.1:{daemon.port('http')}/"],
                    capture_output=True,
                    text=True,
                    timeout=BOUND,
                    check=False,
                    env=environ,
                )
                self.assertEqual(run.returncode, status, run.stderr)
        self.assertEqual([one.name for one in (self.place / "long").iterdir()], [f"source-{3 * MIB}"])
