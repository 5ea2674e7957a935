"""Quotas and limits: room is claimed before it is used, and free again when it is not."""

from __future__ import annotations

import contextlib
import gc
import shutil
import threading
from typing import Any

from netsvc.filestore.errors import MismatchError, NoSpaceError, QuotaError, StoreError, TooLargeError
from netsvc.filestore.store import FileStore
from tests.filestore.kit import StoreCase


class Quotas(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = self.make(quota=1000)

    def left(self, store: FileStore | None = None) -> int:
        """The size of the greatest file that is taken now."""
        fits, not_fits = 0, 2000
        while not_fits - fits > 1:
            size = (fits + not_fits) // 2
            try:
                (store or self.store).create(("probe",), size=size).discard()
                fits = size
            except QuotaError:
                not_fits = size
        return fits

    def test_counted(self) -> None:
        """Files that were there, published and partial files and what is declared count; what is removed does not."""
        (self.root / "before").write_bytes(bytes(100))
        self.assertEqual(self.left(), 900)
        self.put("a", bytes(100))
        self.assertEqual(self.left(), 800)
        declared = self.store.create(("b",), size=300)
        self.assertEqual(self.left(), 500)
        declared.write(0, bytes(10))
        self.assertEqual(self.left(), 500)
        declared.discard()
        self.assertEqual(self.left(), 800)
        kept = self.store.create(("c",), owner="me", size=300)
        kept.write(0, bytes(10))
        kept.keep()
        self.assertEqual(self.left(), 790)
        again = self.store.resume(kept.id, "me")
        self.assertEqual(self.left(), 500)
        again.write(10, bytes(290))
        again.commit()
        self.assertEqual(self.left(), 500)
        self.put("c", bytes(50))
        self.assertEqual(self.left(), 750)
        self.store.remove(("c",))
        self.store.rename(("a",), ("before",), replace=True)
        self.assertEqual(self.left(), 900)

    def test_undeclared(self) -> None:
        """An upload of unknown size is refused at the octet that is too many, and keeps what came."""
        upload = self.store.create(("f",))
        for at in range(10):
            upload.write(at * 100, bytes(100))
        with self.assertRaises(QuotaError):
            upload.write(1000, b"x")
        upload.commit()
        self.assertEqual(len(self.octets("f")), 1000)

    def test_file_abuse_10_a_race(self) -> None:
        """Of twenty threads that want 90 octets each of 1,000, eleven get them, through any number of stores."""
        stores = [self.make(quota=1000) for _ in range(4)]
        taken: list[str] = []
        start = threading.Barrier(20)

        def run(number: int) -> None:
            start.wait()
            try:
                upload = stores[number % 4].create((f"f{number}",))
                for at in range(9):
                    upload.write(at * 10, bytes(10))
            except QuotaError:
                upload.discard()
                return
            upload.commit()
            taken.append(upload.names[0])

        threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        total = sum(path.stat().st_size for path in self.root.iterdir())
        self.assertEqual((len(self.shown()), total), (len(taken), 90 * len(taken)))
        self.assertLessEqual(total, 1000)
        self.assertEqual(self.left(), 1000 - total)

    def test_past_the_store(self) -> None:
        """What others write and remove is counted by the next sweep, also while somebody uploads."""
        self.assertEqual(self.left(), 1000)
        (self.root / "by-another").write_bytes(bytes(300))
        upload = self.store.create(("f",), size=100)
        upload.write(0, bytes(10))
        self.assertEqual(self.left(), 900)
        self.store.sweep()
        self.assertEqual(self.left(), 600)
        upload.discard()
        self.assertEqual(self.left(), 700)
        (self.root / "by-another").unlink()
        self.store.sweep()
        self.assertEqual(self.left(), 1000)

    def test_copy(self) -> None:
        """A copy that is to be changed needs room of its own until it is published."""
        self.put("f", bytes(600))
        with self.assertRaises(QuotaError):
            self.store.modify(("f",))
        self.assertEqual(self.parts(), [])

    def test_space(self) -> None:
        """What is free is told within the quota."""
        store = self.make(quota=100 << 20)
        found = store.space()
        self.assertEqual(found.blocks * found.block_size, 100 << 20)
        self.assertLessEqual(found.available, found.blocks)


class Sizes(StoreCase):
    def refused(self, error: type[StoreError], **arguments: Any) -> None:
        with self.assertRaises(error):
            self.store.create(("f",), **arguments)
        self.assertEqual(self.parts(), [])

    def test_limit(self) -> None:
        """No file becomes longer than any may be."""
        self.store = self.make(max_file_size=10)
        self.refused(TooLargeError, size=11)
        upload = self.store.create(("f",))
        upload.write(0, bytes(10))
        for what in (lambda: upload.write(10, b"x"), lambda: upload.truncate(11), lambda: upload.write(1 << 62, b"x")):
            with self.assertRaises(TooLargeError):
                what()
        upload.commit()

    def test_file_abuse_30_longer_or_shorter(self) -> None:
        """More than was declared is not taken; less is not published."""
        upload = self.store.create(("f",), size=3)
        with self.assertRaises(TooLargeError):
            upload.write(0, b"abcd")
        upload.write(0, b"ab")
        with self.assertRaises(MismatchError):
            upload.commit()
        self.assertEqual((self.shown(), self.parts()), ([], []))

    def test_file_abuse_29_wrong_digest(self) -> None:
        """Octets that are not the promised ones are published nowhere, whenever they were promised."""
        for early, late in ((bytes(32), None), (None, bytes(32))):
            upload = self.store.create(("f",), digest=early)
            upload.write(0, b"abc")
            with self.assertRaises(MismatchError):
                upload.commit(digest=late)
        self.assertEqual((self.shown(), self.parts()), ([], []))

    def test_file_abuse_31_great_sizes(self) -> None:
        """Sizes and offsets that no disk has are refused, and claim nothing."""
        for size in (1 << 50, (1 << 63) - 1, 1 << 63, 1 << 64):
            self.refused(NoSpaceError, size=size)
        upload = self.store.create(("f",))
        for offset in (1 << 50, (1 << 63) - 2, 1 << 63, 1 << 64):
            with self.assertRaises(StoreError):
                upload.write(offset, b"x")
            with self.assertRaises(StoreError):
                upload.truncate(offset)
        upload.write(0, b"x")
        self.assertEqual(upload.commit().size, 1)

    def test_file_abuse_43_sparse(self) -> None:
        """A file that says it has 1 TiB, and has no octet, takes no more room than there is."""
        with self.assertRaises(NoSpaceError):
            self.store.create(("f",)).truncate(1 << 40)
        with open(self.root / "sparse", "wb") as file:
            file.truncate(1 << 40)
        found = self.store.open(("sparse",))
        self.assertEqual((found.size, found.read((1 << 40) - 4, 99)), (1 << 40, bytes(4)))
        found.close()


class Unfinished(StoreCase):
    """How many uploads one owner may have that are known from their beginning on."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.make(unfinished=2)

    def begin(self, name: str, owner: str = "alice") -> None:
        self.store.create((name,), owner=owner, lasting=True).keep()

    def test_limit(self) -> None:
        """More are refused and leave nothing behind; other owners and uploads that lasted by chance are not counted."""
        chance = self.store.create(("chance",), owner="alice")
        chance.write(0, b"part")
        chance.keep()
        self.begin("a")
        self.begin("b")
        with self.assertRaisesRegex(QuotaError, "2 uploads are unfinished"):
            self.begin("c")
        self.assertEqual((len(self.parts()), len(list(self.store.commons.partials()))), (3, 3))
        self.begin("c", owner="bob")
        self.put("d", b"whole", owner="alice")

    def test_restart(self) -> None:
        """Those of before a restart count, until their time is over."""
        self.begin("a")
        self.begin("b")
        del self.store  # with it goes what this process knows of the root
        gc.collect()
        self.store = self.make(unfinished=2)
        with self.assertRaises(QuotaError):
            self.begin("c")
        self.later(self.store.terms.keep_partials + 1)
        self.assertEqual(self.store.sweep(), 2)
        self.begin("c")

    def test_directory_removed(self) -> None:
        """Those whose directory somebody removed count until the next sweep, which removes their records."""
        self.store.make_directory(("d",))
        for name in ("a", "b"):
            self.store.create(("d", name), owner="alice", lasting=True).keep()
        shutil.rmtree(self.root / "d")
        self.store.sweep()
        self.assertEqual(list(self.root.iterdir()), [])
        self.begin("a")
        self.begin("b")

    def test_many_at_once(self) -> None:
        """However many begin at once, never more than so many are there."""
        begun: list[str] = []

        def begin(name: str) -> None:
            with contextlib.suppress(QuotaError):
                self.begin(name)
                begun.append(name)

        threads = [threading.Thread(target=begin, args=(f"n{at}",)) for at in range(12)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        self.assertLessEqual(len(begun), 2)
        self.assertEqual(len(self.parts()), len(begun))
