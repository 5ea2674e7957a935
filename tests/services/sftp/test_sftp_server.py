"""What requests do, and what they are answered with."""

from __future__ import annotations

import hashlib
import os
import struct

from netsvc.filestore.access import Access
from netsvc.filestore.terms import Terms
from tests.services.sftp.session import (
    APPEND,
    ATTRS,
    BAD_MESSAGE,
    CLOSE,
    CREAT,
    DATA,
    EOF,
    EXCL,
    EXTENDED,
    EXTENDED_REPLY,
    FAILURE,
    FSETSTAT,
    FSTAT,
    HANDLE,
    LSTAT,
    MKDIR,
    NAME,
    NO_SUCH_FILE,
    OK,
    OPEN,
    OPENDIR,
    PERMISSION_DENIED,
    READ,
    READDIR,
    READLINK,
    REALPATH,
    REMOVE,
    RENAME,
    RMDIR,
    SETSTAT,
    STAT,
    STATUS,
    SYMLINK,
    TRUNC,
    UNSUPPORTED,
    VERSION,
    R,
    SessionTestCase,
    Threads,
    W,
    names,
    packet,
    text,
    u32,
    u64,
)

SIZE, OWNER, PERMISSIONS, TIMES = 1, 2, 4, 8


class GreetingTests(SessionTestCase):
    def test_version(self) -> None:
        """INIT is answered with version 3 and the extensions, whatever version was asked for."""
        ((kind, version, body),) = self.session().greeting
        assert (kind, version) == (VERSION, 3)
        for name in (b"posix-rename@openssh.com", b"fsync@openssh.com", b"statvfs@openssh.com", b"limits@openssh.com"):
            assert name in body
        assert b"hardlink" not in body

    def test_request_first(self) -> None:
        """A request before INIT ends the channel with status 1."""
        session = self.session()
        session.server._greeted = False
        session.send(STAT, text("/"))
        assert session.channel.ended == 1


class UploadTests(SessionTestCase):
    def test_put_and_get(self) -> None:
        """What is written is published at CLOSE and read back; nothing stands under the name before."""
        session = self.session()
        data = os.urandom(300_000)
        handle = session.open("a.bin", W | CREAT | TRUNC)
        for offset in range(0, len(data), 32768):
            assert session.write(handle, offset, data[offset : offset + 32768]) == OK
        assert not (session.root / "a.bin").exists()
        assert session.close(handle) == OK
        assert (session.root / "a.bin").read_bytes() == data
        handle = session.open("a.bin")
        assert session.read(handle, 100_000, 32768) == data[100_000:132768]
        assert session.read(handle, 290_000, 32768) == data[290_000:]
        assert session.read(handle, 300_000, 1) == EOF
        assert session.close(handle) == OK

    def test_any_order(self) -> None:
        """WRITEs may come in any order."""
        session = self.session()
        handle = session.open("a", W | CREAT | TRUNC)
        for offset in (4, 0, 2):
            assert session.write(handle, offset, b"abcdef"[offset : offset + 2]) == OK
        assert session.close(handle) == OK
        assert (session.root / "a").read_bytes() == b"abcdef"

    def test_visible_while_written(self) -> None:
        """STAT of a name that this session writes tells its size so far, though nothing is published; FSTAT too."""
        session = self.session()
        handle = session.open("a", W | CREAT | EXCL)
        assert session.size("/a") == 0
        session.write(handle, 0, b"12345")
        assert session.size("a") == 5
        assert session.size("a", LSTAT) == 5
        kind, body = session.ask(FSTAT, text(handle))
        assert kind == ATTRS
        assert struct.unpack_from(">IQ", body)[1] == 5

    def test_read_while_written(self) -> None:
        """A handle that was opened for both reads what was written."""
        session = self.session()
        handle = session.open("a", R | W | CREAT | TRUNC)
        session.write(handle, 0, b"12345")
        assert session.read(handle, 1, 3) == b"234"
        assert session.read(handle, 5, 3) == EOF
        assert session.read(handle, 2**63, 3) == EOF

    def test_modify(self) -> None:
        """A file that is opened without TRUNC keeps what is not written over; who reads the old one keeps it."""
        session = self.session()
        session.put("a", b"0123456789")
        reader = session.open("a")
        handle = session.open("a", W)
        assert session.write(handle, 3, b"xyz") == OK
        assert session.read(reader, 0, 10) == b"0123456789"
        assert session.close(handle) == OK
        assert (session.root / "a").read_bytes() == b"012xyz6789"
        assert session.read(reader, 3, 3) == b"345"

    def test_modify_nothing(self) -> None:
        """A file that was opened for writing and not written stays what it was, its time too."""
        session = self.session()
        session.put("a", b"0123456789")
        os.utime(session.root / "a", (5, 5))
        inode = (session.root / "a").stat().st_ino
        assert session.close(session.open("a", W)) == OK
        assert session.modified("a") == 5
        assert (session.root / "a").stat().st_ino == inode

    def test_append(self) -> None:
        """With APPEND, octets go to the end; an offset that counts from elsewhere in the file is refused."""
        session = self.session()
        session.put("a", b"01234")
        for offset, expected in ((0, b"0123456"), (7, b"012345656")):
            handle = session.open("a", W | CREAT | APPEND)
            assert session.write(handle, offset, b"56") == OK
            assert session.close(handle) == OK
            assert (session.root / "a").read_bytes() == expected
        handle = session.open("a", W | APPEND)
        assert session.write(handle, 3, b"x") == FAILURE

    def test_exclusive(self) -> None:
        """EXCL refuses a name that is there."""
        session = self.session()
        session.put("a", b"1")
        assert session.status(OPEN, text("a"), u32(W | CREAT | EXCL), u32(0)) == FAILURE

    def test_without_create(self) -> None:
        """Without CREAT, what is not there is not made, with TRUNC or without."""
        session = self.session()
        assert session.status(OPEN, text("a"), u32(W), u32(0)) == NO_SUCH_FILE
        assert session.status(OPEN, text("a"), u32(W | TRUNC), u32(0)) == NO_SUCH_FILE

    def test_times_and_size(self) -> None:
        """FSETSTAT before CLOSE gives the published file its time, and cuts it."""
        session = self.session()
        handle = session.open("a", W | CREAT | TRUNC)
        session.write(handle, 0, b"0123456789")
        assert (
            session.status(FSETSTAT, text(handle), u32(SIZE | PERMISSIONS | TIMES), u64(4), u32(0o600), u32(1) * 2)
            == OK
        )
        assert session.close(handle) == OK
        assert (session.root / "a").read_bytes() == b"0123"
        assert session.modified("a") == 1

    def test_setstat(self) -> None:
        """SETSTAT sets times and size of a published file; permissions are accepted and stay; an owner is refused."""
        session = self.session()
        session.put("a", b"0123456789")
        assert session.status(SETSTAT, text("a"), u32(TIMES), u32(7), u32(9)) == OK
        assert session.modified("a") == 9
        assert session.status(SETSTAT, text("a"), u32(SIZE), u64(3)) == OK
        assert (session.root / "a").read_bytes() == b"012"
        assert session.status(SETSTAT, text("a"), u32(SIZE), u64(0)) == OK
        assert (session.root / "a").read_bytes() == b""
        mode = (session.root / "a").stat().st_mode
        assert session.status(SETSTAT, text("a"), u32(PERMISSIONS), u32(0o777)) == OK
        assert (session.root / "a").stat().st_mode == mode
        assert session.status(SETSTAT, text("a"), u32(OWNER), u32(0), u32(0)) == PERMISSION_DENIED
        assert session.status(SETSTAT, text("b"), u32(PERMISSIONS), u32(0o777)) == NO_SUCH_FILE

    def test_setstat_while_written(self) -> None:
        """SETSTAT by name reaches the file that this session is writing."""
        session = self.session()
        handle = session.open("a", W | CREAT | TRUNC)
        session.write(handle, 0, b"0123456789")
        assert session.status(SETSTAT, text("a"), u32(SIZE | TIMES), u64(3), u32(5), u32(5)) == OK
        assert session.modified("a") == 5
        assert session.close(handle) == OK
        assert session.size("a") == 3
        assert session.modified("a") == 5

    def test_pipelined(self) -> None:
        """Requests that are sent without waiting are done in their order, though threads take their time."""
        threads = Threads()
        session = self.session(in_thread=threads)
        session.send(OPEN, text("a"), u32(W | CREAT | TRUNC), u32(0))
        handle = u32(0)
        session.send(5 + 1, text(handle), u64(0), text("hello"))
        session.send(CLOSE, text(handle))
        session.send(STAT, text("a"))
        session.send(RENAME, text("a"), text("b"))
        session.send(STAT, text("b"))
        session.send(STAT, text("a"))
        threads.work()
        answers = session.channel.take()
        assert [request for _, request, _ in answers] == [1, 2, 3, 4, 5, 6, 7]
        assert [kind for kind, _, _ in answers] == [HANDLE, STATUS, STATUS, ATTRS, STATUS, ATTRS, STATUS]

    def test_close_holds_nobody_up(self) -> None:
        """While an upload is published, other files are read; what names a path waits."""
        threads = Threads()
        session = self.session(in_thread=threads)
        (session.root / "b").write_bytes(b"bbb")
        session.send(OPEN, text("b"), u32(R), u32(0))
        session.send(OPEN, text("a"), u32(W | CREAT), u32(0))
        session.send(READ, text(u32(0)), u64(0), u32(2))
        threads.work()
        session.channel.take()
        session.send(CLOSE, text(u32(1)))
        session.send(READ, text(u32(0)), u64(2), u32(1))
        session.send(STAT, text("a"))
        assert [(kind, body) for kind, _, body in session.channel.take()] == [(DATA, text("b"))]
        threads.work()
        assert [kind for kind, _, _ in session.channel.take()] == [STATUS, ATTRS]

    def test_a_name_waits_for_the_close_before_it(self) -> None:
        """A request that names a path waits until what was closed before it is published; threads keep no order."""
        threads = Threads()
        session = self.session(in_thread=threads)
        session.send(OPEN, text("a"), u32(W | CREAT | TRUNC), u32(0))
        threads.work()
        session.channel.take()
        session.send(6, text(u32(0)), u64(0), text("new"))
        session.send(CLOSE, text(u32(0)))
        session.send(RENAME, text("a"), text("b"))
        while threads.waiting:
            threads.waiting.rotate(1)  # who has come last is served first
            threads.work(1)
        assert [body[:4] for _, _, body in session.channel.take()] == [u32(OK)] * 3
        assert (session.root / "b").read_bytes() == b"new"

    def test_gone_with_octets_waiting(self) -> None:
        """What was accepted is written and kept by one piece of work in a thread: a daemon that stops does that."""
        threads = Threads()
        session = self.session(in_thread=threads)
        session.send(OPEN, text("a"), u32(W | CREAT), u32(0))
        threads.work()
        for offset in range(0, 600_000, 200_000):
            session.send(6, text(u32(0)), u64(offset), text(bytes(200_000)))
        session.send(6, text(u32(0)), u64(600_000), text(b"waits"))
        session.server.closed()
        threads.work(2)  # a batch that was under way, and this one
        partial = session.store.find_partial(("a",), "ada")
        assert partial is not None
        assert partial.offset == 600_005

    def test_gone_while_published(self) -> None:
        """A session is closed for good only when what it had closed is published."""
        threads = Threads()
        session = self.session(in_thread=threads)
        session.send(OPEN, text("a"), u32(W | CREAT), u32(0))
        threads.work()
        session.send(CLOSE, text(u32(0)))
        closed = session.server.closed()
        self.assertNoResult(closed)
        threads.work()
        self.successResultOf(closed)
        assert (session.root / "a").exists()

    def test_late_error(self) -> None:
        """An error of a write that was accepted already is told at the next write, at fsync, and at close."""
        threads = Threads()
        session = self.session(Terms(quota=1000), in_thread=threads)
        session.send(OPEN, text("a"), u32(W | CREAT), u32(0))
        threads.work()
        session.channel.take()
        handle = text(u32(0))
        for offset in (0, 200_000, 400_000):
            session.send(6, handle, u64(offset), text(b"x" * 200_000))
        assert [body[:4] for _, _, body in session.channel.take()] == [u32(OK)] * 3
        threads.work()
        for kind, fields in ((6, (u64(9), text("x"))), (CLOSE, ())):
            session.send(kind, handle, *fields)
            threads.work()
            ((_, _, body),) = session.channel.take()
            assert body[:4] == u32(FAILURE)
            assert b"used up" in body or b"room" in body or b"quota" in body, body
        assert session.store.find_partial(("a",), "ada") is None


class ResumeTests(SessionTestCase):
    def test_reput(self) -> None:
        """Where an upload was cut off, STAT shows what came, and opening with APPEND goes on from there."""
        first = self.session()
        handle = first.open("a", W | CREAT | TRUNC)
        first.write(handle, 0, b"01234")
        assert self.successResultOf(first.server.closed()) is not None
        assert not (first.root / "a").exists()
        second = self.session(root=first.root)
        assert second.size("a") == 5
        handle = second.open("a", W | CREAT | APPEND)
        assert second.write(handle, 5, b"56789") == OK
        assert second.close(handle) == OK
        assert (first.root / "a").read_bytes() == b"0123456789"

    def test_without_truncate(self) -> None:
        """Opening without TRUNC goes on likewise, with CREAT or without."""
        for flags in (W, W | CREAT):
            first = self.session()
            first.write(first.open("a", W | CREAT | TRUNC), 0, b"01234")
            first.server.closed()
            second = self.session(root=first.root)
            handle = second.open("a", flags)
            assert second.write(handle, 5, b"5") == OK
            assert second.close(handle) == OK
            assert (first.root / "a").read_bytes() == b"012345"

    def test_again_from_the_beginning(self) -> None:
        """TRUNC begins anew, and nothing is left of the part."""
        first = self.session()
        first.write(first.open("a", W | CREAT | TRUNC), 0, b"01234")
        first.server.closed()
        second = self.session(root=first.root)
        assert second.put("a", b"x") == OK
        assert second.status(REMOVE, text("a")) == OK
        assert second.size("a") == -NO_SUCH_FILE

    def test_remove_part(self) -> None:
        """REMOVE of a name that has only a part removes that."""
        first = self.session()
        first.write(first.open("a", W | CREAT | TRUNC), 0, b"01234")
        first.server.closed()
        second = self.session(root=first.root)
        assert second.status(REMOVE, text("a")) == OK
        assert second.size("a") == -NO_SUCH_FILE
        assert second.status(REMOVE, text("a")) == NO_SUCH_FILE

    def test_another_user(self) -> None:
        """Another user's part is neither seen nor continued."""
        first = self.session()
        first.write(first.open("a", W | CREAT | TRUNC), 0, b"01234")
        first.server.closed()
        second = self.session(root=first.root, owner="eve")
        assert second.size("a") == -NO_SUCH_FILE
        assert second.status(OPEN, text("a"), u32(W), u32(0)) == NO_SUCH_FILE


class NameTests(SessionTestCase):
    def test_directories(self) -> None:
        """MKDIR, RMDIR, RENAME and REMOVE do what they say, and say why they do not."""
        session = self.session()
        assert session.status(MKDIR, text("d"), u32(0)) == OK
        assert session.status(MKDIR, text("d"), u32(0)) == FAILURE
        session.put("d/a", b"1")
        assert session.status(RMDIR, text("d")) == FAILURE
        assert session.status(REMOVE, text("d")) == FAILURE
        session.put("b", b"2")
        assert session.status(RENAME, text("d/a"), text("b")) == FAILURE
        assert session.status(EXTENDED, text("posix-rename@openssh.com"), text("d/a"), text("b")) == OK
        assert (session.root / "b").read_bytes() == b"1"
        assert session.status(RMDIR, text("d")) == OK
        assert session.status(RMDIR, text("d")) == NO_SUCH_FILE

    def test_realpath(self) -> None:
        """REALPATH resolves by the text alone and never goes above the root."""
        session = self.session()
        for path, expected in (
            (".", "/"),
            ("", "/"),
            ("/a/../..", "/"),
            ("//a//b/./c", "/a/b/c"),
            ("a/.hidden", "/a/.hidden"),
        ):
            kind, body = session.ask(REALPATH, text(path))
            assert kind == NAME
            assert names(body) == [(expected.encode(), expected.encode(), 0)]
        kind, body = session.ask(EXTENDED, text("expand-path@openssh.com"), text("~/x"))
        assert names(body)[0][0] == b"/x"
        kind, body = session.ask(EXTENDED, text("home-directory"), text("ada"))
        assert names(body)[0][0] == b"/"

    def test_links(self) -> None:
        """SYMLINK and hardlink are not supported; READLINK of what is there says that it is no link."""
        session = self.session()
        session.put("a", b"")
        assert session.status(SYMLINK, text("a"), text("b")) == UNSUPPORTED
        assert session.status(EXTENDED, text("hardlink@openssh.com"), text("a"), text("b")) == UNSUPPORTED
        assert session.status(READLINK, text("a")) == FAILURE
        assert session.status(READLINK, text("b")) == NO_SUCH_FILE

    def test_hidden(self) -> None:
        """What nobody may name is not there; it cannot be made either."""
        session = self.session()
        (session.root / ".secret").write_bytes(b"x")
        for kind in (STAT, LSTAT, OPENDIR, REMOVE, RMDIR):
            assert session.status(kind, text(".secret")) == NO_SUCH_FILE
            assert session.status(kind, text(".netsvc/uploads")) == NO_SUCH_FILE
        assert session.status(OPEN, text(".secret"), u32(R), u32(0)) == NO_SUCH_FILE
        assert session.status(OPEN, text(".secret"), u32(W | CREAT), u32(0)) == FAILURE
        assert session.status(MKDIR, text(".d"), u32(0)) == FAILURE


class ExtensionTests(SessionTestCase):
    def test_limits(self) -> None:
        """limits@openssh.com tells the longest packet, READ and WRITE, and how many handles there may be."""
        kind, body = self.session(max_handles=7).ask(EXTENDED, text("limits@openssh.com"))
        assert kind == EXTENDED_REPLY
        assert struct.unpack(">4Q", body) == (262144, 261120, 261120, 7)

    def test_statvfs(self) -> None:
        """statvfs@openssh.com and fstatvfs tell the room there is, within the quota."""
        session = self.session(Terms(quota=1 << 20))
        handle = session.open("a", W | CREAT)
        for fields in ((text("statvfs@openssh.com"), text("/")), (text("fstatvfs@openssh.com"), text(handle))):
            kind, body = session.ask(EXTENDED, *fields)
            assert kind == EXTENDED_REPLY
            block, _, blocks, _, available = struct.unpack_from(">5Q", body)
            assert len(body) == 11 * 8
            assert block * blocks == 1 << 20
            assert available <= blocks

    def test_fsync(self) -> None:
        """fsync@openssh.com has written what was accepted before it is answered."""
        session = self.session()
        handle = session.open("a", W | CREAT)
        session.write(handle, 0, b"12345")
        assert session.status(EXTENDED, text("fsync@openssh.com"), text(handle)) == OK
        (part,) = session.root.glob(".netsvc-*.part")
        assert part.read_bytes() == b"12345"

    def test_copy_data(self) -> None:
        """copy-data copies between two open files."""
        session = self.session()
        session.put("a", b"0123456789")
        source, target = session.open("a"), session.open("b", W | CREAT)
        fields = text("copy-data"), text(source), u64(2), u64(0), text(target), u64(0)
        assert session.status(EXTENDED, *fields) == OK
        assert session.close(target) == OK
        assert (session.root / "b").read_bytes() == b"23456789"
        assert (
            session.status(EXTENDED, text("copy-data"), text(source), u64(0), u64(0), text(source), u64(0)) == FAILURE
        )

    def test_copy_data_behind_a_write_that_failed(self) -> None:
        """copy-data to a file that an earlier WRITE went wrong for says so, and copies nothing."""
        session = self.session(Terms(max_file_size=10))
        assert session.put("a", b"12345") == OK
        source, target = session.open("a"), session.open("b", W | CREAT | TRUNC)
        assert session.write(target, 8, b"too long") == OK
        fields = (text("copy-data"), text(source), u64(0), u64(0), text(target), u64(0))
        kind, body = session.ask(EXTENDED, *fields)
        assert (kind, body[:4]) == (STATUS, u32(FAILURE))
        assert b"longer than 10 octets" in body
        assert session.close(target) == FAILURE
        assert not (session.root / "b").exists()

    def test_unknown(self) -> None:
        """An unknown extension, and an unknown type of packet, are not supported."""
        session = self.session()
        assert session.status(EXTENDED, text("nothing@example.org")) == UNSUPPORTED
        assert session.status(77) == UNSUPPORTED


class AccessTests(SessionTestCase):
    def test_read_only(self) -> None:
        """A read-only account reads and changes nothing."""
        session = self.session(Terms(access=Access.READ_ONLY))
        (session.root / "a").write_bytes(b"abc")
        assert session.read(session.open("a"), 0, 9) == b"abc"
        assert len(session.list()) == 1
        for kind, fields in (
            (OPEN, (text("b"), u32(W | CREAT), u32(0))),
            (OPEN, (text("a"), u32(W), u32(0))),
            (MKDIR, (text("d"), u32(0))),
            (REMOVE, (text("a"),)),
            (RENAME, (text("a"), text("b"))),
            (SETSTAT, (text("a"), u32(TIMES), u32(1), u32(1))),
            (SETSTAT, (text("a"), u32(SIZE), u64(1))),
            (SETSTAT, (text("a"), u32(SIZE), u64(0))),
        ):
            assert session.status(kind, *fields) == PERMISSION_DENIED

    def test_upload_only(self) -> None:
        """An upload-only account adds what is new and resumes its own; it sees, reads, replaces and removes nothing."""
        terms = Terms(access=Access.UPLOAD_ONLY)
        session = self.session(terms)
        (session.root / "a").write_bytes(b"abc")
        assert session.size("/") == 0
        assert session.put("new", b"1") == OK
        assert session.status(OPEN, text("a"), u32(W | CREAT | TRUNC), u32(0)) == FAILURE
        assert session.status(OPEN, text("a"), u32(W | CREAT), u32(0)) == FAILURE
        assert session.status(OPEN, text("a"), u32(R), u32(0)) == PERMISSION_DENIED
        assert session.status(OPENDIR, text("/")) == PERMISSION_DENIED
        assert session.status(REMOVE, text("new")) == PERMISSION_DENIED
        assert session.size("a") == -NO_SUCH_FILE
        session.write(session.open("part", W | CREAT | TRUNC), 0, b"01")
        session.server.closed()
        again = self.session(terms, root=session.root)
        assert again.size("part") == 2
        handle = again.open("part", W | CREAT | APPEND)
        assert again.write(handle, 2, b"2") == OK
        assert again.close(handle) == OK
        assert (session.root / "part").read_bytes() == b"012"


class ListingTests(SessionTestCase):
    def test_listing(self) -> None:
        """READDIR tells name, attributes and a line as ls -l prints it; hidden names are left out."""
        session = self.session()
        session.put("a b", b"123")
        (session.root / ".secret").write_bytes(b"")
        session.status(MKDIR, text("d"), u32(0))
        os.utime(session.root / "a b", (0, 86400 * 200))
        found = {name: (long, size) for name, long, size in session.list()}
        assert set(found) == {b"a b", b"d"}
        assert found[b"a b"] == (b"-rw-r--r--    1 ada      ada             3 Jul 20  1970 a b", 3)
        assert found[b"d"][0].startswith(b"drwxr-xr-x    1 ada      ada             0 ")

    def test_blocks(self) -> None:
        """A directory of 2,500 files comes in NAMEs of at most 100 entries and 34,000 octets, each file once."""
        session = self.session()
        (session.root / "d").mkdir()
        for number in range(2500):
            (session.root / "d" / f"{number:0200}").touch()
        _, handle = session.ask(OPENDIR, text("/d"))
        seen = []
        while True:
            kind, body = session.ask(READDIR, handle)
            if kind == STATUS:
                break
            assert len(body) < 34_000
            entries = names(body)
            assert 0 < len(entries) <= 100
            seen += [name for name, _, _ in entries]
        assert len(seen) == len(set(seen)) == 2500

    def test_not_a_directory(self) -> None:
        """READDIR of a file's handle, and READ of a directory's, are refused."""
        session = self.session()
        session.put("a", b"1")
        assert session.status(OPENDIR, text("a")) == FAILURE
        assert session.status(READDIR, text(session.open("a"))) == FAILURE
        _, handle = session.ask(OPENDIR, text("/"))
        assert session.read(handle[4:], 0, 1) == FAILURE
        assert session.ask(FSTAT, handle)[0] == ATTRS


class StreamTests(SessionTestCase):
    def test_byte_by_byte(self) -> None:
        """A session that comes one octet at a time has the same answers."""
        session = self.session()
        stream = b"".join(
            (
                packet(OPEN, 1, text("a"), u32(W | CREAT), u32(0)),
                packet(6, 2, text(u32(0)), u64(0), text("hello")),
                packet(CLOSE, 3, text(u32(0))),
                packet(STAT, 4, text("a")),
            )
        )
        for octet in stream:
            session.send_raw(bytes([octet]))
        assert [kind for kind, _, _ in session.channel.take()] == [HANDLE, STATUS, STATUS, ATTRS]

    def test_malformed(self) -> None:
        """A malformed request is answered with BAD_MESSAGE, and the session goes on."""
        session = self.session()
        for kind in (OPEN, CLOSE, READ, 6, LSTAT, FSTAT, SETSTAT, RENAME, EXTENDED):
            assert session.status(kind, u32(99)) == BAD_MESSAGE
        assert session.status(6, text(u32(0)), u64(0), u32(50) + b"short") in (BAD_MESSAGE, FAILURE)
        assert session.size("/") == 0

    def test_joined_answers(self) -> None:
        """Answers to requests that came together leave in one write."""
        session = self.session()
        session.put("a", bytes(100_000))
        handle = session.open("a")
        session.channel.take()
        before = session.channel.writes
        session.send_raw(b"".join(packet(READ, n, text(handle), u64(n * 1000), u32(1000)) for n in range(50)))
        assert session.channel.writes == before + 1
        assert len(session.channel.take()) == 50

    def test_digest(self) -> None:
        """What was uploaded in pieces has the digest that the store keeps."""
        session = self.session()
        data = os.urandom(1_500_000)
        handle = session.open("a", W | CREAT)
        for offset in range(0, len(data), 100_000):
            session.write(handle, offset, data[offset : offset + 100_000])
        session.close(handle)
        assert session.store.digest(("a",)) == hashlib.sha256(data).digest()
