"""netsvc put -c to this daemon by sftp: what is kept of an upload that was cut is gone on with."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live import parts
from tests.live.daemon import NETSVC
from tests.live.sftp_account import USER, Account
from tests.waiting import wait_until

BOUND = 180.0  # seconds
DATA = os.urandom((3 << 20) + 1)


class PutTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-put-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.file = self.directory / "ä b.bin"
        self.file.write_bytes(DATA)

    def command(self, account: Account, *options: str) -> list[str]:
        ssh = shlex.join(("ssh", *account.options))
        return [str(NETSVC), "put", "--ssh", ssh, *options, str(self.file), f"sftp://{USER}@127.0.0.1/"]

    def begin(self, account: Account, *options: str) -> subprocess.Popen[bytes]:
        """A put that is under way: some hundred KiB of it are in the part."""
        child = subprocess.Popen(self.command(account, "--limit-rate", "256KiB/s", *options), stderr=subprocess.DEVNULL)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        wait_until(lambda: any(size > 500_000 for size in parts.sizes(account.root)), "nothing has come")
        return child

    def killed(self, account: Account, *options: str) -> int:
        """Kill one in the middle; the octets that the daemon says to have kept."""
        child = self.begin(account, *options)
        child.kill()
        self.assertEqual(child.wait(BOUND), -signal.SIGKILL)
        kept = int(account.daemon.wait_for(r"upload of ä b\.bin.* was cut off at octet (\d+)")[1])
        self.assertFalse((account.root / self.file.name).exists())
        return kept

    def go_on(self, account: Account, *options: str) -> int:
        """The octet from which put -c goes on; then the file is there, and no part."""
        ran = subprocess.run(
            self.command(account, "-c", "-q", "--json", *options), capture_output=True, text=True, timeout=BOUND
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual((account.root / self.file.name).read_bytes(), self.file.read_bytes())
        self.assertEqual([one.name for one in account.root.iterdir() if one.suffix == ".part"], [])
        return int(json.loads(ran.stdout)["resumed_at"])

    def test_client_killed(self) -> None:
        """Behind a client that was killed the rest follows all that the daemon kept; of a whole file nothing does."""
        with Account() as account:
            kept = self.killed(account)
            self.assertGreater(kept, 0)
            self.assertEqual(self.go_on(account), kept)
            self.assertEqual(self.go_on(account), len(DATA))
            self.assertNotRegex(account.daemon.log(), "Traceback|Unhandled")

    def test_client_killed_that_verifies(self) -> None:
        """So it is with --verify, which sends to another name first; without it the next run goes on with that."""
        for options in (("--verify",), ()):
            with Account() as account:
                kept = self.killed(account, "--verify")
                self.assertEqual(self.go_on(account, *options), kept)

    def test_who_may_only_upload(self) -> None:
        """Who may not even see what is there goes on with his own part."""
        with Account("upload-only") as account:
            kept = self.killed(account)
            self.assertEqual(self.go_on(account), kept)

    def test_another_file(self) -> None:
        """A part that is not the beginning of the file is given up."""
        with Account() as account:
            self.killed(account)
            self.file.write_bytes(DATA[::-1])
            self.assertEqual(self.go_on(account), 0)

    def test_file_abuse_49_daemon_restarted(self) -> None:
        """A daemon that is restarted in an upload ends the client with status 1; the next run goes on."""
        with Account(more="drain_timeout = 1s\n") as account:
            child = self.begin(account)
            account.restart()
            self.assertEqual(child.wait(BOUND), 1)
            self.assertFalse((account.root / self.file.name).exists())
            self.assertGreater(self.go_on(account), 500_000)
