"""lftp, curl, rclone, psftp and sshfs against a real daemon: all their verbs, with exit status 0."""

from __future__ import annotations

import hashlib
import os

from twisted.trial.unittest import SynchronousTestCase

from tests.live.sftp_account import USER, Account, run
from tests.waiting import wait_until

DATA = os.urandom(2_500_000)
WHEN = 1_000_000_000  # seconds since the epoch: 2001-09-09


def _prepare(account: Account) -> None:
    """A file at the client, and half of another's upload at the server."""
    (account.here / "a.bin").write_bytes(DATA)
    os.utime(account.here / "a.bin", (WHEN, WHEN))
    account.cut_off("up.bin", DATA[:1_000_000])
    (account.here / "half.bin").write_bytes(DATA[:700_000])


class OtherClientsTests(SynchronousTestCase):
    def test_lftp(self) -> None:
        """It lists, puts, gets, continues both, renames, removes, and mirrors a tree both ways."""
        with Account() as account:
            _prepare(account)
            tree = account.here / "tree" / "deep"
            tree.mkdir(parents=True)
            (tree / "a b").write_bytes(DATA[:100_000])
            connect = " ".join(("ssh", "-a", "-x", *account.options))
            output = account.run(
                "lftp",
                "-c",
                f"set cmd:fail-exit yes; set net:max-retries 1; set sftp:connect-program '{connect}'; "
                f"open -u {USER}, sftp://127.0.0.1:{account.port}; "
                "put a.bin; ls; cls -l a.bin; get a.bin -o back.bin; get -c a.bin -o half.bin; put -c a.bin -o up.bin; "
                "mv a.bin b.bin; mkdir d; mirror -R tree d/tree; mirror d/tree tree2; pget -n 3 b.bin -o parts.bin; "
                "chmod 600 b.bin; rm -r d; rm b.bin",
            )
            assert "2500000" in output
            assert (account.here / "back.bin").read_bytes() == DATA
            assert (account.here / "half.bin").read_bytes() == DATA
            assert (account.here / "parts.bin").read_bytes() == DATA
            assert (account.root / "up.bin").read_bytes() == DATA
            assert (account.here / "tree2" / "deep" / "a b").read_bytes() == DATA[:100_000]
            assert sorted(one.name for one in account.root.iterdir() if one.name[0] != ".") == ["up.bin"]

    def test_curl(self) -> None:
        """It lists, puts, gets, continues both, renames and removes."""
        with Account() as account:
            _prepare(account)
            url = f"sftp://{USER}@127.0.0.1:{account.port}/"
            login = ("curl", "-sS", "--insecure", "--key", str(account.key), "--pubkey", f"{account.key}.pub")
            account.run(*login, "-T", "a.bin", url)
            assert "2500000" in account.run(*login, url)
            account.run(*login, "-o", "back.bin", url + "a.bin")
            account.run(*login, "-C", "-", "-o", "half.bin", url + "a.bin")
            account.run(*login, "-C", "-", "-T", "a.bin", url + "up.bin")
            account.run(*login, "--ftp-create-dirs", "-T", "a.bin", url + "d/e/a.bin")
            assert account.run(*login, "-r", "5-9", url + "d/e/a.bin", "-o", "part.bin") == ""
            account.run(*login, "-Q", "-rename /a.bin /b.bin", url, "-o", "list")
            account.run(*login, "-Q", "-rm /b.bin", "-Q", "-rm /d/e/a.bin", "-Q", "-rmdir /d/e", url, "-o", "list")
            assert (account.here / "back.bin").read_bytes() == DATA
            assert (account.here / "half.bin").read_bytes() == DATA
            assert (account.here / "part.bin").read_bytes() == DATA[5:10]
            assert (account.root / "up.bin").read_bytes() == DATA
            assert sorted(one.name for one in account.root.iterdir() if one.name[0] != ".") == ["d", "up.bin"]

    def test_rclone(self) -> None:
        """It lists, copies both ways, checks by sums, moves, removes, and tells the room there is."""
        with Account() as account:
            _prepare(account)
            (account.here / "tree" / "deep").mkdir(parents=True)
            for number in range(20):
                (account.here / "tree" / "deep" / f"a 'b' $({number})").write_bytes(DATA[: number * 10_000])
            (account.here / "rclone.conf").write_text(
                f"[r]\ntype = sftp\nhost = 127.0.0.1\nport = {account.port}\nuser = {USER}\nkey_file = {account.key}\n"
            )

            def rclone(*arguments: str) -> str:
                return account.run("rclone", "--config", "rclone.conf", "--retries", "1", *arguments)

            rclone("copy", "a.bin", "r:")
            assert "2500000 2001-09-09" in rclone("lsl", "r:", "--use-json-log=false").replace("  ", " ")
            rclone("copy", "r:a.bin", "back")
            rclone("sync", "tree", "r:d/tree")
            rclone("check", "tree", "r:d/tree")
            rclone("check", "--download", "tree", "r:d/tree")
            assert rclone("md5sum", "r:a.bin") == f"{hashlib.md5(DATA).hexdigest()}  a.bin\n"
            assert "md5sum" in (account.here / "rclone.conf").read_text()
            rclone("sync", "tree", "r:d/tree")
            rclone("moveto", "r:a.bin", "r:b.bin")
            assert rclone("cat", "--offset", "10", "--count", "0", "r:b.bin") == ""
            assert "Free:" in rclone("about", "r:")
            rclone("mkdir", "r:empty")
            rclone("rmdir", "r:empty")
            rclone("deletefile", "r:b.bin")
            rclone("purge", "r:d")
            assert (account.here / "back" / "a.bin").read_bytes() == DATA
            assert (account.here / "back" / "a.bin").stat().st_mtime == WHEN
            assert [one.name for one in account.root.iterdir() if one.name[0] != "."] == []

    def test_psftp(self) -> None:
        """It lists, puts, gets, continues both, renames and removes."""
        with Account() as account:
            _prepare(account)
            key = account.here / "id.ppk"
            run("puttygen", str(account.key), "-o", str(key), "-O", "private")
            fingerprint = account.run("ssh-keygen", "-lf", str(account.known_hosts)).split()[1]
            (account.here / "script").write_text(
                "put a.bin\nls\nget a.bin back.bin\nreget a.bin half.bin\nreput a.bin up.bin\nmkdir d\n"
                "mv a.bin d/b.bin\nls d\nchmod 600 d/b.bin\ndel d/b.bin\nrmdir d\npwd\nquit\n"
            )
            output = account.run(
                *("psftp", "-batch", "-P", str(account.port), "-l", USER, "-i", str(key), "-hostkey", fingerprint),
                *("-b", "script", "127.0.0.1"),
            )
            assert "2500000" in output
            assert (account.here / "back.bin").read_bytes() == DATA
            assert (account.here / "half.bin").read_bytes() == DATA
            assert (account.root / "up.bin").read_bytes() == DATA
            assert sorted(one.name for one in account.root.iterdir() if one.name[0] != ".") == ["up.bin"]

    def test_sshfs(self) -> None:
        """A mounted account takes cp, cat, mv, rm, mkdir, df and the rests of cut files as a directory does."""
        with Account() as account:
            _prepare(account)
            mounted = account.here / "mounted"
            mounted.mkdir()
            account.run("sshfs", *account.options, f"{USER}@127.0.0.1:/", str(mounted))
            try:
                account.run(
                    "sh",
                    "-exc",
                    "cp -p a.bin mounted/; ls -la mounted; cmp a.bin mounted/a.bin; mkdir mounted/d; "
                    "mv mounted/a.bin mounted/d/b.bin; cp mounted/d/b.bin back.bin; cmp a.bin back.bin; "
                    "tail -c +700001 mounted/d/b.bin >> half.bin; "
                    "head -c 700000 a.bin > mounted/d/h; tail -c +700001 a.bin >> mounted/d/h; cmp a.bin mounted/d/h; "
                    "rm mounted/d/h; echo one > mounted/t; echo two >> mounted/t; cat mounted/t; df mounted; "
                    "dd if=a.bin of=mounted/d/b.bin bs=4096 seek=3 count=2 conv=notrunc; truncate -s 5 mounted/t; "
                    "stat -c %Y mounted/d/b.bin; touch -d @5 mounted/t; chmod 600 mounted/t; ls mounted/d; "
                    "! cat mounted/none; rm mounted/d/b.bin; rmdir mounted/d; cat a.bin > mounted/up.bin; "
                    "test $(stat -c %Y mounted/t) = 5",
                )
                assert (account.here / "half.bin").read_bytes() == DATA
                assert (account.root / "t").read_bytes() == b"one\nt"
                # The kernel has a mounted file closed for good some time after close(2) returned.
                wait_until((account.root / "up.bin").exists, "up.bin was not published")
                assert (account.root / "up.bin").read_bytes() == DATA
            finally:
                wait_until(lambda: _unmounted(str(mounted)), "it stays mounted")


def _unmounted(place: str) -> bool:
    try:
        run("fusermount3", "-u", place)
    except AssertionError:
        return False
    return True
