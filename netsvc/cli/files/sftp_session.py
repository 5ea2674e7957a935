"""A conversation with an SFTP server over the pipes of the system's ssh. It blocks.

ssh brings the user's own configuration, keys, agent and known hosts; what it asks, it asks on the terminal. Reads and
writes are pipelined: so many are under way that the time of a round trip costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from threading import Thread
from types import TracebackType

from netsvc.cli.files import sftp_wire as wire
from netsvc.cli.files.errors import NotAllowedError, NotThereError, TransferError, UsageError
from netsvc.cli.files.locations import Location
from netsvc.cli.files.sftp_wire import Answer, Attributes, Greeting, StatusAnswer
from netsvc.cli.files.ways import Wishes
from netsvc.services.sftp.wire import BadMessageError, Packets, Status, Type, UnusableStreamError

DEPTH = 64  # requests under way; their answers to writes, some 30 octets each, fit into a pipe: nobody waits for ever
_OCTETS_AT_ONCE = 1 << 18  # read from the pipe
PATIENCE = 2.0  # seconds for ssh to leave when all is said
_LAST_WORDS = 2000  # octets of what ssh says on its stderr
_SHA256 = re.compile(rb"\\?([0-9a-f]{64})[ *]")
_OPTIONS = ("-x", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no", "-oForwardAgent=no")
_REASONS = {
    Status.EOF: "it ends there",
    Status.NO_SUCH_FILE: "no such file",
    Status.PERMISSION_DENIED: "permission denied",
    Status.OP_UNSUPPORTED: "the server cannot do that",
}


def _command(location: Location, wishes: Wishes, *what: str) -> list[str]:
    port = [] if location.port is None else ["-p", str(location.port)]
    user = ["-l", location.user] if location.user else []
    return [*wishes.ssh, *_OPTIONS, *port, *user, *what]


def remote_sha256(location: Location, wishes: Wishes, path: bytes) -> bytes | None:
    """The SHA-256 of a file, of ``sha256sum`` over there; None if there is none or it may not be run."""
    question = f"sha256sum {shlex.quote(os.fsdecode(path))}"
    ran = subprocess.run(
        _command(location, wishes, "--", location.host, question), stdin=subprocess.DEVNULL, capture_output=True
    )
    found = _SHA256.match(ran.stdout)
    return bytes.fromhex(found[1].decode("ascii")) if found and ran.returncode == 0 else None


class Session:
    """One server; a context manager."""

    def __init__(self, location: Location, wishes: Wishes) -> None:
        self._timeout = wishes.timeout
        self._packets = Packets()
        self._came: dict[int, StatusAnswer | Answer] = {}
        self._next = 1
        self._words = b""
        command = _command(location, wishes, "-s", "--", location.host, "sftp")
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise UsageError(f"{command[0]!r} cannot be run: {(error.strerror or '?').lower()}") from error
        self._listening = Thread(target=self._listen, daemon=True)
        self._listening.start()
        self.piece = wire.PIECE
        self.extensions: dict[str, bytes] = {}

    def __enter__(self) -> Session:
        try:
            self._write(wire.hello())
            greeting = self._read(None)  # until then ssh may ask for a password
            if not isinstance(greeting, Greeting):
                raise TransferError("the server does not begin as SFTP does")
            self.extensions = greeting.extensions
            if "limits@openssh.com" in self.extensions:
                limits = self._one(Type.EXTENDED, b"limits@openssh.com")
                if isinstance(limits, Answer) and isinstance(limits.value, bytes):
                    self.piece = wire.largest_piece(limits.value)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the conversation, and ssh."""
        self._end()
        for pipe in (self._child.stdout, self._child.stderr):
            assert pipe is not None  # noqa: S101
            pipe.close()

    def _end(self) -> int:
        """Let ssh come to its end; its status."""
        assert self._child.stdin is not None  # noqa: S101
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            status = self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.cut()
            status = self._child.wait()
        self._listening.join(PATIENCE)  # what ssh has started may hold its stderr open for ever
        return status

    def cut(self) -> None:
        """End ssh at once."""
        self._child.kill()

    # Files

    def stat(self, path: bytes) -> Attributes:
        """What is there.

        :raises NotThereError: nothing.
        """
        found = self._value(self._one(Type.STAT, path))
        if not isinstance(found, Attributes):
            raise TransferError("the server answers what was not asked")
        return found

    def open(self, path: bytes, flags: int) -> bytes:
        """Open a file; its handle."""
        identity = self._identity()
        self._write(wire.open_request(identity, path, flags))
        return self._handle(self._await(identity))

    def close_handle(self, handle: bytes) -> None:
        """Close it: the file is whole then."""
        self._done(Type.CLOSE, handle)

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        self._done(Type.REMOVE, path)

    def sync(self, handle: bytes) -> None:
        """Have the file durable, if the server can do that."""
        if "fsync@openssh.com" in self.extensions:
            self._done(Type.EXTENDED, b"fsync@openssh.com", handle)

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename a file in the place of another one, in one step if the server can do that."""
        if "posix-rename@openssh.com" in self.extensions:
            self._done(Type.EXTENDED, b"posix-rename@openssh.com", old, new)
        else:
            self._done(Type.RENAME, old, new)

    def names(self, path: bytes) -> Iterator[tuple[bytes, Attributes]]:
        """The entries of a directory."""
        handle = self._handle(self._one(Type.OPENDIR, path))
        while True:
            found = self._one(Type.READDIR, handle)
            if isinstance(found, StatusAnswer) and found.code == Status.EOF:
                break
            entries = self._value(found)
            if not isinstance(entries, list):
                raise TransferError("the server answers what was not asked")
            yield from entries
        self.close_handle(handle)

    def read(self, handle: bytes, start: int, stop: int, piece: int) -> Iterator[bytes]:
        """The octets of a file, in order.

        :param piece: octets that are asked for at once.
        :raises TransferError: it ends before.
        """
        under_way: deque[tuple[int, int, int]] = deque()
        asked = start
        while asked < stop or under_way:
            requests = []
            while asked < stop and len(under_way) < DEPTH:
                length = min(piece, stop - asked)
                requests.append(self._ask_read(handle, asked, length, under_way))
                asked += length
            if requests:
                self._write(b"".join(requests))
            identity, offset, length = under_way.popleft()
            found = self._value(self._await(identity))
            if not isinstance(found, bytes) or not 0 < len(found) <= length:
                raise TransferError("the server answers what was not asked")
            yield found
            if len(found) < length:  # the rest comes next: nothing behind it was given away yet
                ahead: deque[tuple[int, int, int]] = deque()
                self._write(self._ask_read(handle, offset + len(found), length - len(found), ahead))
                under_way.extendleft(ahead)

    def _ask_read(self, handle: bytes, offset: int, length: int, under_way: deque[tuple[int, int, int]]) -> bytes:
        identity = self._identity()
        under_way.append((identity, offset, length))
        return wire.read_request(identity, handle, offset, length)

    def write(self, handle: bytes, start: int, blocks: Iterable[bytes]) -> Iterator[int]:
        """Write octets that follow one another; gives the length of each block that the server has taken."""
        under_way: deque[tuple[int, int]] = deque()
        offset = start
        for block in blocks:
            identity = self._identity()
            self._write(wire.write_head(identity, handle, offset, len(block)) + block)
            under_way.append((identity, len(block)))
            offset += len(block)
            if len(under_way) >= DEPTH:
                yield self._written(under_way)
        while under_way:
            yield self._written(under_way)

    def _written(self, under_way: deque[tuple[int, int]]) -> int:
        identity, length = under_way.popleft()
        self._value(self._await(identity))
        return length

    # Answers

    def _identity(self) -> int:
        self._next = self._next % 0xFFFFFFFF + 1
        return self._next

    def _one(self, kind: Type, *fields: bytes | int) -> StatusAnswer | Answer:
        identity = self._identity()
        self._write(wire.request(kind, identity, *fields))
        return self._await(identity)

    def _done(self, kind: Type, *fields: bytes | int) -> None:
        self._value(self._one(kind, *fields))

    def _handle(self, found: StatusAnswer | Answer) -> bytes:
        value = self._value(found)
        if not isinstance(value, bytes):
            raise TransferError("the server answers what was not asked")
        return value

    @staticmethod
    def _value(found: StatusAnswer | Answer) -> bytes | Attributes | list[tuple[bytes, Attributes]] | None:
        """What an answer has; None is that it went well.

        :raises TransferError: it did not.
        """
        if isinstance(found, Answer):
            return found.value
        if found.code == Status.OK:
            return None
        known = _REASONS.get(Status(found.code)) if found.code in set(Status) else None
        text = known or found.text or f"the server failed (code {found.code})"
        if found.code == Status.NO_SUCH_FILE:
            raise NotThereError(text)
        if found.code == Status.PERMISSION_DENIED:
            raise NotAllowedError(text)
        raise TransferError(text)

    def _await(self, identity: int) -> StatusAnswer | Answer:
        while identity not in self._came:
            found = self._read(self._timeout)
            if isinstance(found, Greeting):
                raise TransferError("the server greets twice")
        return self._came.pop(identity)

    def _read(self, timeout: float | None) -> Greeting | StatusAnswer | Answer:
        """The next packet, which is also put where it is looked for."""
        assert self._child.stdout is not None  # noqa: S101
        descriptor = self._child.stdout.fileno()
        try:
            while (packet := self._packets.next()) is None:
                if timeout is not None:
                    waiting = select.poll()
                    waiting.register(descriptor, select.POLLIN)
                    if not waiting.poll(timeout * 1000):
                        raise TransferError(f"no sign of life for {timeout:g} seconds")
                data = os.read(descriptor, _OCTETS_AT_ONCE)
                if not data:
                    raise self._gone()
                self._packets.feed(data)
            identity, found = wire.answer(packet)
        except (UnusableStreamError, BadMessageError) as error:
            raise TransferError(f"the server does not speak SFTP: {error}") from None
        if not isinstance(found, Greeting):
            self._came[identity] = found
        return found

    def _write(self, octets: bytes) -> None:
        assert self._child.stdin is not None  # noqa: S101
        view = memoryview(octets)
        try:
            while view:
                view = view[os.write(self._child.stdin.fileno(), view) :]
        except BrokenPipeError:
            raise self._gone() from None

    def _listen(self) -> None:
        assert self._child.stderr is not None  # noqa: S101
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._child.stderr.fileno(), 4096):
                self._words = (self._words + data)[-_LAST_WORDS:]

    def _gone(self) -> TransferError:
        """What to say when ssh has left."""
        status = self._end()
        lines = [line.strip() for line in self._words.decode("utf-8", "replace").splitlines() if line.strip()]
        text = lines[-1] if lines else f"ssh ended with status {status}"
        if "ermission denied" in text or "erification failed" in text:
            return NotAllowedError(text)
        return TransferError(text)
