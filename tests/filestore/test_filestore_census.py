"""What may go on while all files are counted for a quota, and that the sum is right whatever does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from netsvc.filestore import room
from netsvc.filestore.census import Census, files_beneath
from netsvc.filestore.errors import QuotaError, StoreError
from netsvc.filestore.records import part_name
from netsvc.filestore.store import FileStore
from tests.filestore.kit import StoreCase

QUOTA = 100_000
NAMES = ("a", "b", "d/a", "d/b", "e/a")


class CensusCase(StoreCase):
    """A store without a quota, and one with, of the same root; and counts in the midst of which things happen."""

    def setUp(self) -> None:
        super().setUp()
        self.steps: list[Callable[[], object]] = []  # what happens before each file that a count sees, or after all
        self.patch(room, "files_beneath", self.slowly)
        self.fill("root")

    def fill(self, name: str) -> None:
        """A root with files in it."""
        self.root = self.directory / name
        self.root.mkdir(exist_ok=True)
        self.store = self.make()
        self.commons = self.store.commons  # so that what was counted stays known
        for number, name in enumerate(NAMES):
            path = self.root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(1 << number))

    def slowly(self, root: Path) -> Iterator[tuple[str, os.stat_result]]:
        for one in files_beneath(root):
            self.step()
            yield one
        while self.steps:
            self.step()

    def step(self) -> None:
        if self.steps:
            self.steps.pop(0)()

    def check(self, octets: int = 0) -> None:
        """What the quota has counted is what is on the disk, and so many octets more."""
        used = octets + sum(
            path.lstat().st_size
            for path in self.root.rglob("*")
            if path.is_file() and ".netsvc" not in path.relative_to(self.root).parts
        )
        store = self.make(quota=QUOTA)
        store.create(("probe",), size=QUOTA - used).discard()
        with self.assertRaises(QuotaError):
            store.create(("probe",), size=QUOTA - used + 1)

    def count(self) -> None:
        """Count for the first time."""
        self.make(quota=QUOTA).create(("probe",), size=1).discard()


class DuringCountTests(CensusCase):
    def at_each_step(self, act: Callable[[FileStore], object], *, again: bool = False) -> None:
        """Whenever in a count it is done, the first or a later one, the sum is what is there."""
        for at in range(len(NAMES) + 2):
            self.fill(f"{act.__name__}-{at}-{again}")
            if again:
                self.check()
                self.steps = [lambda: None] * at + [lambda: act(self.store)]
                self.store.sweep()
            else:
                self.steps = [lambda: None] * at + [lambda: act(self.store)]
                self.count()
            self.check()
            self.assertEqual(self.steps, [])

    def both(self, act: Callable[[FileStore], object]) -> None:
        self.at_each_step(act)
        self.at_each_step(act, again=True)

    def test_uploads(self) -> None:
        """A new file, one that replaces another, and one that is given up."""

        def new(_: FileStore) -> None:
            self.put("d/new", bytes(1000))

        def replacing(_: FileStore) -> None:
            self.put("d/b", bytes(1000))

        def twice(_: FileStore) -> None:
            self.put("d/b", bytes(1000))
            self.put("d/b", bytes(2000))

        def discarded(store: FileStore) -> None:
            upload = store.create(("d", "b"), size=300)
            upload.write(0, bytes(100))
            upload.discard()

        for act in (new, replacing, twice, discarded):
            self.both(act)

    def test_removals(self) -> None:
        """A file that goes, and one that comes again under its name, perhaps with its inode."""

        def removed(store: FileStore) -> None:
            store.remove(("d", "b"))

        def back(store: FileStore) -> None:
            store.remove(("d", "b"))
            self.put("d/b", bytes(500))

        def tree(store: FileStore) -> None:
            store.remove(("e", "a"))
            store.remove_directory(("e",))

        for act in (removed, back, tree):
            self.both(act)

    def test_renames(self) -> None:
        """Files that change places, and take those of others."""

        def moved(store: FileStore) -> None:
            store.rename(("d", "b"), ("e", "b"))

        def to_and_fro(store: FileStore) -> None:
            store.rename(("d", "b"), ("e", "b"))
            store.rename(("a",), ("d", "b"))
            store.rename(("e", "b"), ("a",))

        def over(store: FileStore) -> None:
            store.rename(("a",), ("e", "a"), replace=True)

        def then_removed(store: FileStore) -> None:
            store.rename(("a",), ("e", "c"))
            store.remove(("e", "c"))

        for act in (moved, to_and_fro, over, then_removed):
            self.both(act)

    def test_parts(self) -> None:
        """Uploads that are kept, cut, continued and dropped."""

        def kept(store: FileStore) -> None:
            upload = store.create(("p",), owner="me")
            upload.write(0, bytes(700))
            upload.keep()

        def continued(store: FileStore) -> None:
            kept(store)
            partial = store.find_partial(("p",), "me")
            assert partial is not None
            with open(self.root / part_name(partial.id), "ab") as file:
                file.write(bytes(50))  # what a crash left behind the last sync
            upload = store.resume(partial.id, "me")
            upload.write(700, bytes(40))
            upload.truncate(710)
            upload.commit()

        def dropped(store: FileStore) -> None:
            kept(store)
            partial = store.find_partial(("p",), "me")
            assert partial is not None
            store.drop(partial.id, "me")

        for act in (kept, dropped, continued):
            self.both(act)

    def test_written_all_the_time(self) -> None:
        """An upload that is under way counts with what it has and what it was promised, once."""
        upload = self.store.create(("f",), size=5000)
        self.steps = [lambda at=at: upload.write(at * 100, bytes(100)) for at in range(20)]  # type: ignore[misc]
        self.count()
        self.check(3000)
        upload.write(2000, bytes(3000))
        self.check()
        self.steps = [upload.commit]
        self.store.sweep()
        self.check()

    @given(st.data())
    @settings(deadline=None, max_examples=60)
    def test_whatever_happens(self, data: st.DataObject) -> None:
        """Any changes at any time in two counts, one after the other."""
        self.fill(os.urandom(8).hex())
        name = st.sampled_from([*NAMES, "c", "e/c"]).map(lambda text: tuple(text.split("/")))
        change = st.one_of(
            st.tuples(st.just("put"), name, st.integers(0, 999)),
            st.tuples(st.just("begin"), name, st.integers(0, 999)),
            st.tuples(st.just("end"), st.booleans()),
            st.tuples(st.just("remove"), name),
            st.tuples(st.just("rename"), name, name, st.booleans()),
        )
        begun: list[Any] = []

        def do(what: str, *how: Any) -> None:
            try:
                if what == "put":
                    self.put("/".join(how[0]), bytes(how[1]))
                elif what == "begin":
                    begun.append(self.store.create(how[0]))
                    begun[-1].write(0, bytes(how[1]))
                elif what == "end" and begun:
                    upload = begun.pop(0)
                    upload.commit() if how[0] else upload.discard()
                elif what == "remove":
                    self.store.remove(how[0])
                elif what == "rename":
                    self.store.rename(how[0], how[1], replace=how[2])
            except StoreError:
                pass

        def draw() -> list[Callable[[], object]]:
            drawn = data.draw(st.lists(st.lists(change, max_size=2), max_size=8))
            return [lambda some=some: [do(*one) for one in some] for some in drawn]  # type: ignore[misc]

        self.steps = draw()
        self.count()
        self.steps = draw()
        self.store.sweep()
        for upload in begun:
            upload.discard()
        self.check()


class WaitingTests(CensusCase):
    """Who waits for the first count, in threads of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.counting, self.go_on = threading.Event(), threading.Event()
        self.addCleanup(self.go_on.set)
        self.steps = [lambda: None, self.stop]
        self.threads: list[threading.Thread] = []

    def stop(self) -> None:
        self.counting.set()
        self.go_on.wait(30)

    def run_aside(self, act: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def let_go(self) -> None:
        self.go_on.set()
        for thread in self.threads:
            thread.join(30)
            self.assertFalse(thread.is_alive())

    def begin(self) -> None:
        """The first count is under way, and stops at its second file."""
        self.run_aside(self.count)
        self.assertTrue(self.counting.wait(30))

    def test_without_a_quota(self) -> None:
        """Who has no quota goes on while all files are counted: uploads, removals, renames."""
        self.begin()
        self.put("new", bytes(100))
        self.store.remove(("a",))
        self.store.rename(("d", "a"), ("c",))
        self.assertFalse(self.go_on.is_set())
        self.let_go()
        self.check()

    def test_with_a_quota(self) -> None:
        """Who has one waits; of many who ask at once one counts."""
        self.begin()
        store = self.make(quota=QUOTA)
        free: list[int] = []
        others = [self.run_aside(lambda: free.append(store.space().available)) for _ in range(3)]
        others.append(self.run_aside(lambda: store.create(("f",), size=100).commit))
        self.assertTrue(all(one.is_alive() for one in others))
        again: list[str] = []
        self.patch(room, "Census", lambda: again.append("counted") or Census())
        self.let_go()
        self.assertEqual((len(free), again), (3, []))

    def test_a_directory(self) -> None:
        """A directory is renamed when the first count is over, and no file in it is missed; nor one of two names."""
        os.link(self.root / "b", self.root / "linked")
        self.begin()
        renamed = self.run_aside(lambda: self.store.rename(("d",), ("z",)))
        removed = self.run_aside(lambda: self.store.remove(("linked",)))
        self.assertTrue(renamed.is_alive() and removed.is_alive())
        self.put("d/more", bytes(100))
        self.let_go()
        self.assertEqual(self.shown("z"), ["a", "b", "more"])
        self.check()

    def test_a_directory_later(self) -> None:
        """A later count makes nobody wait: it is void where it could not follow, and the next one holds."""
        self.steps = []
        self.check()
        (self.root / "d" / "past-the-store").write_bytes(bytes(1000))
        self.check(-1000)
        self.steps = [lambda: None, lambda: self.store.rename(("d",), ("z",))]
        self.store.sweep()
        self.check(-1000)
        self.store.sweep()
        self.check()

    def test_a_quota_later(self) -> None:
        """While files are counted again, the quota holds as it was known."""
        self.steps = []
        self.count()
        ended: list[bool] = []

        def ask() -> None:
            thread = self.run_aside(self.count)
            thread.join(30)
            ended.append(not thread.is_alive())

        self.steps = [ask]
        self.store.sweep()
        self.assertEqual(ended, [True])

    def test_a_count_that_fails(self) -> None:
        """It holds nobody up."""

        def fail() -> None:
            raise MemoryError

        self.steps = [fail]
        with self.assertRaises(MemoryError):
            self.store.sweep()
        self.check()
