"""Commands that clients run to compare files are answered; nothing else is, and no shell is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from twisted.internet.defer import DeferredSemaphore, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.access import Access
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.services.sftp.sums import AT_ONCE, MAX_FILES, MAX_LINE, Command
from tests.services.sftp.session import FakeChannel, Threads

DATA = b"some octets\n"


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="netsvc-sums-"))
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "a").write_bytes(DATA)

    def run_line(self, line: bytes, access: Access = Access.FULL) -> tuple[bytes, int | None]:
        channel = FakeChannel()
        Command(FileStore(self.root, Terms(access=access)), channel, line, maybeDeferred, DeferredSemaphore(1)).start()
        return channel.output, channel.ended

    def test_sums(self) -> None:
        """sha256sum, sha1sum and md5sum of a file print what GNU's print, with the path as it was given."""
        for name in ("sha256", "sha1", "md5"):
            digest = hashlib.new(name, DATA).hexdigest().encode()
            assert self.run_line(name.encode() + b"sum a") == (digest + b"  a\n", 0)
            assert self.run_line(name.encode() + b"sum -b -- /a") == (digest + b"  /a\n", 0)

    def test_probes(self) -> None:
        """What rclone asks first: the sum of nothing, and which shell there is."""
        for line in (b"md5sum", b"md5sum -"):
            assert self.run_line(line) == (b"d41d8cd98f00b204e9800998ecf8427e  -\n", 0)
        assert self.run_line(b"echo ${ShellId}%ComSpec%") == (b"%ComSpec%\n", 0)

    def test_quoting(self) -> None:
        """Quotes and backslashes are a shell's, as rclone writes them; nothing else is."""
        (self.root / "b $(x) 'c'").write_bytes(DATA)
        digest = hashlib.md5(DATA).hexdigest().encode()
        expected = (digest + b"  b $(x) 'c'\n", 0)
        assert self.run_line(rb"md5sum b\ \$\(x\)\ \'c\'") == expected
        assert self.run_line(b"md5sum \"b $(x) 'c'\"") == expected
        assert self.run_line(b"md5sum none; rm a") == (digest + b"  a\n", 1)
        assert (self.root / "a").exists()

    def test_several(self) -> None:
        """Of several files those that are there are told; the status says that one was not."""
        output, status = self.run_line(b"sha256sum a none a ../a")
        assert output.count(hashlib.sha256(DATA).hexdigest().encode()) == 3
        assert status == 1
        output, status = self.run_line(b"md5sum" + b" a" * (MAX_FILES + 1))
        assert output.count(b"\n") == MAX_FILES
        assert status == 1

    def test_unknown(self) -> None:
        """Any other command is not there, and so is one whose quote does not end."""
        for line in (b"", b"ls", b"/bin/sh", b"scp -t /", b"md5sum 'a", b"\xff\xfe", b"x" * (MAX_LINE + 1)):
            assert self.run_line(line) == (b"", 127)

    def test_names(self) -> None:
        """What is outside, hidden, a directory or no name is not read."""
        for path in (b"../../etc/passwd", b"/etc/passwd", b".hidden", b".", b"/", b"'\xff'", b"$'a\\nb'"):
            assert self.run_line(b"sha256sum " + path) == (b"", 1)

    def test_upload_only(self) -> None:
        """An account that may only upload is told no sums."""
        assert self.run_line(b"md5sum a", Access.UPLOAD_ONLY) == (b"", 1)
        assert self.run_line(b"sha256sum a", Access.UPLOAD_ONLY) == (b"", 1)

    def test_gone(self) -> None:
        """When the connection is gone, nothing is answered."""
        threads, channel = Threads(), FakeChannel()
        command = Command(FileStore(self.root, Terms()), channel, b"md5sum a", threads, DeferredSemaphore(1))
        command.start()
        command.closed()
        threads.work()
        assert (channel.output, channel.ended) == (b"", None)

    def test_turns(self) -> None:
        """Sums of long files leave threads for others: few are worked out at once, and each for a while at a time."""
        with (self.root / "long").open("wb") as file:
            file.truncate(200 << 20)
        threads, turns, store = Threads(), DeferredSemaphore(AT_ONCE), FileStore(self.root, Terms())
        channels = [FakeChannel() for _ in range(20)]
        for channel in channels:
            line = b"sha256sum long" if channel is channels[0] else b"md5sum a"
            Command(store, channel, line, threads, turns).start()
        while not all(channel.ended == 0 for channel in channels[1:]):
            assert len(threads.waiting) <= AT_ONCE
            threads.work(1)
        assert channels[0].ended is None
        threads.work()
        assert channels[0].ended == 0

    def test_gone_in_a_long_file(self) -> None:
        """When the peer has gone, the rest is not read, and the file is closed."""
        with (self.root / "long").open("wb") as file:
            file.truncate(1 << 40)
        threads, channel = Threads(), FakeChannel()
        command = Command(FileStore(self.root, Terms()), channel, b"sha256sum long", threads, DeferredSemaphore(1))
        command.start()
        threads.work(1)
        command.closed()
        threads.work()
        assert (channel.output, channel.ended) == (b"", None)
        open_ones = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        assert os.fspath(self.root / "long") not in open_ones
