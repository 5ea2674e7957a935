"""Two daemons on one root, and threads that wait for a slow disk: each stands for itself."""

from __future__ import annotations

import os
import threading
from typing import Any

from netsvc.filestore import records
from netsvc.filestore.commons import Commons
from netsvc.filestore.errors import BusyError, ChangedError, NotFoundError, OffsetError
from netsvc.filestore.store import FileStore
from netsvc.filestore.sweeping import YOUNG
from tests.filestore.kit import StoreCase
from tests.waiting import BOUND, wait_until


class TwoProcesses(StoreCase):
    """`self.other` is a store as another process has it: it shares the directory and nothing else."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.another()

    def another(self, **terms: Any) -> FileStore:
        store = self.make(**terms)
        store._commons = os.stat(self.root), Commons(self.root, store._clocks[0], store._clocks[1])
        list(store.commons.partials())  # it has looked what is there
        return store

    def kept(self, name: str = "f", octets: bytes = b"one") -> str:
        upload = self.store.create((name,), owner="me", lasting=True)
        upload.write(0, octets)
        upload.keep()
        return upload.id

    def test_orphans_are_not_anothers(self) -> None:
        """What another process keeps for its rest is not swept as if nobody knew it."""
        upload_id = self.kept()
        self.wall = os.stat(self.root).st_mtime + YOUNG + 5
        self.assertEqual(self.other.sweep(), 0)
        self.store.resume(upload_id, "me", 3).commit()
        self.assertEqual(self.octets("f"), b"one")

    def test_either_continues(self) -> None:
        """An upload that was begun at one is known at the other, where it stands now, and gone once it is published."""
        upload_id = self.kept()
        self.assertEqual(self.other.partial(upload_id, "me").offset, 3)
        upload = self.store.resume(upload_id, "me")
        upload.write(3, b"two")
        with self.assertRaises(BusyError):
            self.other.resume(upload_id, "me")
        with self.assertRaises(BusyError):
            self.other.drop(upload_id, "me")
        upload.keep()
        with self.assertRaises(OffsetError):
            self.other.resume(upload_id, "me", 3)
        self.other.resume(upload_id, "me", 6).commit()
        self.assertEqual(self.octets("f"), b"onetwo")
        with self.assertRaises(NotFoundError):
            self.store.partial(upload_id, "me")

    def test_time_is_what_the_record_says(self) -> None:
        """One that another process continued meanwhile has its time from then on; one that it writes to has no end."""
        self.store, self.other = self.make(keep_partials=100), self.another(keep_partials=100)
        upload_id, second = self.kept(), self.kept("g")
        other = self.another(keep_partials=100)
        self.later(90)
        self.store.resume(upload_id, "me").keep()
        upload = self.store.resume(second, "me")
        self.later(20)
        self.assertEqual(other.sweep(), 0)
        self.assertEqual(self.store.partial(upload_id, "me").offset, 3)
        upload.commit()
        self.later(90)
        self.assertEqual(other.sweep(), 1)


class SlowDisk(StoreCase):
    """Syncs that take their time hold up nobody who needs none."""

    def test_records_are_written_side_by_side(self) -> None:
        """While one upload's record waits for the disk, other uploads are begun, looked for and published."""
        let_go, waits = threading.Event(), threading.Event()
        self.addCleanup(let_go.set)
        upload = self.store.create(("slow",), owner="me")
        upload.write(0, b"x")
        fsync, this = os.fsync, threading.get_ident()

        def slow(descriptor: int) -> None:
            if threading.get_ident() != this:
                waits.set()
                let_go.wait(BOUND)
            fsync(descriptor)

        self.patch(records.os, "fsync", slow)
        thread = threading.Thread(target=upload.sync)
        thread.start()
        self.assertTrue(waits.wait(BOUND))
        done: list[str] = []

        def others() -> None:
            quick = self.store.create(("quick",), owner="me")
            self.store.find_partial(("slow",), "me")
            quick.discard()
            done.append(quick.id)

        threading.Thread(target=others, daemon=True).start()
        wait_until(lambda: bool(done))
        let_go.set()
        thread.join(BOUND)
        upload.commit()
        self.assertEqual(self.octets("slow"), b"x")


class Conditions(StoreCase):
    """What a condition holds of, it holds of at the moment of the change."""

    def test_removed_as_expected(self) -> None:
        """A file that was replaced meanwhile is not removed."""
        self.put("f", b"old")
        expected = self.store.digest(("f",))
        self.put("f", b"new")
        with self.assertRaises(ChangedError):
            self.store.remove(("f",), expects=expected)
        self.assertEqual(self.octets("f"), b"new")
        self.store.remove(("f",), expects=self.store.digest(("f",)))
        self.assertEqual(self.shown(), [])

    def test_digest_of_what_was_opened(self) -> None:
        """The digest of an open file is that of its octets, though another has its name by now."""
        self.put("f", b"old")
        old = self.store.digest(("f",))
        file = self.store.open(("f",))
        self.addCleanup(file.close)
        self.put("f", b"new")
        self.assertEqual(self.store.digest_of(file), old)
