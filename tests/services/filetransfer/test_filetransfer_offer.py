"""Which file is offered, and what is never opened."""

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.filetransfer import offer as module
from netsvc.services.filetransfer.offer import FileShrankError, NothingToOfferError, Offer, OpenFile


class OfferTests(SynchronousTestCase):
    """Offer.open."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def file(self, name: str, data: bytes = b"data", changed: int = 0) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        os.utime(path, (changed, changed))
        return path

    def opened(self, offer: Offer) -> str:
        file = offer.open()
        try:
            content = b"".join(file.blocks(3))
            self.assertEqual(content, (self.directory / file.name).read_bytes())
        finally:
            file.close()
        return file.name

    def test_one_file(self) -> None:
        """A file is offered under its own name, whole."""
        path = self.file("picture.png", b"\0\xff" * 100)
        self.assertEqual(self.opened(Offer(path, "newest")), "picture.png")

    def test_empty_file(self) -> None:
        """A file of no octets is offered too."""
        self.assertEqual(self.opened(Offer(self.file("empty", b""), "newest")), "empty")

    def test_link_named_by_the_operator(self) -> None:
        """The configured path may be a symbolic link; the peer sees the link's name."""
        self.file("v1")
        (self.directory / "current").symlink_to("v1")
        self.assertEqual(self.opened(Offer(self.directory / "current", "newest")), "current")

    def test_newest(self) -> None:
        """Of a directory the file that changed last is offered, also after another one came."""
        offer = Offer(self.directory, "newest")
        self.file("b", changed=20)
        self.file("a", changed=10)
        self.assertEqual([self.opened(offer), self.opened(offer)], ["b", "b"])
        self.file("c", changed=30)
        self.assertEqual(self.opened(offer), "c")

    def test_rotate(self) -> None:
        """With rotate each file has its turn, by name, and files that come or go change nothing else."""
        offer = Offer(self.directory, "rotate")
        for name in "bda":
            self.file(name)
        self.assertEqual([self.opened(offer) for _ in range(4)], ["a", "b", "d", "a"])
        self.file("c")
        (self.directory / "b").unlink()
        self.assertEqual([self.opened(offer) for _ in range(3)], ["c", "d", "a"])

    def test_file_abuse_19_20_21_24_passed_over(self) -> None:
        """Hidden files, links, directories, FIFOs, sockets and names that peers could not use are not offered."""
        outside = Path(self.mktemp())
        outside.write_bytes(b"secret")
        (self.directory / "link").symlink_to(outside.absolute())
        self.file(".hidden", changed=50)
        self.file("esc\x1b[2J", changed=50)
        self.file("line\nbreak", changed=50)
        self.file("turned\u202etxt.exe", changed=50)
        (self.directory / os.fsdecode(b"\xff\xfe")).write_bytes(b"data")
        (self.directory / "directory").mkdir()
        os.mkfifo(self.directory / "fifo")
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        descriptor = os.open(self.directory, os.O_PATH)
        self.addCleanup(os.close, descriptor)
        listening.bind(f"/proc/self/fd/{descriptor}/s")
        for order in ("newest", "rotate"):
            self.assertRaises(NothingToOfferError, Offer(self.directory, order).open)
        self.file("plain")
        for order in ("newest", "rotate"):
            self.assertEqual(self.opened(Offer(self.directory, order)), "plain")

    def test_file_abuse_17_swapped_while_opening(self) -> None:
        """What was a file when listed and is a link, a FIFO or gone when opened is passed over."""
        outside = Path(self.mktemp())
        outside.write_bytes(b"secret")
        self.file("plain")

        def swapped(directory: int) -> list[str]:
            return ["link", "fifo", "gone", "plain"]

        (self.directory / "link").symlink_to(outside.absolute())
        os.mkfifo(self.directory / "fifo")
        self.patch(module, "_newest_first", swapped)
        self.assertEqual(self.opened(Offer(self.directory, "newest")), "plain")

    def test_removed_while_listed(self) -> None:
        """A file that is removed between the listing and the look at its time is passed over."""
        self.file("plain")

        class Removed:
            name = "removed"

            def stat(self, follow_symlinks: bool) -> os.stat_result:
                raise FileNotFoundError(2, "gone")

        there = module._candidates
        self.patch(module, "_candidates", lambda directory: [Removed(), *there(directory)])
        self.assertEqual(self.opened(Offer(self.directory, "newest")), "plain")

    def test_file_abuse_9_out_of_descriptors(self) -> None:
        """An error that is not about one entry ends the search."""
        self.file("plain")
        open_truly = os.open

        def refuse(path: str, *args: object, **kwargs: object) -> int:
            if path == "plain":
                raise OSError(24, "Too many open files")
            return open_truly(path, *args, **kwargs)  # type: ignore[arg-type]

        self.patch(os, "open", refuse)
        error = self.assertRaises(OSError, Offer(self.directory, "newest").open)
        self.assertEqual(error.errno, 24)

    def test_file_abuse_19_neither_file_nor_directory(self) -> None:
        """A FIFO is refused at once, without waiting for its writer; a missing path is an OSError."""
        os.mkfifo(self.directory / "fifo")
        self.assertRaises(NothingToOfferError, Offer(self.directory / "fifo", "newest").open)
        self.assertRaises(FileNotFoundError, Offer(self.directory / "missing", "newest").open)

    def test_no_descriptor_leaks(self) -> None:
        """Failed and closed offers leave no descriptor open."""
        before = os.listdir("/proc/self/fd")
        os.mkfifo(self.directory / "fifo")
        for path in (self.directory, self.directory / "fifo"):
            self.assertRaises(NothingToOfferError, Offer(path, "newest").open)
        self.file("plain")
        self.opened(Offer(self.directory, "rotate"))
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))


class OpenFileTests(SynchronousTestCase):
    """OpenFile.blocks."""

    def opened(self, data: bytes) -> tuple[Path, OpenFile]:
        path = Path(self.mktemp())
        path.write_bytes(data)
        file = Offer(path, "newest").open()
        self.addCleanup(file.close)
        return path, file

    def test_file_abuse_14_grown(self) -> None:
        """A file that grows while it is read ends where it ended when it was opened."""
        path, file = self.opened(b"abcdef")
        blocks = file.blocks(4)
        self.assertEqual(next(blocks), b"abcd")
        with path.open("ab") as more:
            more.write(b"ghi")
        self.assertEqual(list(blocks), [b"ef"])

    def test_written_over(self) -> None:
        """A file that is written over while it is read is at fault: what came would be a mixture."""
        path, file = self.opened(b"abcdef")
        blocks = file.blocks(4)
        self.assertEqual(next(blocks), b"abcd")
        path.write_bytes(b"ABCDEF")
        os.utime(path, (1, 1))
        self.assertEqual(next(blocks), b"EF")
        self.assertRaises(FileShrankError, next, blocks)

    def test_renamed(self) -> None:
        """A file that gets another name or mode while it is read is read whole."""
        path, file = self.opened(b"abcdef")
        blocks = file.blocks(4)
        next(blocks)
        path.rename(path.with_name("other")).chmod(0)
        self.assertEqual(list(blocks), [b"ef"])

    def test_file_abuse_12_replaced(self) -> None:
        """A file that is replaced while it is read is read on as it was opened."""
        path, file = self.opened(b"abcdef")
        blocks = file.blocks(4)
        next(blocks)
        other = path.with_name("other")
        other.write_bytes(b"123")
        other.replace(path)
        self.assertEqual(list(blocks), [b"ef"])

    def test_file_abuse_13_shrunk_ahead(self) -> None:
        """A file cut in what is still to be read raises FileShrankError."""
        path, file = self.opened(b"abcdef")
        blocks = file.blocks(2)
        next(blocks)
        os.truncate(path, 1)
        self.assertRaises(FileShrankError, next, blocks)

    def test_file_abuse_13_shrunk_behind(self) -> None:
        """A file cut in what was already read raises FileShrankError before the end."""
        path, file = self.opened(b"abcdef")
        blocks = file.blocks(6)
        next(blocks)
        os.truncate(path, 0)
        self.assertRaises(FileShrankError, next, blocks)
