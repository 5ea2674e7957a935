"""One session with an SftpServer, its requests made and its answers read by other code than the server's own."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.server import SftpServer

INIT, VERSION = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = range(3, 13)
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(13, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, _, _, UNSUPPORTED = range(9)

R, W, APPEND, CREAT, TRUNC, EXCL = 1, 2, 4, 8, 16, 32

MORE = 1 << 30  # octets of room: as much as one likes


def u32(value: int) -> bytes:
    """A number of four octets."""
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    """A number of eight octets."""
    return struct.pack(">Q", value)


def text(value: bytes | str) -> bytes:
    """A string with its length in front."""
    value = value.encode() if isinstance(value, str) else value
    return u32(len(value)) + value


def packet(kind: int, request: int, *fields: bytes) -> bytes:
    """A packet with its length in front."""
    body = b"".join(fields)
    return struct.pack(">IBI", 5 + len(body), kind, request) + body


class FakeChannel:
    """A channel that a test gives room."""

    def __init__(self, room: int = MORE) -> None:
        self.left = room
        self.output = b""
        self.writes = 0
        self.paused = False
        self.ended: int | None = None

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.output += data
        self.left -= len(data)
        self.writes += 1

    def room(self) -> int:
        return self.left

    def pause(self) -> None:
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False

    def end(self, status: int) -> None:
        self.ended = status

    def take(self) -> list[tuple[int, int, bytes]]:
        """The answers so far, each a type, a number and a body."""
        answers = []
        position = 0
        while position < len(self.output):
            length, kind, request = struct.unpack_from(">IBI", self.output, position)
            end = position + 4 + length
            assert len(self.output) >= end
            answers.append((kind, request, self.output[position + 9 : end]))
            position = end
        self.output = b""
        return answers


class Threads:
    """Threads whose work is done when a test says so."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Deferred[Any], Callable[[], Any]]] = deque()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, lambda: function(*arguments)))
        return done

    def work(self, most: int = 1_000_000) -> None:
        """Do what waits, and what comes of it."""
        while self.waiting and most:
            most -= 1
            done, function = self.waiting.popleft()
            maybeDeferred(function).chainDeferred(done)


class Session:
    """A server over a directory of its own, greeted."""

    def __init__(
        self,
        terms: Terms | None = None,
        *,
        root: Path | None = None,
        in_thread: Callable[..., Deferred[Any]] = maybeDeferred,
        room: int = MORE,
        owner: str = "ada",
        **options: Any,
    ) -> None:
        self.root = root or Path(tempfile.mkdtemp(prefix="netsvc-sftp-"))
        self.store = FileStore(self.root, terms or Terms())
        self.channel = FakeChannel(room)
        options = {"max_handles": 100, **options}
        self.server = SftpServer(self.store, self.channel, Account(owner, "a peer"), in_thread=in_thread, **options)
        self.number = 0
        self.send_raw(struct.pack(">IBI", 5, INIT, 3))
        self.greeting = self.channel.take()

    def send_raw(self, data: bytes) -> None:
        self.server.received(data)

    def send(self, kind: int, *fields: bytes) -> int:
        """Send a request; its number."""
        self.number += 1
        self.send_raw(packet(kind, self.number, *fields))
        return self.number

    def ask(self, kind: int, *fields: bytes) -> tuple[int, bytes]:
        """Send a request and take its answer: type and body."""
        number = self.send(kind, *fields)
        (answer,) = self.channel.take()
        assert answer[1] == number
        return answer[0], answer[2]

    def status(self, kind: int, *fields: bytes) -> int:
        """The code with which a request is answered."""
        found, body = self.ask(kind, *fields)
        assert found == STATUS, (found, body)
        code, length = struct.unpack_from(">II", body)
        body[8 : 8 + length].decode()
        return int(code)

    def open(self, name: bytes | str, flags: int = R) -> bytes:
        """Open a file; its handle."""
        kind, body = self.ask(OPEN, text(name), u32(flags), u32(0))
        assert kind == HANDLE, body
        return body[4:]

    def write(self, handle: bytes, offset: int, data: bytes) -> int:
        return self.status(WRITE, text(handle), u64(offset), text(data))

    def read(self, handle: bytes, offset: int, length: int) -> bytes | int:
        """The octets, or a status."""
        kind, body = self.ask(READ, text(handle), u64(offset), u32(length))
        if kind == DATA:
            assert len(body) == 4 + struct.unpack_from(">I", body)[0]
            return body[4:]
        assert kind == STATUS
        return int(struct.unpack_from(">I", body)[0])

    def close(self, handle: bytes) -> int:
        return self.status(CLOSE, text(handle))

    def put(self, name: bytes | str, data: bytes) -> int:
        """Upload a file in one go; the status of CLOSE."""
        handle = self.open(name, W | CREAT | TRUNC)
        assert self.write(handle, 0, data) == OK
        return self.close(handle)

    def size(self, name: bytes | str, kind: int = STAT) -> int:
        """What STAT says of a file's size; minus the status where it says nothing."""
        found, body = self.ask(kind, text(name))
        if found == STATUS:
            return -int(struct.unpack_from(">I", body)[0])
        flags, size, mode = struct.unpack_from(">IQI", body)
        assert flags == 0x0D
        assert mode in (0o100644, 0o40755)
        return int(size)

    def modified(self, name: bytes | str) -> int:
        """The time of last change that STAT tells."""
        found, body = self.ask(STAT, text(name))
        assert found == ATTRS
        return int(struct.unpack_from(">IQIII", body)[4])

    def list(self, name: bytes | str = "/") -> list[tuple[bytes, bytes, int]]:
        """All of a directory: name, long name, size."""
        kind, body = self.ask(OPENDIR, text(name))
        assert kind == HANDLE, body
        entries = []
        while True:
            kind, answer = self.ask(READDIR, body)
            if kind == STATUS:
                assert struct.unpack_from(">I", answer)[0] == EOF
                assert self.close(body[4:]) == OK
                return entries
            entries += names(answer)


class SessionTestCase(SynchronousTestCase):
    """Tests with sessions that end with them."""

    def session(self, terms: Terms | None = None, **options: Any) -> Session:
        session = Session(terms, **options)
        self.addCleanup(shutil.rmtree, session.root, ignore_errors=True)
        self.addCleanup(self.end, session, options.get("in_thread"))
        return session

    def end(self, session: Session, threads: Any = None) -> None:
        """The connection of a session is gone."""
        session.server.closed()
        if isinstance(threads, Threads):
            threads.work()


def names(body: bytes) -> list[tuple[bytes, bytes, int]]:
    """The entries of a NAME."""
    (count,) = struct.unpack_from(">I", body)
    position = 4
    found = []
    for _ in range(count):
        strings = []
        for _ in range(2):
            (length,) = struct.unpack_from(">I", body, position)
            strings.append(body[position + 4 : position + 4 + length])
            position += 4 + length
        (flags,) = struct.unpack_from(">I", body, position)
        size = 0
        position += 4
        if flags:
            size = struct.unpack_from(">QIII", body, position)[0]
            position += 20
        found.append((strings[0], strings[1], size))
    assert position == len(body)
    return found
