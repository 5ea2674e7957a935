"""Who may send files: options that cannot stand together, roots of users, and what an account may do."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.load import load
from netsvc.errors import ConfigError
from netsvc.filestore.access import Access
from netsvc.registry import kinds
from netsvc.services.http.explain import ask, explain
from netsvc.services.http.settings import HttpSettings
from netsvc.services.http.site.sites import Sites
from netsvc.services.http.upload.settings import access_of
from netsvc.services.http.upload.stores import Stores
from netsvc.services.http.upload.sweeping import sweep
from tests.services.http.upload.upload_rig import UploadRig, left_over

ANYBODY = "upload: anybody could fill the disk: set an auth_file, or say upload_anonymous = yes"
FULL, READ_ONLY, UPLOAD_ONLY = Access


class SettingsTests(SynchronousTestCase):
    """What ``netsvc check`` says."""

    def faults(self, *lines: str, listen: str = "tcp:8000") -> list[str]:
        """The faults of a section with some lines."""
        path = Path(self.mktemp())
        text = "\n".join(("[netsvc]", "state_directory = /var", "[http]", f"listen = {listen}", *lines, ""))
        path.write_text(text, encoding="utf-8")
        try:
            load(path, kinds(), {})
        except ConfigError as error:
            return [fault.message for fault in error.faults]
        return []

    def test_anybody(self) -> None:
        """Uploads ask for a password, unless only this machine reaches the listener, or an option says otherwise."""
        lines = ("docroot = /srv", "upload = yes")
        self.assertEqual(self.faults(*lines), [ANYBODY])
        self.assertEqual(self.faults(*lines, "auth_file = /etc/users"), [])
        self.assertEqual(self.faults(*lines, "upload_anonymous = yes"), [])
        for listen, faults in (
            ("tcp:8000:interface=127.0.0.1", []),
            ("tcp:8000:interface=\\:\\:1", []),
            ("unix:/run/x", []),
            ("tcp:8000:interface=192.0.2.1", [ANYBODY]),
            ("haproxy:tcp:8000:interface=127.0.0.1", [ANYBODY]),
            ("systemd:domain=INET:index=0", [ANYBODY]),
        ):
            self.assertEqual(self.faults(*lines, listen=listen), faults, listen)

    def test_anybody_in_a_scope(self) -> None:
        """A scope is looked at with what it has from the scopes around it."""
        self.assertEqual(self.faults("docroot = /srv", "[http /in/]", "upload = yes"), [ANYBODY])
        around = ("docroot = /srv", "auth_file = /etc/users", "[http /in/]", "upload = yes")
        self.assertEqual(self.faults(*around), [])
        self.assertEqual(self.faults(*around, "auth_file = none"), [ANYBODY])
        self.assertEqual(self.faults(*around, "[http /in/open/]", "auth_file = none"), [ANYBODY])

    def test_cgi_docroot(self) -> None:
        """Nobody uploads programs that then are run."""
        (fault,) = self.faults("docroot = /srv/cgi-bin", "upload = yes", "upload_anonymous = yes")
        self.assertIn("CGI directory", fault)

    def test_longest_file(self) -> None:
        """A file may be longer than a request may: it comes in parts."""
        lines = ("docroot = /srv", "upload = yes", "upload_anonymous = yes", "max_body = 1MiB", "max_file_size = 2GiB")
        self.assertEqual(self.faults(*lines), [])

    def test_roots_of_users(self) -> None:
        """A root for each user needs users."""
        self.assertEqual(len(self.faults("docroot = /srv/%u")), 1)
        self.assertEqual(len(self.faults("docroot = /srv", "[http /a/]", "docroot = /srv/%u")), 1)
        self.assertEqual(self.faults("docroot = /srv/%u", "auth_file = /etc/users", "upload = yes"), [])

    def test_access(self) -> None:
        """Rules name users, * all others; without one that fits a user may read."""
        self.assertEqual(len(self.faults("docroot = /srv", "upload_access = alice ful")), 1)
        self.assertEqual(self.faults("docroot = /srv", "upload_access = alice full", "  read-only"), [])
        rules: Any = {"upload_access": (("alice", FULL), ("*", UPLOAD_ONLY))}
        settings = HttpSettings(listen=(), docroot=Path("/"), **rules)
        self.assertEqual([access_of(settings, one) for one in ("alice", "bob", "")], [FULL, UPLOAD_ONLY, UPLOAD_ONLY])
        only = HttpSettings(listen=(), docroot=Path("/"), upload_access=(("alice", FULL),))
        self.assertEqual([access_of(only, one) for one in ("alice", "bob", "*")], [FULL, READ_ONLY, READ_ONLY])


class AccountTests(SynchronousTestCase):
    """What accounts may do."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def test_read_only(self) -> None:
        """Who may only read changes nothing, and is told so before he sends anything."""
        (self.root / "a").write_bytes(b"x")
        rig = UploadRig(self.root, upload_access=(("*", READ_ONLY),))
        self.assertEqual(rig.get("/a").status, 200)
        for method, path in (("PUT", "/b"), ("PUT", "/a"), ("DELETE", "/a"), ("MKCOL", "/d")):
            self.assertEqual(rig.send(method, path).status, 403, method)
        self.assertEqual(rig.send("OPTIONS", "/a").headers[b"allow"], b"GET, HEAD, OPTIONS")
        peer = rig.connect()
        peer.send(b"PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(peer.statuses, [403])

    def test_upload_only(self) -> None:
        """Who may only upload adds names; he reads, lists, replaces and removes nothing."""
        (self.root / "a").write_bytes(b"x")
        rig = UploadRig(self.root, upload_access=(("*", UPLOAD_ONLY),), listing=False)
        self.assertEqual([rig.get(path).status for path in ("/a", "/", "/none")], [403, 403, 403])
        self.assertEqual(rig.put("/b", b"new").status, 201)
        self.assertEqual(rig.put("/b", b"again").status, 409)
        self.assertEqual(rig.put("/a", b"", "If-Match: *").status, 412)
        self.assertEqual(rig.send("DELETE", "/b").status, 403)
        self.assertEqual(rig.send("MKCOL", "/d").status, 403)
        self.assertEqual((self.root / "b").read_bytes(), b"new")

    def test_nothing_stands_for_another_file(self) -> None:
        """A compressed file beside another's is not sent in its place where somebody may bring new files only."""
        for rules, coding in (((("*", FULL),), b"gzip"), ((("bob", UPLOAD_ONLY), ("*", FULL)), None)):
            root = Path(self.mktemp()).absolute()
            root.mkdir()
            rig = UploadRig(root, upload_access=rules)
            self.assertEqual(rig.put("/a.bin", b"what alice wrote", "X-User: alice").status, 201)
            self.assertEqual(rig.put("/a.bin.gz", gzip.compress(b"what bob wrote"), "X-User: bob").status, 201)
            answer = rig.get("/a.bin", "X-User: alice", "Accept-Encoding: gzip")
            self.assertEqual(answer.headers.get(b"content-encoding"), coding)

    def test_a_root_for_each(self) -> None:
        """Each user has a root, made when he first comes, and none sees another's."""
        rig = UploadRig(self.root / "%u", listing=True)
        self.assertEqual(rig.put("/a", b"alice's", "X-User: alice").status, 201)
        self.assertEqual(rig.get("/a", "X-User: alice").body, b"alice's")
        self.assertEqual(rig.get("/a", "X-User: bob").status, 404)
        self.assertEqual((self.root / "alice" / "a").read_bytes(), b"alice's")
        self.assertTrue((self.root / "bob").is_dir())
        for user in ("", "..", ".", "a/b", ".netsvc", "a\\b"):
            self.assertEqual(rig.put("/a", b"x", f"X-User: {user}").status, 403, user)
            self.assertEqual(rig.get("/a", f"X-User: {user}").status, 403, user)
        self.assertEqual(sorted(one.name for one in self.root.iterdir()), ["alice", "bob"])

    def test_a_root_that_is_removed(self) -> None:
        """A user whose root is gone has a new one when he comes again; a root that is everybody's is not made up."""
        rig = UploadRig(self.root / "%u")
        self.assertEqual(rig.put("/a", b"0123456789", "X-User: alice").status, 201)
        shutil.rmtree(self.root / "alice")
        self.assertEqual(rig.get("/a", "X-User: alice").status, 404)
        self.assertEqual(rig.put("/b", b"0123456789", "X-User: alice").status, 201)
        self.assertEqual((self.root / "alice" / "b").read_bytes(), b"0123456789")
        everybodys = self.root / "everybodys"
        everybodys.mkdir()
        rig = UploadRig(everybodys)
        self.assertEqual(rig.put("/a", b"1").status, 201)
        shutil.rmtree(everybodys)
        self.assertNotEqual(rig.put("/a", b"1").status, 201)
        self.assertFalse(everybodys.exists())

    def test_a_new_root_is_durable(self) -> None:
        """The name of a user's new root is on the disk before the first file in it is acknowledged."""
        synced: list[str] = []
        fsync = os.fsync

        def note(descriptor: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        self.patch(os, "fsync", note)
        rig = UploadRig(self.root / "%u")
        for path in ("/a", "/b"):
            self.assertEqual(rig.put(path, b"x", "X-User: alice").status, 201)
        self.assertEqual(synced.count(str(self.root.resolve())), 1)

    def test_quota(self) -> None:
        """What would not fit is refused before it is sent: 507, and 413 what is longer than any file may be."""
        rig = UploadRig(self.root, quota=10, max_file_size=8)
        head = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n"
        self.assertEqual(rig.put("/b", b"12345").status, 201)
        for length, status in ((6, 507), (9, 413)):
            peer = rig.connect()
            peer.send(head.format(length).encode())
            self.assertTrue(peer.received.startswith(b"HTTP/1.1 %d " % status), peer.received)
        chunked = b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n0\r\n\r\n"
        self.assertEqual([one.status for one in rig.ask(chunked, "PUT")], [507])
        self.assertEqual(rig.put("/a", b"12345").status, 201)
        self.assertEqual(left_over(self.root), [])

    def test_what_is_logged(self) -> None:
        """An account's own quota that is used up is a warning, a disk that is full or fails an error."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        rig = UploadRig(self.root, quota=10)
        expected = []
        for call, number, status, level, reason in (
            (None, 0, 507, LogLevel.warn, "the quota of 10 octets is used up"),
            ("pwritev", errno.ENOSPC, 507, LogLevel.error, "no space left"),
            ("pwritev", errno.EDQUOT, 507, LogLevel.error, "the disk quota of the daemon's user is used up"),
            ("fsync", errno.EIO, 500, LogLevel.error, "the disk failed (Input/output error)"),
        ):
            with patch(f"os.{call}", side_effect=OSError(number, os.strerror(number))) if call else nullcontext():
                answer = rig.put("/a", b"x" * (5 if call else 11))
            self.assertEqual(answer.status, status)
            expected.append((level, f"/a: {reason} (request "))
        refused = [one for one in events if one.get("event") == "http-upload-refused"]
        found = [(one["log_level"], formatEvent(one).partition(one["request_id"])[0]) for one in refused]
        self.assertEqual(found, expected)

    def test_names_of_the_store(self) -> None:
        """What the store keeps for itself is neither served nor listed, though dotfiles are."""
        rig = UploadRig(self.root, dotfiles=True, listing=True)
        peer = rig.connect()
        peer.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        (part,) = left_over(self.root)
        (self.root / ".hidden").write_bytes(b"")
        (self.root / ".netsvc").mkdir(exist_ok=True)
        (self.root / "link").symlink_to(part)
        for path in (f"/{part}", "/.netsvc/", "/.netsvc/uploads/", "/link"):
            self.assertEqual(rig.get(path).status, 404, path)
        self.assertEqual(rig.get("/.hidden").status, 200)
        listing = rig.get("/", "Accept: application/json").body
        self.assertIn(b".hidden", listing)
        self.assertNotIn(b'".netsvc', listing)
        for method, path in (
            ("PUT", "/.netsvc/x"),
            ("DELETE", f"/{part}"),
            ("MKCOL", "/.netsvc/d"),
            ("PUT", f"/{part}"),
        ):
            self.assertEqual(rig.send(method, path).status, 400, path)


class ExplainTests(SynchronousTestCase):
    """What ``netsvc explain`` tells."""

    def test_methods(self) -> None:
        """A method that stores is told of, one that an option forbids with the option, GET as before."""
        root = Path(self.mktemp())
        root.mkdir()
        settings = HttpSettings(listen=(), docroot=root, upload=True, upload_anonymous=True)
        for method, text in (
            ("PUT", "files are taken here, from anybody (upload = yes)"),
            ("DELETE", "405: upload_delete = no"),
            ("MKCOL", "405: upload_directories = no"),
            ("GET", "404: no such file or directory"),
        ):
            told = explain(settings, ask("http://localhost/new", method))
            self.assertEqual(told.steps[-1], ("answer", text))


class SweepTests(SynchronousTestCase):
    """What is left behind."""

    def test_an_orphan(self) -> None:
        """A partial file of a daemon that died is swept, in the root of a user as well."""
        root = Path(self.mktemp())
        (root / "alice").mkdir(parents=True)
        orphan = root / "alice" / f".netsvc-{'0' * 32}.part"
        settings = HttpSettings(listen=(), docroot=root / "%u", upload=True)
        orphan.write_bytes(b"x")
        os.utime(orphan, (1, 1))
        sweep(Sites(settings).places, Stores())
        self.assertFalse(orphan.exists())

    def test_a_place_that_takes_nothing(self) -> None:
        """Where nothing is uploaded nothing is removed: what is there is not ours."""
        root = Path(self.mktemp())
        root.mkdir()
        stranger = root / f".netsvc-{'0' * 32}.part"
        stranger.write_bytes(b"x")
        os.utime(stranger, (1, 1))
        sweep(Sites(HttpSettings(listen=(), docroot=root)).places, Stores())
        self.assertTrue(stranger.exists())
