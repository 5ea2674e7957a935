"""Answers the commands that clients run to compare files: sha256sum, sha1sum, md5sum, as rclone sends them. No shell.

A line is split into words as a shell does it, with its quotes and backslashes; nothing else of it means anything.
Without a file, the sum is that of no octets: rclone asks for it first, to find out whether there is such a command.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.errors import StoreError
from netsvc.services.sftp.door import names_of

if TYPE_CHECKING:
    from netsvc.filestore.store import FileStore
    from netsvc.services.sftp.server import Channel

log = Logger()

MAX_LINE = 64 * 1024  # octets of a command
MAX_FILES = 1000  # in one command

_SUMS = {"sha256sum": "sha256", "sha1sum": "sha1", "md5sum": "md5"}
_PASSED_OVER = frozenset({"-b", "--binary", "-t", "--text", "--"})  # they change nothing on this system
_SHELL_PROBE = "echo ${ShellId}%ComSpec%"  # rclone finds out which shell there is; this is what a POSIX one prints
_SHELL_ANSWER = b"%ComSpec%\n"

_BLOCK = 1 << 20  # octets

FAILED = 1  # exit status: a file could not be read, as GNU's programs give it
NO_SUCH_COMMAND = 127  # as a shell gives it


class Command:
    """One exec request.

    :param line: what the peer wants to be run.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    """

    def __init__(
        self, store: FileStore, channel: Channel, line: bytes, in_thread: Callable[..., Deferred[Any]]
    ) -> None:
        self._store = store
        self._channel = channel
        self._line = line
        self._in_thread = in_thread
        self._closed = False

    def start(self) -> None:
        """Answer on the channel, and end it with the command's exit status."""
        self._in_thread(self._run).addCallback(self._answer).addErrback(self._fault)

    def closed(self) -> None:
        """The connection is gone: read no further."""
        self._closed = True

    def _answer(self, answer: tuple[bytes, int]) -> None:
        if self._closed:
            return
        output, status = answer
        if output:
            self._channel.write(output)
        self._channel.end(status)

    def _fault(self, failure: Failure) -> None:
        log.failure("a fault in sftp", failure, event="sftp-fault")
        if not self._closed:
            self._channel.end(FAILED)

    def _run(self) -> tuple[bytes, int]:
        """In a thread: the output and the exit status."""
        words = _words(self._line)
        if words is None:
            return _SHELL_ANSWER, 0
        if not words or words[0] not in _SUMS:
            return b"", NO_SUCH_COMMAND
        algorithm = _SUMS[words[0]]
        files = [word for word in words[1:] if word not in _PASSED_OVER]
        if not files or files == ["-"]:
            return f"{hashlib.new(algorithm, usedforsecurity=False).hexdigest()}  -\n".encode(), 0
        lines: list[bytes] = []
        status = 0
        for file in files[:MAX_FILES]:
            try:
                lines.append(_line(self._sum(algorithm, file), file))
            except StoreError:
                status = FAILED
        return b"".join(lines), FAILED if len(files) > MAX_FILES else status

    def _sum(self, algorithm: str, path: str) -> str:
        names = names_of(path.encode("utf-8", "surrogateescape"))
        if algorithm == "sha256":
            return self._store.digest(names).hex()
        file = self._store.open(names)
        try:
            running = hashlib.new(algorithm, usedforsecurity=False)
            offset = 0
            while not self._closed and (block := file.read(offset, _BLOCK)):
                running.update(block)
                offset += len(block)
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
