"""The page of a directory that takes files: its form, its script, its policy, and who is shown them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.access import Access
from netsvc.services.http.listing.entries import Entry, Order
from netsvc.services.http.listing.offers import Offers
from netsvc.services.http.listing.page import listing_page
from tests.services.http.upload.upload_rig import UploadRig

SCRIPT = re.compile(rb'<script type="module">(.*?)</script>', re.DOTALL)
BROWSER = "Accept: text/html"


class UploadPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        (self.root / "in").mkdir(parents=True)

    def test_upload_page_policy(self) -> None:
        """The page's policy names its one script by digest, loads nothing, and lets no other page frame it."""
        answer = UploadRig(self.root, listing=True).get("/in/", BROWSER)
        scripts = SCRIPT.findall(answer.body)
        self.assertEqual(len(scripts), 1)
        self.assertEqual(answer.body.count(b"<script"), 1)
        digest = base64.b64encode(hashlib.sha256(scripts[0]).digest()).decode()
        policy = answer.headers[b"content-security-policy"].decode()
        self.assertIn(f"script-src 'sha256-{digest}'", policy)
        self.assertIn("default-src 'none'", policy)
        self.assertIn("connect-src 'self'", policy)
        self.assertIn("form-action 'self'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotRegex(answer.body, b"<[^>]+ (style|on[a-z]+)=")
        self.assertNotRegex(answer.body.partition(b"<script")[0], b"https?://")

    def test_upload_page_of_any_name(self) -> None:
        """What a file is called changes nothing of the script, and no name is in it."""
        names = (b"</script><script>alert(1)</script>", b"a\x1b[31m", b"<!--", b"x\xe2\x80\xaegnp.exe")
        page = listing_page((names[0],), [Entry(name) for name in names], False, Order(), Offers(chunk=9))
        plain = listing_page((), [], False, Order(), Offers(chunk=5))
        self.assertEqual(SCRIPT.findall(page), SCRIPT.findall(plain))
        self.assertEqual(page.count(b"<script"), 1)
        shown = page.partition(b"<main>")[2].partition(b"<script")[0]
        self.assertNotRegex(shown, b"[\x00-\x09\x0b-\x1f\x7f]|\xe2\x80\xae")

    def test_upload_page_offers(self) -> None:
        """The page offers what the place and the account allow, and nothing where nothing may be changed."""
        for options, user, has, lacks in (
            ({}, "alice", (b"data-remove", b"data-folder", b"<form"), ()),
            ({"upload_delete": False}, "alice", (b"<form", b"data-folder"), (b"data-remove",)),
            ({"upload_directories": False}, "alice", (b"<form", b"data-remove"), (b"data-folder",)),
            ({"upload_access": (("bob", Access.READ_ONLY),)}, "bob", (), (b'id="panel"', b"<script", b"<form")),
            ({"upload": False}, "alice", (), (b'id="panel"', b"<script", b"<form")),
        ):
            body = UploadRig(self.root, listing=True, **options).get("/in/", BROWSER, f"X-User: {user}").body
            html = SCRIPT.sub(b"<script", body).partition(b"<main>")[2]
            for one in has:
                self.assertIn(one, html, options)
            for one in lacks:
                self.assertNotIn(one, html, options)

    def test_upload_page_that_shows_nothing(self) -> None:
        """Who may only upload gets a page with the form and without any name, and no JSON."""
        (self.root / "in/secret.txt").write_bytes(b"x")
        rig = UploadRig(self.root, listing=True, upload_access=(("alice", Access.UPLOAD_ONLY),))
        answer = rig.get("/in/", BROWSER, "X-User: alice")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"<form", answer.body)
        self.assertIn(b"What is here is not shown.", answer.body)
        self.assertNotIn(b"secret", answer.body)
        self.assertNotIn(b"secret", rig.get("/in/", "Accept: application/json", "X-User: alice").body)
        self.assertEqual(rig.get("/in/secret.txt", "X-User: alice").status, 403)

    def test_upload_json_has_digests(self) -> None:
        """A file that the store took has its SHA-256 in the JSON, one that came otherwise has none."""
        rig = UploadRig(self.root, listing=True)
        (self.root / "in/b.txt").write_bytes(b"two")
        self.assertEqual(rig.put("/in/a.txt", b"one").status, 201)
        entries = json.loads(rig.get("/in/", "Accept: application/json").body)["entries"]
        want = base64.b64encode(hashlib.sha256(b"one").digest()).decode()
        self.assertEqual(
            [(one["name"], one.get("digest")) for one in entries], [("a.txt", f"sha-256=:{want}:"), ("b.txt", None)]
        )
        (self.root / "in/a.txt").write_bytes(b"changed by others")
        entries = json.loads(rig.get("/in/", "Accept: application/json").body)["entries"]
        self.assertNotIn("digest", entries[0])

    def test_uploaded_files_run_no_scripts(self) -> None:
        """Files of a place that takes files come with a policy against scripts, unless the place has one of its own."""
        name = b"content-security-policy"
        rig = UploadRig(self.root)
        rig.put("/in/a.html", b"<script>1</script>")
        self.assertIn(b"script-src 'none'", rig.get("/in/a.html").headers[name])
        self.assertIn(b"script-src 'none'", rig.get("/in/a.html", "Range: bytes=0-3").headers[name])
        own = (("content-security-policy", "default-src 'self'"),)
        self.assertNotIn(name, UploadRig(self.root, headers=own).get("/in/a.html").headers)  # the place's style adds it
        self.assertNotIn(name, UploadRig(self.root, upload=False).get("/in/a.html").headers)

    def test_upload_page_hides_the_store(self) -> None:
        """What the store keeps beside the files is on no page, even where names with a dot are."""
        rig = UploadRig(self.root, listing=True, dotfiles=True)
        rig.put("/a.txt", b"one")
        (self.root / ".netsvc-x.part").write_bytes(b"x")
        (self.root / ".profile").write_bytes(b"x")
        names = [one["name"] for one in json.loads(rig.get("/", "Accept: application/json").body)["entries"]]
        self.assertEqual(names, ["in", ".profile", "a.txt"])
