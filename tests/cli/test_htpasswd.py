"""netsvc htpasswd: users are added, changed and removed; the file is whole at any moment and for its owner only."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli import htpasswd as command
from netsvc.cli.main import main
from netsvc.net.passwords import htpasswd


class HtpasswdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp()).absolute()
        self.patch(htpasswd, "BCRYPT_COST", 4)

    def run_it(self, *arguments: str, stdin: bytes = b"secret\n") -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        stream = io.TextIOWrapper(io.BytesIO(stdin))
        with redirect_stdout(out), redirect_stderr(err), mock.patch("sys.stdin", stream):
            status = main(["htpasswd", str(self.file), *arguments])
        return status, out.getvalue(), err.getvalue()

    def users(self) -> dict[str, str]:
        return htpasswd.parse(self.file.read_bytes())

    def test_add(self) -> None:
        """A new file is made with mode 0600; the password is read from stdin; the user is there."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.assertEqual(self.run_it("alice"), (0, "alice is added\n", ""))
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertTrue(htpasswd.check(self.users()["alice"], "secret"))
        self.assertEqual(list(self.file.parent.glob(f".{self.file.name}*")), [])

    def test_change(self) -> None:
        """A user who is there gets the new password; others, comments and the file's mode stay."""
        self.run_it("alice")
        self.run_it("bob", "--argon2")
        self.assertTrue(self.users()["bob"].startswith("$argon2id$"))
        self.file.write_bytes(b"# mine\n" + self.file.read_bytes())
        self.file.chmod(0o640)
        self.assertEqual(self.run_it("alice", stdin=b"other\r\n")[1], "alice has a new password\n")
        self.assertTrue(htpasswd.check(self.users()["alice"], "other"))
        self.assertTrue(self.file.read_bytes().startswith(b"# mine\n"))
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o640)
        self.assertEqual(self.run_it("alice", "--delete"), (0, "alice is removed\n", ""))
        self.assertEqual(list(self.users()), ["bob"])

    def test_link(self) -> None:
        """A link to the file stays a link."""
        real = self.file.with_name("real")
        real.write_bytes(b"")
        self.file.symlink_to(real)
        self.run_it("alice")
        self.assertTrue(self.file.is_symlink())
        self.assertEqual(list(htpasswd.parse(real.read_bytes())), ["alice"])

    def test_faults(self) -> None:
        """A bad name, password or file, and an unknown user, are a clear line and status 1; nothing changes."""
        for user in ("a:b", "", "a\x1b", "#a"):
            self.assertEqual(self.run_it(user)[0], 1, user)
        for password, words in ((b"", "a password has"), (b"x" * 80, "--argon2"), (b"\xff", "utf-8")):
            status, _, err = self.run_it("alice", stdin=password)
            self.assertEqual(status, 1)
            self.assertIn(words, err)
        self.assertIn("there is no user 'alice'", self.run_it("alice", "--delete")[2])
        self.assertFalse(self.file.exists())
        self.file.write_text("alice:plain\n")
        self.assertIn("line 1 has crypt or a plain password", self.run_it("bob")[2])
        self.assertEqual(self.file.read_text(), "alice:plain\n")
        self.file = self.file / "not" / "there"
        self.assertEqual(self.run_it("alice")[0], 1)

    def test_terminal(self) -> None:
        """On a terminal the password is asked for twice."""
        with mock.patch.object(command.sys, "stdin") as stdin, mock.patch("getpass.getpass", side_effect=["a", "a"]):
            stdin.isatty.return_value = True
            self.assertEqual(command._password(), "a")
        with mock.patch.object(command.sys, "stdin") as stdin, mock.patch("getpass.getpass", side_effect=["a", "b"]):
            stdin.isatty.return_value = True
            self.assertRaises(ValueError, command._password)
        with mock.patch.object(command, "_password", side_effect=EOFError):
            self.assertEqual(self.run_it("alice")[2], f"netsvc htpasswd: {self.file}: there is no password\n")

    def test_disk_full(self) -> None:
        """What cannot be written leaves the old file as it was, and no other behind."""
        self.run_it("alice")
        before = self.file.read_bytes()
        with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
            status, _, err = self.run_it("bob")
        self.assertEqual((status, self.file.read_bytes()), (1, before))
        self.assertIn("No space left", err)
        self.assertEqual(list(self.file.parent.glob(f".{self.file.name}*")), [])

    def test_owner(self) -> None:
        """The owner of the file stays its owner."""
        self.run_it("alice")
        if os.geteuid() == 0:
            os.chown(self.file, 65534, 65534)
            self.run_it("bob")
            self.assertEqual(self.file.stat().st_uid, 65534)

    def test_apache(self) -> None:
        """What Apache's htpasswd makes is taken, and it takes what we make."""
        subprocess.run(["htpasswd", "-cbB", "-C", "5", self.file, "alice", "secret"], check=True, capture_output=True)
        self.assertTrue(htpasswd.check(self.users()["alice"], "secret"))
        self.run_it("bob", stdin=b"caf\xc3\xa9\n")
        subprocess.run(["htpasswd", "-vb", self.file, "bob", "caf\u00e9"], check=True, capture_output=True)
