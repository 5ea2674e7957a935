"""What a store does: publish, read, list, rename, remove, on the terms of an account."""

from __future__ import annotations

import gc
import hashlib
import os
import sqlite3
import threading

from netsvc.filestore import twins
from netsvc.filestore.access import Access
from netsvc.filestore.digests import ATTRIBUTE
from netsvc.filestore.errors import (
    BadNameError,
    ChangedError,
    ExistsError,
    NotEmptyError,
    NotFoundError,
    NotPermittedError,
    StoreError,
    WrongTypeError,
)
from netsvc.filestore.store import FileStore
from tests.filestore.kit import StoreCase, open_descriptors


class Publishing(StoreCase):
    def test_whole(self) -> None:
        """A file is there with its digest, its mode and its time when commit returns, and nothing else is."""
        upload = self.store.create(("a.txt",), size=5)
        upload.write(0, b"hello")
        self.assertEqual(self.shown(), [])
        entry = upload.commit(modified=1_000_000_000.5)
        self.assertEqual(entry.digest, hashlib.sha256(b"hello").digest())
        self.assertEqual((entry.name, entry.size, entry.modified_ns), ("a.txt", 5, 1_000_000_000_500_000_000))
        self.assertEqual(os.listdir(self.root), ["a.txt"])
        self.assertEqual((self.root / "a.txt").stat().st_mode & 0o777, 0o644)
        file = self.store.open(("a.txt",))
        self.assertEqual((file.digest(), file.read(1, 3)), (entry.digest, b"ell"))
        file.close()

    def test_empty(self) -> None:
        """A file without octets is a file."""
        self.assertEqual(self.store.create(("e",)).commit().size, 0)
        self.assertEqual(self.octets("e"), b"")

    def test_any_order(self) -> None:
        """Octets may come in any order and twice; the digest is that of what is there in the end."""
        upload = self.store.create(("f",))
        upload.write(4, b"ef")
        self.assertEqual(upload.offset, 0)
        upload.write(0, b"ab")
        upload.write(2, b"cd")
        self.assertEqual(upload.offset, 6)
        upload.write(1, b"B")
        self.assertEqual(upload.read(0, 9), b"aBcdef")
        self.assertEqual(upload.commit().digest, hashlib.sha256(b"aBcdef").digest())

    def test_gap(self) -> None:
        """What nobody wrote is zeros, as in any file."""
        upload = self.store.create(("f",))
        upload.write(3, b"x")
        upload.truncate(6)
        self.assertEqual(upload.commit().digest, hashlib.sha256(b"\0\0\0x\0\0").digest())

    def test_cut(self) -> None:
        """A cut is a cut for the digest as well."""
        upload = self.store.create(("f",))
        upload.write(0, b"abcdef")
        upload.truncate(2)
        upload.write(2, b"z")
        self.assertEqual(upload.commit().digest, hashlib.sha256(b"abz").digest())

    def test_copy(self) -> None:
        """A file that is to be changed is copied; the old one stays until the new one is published."""
        self.put("f", b"abc")
        upload = self.store.modify(("f",))
        upload.write(3, b"d")
        self.assertEqual(self.octets("f"), b"abc")
        upload.commit()
        self.assertEqual(self.octets("f"), b"abcd")
        upload = self.store.modify(("f",), "me")
        upload.keep()
        self.assertEqual(self.parts(), [])
        self.assertIsNone(self.store.find_partial(("f",), "me"))

    def test_file_abuse_11_two_writers(self) -> None:
        """Of two uploads to one name the last commit wins, each whole."""
        one, other = self.store.create(("f",)), self.store.create(("f",))
        for at in range(3):
            one.write(at, b"1")
            other.write(at, b"2")
        other.commit()
        self.assertEqual(self.octets("f"), b"222")
        one.commit()
        self.assertEqual(self.octets("f"), b"111")

    def test_file_abuse_11_if_absent(self) -> None:
        """Of two uploads that may replace nothing the first commit wins; the other stays a partial file."""
        one, other = (self.store.create(("f",), if_absent=True) for _ in range(2))
        other.commit()
        with self.assertRaises(ExistsError):
            one.commit()
        one.discard()
        self.assertEqual(os.listdir(self.root), ["f"])
        with self.assertRaises(ExistsError):
            self.store.create(("f",), if_absent=True)

    def test_file_abuse_11_at_once(self) -> None:
        """Eight threads publish one name thirty times each: readers find whole files only."""

        def write(number: int) -> None:
            for _ in range(30):
                upload = self.store.create(("f",))
                upload.write(0, b"%d" % number * 5000)
                upload.commit()

        writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for one in writers:
            one.start()
        seen = set()
        while any(one.is_alive() for one in writers):
            try:
                file = self.store.open(("f",))
            except NotFoundError:
                continue
            found = file.read(0, 9999)
            self.assertEqual((len(found), len(set(found))), (5000, 1))
            self.assertEqual(file.digest(), hashlib.sha256(found).digest())
            seen.add(found[0])
            file.close()
        for one in writers:
            one.join()
        self.assertEqual(os.listdir(self.root), ["f"])

    def test_file_abuse_12_replaced(self) -> None:
        """A reader keeps the file that he opened."""
        self.put("f", b"old")
        file = self.store.open(("f",))
        self.put("f", b"newer")
        self.assertEqual((file.read(0, 9), file.size), (b"old", 3))
        file.close()
        self.assertEqual(self.octets("f"), b"newer")

    def test_condition(self) -> None:
        """What is to replace one certain version does so only while that is there."""
        self.put("f", b"1")
        one = self.store.create(("f",), replaces=hashlib.sha256(b"1").digest())
        other = self.store.create(("f",), replaces=hashlib.sha256(b"1").digest())
        one.write(0, b"2")
        one.commit()
        with self.assertRaises(ChangedError):
            other.commit()
        self.store.remove(("f",))
        with self.assertRaises(ChangedError):
            other.commit()
        other.discard()

    def test_file_abuse_19_not_replaced(self) -> None:
        """Directories, links, FIFOs are replaced by no upload."""
        (self.root / "d").mkdir()
        (self.root / "l").symlink_to("d")
        os.mkfifo(self.root / "p")
        for name, error in (("d", WrongTypeError), ("l", NotPermittedError), ("p", NotPermittedError)):
            with self.assertRaises(error):
                self.store.create((name,))
        self.assertEqual(self.parts(), [])

    def test_file_abuse_22_twins(self) -> None:
        """A name that differs from another in case or composition only is refused, or is the other."""
        self.put("caf\u00e9", b"x")
        self.put("cafe\u0301", b"y")
        self.assertEqual((self.shown(), self.octets("caf\u00e9")), (["caf\u00e9"], b"y"))
        self.assertEqual(self.store.stat(("cafe\u0301",)).name, "caf\u00e9")
        for name in ("CAF\u00c9", "Caf\u00e9"):
            with self.assertRaises(ExistsError):
                self.store.create((name,))
            with self.assertRaises(ExistsError):
                self.store.make_directory((name,))
        (self.root / "o\u0308").write_bytes(b"by another")
        self.assertEqual(self.store.stat(("o\u0308",)).name, "o\u0308")
        with self.assertRaises(ExistsError):
            self.store.create(("\u00f6",))
        self.store = self.make(case_twins=True)
        self.put("CAF\u00c9", b"z")
        self.assertEqual(len(self.shown()), 3)

    def test_twins_by_others(self) -> None:
        """What another process wrote since is seen."""
        self.put("a", b"")
        (self.root / "B").write_bytes(b"")
        with self.assertRaises(ExistsError):
            self.store.create(("b",))
        (self.root / "B").unlink()
        self.put("b", b"")

    def test_twins_that_may_be(self) -> None:
        """Where one of two twins goes, the other is still known."""
        both = self.make(case_twins=True)
        for name in ("a", "A"):
            upload = both.create((name,))
            upload.commit()
        both.remove(("A",))
        with self.assertRaises(ExistsError):
            self.store.create(("A",))

    def test_numbers_meet(self) -> None:
        """Names that have the same number by chance are no twins."""
        self.patch(twins, "_key", len)
        for name in ("abc", "xyz", "abd"):
            self.put(name, b"")
        with self.assertRaises(ExistsError):
            self.store.create(("ABC",))
        self.store.remove(("xyz",))
        self.put("XYZ", b"")
        self.assertEqual(self.shown(), ["XYZ", "abc", "abd"])

    def test_rename_of_case(self) -> None:
        """A file may be renamed to what differs in case only."""
        self.put("readme", b"x")
        self.store.rename(("readme",), ("README",))
        self.assertEqual(self.shown(), ["README"])
        with self.assertRaises(ExistsError):
            self.store.create(("readme",))

    def test_descriptors(self) -> None:
        """Whatever is refused leaves no descriptor and no partial file."""
        before = open_descriptors()
        (self.root / "d").mkdir()
        for names in (("d",), ("nowhere", "f"), (".x",), ()):
            with self.assertRaises(StoreError):
                self.store.create(names)
        upload = self.store.create(("f",))
        upload.discard()
        upload.discard()
        self.assertEqual((open_descriptors(), self.parts()), (before, []))


class Trees(StoreCase):
    def test_listing(self) -> None:
        """Files and directories are listed; hidden names, names that nobody could ask for, and the rest are not."""
        self.put("f", b"abc")
        self.store.make_directory(("d",))
        os.mkfifo(self.root / "p")
        (self.root / ".hidden").write_bytes(b"")
        (self.root / "a\x1b[2J").write_bytes(b"")
        os.close(os.open(os.fsencode(self.root) + b"/\xff", os.O_CREAT))
        (self.root / "in").symlink_to("f")
        (self.root / "out").symlink_to("/etc/passwd")
        self.store.create(("g",))
        self.assertEqual(self.shown(), ["d", "f", "in"])
        listing = self.store.listing((), digests=True)
        self.addCleanup(listing.close)
        found = {one.name: one for one in listing.read(2) + listing.read(2) + listing.read(2)}
        self.assertEqual(found["f"].digest, hashlib.sha256(b"abc").digest())
        self.assertEqual((found["d"].directory, found["in"].size), (True, 3))

    def test_directories(self) -> None:
        """Directories are made and removed one by one."""
        self.store.make_directory(("d",))
        self.store.make_directory(("d", "e"))
        with self.assertRaises(ExistsError):
            self.store.make_directory(("d",))
        with self.assertRaises(NotFoundError):
            self.store.make_directory(("x", "y"))
        with self.assertRaises(NotEmptyError):
            self.store.remove_directory(("d",))
        with self.assertRaises(WrongTypeError):
            self.store.remove(("d",))
        self.store.remove_directory(("d", "e"))
        self.store.remove_directory(("d",))
        with self.assertRaises(NotPermittedError):
            self.store.remove_directory(())

    def test_partials_go_with_their_directory(self) -> None:
        """A directory that shows nothing can be removed, unless somebody uploads into it at this moment."""
        self.store.make_directory(("d",))
        upload = self.store.create(("d", "f"), owner="me")
        upload.write(0, b"x")
        with self.assertRaises(NotEmptyError):
            self.store.remove_directory(("d",))
        upload.keep()
        self.store.remove_directory(("d",))
        self.assertIsNone(self.store.find_partial(("d", "f"), "me"))

    def test_renames(self) -> None:
        """A rename replaces only what it may."""
        self.put("a", b"a")
        self.put("b", b"b")
        self.store.make_directory(("d",))
        with self.assertRaises(ExistsError):
            self.store.rename(("a",), ("b",))
        self.store.rename(("a",), ("b",), replace=True)
        self.assertEqual(self.octets("b"), b"a")
        with self.assertRaises(WrongTypeError):
            self.store.rename(("b",), ("d",), replace=True)
        self.store.rename(("b",), ("d", "b"))
        self.store.rename(("d",), ("e",))
        self.assertEqual(self.octets("e/b"), b"a")
        with self.assertRaises(BadNameError):
            self.store.rename(("e", "b"), ("e", ".b"))
        with self.assertRaises(StoreError):
            self.store.rename(("e",), ("e", "f"))
        with self.assertRaises(NotFoundError):
            self.store.rename(("a",), ("c",))

    def test_times(self) -> None:
        """A new time of change leaves the digest known; what is written past the store makes it void."""
        self.put("f", b"x")
        self.store.set_modified(("f",), 1.5)
        self.assertEqual((self.root / "f").stat().st_mtime_ns, 1_500_000_000)
        file = self.store.open(("f",))
        self.assertEqual(file.digest(), hashlib.sha256(b"x").digest())
        file.close()
        (self.root / "f").write_bytes(b"yy")
        file = self.store.open(("f",))
        self.assertIsNone(file.digest())
        file.close()
        self.assertEqual(self.store.digest(("f",)), hashlib.sha256(b"yy").digest())
        file = self.store.open(("f",))
        self.assertEqual(file.digest(), hashlib.sha256(b"yy").digest())
        file.close()

    def test_digest_that_is_none(self) -> None:
        """An attribute that others wrote is not believed."""
        self.put("f", b"x")
        for value in (b"", b"1", b"1 zz 1 1", b"2 " + b"00" * 32 + b" 1 1", b"\xff" * 40):
            os.setxattr(self.root / "f", ATTRIBUTE, value)
            file = self.store.open(("f",))
            self.assertIsNone(file.digest())
            file.close()

    def test_index(self) -> None:
        """Where files have no attributes, an index keeps the digests, and forgets what goes."""

        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        self.patch(os, "setxattr", refuse)
        self.patch(os, "getxattr", refuse)
        self.put("f", b"x")
        file = self.store.open(("f",))
        self.assertEqual(file.digest(), hashlib.sha256(b"x").digest())
        file.close()
        self.assertEqual(self.shown(), ["f"])
        (self.root / "f").write_bytes(b"z")
        self.assertEqual(self.store.digest(("f",)), hashlib.sha256(b"z").digest())
        self.store.remove(("f",))
        self.assertIsNone(self.store.commons.digests.kept(0, ("f",), os.stat(self.root)))
        index = self.store.commons.digests._index
        assert index is not None
        del file, self.store
        gc.collect()
        with self.assertRaises(sqlite3.ProgrammingError):  # it was closed with the root's last store
            index.execute("SELECT 1")


class Accounts(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.put("f", b"x")

    def changes(self, store: FileStore) -> dict[str, object]:
        return {
            "remove": lambda: store.remove(("f",)),
            "rename": lambda: store.rename(("f",), ("g",)),
            "mkdir": lambda: store.make_directory(("d",)),
            "modify": lambda: store.modify(("f",)),
            "touch": lambda: store.set_modified(("f",), 1),
        }

    def test_read_only(self) -> None:
        """Who may only read changes nothing."""
        store = self.make(access=Access.READ_ONLY)
        for what in (*self.changes(store).values(), lambda: store.create(("n",)), lambda: store.resume("0", "")):
            with self.assertRaises(NotPermittedError):
                what()
        self.assertEqual(self.shown(), ["f"])
        store.open(("f",)).close()

    def test_upload_only(self) -> None:
        """Who may only upload sees no file, replaces none, and continues what is his."""
        store = self.make(access=Access.UPLOAD_ONLY)
        for what in (*self.changes(store).values(), lambda: store.open(("f",)), lambda: store.listing(())):
            with self.assertRaises(NotPermittedError):
                what()
        with self.assertRaises(ExistsError):
            store.create(("f",))
        with self.assertRaises(NotFoundError):
            store.stat(("f",))
        self.assertTrue(store.stat(()).directory)
        upload = store.create(("n",), owner="me")
        upload.write(0, b"ab")
        upload.keep()
        found = store.find_partial(("n",), "me")
        assert found is not None
        again = store.resume(found.id, "me")
        again.write(2, b"c")
        again.commit()
        self.assertEqual(self.octets("n"), b"abc")
        with self.assertRaises(ExistsError):
            store.create(("n",))
