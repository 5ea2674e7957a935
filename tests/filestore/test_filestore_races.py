"""What is done to an upload while somebody else does something to it, in this process or in another."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netsvc.filestore import publishing, receiving
from netsvc.filestore.errors import BusyError, ChangedError, ExistsError, NotEmptyError, NotFoundError
from netsvc.filestore.records import part_name
from netsvc.filestore.store import FileStore
from netsvc.filestore.sweeping import YOUNG
from netsvc.filestore.terms import Terms
from netsvc.filestore.upload import Upload
from tests.filestore.kit import StoreCase, open_descriptors
from tests.waiting import BOUND


class WhileItIsRead(StoreCase):
    """A resume reads what had come, which may take minutes."""

    def setUp(self) -> None:
        super().setUp()
        upload = self.store.create(("f",), owner="me")
        upload.write(0, b"abc")
        upload.keep()
        self.id = upload.id

    def resumed(self, meanwhile: Callable[[], object]) -> Upload:
        """The upload that is continued, while something else happens."""
        real = receiving.sha256_of

        def read(*arguments: Any) -> bytes:
            meanwhile()
            return real(*arguments)

        with open(self.parts()[0], "r+b") as file:  # touched, so that it is read
            os.utime(file.fileno(), ns=(1, 1))
        self.patch(receiving, "sha256_of", read)
        return self.store.resume(self.id, "me")

    def continued(self, upload: Upload) -> None:
        upload.write(3, b"def")
        upload.commit()
        self.assertEqual(self.octets("f"), b"abcdef")
        self.assertEqual((self.parts(), list(self.store.commons.partials())), ([], []))

    def test_dropped(self) -> None:
        """An upload that is being continued is given up by nobody."""
        upload = self.resumed(lambda: self.assertRaises(BusyError, self.store.drop, self.id, "me"))
        self.continued(upload)

    def test_swept(self) -> None:
        """One that expired, and is being continued, is not swept."""
        self.later(self.store.terms.keep_partials + 1)
        self.continued(self.resumed(lambda: self.assertEqual(self.store.sweep(), 0)))

    def test_begun_anew(self) -> None:
        """Who begins its name anew leaves it alone."""
        self.continued(self.resumed(lambda: self.store.create(("f",), owner="me").discard()))

    def test_continued_twice(self) -> None:
        """Of two who continue it at once one has to come again."""
        self.continued(self.resumed(lambda: self.assertRaises(BusyError, self.store.resume, self.id, "me")))


class Others(StoreCase):
    def test_locked(self) -> None:
        """A directory into which another process uploads is not removed."""
        (self.root / "d").mkdir()
        with open(self.root / "d" / part_name("ab" * 16), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with self.assertRaises(NotEmptyError):
                self.store.remove_directory(("d",))
            self.assertEqual(len(self.parts()), 1)
        self.store.remove_directory(("d",))

    def test_kept_by_another_process(self) -> None:
        """What another process kept is no orphan."""
        self.assertEqual(list(self.store.commons.partials()), [])
        other = self.directory / "other"
        other.mkdir()
        upload = FileStore(other, Terms(), wall_clock=lambda: self.wall).create(("f",), owner="me")
        upload.write(0, b"abc")
        upload.keep()
        shutil.copytree(other, self.root, dirs_exist_ok=True)
        os.utime(self.parts()[0], (self.wall - YOUNG - 1,) * 2)
        self.assertEqual(self.store.sweep(), 0)
        self.store.resume(upload.id, "me", 3).commit()
        self.assertEqual(self.octets("f"), b"abc")

    def test_forked(self) -> None:
        """A process that was started meanwhile, and has the descriptor still, keeps nobody from continuing."""
        upload = self.store.create(("f",), owner="me")
        upload.write(0, b"abc")
        held = [int(one.name) for one in Path("/proc/self/fd").iterdir() if one.resolve().match(f"{self.root}/*.part")]
        self.assertEqual(len(held), 1)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=held):
            upload.keep()
            self.store.resume(upload.id, "me", 3).commit()

    def test_published_by_a_link(self) -> None:
        """A crash between link and unlink, where nothing better is had: the published file is not written to."""
        upload = self.store.create(("f",), owner="me", if_absent=True)
        upload.write(0, b"abc")
        upload.keep()
        self.wall += 1
        os.link(self.parts()[0], self.root / "f")
        with open(self.root / "f", "ab") as file:
            file.write(b"more that came later")
        with self.assertRaises(NotFoundError):
            self.store.resume(upload.id, "me")
        self.assertEqual(self.octets("f"), b"abcmore that came later")
        self.assertEqual(self.parts(), [])

    def test_root_is_exchanged(self) -> None:
        """A root that is a link, and leads elsewhere from now on, has its uploads and its quota there."""
        for name in ("old", "new"):
            (self.directory / name).mkdir()
        (self.directory / "old" / "great").write_bytes(bytes(90))
        link = self.directory / "link"
        link.symlink_to("old")
        store = FileStore(link, Terms(quota=100))
        store.create(("f",), size=10).discard()
        link.unlink()
        link.symlink_to("new")
        upload = store.create(("f",), owner="me", size=80)
        upload.write(0, b"abc")
        upload.keep()
        self.assertEqual(os.listdir(self.directory / "old"), ["great"])
        self.assertEqual(len(os.listdir(self.directory / "new")), 2)
        self.assertEqual(FileStore(self.directory / "new", Terms()).partial(upload.id, "me").offset, 3)

    def test_renamed_directory(self) -> None:
        """An upload that was cut off, and whose directory has another name since, is not known any more."""
        self.store.make_directory(("d",))
        upload = self.store.create(("d", "f"), owner="me")
        upload.write(0, b"abc")
        upload.keep()
        self.store.rename(("d",), ("e",))
        with self.assertRaises(NotFoundError):
            self.store.resume(upload.id, "me")
        with self.assertRaises(NotFoundError):
            self.store.partial(upload.id, "me")


class Replacing(StoreCase):
    def test_nobody_waits(self) -> None:
        """While the file that is to be replaced is read, because its digest is not known, others publish."""
        (self.root / "f").write_bytes(b"1")
        real = publishing.sha256_of
        upload = self.store.create(("f",), replaces=hashlib.sha256(b"1").digest())

        def read(*arguments: Any) -> bytes:
            other = threading.Thread(target=self.put, args=("g", b"x"), daemon=True)
            other.start()
            other.join(BOUND)
            self.assertFalse(other.is_alive())
            return real(*arguments)

        self.patch(publishing, "sha256_of", read)
        upload.write(0, b"2")
        upload.commit()
        self.assertEqual(self.octets("f"), b"2")

    def test_changed_meanwhile(self) -> None:
        """If the file changes after it was read, it is not replaced."""
        (self.root / "f").write_bytes(b"1")
        real = publishing.sha256_of
        upload = self.store.create(("f",), replaces=hashlib.sha256(b"1").digest())

        def read(*arguments: Any) -> bytes:
            found = real(*arguments)
            self.put("f", b"by another")
            return found

        self.patch(publishing, "sha256_of", read)
        with self.assertRaises(ChangedError):
            upload.commit()
        upload.discard()
        self.assertEqual(self.octets("f"), b"by another")

    def test_refused(self) -> None:
        """Who is refused a name keeps what he had of it."""
        kept = self.store.create(("f",), owner="me")
        kept.write(0, b"abc")
        kept.keep()
        self.put("f", b"x")
        with self.assertRaises(ExistsError):
            self.store.create(("f",), owner="me", if_absent=True)
        self.assertEqual(self.store.partial(kept.id, "me").offset, 3)

    def test_one_file_of_two_names(self) -> None:
        """A rename onto another name of the same file leaves one name."""
        self.put("a", b"x")
        os.link(self.root / "a", self.root / "b")
        self.store.rename(("a",), ("b",), replace=True)
        self.assertEqual(self.shown(), ["b"])

    def test_written_in_the_same_tick(self) -> None:
        """What is written past the store so soon that its time of change stays the same is seen all the same."""
        path = self.root / "f"
        path.write_bytes(b"1")
        now = int(self.wall * 1e9)
        os.utime(path, ns=(now, now))
        self.assertEqual(self.store.digest(("f",)), hashlib.sha256(b"1").digest())
        path.write_bytes(b"2")
        os.utime(path, ns=(now, now))
        self.assertEqual(self.store.digest(("f",)), hashlib.sha256(b"2").digest())


class Locks(StoreCase):
    def test_no_locks(self) -> None:
        """A file system without locks takes no upload, and nothing is left of it."""

        def refuse(*_: object) -> None:
            raise OSError(37, "No locks available")

        self.store.create(("f",)).discard()
        before = open_descriptors()
        self.patch(fcntl, "flock", refuse)
        with self.assertRaises(Exception):  # noqa: B017 - whatever the store calls it
            self.store.create(("f",))
        self.assertEqual((open_descriptors(), self.parts()), (before, []))
