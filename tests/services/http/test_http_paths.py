"""From a raw path to what stands there: nothing outside the root, nothing hidden, no script's source."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.site import paths
from netsvc.services.http.site.paths import Directory, File, Policy, Redirect, Refused, Script, join, resolve, split

POLICY = Policy(cgi=frozenset((b"cgi-bin", b"htbin")), index=(b"index.html", b"index.htm"))


class TreeCase(SynchronousTestCase):
    """A tree with everything that may stand in one."""

    def setUp(self) -> None:
        outside = Path(self.mktemp()).absolute()
        self.root = root = outside / "root"
        for name in (
            "d/e",
            "empty",
            "cgi-bin/sub",
            "d/htbin",
            "idx",
            "CGI-BIN",
            ".git",
            ".well-known",
            "html-index/index.html",
        ):
            (root / name).mkdir(parents=True)
        for name in (
            "a.txt", "d/b", "cgi-bin/x.py", "cgi-bin/sub/y", "d/htbin/z", "idx/index.htm", "CGI-BIN/x.py",
            ".git/config", ".hidden",
            ".well-known/security.txt", "d/.x", "cgi-bin/.y", "a b%.txt", "html-index/index.htm",
        ):  # fmt: skip
            (root / name).write_text(name)
        (outside / "secret").write_text("secret")
        (outside / "dir").mkdir()
        (outside / "dir/f").write_text("f")
        for name, target in (
            ("in", "a.txt"), ("d/up", "../a.txt"), ("d/abs", str(root / "a.txt")), ("out", "../secret"),
            ("d/out", "../../secret"),
            ("absout", str(outside / "secret")), ("dirout", "../dir"), ("loop", "loop"), ("dirin", "d"),
            ("dangling", "nothing"),
            ("tools", "cgi-bin"), ("src", "cgi-bin/x.py"), ("d/rootlink", str(root)), ("through", "a.txt/x"),
            ("d/self", "."),
            ("near", f"{root}x/secret"),
        ):  # fmt: skip
            (root / name).symlink_to(target)

    def look(self, raw: bytes, policy: Policy = POLICY, **changes: Any) -> Any:
        """The decision; for a file its content."""
        found = resolve(self.root, raw, mock.MagicMock(wraps=policy, **changes) if changes else policy)
        if isinstance(found, File):
            data = os.read(found.descriptor, 100).decode()
            os.close(found.descriptor)
            return data
        if isinstance(found, Directory):
            os.close(found.descriptor)
            return found.segments
        return found

    def refused(self, raw: bytes, policy: Policy = POLICY) -> int | None:
        found = self.look(raw, policy)
        return found.status if isinstance(found, Refused) else None

    def tearDown(self) -> None:
        self.assertFalse(
            [link for name in os.listdir("/proc/self/fd") if str(self.root) in (link := self._link(name))],
            "a descriptor is left open",
        )

    def _link(self, name: str) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            return ""


class ResolveTests(TreeCase):
    def test_paths_files(self) -> None:
        """A path leads to its file, however it is spelled: decoded once, dots resolved, slashes merged."""
        for raw in (
            b"/a.txt",
            b"//a.txt",
            b"/./a.txt",
            b"/d/../a.txt",
            b"/%61.txt",
            b"/d/%2e%2e/a.txt",
            b"/nowhere/../a.txt",
        ):
            self.assertEqual(self.look(raw), "a.txt", raw)
        self.assertEqual(self.look(b"/a%20b%25.txt"), "a b%.txt")
        self.assertEqual(self.refused(b"/%2561.txt"), 404)

    def test_paths_refused_spellings(self) -> None:
        """NUL, control characters, bad encodings, the way above the root: 400; encoded slashes, backslashes: 404."""
        for raw in (b"/%00", b"/a.txt%00.html", b"/%0a", b"/%7f", b"/%", b"/%4", b"/%zz", b"/..", b"/../a.txt",
            b"/d/../../a.txt",
                    b"/%2e%2e/a.txt", b"/..%00", b"a.txt", b"", b"*"):  # fmt: skip
            self.assertEqual(self.refused(raw), 400, raw)
        for raw in (
            b"/d%2fb",
            b"/d%2Fb",
            b"/d%5cb",
            b"/d\\b",
            b"/..%2fsecret",
            b"/x%2f..%2fcgi-bin/x.py",
            b"/%5c..%5csecret",
            b"/a" * 300,
        ):
            self.assertEqual(self.refused(raw), 404, raw)
        self.assertEqual(self.refused(b"/" + b"a" * 300), 404)

    def test_paths_file_with_slash(self) -> None:
        """A file is no directory: with a slash, or with more behind it, it is 404."""
        for raw in (b"/a.txt/", b"/a.txt/.", b"/a.txt/b", b"/in/", b"/nothing", b"/d/nothing"):
            self.assertEqual(self.refused(raw), 404, raw)

    def test_paths_directories(self) -> None:
        """A directory without slash is redirected, never to another host; with one it shows its index, or itself."""
        for raw, location in (
            (b"/d", b"/d/"),
            (b"//d", b"/d/"),
            (b"//evil.example/..//d", b"/d/"),
            (b"/d/e", b"/d/e/"),
            (b"/.//d", b"/d/"),
        ):
            self.assertEqual(self.look(raw), Redirect(location), raw)
        self.assertEqual(self.look(b"/"), ())
        self.assertEqual(self.look(b"//"), ())
        self.assertEqual(self.look(b"/d/e/"), (b"d", b"e"))
        self.assertEqual(self.look(b"/idx/"), "idx/index.htm")
        self.assertEqual(self.look(b"/idx/."), "idx/index.htm")
        self.assertEqual(self.look(b"/html-index/"), "html-index/index.htm")

    def test_paths_dotfiles(self) -> None:
        """Hidden names are 404 unless asked for; /.well-known is not hidden, at the top."""
        for raw in (
            b"/.git/config",
            b"/.hidden",
            b"/d/.x",
            b"/.git",
            b"/%2ehidden",
            b"/cgi-bin/.y",
            b"/d/.well-known/x",
        ):
            self.assertEqual(self.refused(raw), 404, raw)
        self.assertEqual(self.look(b"/.well-known/security.txt"), ".well-known/security.txt")
        self.assertEqual(self.look(b"/.hidden", Policy(dotfiles=True)), ".hidden")

    def test_paths_special_files(self) -> None:
        """A FIFO or a socket is 404, and nothing waits for its other end."""
        os.mkfifo(self.root / "fifo")
        with socket.socket(socket.AF_UNIX) as one:
            here = os.open(".", os.O_RDONLY)
            try:
                os.chdir(self.root)
                one.bind("socket")
            finally:
                os.fchdir(here)
                os.close(here)
            for raw in (b"/fifo", b"/socket"):
                self.assertEqual(self.refused(raw), 404)

    def test_paths_errors(self) -> None:
        """No permission is 403; no descriptor 503; a failing disk 500; no docroot 500."""
        for number, status in ((13, 403), (24, 503), (5, 500), (116, 500)):
            with mock.patch.object(paths.os, "fstat", side_effect=OSError(number, "x")):
                self.assertEqual(self.refused(b"/a.txt"), status)
        self.assertEqual(resolve(self.root / "nothing", b"/", POLICY), Refused(500, "the docroot cannot be opened"))
        with mock.patch.object(paths.os, "open", side_effect=OSError(24, "x")):
            self.assertEqual(self.refused(b"/a.txt"), 503)

    def test_paths_replaced_meanwhile(self) -> None:
        """A file that is replaced between the look and the opening is not served."""
        real = os.open

        def swap(name: Any, flags: int, *args: Any, **named: Any) -> int:
            if name == b"a.txt" and not flags & os.O_PATH:
                (self.root / "new").write_text("new")
                os.rename(self.root / "new", self.root / "a.txt")
            return real(name, flags, *args, **named)

        with mock.patch.object(paths.os, "open", swap):
            self.assertEqual(self.refused(b"/a.txt"), 404)


class LinkTests(TreeCase):
    def test_paths_links_inside(self) -> None:
        """By default links lead anywhere within the root and never out of it."""
        for raw in (b"/in", b"/d/up", b"/d/abs", b"/d/rootlink/a.txt", b"/d/self/self/up"):
            self.assertEqual(self.look(raw), "a.txt", raw)
        self.assertEqual(self.look(b"/dirin/b"), "d/b")
        self.assertEqual(self.look(b"/dirin"), Redirect(b"/dirin/"))
        for raw in (
            b"/out",
            b"/d/out",
            b"/absout",
            b"/dirout/f",
            b"/loop",
            b"/dangling",
            b"/through",
            b"/d" + b"/self" * 41,
            b"/near",
        ):
            self.assertEqual(self.refused(raw), 404, raw)

    def test_paths_links_by_either_name_of_the_root(self) -> None:
        """Where the docroot is a link itself, an absolute link may name it either way."""
        named = self.root.parent / "named"
        named.symlink_to("root")
        (self.root / "d/named").symlink_to(named / "a.txt")
        real, self.root = self.root, named
        self.assertEqual(self.look(b"/d/named"), "a.txt")
        self.assertEqual(self.look(b"/d/abs"), "a.txt")
        self.root = real

    def test_paths_links_no(self) -> None:
        """follow_symlinks = no follows none."""
        policy = Policy(follow="no", cgi=POLICY.cgi)
        for raw in (b"/in", b"/dirin/b", b"/out"):
            self.assertEqual(self.refused(raw, policy), 404)
        self.assertEqual(self.look(b"/a.txt", policy), "a.txt")

    def test_paths_links_yes(self) -> None:
        """follow_symlinks = yes follows all, but not to the source of a script."""
        policy = Policy(follow="yes", cgi=POLICY.cgi)
        self.assertEqual(self.look(b"/out", policy), "secret")
        self.assertEqual(self.look(b"/dirout/f", policy), "f")
        self.assertEqual(self.refused(b"/loop", policy), 404)
        for raw in (b"/src", b"/tools/x.py", b"/d/rootlink/src", b"/tools/"):
            self.assertEqual(self.refused(raw, policy), 403, raw)
        with mock.patch.object(paths.os, "readlink", side_effect=[b"../secret", OSError(2, "no /proc")]):
            self.assertEqual(self.refused(b"/out", policy), 403)

    def test_paths_links_owner(self) -> None:
        """follow_symlinks = owner follows to what the link's owner owns."""
        policy = Policy(follow="owner", cgi=POLICY.cgi)
        self.assertEqual(self.look(b"/out", policy), "secret")
        real = os.fstat

        def other(descriptor: int) -> Any:
            found = real(descriptor)
            if paths.stat.S_ISLNK(found.st_mode):
                return mock.Mock(wraps=found, st_mode=found.st_mode, st_uid=found.st_uid + 1)
            return found

        with mock.patch.object(paths.os, "fstat", other):
            self.assertEqual(self.refused(b"/out", policy), 403)


class CgiTests(TreeCase):
    def script(self, raw: bytes) -> tuple[str, str]:
        found = self.look(raw)
        self.assertIsInstance(found, Script)
        self.assertEqual(found.filename, self.root / found.script_name[1:])
        self.assertEqual(found.docroot, self.root)
        return found.script_name, found.path_info

    def test_paths_scripts(self) -> None:
        """A file in a CGI directory, at any depth, is a script; what stands behind it is its path."""
        for raw, found in (
            (b"/cgi-bin/x.py", ("/cgi-bin/x.py", "")),
            (b"/cgi-bin/x.py/", ("/cgi-bin/x.py", "/")),
            (b"/cgi-bin/x.py/a/B%20c/", ("/cgi-bin/x.py", "/a/B c/")),
            (b"/cgi-bin/x.py/.git/%c3%a9%ff", ("/cgi-bin/x.py", "/.git/é\udcff")),
            (b"/cgi-bin/sub/y/z", ("/cgi-bin/sub/y", "/z")),
            (b"/d/htbin/z", ("/d/htbin/z", "")),
        ):
            self.assertEqual(self.script(raw), found, raw)

    def test_paths_script_source_is_never_served(self) -> None:
        """No spelling of a script's path leads to its source."""
        for raw in (b"/./cgi-bin/x.py", b"/%2e/cgi-bin/x.py", b"//cgi-bin//x.py", b"/d/../cgi-bin/x.py",
            b"/%63gi-bin/x%2epy",
                    b"/cgi-bin/sub/../x.py", b"/cgi-bin/./x.py"):  # fmt: skip
            self.assertEqual(self.script(raw), ("/cgi-bin/x.py", ""), raw)
        for raw, status in (
            (b"/x%2f..%2fcgi-bin/x.py", 404), (b"/CGI-BIN/x.py", 404), (b"/Cgi-Bin/x.py", 404),
            (b"/cgi-bin%00/x.py", 400),
            (b"/cgi-bin\\x.py", 404), (b"/tools/x.py", 403), (b"/src", 403), (b"/tools/", 403),
            (b"/dirin/../cgi-bin", 403),
        ):  # fmt: skip
            self.assertEqual(self.refused(raw), status, raw)

    def test_paths_cgi_directories(self) -> None:
        """A CGI directory is not shown, nor are its subdirectories."""
        for raw in (b"/cgi-bin", b"/cgi-bin/", b"/cgi-bin/sub/", b"/d/htbin/"):
            self.assertEqual(self.refused(raw), 403, raw)
        self.assertEqual(self.refused(b"/cgi-bin/nothing"), 404)

    def test_paths_no_cgi(self) -> None:
        """Without CGI directories their names mean nothing."""
        self.assertEqual(self.look(b"/cgi-bin/x.py", Policy()), "cgi-bin/x.py")

    def test_paths_link_named_as_cgi_directory(self) -> None:
        """A link that is called cgi-bin is one."""
        (self.root / "e").mkdir()
        (self.root / "e/cgi-bin").symlink_to("../d")
        self.assertEqual(self.script(b"/e/cgi-bin/b"), ("/e/cgi-bin/b", ""))


class SpellingTests(SynchronousTestCase):
    @given(st.binary(max_size=60))
    @settings(derandomize=True, deadline=None)
    def test_any_path(self, raw: bytes) -> None:
        """Any path is refused, or is names without dots and slashes that have one canonical spelling of their own."""
        found = split(b"/" + raw)
        if isinstance(found, Refused):
            self.assertIn(found.status, (400, 404))
            return
        names, directory = found
        for name in names:
            self.assertNotIn(name, (b"", b".", b".."))
            self.assertNotIn(b"/", name)
        spelled = join(names, directory=directory)
        self.assertFalse(spelled.startswith(b"//"))
        self.assertEqual(split(spelled), (names, directory or not names))
