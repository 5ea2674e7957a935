"""One fork server as the daemon has it: a child process, a socket, and the scripts that it was asked for.

What it was asked for and has not reported when it ends has certainly not run: a child reports before it runs, and ends
when it cannot.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.services.http.cgi.child import ExitWatch
from netsvc.services.http.cgi.warm.shebang import Interpreter
from netsvc.services.http.cgi.warm.wire import layer_request, read_report

PROGRAM = Path(__file__).parent / "forkserver" / "stages.py"
ROOM = 16_384  # octets of environment that /proc/PID/environ shows of a script
START_LIMIT = 10.0  # seconds that a server has for a report before it is taken for hung
LONGEST_REPORT = 4096  # octets


class Wanted(Protocol):
    """Who waits for a script to start."""

    def started(self, pid: int, reason: str) -> None:
        """It runs; was executed, with the reason."""

    def failed(self, reason: str) -> None:
        """It did not start here."""


@implementer(IReadDescriptor)
class ForkServer:
    """A fork server, from its start on: see `start_server` and `layer`.

    :param ours: the daemon's end of its socket.
    :param process: it, when it is a process that was executed; a layer tells its own number once it is ready.
    :param claim: told its process id once that is known.
    :param release: told it when the process is reaped, which is some time after `lost`.
    :param lost: called once when no more can be asked of it, with this and the reason; empty when it was retired.
    """

    def __init__(
        self,
        reactor: Any,
        ours: socket.socket,
        process: subprocess.Popen[bytes] | None,
        *,
        claim: Callable[[int], None],
        release: Callable[[int], None],
        lost: Callable[[ForkServer, str], None],
    ) -> None:
        self._reactor = reactor
        self._process = process
        self._claim = claim
        self._release = release
        self._lost = lost
        self._waiting: dict[int, Wanted] = {}
        self._began: dict[int, float] = {}
        self._closing = False
        self._check: Any = None
        self.pid = 0
        self.gone = False
        self.ready = False
        self.asked = 0
        self.used_at: float = reactor.seconds()
        ours.setblocking(False)
        self._socket: socket.socket | None = ours
        reactor.addReader(self)
        if process is not None:
            self._known(process.pid)

    def _known(self, pid: int) -> None:
        self.pid = pid
        self._claim(pid)
        ExitWatch(self._reactor, pid, self._exited)

    def layer(
        self,
        script: str,
        legacy: str,
        *,
        claim: Callable[[int], None],
        release: Callable[[int], None],
        lost: Callable[[ForkServer, str], None],
    ) -> ForkServer | None:
        """A fork server for one script that has imported what that imports first; None when it cannot be asked for.

        :param legacy: the directory that `cgi_legacy` offers.
        """
        if self._socket is None or self._closing:
            return None
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return None
        try:
            socket.send_fds(self._socket, [layer_request(script, legacy)], [theirs.fileno()])
        except OSError:
            ours.close()
            return None
        finally:
            theirs.close()
        return ForkServer(self._reactor, ours, None, claim=claim, release=release, lost=lost)

    @property
    def idle(self) -> bool:
        """Whether nobody waits for it."""
        return not self._waiting

    def ask(self, serial: int, packet: bytes, descriptors: tuple[int, int, int], wanted: Wanted) -> bool:
        """Ask for a script; False when it takes no more now."""
        if self._socket is None or self._closing:
            return False
        try:
            socket.send_fds(self._socket, [packet], descriptors)
        except OSError:
            return False
        self.asked += 1
        self._waiting[serial] = wanted
        self.used_at = self._began[serial] = self._reactor.seconds()
        self._expect()
        return True

    def retire(self) -> None:
        """Ask no more of it; it ends when it has reported what it was asked for."""
        self._closing = True
        if not self._waiting:
            self._close("")

    def fileno(self) -> int:
        """As IFileDescriptor."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """As ILoggingContext."""
        return "cgi"

    def doRead(self) -> None:
        """As IReadDescriptor."""
        while self._socket is not None:
            packet = _receive(self._socket)
            if packet is None:
                return
            if packet:
                self._reported(packet)
            else:
                self._ended()

    def readConnectionLost(self, reason: Failure) -> None:
        """As IHalfCloseableDescriptor: on a Lane a hang-up is this."""
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        """The reactor saw a hang-up: reports may be left to read."""
        self.doRead()
        if self._socket is not None:
            self._reactor.addReader(self)

    def _reported(self, packet: bytes) -> None:
        report = read_report(packet)
        if report is None:
            self._close("its interpreter answers what cannot be understood")
        elif report.serial == 0:
            if report.pid:
                self._known(report.pid)
            if report.reason:
                self._close(report.reason)
            self.ready = True
        else:
            wanted = self._waiting.pop(report.serial, None)
            self._began.pop(report.serial, None)
            if wanted is not None and report.pid:
                wanted.started(report.pid, report.reason)
            elif wanted is not None:
                wanted.failed(report.reason)
            if self._closing and not self._waiting:
                self._close("")

    def _expect(self) -> None:
        """See whether it has reported what it was asked for longest ago, when its time is over."""
        if self._check is None and self._began:
            late = min(self._began.values()) + START_LIMIT
            self._check = self._reactor.callLater(max(0.0, late - self._reactor.seconds()), self._look)

    def _look(self) -> None:
        self._check = None
        self.doRead()
        if self._began and min(self._began.values()) + START_LIMIT <= self._reactor.seconds():
            self._close(f"its interpreter did not answer for {START_LIMIT:.0f} seconds")
        self._expect()

    def _exited(self) -> None:
        if self._process is not None:
            self._process.poll()
        else:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        self.gone = True
        self._release(self.pid)
        self._ended()

    def _ended(self) -> None:
        if self.ready:
            self._close("its warm interpreter has ended")
        else:
            self._close("its interpreter ended before it was ready; it has to be CPython 3.11 or later")

    def _close(self, reason: str) -> None:
        """The end: it sees the end of file, or is killed when it has not answered."""
        if self._socket is None:
            return
        self._reactor.removeReader(self)
        ours, self._socket = self._socket, None
        self._closing = True
        # From here on no child can report, and so none that has not yet will run. Those that have, run.
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RD)
        while packet := _receive(ours):
            self._reported(packet)
        ours.close()
        if self._check is not None:
            self._check.cancel()
            self._check = None
        if (self._waiting or not self.ready) and self.pid and not self.gone:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        waiting, self._waiting = list(self._waiting.values()), {}
        self._began.clear()
        self._lost(self, reason)
        for wanted in waiting:
            wanted.failed(reason)


def _receive(ours: socket.socket) -> bytes | None:
    """A packet, empty at the end; None when there is none now."""
    while True:
        try:
            return ours.recv(LONGEST_REPORT)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # it ended before it had read all; told once, before what is left to receive
            continue


def start_server(
    reactor: Any,
    interpreter: Interpreter,
    environment: Mapping[bytes, bytes],
    *,
    claim: Callable[[int], None],
    release: Callable[[int], None],
    lost: Callable[[ForkServer, str], None],
) -> ForkServer:
    """Start an interpreter as a fork server.

    :param environment: of the interpreter.
    :raises OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        name, *flags = interpreter.line
        number = theirs.fileno()
        process = subprocess.Popen(
            [name, *flags, PROGRAM, str(number), str(os.getpid()), interpreter.path],
            executable=interpreter.path,
            env={**environment, b"NETSVC_ROOM": b"-" * ROOM},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(number,),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ForkServer(reactor, ours, process, claim=claim, release=release, lost=lost)
