"""OpenSSH's sftp, scp and ssh against a real daemon."""

from __future__ import annotations

import hashlib
import os
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from tests.live.sftp_account import BOUND, USER, Account

DATA = os.urandom(2_500_000)


class OpenSshTests(SynchronousTestCase):
    def test_sftp(self) -> None:
        """Its sftp lists, puts with times, gets, renames, removes, makes and removes directories; it exits with 0."""
        with Account() as account:
            (account.here / "a.bin").write_bytes(DATA)
            os.utime(account.here / "a.bin", (1_000_000_000, 1_000_000_000))
            (account.here / "tree" / "deep").mkdir(parents=True)
            (account.here / "tree" / "deep" / "ü name.txt").write_text("x")
            output = account.sftp(
                "put -p a.bin\nls -la\nget -p a.bin back.bin\nrename a.bin b.bin\nput -r tree\nget -r tree tree2\n"
                "mkdir d\nchmod 600 b.bin\nls -1 tree/deep\ndf -h\nrmdir d\npwd\n"
            )
            assert f" {USER}      {USER}       2500000 Sep  9  2001 a.bin" in output
            assert (account.here / "back.bin").read_bytes() == DATA
            assert int((account.here / "back.bin").stat().st_mtime) == 1_000_000_000
            assert (account.root / "b.bin").read_bytes() == DATA
            assert (account.here / "tree2" / "deep" / "ü name.txt").read_text() == "x"
            account.sftp("rm b.bin\nrm tree/deep/*\nrmdir tree/deep\nrmdir tree\n")
            assert [one.name for one in account.root.iterdir() if not one.name.startswith(".")] == []

    def test_resume(self) -> None:
        """Its reput continues an upload whose connection was lost, or a file that is shorter; reget a download."""
        with Account() as account:
            (account.here / "a.bin").write_bytes(DATA)
            account.cut_off("a.bin", DATA[:1_000_000])
            assert not (account.root / "a.bin").exists()
            account.sftp("reput a.bin\n")
            assert (account.root / "a.bin").read_bytes() == DATA
            (account.root / "b.bin").write_bytes(DATA[:1_000_000])
            (account.here / "back.bin").write_bytes(DATA[:700_000])
            account.sftp("reput a.bin b.bin\nreget a.bin back.bin\n")
            assert (account.root / "b.bin").read_bytes() == DATA
            assert (account.here / "back.bin").read_bytes() == DATA

    def test_scp(self) -> None:
        """Its scp copies files and trees both ways, with times, and exits with 0."""
        with Account() as account:
            (account.here / "tree").mkdir()
            (account.here / "tree" / "a.bin").write_bytes(DATA)
            os.utime(account.here / "tree" / "a.bin", (1_000_000_000, 1_000_000_000))
            where = f"{USER}@127.0.0.1:"
            account.run("scp", "-q", *account.options, "-p", "tree/a.bin", where + "b.bin")
            assert (account.root / "b.bin").stat().st_mtime == 1_000_000_000
            account.run("scp", "-q", *account.options, "-rp", "tree", where + "/")
            account.run("scp", "-q", *account.options, "-rp", where + "tree", "back")
            account.run("scp", "-q", *account.options, where + "b.bin", "b.bin")
            assert (account.here / "back" / "a.bin").read_bytes() == DATA
            assert (account.here / "b.bin").read_bytes() == DATA

    def test_sums(self) -> None:
        """A command of ssh may be sha256sum or md5sum, and nothing else."""
        with Account() as account:
            (account.root / "a b").write_bytes(DATA)
            assert account.ssh("sha256sum 'a b'") == f"{hashlib.sha256(DATA).hexdigest()}  a b\n"
            assert account.ssh("md5sum a\\ b") == f"{hashlib.md5(DATA).hexdigest()}  a b\n"
            command = ["ssh", *account.options, f"{USER}@127.0.0.1", "touch x"]
            assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=BOUND).returncode == 127

    def test_upload_only(self) -> None:
        """With an upload-only account sftp and scp upload, resume, and are refused all else."""
        with Account("upload-only") as account:
            (account.here / "a.bin").write_bytes(DATA)
            account.sftp("put a.bin\n")
            account.run("scp", "-q", *account.options, "a.bin", f"{USER}@127.0.0.1:b.bin")
            account.cut_off("c.bin", DATA[:1_000_000])
            account.sftp("reput a.bin c.bin\n")
            for name in ("a.bin", "b.bin", "c.bin"):
                assert (account.root / name).read_bytes() == DATA
            assert "Permission denied" in account.sftp("ls\n")  # for which sftp does not fail
            for refused in ("put a.bin", "get a.bin x", "rm a.bin", "rename a.bin z", "mkdir d"):
                with self.assertRaises(AssertionError):
                    account.sftp(refused + "\n")

    def test_read_only(self) -> None:
        """With a read-only account sftp lists and gets, and is refused all else."""
        with Account("read-only") as account:
            (account.root / "a.bin").write_bytes(DATA)
            account.sftp("ls -l\nget a.bin\n")
            assert (account.here / "a.bin").read_bytes() == DATA
            for refused in ("put a.bin b", "put a.bin", "rm a.bin", "rename a.bin z", "mkdir d"):
                with self.assertRaises(AssertionError):
                    account.sftp(refused + "\n")
