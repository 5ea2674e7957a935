"""A full disk, and one that fails, under a real daemon: what each door says, and that it goes on when there is room."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import Daemon
from tests.live.sick_disk import failing, may_mount, small, traceable

MIB = 1 << 20
SIZE = 8 * MIB  # octets of the disk
BOUND = 180.0  # seconds
INI = """\
[http]
listen = tcp:0:interface=127.0.0.1
docroot = {disk}
upload = yes
upload_anonymous = yes
keep_free = 0B
[sftp]
listen = tcp:0:interface=127.0.0.1
users = ada
root = {disk}
authorized_keys = {place}/id.pub
keep_free = 0B
[filetransfer]
listen = tcp:0:interface=127.0.0.1
receive = yes
store = {disk}
keep_free = 0B
"""


class SickDiskTests(SynchronousTestCase):
    """One daemon with every door by which files come in, all onto one disk."""

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="netsvc-disk-"))
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        (self.place / "disk").mkdir()
        (self.place / "large").write_bytes(os.urandom(SIZE + MIB))
        (self.place / "small").write_bytes(os.urandom(1000))
        key = self.place / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)

    def test_file_abuse_06_disk_full(self) -> None:
        """A file that the disk has no room for is refused by every door in its own words; a small one has its room."""
        if not may_mount():
            print("a full disk by strace: mount(2) is refused here")
            self.full_by_strace()
            return
        with self.daemon(small(self.place / "disk", SIZE)) as daemon:
            disk = Path(f"/proc/{daemon.pid}/root{self.place}/disk")  # which only the daemon sees
            self.assertLess(os.statvfs(disk).f_blocks * os.statvfs(disk).f_frsize, 2 * SIZE)
            self.refused(daemon, disk, "507", "no space left")
            self.taken(daemon, disk)
        print("a full disk by a tmpfs of its own")

    def test_file_abuse_06_no_block_for_a_write(self) -> None:
        """The same where the disk fills up after the room seemed to be there."""
        self.full_by_strace()

    def full_by_strace(self) -> None:
        """Writes fail with ENOSPC for a while."""
        self.for_a_while("pwritev,pwritev2,pwrite64:error=ENOSPC", "507", "no space left")

    def test_file_abuse_07_sync_fails(self) -> None:
        """A disk that fails a sync has not stored the file, and every door says so."""
        self.for_a_while("fsync,fdatasync:error=EIO", "500", "the disk failed")

    def for_a_while(self, injection: str, status: str, words: str) -> None:
        """Calls of the daemon fail, and every door refuses; then no longer, and every door takes files."""
        with self.daemon(traceable()) as daemon:
            disk = self.place / "disk"
            with failing(daemon.pid, injection, self.place):
                self.refused(daemon, disk, status, words)
            self.taken(daemon, disk)

    @contextlib.contextmanager
    def daemon(self, launcher: tuple[str, ...]) -> Iterator[Daemon]:
        with Daemon(INI.format(place=self.place, disk=self.place / "disk"), launcher=launcher) as daemon:
            yield daemon
            self.assertNotRegex(daemon.log(), "Traceback|Unhandled")

    def refused(self, daemon: Daemon, disk: Path, status: str, words: str) -> None:
        """Every door refuses the large file, and no name is there."""
        self.assertEqual(self.put(daemon, "large"), status)
        self.assertEqual(self.put(daemon, "large", "-H", "Transfer-Encoding: chunked"), status)
        self.assertEqual(str(self.tus(daemon, "large")), status)
        ended, said = self.sftp(daemon, "large")
        self.assertEqual(ended, 1)
        self.assertIn("Failure", said)
        self.assertEqual(len(re.findall(rf"\[sftp\] large: {words}.* \(ada from 127\.0\.0\.1\)", daemon.log())), 1)
        self.assertIn(words, self.filetransfer(daemon, "large")["error"])
        self.assertEqual([one.name for one in disk.iterdir() if not one.name.startswith(".netsvc")], [])

    def taken(self, daemon: Daemon, disk: Path) -> None:
        """Every door takes the small file."""
        for door in (self.put, self.tus, self.sftp, self.filetransfer):
            door(daemon, "small")
            self.assertEqual((disk / "small").read_bytes(), (self.place / "small").read_bytes(), door.__name__)
            (disk / "small").unlink()

    def put(self, daemon: Daemon, name: str, *options: str) -> str:
        """The status that curl is told."""
        url = f"http://127.0.0.1:{daemon.port('http')}/"
        body = self.place / "body"
        command = ["curl", "-sS", "-o", body, "-w", "%{http_code}", *options, "-T", self.place / name, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=BOUND).stdout

    def tus(self, daemon: Daemon, name: str) -> int:
        """The status that tuspy fails with, or 204."""
        client = TusClient(f"http://127.0.0.1:{daemon.port('http')}/")
        with (self.place / name).open("rb") as stream:
            try:
                client.uploader(file_stream=stream, metadata={"filename": name}).upload()
            except TusCommunicationError as error:
                return error.status_code
        return 204

    def sftp(self, daemon: Daemon, name: str) -> tuple[int, str]:
        """How OpenSSH's sftp ends, and what it says."""
        login = ["-i", self.place / "id", "-P", str(daemon.port("sftp")), "-o", "StrictHostKeyChecking=no"]
        login += ["-o", f"UserKnownHostsFile={self.place}/known_hosts"]
        command = ["sftp", "-q", *login, "-b", "-", "ada@127.0.0.1"]
        done = subprocess.run(
            command, input=f"put {name}\n", capture_output=True, text=True, cwd=self.place, timeout=BOUND
        )
        return done.returncode, done.stderr

    def filetransfer(self, daemon: Daemon, name: str) -> dict[str, str]:
        """The answer."""
        octets = (self.place / name).read_bytes()
        sent = json.dumps({"filename": name, "filedata": b64encode(octets).decode()}).encode()
        with socket.create_connection(("127.0.0.1", daemon.port("filetransfer")), BOUND) as peer:
            with contextlib.suppress(OSError):  # a server that refuses need not read the rest
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
            said: dict[str, str] = json.loads(b"".join(iter(lambda: peer.recv(65536), b"")))
        return said
