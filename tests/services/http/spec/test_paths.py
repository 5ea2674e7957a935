"""The section Paths, sentence by sentence, through a whole connection over real files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.site.paths import Script
from tests.services.http.http_rig import Answer, Rig, request, write

SECRET = b"#!/bin/sh\n# the source\n"


class SiteCase(SynchronousTestCase):
    """A site with files, scripts and links, and secrets beside it."""

    def setUp(self) -> None:
        base = Path(self.mktemp()).absolute()
        self.root = base / "www"
        write(base, "secret.txt", b"secret")
        write(self.root, "a.txt", b"a")
        write(self.root, "dir/b.txt", b"b")
        write(self.root, "a b+c%41.txt", b"odd")
        write(self.root, "caf\u00e9.txt", b"cafe")
        write(self.root, ".hidden", b"secret")
        write(self.root, ".git/config", b"secret")
        write(self.root, ".well-known/x", b"well")
        write(self.root, "cgi-bin/run.sh", SECRET).chmod(0o755)
        write(self.root, "dir/cgi-bin/deep/run.sh", SECRET).chmod(0o755)
        (self.root / "out.txt").symlink_to("../secret.txt")
        (self.root / "outdir").symlink_to(base)
        (self.root / "in.txt").symlink_to("a.txt")
        (self.root / "source.txt").symlink_to("cgi-bin/run.sh")
        (self.root / "bin").symlink_to("cgi-bin")
        self.scripts: list[Script] = []

    def rig(self, **options: Any) -> Rig:
        def run(exchange: Any, script: Script) -> None:
            self.scripts.append(script)
            exchange.answer(200, (), b"ran")

        return Rig(root=self.root, run_script=run, access_log=False, **options)

    def get(self, target: str, rig: Rig | None = None, *fields: str) -> Answer:
        """The answer, which must be the same when asked twice (from memory)."""
        rig = rig or self.rig()
        peer = rig.connect()
        peer.send(request(target, *fields) * 3)
        answers = peer.answers()
        self.assertEqual(len({(one.status, one.body) for one in answers if one.status < 400}), answers[0].status < 400)
        self.assertEqual({one.status for one in answers}, {answers[0].status})
        return answers[0]


class DecodeTests(SiteCase):
    def test_paths_decoded_once(self) -> None:
        """A path is decoded once: %2541 is the three characters %41, and nothing further."""
        for target, body in (
            ("/a%20b+c%2541.txt", b"odd"),
            ("/%61.txt", b"a"),
            ("/caf%C3%A9.txt", b"cafe"),
            ("/caf%c3%a9.txt", b"cafe"),
        ):
            self.assertEqual(self.get(target).body, body, target)
        for target in ("/%2561.txt", "/a%20b%20c%2541.txt", "/a%2520b+c%2541.txt", "/a%20b+cA.txt", "/a%20b+c%41.txt"):
            self.assertEqual(self.get(target).status, 404, target)
        for target in ("/%", "/%4", "/%zz", "/a%2", "/%%41"):
            self.assertEqual(self.get(target).status, 400, target)

    def test_paths_then_dots(self) -> None:
        """Dots are resolved after decoding, in every spelling."""
        for target in (
            "/./a.txt",
            "/dir/../a.txt",
            "/dir/./../a.txt",
            "/%2e/a.txt",
            "/dir/%2e%2e/a.txt",
            "/dir/.%2E/a.txt",
            "//a.txt",
            "/dir//..//a.txt",
            "/nothing/../a.txt",
            "/a.txt/../a.txt",
        ):
            self.assertEqual(self.get(target).body, b"a", target)

    def test_paths_above_the_root(self) -> None:
        """`..` above the root is 400 or 404, in every spelling, however deep; nothing outside is sent."""
        for target in (
            "/..",
            "/../",
            "/../secret.txt",
            "/../www/a.txt",
            "/dir/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/.%2e/secret.txt",
            "/dir/%2e%2e/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/..%5csecret.txt",
            "/..\\secret.txt",
            "/%2e%2e%2fsecret.txt",
            "/dir/..%2f..%2fsecret.txt",
            "/%252e%252e/secret.txt",
            "/..%00/secret.txt",
            "/..;/secret.txt",
            "/.../secret.txt",
            "//../secret.txt",
            "/%c0%ae%c0%ae/secret.txt",
            "/..%c0%afsecret.txt",
            "/%uff0e%uff0e/secret.txt",
            "http://a/../secret.txt",
        ):
            answer = self.get(target)
            self.assertIn(answer.status, (400, 404), target)
            self.assertNotIn(b"secret", answer.body)

    def test_paths_nul_slash_backslash(self) -> None:
        """NUL, an encoded slash and a backslash, plain or encoded, are 400 or 404 wherever they stand."""
        for bad in ("%00", "%2f", "%2F", "\\", "%5c", "%5C", "%0a", "%0d", "%7f", "%1b"):
            for target in (
                f"/{bad}",
                f"/a.txt{bad}",
                f"/a{bad}.txt",
                f"/dir{bad}b.txt",
                f"/dir/{bad}",
                f"/{bad}/../a.txt",
                f"/cgi-bin/run.sh{bad}",
                f"/cgi-bin{bad}run.sh",
                f"/a.txt{bad}.gif",
            ):
                self.assertIn(self.get(target).status, (400, 404), target)
        self.assertEqual(self.scripts, [])

    def test_paths_no_redirect_to_another_host(self) -> None:
        """`//host/..` and its like never become a redirect that leads to another host, nor one that splits fields."""
        (self.root / "evil.example").mkdir()
        rig = self.rig()
        for target in (
            "//evil.example",
            "///evil.example",
            "//evil.example/..",
            "/%2e//evil.example",
            "/.//evil.example",
            "/dir/..//evil.example",
            "//dir/..//evil.example",
            "/dir",
            "//dir",
            "/./dir",
            "/dir?//evil.example",
            "/evil.example?x=%0d%0aSet-Cookie:a",
            "http://a//evil.example",
            "/;//evil.example",
            "/dir/../evil.example",
            "//evil.example//..//dir",
        ):
            answer = self.get(target, rig)
            location = answer.headers.get(b"location")
            if location is None:
                continue
            found = urlsplit(location.decode())
            self.assertEqual((found.scheme, found.netloc), ("", ""), target)
            self.assertTrue(location.startswith(b"/") and not location.startswith((b"//", b"/\\")), target)
            self.assertNotIn(b"\r", location)
            self.assertEqual(answer.status, 301)

    def test_paths_file_with_slash(self) -> None:
        """`file/` is 404, in every spelling; a directory without its slash is redirected to it with its query."""
        for target in ("/a.txt/", "/a.txt//", "/a.txt/.", "/a.txt/x", "/a.txt/%2e", "/in.txt/"):
            self.assertEqual(self.get(target).status, 404, target)
        self.assertEqual(self.get("/dir?x=y").headers[b"location"], b"/dir/?x=y")


class PolicyTests(SiteCase):
    def test_paths_dotfiles(self) -> None:
        """Dotfiles are hidden unless asked for, in every spelling; /.well-known is served."""
        for target in (
            "/.hidden",
            "/%2ehidden",
            "/./.hidden",
            "/dir/../.hidden",
            "/.git/config",
            "/.git",
            "/.git/",
            "/%2Egit/config",
            "/dir/.well-known/x",
            "/.well-known/../.hidden",
        ):
            self.assertEqual(self.get(target).status, 404, target)
        self.assertEqual(self.get("/.well-known/x").body, b"well")
        rig = self.rig(dotfiles=True)
        self.assertEqual(self.get("/.hidden", rig).body, b"secret")

    def test_paths_links(self) -> None:
        """A symbolic link may not leave the root, by default; `no` follows none, `yes` any, `owner` its owner's."""
        for follow, inside, outside in (
            ("inside", 200, 404),
            ("no", 404, 404),
            ("yes", 200, 200),
            ("owner", 200, 200),
        ):
            rig = self.rig(follow_symlinks=follow)
            self.assertEqual(self.get("/in.txt", rig).status, inside, follow)
            for target in ("/out.txt", "/outdir/secret.txt", "/outdir/www/a.txt"):
                self.assertEqual(self.get(target, rig).status, outside, (follow, target))
        if os.geteuid() == 0:
            os.chown(self.root / "out.txt", 65534, 65534, follow_symlinks=False)
            self.assertEqual(self.get("/out.txt", self.rig(follow_symlinks="owner")).status, 403)

    def test_paths_link_that_appears(self) -> None:
        """A file that is kept in memory is not sent when a link has taken its place, or its directory's."""
        rig = self.rig()
        self.assertEqual(self.get("/dir/b.txt", rig).body, b"b")
        (self.root / "dir").rename(self.root / "old")
        (self.root / "dir").symlink_to("/etc")
        peer = rig.connect()
        peer.wait(2.0)
        peer.send(request("/dir/b.txt") + request("/dir/passwd"))
        self.assertEqual(peer.statuses, [404, 404])


SPELLINGS = (
    "/cgi-bin/run.sh",
    "/./cgi-bin/run.sh",
    "/%2e/cgi-bin/run.sh",
    "/dir/../cgi-bin/run.sh",
    "//cgi-bin//run.sh",
    "/cgi-bin/./run.sh",
    "/cgi-bin/x/../run.sh",
    "/%63gi-bin/run.sh",
    "/cgi%2dbin/run.sh",
    "/cgi-bin/run%2esh",
    "/cgi-bin/%72un.sh",
    "/dir/cgi-bin/deep/run.sh",
    "/dir/cgi-bin/deep/../deep/run.sh",
    "/cgi-bin/run.sh/x",
    "/cgi-bin/run.sh/",
)
NEVER = (
    "/x%2f..%2fcgi-bin/run.sh",
    "/CGI-BIN/run.sh",
    "/Cgi-Bin/run.sh",
    "/cgi-bin%2frun.sh",
    "/cgi-bin%5crun.sh",
    "/cgi-bin\\run.sh",
    "/cgi-bin/run.sh%00",
    "/cgi-bin/run.sh%00.txt",
    "/source.txt",
    "/bin/run.sh",
    "/cgi-bin/",
    "/cgi-bin",
    "/cgi-bin/.",
    "/outdir/www/cgi-bin/run.sh",
    "/cgi-bin/RUN.SH",
    "/cgi-bin/run.sh.gz",
    "/cgi-bin/run.sh~",
    "/cgi-bin/run.sh::$DATA",
    "/cgi-bin./run.sh",
    "/cgi-bin%20/run.sh",
    "/dir/CGI-bin/deep/run.sh",
    "/cgi-bin;x/run.sh",
)


class SourceTests(SiteCase):
    def test_paths_source_is_never_served(self) -> None:
        """By any spelling a script runs or is refused, with ranges and codings, whatever links are followed."""
        for options in (
            {},
            {"follow_symlinks": "yes"},
            {"follow_symlinks": "owner"},
            {"listing": True, "dotfiles": True},
        ):
            rig = self.rig(**options)
            for target in SPELLINGS + NEVER:
                for fields in ((), ("Range: bytes=0-9",), ("Accept-Encoding: gzip, br",)):
                    answer = self.get(target, rig, *fields)
                    self.assertNotIn(b"the source", answer.body, (target, options))
                    self.assertNotIn(b"#!/bin", answer.body, (target, options))
        for target in SPELLINGS:
            self.assertEqual(self.get(target).body, b"ran", target)
        for target in NEVER:
            found = self.get(target)
            self.assertNotEqual(found.status, 200 if found.body != b"ran" else None, target)

    def test_paths_source_is_never_served_without_scripts(self) -> None:
        """Also where no scripts are run at all, a CGI directory's files are refused."""
        rig = Rig(root=self.root, access_log=False)
        for target in SPELLINGS + NEVER:
            self.assertNotIn(b"the source", rig.get(target).body, target)

    @given(
        st.sampled_from(SPELLINGS[:12]),
        st.lists(
            st.tuples(st.integers(0, 60), st.sampled_from(["/", "/./", "/x/../", "%2e", "%2f", "//", "%", ".", "%00"]))
        ),
        st.lists(st.integers(0, 40), max_size=6),
        st.lists(st.integers(0, 40), max_size=3),
    )
    @settings(derandomize=True, deadline=None, max_examples=150)
    def test_paths_any_spelling(
        self, target: str, inserted: list[tuple[int, str]], encoded: list[int], swapped: list[int]
    ) -> None:
        """Any mixture of slashes, dots, percent-encoding and case: a script runs, or nothing of it is seen."""
        if not hasattr(self, "root") or not self.root.exists():
            self.setUp()
        letters = list(target)
        for at in encoded:
            if at and at < len(letters) and letters[at] != "%":
                letters[at] = f"%{ord(letters[at][0]):02x}" if letters[at] != "/" else "/"
        for at in swapped:
            if at < len(letters):
                letters[at] = letters[at].swapcase()
        for at, text in inserted:
            if at < len(letters):
                letters[at] += text
        data = request("".join(letters))
        peer = self.rig().connect()
        peer.send(data)
        self.assertNotIn(b"the source", peer.received)
        self.assertNotIn(b" 500 ", peer.received[:20])
