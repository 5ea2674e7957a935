"""PUT: what is stored, what is refused, and that nothing is there before all of it is."""

from __future__ import annotations

import hashlib
import json
import os
import time
from base64 import b64encode
from email.utils import formatdate
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.store import FileStore
from netsvc.filestore.stored import StoredFile
from tests.services.http.upload.upload_rig import UploadRig, left_over


def etag(body: bytes) -> bytes:
    """The ETag of a file with this content."""
    return b'"%s"' % hashlib.sha256(body).hexdigest().encode("ascii")


def sha256_field(name: str, body: bytes) -> str:
    """A digest field that promises a body."""
    return f"{name}: sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


class PutTests(SynchronousTestCase):
    """Over HTTP/1.1."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.rig = UploadRig(self.root)

    def tearDown(self) -> None:
        self.assertEqual(left_over(self.root), [])

    def test_new_and_replaced(self) -> None:
        """A new file is 201 and one that replaces another 204; both answers have the SHA-256 as ETag."""
        answer = self.rig.put("/a.txt", b"one")
        self.assertEqual((answer.status, answer.headers[b"etag"], answer.body), (201, etag(b"one"), b""))
        answer = self.rig.put("/a.txt", b"two")
        self.assertEqual((answer.status, answer.headers[b"etag"]), (204, etag(b"two")))
        self.assertEqual((self.root / "a.txt").read_bytes(), b"two")

    def test_empty(self) -> None:
        """A file of no octets is one."""
        self.assertEqual(self.rig.put("/empty", b"").status, 201)
        self.assertEqual((self.root / "empty").read_bytes(), b"")

    def test_chunked(self) -> None:
        """A chunked body is stored like another."""
        head = b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        (answer,) = self.rig.ask(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "PUT")
        self.assertEqual(answer.status, 201)
        self.assertEqual((self.root / "c").read_bytes(), b"abcde")

    def test_what_was_put_is_got(self) -> None:
        """GET and HEAD say the ETag that PUT said, and the digest of all of it."""
        self.rig.put("/a", b"hello")
        for method in ("GET", "HEAD"):
            answer = self.rig.get("/a", method=method)
            self.assertEqual((answer.status, answer.headers[b"etag"]), (200, etag(b"hello")))
            self.assertIn(answer.headers[b"repr-digest"].decode(), sha256_field("Repr-Digest", b"hello"))
        self.assertEqual(self.rig.get("/a", f"If-None-Match: {etag(b'hello').decode()}").status, 304)

    def test_conditions(self) -> None:
        """If-Match and If-None-Match are judged by what is there; 412 changes nothing."""
        self.assertEqual(self.rig.put("/a", b"1", "If-Match: *").status, 412)
        self.assertEqual(self.rig.put("/a", b"1", "If-None-Match: *").status, 201)
        self.assertEqual(self.rig.put("/a", b"2", "If-None-Match: *").status, 412)
        self.assertEqual(self.rig.put("/a", b"2", 'If-Match: "other"').status, 412)
        self.assertEqual(self.rig.put("/a", b"2", f"If-None-Match: {etag(b'1').decode()}").status, 412)
        self.assertEqual((self.root / "a").read_bytes(), b"1")
        self.assertEqual(self.rig.put("/a", b"2", f"If-Match: {etag(b'1').decode()}").status, 204)
        self.assertEqual(self.rig.put("/a", b"3", "If-Match: *").status, 204)
        self.assertEqual(self.rig.put("/a", b"4", "If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT").status, 412)

    def test_a_time_that_has_not_come(self) -> None:
        """A file whose time lies ahead, by a clock that was wrong, changed now at the latest (RFC 9110 8.8.2)."""
        (self.root / "a").write_bytes(b"old")
        os.utime(self.root / "a", (4e9, 4e9))
        soon = formatdate(time.time() + 60, usegmt=True)
        self.assertEqual(self.rig.put("/a", b"new", f"If-Unmodified-Since: {soon}").status, 204)
        self.assertEqual((self.root / "a").read_bytes(), b"new")

    def test_if_match_of_what_was_not_uploaded(self) -> None:
        """A file that another program has put there is told apart by its own ETag."""
        (self.root / "a").write_bytes(b"theirs")
        tag = self.rig.get("/a").headers[b"etag"].decode()
        self.assertEqual(self.rig.put("/a", b"mine", f"If-Match: {tag}").status, 204)
        self.assertEqual((self.root / "a").read_bytes(), b"mine")

    def test_if_match_holds_to_the_end(self) -> None:
        """What changed while the body came is not replaced under If-Match."""
        self.rig.put("/a", b"1")
        peer = self.rig.connect()
        tag = etag(b"1").decode()
        peer.send(f"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nIf-Match: {tag}\r\n\r\n2".encode())
        self.rig.put("/a", b"between")
        peer.send(b"2")
        self.assertEqual([one.status for one in peer.answers("PUT")], [412])
        self.assertEqual((self.root / "a").read_bytes(), b"between")

    def test_if_match_holds_from_the_beginning(self) -> None:
        """What was compared with If-Match is what must be there at the end, though it was replaced at once."""
        tag = self.rig.put("/f", b"one").headers[b"etag"].decode()
        digest_of = FileStore.digest_of

        def meanwhile(store: FileStore, file: StoredFile) -> bytes:
            (self.root / "new").write_bytes(b"two")
            os.replace(self.root / "new", self.root / "f")
            return digest_of(store, file)

        self.patch(FileStore, "digest_of", meanwhile)
        for method in ("PUT", "DELETE"):
            self.assertEqual(self.rig.send(method, "/f", b"", f"If-Match: {tag}").status, 412)
            self.assertEqual((self.root / "f").read_bytes(), b"two")
            self.assertEqual(self.rig.put("/f", b"one").headers[b"etag"].decode(), tag)

    def test_if_none_match_holds_to_the_end(self) -> None:
        """Of two who want to be the first, the second to finish is refused."""
        peer = self.rig.connect()
        peer.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nIf-None-Match: *\r\n\r\n2")
        self.rig.put("/a", b"between")
        peer.send(b"2")
        self.assertEqual([one.status for one in peer.answers("PUT")], [412])
        self.assertEqual((self.root / "a").read_bytes(), b"between")

    def test_digests(self) -> None:
        """A body that is not what it was said to be is refused, and nothing published."""
        for name in ("Repr-Digest", "Content-Digest"):
            self.assertEqual(self.rig.put("/a", b"right", sha256_field(name, b"right")).status // 100, 2)
            self.assertEqual(self.rig.put("/b", b"wrong", sha256_field(name, b"right")).status, 400)
        sha512 = b64encode(hashlib.sha512(b"right").digest()).decode()
        self.assertEqual(self.rig.put("/a", b"right", f"Repr-Digest: sha-512=:{sha512}:").status, 204)
        self.assertEqual(self.rig.put("/b", b"wrong", f"Repr-Digest: sha-512=:{sha512}:").status, 400)
        md5 = b64encode(hashlib.md5(b"right").digest()).decode()
        self.assertEqual(self.rig.put("/a", b"right", f"Content-MD5: {md5}").status, 204)
        self.assertEqual(self.rig.put("/b", b"wrong", f"Content-MD5: {md5}").status, 400)
        self.assertFalse((self.root / "b").exists())

    def test_malformed_digests(self) -> None:
        """A digest field that cannot be read is 400; one of an unknown algorithm is passed over."""
        for value in ("sha-256", "sha-256=:AAAA:", "sha-256=:!:", "sha-256=:AAAA", "sha-256=1,", "=", "SHA-256=:AAAA:"):
            self.assertEqual(self.rig.put("/a", b"x", f"Repr-Digest: {value}").status, 400, value)
        self.assertEqual(self.rig.put("/a", b"x", 'Repr-Digest: md4=:AAAA:, other="a,b";c=1, n=5').status, 201)
        both = (sha256_field("Repr-Digest", b"x"), sha256_field("Content-Digest", b"y"))
        self.assertEqual(self.rig.put("/a", b"x", *both).status, 400)

    def test_what_is_no_whole_file(self) -> None:
        """Content-Range and Range are 400, a content coding 415, a name with a slash at its end 409."""
        self.assertEqual(self.rig.put("/a", b"x", "Content-Range: bytes 0-0/5").status, 400)
        self.assertEqual(self.rig.put("/a", b"x", "Range: bytes=4-4/5").status, 400)
        self.assertEqual(self.rig.put("/a", b"x", "Content-Encoding: gzip").status, 415)
        self.assertEqual(self.rig.put("/a/", b"x").status, 409)
        self.assertEqual(self.rig.put("/", b"x").status, 409)
        self.assertEqual(list(self.root.iterdir()), [])

    def test_directories(self) -> None:
        """A directory that is missing, or that has the name, is 409."""
        (self.root / "d").mkdir()
        self.assertEqual(self.rig.put("/no/a", b"x").status, 409)
        self.assertEqual(self.rig.put("/d", b"x").status, 409)
        self.assertEqual(self.rig.put("/d/a", b"x").status, 201)
        self.assertEqual(self.rig.put("/d/a/b", b"x").status, 409)

    def test_cgi_directories(self) -> None:
        """Nothing comes into a CGI directory; what is asked of a script there is the script's own."""
        (self.root / "cgi-bin").mkdir()
        for path, status in (("/cgi-bin/x", 404), ("/CGI-BIN/x", 403), ("/a/../cgi-bin/x", 404)):
            self.assertEqual(self.rig.put(path, b"#!/bin/sh\n").status, status, path)
        self.assertEqual(self.rig.send("MKCOL", "/htbin").status, 404)
        self.assertEqual(self.rig.send("MKCOL", "/HTBIN").status, 403)
        self.assertEqual(self.rig.send("DELETE", "/cgi-bin").status, 403)
        self.assertEqual(list((self.root / "cgi-bin").iterdir()), [])
        (self.root / "cgi-bin/x").write_bytes(b"#!/bin/sh\n")
        asked: list[str] = []

        def run_script(exchange: Any, _: object) -> None:
            asked.append(exchange.head.method)
            exchange.answer(200, (), b"script")

        rig = UploadRig(self.root, run_script=run_script)
        for method in ("GET", "POST", "PUT", "DELETE"):
            self.assertEqual(rig.send(method, "/cgi-bin/x").status, 200)
        self.assertEqual(asked, ["GET", "POST", "PUT", "DELETE"])

    def test_a_problem_as_json(self) -> None:
        """Who asks for JSON is told as RFC 9457 says; others get the page."""
        answer = self.rig.put("/no/a", b"x", "Accept: application/json")
        self.assertEqual(answer.headers[b"content-type"], b"application/problem+json")
        problem = json.loads(answer.body)
        self.assertEqual((problem["status"], problem["title"]), (409, "Conflict"))
        self.assertEqual(problem["detail"], "no such file or directory")
        self.assertEqual(self.rig.put("/no/a", b"x").headers[b"content-type"], b"text/html; charset=utf-8")

    def test_nothing_before_the_end(self) -> None:
        """A file is not there while it comes, nor listed; then it is, all of it."""
        peer = self.rig.connect()
        peer.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        self.assertEqual(self.rig.get("/a").status, 404)
        peer.send(b"def")
        self.assertEqual(peer.statuses, [201])
        self.assertEqual(self.rig.get("/a").body, b"abcdef")

    def test_continue(self) -> None:
        """100 Continue is sent only when nothing speaks against the file any more."""
        head = "PUT {} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n{}\r\n"
        for path, field, status in (
            ("/no/a", "", 409), ("/a", "If-Match: *\r\n", 412), ("/.a", "", 400), ("/a", "Content-Range: x\r\n", 400)
        ):  # fmt: skip
            peer = self.rig.connect()
            peer.send(head.format(path, field).encode())
            self.assertTrue(peer.received.startswith(b"HTTP/1.1 %d " % status), peer.received)
            self.assertTrue(peer.transport.closed)
        peer = self.rig.connect()
        peer.send(head.format("/a", "").encode())
        self.assertEqual(peer.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.send(b"hello")
        self.assertEqual(peer.statuses, [201])

    def test_a_page_of_another_site(self) -> None:
        """What a browser sends for another site's page is refused."""
        self.assertEqual(self.rig.put("/a", b"x", "Sec-Fetch-Site: cross-site").status, 403)
        self.assertEqual(self.rig.put("/a", b"x", "Origin: http://example.com").status, 201)

    def test_options(self) -> None:
        """OPTIONS tells what may be done, and 405 does too."""
        allow = self.rig.send("OPTIONS", "/").headers[b"allow"]
        self.assertTrue(allow.startswith(b"GET, HEAD, OPTIONS, PUT, DELETE, MKCOL"), allow)
        rig = UploadRig(self.root, upload_delete=False, upload_directories=False)
        for method, path in (("DELETE", "/a"), ("MKCOL", "/d")):
            answer = rig.send(method, path)
            self.assertEqual(answer.status, 405)
            self.assertNotIn(method.encode(), answer.headers[b"allow"])


class NamesTests(SynchronousTestCase):
    """DELETE and MKCOL."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.rig = UploadRig(self.root)

    def test_delete(self) -> None:
        """A file is removed with 204; then it is 404."""
        self.rig.put("/a", b"x")
        self.assertEqual(self.rig.send("DELETE", "/a/").status, 404)
        self.assertEqual(self.rig.send("DELETE", "/a").status, 204)
        self.assertEqual(self.rig.send("DELETE", "/a").status, 404)
        self.assertEqual(self.rig.send("DELETE", "/").status, 403)

    def test_delete_under_a_condition(self) -> None:
        """If-Match protects what is not the version that was meant."""
        self.rig.put("/a", b"x")
        self.assertEqual(self.rig.send("DELETE", "/a", b"", f"If-Match: {etag(b'y').decode()}").status, 412)
        self.assertEqual(self.rig.send("DELETE", "/a", b"", f"If-Match: {etag(b'x').decode()}").status, 204)

    def test_directories(self) -> None:
        """MKCOL makes one in one that is there; DELETE removes it once it is empty."""
        self.assertEqual(self.rig.send("MKCOL", "/d/e").status, 409)
        self.assertEqual(self.rig.send("MKCOL", "/d/").status, 201)
        again = self.rig.send("MKCOL", "/d")
        self.assertEqual(again.status, 405)
        self.assertIn(b"PUT", again.headers[b"allow"])
        self.assertEqual(self.rig.send("MKCOL", "/e", b"<xml/>").status, 415)
        self.rig.put("/d/a", b"x")
        self.assertEqual(self.rig.send("DELETE", "/d/").status, 409)
        self.rig.send("DELETE", "/d/a")
        self.assertEqual(self.rig.send("DELETE", "/d", b"", 'If-Match: "x"').status, 412)
        self.assertEqual(self.rig.send("DELETE", "/d").status, 204)
        self.assertFalse((self.root / "d").exists())
