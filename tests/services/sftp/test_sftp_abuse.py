"""The numbered faults and abuses of files that are SFTP's part; the SSH side has its own."""

from __future__ import annotations

import errno
import gc
import os
import struct
import tracemalloc
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from twisted.internet.defer import maybeDeferred

from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import BrokenError
from netsvc.filestore.terms import Terms
from netsvc.services.sftp.server import BACKLOG, FLUSH
from netsvc.services.sftp.wire import MAX_SPAN
from tests.services.sftp.session import (
    APPEND,
    CLOSE,
    CREAT,
    DATA,
    EOF,
    FAILURE,
    FSETSTAT,
    FSTAT,
    HANDLE,
    LSTAT,
    MKDIR,
    NO_SUCH_FILE,
    OK,
    OPEN,
    OPENDIR,
    READ,
    READDIR,
    REALPATH,
    REMOVE,
    RENAME,
    SETSTAT,
    STAT,
    STATUS,
    TRUNC,
    R,
    Session,
    SessionTestCase,
    Threads,
    W,
    packet,
    text,
    u32,
    u64,
)


def _resident() -> int:
    """Octets of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class CutOffTests(SessionTestCase):
    def test_file_abuse_01_02_cut_off(self) -> None:
        """An upload whose connection is gone, by RST or by FIN, publishes nothing and keeps what came."""
        session = self.session()
        (session.root / "a").write_bytes(b"old")
        session.write(session.open("a", W | CREAT | TRUNC), 0, b"new and longer")
        session.server.closed()
        assert (session.root / "a").read_bytes() == b"old"
        partial = session.store.find_partial(("a",), "ada")
        assert partial is not None
        assert partial.offset == 14

    def test_file_abuse_03_half_open_then_resume(self) -> None:
        """An upload is continued while the dead connection that began it still stands; the old one can do no more."""
        dead = self.session()
        old = dead.open("a", W | CREAT | TRUNC)
        dead.write(old, 0, b"01234")
        dead.status(200, text("fsync@openssh.com"), text(old))
        alive = self.session(root=dead.root)
        assert alive.size("a") == 5
        handle = alive.open("a", W | CREAT | APPEND)
        assert alive.write(handle, 5, b"56789") == OK
        assert dead.close(old) == FAILURE
        assert alive.close(handle) == OK
        assert (dead.root / "a").read_bytes() == b"0123456789"


class WhileReadingTests(SessionTestCase):
    def test_file_abuse_12_replaced(self) -> None:
        """A file that is replaced while it is read is read as it was opened."""
        session = self.session()
        old, new = os.urandom(3_000_000), os.urandom(3_000_000)
        (session.root / "a").write_bytes(old)
        handle = session.open("a")
        found = session.read(handle, 0, 100_000)
        assert session.put("b", new[:200_000]) == OK
        assert session.status(200, text("posix-rename@openssh.com"), text("b"), text("a")) == OK
        for offset in range(100_000, 3_000_000, 100_000):
            found += session.read(handle, offset, 100_000)
        assert found == old

    def test_file_abuse_43_sparse(self) -> None:
        """A sparse file of 1 TiB is read at any offset; one cannot be made where there is no room for it."""
        session = self.session(Terms(max_file_size=1 << 30))
        with (session.root / "a").open("wb") as file:
            file.truncate(1 << 40)
            file.seek((1 << 40) - 4)
            file.write(b"last")
        assert session.size("a") == 1 << 40
        handle = session.open("a")
        assert session.read(handle, (1 << 40) - 4, 100) == b"last"
        assert session.read(handle, 1 << 39, 32768) == bytes(32768)
        assert session.read(handle, 1 << 40, 1) == EOF
        for offset in ((1 << 63) - 1, 1 << 63, (1 << 64) - 1):
            assert session.read(handle, offset, MAX_SPAN) == EOF
        handle = session.open("b", W | CREAT)
        assert session.status(FSETSTAT, text(handle), u32(1), u64(1 << 40)) == FAILURE
        assert session.status(FSETSTAT, text(handle), u32(1), u64((1 << 64) - 1)) == FAILURE
        assert session.write(handle, (1 << 64) - 1, b"x") == FAILURE
        assert session.write(handle, 0, b"x") == OK
        session.write(handle, 1 << 40, b"x")
        assert session.close(handle) == FAILURE
        assert not (session.root / "b").exists()

    def test_broken_disk(self) -> None:
        """A READ that the disk fails is answered with FAILURE; the next one is tried anew."""
        session = self.session()
        (session.root / "a").write_bytes(b"abc")
        handle = session.open("a")
        with patch("os.pread", side_effect=OSError(errno.EIO, "I/O error")):
            assert session.read(handle, 0, 3) == FAILURE
        assert session.read(handle, 0, 3) == b"abc"


class NameTests(SessionTestCase):
    def test_file_abuse_15_16_outside(self) -> None:
        """No form of `..`, encoded or not, and no absolute path leads out of the root."""
        root = self.session().root
        outside = root.parent / f"{root.name}-outside"
        outside.write_bytes(b"secret")
        self.addCleanup(outside.unlink)
        for path in (
            f"../{outside.name}",
            f"a/../../{outside.name}",
            f"%2e%2e/{outside.name}",
            f"..\\{outside.name}",
            f"%252e%252e%252f{outside.name}",
            str(outside),
            f"/..{outside}",
        ):
            session = self.session()
            assert session.size(path) == -NO_SUCH_FILE, path
            assert session.status(OPEN, text(path), u32(R), u32(0)) == NO_SUCH_FILE
            assert session.status(REMOVE, text(path)) == NO_SUCH_FILE
            kind, _ = session.ask(OPEN, text(path), u32(W | CREAT | TRUNC), u32(0))
            assert kind in (STATUS, HANDLE)
        assert outside.read_bytes() == b"secret"

    def test_file_abuse_21_24_names(self) -> None:
        """NUL, controls and what is no UTF-8 are refused in every request that takes a name."""
        session = self.session()
        for name in (b"a\0b", b"a\nb", b"a\x1bb", b"\xff\xfe", b"\xc0\xae\xc0\xae", b"\xed\xa0\x80"):
            for kind, fields in (
                (OPEN, (text(name), u32(R), u32(0))),
                (OPEN, (text(name), u32(W | CREAT), u32(0))),
                (STAT, (text(name),)),
                (LSTAT, (text(name),)),
                (OPENDIR, (text(name),)),
                (REMOVE, (text(name),)),
                (MKDIR, (text(name), u32(0))),
                (SETSTAT, (text(name), u32(1), u64(0))),
                (RENAME, (text("a"), text(name))),
            ):
                assert session.status(kind, *fields) in (NO_SUCH_FILE, FAILURE), (kind, name)
        assert session.status(REALPATH, text(b"\xff")) == NO_SUCH_FILE
        assert session.status(REALPATH, text(b"a\0")) == NO_SUCH_FILE
        assert session.status(REALPATH, text(b"a" * 5000)) == NO_SUCH_FILE

    def test_file_abuse_23_long(self) -> None:
        """A name of 256 octets, a path of 5,000 and one of 200 levels that are not there are answered."""
        session = self.session()
        for name in (b"n" * 256, b"d/" * 2500 + b"n", b"d/" * 200 + b"n"):
            assert session.size(name) == -NO_SUCH_FILE
            assert session.status(MKDIR, text(name), u32(0)) in (FAILURE, NO_SUCH_FILE)
            assert session.status(OPEN, text(name), u32(W | CREAT), u32(0)) in (FAILURE, NO_SUCH_FILE)
        path = ""
        for _ in range(200):
            path += "d/"
            assert session.status(MKDIR, text(path), u32(0)) == OK
        assert session.put(path + "n", b"x") == OK
        assert session.size(path + "n") == 1

    def test_file_abuse_26_offset(self) -> None:
        """A resumed upload takes no octets that would leave a gap behind what came."""
        session = self.session()
        session.write(session.open("a", W | CREAT | TRUNC), 0, b"01234")
        session.server.closed()
        again = self.session(root=session.root)
        handle = again.open("a", W | CREAT | APPEND)
        assert again.write(handle, 9, b"x") == FAILURE


class MemoryTests(SessionTestCase):
    def _reading(self, session: Session, size: int) -> bytes:
        with (session.root / "big").open("wb") as file:
            file.truncate(size)
        return session.open("big")

    def test_file_abuse_33_reader_that_never_reads(self) -> None:
        """A peer that asks for 200 MB and takes nothing is answered as far as its window goes, and costs no more."""
        session = self.session()
        handle = self._reading(session, 200 << 20)
        session.channel.left = 100_000
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for offset in range(0, 200 << 20, MAX_SPAN):
            session.send(READ, text(handle), u64(offset), u32(MAX_SPAN))
        assert len(session.channel.output) <= 100_000 + MAX_SPAN
        assert tracemalloc.get_traced_memory()[1] < 6 << 20

    def test_file_abuse_34_pipelined_reads(self) -> None:
        """10,000 pipelined READs whose answers nobody reads cost little; all are answered when the window opens."""
        session = self.session()
        handle = self._reading(session, 10_000 * 32768)
        session.channel.left = 0
        requests = b"".join(packet(READ, n, text(handle), u64(n * 32768), u32(32768)) for n in range(10_000))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for start in range(0, len(requests), 32768):
            session.send_raw(requests[start : start + 32768])
        assert tracemalloc.get_traced_memory()[1] < len(requests) + (1 << 20)
        assert session.channel.output == b""
        seen = []
        while len(seen) < 10_000:
            session.channel.left = 1 << 20
            session.server.room_grew()
            assert len(session.channel.output) < (1 << 20) + FLUSH + MAX_SPAN
            seen += [request for kind, request, _ in session.channel.take() if kind == DATA]
        assert seen == list(range(10_000))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20

    def test_pause(self) -> None:
        """Requests that wait beyond a bound stop the peer's window from being granted, until they were done."""
        threads = Threads()
        session = self.session(in_thread=threads)
        session.channel.left = 0
        request = packet(STAT, 1, text("/" + "./" * 200))
        count = 2 * BACKLOG // len(request)
        for _ in range(count):
            session.send_raw(request)
        assert session.channel.paused
        session.channel.left = 1 << 30
        session.server.room_grew()
        threads.work()
        assert not session.channel.paused
        assert len(session.channel.take()) == count

    def test_slow_disk(self) -> None:
        """WRITEs that the disk does not keep up with wait, within a bound; then all are written."""
        threads = Threads()
        session = self.session(in_thread=threads)
        session.send(OPEN, text("a"), u32(W | CREAT), u32(0))
        threads.work()
        session.channel.take()
        sent = 0
        while not session.channel.paused:
            session.send(6, text(u32(0)), u64(sent), text(bytes(100_000)))
            sent += 100_000
            assert sent < 4 << 20
        assert len(session.channel.take()) < sent / 100_000
        session.send(CLOSE, text(u32(0)))
        threads.work()
        assert not session.channel.paused
        assert (session.root / "a").stat().st_size == sent

    def test_many_readers(self) -> None:
        """Files that are open at once share the memory that reading ahead takes."""
        threads = Threads()
        session = self.session(in_thread=threads)
        with (session.root / "big").open("wb") as file:
            file.truncate(64 << 20)
        for _ in range(100):
            session.send(OPEN, text("big"), u32(R), u32(0))
        threads.work()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(100):
            session.send(READ, text(u32(number)), u64(0), u32(32768))
        threads.work()
        session.channel.output = b""
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 12 << 20

    def test_file_abuse_38_a_million_files(self) -> None:
        """A listing of 1,000,000 files streams: each is told, memory stays flat, and it begins at once."""
        session = self.session()
        count = 1_000_000
        (session.root / "d").mkdir()
        entries = (Entry(f"file-{number}", False, number, number) for number in range(count))
        listing = SimpleNamespace(read=lambda most: list(islice(entries, most)), close=lambda: None)
        session.store.listing = lambda names: listing  # a real one takes a minute to be made, and to be removed
        _, handle = session.ask(OPENDIR, text("d"))
        before = _resident()
        seen = 0
        while True:
            kind, body = session.ask(READDIR, handle)
            if not seen:
                assert next(entries).size < 5000  # so many were read for the first answer
                seen += 1
            if kind == STATUS:
                break
            seen += struct.unpack_from(">I", body)[0]
        assert seen == count
        assert _resident() - before < 16 << 20


class FormTests(SessionTestCase):
    def test_file_abuse_35_packet_length(self) -> None:
        """A packet length of 0, over 256 KiB or 4 GiB ends the channel with status 1; an upload stays for its rest."""
        for length in (0, 256 * 1024 + 1, 2**32 - 1):
            session = self.session()
            session.write(session.open("a", W | CREAT), 0, b"01234")
            session.send_raw(u32(length) + b"x" * 100)
            assert session.channel.ended == 1
            assert session.store.find_partial(("a",), "ada") is not None
            session.send_raw(packet(STAT, 1, text("/")))
            assert session.channel.output == b""

    def test_file_abuse_36_bad_handle(self) -> None:
        """A handle that stands for nothing, whatever its length, is answered with FAILURE in every request."""
        session = self.session()
        for handle in (b"", b"abcd", b"\0\0\0\0", b"x" * 300):
            for kind, fields in (
                (CLOSE, ()),
                (READ, (u64(0), u32(1))),
                (6, (u64(0), text("x"))),
                (FSTAT, ()),
                (FSETSTAT, (u32(0),)),
                (READDIR, ()),
            ):
                assert session.status(kind, text(handle), *fields) == FAILURE
            for extension in ("fsync@openssh.com", "fstatvfs@openssh.com"):
                assert session.status(200, text(extension), text(handle)) == FAILURE
        handle = session.open("a", W | CREAT)
        assert session.close(handle) == OK
        assert session.close(handle) == FAILURE
        assert session.write(session.open("a"), 0, b"x") == FAILURE

    def test_file_abuse_37_handles(self) -> None:
        """Of 100,000 OPENs as many are granted as there may be handles; a CLOSE makes room for one."""
        session = self.session(max_handles=50)
        session.put("a", b"x")
        granted = []
        for number in range(100_000):
            kind, body = session.ask(OPEN if number % 2 else OPENDIR, text("a" if number % 2 else "/"), u32(R), u32(0))
            if kind == HANDLE:
                granted.append(body[4:])
        assert len(granted) == 50
        assert session.status(OPEN, text("b"), u32(W | CREAT), u32(0)) == FAILURE
        assert session.close(granted[0]) == OK
        session.open("a")

    def test_file_abuse_37_octets_of_many_files(self) -> None:
        """While the disk is slow a session keeps 8 MiB, for however many files they are; then all are written."""
        threads = Threads()
        session = self.session(in_thread=threads)
        for number in range(50):
            session.send(OPEN, text(f"f{number}"), u32(W | CREAT), u32(0))
            threads.work()
        session.channel.take()
        for turn in range(4):
            for number in range(50):
                session.send(6, text(u32(number)), u64(turn * 100_000), text(b"x" * 100_000))
        accepted = len(session.channel.take())
        assert 80 <= accepted <= 84
        threads.work()
        assert len(session.channel.take()) == 200 - accepted
        for number in range(50):
            session.send(CLOSE, text(u32(number)))
        threads.work()
        assert {one.stat().st_size for one in session.root.glob("f*")} == {400_000}

    def test_long_copies_take_turns(self) -> None:
        """A copy of a long file is many pieces of work, and ends with the session; its source is closed then."""
        threads = Threads()
        session = self.session(in_thread=threads)
        with (session.root / "long").open("wb") as file:
            file.truncate(100 << 30)
        session.send(OPEN, text("long"), u32(R), u32(0))
        threads.work()
        session.send(OPEN, text("a"), u32(W | CREAT), u32(0))
        threads.work()
        session.send(200, text("copy-data"), text(u32(0)), u64(0), u64(0), text(u32(1)), u64(0))
        threads.work(2)
        assert len(threads.waiting) == 1
        ended = session.server.closed()
        threads.work()
        assert ended.called
        assert session.store.find_partial(("a",), "ada").offset <= 128 << 20
        open_ones = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        assert os.fspath(session.root / "long") not in open_ones

    def test_few_octets_keep_no_buffer(self) -> None:
        """Octets that wait to be written do not keep in memory what they came together with."""
        session = self.session(in_thread=(threads := Threads()))
        session.send(OPEN, text("a"), u32(W | CREAT), u32(0))
        threads.work()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(100):
            request = packet(6, 2, text(u32(0)), u64(number * 2), text(b"x"))
            session.send_raw(request + packet(LSTAT, 3, text(b"y" * 100_000)))
        assert len(session.channel.take()) >= 200
        assert tracemalloc.get_traced_memory()[0] < 1_000_000

    def test_fault(self) -> None:
        """A fault of the program is logged, and answered without a word about it."""
        session = self.session()
        with patch.object(session.store, "stat", side_effect=ZeroDivisionError("inside")):
            kind, body = session.ask(STAT, text("a"))
        assert kind == STATUS
        assert b"internal fault" in body
        assert b"inside" not in body
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_ended_while_opening(self) -> None:
        """What a thread opens for a peer that is gone meanwhile is closed."""
        threads = Threads()
        session = self.session(in_thread=threads)
        (session.root / "a").write_bytes(b"x")
        before = len(os.listdir("/proc/self/fd"))
        for name, kind in (("a", OPEN), ("/", OPENDIR)):
            session.server._busy = False
            session.send(kind, text(name), u32(R), u32(0))
        session.server.closed()
        threads.work()
        assert len(os.listdir("/proc/self/fd")) == before
        assert session.channel.output == b""

    def test_broken_disk_at_close(self) -> None:
        """A CLOSE that cannot be published is answered with FAILURE."""
        session = self.session(in_thread=maybeDeferred)
        handle = session.open("a", W | CREAT)
        session.write(handle, 0, b"x")
        with patch("netsvc.filestore.upload.Upload.commit", side_effect=BrokenError("the disk failed")):
            assert session.close(handle) == FAILURE
        assert not (session.root / "a").exists()
