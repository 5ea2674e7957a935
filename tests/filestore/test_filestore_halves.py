"""What fails half-way: the octets, the digest, the record, the room."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Any

from netsvc.filestore import kernel
from netsvc.filestore.errors import MismatchError, NoSpaceError, QuotaError, StaleError, StoreError
from netsvc.filestore.records import LARGEST
from netsvc.filestore.room import Room
from netsvc.filestore.upload import SYNC_SECONDS
from tests.filestore.kit import StoreCase, open_descriptors


class Octets(StoreCase):
    def tear(self) -> None:
        """From now on the disk takes one octet of a write, and is full then."""
        real = os.pwritev
        taken: list[int] = []

        def torn(descriptor: int, blocks: list[memoryview], offset: int) -> int:
            if taken:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken.append(real(descriptor, [b"".join(blocks)[:1]], offset))
            return 1

        self.patch(os, "pwritev", torn)

    def committed(self, upload: Any) -> bytes:
        """What is published: its digest is that of its octets."""
        entry = upload.commit()
        octets = self.octets("f")
        self.assertEqual((entry.digest, entry.size), (hashlib.sha256(octets).digest(), len(octets)))
        return octets

    def test_behind(self) -> None:
        """Octets of a write that failed are not published."""
        upload = self.store.create(("f",))
        upload.write(0, b"abc")
        self.tear()
        with self.assertRaises(NoSpaceError):
            upload.write(3, b"def")
        self.assertEqual(self.committed(upload), b"abc")

    def test_within(self) -> None:
        """A write over others that failed half-way leaves the digest right."""
        upload = self.store.create(("f",))
        upload.write(0, b"abc")
        self.tear()
        with self.assertRaises(NoSpaceError):
            upload.write(0, b"XYZ")
        self.assertEqual(self.committed(upload), b"Xbc")

    def test_read_again(self) -> None:
        """A digest whose reading broke off is begun anew."""
        upload = self.store.create(("f",))
        upload.write(3, b"def")
        upload.write(0, b"XXX")
        upload.write(0, b"abc")
        real = os.pread
        failures = [0]

        def broken(descriptor: int, length: int, offset: int) -> bytes:
            failures[0] += 1
            if failures[0] == 2:
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            return real(descriptor, min(length, 2), offset)

        self.patch(os, "pread", broken)
        with self.assertRaises(StoreError):
            upload.commit()
        self.assertEqual(self.committed(upload), b"abcdef")

    def test_two_sizes(self) -> None:
        """The size that was declared holds, also where another is told at the end."""
        upload = self.store.create(("f",), size=10)
        upload.write(0, b"abc")
        with self.assertRaises(MismatchError):
            upload.commit(size=3)
        self.assertEqual(self.shown(), [])

    def test_file_abuse_31_reading(self) -> None:
        """Behind the end there is nothing, however far."""
        self.put("f", b"abc")
        file = self.store.open(("f",))
        upload = self.store.modify(("f",))
        for offset in (3, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 64):
            self.assertEqual((file.read(offset, 5), upload.read(offset, 5)), (b"", b""))
        file.close()
        upload.discard()


class Kept(StoreCase):
    def full(self) -> None:
        """From now on records cannot be written."""
        real = os.open

        def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if str(path).endswith(".new"):
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(path, flags, *more, **named)

        self.patch(os, "open", refuse)

    def test_no_record(self) -> None:
        """An upload that cannot be written down is given up: no descriptor, no room, no file stays."""
        self.store = self.make(quota=1000)
        self.store.create(("g",)).discard()
        before = open_descriptors()
        upload = self.store.create(("f",), owner="me", size=800)
        upload.write(0, b"abc")
        self.full()
        with self.assertRaises(NoSpaceError):
            upload.keep()
        with self.assertRaises(StaleError):
            upload.write(3, b"x")
        self.assertEqual((open_descriptors(), self.parts()), (before, []))
        self.store.create(("g",), size=1000).discard()

    def test_earlier_record(self) -> None:
        """If it was written down earlier, it can be continued from there."""
        before = open_descriptors()
        upload = self.store.create(("f",), owner="me")
        upload.write(0, b"abc")
        self.later(SYNC_SECONDS)
        upload.write(3, b"def")
        upload.write(6, b"ghi")
        self.full()
        with self.assertRaises(NoSpaceError):
            upload.keep()
        self.assertEqual(open_descriptors(), before)
        again = self.store.resume(upload.id, "me", 6)
        again.write(6, b"!")
        again.commit()
        self.assertEqual(self.octets("f"), b"abcdef!")

    def test_too_long_a_record(self) -> None:
        """What would not be read again is not written down."""
        with self.assertRaises(StoreError):
            self.store.create(("f",), lasting=True, meta={"a": "x" * LARGEST})
        self.assertEqual(os.listdir(self.root), [])

    def test_no_room_to_continue(self) -> None:
        """Who has no room to continue may come again, also if nothing had come."""
        self.store = self.make(quota=100)
        upload = self.store.create(("f",), owner="me", size=80, lasting=True)
        upload.keep()
        self.put("g", bytes(50))
        with self.assertRaises(QuotaError):
            self.store.resume(upload.id, "me")
        self.store.remove(("g",))
        self.store.resume(upload.id, "me", 0).discard()

    def test_strange_records(self) -> None:
        """A record that no program wrote is nobody's."""
        upload = self.store.create(("f",), owner="me", lasting=True)
        upload.keep()
        directory = self.root / ".netsvc" / "uploads"
        text = (directory / f"{upload.id}.json").read_text()
        for number, strange in enumerate(("[" * 60_000, text.replace('"offset": 0', '"offset": Infinity'))):
            (directory / f"{number:032}.json").write_text(strange)
        self.assertEqual([one.id for one in self.store.commons._records.read()], [upload.id])

    def test_synced_directories(self) -> None:
        """Before an upload is said to last, the directories are synced that lead to it and to its record."""
        (self.root / "d").mkdir()
        synced: set[int] = set()
        real = os.fsync

        def seen(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                synced.add(os.fstat(descriptor).st_ino)
            real(descriptor)

        self.patch(os, "fsync", seen)
        upload = self.store.create(("d", "f"), owner="me", lasting=True)
        for path in (".", "d", ".netsvc", ".netsvc/uploads"):
            self.assertIn((self.root / path).stat().st_ino, synced, path)
        upload.discard()


class Disk(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.free = 10_000
        self.commons = self.store.commons
        self.commons.room = Room(self.root, lambda _: self.statvfs())

    def statvfs(self) -> os.statvfs_result:
        return os.statvfs_result((1, 1, 1 << 30, self.free, self.free, 100, 100, 100, 0, 255))

    def left(self) -> None:
        """All that is free can be had."""
        self.store.create(("probe",), size=self.free).discard()

    def test_cut_after_allocation(self) -> None:
        """What was set aside for a file that was cut, and written again, is not held against others for ever."""
        upload = self.store.create(("f",), size=1000)
        for _ in range(5):
            upload.write(0, bytes(1000))
            upload.truncate(0)
        upload.write(0, bytes(1000))
        upload.commit()
        self.left()

    def test_declared_twice(self) -> None:
        """A size that is corrected has its room set aside once."""
        upload = self.store.create(("f",), size=100)
        upload.declare(1000)
        upload.write(0, bytes(1000))
        upload.commit()
        self.left()

    def test_cannot_be_set_aside(self) -> None:
        """A size for which the disk has no room is not declared, and holds none."""

        def full(*_: object) -> bool:
            raise OSError(errno.ENOSPC, "No space left on device")

        upload = self.store.create(("f",))
        self.patch(kernel, "allocate", full)
        with self.assertRaises(NoSpaceError):
            upload.declare(9000)
        self.assertIsNone(upload.size)
        self.store.create(("probe",)).write(0, bytes(9500))


class Links(StoreCase):
    def test_counted(self) -> None:
        """Each name of a file counts, and is given back when it goes."""
        self.store = self.make(quota=1000)
        (self.root / "a").write_bytes(bytes(300))
        os.link(self.root / "a", self.root / "b")
        with self.assertRaises(QuotaError):
            self.store.create(("f",), size=401)
        self.put("a", b"")
        self.store.create(("f",), size=700).discard()
        with self.assertRaises(QuotaError):
            self.store.create(("f",), size=701)
        self.store.remove(("b",))
        self.store.create(("f",), size=1000).discard()
