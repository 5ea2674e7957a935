"""One running script: its child, its three pipes, and the ladder that ends it.

The answer is over when the script has closed its stdout, or has exited and what it printed is read: a process that
it left behind and that still holds stdout is not waited for. `gone` fires when nothing of it is left: the child is
reaped, and no process of its group lives (but those that `background` lets live).

The ladder: close stdout and stdin, SIGTERM to the process group, SIGKILL to it when the grace has passed.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.logger import Logger

from netsvc.services.http.cgi.child import Child, Command, ScriptStartError, Start, group_lives, start_child
from netsvc.services.http.cgi.pipes import InputPipe, OutputPipe

log = Logger()

# A script that ends closes its stdout a moment before it can be reaped. One that closes stdout to work on is not
# waited for longer than this, in seconds.
EXIT_AFTER_OUTPUT = 0.25
GROUP_POLL = 0.1  # seconds between looks at a group whose leader is gone
# Seconds that killed processes have to disappear. Longer takes one that is in the kernel, or one that nobody reaps.
KILLED_LINGER = 2.0


@frozen
class Ending:
    """How a script ended.

    :param status: exit status; minus the number of the fatal signal; None when it has closed its stdout and runs on.
    """

    status: int | None

    @property
    def signalled(self) -> bool:
        """Whether a signal ended it."""
        return self.status is not None and self.status < 0

    def __str__(self) -> str:
        if self.status is None:
            return "still running"
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"signal {signal.Signals(-self.status).name}"
        except ValueError:
            return f"signal {-self.status}"


class Listener(Protocol):
    """Whom a script's output goes to."""

    def stdout_received(self, data: bytes) -> None:
        """Some of what it printed."""

    def stderr_received(self, data: bytes) -> None:
        """Some of what it complained."""

    def stdin_full(self, full: bool) -> None:
        """True: it reads slower than the body arrives. False: it wants more."""

    def stdout_closed(self) -> None:
        """There will be no more of what it prints, but it has not exited."""

    def script_ended(self, ending: Ending) -> None:
        """There will be no more output. Called once, and not after cut()."""


class ScriptProcess:
    """Runs one command.

    :param stdin: a descriptor to hand over as its stdin, which the caller keeps and closes; None makes a pipe.
    :param grace: seconds from SIGTERM to SIGKILL.
    :param background: let what it leaves behind live.
    :param gone: called once, in a later turn, when nothing of it is left.
    :raises ScriptStartError: nothing runs.
    """

    def __init__(
        self,
        reactor: Any,
        command: Command,
        listener: Listener,
        *,
        stdin: int | None,
        grace: float,
        background: bool,
        gone: Callable[[], None],
        start: Start = start_child,
    ) -> None:
        self._reactor = reactor
        self._listener = listener
        self._grace = grace
        self._background = background
        self._cut = False
        self._ended = False
        self._reaped = False
        self._status: int | None = None
        self._stdout_over = False
        self._patience: Any = None  # the call that ends the wait for the exit
        self._kill_at = 0.0  # when SIGKILL follows SIGTERM; 0 until there was a SIGTERM
        self._kill_call: Any = None
        self._gone = gone
        self.is_gone = False
        self.moved_at: float = reactor.seconds()  # when an octet last moved
        self._child, ours_in, ours_out, ours_err = _start(command, stdin, start)
        self.stdin = None if ours_in is None else InputPipe(reactor, ours_in, listener.stdin_full, self.touch)
        self._stdout = OutputPipe(reactor, ours_out, self._printed, self._output_over)
        self._stderr = OutputPipe(reactor, ours_err, listener.stderr_received, _nothing)
        self._child.watch(reactor, self._exited)

    @property
    def pid(self) -> int:
        """The script's process id and process group; 0 while it is not known, and when nothing ran."""
        return self._child.pid

    @property
    def output_is_whole(self) -> bool:
        """Whether what it printed last is the last."""
        return self._stdout.at_end

    def known(self, call: Callable[[int], None]) -> None:
        """Call with the process id, at once or once there is one."""
        self._child.known(call)

    def pause(self) -> None:
        """Read no more of its output for now."""
        self._stdout.pause()

    def resume(self) -> None:
        """Read on."""
        self.touch()
        self._stdout.resume()

    def cut(self) -> None:
        """End it: the ladder. No more output is delivered."""
        if self._cut:
            return
        self._cut = True
        self._ended = True
        self._forget_patience()
        self._stdout.close()
        if self.stdin is not None:
            self.stdin.close()
        if not self.is_gone:
            self._signal(signal.SIGTERM)
            self._allow_grace()

    def touch(self) -> None:
        """Something moved, or need not."""
        self.moved_at = self._reactor.seconds()

    def _printed(self, data: bytes) -> None:
        self.touch()
        self._listener.stdout_received(data)

    def _output_over(self) -> None:
        self._stdout_over = True
        if not self._reaped:
            self._child.look()  # most have exited by now: then that ended it
        if self._reaped:
            self._end()
        elif not self._ended:
            self._listener.stdout_closed()
            if not self._ended:
                self._patience = self._reactor.callLater(EXIT_AFTER_OUTPUT, self._runs_on)

    def _runs_on(self) -> None:
        self._patience = None
        self._end()

    def _end(self) -> None:
        self._forget_patience()
        if not self._ended:
            self._ended = True
            self._listener.script_ended(Ending(self._status))

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _exited(self) -> None:
        # The child is not reaped yet: its number is still its own, and so is its group's.
        if not self._background or self._cut:
            self._signal(signal.SIGTERM)
        self._status = self._child.poll()
        self._reaped = True
        if self.stdin is not None:
            self.stdin.close()
        self._stderr.script_exited()
        if self._stdout_over:
            self._end()
        else:
            self._stdout.script_exited()
        self._look_for_rest()

    def _allow_grace(self) -> None:
        if not self._kill_at:
            self._kill_at = self._reactor.seconds() + self._grace
            self._kill_call = self._reactor.callLater(self._grace, self._kill)

    def _kill(self) -> None:
        self._kill_call = None
        log.info(
            "pid {pid} outlived SIGTERM by {grace} s: SIGKILL", event="cgi-killed", pid=self.pid, grace=self._grace
        )
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Signal the script's process group; whether there is anybody in it."""
        if not self.pid:
            return self._child.signal_later(number)
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # What is left changed its user; macOS says so of zombies, too.
            return False
        return True

    def _look_for_rest(self) -> None:
        """After the script itself: see whether anybody of its group is left, and wait for the end of those."""
        if self._background and not self._cut:
            self._vanish()
            return
        if not self.pid:  # nothing ran
            self._vanish()
            return
        if self._signal(0) and self._others_live():
            self._allow_grace()
            self._reactor.callLater(GROUP_POLL, self._wait_for_rest)
        else:
            self._vanish()

    def _others_live(self) -> bool:
        """Whether anybody is left in its group once those that have ended are reaped: orphans are our children."""
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_PGID, self.pid, os.WEXITED | os.WNOHANG) is not None:
                pass
        return self._signal(0)

    def _wait_for_rest(self) -> None:
        """SIGKILL comes when their grace is over; the number of a group is not used anew while one of it lives."""
        if group_lives(self.pid) and self._reactor.seconds() < self._kill_at + KILLED_LINGER:
            self._look_for_rest()
        else:
            self._vanish()

    def _vanish(self) -> None:
        self.is_gone = True
        if self._kill_call is not None:
            self._kill_call.cancel()
            self._kill_call = None
        self._stderr.close()
        self._gone()


def _nothing() -> None:
    """The end of stderr ends nothing."""


def _start(command: Command, stdin: int | None, start: Start) -> tuple[Child, int | None, int, int]:
    """Make the pipes and the child; close the child's ends, and on failure all of them."""
    ours: list[int] = []
    theirs: list[int] = []
    try:
        if stdin is None:
            reading, writing = os.pipe()
            theirs.append(reading)
            ours.append(writing)
            stdin, our_stdin = reading, writing
        else:
            our_stdin = None
        for _ in ("stdout", "stderr"):
            reading, writing = os.pipe()
            ours.append(reading)
            theirs.append(writing)
        child = start(command, stdin, theirs[-2], theirs[-1])
    except (OSError, ScriptStartError) as error:
        for descriptor in ours:
            os.close(descriptor)
        if isinstance(error, OSError):
            raise ScriptStartError(f"the machine has no room for another pipe: {error.strerror}", 503) from error
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return child, our_stdin, ours[-2], ours[-1]
