"""get, put, ls and rm by http, against servers that do odd things."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable

from tests.cli.files.running import FilesCase, Ran, head_of, reset, run
from tests.runtime.certificates import make_certificate

DATA = os.urandom(300_000)
ETAG = 'ETag: "1"\r\n'


def says(head: str, body: bytes = b"", heads: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    """A conversation that answers one request."""

    def converse(peer: socket.socket) -> None:
        got = head_of(peer)
        if heads is not None:
            heads.append(got)
        peer.sendall(head.replace("\n", "\r\n").replace("\r\r", "\r").encode() + b"\r\n" + body)

    return converse


def repr_digest(data: bytes) -> str:
    """The field with the digest of these octets."""
    return f"Repr-Digest: sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:\n"


class GetTests(FilesCase):
    def get(self, port: int, *options: object, path: str = "/a.bin") -> Ran:
        return run("get", "-d", self.here, *options, f"http://127.0.0.1:{port}{path}")

    def test_whole(self) -> None:
        """A file comes under its decoded name, with its time; nothing else is left in the directory."""
        stamp = "Last-Modified: Fri, 15 Jan 2027 08:00:00 GMT\n"
        port = self.server(says(f"HTTP/1.1 200 OK\nContent-Length: {len(DATA)}\n{stamp}", DATA))
        self.assertEqual(self.get(port, path="/x/%E6%B1%87%20a.bin?q").status, 0)
        self.assertEqual(self.names(), ["汇 a.bin"])
        self.assertEqual((self.here / "汇 a.bin").read_bytes(), DATA)
        self.assertEqual((self.here / "汇 a.bin").stat().st_mtime, 1800000000)

    def test_cut_then_resumed(self) -> None:
        """A download that was cut has no name; with -c the rest is asked for, if the ETag is still the same."""
        heads: list[bytes] = []
        port = self.server(
            says(f"HTTP/1.1 200 OK\n{ETAG}Content-Length: {len(DATA)}\n", DATA[:200_000]),
            says(
                f"HTTP/1.1 206 P\n{ETAG}Content-Length: 100000\nContent-Range: bytes 200000-299999/300000\n",
                DATA[200_000:],
                heads,
            ),
        )
        first = self.get(port)
        self.assertEqual(first.status, 1)
        self.assertIn("100000 octets are missing", first.err)
        self.assertFalse((self.here / "a.bin").exists())
        self.assertEqual(self.get(port, "-c").status, 0)
        self.assertIn(b"Range: bytes=200000-\r\n", heads[0])
        self.assertIn(b'If-Range: "1"\r\n', heads[0])
        self.assertEqual((self.here / "a.bin").read_bytes(), DATA)
        self.assertEqual(self.names(), ["a.bin"])

    def test_file_abuse_45_stale_if_range(self) -> None:
        """When the server sends a new file whole instead of the rest, the old part is given up."""
        other = os.urandom(50_000)
        for second in (
            (says(f'HTTP/1.1 200 OK\nETag: "2"\nContent-Length: {len(other)}\n', other),),
            (
                says("HTTP/1.1 416 No\nContent-Length: 0\nContent-Range: bytes */50000\n"),
                says(f'HTTP/1.1 200 OK\nETag: "2"\nContent-Length: {len(other)}\n', other),
            ),
        ):
            port = self.server(says(f"HTTP/1.1 200 OK\n{ETAG}Content-Length: {len(DATA)}\n", DATA[:200_000]), *second)
            self.assertEqual(self.get(port).status, 1)
            self.assertEqual(self.get(port, "-c").status, 0)
            self.assertEqual((self.here / "a.bin").read_bytes(), other)
            self.assertEqual(self.names(), ["a.bin"])

    def test_no_validator_no_rest(self) -> None:
        """Without a strong ETag nothing is kept and -c fetches all of it."""
        for etag in ("", 'ETag: W/"1"\n'):
            heads: list[bytes] = []
            port = self.server(
                says(f"HTTP/1.1 200 OK\n{etag}Content-Length: {len(DATA)}\n", DATA[:200_000]),
                says(f"HTTP/1.1 200 OK\n{etag}Content-Length: {len(DATA)}\n", DATA, heads),
            )
            self.assertEqual(self.get(port).status, 1)
            self.assertEqual([one for one in self.names() if one != "a.bin"], [])
            self.assertEqual(self.get(port, "-c").status, 0)
            self.assertNotIn(b"Range: bytes", heads[0])

    def test_wrong_part(self) -> None:
        """A part that is not the one that was asked for is refused; what there was stays for another try."""
        for answer in (
            "Content-Range: bytes 0-299999/300000\nContent-Length: 300000\n",
            "Content-Range: bytes 200000-249999/300000\nContent-Length: 50000\n",
            "Content-Range: bytes 200000-299999/300000\nContent-Length: 5\n",
            "Content-Range: bytes 200000-299999/*\nContent-Length: 100000\n",
            "Content-Length: 100000\n",
        ):
            port = self.server(
                says(f"HTTP/1.1 200 OK\n{ETAG}Content-Length: {len(DATA)}\n", DATA[:200_000]),
                says(f"HTTP/1.1 206 P\n{ETAG}{answer}", DATA),
            )
            self.assertEqual(self.get(port).status, 1)
            self.assertEqual(self.get(port, "-c").status, 1)
            self.assertEqual([name for name in self.names() if not name.startswith(".netsvc")], [])

    def test_file_abuse_1_reset(self) -> None:
        """A reset in the middle, of a body with its length or in chunks, leaves no file of that name."""

        def chunked(peer: socket.socket) -> None:
            head_of(peer)
            peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            reset(peer)

        def chunked_fin(peer: socket.socket) -> None:
            head_of(peer)
            peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

        for converse in (chunked, chunked_fin):
            ran = self.get(self.server(converse))
            self.assertEqual((ran.status, self.names()), (1, []))

    def test_file_abuse_47_tls_cut(self) -> None:
        """Over TLS a body that ends with the connection is whole only if TLS has ended, too: a cut is no success."""
        certificate, key = make_certificate(self.directory, "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        def converse(ends: bool) -> Callable[[socket.socket], None]:
            def one(peer: socket.socket) -> None:
                with context.wrap_socket(peer, server_side=True) as wrapped:
                    head_of(wrapped)
                    wrapped.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
                    if ends:
                        wrapped.unwrap()

            return one

        for ends, status in ((False, 1), (True, 0)):
            url = f"https://localhost:{self.server(converse(ends))}/a"
            ran = run("get", "-d", self.here, "--cafile", certificate, url)
            self.assertEqual((ran.status, self.names()), (status, ["a"] * ends), ran.err)
        ran = run("get", "-d", self.here, f"https://localhost:{self.server(converse(True))}/b")
        self.assertEqual(ran.status, 1)
        self.assertIn("/b: the server's certificate is not accepted: self-signed certificate\n", ran.err)

    def test_no_tls(self) -> None:
        """A server that answers TLS with plain HTTP is told as that."""

        def plain(peer: socket.socket) -> None:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 400 No\r\n\r\n")

        ran = run("get", "-d", self.here, f"https://localhost:{self.server(plain)}/a")
        self.assertEqual(ran.status, 1)
        self.assertIn("/a: the server speaks no TLS\n", ran.err)

    def test_verify(self) -> None:
        """--verify wants the server's Repr-Digest; a wrong one is refused also without; without one --verify fails."""
        length = f"HTTP/1.1 200 OK\nContent-Length: {len(DATA)}\n"
        ran = self.get(self.server(says(length + repr_digest(DATA), DATA)), "--verify", "--json")
        self.assertEqual(ran.status, 0)
        done = json.loads(ran.out.splitlines()[-1])
        self.assertEqual((done["verified"], done["sha256"]), (True, hashlib.sha256(DATA).hexdigest()))
        (self.here / "a.bin").unlink()
        for head, options in ((length + repr_digest(b"x"), ()), (length, ("--verify",))):
            ran = self.get(self.server(says(head, DATA)), *options)
            self.assertEqual((ran.status, self.names()), (5, []))

    def test_errors(self) -> None:
        """An error page is never the file; its status and reason are told, cleaned, and have their exit status."""
        for head, status in (("404 Gone", 3), ("410 G", 3), ("403 No", 4), ("401 Who", 4), ("500 x", 1), ("206 P", 1)):
            text = b"no\x1b[2Jpe\n"
            port = self.server(says(f"HTTP/1.1 {head}\nContent-Type: text/plain\nContent-Length: {len(text)}\n", text))
            ran = self.get(port)
            self.assertEqual((ran.status, self.names()), (status, []))
            self.assertIn(f"{head}: no\\x1b[2Jpe\n", ran.err)
        ran = self.get(self.server(says("HTTP/1.1 401 Who\nContent-Type: text/html\nContent-Length: 0\n")))
        self.assertIn("401 Who: the name or the password is missing or wrong\n", ran.err)

    def test_no_http(self) -> None:
        """What is no HTTP is an error in one line; a server that says nothing is not waited for for ever."""

        def silent(peer: socket.socket) -> None:
            peer.recv(65536)
            peer.recv(65536)

        for converse in (says("SSH-2.0-x\n"), lambda peer: None, silent):
            ran = self.get(self.server(converse), "--timeout", "0.3")
            self.assertEqual((ran.status, len(ran.err.splitlines())), (1, 1), ran.err)

    def test_redirects(self) -> None:
        """Redirects are followed some times, and not to a file; the password stays with its host."""
        heads: list[bytes] = []
        end = self.server(says(f"HTTP/1.1 200 OK\nContent-Length: {len(DATA)}\n", DATA, heads))
        port = self.server(
            says(f"HTTP/1.1 302 F\nLocation: http://127.0.0.1:{end}/b\nContent-Length: 0\n", heads=heads)
        )
        self.assertEqual(run("get", "-d", self.here, f"http://me:pw@127.0.0.1:{port}/a.bin").status, 0)
        self.assertIn(b"Authorization: Basic " + b64encode(b"me:pw"), heads[0])
        self.assertNotIn(b"Authorization", heads[1])
        self.assertEqual(self.names(), ["a.bin"])
        for to in ("file:///etc/passwd", "netsvc://127.0.0.1:1/", "http://", "/a.bin"):
            port = self.server(*[says(f"HTTP/1.1 301 F\nLocation: {to}\nContent-Length: 0\n")] * 12)
            self.assertEqual(self.get(port).status, 1)

    def test_names(self) -> None:
        """A name that no file may have is refused; a URL without a name wants -o."""
        head = f"HTTP/1.1 200 OK\n{ETAG}Content-Length: {len(DATA)}\n"
        for path, status in (("/%2e%2e", 1), ("/a%2Fb", 1), ("/%1b", 1), ("/.profile", 1), ("/", 2)):
            ran = self.get(self.server(says(head, DATA)), path=path)
            self.assertEqual((ran.status, self.names()), (status, []), path)
        port = self.server(says(head, DATA))
        self.assertEqual(run("get", "-o", self.here / "x", f"http://127.0.0.1:{port}/").status, 0)
        self.assertEqual(self.names(), ["x"])

    def test_limit_rate(self) -> None:
        """--limit-rate holds over all that are fetched at once."""
        import time

        data = DATA[:20_000]
        port = self.server(*[says(f"HTTP/1.1 200 OK\nContent-Length: {len(data)}\n", data)] * 2)
        url = f"http://127.0.0.1:{port}/"
        began = time.monotonic()
        self.assertEqual(run("get", "-d", self.here, "-j2", "--limit-rate", "50000B/s", url + "a", url + "b").status, 0)
        self.assertGreater(time.monotonic() - began, 0.6)
        self.assertEqual(self.names(), ["a", "b"])


class OthersTests(FilesCase):
    def test_put(self) -> None:
        """A file is sent with its length; with --verify its digest goes with it, and the server's is asked for."""
        heads: list[bytes] = []
        bodies: list[bytes] = []

        def take(peer: socket.socket) -> None:
            got = head_of(peer)
            head, _, body = got.partition(b"\r\n\r\n")
            while len(body) < len(DATA):
                body += peer.recv(65536)
            heads.append(head)
            bodies.append(body)
            peer.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

        file = self.here / "a b.bin"
        file.write_bytes(DATA)
        for said, status in ((repr_digest(DATA), 0), (repr_digest(b""), 5), ("", 5)):
            port = self.server(take, says(f"HTTP/1.1 200 OK\nContent-Length: 0\n{said}"))
            self.assertEqual(run("put", "--verify", file, f"http://127.0.0.1:{port}/in/").status, status)
        self.assertTrue(heads[0].startswith(b"PUT /in/a%20b.bin HTTP/1.1\r\n"))
        self.assertIn(repr_digest(DATA).strip().encode(), heads[0])
        self.assertEqual(bodies, [DATA] * 3)

    def test_put_by_tus(self) -> None:
        """With -c: without tus a PUT; an upload that the server forgot is begun anew; one elsewhere is refused."""
        self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": str(self.directory / "state")})
        file = self.here / "a"
        file.write_bytes(b"data")
        tus = "Tus-Resumable: 1.0.0\nContent-Length: 0\n"
        begun = says(f"HTTP/1.1 201 C\n{tus}Location: /u/1\n")
        ok = says(f"HTTP/1.1 204 N\n{tus}Upload-Offset: 4\n")
        heads: list[bytes] = []
        cut = says("", heads=heads)
        for conversations, statuses in (
            ((says("HTTP/1.1 405 No\nContent-Length: 0\n"), says("HTTP/1.1 201 C\nContent-Length: 0\n")), (0,)),
            ((begun, cut, says(f"HTTP/1.1 404 N\n{tus}"), begun, ok), (1, 0)),
            ((begun, cut, says(f"HTTP/1.1 200 O\n{tus}Upload-Offset: 4\n")), (1, 0)),
            ((begun, cut, says(f"HTTP/1.1 200 O\n{tus}Upload-Offset: 9\n"), begun, ok), (1, 0)),
            ((begun, cut, says(f"HTTP/1.1 200 O\n{tus}Upload-Offset: -1\n")), (1, 1)),
            ((begun, says(f"HTTP/1.1 204 N\n{tus}Upload-Offset: 3\n")), (1,)),
            ((says(f"HTTP/1.1 201 C\n{tus}Location: http://192.0.2.1/u/1\n"),), (1,)),
            ((says(f"HTTP/1.1 403 F\n{tus}"),), (4,)),
        ):
            port = self.server(*conversations)
            for status in statuses:
                ran = run("put", "-c", file, f"http://127.0.0.1:{port}/in/")
                self.assertEqual(ran.status, status, ran.err)
        self.assertIn(b"PATCH /u/1 HTTP/1.1\r\n", heads[0])
        self.assertIn(b"Upload-Offset: 0\r\n", heads[0])

    def test_put_by_tus_in_parts(self) -> None:
        """With -c a file goes in requests no longer than the server says it takes, whichever of them is cut."""
        self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": str(self.directory / "state")})
        file = self.here / "a"
        file.write_bytes(b"0123456789")
        tus = "Tus-Resumable: 1.0.0\nContent-Length: 0\n"
        limit = "Upload-Limit: max-size=99, max-append-size=4;x=1, max-age=9\n"
        got: list[tuple[bytes, bytes]] = []

        def take(length: int, after: int) -> Callable[[socket.socket], None]:
            def converse(peer: socket.socket) -> None:
                head, _, body = head_of(peer).partition(b"\r\n\r\n")
                while len(body) < length:
                    body += peer.recv(100)
                offset, *_ = (line for line in head.split(b"\r\n") if line.startswith(b"Upload-Offset"))
                got.append((offset, body))
                if after:
                    peer.sendall(f"HTTP/1.1 204 N\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {after}\r\n\r\n".encode())

            return converse

        begun, stands = says(f"HTTP/1.1 201 C\n{tus}{limit}Location: /u/1\n"), "HTTP/1.1 200 O\n"
        port = self.server(
            begun, take(4, 4), take(4, 0), says(f"{stands}{tus}{limit}Upload-Offset: 5\n"), take(4, 9), take(1, 10)
        )
        self.assertEqual([run("put", "-c", file, f"http://127.0.0.1:{port}/").status for _ in range(2)], [1, 0])
        self.assertEqual(
            got,
            [
                (b"Upload-Offset: 0", b"0123"),
                (b"Upload-Offset: 4", b"4567"),
                (b"Upload-Offset: 5", b"5678"),
                (b"Upload-Offset: 9", b"9"),
            ],
        )

    def test_put_refused(self) -> None:
        """A server that refuses before it has read all is understood."""

        def refuse(peer: socket.socket) -> None:
            head_of(peer)
            peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(1 << 20):
                pass

        file = self.here / "a"
        file.write_bytes(DATA * 10)
        ran = run("put", file, f"http://127.0.0.1:{self.server(refuse)}/a")
        self.assertEqual(ran.status, 4, ran.err)

    def test_put_refused_early(self) -> None:
        """A refusal that comes before the body ends it there, over TLS, too; the error says which file and where to."""
        authority, key = make_certificate(self.directory, "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority, key)
        taken: list[int] = []

        def refuse(peer: socket.socket) -> None:
            head_of(peer)
            peer.sendall(b"HTTP/1.1 409 No directory\r\nContent-Length: 0\r\n\r\n")
            count = 0
            while data := peer.recv(1 << 20):
                count += len(data)
            taken.append(count)

        def over_tls(peer: socket.socket) -> None:
            with context.wrap_socket(peer, server_side=True) as secure:
                refuse(secure)

        file = self.here / "a"
        with file.open("wb") as sparse:
            sparse.truncate(1 << 34)
        for scheme, converse in (("http", refuse), ("https", over_tls)):
            url = f"{scheme}://localhost:{self.server(converse)}/no/a"
            ran = run("put", "--cafile", authority, file, url)
            self.assertEqual((ran.status, ran.err), (1, f"netsvc put: {file} to {url}: 409 No directory\n"))
        self.assertTrue(all(count < 1 << 30 for count in taken), taken)

    def test_ls(self) -> None:
        """The list of this daemon and that of nginx are shown; names are cleaned; what is no list is an error."""
        ours = {
            "path": "/",
            "truncated": False,
            "entries": [
                {"name": "d", "type": "directory", "size": None, "mtime": None, "href": "./d/"},
                {"name": "a\x1b", "type": "file", "size": 1536, "mtime": "2027-01-15T08:00:00.250000Z"},
            ],
        }
        nginx = [{"name": "n", "type": "file", "mtime": "Fri, 15 Jan 2027 08:00:00 GMT", "size": 7}, {"name": "?"}]
        kind = "HTTP/1.1 200 OK\nContent-Type: application/json\n"
        body = json.dumps(ours).encode()
        ran = run("ls", f"http://127.0.0.1:{self.server(says(kind, body))}/")
        self.assertEqual(ran.status, 0)
        self.assertEqual([line.split()[-1] for line in ran.out.splitlines()], ["d/", "a\\x1b"])
        self.assertIn("1.50 KiB", ran.out)
        ran = run("ls", "--json", f"http://127.0.0.1:{self.server(says(kind, json.dumps(nginx).encode()))}/")
        (first, second) = map(json.loads, ran.out.splitlines())
        self.assertEqual((first["name"], first["size"], first["modified"]), ("n", 7, 1800000000.0))
        self.assertEqual((second["type"], second["modified"]), ("file", None))
        for head, text in ((kind, b"{"), (kind, b"[1]"), ("HTTP/1.1 200 OK\nContent-Type: text/html\n", b"<p>")):
            ran = run("ls", f"http://127.0.0.1:{self.server(says(head, text))}/")
            self.assertEqual((ran.status, ran.out), (1, ""))

    def test_ls_of_a_part(self) -> None:
        """A list that is not whole is shown, and that there is more: status 1."""
        some = {"path": "/", "truncated": True, "entries": [{"name": "a", "type": "file", "size": 1, "mtime": None}]}
        head = "HTTP/1.1 200 OK\nContent-Type: application/json\n"
        ran = run("ls", f"http://127.0.0.1:{self.server(says(head, json.dumps(some).encode()))}/")
        self.assertEqual((ran.status, ran.out.split()[-1]), (1, "a"))
        self.assertIn("no more than these 1 names, and has more", ran.err)

    def test_rm(self) -> None:
        """DELETE removes; each URL has its own outcome."""
        heads: list[bytes] = []
        port = self.server(says("HTTP/1.1 204 No\n", heads=heads), says("HTTP/1.1 404 No\nContent-Length: 0\n"))
        url = f"http://127.0.0.1:{port}/a"
        ran = run("rm", "--json", url, url)
        self.assertEqual(ran.status, 3)
        self.assertTrue(heads[0].startswith(b"DELETE /a HTTP/1.1\r\n"))
        self.assertEqual([json.loads(line)["removed"] for line in ran.out.splitlines()], [True, False])
