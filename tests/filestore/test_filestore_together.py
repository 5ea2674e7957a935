"""Several threads change one directory at once, and others write there past the store."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator

from netsvc.filestore import publishing, twins
from netsvc.filestore.errors import ChangedError, ExistsError, StoreError
from tests.filestore.kit import StoreCase
from tests.waiting import BOUND, wait_until

ROUNDS = 40


class TogetherCase(StoreCase):
    def together(self, *actions: Callable[[], object]) -> list[type[StoreError] | None]:
        """Do all at once; how each was refused, if it was."""
        ends: list[type[StoreError] | None] = [None] * len(actions)
        barrier = threading.Barrier(len(actions))

        def run(at: int) -> None:
            barrier.wait(BOUND)
            try:
                actions[at]()
            except StoreError as error:
                ends[at] = type(error)

        threads = [threading.Thread(target=run, args=(at,), daemon=True) for at in range(len(actions))]
        for one in threads:
            one.start()
        for one in threads:
            one.join(BOUND)
            self.assertFalse(one.is_alive())
        return ends

    def readings(self) -> list[int]:
        """The directories that are read for their names from now on."""
        real, seen = twins._shown, list[int]()

        def shown(directory: int) -> Iterator[str]:
            seen.append(directory)
            return real(directory)

        self.patch(twins, "_shown", shown)
        return seen


class Names(TogetherCase):
    def test_file_abuse_22_twins_at_once(self) -> None:
        """Of two names that could be taken for each other, published at once, exactly one comes to be."""
        for number in range(ROUNDS):
            uploads = [self.store.create((f"{name}{number}",)) for name in ("name", "NAME")]
            ends = self.together(*(one.commit for one in uploads))
            self.assertCountEqual(ends, [None, ExistsError])
            for one in uploads:
                one.discard()
        self.assertEqual(len(self.shown()), ROUNDS)

    def test_absent_at_once(self) -> None:
        """Of several who publish a name that may replace nothing, one does."""
        for number in range(ROUNDS):
            uploads = [self.store.create((f"f{number}",), if_absent=True) for _ in range(4)]
            ends = self.together(*(one.commit for one in uploads))
            self.assertEqual(ends.count(None), 1)
            for one in uploads:
                one.discard()

    def test_condition_at_once(self) -> None:
        """What is published without a condition is never replaced by one that expected what was there before."""
        for _ in range(ROUNDS):
            self.put("f", b"before")
            careful = self.store.create(("f",), replaces=hashlib.sha256(b"before").digest())
            careful.write(0, b"careful")
            plain = self.store.create(("f",))
            plain.write(0, b"plain")
            ends = self.together(careful.commit, plain.commit)
            self.assertIn(ends, ([None, None], [ChangedError, None]))
            self.assertEqual(self.octets("f"), b"plain")
            careful.discard()

    def test_one_waits_for_the_disk(self) -> None:
        """While one name changes hands, for as long as the disk takes, another one may; the same one waits."""
        real = os.rename
        same = self.store.create(("F",), if_absent=False)
        waiting = threading.Thread(target=lambda: self.together(same.commit), daemon=True)

        def rename(old: str, new: str, **where: int) -> None:
            if new == "f":
                waiting.start()
                other = threading.Thread(target=self.put, args=("g", b"x"), daemon=True)
                other.start()
                other.join(BOUND)
                self.assertFalse(other.is_alive())
                self.assertEqual(self.shown(), ["g"])
            real(old, new, **where)

        self.patch(publishing.os, "rename", rename)
        self.put("f", b"x")
        waiting.join(BOUND)
        self.assertEqual(self.shown(), ["f", "g"])
        same.discard()

    def test_renamed_crosswise(self) -> None:
        """Two who rename between the same two directories, one there and one back, do not wait for each other."""
        for name in ("d", "e"):
            self.store.make_directory((name,))
        self.put("d/f", b"1")
        self.put("e/g", b"2")
        for _ in range(ROUNDS // 2):
            there = lambda: self.store.rename(("d", "f"), ("e", "f"))  # noqa: E731
            back = lambda: self.store.rename(("e", "g"), ("d", "g"))  # noqa: E731
            self.assertEqual(self.together(there, back), [None, None])
            self.store.rename(("e", "f"), ("d", "f"))
            self.store.rename(("d", "g"), ("e", "g"))

    def test_room(self) -> None:
        """Who replace one name at once give back the room of what each replaced, and no more."""
        self.store = self.make(quota=10_000)
        for _ in range(ROUNDS):
            uploads = [self.store.create(("f",), size=1000) for _ in range(3)]
            for one in uploads:
                one.write(0, bytes(1000))
            self.assertEqual(self.together(*(one.commit for one in uploads)), [None] * 3)
        self.assertEqual(self.store.space().available, 9000 // self.store.space().block_size)
        self.store.create(("g",), size=9000).discard()
        self.assertRaises(StoreError, self.store.create, ("g",), size=9001)


class Followed(TogetherCase):
    def test_own_changes(self) -> None:
        """A directory that several threads change at once is read once."""
        seen = self.readings()

        def several(who: int) -> None:
            for number in range(20):
                self.put(f"f{who}-{number}", b"x")

        self.assertEqual(self.together(*(lambda who=who: several(who) for who in range(4))), [None] * 4)
        self.assertEqual(len(seen), 1)
        for number in range(20):
            self.assertRaises(ExistsError, self.store.create, (f"F3-{number}",))

    def test_foreign_between(self) -> None:
        """What another process writes while the store changes nothing is seen at once."""
        self.put("a", b"")
        upload = self.store.create(("c",))
        (self.root / "B").write_bytes(b"")
        upload.commit()
        self.assertRaises(ExistsError, self.store.create, ("b",))

    def test_foreign_meanwhile(self) -> None:
        """What another process writes in the very moment in which the store changes something is seen soon."""
        self.put("a", b"")
        real = os.rename

        def rename(old: str, new: str, **where: int) -> None:
            (self.root / "B").write_bytes(b"")
            real(old, new, **where)

        self.patch(publishing.os, "rename", rename)
        self.put("c", b"")
        self.later(twins.FOLLOWED)
        self.assertRaises(ExistsError, self.store.create, ("b",))

    def test_foreign_while_it_never_rests(self) -> None:
        """And so it is where the store changes something all the time."""
        self.put("a", b"")
        directory = os.open(self.root, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        with self.store.commons.twins.changing(directory):
            (self.root / "B").write_bytes(b"")
            self.later(twins.FOLLOWED)
            self.assertRaises(ExistsError, self.store.create, ("b",))

    def test_not_changed(self) -> None:
        """What the store did not change is not read again, however late."""
        seen = self.readings()
        (self.root / "a").write_bytes(b"")
        directory = os.open(self.root, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        for _ in range(3):
            self.store.commons.twins.check(directory, "new", case=False)
            self.assertRaises(ExistsError, self.store.commons.twins.check, directory, "A", case=False)
            self.later(100)
        self.assertEqual(len(seen), 1 + 3)  # where numbers meet, the names themselves are looked at

    def test_come_while_it_is_read(self) -> None:
        """A name that comes while the directory is read, after its place in it, is known."""
        upload = self.make(case_twins=True).create(("name",))
        other = threading.Thread(target=upload.commit, daemon=True)
        real_rename, real_shown = os.rename, twins._shown
        begun, read = threading.Event(), threading.Event()

        def rename(old: str, new: str, **where: int) -> None:
            if new == "name":
                begun.set()
                read.wait(BOUND)
            real_rename(old, new, **where)

        def shown(directory: int) -> Iterator[str]:
            found = list(real_shown(directory))
            read.set()
            wait_until((self.root / "name").exists)
            return iter(found)

        self.patch(publishing.os, "rename", rename)
        self.patch(twins, "_shown", shown)
        other.start()
        begun.wait(BOUND)
        self.put("another", b"")
        other.join(BOUND)
        self.assertRaises(ExistsError, self.store.create, ("NAME",))

    def test_composed(self) -> None:
        """Where only composition counts, plain names are looked for nowhere, but for what others are composed to."""
        store = self.make(case_twins=True)
        seen = self.readings()
        for name in ("name.txt", "NAME.txt", "a~b=1!"):
            store.create((name,)).commit()
        self.assertEqual(seen, [])
        for composed, other in (("k K", "k \u212a"), ("a;b", "a\u037eb"), ("a`", "a\u1fef"), ("\u00e9", "e\u0301")):
            (self.root / other).write_bytes(b"")
            self.assertRaises(ExistsError, store.create, (composed,))
