"""Forms with files: what is stored, what is refused in words, and whose pages may send them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.access import Access
from netsvc.filestore.terms import Terms
from netsvc.services.http.exchange import RequestHead
from netsvc.services.http.upload import uploads
from netsvc.services.http.upload.origin import check_host, check_origin
from netsvc.services.http.upload.problems import RefusedError
from tests.filestore.kit import open_descriptors
from tests.services.http.http_rig import Answer
from tests.services.http.upload.test_form_wire import TYPE, form, part
from tests.services.http.upload.upload_rig import UploadRig, left_over


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        (self.root / "in").mkdir(parents=True)
        self.rig = UploadRig(self.root)

    def post(self, body: bytes, *fields: str, path: str = "/in/") -> Answer:
        return self.rig.send("POST", path, body, f"Content-Type: {TYPE.decode()}", *fields)

    def stored(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in (self.root / "in").iterdir() if one.is_file()}


class FormTests(Case):
    def test_form_stores_files(self) -> None:
        """Files of a form stand in the directory, and the browser is led back to its list."""
        answer = self.post(form(part("file", b"one", "a.txt"), part("x", b"y"), part("file", b"", "empty.txt")))
        self.assertEqual((answer.status, answer.headers[b"location"]), (303, b"./"))
        self.assertEqual(self.stored(), {"a.txt": b"one", "empty.txt": b""})
        self.assertEqual(left_over(self.root), [])

    def test_form_octet_by_octet(self) -> None:
        """A form that comes one octet at a time is stored the same."""
        peer = self.rig.connect()
        body = form(part("file", b"one\r\n", "a.txt"), part("file", b"two", "b.txt"))
        head = f"POST /in/ HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\nContent-Type: {TYPE.decode()}\r\n\r\n"
        for one in head.encode() + body:
            peer.send(bytes((one,)))
        self.assertEqual([answer.status for answer in peer.answers("POST")], [303])
        self.assertEqual(self.stored(), {"a.txt": b"one\r\n", "b.txt": b"two"})

    def test_form_replaces_only_when_told(self) -> None:
        """What is there stays, and the page says so; with ?replace=yes it is replaced."""
        (self.root / "in/a.txt").write_bytes(b"old")
        body = form(part("file", b"new", "a.txt"), part("file", b"b", "b.txt"))
        answer = self.post(body)
        self.assertEqual(answer.status, 409)
        self.assertIn(b"<li><bdi>a.txt</bdi>: it exists.</li>", answer.body)
        self.assertIn(b"1 of 2 files uploaded", answer.body)
        self.assertEqual(self.stored(), {"a.txt": b"old", "b.txt": b"b"})
        self.assertEqual(self.post(body, path="/in/?replace=yes").status, 303)
        self.assertEqual(self.stored(), {"a.txt": b"new", "b.txt": b"b"})

    def test_file_abuse_21_names_of_a_form(self) -> None:
        """Names that leave the directory, hide or deceive are refused, and stand on the page with all spelled out."""
        names = (
            "../x",
            "a/b",
            ".netsvc-1.part",
            ".hidden",
            "a%0D%0Ab",
            "e\x1b[31m",
            "r\u202egnp.exe",
            "<b>",
            "n" * 256,
        )
        answer = self.post(form(*(part("file", b"x", name) for name in names)))
        self.assertEqual(answer.status, 400)
        text = answer.body.decode()
        self.assertIn("a<i>U+000D</i><i>U+000A</i>b", text)
        self.assertIn("e<i>U+001B</i>[31m", text)
        self.assertIn("r<i>U+202E</i>gnp.exe", text)
        self.assertNotRegex(text.partition("<main>")[2], "[\x00-\x09\x0b-\x1f\x7f\u202e]")
        self.assertEqual(self.stored(), {"<b>": b"x"})
        self.assertEqual(sorted(one.name for one in self.root.iterdir() if not one.name.startswith(".netsvc")), ["in"])

    def test_form_without_a_file(self) -> None:
        """A form in which nothing was chosen is told so."""
        answer = self.post(form(part("file", b"", "")))
        self.assertEqual(answer.status, 400)
        self.assertIn(b"No file was chosen", answer.body)

    def test_form_that_is_broken(self) -> None:
        """A broken form is refused; of the file that was not whole nothing stays, and what was before it does."""
        answer = self.post(form(part("file", b"one", "a"), part("file", b"two", "b"))[:-40])
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.stored(), {"a": b"one"})
        answer = self.rig.send("POST", "/in/", b"x", "Content-Type: multipart/form-data")
        self.assertEqual(answer.status, 400)
        self.assertIn(b"no boundary", answer.body)
        self.assertEqual(left_over(self.root), [])

    def test_form_goes_to_a_directory(self) -> None:
        """A form to the address of a file, or to a directory that is not there, stores nothing."""
        body = form(part("file", b"one", "a.txt"))
        self.assertEqual(self.post(body, path="/in").status, 400)
        self.assertEqual(self.post(body, path="/nothing/").status, 404)
        self.assertEqual(self.stored(), {})

    def test_file_abuse_01_form_of_a_peer_that_leaves(self) -> None:
        """A peer that leaves in a file leaves nothing of it; files that were whole stay."""
        peer = self.rig.connect()
        body = form(part("file", b"one", "a.txt"), part("file", b"two" * 1000, "b.txt"))
        head = f"POST /in/ HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\nContent-Type: {TYPE.decode()}\r\n\r\n"
        peer.send(head.encode() + body[:-1000])
        peer.leave(clean=False)
        self.assertEqual(self.stored(), {"a.txt": b"one"})
        self.assertEqual(left_over(self.root), [])

    def test_file_abuse_01_form_of_a_peer_that_leaves_while_a_file_is_begun(self) -> None:
        """A peer that leaves while the store is at work for it leaves nothing, and no descriptor."""
        self.rig.threads.held = True
        peer = self.rig.connect()
        body = form(part("file", b"one", "a.txt"))
        head = f"POST /in/ HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\nContent-Type: {TYPE.decode()}\r\n\r\n"
        before = open_descriptors()
        peer.send(head.encode() + body[:-30])
        peer.leave(clean=False)
        self.rig.threads.let_go()
        self.assertEqual((self.stored(), left_over(self.root), open_descriptors()), ({}, [], before))

    def test_form_waits_for_the_store(self) -> None:
        """While the store is at work the peer is paused, and no more than what was read is kept."""
        self.rig.threads.held = True
        peer = self.rig.connect()
        body = form(part("file", b"one", "a.txt"), part("file", b"two" * 100_000, "b.txt"))
        head = f"POST /in/ HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\nContent-Type: {TYPE.decode()}\r\n\r\n"
        peer.send(head.encode())
        self.rig.threads.let_go()
        self.rig.threads.held = True
        peer.send(body[:1000])
        self.assertEqual(peer.transport.producerState, "paused")
        self.rig.threads.let_go()
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(body[1000:])
        self.assertEqual([answer.status for answer in peer.answers("POST")], [303])
        self.assertEqual(self.stored(), {"a.txt": b"one", "b.txt": b"two" * 100_000})

    def test_form_over_the_limits(self) -> None:
        """A file that is too large is refused in words, and costs none of the others."""
        self.patch(uploads, "terms_of", lambda settings, access: Terms(access=access, max_file_size=1000))
        answer = self.post(
            form(part("f", b"1", "a"), part("f", b"2" * 5000, "large"), part("f", b"3", "c")),
        )
        self.assertEqual(answer.status, 413)
        self.assertIn(b"2 of 3 files uploaded", answer.body)
        self.assertIn(b"<bdi>large</bdi>", answer.body)
        self.assertEqual(self.stored(), {"a": b"1", "c": b"3"})
        self.assertEqual(left_over(self.root), [])

    def test_file_abuse_10_form_over_the_quota(self) -> None:
        """A file that the quota refuses in its last octets gives back its descriptors and its room."""
        self.patch(uploads, "terms_of", lambda settings, access: Terms(access=access, quota=5000))
        body = form(part("f", b"2" * 6000, "large"))
        self.assertEqual(self.post(body).status, 507)
        before = open_descriptors()
        self.assertEqual(self.post(body).status, 507)
        self.assertEqual(open_descriptors(), before)
        self.assertEqual(left_over(self.root), [])
        self.assertEqual(self.post(form(part("f", b"2" * 5000, "fits"))).status, 303)

    def test_file_abuse_11_form_and_another_writer(self) -> None:
        """A file whose name another one got while it came is refused, and nothing stays of it."""
        peer = self.rig.connect()
        body = form(part("file", b"two" * 1000, "a.txt"))
        head = f"POST /in/ HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\nContent-Type: {TYPE.decode()}\r\n\r\n"
        peer.send(head.encode() + body[:-1000])
        self.assertEqual(self.rig.put("/in/a.txt", b"one").status, 201)
        peer.send(body[-1000:])
        self.assertEqual([answer.status for answer in peer.answers("POST")], [409])
        self.assertEqual(self.stored(), {"a.txt": b"one"})
        self.assertEqual(left_over(self.root), [])

    def test_form_and_access(self) -> None:
        """Who may only read is refused before the body comes; who may only upload puts new names there, no others."""
        rules = (("alice", Access.UPLOAD_ONLY), ("bob", Access.READ_ONLY))
        self.rig = UploadRig(self.root, upload_access=rules)
        peer = self.rig.connect()
        peer.send(
            b"POST /in/ HTTP/1.1\r\nHost: h\r\nX-User: bob\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"
            b"Content-Type: " + TYPE + b"\r\n\r\n"
        )
        self.assertRegex(peer.received, b"^HTTP/1.1 403 ")
        body = form(part("f", b"1", "a"))
        self.assertEqual(self.post(body, "X-User: alice").status, 303)
        self.assertEqual(self.post(body, "X-User: alice", path="/in/?replace=yes").status, 409)
        self.assertEqual(self.stored(), {"a": b"1"})


class OriginTests(Case):
    def test_form_of_another_site(self) -> None:
        """A form that a page of another site sends is refused before its body is asked for."""
        body = form(part("file", b"one", "a.txt"))
        for fields in (
            ("Sec-Fetch-Site: cross-site",),
            ("Sec-Fetch-Site: same-site", "Origin: http://example.com"),
            ("Origin: http://evil.example",),
            ("Origin: null",),
        ):
            answer = self.post(body, *fields)
            self.assertEqual(answer.status, 403, fields)
            self.assertIn(b"another site", answer.body)
        self.assertEqual(self.stored(), {})
        for fields in (("Sec-Fetch-Site: same-origin", "Origin: http://example.com"), ("Origin: http://example.com",)):
            self.assertEqual(self.post(body, *fields, path="/in/?replace=yes").status, 303)

    def test_origins(self) -> None:
        """Host and port decide, the usual port of a scheme is none; no field at all is a program."""

        def passes(host: str, *headers: tuple[bytes, bytes]) -> bool:
            head = RequestHead(
                method="POST", target=b"/", path=b"/", query=b"", version=(1, 1), headers=headers, host=host
            )
            try:
                check_origin(head)
            except RefusedError as error:
                self.assertEqual(error.status, 403)
                return False
            return True

        for host, origin, good in (
            ("example.com", b"https://example.com", True),
            ("example.com:8000", b"http://example.com:8000", True),
            ("example.com:443", b"https://example.com", True),
            ("EXAMPLE.com", b"http://example.COM:80", True),
            ("[::1]:8000", b"http://[::1]:8000", True),
            ("example.com:8000", b"http://example.com", False),
            ("example.com", b"http://example.com.evil.example", False),
            ("example.com", b"file://example.com", False),
            ("example.com", b"chrome-extension://example.com", False),
            ("example.com", b"http://example.com:99999", False),
            ("example.com", b"http://[", False),
            ("example.com", b"\xff", False),
            ("example.com", b"", False),
        ):
            self.assertEqual(passes(host, (b"origin", origin)), good, origin)
        self.assertTrue(passes("example.com"))
        self.assertTrue(passes("example.com", (b"sec-fetch-site", b"none")))
        self.assertFalse(passes("e.com", (b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")))
        self.assertFalse(passes("e.com", (b"origin", b"http://e.com"), (b"origin", b"http://evil.example")))

    def test_rebound_names(self) -> None:
        """Where nobody is asked for a password, a browser's page must be of an address, localhost, or a known name."""

        def passes(host: str, *headers: tuple[bytes, bytes]) -> bool:
            head = RequestHead(
                method="PUT", target=b"/", path=b"/", query=b"", version=(1, 1), headers=headers, host=host
            )
            try:
                check_host(head, ("", "files.example.org", "*.example.net"))
            except RefusedError as error:
                self.assertEqual(error.status, 403)
                return False
            return True

        browser = (b"sec-fetch-site", b"same-origin")
        for host in ("127.0.0.1:8000", "[::1]:8000", "192.0.2.1", "localhost:8000", "LOCALHOST", "a.localhost"):
            self.assertTrue(passes(host, browser), host)
        for host in ("files.example.org:8000", "a.example.net", "files.example.org."):
            self.assertTrue(passes(host, browser), host)
        for host in (
            "evil.example",
            "localhost.evil.example",
            "1.2.3.4.evil.org",
            "",
            "example.net",
            "a.b.example.or",
        ):
            self.assertFalse(passes(host, browser), host)
            self.assertFalse(passes(host, (b"origin", b"http://" + host.encode())), host)
            self.assertTrue(passes(host), host)

    def test_rebound_at_the_door(self) -> None:
        """The door asks so: a page of a name that now leads here may not put a file."""
        rig = UploadRig(self.root, names=())
        self.assertEqual(rig.send("PUT", "/in/a", b"x", "Sec-Fetch-Site: same-origin").status, 403)
        self.assertEqual(rig.send("PUT", "/in/a", b"x").status, 201)
