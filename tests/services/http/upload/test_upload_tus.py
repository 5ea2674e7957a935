"""tus 1.0 at a place that takes files: what is begun, continued, told, taken back and refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from base64 import b64encode
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.scopes import Prefix, Scope, inherited
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.services.http.site.settings import ScopeSettings
from netsvc.services.http.upload import transfers
from netsvc.services.http.upload.settings import access_rule
from tests.filestore.kit import open_descriptors
from tests.services.http.http2.h2_rig import Peer2
from tests.services.http.http_rig import Answer, Peer
from tests.services.http.upload.upload_rig import UploadRig, left_over

TUS = "Tus-Resumable: 1.0.0"
CHUNK = "Content-Type: application/offset+octet-stream"
BODY = bytes(range(256)) * 40


def named(name: str) -> str:
    """The field that gives an upload its name."""
    return "Upload-Metadata: filename " + b64encode(name.encode()).decode()


def checksum(body: bytes, algorithm: str = "sha1") -> str:
    """The field that promises a body."""
    return f"Upload-Checksum: {algorithm} {b64encode(hashlib.new(algorithm, body).digest()).decode()}"


class TusCase(SynchronousTestCase):
    """A directory, and what a client of tus asks of it."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.rig = UploadRig(self.root)

    def create(self, *fields: str, name: str = "a.bin", path: str = "/", body: bytes = b"", length: int = 0) -> Answer:
        """The answer to a POST; the length is that of BODY unless one is given."""
        fields = (*fields, named(name), f"Upload-Length: {length or len(BODY)}")
        return self.rig.send("POST", path, body, TUS, *fields)

    def begun(self, *fields: str, **more: str) -> str:
        """The address of a new upload."""
        answer = self.create(*fields, **more)  # type: ignore[arg-type]
        self.assertEqual(answer.status, 201, answer)
        return answer.headers[b"location"].decode()

    def patch(self, url: str, offset: int, body: bytes, *fields: str) -> Answer:
        """The answer to a PATCH."""
        return self.rig.send("PATCH", url, body, TUS, CHUNK, f"Upload-Offset: {offset}", *fields)

    def head(self, url: str, *fields: str) -> Answer:
        """The answer to a HEAD."""
        return self.rig.get(url, TUS, *fields, method="HEAD")

    def offset(self, url: str) -> int:
        """Where an upload stands."""
        answer = self.head(url)
        self.assertEqual(answer.status, 200)
        return int(answer.headers[b"upload-offset"])

    def half(self, url: str, offset: int, length: int, body: bytes, *fields: str) -> Peer:
        """A connection on which a PATCH of that length has begun and not ended."""
        peer = self.rig.connect()
        head = [f"PATCH {url} HTTP/1.1", "Host: a", TUS, CHUNK, f"Upload-Offset: {offset}", *fields]
        peer.send("\r\n".join([*head, f"Content-Length: {length}", "", ""]).encode() + body)
        return peer

    def published(self, name: str = "a.bin") -> bytes | None:
        """What stands under a name."""
        path = self.root / name
        return path.read_bytes() if path.exists() else None


class WholeWayTests(TusCase):
    def test_options(self) -> None:
        """OPTIONS tells the version, the extensions and the algorithms; its answer needs no Tus-Resumable."""
        answer = self.rig.get("/", method="OPTIONS")
        self.assertEqual((answer.status, answer.headers[b"tus-version"]), (204, b"1.0.0"))
        self.assertIn(b"creation-with-upload", answer.headers[b"tus-extension"])
        self.assertTrue(answer.headers[b"tus-checksum-algorithm"].startswith(b"sha1,"))
        self.assertIn(b"PATCH", answer.headers[b"allow"])

    def test_upload(self) -> None:
        """An upload in two parts is not there before it is whole; then it is, and nothing is left."""
        url = self.begun()
        self.assertTrue(url.startswith("/?upload="), url)
        answer = self.patch(url, 0, BODY[:4000])
        self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (204, b"4000"))
        self.assertIn(b"upload-expires", answer.headers)
        self.assertIsNone(self.published())
        answer = self.head(url)
        found = [
            answer.headers[name] for name in (b"upload-offset", b"upload-length", b"tus-resumable", b"cache-control")
        ]
        self.assertEqual(found, [b"4000", b"%d" % len(BODY), b"1.0.0", b"no-store"])
        self.assertEqual(b"Upload-Metadata: " + answer.headers[b"upload-metadata"], named("a.bin").encode())
        answer = self.patch(url, 4000, BODY[4000:])
        self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (204, b"%d" % len(BODY)))
        self.assertNotIn(b"upload-expires", answer.headers)
        self.assertEqual(self.published(), BODY)
        self.assertEqual(left_over(self.root), [])

    def test_whoever_missed_the_last_answer(self) -> None:
        """A finished upload still tells that it is: a client whose answer was lost asks, and is content."""
        url = self.begun()
        self.patch(url, 0, BODY)
        answer = self.head(url)
        self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (200, b"%d" % len(BODY)))
        self.assertEqual(self.patch(url, len(BODY), b"").status, 204)
        self.assertEqual(self.patch(url, 0, BODY).status, 409)
        self.assertEqual(self.patch(url, len(BODY), b"more").status, 409)
        self.assertEqual(self.head(url, "X-User: eve").status, 404)

    def test_finished_uploads_are_forgotten(self) -> None:
        """Of finished uploads only so many are remembered, those of last."""
        with mock.patch.object(transfers, "REMEMBERED", 2):
            urls = [self.begun(name=f"{at}.bin") for at in range(3)]
            for url in urls:
                self.patch(url, 0, BODY)
        self.assertEqual([self.head(url).status for url in urls], [404, 200, 200])

    def test_in_a_directory_that_is_not_the_root(self) -> None:
        """The file is named beneath the directory that was asked; so is its address."""
        (self.root / "sub d").mkdir()
        url = self.begun(path="/sub%20d/", name="ü.txt")
        self.assertTrue(url.startswith("/sub%20d/?upload="), url)
        self.patch(url, 0, BODY)
        self.assertEqual(self.published("sub d/ü.txt"), BODY)

    def test_name_from_the_address(self) -> None:
        """A POST to the address of a file needs no filename."""
        answer = self.rig.send("POST", "/b.bin", b"", TUS, "Upload-Length: 3")
        url = answer.headers[b"location"].decode()
        self.assertEqual(self.patch(url, 0, b"abc").status, 204)
        self.assertEqual(self.published("b.bin"), b"abc")

    def test_creation_with_upload(self) -> None:
        """The first part may come with the POST, or all of it."""
        answer = self.create(CHUNK, body=BODY[:100])
        self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (201, b"100"))
        self.assertEqual(self.offset(answer.headers[b"location"].decode()), 100)
        answer = self.create(CHUNK, body=BODY, name="b")
        self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (201, b"%d" % len(BODY)))
        self.assertEqual(self.published("b"), BODY)

    def test_empty_file(self) -> None:
        """An upload of no octets is whole at once."""
        answer = self.rig.send("POST", "/", b"", TUS, named("e"), "Upload-Length: 0")
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.published("e"), b"")
        self.assertEqual(self.offset(answer.headers[b"location"].decode()), 0)

    def test_deferred_length(self) -> None:
        """The length may come with a later part, once; until then HEAD says that it is not known."""
        answer = self.rig.send("POST", "/", b"", TUS, named("d"), "Upload-Defer-Length: 1")
        url = answer.headers[b"location"].decode()
        self.assertEqual(self.patch(url, 0, b"abc").status, 204)
        self.assertEqual(self.head(url).headers[b"upload-defer-length"], b"1")
        self.assertEqual(self.patch(url, 3, b"d", "Upload-Length: 6").status, 204)
        self.assertEqual(self.head(url).headers[b"upload-length"], b"6")
        self.assertEqual(self.patch(url, 4, b"e", "Upload-Length: 7").status, 400)
        self.assertEqual(self.patch(url, 4, b"ef", "Upload-Length: 6").status, 204)
        self.assertEqual(self.published("d"), b"abcdef")

    def test_length_that_is_less_than_has_come(self) -> None:
        """An upload cannot be told to be shorter than it is: that is refused, and nothing of it is lost."""
        answer = self.rig.send("POST", "/", b"", TUS, named("a.bin"), "Upload-Defer-Length: 1")
        url = answer.headers[b"location"].decode()
        self.assertEqual(self.patch(url, 0, BODY[:3000]).status, 204)
        before = open_descriptors()
        self.assertEqual(self.patch(url, 3000, b"", "Upload-Length: 2000").status, 400)
        self.assertEqual(open_descriptors(), before)
        self.assertEqual(self.offset(url), 3000)
        self.assertEqual(self.patch(url, 3000, b"", "Upload-Length: 3000").status, 204)
        self.assertEqual(self.published(), BODY[:3000])

    def test_method_in_a_field(self) -> None:
        """A client that has no PATCH sends POST and says what it means."""
        url = self.begun()
        override = "X-HTTP-Method-Override: PATCH"
        answer = self.rig.send("POST", url, BODY, TUS, CHUNK, "Upload-Offset: 0", override)
        self.assertEqual(answer.status, 204)
        self.assertEqual(self.published(), BODY)

    def test_termination(self) -> None:
        """DELETE takes an upload back, and its room."""
        url = self.begun()
        self.patch(url, 0, BODY[:10])
        self.assertEqual(self.rig.send("DELETE", url, b"", TUS).status, 204)
        self.assertEqual(self.head(url).status, 404)
        self.assertEqual(left_over(self.root), [])

    def test_replacing(self) -> None:
        """What is there is replaced, unless the request says that nothing may be."""
        (self.root / "a.bin").write_bytes(b"old")
        self.assertEqual(self.create("If-None-Match: *").status, 412)
        self.assertEqual(self.create('If-Match: "no"').status, 412)
        url = self.begun()
        self.assertEqual(self.published(), b"old")
        self.patch(url, 0, BODY)
        self.assertEqual(self.published(), BODY)

    def test_http_2(self) -> None:
        """It is the same over HTTP/2."""
        peer = Peer2(self.rig)
        fields = (("tus-resumable", "1.0.0"), ("upload-length", "3"), tuple(named("h2").lower().split(": ", 1)))
        fields = (*fields[:2], ("upload-metadata", named("h2").split(": ", 1)[1]))
        answer = peer.get("/", *fields, method="POST")
        self.assertEqual(answer.status, 201)
        url = answer.headers[b"location"].decode()
        self.assertEqual(self.patch(url, 0, b"abc").status, 204)
        self.assertEqual(self.published("h2"), b"abc")


class CutTests(TusCase):
    def test_what_arrived_stays(self) -> None:
        """Of a PATCH that was cut off what came is kept; HEAD tells how much, and the next goes on there."""
        url = self.begun()
        self.half(url, 0, len(BODY), BODY[:3000]).leave(clean=False)
        self.assertEqual(self.offset(url), 3000)
        self.assertEqual(self.patch(url, 3000, BODY[3000:]).status, 204)
        self.assertEqual(self.published(), BODY)

    def test_file_abuse_03_half_open_peer(self) -> None:
        """Who asks again puts his own stale connection out, with what that had brought; it can bring no more."""
        url = self.begun()
        stale = self.half(url, 0, len(BODY), BODY[:3000])
        self.assertEqual(self.offset(url), 3000)
        self.assertTrue(stale.transport.aborted)
        second = self.half(url, 3000, len(BODY) - 3000, BODY[3000:5000])
        stale.send(b"x" * 1000)
        self.assertEqual(self.patch(url, 5000, BODY[5000:]).status, 204)
        self.assertTrue(second.transport.aborted)
        self.assertEqual(self.published(), BODY)

    def test_delete_puts_a_writer_out(self) -> None:
        """DELETE while a part comes ends that, too."""
        url = self.begun()
        peer = self.half(url, 0, len(BODY), BODY[:3000])
        self.assertEqual(self.rig.send("DELETE", url, b"", TUS).status, 204)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual(left_over(self.root), [])

    def test_file_abuse_25_the_prefix_was_changed(self) -> None:
        """Octets that are not those that came are found before any is added: the client begins anew."""
        url = self.begun()
        self.patch(url, 0, BODY[:3000])
        (part,) = self.root.glob(".netsvc-*.part")
        part.write_bytes(b"\xff" + BODY[1:3000])
        self.assertEqual(self.patch(url, 3000, BODY[3000:]).status, 410)
        self.assertEqual(self.head(url).status, 404)
        self.assertIsNone(self.published())

    def test_file_abuse_26_offset_beyond_the_end(self) -> None:
        """A part that does not begin where the upload stands is a conflict, which tells where it does."""
        url = self.begun()
        self.patch(url, 0, BODY[:3000])
        for offset in (0, 2999, 3001, len(BODY), len(BODY) + 1, (1 << 63) - 1):
            answer = self.patch(url, offset, b"x")
            self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (409, b"3000"))
        self.assertEqual(self.offset(url), 3000)

    def test_file_abuse_27_the_source_has_changed(self) -> None:
        """A part that does not fit its checksum is taken back; the SHA-256 of the whole speaks for the rest."""
        whole = b64encode(hashlib.sha256(BODY).digest()).decode()
        url = self.begun(f"Repr-Digest: sha-256=:{whole}:")
        for algorithm in ("sha1", "sha256", "sha512"):
            answer = self.patch(url, 0, b"y" + BODY[1:3000], checksum(BODY[:3000], algorithm))
            self.assertEqual(answer.status, 460)
            self.assertEqual(self.offset(url), 0)
        self.assertEqual(self.patch(url, 0, BODY[:3000], checksum(BODY[:3000])).status, 204)
        changed = bytes(len(BODY) - 3000)
        self.assertEqual(self.patch(url, 3000, changed, checksum(changed)).status, 460)
        self.assertIsNone(self.published())
        self.assertEqual((self.head(url).status, left_over(self.root)), (404, []))

    def test_what_no_checksum_spoke_for(self) -> None:
        """Of a part with a checksum nothing stays when it is cut off; nor of the last one when it does not fit."""
        url = self.begun()
        self.patch(url, 0, BODY[:100])
        self.half(url, 100, 4000, BODY[100:3000], checksum(BODY[100:4100])).leave()
        self.assertEqual(self.offset(url), 100)
        self.assertEqual(self.patch(url, 100, BODY[100:], checksum(b"")).status, 460)
        self.assertIsNone(self.published())
        self.assertEqual(self.patch(url, 100, BODY[100:], checksum(BODY[100:])).status, 204)
        self.assertEqual(self.published(), BODY)

    def test_file_abuse_29_wrong_final_digest(self) -> None:
        """A whole that is not what was promised is not published, and gone."""
        promised = b64encode(hashlib.sha256(b"other").digest()).decode()
        answer = self.create(CHUNK, f"Repr-Digest: sha-256=:{promised}:", body=BODY)
        self.assertEqual(answer.status, 460)
        self.assertIsNone(self.published())
        self.assertEqual(left_over(self.root), [])

    def test_file_abuse_30_longer_or_shorter(self) -> None:
        """More than was declared is refused before it comes; of less nothing is published, and the rest may follow."""
        url = self.begun()
        self.assertEqual(self.patch(url, 0, BODY + b"x").status, 413)
        self.assertEqual(self.create(CHUNK, body=BODY + b"x").status, 413)
        self.assertEqual(self.patch(url, 0, BODY[:-1]).status, 204)
        self.assertIsNone(self.published())
        self.assertEqual(self.patch(url, len(BODY) - 1, BODY[-1:]).status, 204)
        self.assertEqual(self.published(), BODY)

    def test_file_abuse_30_longer_in_chunks(self) -> None:
        """Of a body whose length nobody told no more is taken than was declared."""
        url = self.begun(length=5)  # type: ignore[arg-type]
        fields = ("Host: a", TUS, CHUNK, "Upload-Offset: 0", "Transfer-Encoding: chunked", "", "")
        head = "\r\n".join((f"PATCH {url} HTTP/1.1", *fields))
        (answer,) = self.rig.ask(head.encode() + b"6\r\nabcdef\r\n0\r\n\r\n", "PATCH")
        self.assertEqual(answer.status, 413)
        self.assertEqual(self.offset(url), 0)
        self.assertIsNone(self.published())


class RefusedTests(TusCase):
    def test_version(self) -> None:
        """Another version, or none, is refused with the one that is spoken; nothing else is looked at."""
        url = self.begun()
        for fields in (("Tus-Resumable: 0.2.2",), (), (TUS, TUS)):
            answer = self.rig.send("PATCH", url, b"abc", CHUNK, "Upload-Offset: 0", *fields)
            self.assertEqual((answer.status, answer.headers[b"tus-version"]), (412, b"1.0.0"))
        self.assertEqual(self.rig.send("POST", "/", b"", "Tus-Resumable: 2").status, 412)
        self.assertEqual(self.offset(url), 0)

    def test_file_abuse_28_of_another(self) -> None:
        """An upload of somebody else is not there: it is neither told nor continued, dropped or disturbed."""
        url = self.begun("X-User: alice")
        self.half(url, 0, len(BODY), BODY[:100], "X-User: alice").leave()
        for user in ("X-User: eve", "X-Nobody: 1"):
            self.assertEqual(self.head(url, user).status, 404)
            self.assertEqual(self.patch(url, 0, b"x", user).status, 404)
            self.assertEqual(self.rig.send("DELETE", url, b"", TUS, user).status, 404)
        self.assertEqual(self.head(url, "X-User: alice").headers[b"upload-offset"], b"100")

    def test_ids_that_are_none(self) -> None:
        """An id that was never given is not there, whatever it looks like; and its address is never a file's."""
        (self.root / "a.bin").write_bytes(b"there")
        for upload_id in ("", "x", "0" * 32, "../../a", "%00", "0" * 31 + "%30", "0" * 2000):
            self.assertEqual(self.head(f"/a.bin?upload={upload_id}").status, 404)
            self.assertEqual(self.rig.send("DELETE", f"/a.bin?upload={upload_id}", b"", TUS).status, 404)
            self.assertEqual(self.rig.send("DELETE", f"/a.bin?upload={upload_id}", b"").status, 412)
        self.assertEqual(self.published(), b"there")

    def test_file_abuse_31_lengths_and_offsets(self) -> None:
        """Negative ones are bad requests, those that no file can have too large."""
        for length, status in (("-1", 400), ("9223372036854775808", 413), ("18446744073709551616", 413), ("", 400)):
            answer = self.rig.send("POST", "/", b"", TUS, named("a"), f"Upload-Length: {length}")
            self.assertEqual((answer.status, answer.headers[b"tus-resumable"]), (status, b"1.0.0"), length)
        url = self.begun()
        for offset, status in (("-1", 400), ("9223372036854775808", 413), ("18446744073709551616", 413)):
            answer = self.rig.send("PATCH", url, b"x", TUS, CHUNK, f"Upload-Offset: {offset}")
            self.assertEqual(answer.status, status)
        self.assertEqual(self.offset(url), 0)

    def test_names(self) -> None:
        """The store's rules hold for names; one that leads elsewhere is none."""
        for name in ("../a", "a/b", "/etc/passwd", ".netsvc", ".hidden", "a\0b", "a\nb", "..", "x" * 256, "a\\b"):
            self.assertEqual(self.create(name=name).status, 400, name)
        self.assertEqual(self.rig.send("POST", "/", b"", TUS, "Upload-Length: 1").status, 400)
        self.assertEqual(self.create(path="/none/").status, 404)
        self.assertEqual(left_over(self.root), [])

    def test_methods_and_types(self) -> None:
        """An upload's address takes only what can be done with one; a part has its type, a whole one, too."""
        url = self.begun()
        self.assertEqual(self.rig.send("POST", url, b"", TUS).status, 405)
        self.assertEqual(self.rig.send("PATCH", url, b"x", TUS, "Upload-Offset: 0").status, 415)
        self.assertEqual(self.create(body=b"x").status, 415)
        self.assertEqual(self.rig.send("PATCH", url, b"x", TUS, CHUNK).status, 400)
        self.assertEqual(self.create("Repr-Digest: nonsense nonsense").status, 400)

    def test_access(self) -> None:
        """Who may only read begins nothing; who may only upload replaces nothing."""
        (self.root / "a.bin").write_bytes(b"old")
        rules = "alice read-only\nbob upload-only"
        self.rig = UploadRig(self.root, upload_access=tuple(map(access_rule, rules.splitlines())))
        self.assertEqual(self.create("X-User: alice", name="new").status, 403)
        self.assertEqual(self.create("X-User: bob").status, 409)
        answer = self.create("X-User: bob", CHUNK, name="new", body=BODY)
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.published("new"), BODY)

    def test_expect_100_continue(self) -> None:
        """A part that is refused is refused before it is sent."""
        url = self.begun()
        peer = self.half(url, 7, 10, b"", "Expect: 100-continue")
        self.assertEqual((b"100 Continue" in peer.received, peer.statuses), (False, [409]))
        peer = self.half(url, 0, 10, b"", "Expect: 100-continue")
        self.assertIn(b"HTTP/1.1 100 Continue", peer.received)

    def test_errors_as_json(self) -> None:
        """A client that asks for JSON gets the error so."""
        answer = self.rig.send("POST", "/", b"", TUS, "Upload-Length: -1", "Accept: application/json")
        self.assertEqual(json.loads(answer.body)["detail"], "not a number of octets")


class TimeTests(TusCase):
    def test_file_abuse_48_the_clock_jumps(self) -> None:
        """A clock that jumps a year ahead ends no upload; the time that an upload waits does."""
        url = self.begun()
        self.patch(url, 0, BODY[:100])
        store = FileStore(self.root, Terms())
        commons = store.commons
        wall, steady = commons.wall_clock, commons.steady_clock
        commons.wall_clock = lambda: wall() + 365 * 86400
        store.sweep()
        self.assertEqual(self.offset(url), 100)
        commons.wall_clock = lambda: wall() + 365 * 86400 + 8 * 86400
        commons.steady_clock = lambda: steady() + 8 * 86400
        store.sweep()
        self.assertEqual(self.head(url).status, 404)
        self.assertEqual(self.patch(url, 100, b"x").status, 404)
        self.assertEqual(left_over(self.root), [])

    def test_file_abuse_50_the_directory_is_removed(self) -> None:
        """What can be published nowhere is not acknowledged, before its last part and in it."""
        (self.root / "sub").mkdir()
        url = self.begun(path="/sub/")
        peer = self.half(url, 0, len(BODY), BODY[:3000])
        shutil.rmtree(self.root / "sub")
        peer.send(BODY[3000:])
        self.assertEqual(peer.statuses, [404])
        self.assertEqual(self.head(url).status, 404)
        self.assertEqual(list(self.root.iterdir()), [])  # no record, either
        (self.root / "sub").mkdir()
        url = self.begun(path="/sub/")
        self.patch(url, 0, BODY[:3000])
        shutil.rmtree(self.root / "sub")
        self.assertEqual(self.patch(url, 3000, BODY[3000:]).status, 404)
        self.assertEqual(self.rig.get("/sub/a.bin").status, 404)


class RoomTests(TusCase):
    def test_limits(self) -> None:
        """The longest file that is taken is told, and a longer one refused before it comes."""
        self.rig = UploadRig(self.root, max_file_size=1000)
        self.assertEqual(self.rig.get("/", method="OPTIONS").headers[b"tus-max-size"], b"1000")
        self.assertEqual(self.create().status, 413)
        self.assertEqual(left_over(self.root), [])

    def test_longer_than_a_request(self) -> None:
        """A file may be longer than any one request: it comes in parts; one that is too long changes nothing."""
        self.rig = UploadRig(self.root, max_body=4096, max_file_size=len(BODY))
        answer = self.rig.get("/", method="OPTIONS")
        self.assertEqual(answer.headers[b"tus-max-size"], b"%d" % len(BODY))
        self.assertEqual(answer.headers[b"upload-limit"], b"max-size=%d, max-append-size=4096" % len(BODY))
        created = self.create()
        url = created.headers[b"location"].decode()
        self.assertEqual(self.patch(url, 0, BODY).status, 413)
        self.assertEqual(self.offset(url), 0)
        for told in (created, self.head(url)):
            self.assertEqual(told.headers[b"upload-limit"], answer.headers[b"upload-limit"])
        for at in range(0, len(BODY), 4096):
            self.assertEqual(self.patch(url, at, BODY[at : at + 4096]).status, 204)
        self.assertEqual(self.published(), BODY)
        self.assertEqual(self.rig.put("/whole", BODY).status, 413)
        self.assertEqual(self.create(length=len(BODY) + 1).status, 413)
        self.assertEqual((self.published("whole"), left_over(self.root)), (None, []))

    def test_quota(self) -> None:
        """What has no room is refused when it is begun; where nobody knew the length, what had room stays."""
        self.rig = UploadRig(self.root, quota=6000)
        self.assertEqual(self.create().status, 507)
        answer = self.rig.send("POST", "/", b"", TUS, named("a.bin"), "Upload-Defer-Length: 1")
        url = answer.headers[b"location"].decode()
        self.assertEqual(self.patch(url, 0, BODY[:5000]).status, 204)
        self.assertEqual(self.patch(url, 5000, BODY[5000:]).status, 507)
        self.assertEqual(self.offset(url), 5000)
        self.assertEqual(self.patch(url, 5000, BODY[5000:6000], "Upload-Length: 6000").status, 204)
        self.assertEqual(self.published(), BODY[:6000])

    def test_so_many_unfinished(self) -> None:
        """One user may have begun so many uploads; the next is refused and leaves nothing, until one of his ends."""
        self.rig = UploadRig(self.root, upload_unfinished=2)
        first, second = self.begun("X-User: alice"), self.begun("X-User: alice")
        answer = self.create("X-User: alice", "Accept: application/json")
        self.assertEqual(answer.status, 507)
        self.assertIn("2 uploads are unfinished", json.loads(answer.body)["detail"])
        self.assertEqual(len(left_over(self.root)), 2)
        self.begun("X-User: bob")
        self.assertEqual(self.rig.put("/plain", BODY, "X-User: alice").status, 201)
        self.assertEqual(self.patch(first, 0, BODY[:9], "X-User: alice").status, 204)  # what is begun goes on
        self.assertEqual(self.create("X-User: alice").status, 507)
        self.assertEqual(self.patch(first, 9, BODY[9:], "X-User: alice").status, 204)
        third = self.begun("X-User: alice")
        self.assertEqual(self.create("X-User: alice").status, 507)
        for url in (second, third):
            self.assertEqual(self.rig.send("DELETE", url, b"", TUS, "X-User: alice").status, 204)
        self.begun("X-User: alice")

    def test_so_many_of_strangers(self) -> None:
        """Of those who need not sign in each address has so many, an IPv6 /64 is one; all together ten times that."""
        self.rig = UploadRig(self.root, upload_unfinished=1)

        def status(host: str, *fields: str) -> int:
            self.rig.host = host
            return self.create(*fields).status

        url = self.begun()
        self.assertEqual([status("192.0.2.1"), status("192.0.2.2"), status("192.0.2.2")], [507, 201, 507])
        self.assertEqual([status("2001:db8:0:1::7"), status("2001:db8:0:1::8")], [201, 507])
        self.assertEqual([status("2001:db8:0:2::7"), status("192.0.2.2", "X-User: alice")], [201, 201])
        self.rig = UploadRig(self.root, upload_unfinished=1)  # as after a restart
        self.assertEqual([status("2001:db8:0:2::9"), status("192.0.2.1", "X-User: alice")], [507, 507])
        self.assertEqual([status(f"192.0.2.{at}") for at in range(10, 18)], [201] * 6 + [507] * 2)
        self.assertEqual(status("192.0.2.19", "X-User: bob"), 201)
        self.assertEqual(self.patch(url, 0, BODY).status, 204)  # from wherever: the address of an upload is its secret
        self.assertEqual([status("192.0.2.20"), status("192.0.2.21")], [201, 507])
        self.assertEqual(len(left_over(self.root)), 12)


class SlowDiskTests(TusCase):
    def test_gone_while_it_is_begun(self) -> None:
        """A peer that leaves while the store is at work costs nothing: what is begun waits for its rest."""
        url = self.begun()
        self.rig.threads.held = True
        peer = self.half(url, 0, len(BODY), BODY[:3000])
        peer.leave()
        self.rig.threads.let_go()
        self.assertEqual(self.offset(url), 0)
        self.assertEqual(self.patch(url, 0, BODY).status, 204)

    def test_two_at_once(self) -> None:
        """Of two that go on with one upload at the same moment one does; the other changes nothing."""
        url = self.begun()
        self.rig.threads.held = True
        first = self.half(url, 0, len(BODY), BODY)
        second = self.half(url, 0, len(BODY), b"x" * len(BODY))
        self.rig.threads.let_go()
        statuses = [peer.statuses for peer in (first, second) if not peer.transport.aborted]
        self.assertIn([204], statuses)
        self.assertIn(self.published(), (BODY, b"x" * len(BODY)))
        self.assertEqual(left_over(self.root), [])

    def test_asked_while_it_is_published(self) -> None:
        """HEAD while the last part is being published waits for that, and tells that all is there."""
        url = self.begun()
        last = self.half(url, 0, len(BODY), BODY[:3000])
        self.rig.threads.held = True
        asking = self.rig.connect()
        asking.send(f"HEAD {url} HTTP/1.1\r\nHost: a\r\n{TUS}\r\n\r\n".encode())
        last.send(BODY[3000:])
        self.rig.threads.let_last_go()  # it is written, and waits to be published
        self.rig.threads.let_go()
        (answer,) = asking.answers("HEAD")
        self.assertEqual((last.statuses, last.transport.aborted), ([204], False))
        self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (200, b"%d" % len(BODY)))
        self.assertEqual(self.published(), BODY)

    def test_no_room_for_the_end_of_a_part(self) -> None:
        """A part of whose end the store takes nothing is refused, also when all of it came before that was known."""
        self.rig = UploadRig(self.root, quota=6000)
        answer = self.rig.send("POST", "/", b"", TUS, named("a.bin"), "Upload-Defer-Length: 1")
        url = answer.headers[b"location"].decode()
        peer = self.half(url, 0, len(BODY), BODY[:3000])
        self.rig.threads.held = True
        peer.send(BODY[3000:])
        self.rig.threads.let_go()
        self.assertEqual(peer.statuses, [507])
        self.assertEqual(self.offset(url), 3000)


class PlacesTests(TusCase):
    def test_names_of_another_place(self) -> None:
        """A name whose path has options of its own is refused, be they stricter or not; so is a CGI directory's."""
        settings = inherited(UploadRig(self.root).settings, ScopeSettings, {"upload": False})
        scope = Scope(Prefix("", ("in", "private.html")), frozenset({"upload"}), settings)
        (self.root / "in").mkdir()
        self.rig = UploadRig(self.root, scopes=(scope,), cgi_directories=("cgi-bin",))
        for name in ("private.html", "cgi-bin", "CGI-BIN"):
            self.assertEqual(self.create(path="/in/", name=name).status, 403, name)
        self.assertEqual(self.create(path="/in/", name="public.html").status, 201)
