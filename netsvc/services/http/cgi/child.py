"""Starts a script's process and tells when it has exited. POSIX only.

With vfork that takes 0.5 ms (see :mod:`.spawn`); reactor.spawnProcess forks in Python, 6 ms.
No function runs between fork and exec: limits are set from outside, a moment later (see :mod:`.limits`).

This is the seam for other ways to start a script: whatever provides `Child` and can be called as `start_child` will do.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.services.http.cgi.limits import limit_process
from netsvc.services.http.cgi.spawn import spawn

POLL = 0.02  # seconds between looks at a child where the kernel has no pidfd_open (Linux before 5.3, 2019)


class ScriptStartError(Exception):
    """A script could not be started.

    :param status: what to answer: 403, 431, 500 or 503.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@frozen(kw_only=True)
class Command:
    """What to run, and how.

    :param arguments: the command line; the first is the script's absolute file name.
    :param directory: its working directory.
    :param environment: every variable that it gets.
    :param umask: file mode bits that it does not give.
    :param nice: how much it yields, 0 to 19.
    :param cpu_limit: CPU seconds a process, 0 for any.
    :param memory_limit: octets of address space a process, 0 for any.
    """

    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    umask: int = 0o022
    nice: int = 0
    cpu_limit: int = 0
    memory_limit: int = 0


class Child(Protocol):
    """A process that leads a session and process group of its own."""

    @property
    def pid(self) -> int:
        """Its process id, which is its group's; 0 while it is not known, and when it could not be started at last."""

    def known(self, call: Callable[[int], None]) -> None:
        """Call with its process id: at once, or once it is known."""

    def signal_later(self, number: int) -> bool:
        """Signal its group once its process id is known; False when there will be none."""

    def poll(self) -> int | None:
        """Reap it if it has exited: its exit status, or minus the signal that ended it; None while it runs."""

    def watch(self, reactor: Any, exited: Callable[[], None]) -> object:
        """Call `exited` once, in a later turn or in `look`, when it has exited and before it is reaped."""

    def look(self) -> None:
        """It has closed its output: see whether it has exited, too."""


Start = Callable[[Command, int, int, int], Child]


def _first_line(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            return stream.readline(256).decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def _explain(error: OSError, script: str) -> ScriptStartError:
    if error.errno == errno.EACCES:
        return ScriptStartError("the script, its directory or its interpreter may not be executed", 403)
    if error.errno == errno.ENOEXEC:
        return ScriptStartError("the script is neither a program nor begins with '#!' and an interpreter", 500)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if not os.path.exists(script):
            return ScriptStartError("the script is gone", 404)
        line = _first_line(script)
        ending = ", whose line ends with CR LF" if line.endswith("\r") else ""
        return ScriptStartError(f"the interpreter of its first line does not exist{ending}: {line.rstrip()}", 500)
    if error.errno == errno.E2BIG:
        return ScriptStartError("the request's header fields are more than the kernel passes to a program", 431)
    if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return ScriptStartError(f"the machine has no room for another process: {error.strerror}", 503)
    if error.errno == errno.ETXTBSY:
        return ScriptStartError("the script is being written", 503)
    return ScriptStartError(f"the script cannot be run: {error.strerror}", 500)


class ExecChild:
    """A child that was started with exec."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None
        self._watch: ExitWatch | None = None

    def known(self, call: Callable[[int], None]) -> None:
        """As Child."""
        call(self.pid)

    def signal_later(self, number: int) -> bool:  # noqa: ARG002
        """As Child: its process id is always known."""
        return False

    def poll(self) -> int | None:
        """As Child."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it: how it ended is not known
                self._status = 0
            else:
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def watch(self, reactor: Any, exited: Callable[[], None]) -> object:
        """As Child."""
        self._watch = ExitWatch(reactor, self.pid, exited)
        return self._watch

    def look(self) -> None:
        """As Child."""
        if self._watch is not None:
            self._watch.look()


def start_child(command: Command, stdin: int, stdout: int, stderr: int) -> Child:
    """Start a process in a session of its own, with these three descriptors and no others.

    :param stdin: a descriptor, or subprocess.DEVNULL.
    :raises ScriptStartError: with what to answer the peer.
    """
    null = -1
    try:
        if stdin == subprocess.DEVNULL:
            stdin = null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        pid = spawn(
            command.arguments,
            command.environment,
            directory=os.fspath(command.directory),
            umask=command.umask,
            descriptors=(stdin, stdout, stderr),
        )
    except OSError as error:
        raise _explain(error, command.arguments[0]) from error
    except ValueError as error:  # a NUL in the environment or the arguments
        raise ScriptStartError(f"the request cannot be passed to a program: {error}", 400) from error
    finally:
        if null >= 0:
            os.close(null)
    try:
        limit_process(pid, nice=command.nice, cpu=command.cpu_limit, memory=command.memory_limit)
    except OSError as error:
        # Unlimited is not what was asked for. (A child that has exited already is not reaped, so this is no race.)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise ScriptStartError(f"the limits of the script cannot be set: {error.strerror}", 500) from error
    return ExecChild(pid)


def group_lives(group: int) -> bool:
    """Whether a process of the group lives; zombies that init has not reaped yet do not. Linux; elsewhere: maybe."""
    try:
        entries = os.listdir("/proc")
    except OSError:
        return True
    for entry in entries:
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stream:
                state, _, its_group = stream.read().rpartition(b")")[2].split()[:3]  # proc(5); a name can hold ")"
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state not in (b"Z", b"X"):
            return True
    return False


@implementer(IReadDescriptor)
class ExitWatch:
    """Tells once that a child has exited, before it is reaped, so that its number still is its own.

    :param exited: called in a later turn of the reactor.
    """

    def __init__(self, reactor: Any, pid: int, exited: Callable[[], None]) -> None:
        self._reactor = reactor
        self._pid = pid
        self._exited = exited
        self._descriptor = -1
        self._done = False
        try:
            self._descriptor = os.pidfd_open(pid)
        except (AttributeError, OSError):  # another kernel, or no descriptor left
            reactor.callLater(POLL, self._look)
        else:
            reactor.addReader(self)

    def fileno(self) -> int:
        """As IFileDescriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """As ILoggingContext."""
        return "cgi"

    def look(self) -> None:
        """See whether it has exited already."""
        self._check()

    def doRead(self) -> None:
        """As IReadDescriptor."""
        self._check()

    def readConnectionLost(self, reason: Failure) -> None:
        """As IHalfCloseableDescriptor: on a Lane a hang-up is this."""
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        """The reactor saw a hang-up."""
        if not self._check():
            self._reactor.addReader(self)  # the event was meant for an earlier descriptor of this number

    def _look(self) -> None:
        if not self._check():
            self._reactor.callLater(POLL, self._look)

    def _check(self) -> bool:
        if self._done:
            return True
        try:
            if os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
        except ChildProcessError:
            pass  # someone else has reaped it: it surely has exited
        self._done = True
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        self._exited()
        return True
