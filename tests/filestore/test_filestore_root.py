"""Nothing leads out of the root, by either way of opening."""

from __future__ import annotations

import os
import socket
import stat
import threading

from netsvc.filestore import kernel
from netsvc.filestore.errors import NotFoundError, NotPermittedError, StoreError, WrongTypeError
from netsvc.filestore.root import LOOK, Root, beneath, walk
from tests.filestore.kit import StoreCase, open_descriptors


class Openat2(StoreCase):
    """By openat2."""

    def way(self) -> Root:
        return Root(self.root, beneath(0))

    def setUp(self) -> None:
        super().setUp()
        (self.directory / "secret").write_bytes(b"not yours")
        (self.root / "d").mkdir()
        (self.root / "d" / "f").write_bytes(b"yours")
        self.way_in = self.way()

    def refused(self, *names: str) -> None:
        with self.assertRaises((NotPermittedError, NotFoundError, WrongTypeError)):
            self.way_in.open_file(names)

    def test_there(self) -> None:
        """What is there is opened; the root is a directory."""
        descriptor, found = self.way_in.open_file(("d", "f"))
        self.assertEqual(os.read(descriptor, 99), b"yours")
        self.assertEqual(found.st_size, 5)
        os.close(descriptor)
        self.assertTrue(stat.S_ISDIR(self.way_in.look(()).st_mode))
        with self.assertRaises(WrongTypeError):
            self.way_in.open_file(("d",))
        with self.assertRaises(WrongTypeError):
            self.way_in.open_file(("d", "f", "g"))
        with self.assertRaises(NotFoundError):
            self.way_in.open_file(("d", "g"))

    def test_file_abuse_15_dots(self) -> None:
        """Even names that no door would pass on do not leave the root."""
        self.refused("..", "secret")
        self.refused("d", "..", "..", "secret")

    def test_file_abuse_16_absolute(self) -> None:
        """An absolute path is no path beneath the root."""
        self.refused(str(self.directory / "secret"))
        self.refused("", "etc", "passwd")

    def test_file_abuse_18_a_link_in_the_middle(self) -> None:
        """A link to a directory outside leads nowhere, as the last name or a middle one, relative or absolute."""
        (self.root / "out").symlink_to("..")
        (self.root / "abs").symlink_to("/etc")
        (self.root / "loop").symlink_to("loop")
        self.refused("out", "secret")
        self.refused("abs", "passwd")
        self.refused("loop")
        self.refused("d", "..", "out", "secret")

    def test_file_abuse_19_no_files(self) -> None:
        """A FIFO, a socket and a device are not files, and opening them blocks nobody."""
        os.mkfifo(self.root / "fifo")
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(self.root / "socket"))
            self.refused("fifo")
            self.refused("socket")
        os.mknod(self.root / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        self.refused("null")

    def test_file_abuse_20_magic_links(self) -> None:
        """A link through /proc/self/fd is not followed."""
        descriptor = os.open(self.directory / "secret", os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        (self.root / "magic").symlink_to(f"/proc/self/fd/{descriptor}")
        self.refused("magic")

    def test_file_abuse_17_swapped(self) -> None:
        """A name that is now a directory, now a link to the world outside, never gives what is there: 3,000 looks."""
        end = threading.Event()
        one, other = self.root / "one", self.root / "other"
        one.mkdir()
        (one / "secret").write_bytes(b"mine")
        other.symlink_to(self.directory)

        def swap() -> None:
            while not end.is_set():
                for old, new in ((b"one", b"way"), (b"way", b"one"), (b"other", b"way"), (b"way", b"other")):
                    os.rename(old, new, src_dir_fd=root, dst_dir_fd=root)

        root = os.open(self.root, LOOK)
        swapping = threading.Thread(target=swap)
        swapping.start()
        try:
            found = set()
            for _ in range(3000):
                try:
                    descriptor, _ = self.way_in.open_file(("way", "secret"))
                except StoreError:
                    continue
                found.add(os.read(descriptor, 99))
                os.close(descriptor)
        finally:
            end.set()
            swapping.join()
            os.close(root)
        self.assertLessEqual(found, {b"mine"})

    def test_file_abuse_23_deep(self) -> None:
        """200 levels are gone down; no descriptor is left behind, whatever comes out."""
        names = ("d",) * 200
        at = os.open(self.root, LOOK)
        for name in names:
            if not os.access(name, os.F_OK, dir_fd=at):
                os.mkdir(name, dir_fd=at)
            below = os.open(name, LOOK, dir_fd=at)
            os.close(at)
            at = below
        os.close(at)
        before = open_descriptors()
        self.way_in.look(names)
        self.refused(*names, "f")
        self.refused(*names, "..", "..", "f")
        self.assertEqual(open_descriptors(), before)


class Walk(Openat2):
    """Name by name, where the kernel has no openat2."""

    def way(self) -> Root:
        return Root(self.root, walk)

    def test_no_link_at_all(self) -> None:
        """It follows no link, also none that stays inside."""
        (self.root / "in").symlink_to("d")
        (self.root / "leaf").symlink_to("d/f")
        self.refused("in", "f")
        self.refused("leaf")
        with self.assertRaises(NotPermittedError):
            self.way_in.look(("leaf",))

    def test_file_abuse_15_dots(self) -> None:
        """Doors and the store resolve dots and refuse them: the walk never gets any (test_filestore_store)."""
        with self.assertRaises(StoreError):
            self.store.open(("..", "secret"))

    def test_file_abuse_16_absolute(self) -> None:
        """As with dots."""
        with self.assertRaises(StoreError):
            self.store.open(("", "etc", "passwd"))

    def test_file_abuse_23_deep(self) -> None:
        """200 levels are gone down."""
        names = ("d",) * 200
        os.makedirs(self.root.joinpath(*names), exist_ok=True)
        before = open_descriptors()
        self.way_in.look(names)
        self.refused(*names, "f")
        self.assertEqual(open_descriptors(), before)

    def test_file_abuse_18_a_link_in_the_middle(self) -> None:
        """As with openat2, without the dots."""
        (self.root / "out").symlink_to("..")
        (self.root / "abs").symlink_to("/etc")
        self.refused("out", "secret")
        self.refused("abs", "passwd")


class Inside(StoreCase):
    def test_followed(self) -> None:
        """Links that stay beneath the root are followed, unless they are not to be."""
        self.put("f", b"x")
        (self.root / "in").symlink_to("f")
        self.assertTrue(kernel.has_openat2(), "this machine has no openat2")
        file = self.store.open(("in",))
        self.assertEqual(file.read(0, 9), b"x")
        file.close()
        with self.assertRaises(NotPermittedError):
            self.make(follow="no").open(("in",))
