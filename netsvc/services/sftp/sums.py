"""Answers the commands that clients run to compare files: sha256sum, sha1sum, md5sum, as rclone sends them. No shell.

A line is split into words as a shell does it, with its quotes and backslashes; nothing else of it means anything.
Without a file, the sum is that of no octets: rclone asks for it first, to find out whether there is such a command.

Of an upload that was cut off, whose part stands for the file in STAT, too, its owner is told the SHA-256: that is kept,
and says to a client whether what came is the beginning of what it has.

Files may be long, and threads are few: a command reads a piece in a thread, then others have their turn.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.errors import NotFoundError, NotPermittedError, StoreError
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.door import Door, names_of

if TYPE_CHECKING:
    from netsvc.services.sftp.server import Channel

log = Logger()

MAX_LINE = 64 * 1024  # octets of a command
MAX_FILES = 1000  # in one command

_SUMS = {"sha256sum": "sha256", "sha1sum": "sha1", "md5sum": "md5"}
_PASSED_OVER = frozenset({"-b", "--binary", "-t", "--text", "--"})  # they change nothing on this system
_SHELL_PROBE = "echo ${ShellId}%ComSpec%"  # rclone finds out which shell there is; this is what a POSIX one prints
_SHELL_ANSWER = b"%ComSpec%\n"

_BLOCK = 1 << 20  # octets
PIECE = 64  # blocks that are read in one turn
AT_ONCE = 2  # threads that all commands of a service may have

FAILED = 1  # exit status: a file could not be read, as GNU's programs give it
NO_SUCH_COMMAND = 127  # as a shell gives it


class Command:
    """One exec request.

    :param door: to the files of the account.
    :param line: what the peer wants to be run.
    :param account: is told what goes wrong.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param turns: are shared with all commands of the service.
    """

    def __init__(
        self,
        door: Door,
        channel: Channel,
        line: bytes,
        account: Account,
        in_thread: Callable[..., Deferred[Any]],
        *,
        turns: DeferredSemaphore,
    ) -> None:
        self._door = door
        self._channel = channel
        self._line = line
        self._account = account
        self._in_thread = in_thread
        self._turns = turns
        self._closed = False
        self._blocks: Generator[bool, None, None] = self._run()
        self._output: list[bytes] = []
        self._status = 0

    def start(self) -> None:
        """Answer on the channel, and end it with the command's exit status."""
        self._turns.run(self._in_thread, self._turn).addCallback(self._go_on).addErrback(self._fault)

    def closed(self) -> None:
        """The connection is gone: read no further."""
        self._closed = True

    def _turn(self) -> bool:
        """In a thread: go on for a while; whether there is more to do."""
        if self._closed:
            self._blocks.close()
        return all(next(self._blocks, False) for _ in range(PIECE))

    def _go_on(self, more: bool) -> None:
        if more:
            self.start()
        elif not self._closed:
            if self._output:
                self._channel.write(b"".join(self._output))
            self._channel.end(self._status)

    def _fault(self, failure: Failure) -> None:
        log.failure("a fault in sftp", failure, event="sftp-fault")
        if not self._closed:
            self._channel.end(FAILED)

    def _run(self) -> Generator[bool, None, None]:
        """In threads: work out the output and the exit status; True after each block, and after each file."""
        words = _words(self._line)
        if words is None:
            self._output.append(_SHELL_ANSWER)
            return
        if not words or words[0] not in _SUMS:
            self._status = NO_SUCH_COMMAND
            return
        algorithm = _SUMS[words[0]]
        files = [word for word in words[1:] if word not in _PASSED_OVER]
        if not files or files == ["-"]:
            self._output.append(f"{hashlib.new(algorithm, usedforsecurity=False).hexdigest()}  -\n".encode())
            return
        if len(files) > MAX_FILES:
            self._status = FAILED
        for file in files[:MAX_FILES]:
            try:
                self._output.append(_line((yield from self._sum(algorithm, file)), file))
            except StoreError as error:
                self._account.tell(file, error)
                self._status = FAILED
            yield True

    def _sum(self, algorithm: str, path: str) -> Generator[bool, None, str]:
        names = names_of(path.encode("utf-8", "surrogateescape"))
        try:
            file = self._door.store.open(names)
        except (NotFoundError, NotPermittedError):  # who may only upload may read nothing
            if algorithm != "sha256":
                raise
            return self._door.digest_of_part(names).hex()
        try:
            kept = file.digest() if algorithm == "sha256" else None
            if kept is not None:
                return kept.hex()
            running = hashlib.new(algorithm, usedforsecurity=False)
            offset = 0
            while block := file.read(offset, _BLOCK):
                running.update(block)
                offset += len(block)
                yield True
            if algorithm == "sha256":
                self._door.store.keep_digest(file, running.digest())
            return running.hexdigest()
        finally:
            file.close()


def _words(line: bytes) -> list[str] | None:
    """The words of a command; None: it is the question which shell there is."""
    text = line[: MAX_LINE + 1].decode("utf-8", "surrogateescape")
    if text == _SHELL_PROBE:
        return None
    if len(text) > MAX_LINE:
        return []
    try:
        return shlex.split(text)
    except ValueError:  # a quote that does not end
        return []


def _line(digest: str, file: str) -> bytes:
    r"""One line of output: a name with a backslash or a line break is escaped, and a backslash in front says so."""
    name = file.encode("utf-8", "surrogateescape")
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return b"".join((b"\\" if escaped != name else b"", digest.encode(), b"  ", escaped, b"\n"))
