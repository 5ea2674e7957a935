"""Commands that clients run to compare files are answered; nothing else is, and no shell is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredSemaphore, maybeDeferred

from netsvc.filestore.access import Access
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.door import Door
from netsvc.services.sftp.sums import AT_ONCE, MAX_FILES, MAX_LINE, Command
from tests.services.sftp.session import CREAT, EXTENDED, OK, TRUNC, FakeChannel, SessionTestCase, Threads, W, text

DATA = b"some octets\n"


class CommandTests(SessionTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="netsvc-sums-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        (self.root / "a").write_bytes(DATA)

    def run_line(self, line: bytes, access: Access = Access.FULL, owner: str = "ada") -> tuple[bytes, int | None]:
        channel = FakeChannel()
        self.command(channel, line, Terms(access=access), owner=owner).start()
        return channel.output, channel.ended

    def command(
        self,
        channel: FakeChannel,
        line: bytes,
        terms: Terms | None = None,
        in_thread: Any = maybeDeferred,
        turns: DeferredSemaphore | None = None,
        owner: str = "ada",
    ) -> Command:
        door = Door(FileStore(self.root, terms or Terms()), owner, lambda: 0.0)
        return Command(door, channel, line, Account(owner, "a peer"), in_thread, turns=turns or DeferredSemaphore(1))

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

    def test_part(self) -> None:
        """Of an upload that was cut off its owner is told the SHA-256 of what came; nobody else, and no other sum."""
        session = self.session(root=self.root)
        session.write(session.open("new", W | CREAT | TRUNC), 0, b"012345")
        session.server.closed()
        expected = (hashlib.sha256(b"012345").hexdigest().encode() + b"  new\n", 0)
        for access in (Access.FULL, Access.UPLOAD_ONLY, Access.READ_ONLY):
            assert self.run_line(b"sha256sum new", access) == expected
            assert self.run_line(b"sha256sum new", access, owner="eve") == (b"", 1)
        for other in (b"sha1sum", b"md5sum"):
            assert self.run_line(other + b" new") == (b"", 1)
        (self.root / "new").write_bytes(DATA)
        assert self.run_line(b"sha256sum new") == (hashlib.sha256(DATA).hexdigest().encode() + b"  new\n", 0)

    def test_part_of_a_dead_connection(self) -> None:
        """While nobody knows yet that the connection is dead, the sum is that of what came, whether synced or not."""
        session = self.session(root=self.root)
        handle = session.open("new", W | CREAT | TRUNC)
        session.write(handle, 0, b"0123")
        assert session.status(EXTENDED, text("fsync@openssh.com"), text(handle)) == OK
        for offset, data, whole in ((4, b"45", b"012345"), (9, b"behind a gap", b"012345")):
            session.write(handle, offset, data)
            assert session.read(handle, offset, 100) == data  # it has gone to the file
            assert self.session(root=self.root).size("new") == len(whole)
            assert self.run_line(b"sha256sum new") == (hashlib.sha256(whole).hexdigest().encode() + b"  new\n", 0)
        session.write(handle, 0, b"9")
        assert session.read(handle, 0, 1) == b"9"
        assert self.run_line(b"sha256sum new") == (b"", 1)  # its digest begins anew

    def test_gone(self) -> None:
        """When the connection is gone, nothing is answered."""
        threads, channel = Threads(), FakeChannel()
        command = self.command(channel, b"md5sum a", in_thread=threads)
        command.start()
        command.closed()
        threads.work()
        assert (channel.output, channel.ended) == (b"", None)

    def test_turns(self) -> None:
        """Sums of long files leave threads for others: few are worked out at once, and each for a while at a time."""
        with (self.root / "long").open("wb") as file:
            file.truncate(200 << 20)
        threads, turns = Threads(), DeferredSemaphore(AT_ONCE)
        channels = [FakeChannel() for _ in range(20)]
        for channel in channels:
            line = b"sha256sum long" if channel is channels[0] else b"md5sum a"
            self.command(channel, line, in_thread=threads, turns=turns).start()
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
        command = self.command(channel, b"sha256sum long", in_thread=threads)
        command.start()
        threads.work(1)
        command.closed()
        threads.work()
        assert (channel.output, channel.ended) == (b"", None)
        open_ones = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        assert os.fspath(self.root / "long") not in open_ones
