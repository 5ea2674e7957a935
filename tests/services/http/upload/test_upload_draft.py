"""The IETF's draft of resumable uploads at a place that takes files, in both versions, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from pathlib import Path

from h2.events import InformationalResponseReceived
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.upload.settings import access_rule
from tests.services.http.http2.h2_rig import Peer2
from tests.services.http.http_rig import Answer, Peer
from tests.services.http.upload.upload_rig import UploadRig, left_over

BODY = bytes(range(256)) * 40
WHOLE = "Upload-Complete: ?1"
PART = "Upload-Complete: ?0"
KIND = "Content-Type: application/partial-upload"
ETAG = b'"%s"' % hashlib.sha256(BODY).hexdigest().encode()


def version(number: int = 8) -> str:
    """The field that says which draft is meant."""
    return f"Upload-Draft-Interop-Version: {number}"


def digest(name: str, body: bytes) -> str:
    """A digest field that promises a body."""
    return f"{name}: sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


class DraftCase(SynchronousTestCase):
    """A directory, and what a client of the draft asks of it."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.rig = UploadRig(self.root)

    def begin(self, length: int, body: bytes, *fields: str, method: str = "PUT", path: str = "/a.bin") -> Peer:
        """A connection on which an upload is begun with a body of that length, of which some has been sent."""
        peer = self.rig.connect()
        head = [f"{method} {path} HTTP/1.1", "Host: a", f"Content-Length: {length}", *fields]
        peer.send("\r\n".join([*head, "", ""]).encode() + body)
        return peer

    def interim(self, peer: Peer) -> list[dict[str, str]]:
        """The fields of the 104 answers on a connection."""
        heads = peer.received.decode("latin-1").split("\r\n\r\n")
        found = [one.split("\r\n")[1:] for one in heads if one.startswith("HTTP/1.1 104 Upload Resumption Supported")]
        return [{key.lower(): value for key, _, value in (line.partition(": ") for line in one)} for one in found]

    def begun(self, *fields: str, path: str = "/a.bin") -> str:
        """The address of a new upload without any octets."""
        answer = self.rig.put(path, b"", version(), PART, *fields)
        self.assertEqual(answer.status, 201, answer)
        return answer.headers[b"location"].decode()

    def append(self, url: str, offset: int | str, body: bytes, *fields: str, number: int = 8) -> Answer:
        """The answer to a PATCH."""
        return self.rig.send("PATCH", url, body, version(number), KIND, f"Upload-Offset: {offset}", *fields)

    def head(self, url: str, *fields: str, number: int = 8) -> Answer:
        """The answer to a HEAD."""
        return self.rig.get(url, version(number), *fields, method="HEAD")

    def offset(self, url: str) -> int:
        """Where an upload stands."""
        return int(self.head(url).headers[b"upload-offset"])

    def published(self, name: str = "a.bin") -> bytes | None:
        """What stands under a name."""
        path = self.root / name
        return path.read_bytes() if path.exists() else None


class WholeWayTests(DraftCase):
    def test_options(self) -> None:
        """OPTIONS tells the limits."""
        self.assertEqual(self.rig.get("/", method="OPTIONS").headers[b"upload-limit"], b"max-append-size=1073741824")

    def test_in_one_piece(self) -> None:
        """A PUT that comes whole is a PUT; its upload's address was told before, and stands in no final answer."""
        peer = self.begin(len(BODY), BODY, version(), WHOLE)
        (told,) = self.interim(peer)
        self.assertTrue(told["location"].startswith("/a.bin?upload="), told)
        self.assertEqual(told["upload-draft-interop-version"], "8")
        self.assertRegex(told["upload-limit"], r"^max-append-size=1073741824, max-age=(604800|6047\d\d)$")
        (answer,) = peer.answers("PUT")
        self.assertEqual(
            (answer.status, answer.headers[b"upload-complete"], answer.headers[b"etag"]), (201, b"?1", ETAG)
        )
        self.assertNotIn(b"location", answer.headers)
        self.assertEqual(self.published(), BODY)
        self.assertEqual(left_over(self.root), [])
        (answer,) = self.begin(3, b"new", version(), WHOLE).answers("PUT")
        self.assertEqual((answer.status, self.published()), (204, b"new"))

    def test_cut_off_and_continued(self) -> None:
        """What came of a PUT that was cut off is told by HEAD; PATCH brings the rest and gets the PUT's answer."""
        peer = self.begin(len(BODY), BODY[:3000], version(), WHOLE)
        url = self.interim(peer)[0]["location"]
        peer.leave(clean=False)
        answer = self.head(url)
        fields = (b"upload-offset", b"upload-complete", b"upload-length", b"cache-control")
        found = [answer.headers[name] for name in fields]
        self.assertEqual((answer.status, found), (204, [b"3000", b"?0", b"%d" % len(BODY), b"no-store"]))
        self.assertEqual(self.rig.get(url, version()).headers[b"upload-offset"], b"3000")
        self.assertIsNone(self.published())
        answer = self.append(url, 3000, BODY[3000:], WHOLE)
        self.assertEqual(
            (answer.status, answer.headers[b"upload-complete"], answer.headers[b"etag"]), (201, b"?1", ETAG)
        )
        self.assertEqual(self.published(), BODY)
        answer = self.head(url)
        self.assertEqual(
            (answer.headers[b"upload-complete"], answer.headers[b"upload-offset"]), (b"?1", b"%d" % len(BODY))
        )

    def test_in_parts(self) -> None:
        """An upload of parts, begun with none, is finished by one that says so, be it empty."""
        url = self.begun(f"Upload-Length: {len(BODY)}")
        answer = self.append(url, 0, BODY[:5000], PART)
        self.assertEqual((answer.status, answer.headers[b"upload-complete"]), (204, b"?0"))
        self.assertEqual(self.append(url, 5000, BODY[5000:], PART).status, 204)
        self.assertIsNone(self.published())
        self.assertEqual(self.append(url, len(BODY), b"", WHOLE).status, 201)
        self.assertEqual(self.published(), BODY)

    def test_length_that_nobody_knew(self) -> None:
        """The length may be known with the last part only."""
        url = self.begun()
        self.append(url, 0, b"abc", PART)
        self.assertNotIn(b"upload-length", self.head(url).headers)
        self.assertEqual(self.append(url, 3, b"de", WHOLE).status, 201)
        self.assertEqual(self.published(), b"abcde")

    def test_post_to_a_file(self) -> None:
        """POST does as PUT."""
        (answer,) = self.begin(3, b"abc", version(), WHOLE, method="POST").answers("POST")
        self.assertEqual((answer.status, self.published()), (201, b"abc"))

    def test_version_6(self) -> None:
        """Older clients get the limit's old name, the address in the last answer and 201 for each part."""
        peer = self.begin(len(BODY), BODY, version(6), WHOLE)
        told = self.interim(peer)[0]
        self.assertEqual(told["upload-draft-interop-version"], "6")
        self.assertRegex(told["upload-limit"], r"^max-append-size=1073741824, expires=\d+$")
        (answer,) = peer.answers("PUT")
        self.assertEqual(answer.headers[b"location"].decode(), told["location"])
        self.assertEqual(answer.headers[b"upload-offset"], b"%d" % len(BODY))
        url = self.begun()
        self.assertEqual(self.append(url, 0, b"abc", PART, number=6).status, 201)

    def test_http_2(self) -> None:
        """The interim answer comes over HTTP/2, too."""
        peer = Peer2(self.rig)
        fields = (("upload-draft-interop-version", "8"), ("upload-complete", "?1"))
        answer = peer.get("/h2", *fields, method="PUT")
        self.assertEqual((answer.informational, answer.status, self.published("h2")), ([104], 201, b""))
        told = next(one for one in peer.events if isinstance(one, InformationalResponseReceived))
        headers = dict(told.headers or ())
        self.assertTrue(headers[b"location"].startswith(b"/h2?upload="))
        self.assertEqual(headers[b"upload-draft-interop-version"], b"8")

    def test_progress(self) -> None:
        """A peer that sends for long hears every 5 seconds how much is safe."""
        peer = self.begin(len(BODY), BODY[:3000], version(), WHOLE)
        peer.wait(5)
        peer.send(BODY[3000:4000])
        peer.wait(5)
        self.assertEqual([one.get("upload-offset") for one in self.interim(peer)], [None, "3000", "4000"])
        self.assertNotIn("location", self.interim(peer)[1])
        peer.send(BODY[4000:])
        peer.wait(6)
        self.assertEqual(len(self.interim(peer)), 3)
        self.assertEqual(self.published(), BODY)

    def test_no_progress_before_a_digest_fits(self) -> None:
        """What Content-Digest may still take back is not called safe, and is not kept when it is cut off."""
        digest = f"Content-Digest: sha-256=:{b64encode(hashlib.sha256(BODY).digest()).decode()}:"
        peer = self.begin(len(BODY), BODY[:3000], version(), WHOLE, digest)
        peer.wait(6)
        (told,) = self.interim(peer)
        self.assertNotIn("upload-offset", told)
        peer.leave()
        self.assertEqual(self.offset(told["location"]), 0)

    def test_100_continue(self) -> None:
        """The answer of this draft does not stand for the other that the peer waits for."""
        peer = self.begin(3, b"", version(), WHOLE, "Expect: 100-continue")
        self.assertEqual(len(self.interim(peer)), 1)
        self.assertIn(b"HTTP/1.1 100 Continue\r\n", peer.received)

    def test_cancelled(self) -> None:
        """DELETE takes an upload back; the request that brings a part of it is cut."""
        peer = self.begin(len(BODY), BODY[:3000], version(), WHOLE)
        url = self.interim(peer)[0]["location"]
        self.assertEqual(self.rig.send("DELETE", url, b"", version()).status, 204)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual(self.head(url).status, 404)
        self.assertEqual(left_over(self.root), [])


class VersionTests(DraftCase):
    def test_no_version(self) -> None:
        """A whole file of a client of no draft, or another, is an ordinary PUT, and no 104 is sent."""
        for fields in ((), (version(7),), (version(9),)):
            peer = self.begin(3, b"abc", WHOLE, *fields)
            self.assertNotIn(b"104", peer.received[:20])
            self.assertEqual(self.interim(peer), [])
            self.assertIn(peer.statuses, ([201], [204]))
            self.assertEqual(self.published(), b"abc")

    def test_a_part_never_passes_for_the_whole(self) -> None:
        """What says that it is a part only, of no version that is spoken, is refused, not stored as the file."""
        for method in ("PUT", "POST"):
            answer = self.rig.send(method, "/a.bin", b"abc", PART)
            self.assertEqual((answer.status, self.published()), (400, None))

    def test_about_an_upload(self) -> None:
        """An upload's address wants a version that is spoken."""
        url = self.begun()
        self.assertEqual(self.rig.get(url, version(7), method="HEAD").status, 400)
        self.assertEqual(self.head(url).status, 204)


class RefusedTests(DraftCase):
    def problem(self, answer: Answer) -> dict[str, object]:
        """The problem that an answer tells."""
        self.assertEqual(answer.headers[b"content-type"], b"application/problem+json")
        self.assertEqual(answer.headers[b"upload-complete"], b"?0")
        found: dict[str, object] = json.loads(answer.body)
        return found

    def test_file_abuse_03_half_open_peer(self) -> None:
        """Asking for the offset puts the stale request out; what is told is what the next may begin with."""
        stale = self.begin(len(BODY), BODY[:3000], version(), WHOLE)
        url = self.interim(stale)[0]["location"]
        self.assertEqual(self.offset(url), 3000)
        self.assertTrue(stale.transport.aborted)
        stale.send(b"x" * 100)
        self.assertEqual(self.append(url, 3000, BODY[3000:], WHOLE).status, 201)
        self.assertEqual(self.published(), BODY)

    def test_file_abuse_03_half_open_stream(self) -> None:
        """Over HTTP/2 only the stale stream is reset: the next request may come on the same connection."""
        peer = Peer2(self.rig)
        fields = (("upload-draft-interop-version", "8"), ("upload-complete", "?1"))
        stream = peer.open("/a.bin", *fields, method="PUT", end=False)
        peer.data(stream, BODY[:3000])
        told = next(one for one in peer.events if isinstance(one, InformationalResponseReceived))
        url = dict(told.headers or ())[b"location"].decode()
        answer = peer.get(url, fields[0], method="HEAD")
        self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (204, b"3000"))
        self.assertIsNotNone(peer.answers[stream].reset)
        kind = ("content-type", "application/partial-upload")
        stream = peer.open(url, *fields, kind, ("upload-offset", "3000"), method="PATCH", end=False)
        peer.data(stream, BODY[3000:], end=True)
        self.assertEqual((peer.answers[stream].status, self.published()), (201, BODY))

    def test_file_abuse_25_the_prefix_was_changed(self) -> None:
        """Octets that are not those that came are found before any is added."""
        url = self.begun()
        self.append(url, 0, BODY[:3000], PART)
        (part,) = self.root.glob(".netsvc-*.part")
        part.write_bytes(b"\xff" + BODY[1:3000])
        self.assertEqual(self.append(url, 3000, BODY[3000:], WHOLE).status, 410)
        self.assertEqual(self.head(url).status, 404)
        self.assertIsNone(self.published())

    def test_file_abuse_26_offset_beyond_the_end(self) -> None:
        """A part that begins elsewhere is a conflict, with both offsets as a problem."""
        url = self.begun(f"Upload-Length: {len(BODY)}")
        self.append(url, 0, BODY[:3000], PART)
        for offset in (0, 2999, 3001, 999_999_999_999_999):
            answer = self.append(url, offset, b"x", PART)
            self.assertEqual((answer.status, answer.headers[b"upload-offset"]), (409, b"3000"))
            found = self.problem(answer)
            self.assertEqual((found["expected-offset"], found["provided-offset"]), (3000, offset))
        self.assertEqual(self.offset(url), 3000)

    def test_file_abuse_27_the_source_has_changed(self) -> None:
        """A part that does not fit its Content-Digest is taken back; Repr-Digest speaks for the whole."""
        url = self.begun(digest("Repr-Digest", BODY))
        self.assertEqual(self.append(url, 0, BODY[:3000], PART, digest("Content-Digest", b"other")).status, 400)
        self.assertEqual(self.offset(url), 0)
        self.assertEqual(self.append(url, 0, BODY[:3000], PART, digest("Content-Digest", BODY[:3000])).status, 204)
        self.assertEqual(self.append(url, 3000, bytes(len(BODY) - 3000), WHOLE).status, 400)
        self.assertIsNone(self.published())

    def test_file_abuse_28_of_another(self) -> None:
        """An upload of somebody else is not there."""
        url = self.begun("X-User: alice")
        for user in ("X-User: eve", "X-Nobody: 1"):
            self.assertEqual(self.head(url, user).status, 404)
            self.assertEqual(self.append(url, 0, b"x", WHOLE, user).status, 404)
            self.assertEqual(self.rig.send("DELETE", url, b"", version(), user).status, 404)
        self.assertEqual(self.head(url, "X-User: alice").status, 204)

    def test_file_abuse_29_wrong_final_digest(self) -> None:
        """A whole that is not what was promised is not published, and gone."""
        (answer,) = self.begin(len(BODY), BODY, version(), WHOLE, digest("Repr-Digest", b"other")).answers("PUT")
        self.assertEqual((answer.status, self.published(), left_over(self.root)), (400, None, []))

    def test_file_abuse_30_longer_or_shorter(self) -> None:
        """Lengths that differ are a problem; nothing is published."""
        (answer,) = self.begin(3, b"abc", version(), WHOLE, "Upload-Length: 4").answers("PUT")
        self.assertEqual((answer.status, self.published()), (400, None))
        self.assertTrue(str(self.problem(answer)["type"]).endswith("#inconsistent-upload-length"))
        url = self.begun("Upload-Length: 5")
        for answer in (
            self.append(url, 0, b"abcdef", PART),
            self.append(url, 0, b"abcd", WHOLE),
            self.append(url, 0, b"abcde", PART, "Upload-Length: 6"),
        ):
            self.assertEqual(answer.status, 400)
            self.problem(answer)
        self.assertEqual(self.append(url, 0, b"abcde", WHOLE).status, 201)

    def test_file_abuse_30_shorter_than_has_come(self) -> None:
        """A length that is less than what has come is a problem, and nothing of it is lost; so is a part beyond it."""
        url = self.begun()
        self.assertEqual(self.append(url, 0, b"abc", PART).status, 204)
        for body, length in ((b"", 2), (b"de", 4)):
            answer = self.append(url, 3, body, PART, f"Upload-Length: {length}")
            self.assertEqual(answer.status, 400)
            self.assertTrue(str(self.problem(answer)["type"]).endswith("#inconsistent-upload-length"))
            self.assertEqual(self.offset(url), 3)
        self.assertEqual(self.append(url, 3, b"d", WHOLE).status, 201)

    def test_file_abuse_30_longer_in_chunks(self) -> None:
        """A body that goes on beyond the end ends the upload, in version 8; in version 6 what fits may stay."""
        for number, afterwards in ((8, 404), (6, 204)):
            url = self.begun("Upload-Length: 5")
            fields = ("Host: a", version(number), KIND, PART, "Upload-Offset: 0", "Transfer-Encoding: chunked", "", "")
            head = "\r\n".join((f"PATCH {url} HTTP/1.1", *fields))
            (answer,) = self.rig.ask(head.encode() + b"6\r\nabcdef\r\n0\r\n\r\n", "PATCH")
            self.assertEqual(answer.status, 413)
            self.assertEqual(self.head(url).status, afterwards)
        self.assertIsNone(self.published())

    def test_file_abuse_31_lengths_and_offsets(self) -> None:
        """Lengths that are none are ignored, as the draft wants it; a part without an offset is none."""
        for number in ("-1", "9223372036854775808", "18446744073709551616"):
            url = self.begun(f"Upload-Length: {number}")
            self.assertNotIn(b"upload-length", self.head(url).headers)
            self.assertEqual(self.append(url, number, b"x", PART).status, 400)
            self.assertEqual(self.offset(url), 0)

    def test_what_is_missing(self) -> None:
        """A part has its type and says whether it is the last."""
        url = self.begun()
        self.assertEqual(self.rig.send("PATCH", url, b"x", version(), PART, "Upload-Offset: 0").status, 415)
        self.assertEqual(self.append(url, 0, b"x").status, 400)
        self.assertEqual(self.rig.put("/sub/", b"", version(), PART).status, 409)
        self.assertEqual(self.rig.put("/no/such", b"", version(), PART).status, 409)
        self.assertEqual(self.rig.put("/a", b"", version(), PART, "Content-Encoding: gzip").status, 415)
        self.assertEqual(self.rig.put("/a", b"", version(), PART, "Repr-Digest: sha-256=x").status, 400)

    def test_conditions(self) -> None:
        """If-None-Match and If-Match hold, when it begins and when it is published."""
        url = self.begun("If-None-Match: *")
        (self.root / "a.bin").write_bytes(b"there")
        self.assertEqual(self.rig.put("/a.bin", b"", version(), PART, "If-None-Match: *").status, 412)
        self.assertEqual(self.append(url, 0, b"x", WHOLE).status, 409)
        self.assertEqual(self.published(), b"there")

    def test_access(self) -> None:
        """Who may only read begins nothing; who may only upload replaces nothing, and is told so before the body."""
        (self.root / "a.bin").write_bytes(b"old")
        rules = ("alice read-only", "bob upload-only", "* full")
        self.rig = UploadRig(self.root, upload_access=tuple(map(access_rule, rules)))
        self.assertEqual(self.rig.put("/new", b"", version(), PART, "X-User: alice").status, 403)
        peer = self.begin(3, b"", version(), WHOLE, "X-User: bob", "Expect: 100-continue")
        self.assertEqual((peer.statuses, self.interim(peer)), ([409], []))
        self.assertEqual(self.rig.put("/new", b"abc", version(), WHOLE, "X-User: bob").status, 201)
        self.assertEqual((self.published(), self.published("new")), (b"old", b"abc"))

    def test_limits(self) -> None:
        """The longest file that is taken is told, and holds where nobody said a length."""
        self.rig = UploadRig(self.root, max_file_size=5)
        self.assertEqual(
            self.rig.get("/", method="OPTIONS").headers[b"upload-limit"], b"max-size=5, max-append-size=1073741824"
        )
        self.assertEqual(self.rig.put("/a", b"abcdef", version(), WHOLE).status, 413)
        url = self.begun()
        self.assertRegex(
            self.head(url).headers[b"upload-limit"], rb"^max-size=5, max-append-size=1073741824, max-age=\d+$"
        )
        self.assertEqual(self.append(url, 0, b"abcdef", PART).status, 413)
        self.assertEqual(self.offset(url), 0)

    def test_longer_than_a_request(self) -> None:
        """A file may be longer than any one request: both limits are told, and it comes in parts."""
        self.rig = UploadRig(self.root, max_body=4, max_file_size=6)
        self.assertEqual(self.rig.put("/a", b"abcdef", version(), WHOLE).status, 413)
        url = self.begun()
        self.assertRegex(self.head(url).headers[b"upload-limit"], rb"^max-size=6, max-append-size=4, max-age=\d+$")
        self.assertEqual(self.append(url, 0, b"abcde", PART).status, 413)
        self.assertEqual(self.append(url, 0, b"abcd", PART).status, 204)
        self.assertEqual(self.append(url, 4, b"efg", WHOLE).status, 413)
        self.assertEqual(self.append(url, self.offset(url), b"abcdef"[self.offset(url) :], WHOLE).status, 201)
        self.assertEqual((self.published(), left_over(self.root)), (b"abcdef", []))

    def test_so_many_unfinished(self) -> None:
        """One user may have begun so many uploads; the next is refused before its body, until one of his ends."""
        self.rig = UploadRig(self.root, upload_unfinished=1)
        url = self.begun()
        peer = self.begin(3, b"", version(), WHOLE, "Expect: 100-continue", path="/b")
        self.assertEqual((peer.statuses, self.interim(peer)), ([507], []))
        self.assertEqual(len(left_over(self.root)), 1)
        self.assertEqual(self.append(url, 0, b"abc", WHOLE).status, 201)
        self.assertEqual(self.rig.put("/b", b"abc", version(), WHOLE).status, 201)

    def test_a_finished_upload(self) -> None:
        """Nothing is added to an upload that is finished."""
        url = self.begun()
        self.append(url, 0, b"x", WHOLE)
        answer = self.append(url, 1, b"y", WHOLE)
        self.assertEqual(answer.status, 400)
        self.assertTrue(str(self.problem(answer)["type"]).endswith("#completed-upload"))
        self.assertEqual(self.published(), b"x")
