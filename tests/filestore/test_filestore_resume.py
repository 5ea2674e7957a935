"""Uploads that were cut off, and continued: by whom, from where, and for how long."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil

from netsvc.filestore.commons import Commons
from netsvc.filestore.errors import MismatchError, NotFoundError, NotPermittedError, OffsetError, StaleError
from netsvc.filestore.records import Partial, Records, dump, load
from netsvc.filestore.store import FileStore
from netsvc.filestore.sweeping import YOUNG, sweep
from netsvc.filestore.upload import SYNC_SECONDS, Upload
from tests.filestore.kit import StoreCase


class Resuming(StoreCase):
    def begin(self, octets: bytes = b"abc", **arguments: object) -> str:
        upload = self.store.create(("f",), owner="me", **arguments)  # type: ignore[arg-type]
        upload.write(0, octets)
        upload.keep()
        return upload.id

    def restarted(self) -> FileStore:
        """The store of another process: on a copy, since this process knows the one."""
        other = self.directory / f"copy{len(os.listdir(self.directory))}"
        shutil.copytree(self.root, other, symlinks=True)
        self.root = other
        self.store = self.make()
        return self.store

    def test_continued(self) -> None:
        """What was cut off is continued, in this process and in another, and has the digest of all of it."""
        upload_id = self.begin()
        upload = self.store.resume(upload_id, "me", 3)
        upload.write(3, b"de")
        upload.keep()
        upload = self.restarted().resume(upload_id, "me")
        self.assertEqual(upload.offset, 5)
        upload.write(5, b"f")
        self.assertEqual(upload.commit().digest, hashlib.sha256(b"abcdef").digest())
        self.assertEqual(os.listdir(self.root), ["f"])

    def test_nothing_came(self) -> None:
        """An upload of which nothing came leaves nothing, unless it must last."""
        self.store.create(("f",), owner="me").keep()
        self.assertEqual(os.listdir(self.root), [])
        upload_id = self.store.create(("g",), owner="me", size=2, lasting=True, meta={"type": "text/plain"}).id
        found = self.restarted().partial(upload_id, "me")
        self.assertEqual((found.offset, found.size, found.names), (0, 2, ("g",)))
        self.assertEqual(found.meta, {"type": "text/plain"})
        upload = self.store.resume(upload_id, "me", 0)
        upload.write(0, b"ab")
        upload.commit()
        self.assertEqual(self.octets("g"), b"ab")

    def test_gap(self) -> None:
        """What lies behind a gap is not kept."""
        upload = self.store.create(("f",), owner="me")
        upload.write(0, b"ab")
        upload.write(5, b"x")
        upload.keep()
        found = self.store.find_partial(("f",), "me")
        assert found is not None
        self.assertEqual(found.offset, 2)
        self.assertEqual([path.stat().st_size for path in self.parts()], [2])

    def test_file_abuse_25_wrong_prefix(self) -> None:
        """A partial file that is not what was synced is not extended: it is gone."""
        upload_id = self.begin()
        self.restarted()
        self.parts()[0].write_bytes(b"aXc")
        with self.assertRaises(MismatchError):
            self.store.resume(upload_id, "me")
        with self.assertRaises(NotFoundError):
            self.store.resume(upload_id, "me")
        self.assertEqual(os.listdir(self.root), [])

    def test_file_abuse_25_touched_in_this_process(self) -> None:
        """A partial file that somebody touched is read again, also by the process that wrote it."""
        upload_id = self.begin()
        path = self.parts()[0]
        path.write_bytes(b"aXc")
        os.utime(path, ns=(1, 1))
        with self.assertRaises(MismatchError):
            self.store.resume(upload_id, "me")

    def test_file_abuse_25_shorter(self) -> None:
        """A partial file that lost octets is not extended; one that has more is cut to what was synced."""
        upload_id = self.begin()
        self.restarted()
        with open(self.parts()[0], "ab") as file:
            file.write(b"torn")
        upload = self.store.resume(upload_id, "me")
        self.assertEqual((upload.offset, upload.length), (3, 3))
        upload.keep()
        self.restarted()
        os.truncate(self.parts()[0], 1)
        with self.assertRaises(MismatchError):
            self.store.resume(upload_id, "me")

    def test_file_abuse_26_wrong_offset(self) -> None:
        """An offset that is not where the upload stands is refused, and says where that is."""
        upload_id = self.begin()
        for offset in (0, 2, 4, 1 << 64, -1):
            with self.assertRaises(OffsetError) as caught:
                self.store.resume(upload_id, "me", offset)
            self.assertEqual(caught.exception.offset, 3)
        self.store.resume(upload_id, "me", 3).commit()

    def test_file_abuse_28_anothers(self) -> None:
        """Of another's upload nothing is known."""
        upload_id = self.begin()
        for what in (self.store.partial, self.store.resume, self.store.drop):
            with self.assertRaises(NotFoundError):
                what(upload_id, "you")
        self.assertIsNone(self.store.find_partial(("f",), "you"))
        for wrong in ("", "../x", "0" * 32):
            with self.assertRaises(NotFoundError):
                self.store.resume(wrong, "me")

    def test_held(self) -> None:
        """What nobody has vouched for is not kept: not when it is cut off, nor evicted, nor after a crash."""
        first = self.store.create(("f",), owner="me", lasting=True)
        first.write(0, b"one")
        first.keep()
        for lose in (Upload.keep, Upload.sync, lambda _: None):
            upload = self.store.resume(first.id, "me", 3)
            upload.hold()
            self.later(3600)
            upload.write(3, b"bad")
            lose(upload)
            self.assertEqual(self.make_anew().partial(first.id, "me").offset, 3)
        upload = self.store.resume(first.id, "me", 3)
        upload.hold()
        upload.write(3, b"two")
        upload.vouch()
        upload.keep()
        self.store.resume(first.id, "me", 6).commit()
        self.assertEqual(self.octets("f"), b"onetwo")

    def make_anew(self) -> FileStore:
        """A store as a process has it that began this moment."""
        store = self.make()
        store._commons = os.stat(self.root), Commons(self.root)
        return store

    def test_file_abuse_03_half_open(self) -> None:
        """Who continues an upload takes it from a connection that is perhaps dead: that one writes no more."""
        stale = self.store.create(("f",), owner="me")
        stale.write(0, b"abc")
        fresh = self.store.resume(stale.id, "me")
        self.assertEqual(fresh.offset, 3)
        with self.assertRaises(StaleError):
            stale.write(3, b"XX")
        with self.assertRaises(StaleError):
            stale.commit()
        stale.keep()
        stale.discard()
        fresh.write(3, b"d")
        fresh.commit()
        self.assertEqual(self.octets("f"), b"abcd")

    def test_begun_anew(self) -> None:
        """Who begins a name anew gives up what he had of it; what has an id that somebody knows stays."""
        self.begin()
        lasting = self.store.create(("f",), owner="me", lasting=True)
        self.store.create(("f",), owner="you").discard()
        self.store.create(("f",), owner="me").discard()
        self.assertIsNone(self.store.find_partial(("f",), "me"))
        self.assertEqual(self.store.partial(lasting.id, "me").names, ("f",))
        lasting.discard()

    def test_given_up(self) -> None:
        """A given-up upload is gone, written to or not."""
        self.store.drop(self.begin(), "me")
        upload = self.store.create(("f",), owner="me")
        self.store.drop(upload.id, "me")
        with self.assertRaises(StaleError):
            upload.write(0, b"x")
        self.assertEqual(os.listdir(self.root), [])

    def test_file_abuse_49_killed(self) -> None:
        """What a process that is killed has synced is continued by the next."""
        upload = self.store.create(("f",), owner="me")
        upload.write(0, b"abc")
        self.later(SYNC_SECONDS)
        upload.write(3, b"def")
        upload.write(6, b"lost")
        store = self.restarted()
        found = store.find_partial(("f",), "me")
        assert found is not None
        self.assertEqual(found.offset, 6)
        again = store.resume(found.id, "me")
        again.write(6, b"ghi")
        again.commit()
        self.assertEqual(self.octets("f"), b"abcdefghi")

    def test_record_that_is_none(self) -> None:
        """A record that cannot be read is removed; its partial file is swept."""
        self.begin()
        for path in (self.root / ".netsvc" / "uploads").iterdir():
            path.write_bytes(b'{"id": 7}')
        store = self.restarted()
        self.assertEqual(list(store.commons.partials()), [])
        for text in (b"", b"[]", b"null", b'{"id": "x", "names": 5}', b"\xff", b"{" * 1000):
            with self.assertRaises((ValueError, RecursionError)):
                load(text)
        self.assertEqual(list(Records(self.root).read()), [])

    def test_record_without_a_source(self) -> None:
        """A record of before it said where an upload came from is read still."""
        found = Partial(id="0" * 32, names=("f",), lasting=True)
        self.assertEqual(load(dump(found).replace(b'"source": "", ', b"")), found)

    def test_read_while_written(self) -> None:
        """Another process that looks what there is takes no record away that is being written."""
        real = os.fsync

        def look(descriptor: int) -> None:
            list(Records(self.root).read())
            real(descriptor)

        self.patch(os, "fsync", look)
        upload_id = self.begin()
        self.assertEqual(self.restarted().partial(upload_id, "me").offset, 3)

    def test_taken_for_a_left_one(self) -> None:
        """One that it took away after all, in the moment before it was locked, is written again."""
        real, calls = fcntl.flock, []

        def lock(descriptor: int, operation: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if path.endswith(".new") and not calls:
                calls.append(path)
                os.unlink(path)
            real(descriptor, operation)

        self.patch(fcntl, "flock", lock)
        upload_id = self.begin()
        self.assertEqual(len(calls), 1)
        self.assertEqual(self.restarted().partial(upload_id, "me").offset, 3)

    def test_left_half_written(self) -> None:
        """A record that a crash left half written is removed."""
        self.begin()
        left = self.root / ".netsvc" / "uploads" / f"{'0' * 32}.new"
        left.write_bytes(b"{")
        self.assertEqual(len(list(Records(self.root).read())), 1)
        self.assertFalse(left.exists())

    def test_record_that_cannot_be_read_now(self) -> None:
        """A record that a failing disk does not give is not taken for none: it stays, and its partial file."""
        upload_id = self.begin()
        record = self.root / ".netsvc" / "uploads" / f"{upload_id}.json"
        octets = record.read_bytes()
        record.unlink()
        record.symlink_to(record.name)  # ELOOP
        store = self.restarted()
        record = self.root / ".netsvc" / "uploads" / record.name
        for ask in (lambda: store.partial(upload_id, "me"), lambda: store.find_partial(("f",), "me")):
            with self.assertRaises(NotPermittedError):
                ask()
        self.later(YOUNG)
        sweep(store.commons)
        self.assertEqual(len(self.parts()), 1)
        record.unlink()
        record.write_bytes(octets)
        self.assertEqual(store.resume(upload_id, "me").offset, 3)


class Sweeping(StoreCase):
    def kept(self, name: str) -> str:
        upload = self.store.create((name,), owner="me")
        upload.write(0, b"x")
        upload.keep()
        return upload.id

    def test_expired(self) -> None:
        """An upload that nobody continues is swept when its time is over, one that somebody writes to is not."""
        self.store = self.make(keep_partials=100)
        first, second = self.kept("a"), self.kept("b")
        self.later(60)
        upload = self.store.resume(second, "me")
        self.later(60)
        self.assertEqual(self.store.sweep(), 1)
        with self.assertRaises(NotFoundError):
            self.store.partial(first, "me")
        upload.write(1, b"y")
        upload.keep()
        self.later(99)
        self.assertEqual(self.store.sweep(), 0)
        self.later(2)
        self.assertEqual(self.store.sweep(), 1)
        self.assertEqual(os.listdir(self.root), [])

    def test_file_abuse_48_clock_jumps_on(self) -> None:
        """A wall clock that jumps a year on ends nobody's time: that of the steady clock counts."""
        self.store = self.make(keep_partials=1000)
        upload_id = self.kept("a")
        self.wall += 365 * 86400
        self.assertEqual(self.store.sweep(), 0)
        self.later(990)
        self.assertEqual(self.store.sweep(), 0)
        self.store.partial(upload_id, "me")
        self.later(20)
        self.assertEqual(self.store.sweep(), 1)

    def test_file_abuse_48_clock_jumps_back(self) -> None:
        """A wall clock that is set back lets nothing wait for years."""
        self.store = self.make(keep_partials=1000)
        self.kept("a")
        self.wall -= 365 * 86400
        self.assertEqual(self.store.sweep(), 0)
        self.later(1010)
        self.assertEqual(self.store.sweep(), 1)

    def test_orphans(self) -> None:
        """Partial files that nobody knows are swept when they are no longer young; other hidden files stay."""
        upload = self.store.create(("f",), owner="me")
        upload.write(0, b"x")
        (self.root / ".netsvc-0123.part").write_bytes(b"no id")
        (self.root / ".netsvc-00112233445566778899aabbccddeeff.part").write_bytes(b"left behind")
        self.wall = os.stat(self.root).st_mtime
        self.assertEqual(self.store.sweep(), 0)
        self.wall += YOUNG + 5
        self.assertEqual(self.store.sweep(), 1)
        self.assertEqual(len(self.parts()), 1)
        upload.commit()
