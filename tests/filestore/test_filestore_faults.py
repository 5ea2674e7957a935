"""The faults of the host: whatever dies or fails, a published name is whole, and what was acknowledged is there."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from netsvc.filestore.errors import BrokenError, BusyError, NoSpaceError, StaleError, StoreError
from netsvc.filestore.sweeping import YOUNG
from tests.filestore.kit import StoreCase
from tests.filestore.upload_child import octets_of

CHILD = Path(__file__).with_name("upload_child.py")
PROJECT = Path(__file__).parents[2]
PATIENCE = 180  # seconds; strace is slow
LENGTH = 10_000  # octets of a file


class Injected(StoreCase):
    def child(self, injection: str, *, count: int = 3, door: str = "whole") -> list[list[str]]:
        """What an uploading process said until its end.

        :param injection: as strace(1) has it, such as ``fsync:signal=KILL:when=3``.
        """
        with tempfile.TemporaryDirectory(prefix="netsvc-strace-") as scratch:
            calls = injection.partition(":")[0]
            child = subprocess.run(
                [
                    *("strace", "-f", "-qq", "-o", f"{scratch}/trace", "-e", f"trace={calls}"),
                    *("-e", f"inject={injection}", sys.executable, str(CHILD)),
                    *(str(self.root), str(count), str(LENGTH), door),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                cwd=PROJECT,
            )
        self.assertEqual(child.stderr, "")
        return [line.split() for line in child.stdout.splitlines()]

    def examine(self, said: list[list[str]]) -> list[str]:
        """The names that are published: each is whole, has its digest, and none that was acknowledged is missing."""
        names = self.shown()
        for name in names:
            octets = octets_of(name, LENGTH)
            self.assertEqual(self.octets(name), octets)
            self.assertEqual(self.make().digest((name,)), hashlib.sha256(octets).digest())
        for line in said:
            if line[0] == "acknowledged":
                self.assertIn(line[1], names)
        return names

    def clean(self) -> None:
        """Whatever was left behind is continued or swept; then there is nothing but what is published."""
        self.wall = os.stat(self.root).st_mtime + YOUNG + 1
        store = self.make()
        for one in list(store.commons.partials()):
            upload = store.resume(one.id, "me")
            octets = octets_of(one.names[0], LENGTH)
            upload.write(upload.offset, octets[upload.offset :])
            upload.commit()
            self.assertEqual(self.octets(one.names[0]), octets)
        for path in self.parts():
            os.utime(path, (self.wall - YOUNG - 1, self.wall - YOUNG - 1))
        store.sweep()
        self.assertEqual(self.parts(), [])
        self.assertEqual([name for name in os.listdir(self.root) if name.startswith(".")], [])

    def test_file_abuse_04_killed_before_the_rename(self) -> None:
        """Killed between the last write and the rename: the name is not there, and the rest is swept."""
        said = self.child("renameat,renameat2,rename:signal=KILL:when=2")
        self.assertEqual([line[0] for line in said], ["begun", "acknowledged", "begun"])
        self.assertEqual(len(self.examine(said)), 1)
        self.assertEqual(len(self.parts()), 1)
        self.clean()

    def test_file_abuse_05_killed_before_the_directory_is_synced(self) -> None:
        """Killed between the rename and the sync of the directory: the name is whole, or not there."""
        said = self.child("fsync:signal=KILL:when=4")
        self.assertEqual([line[0] for line in said], ["begun", "acknowledged", "begun"])
        self.assertIn(len(self.examine(said)), (1, 2))
        self.clean()

    def test_file_abuse_04_killed_anywhere(self) -> None:
        """Killed at any write, sync, rename or link of an upload that is continued once: nothing is half published."""
        for call in (
            "pwritev,pwritev2",
            "fsync",
            "fdatasync",
            "rename,renameat,renameat2",
            "fallocate",
            "unlink,unlinkat",
        ):
            for when in (1, 2, 3, 5):
                with self.subTest(call=call, when=when):
                    self.examine(self.child(f"{call}:signal=KILL:when={when}", count=2, door="parts"))
        self.clean()

    def test_file_abuse_06_disk_full(self) -> None:
        """A full disk refuses the octets; the next upload goes well."""
        said = self.child("pwritev,pwritev2:error=ENOSPC:when=2")
        self.assertEqual([line[2] for line in said if line[0] == "refused"], ["NoSpaceError"])
        self.assertEqual(len(self.examine(said)), 2)

    def test_file_abuse_06_allocation(self) -> None:
        """A disk that cannot set the room aside refuses at once."""
        said = self.child("fallocate:error=ENOSPC:when=1")
        self.assertEqual([line[2] for line in said if line[0] == "refused"], ["NoSpaceError"])
        self.assertEqual(len(self.examine(said)), 2)
        self.assertEqual(self.parts(), [])

    def test_file_abuse_07_sync_fails(self) -> None:
        """A sync that failed is not tried again: the upload is gone, nothing is published."""
        said = self.child("fsync:error=EIO:when=1")
        self.assertEqual([line[2] for line in said if line[0] == "refused"], ["BrokenError"])
        self.assertEqual(len(self.examine(said)), 2)
        self.assertEqual(self.parts(), [])

    def test_file_abuse_07_sync_of_the_directory_fails(self) -> None:
        """A directory that cannot be synced: no acknowledgement."""
        said = self.child("fsync:error=EIO:when=2")
        self.assertEqual([line[2] for line in said if line[0] == "refused"], ["BrokenError"])
        self.examine(said)
        self.assertEqual(self.parts(), [])

    def test_file_abuse_07_write_fails(self) -> None:
        """A write that the disk fails ends the upload."""
        said = self.child("pwritev,pwritev2:error=EIO:when=2")
        self.assertEqual([line[2] for line in said if line[0] == "refused"], ["BrokenError"])
        self.assertEqual(self.parts(), [])

    def test_no_fallocate(self) -> None:
        """A file system without fallocate is written to all the same."""
        said = self.child("fallocate:error=EOPNOTSUPP")
        self.assertEqual(len(self.examine(said)), 3)


class Here(StoreCase):
    def test_file_abuse_08_short_writes(self) -> None:
        """A write that takes less than it was given is continued, across blocks."""
        real = os.pwritev

        def short(descriptor: int, blocks: list[memoryview], offset: int) -> int:
            joined = b"".join(blocks)
            return real(descriptor, [joined[: max(1, len(joined) // 3)]], offset)

        self.patch(os, "pwritev", short)
        upload = self.store.create(("f",))
        upload.writev(0, [b"abc", b"", b"defgh", b"i"])
        self.assertEqual(upload.commit().digest, hashlib.sha256(b"abcdefghi").digest())
        self.assertEqual(self.octets("f"), b"abcdefghi")

    def test_file_abuse_09_no_descriptor(self) -> None:
        """Out of descriptors is said as such, and nothing is left behind; later it goes well."""
        self.put("f", b"x")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        try:
            while True:
                try:
                    taken.append(os.open(self.root, os.O_PATH))
                except OSError:
                    break
            for free in range(4):
                for what in (lambda: self.store.create(("g",)).discard(), lambda: self.store.open(("f",)).close()):
                    try:
                        what()
                    except StoreError as error:
                        self.assertIsInstance(error, BusyError)
                    else:
                        self.assertGreater(free, 0)
                os.close(taken.pop())
        finally:
            for one in taken:
                os.close(one)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.put("g", b"y")
        self.assertEqual(self.parts(), [])

    def test_file_abuse_07_broken(self) -> None:
        """After a failed disk the upload is closed, and says why."""
        upload = self.store.create(("f",))

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "fdatasync", fail)
        upload.write(0, b"x")
        with self.assertRaises(BrokenError):
            upload.sync()
        with self.assertRaises(StaleError):
            upload.write(1, b"y")
        self.assertEqual(self.parts(), [])

    def test_file_abuse_50_directory_removed(self) -> None:
        """A directory that is removed under an upload: nothing is published anywhere, and nobody is harmed."""
        (self.root / "d").mkdir()
        upload = self.store.create(("d", "f"), owner="me")
        upload.write(0, b"x")
        for path in self.parts():
            path.unlink()
        (self.root / "d").rmdir()
        with self.assertRaises(StoreError):
            upload.commit()
        upload.keep()
        self.assertEqual([name for name in os.listdir(self.root) if name != ".netsvc"], [])
        for one in list(self.store.commons.partials()):
            with self.assertRaises(StoreError):
                self.store.resume(one.id, "me")
        (self.root / "d").mkdir()
        self.put("d/f", b"again")

    def test_file_abuse_06_floor(self) -> None:
        """An upload ends before the disk has less free than must stay free."""
        found = os.statvfs(self.root)
        self.store = self.make(keep_free=found.f_bavail * found.f_frsize - 1_000_000)
        with self.assertRaises(NoSpaceError):
            self.store.create(("f",), size=500_000_000)
        upload = self.store.create(("f",))
        with self.assertRaises(NoSpaceError):
            upload.write(0, bytes(500_000_000))
        upload.discard()
        self.put("g", b"x")
