"""One agent as the daemon has it: a child process, a socket, and the attempts that it was asked for.

What it was asked for before it was ready, it has certainly not begun. What it has when it dies is unknown.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.interfaces import IRuntime
from netsvc.net.environment import clean_environment
from netsvc.net.fast_pass import fast_pass
from netsvc.net.fast_write import fast_write
from netsvc.outbox.model import Lease, Outcome, Result
from netsvc.services.smtp_client.agents import events, wire

MODULE = "netsvc.services.smtp_client.agents.program"
START_LIMIT = 30.0  # seconds until an agent that is not ready is taken for hung
STOP_LIMIT = 5.0  # seconds that it has to say what came of an attempt that was cut
MISSED = 2  # looks in a row; more than one, as the daemon may have slept between two
QUIT_LIMIT = 5.0  # seconds that it has to say goodbye to the servers to which it keeps connections

log = Logger()

Answer = tuple[tuple[Outcome, ...], Collection[str]]  # outcomes, and who is notified by the next server


class Handed(Deferred[Answer]):
    """What comes of an attempt that an agent makes.

    To cancel it only asks the agent to cut it short: what came of it then is still heard, or unknown after a time.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        super().__init__()
        self._cut = cut

    def cancel(self) -> None:
        """Ask the agent to end the attempt."""
        if not self.called:
            self._cut()


@define(eq=False)
class _Asked:
    """An attempt."""

    lease: Lease
    content: bytes
    handed: Handed
    cut: bool = False


class Agent(Protocol):
    """An agent, from its start on.

    :param settings: a section's, which are pickled for it.
    :param refused: called once if it ends before it is ready, with what it was asked for: it has begun none of it.
    :param lost: called once when no more can be asked of it.
    """

    def __init__(
        self,
        settings: object,
        runtime: IRuntime,
        *,
        refused: Callable[[Lease, bytes, Handed], None],
        lost: Callable[[Agent], None],
    ) -> None:
        self._runtime = runtime
        self._refused = refused
        self._lost = lost
        self._frames = wire.Frames(wire.MAX_REPORT)
        self._asked: dict[int, _Asked] = {}
        self._last = 0
        self._limit: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._looks = 0  # that it has not answered
        self._gone: list[Deferred[None]] = []
        self._saying: list[bytes] = []
        self.ready = False
        self.ended = False
        self._start(settings)

    @property
    def busy(self) -> int:
        """How many attempts it has."""
        return len(self._asked)

    def attempt(self, lease: Lease, content: bytes) -> Handed:
        """Have an attempt made."""
        self._last += 1
        number = self._last
        handed = Handed(lambda: self._cut(number))
        asked = self._asked[number] = _Asked(lease, content, handed)
        if self.ready:
            self._hand_over(number, asked)
        return handed

    def look(self) -> None:
        """Ask whether it is alive; called now and then, and one that has missed two of these is killed."""
        if not self.ready or self._gone or self.ended:
            return
        if self._looks == MISSED:
            self._kill()
        else:
            self._looks += 1
            self._say(wire.frame(wire.LOOK, None))

    def quit(self) -> Deferred[None]:
        """Ask it to end; fires when it has."""
        gone: Deferred[None] = Deferred()
        if self.ended:
            gone.callback(None)
            return gone
        self._gone.append(gone)
        self._say(wire.frame(wire.QUIT, None))
        self._limit_to(QUIT_LIMIT)
        return gone

    # The process

    def _start(self, settings: object) -> None:
        reactor: Any = self._runtime.reactor
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            # It finds its modules where we do, and nowhere else; not in the directory that we happen to be in (-P).
            environment = {**clean_environment(os.environ), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,  # a signal of the terminal is for the daemon
            )
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: self))
        where = (self._runtime.name, str(self._runtime.state_directory))
        self._say(wire.frame(wire.SETTINGS, where, pickle.dumps(settings)))
        self._limit_to(START_LIMIT)

    def _limit_to(self, seconds: float) -> None:
        self._no_limit()
        self._limit = self._runtime.reactor.callLater(seconds, self._kill)

    def _no_limit(self) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None

    def _kill(self) -> None:
        """It does not answer. The end of its socket follows."""
        log.error("{queue}: a delivery agent hangs, and is killed", event="agent-hung", queue=self._runtime.name)
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    # The socket

    def dataReceived(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._take(frame)
        except wire.BrokenFrameError as error:
            log.error(
                "{queue}: a delivery agent says {reason}, and is killed",
                event="agent-broken",
                queue=self._runtime.name,
                reason=str(error),
            )
            self._end()
            assert self.transport is not None  # noqa: S101 - it brought the data
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, _: Failure = connectionDone) -> None:
        self.ended = True
        self._no_limit()
        self._end()  # whatever the reason: who is not heard shall not deliver
        process, self._process = self._process, None
        if process is not None:
            self._runtime.in_thread(process.wait)
        if self._asked and self.ready:
            log.error(
                "{queue}: a delivery agent died; the results of {count} attempts are unknown",
                event="agent-died",
                queue=self._runtime.name,
                count=len(self._asked),
            )
        asked, self._asked = self._asked, {}
        self._lost(self)
        for one in asked.values():
            if self.ready:
                text = "the delivery agent died in the attempt"
                one.handed.callback((_each(one.lease, "ambiguous", text), ()))
            else:
                self._refused(one.lease, one.content, one.handed)
        for gone in self._gone:
            gone.callback(None)

    def _take(self, frame: wire.Frame) -> None:
        match frame.kind:
            case wire.OUTCOMES:
                number, outcomes, notified = wire.read_outcomes(frame.head)
                asked = self._asked.pop(number, None)
                if asked is not None:
                    if not self._gone and not any(one.cut for one in self._asked.values()):
                        self._no_limit()
                    asked.handed.callback((outcomes, notified))
            case wire.LOG:
                events.tell(frame.head)
            case wire.LOOK:
                self._looks = 0
            case wire.READY:
                self.ready = True
                self._no_limit()
                for number, one in self._asked.items():
                    self._hand_over(number, one)
            case _:
                raise wire.BrokenFrameError(f"a frame of the kind {frame.kind}")

    def _hand_over(self, number: int, asked: _Asked) -> None:
        content, asked.content = asked.content, b""  # it is the agent's now
        if len(content) >= wire.LARGE:
            self._flush()  # what was said before comes before
            if fast_pass(self.transport, wire.large_attempt(number, asked.lease), content):
                return
        self._say(wire.attempt(number, asked.lease, content))

    def _cut(self, number: int) -> None:
        asked = self._asked.get(number)
        if asked is None or asked.cut:
            return
        asked.cut = True
        if not self.ready:
            del self._asked[number]
            text = "not tried: the daemon stopped"
            asked.handed.callback((_each(asked.lease, "retry", text), ()))
            return
        self._say(wire.frame(wire.STOP, number))
        if self._limit is None:
            self._limit_to(STOP_LIMIT)

    def _say(self, octets: bytes) -> None:
        """Send a frame, with those that are said in the same turn of the reactor."""
        if not self._saying:
            self._runtime.reactor.callLater(0, self._flush)
        self._saying.append(octets)

    def _flush(self) -> None:
        saying, self._saying = self._saying, []
        if not self.ended:
            fast_write(self.transport, b"".join(saying))


def _each(lease: Lease, result: Result, text: str) -> tuple[Outcome, ...]:
    """The same for every recipient of an attempt."""
    return tuple(Outcome(target=one.address, result=result, text=text) for one in lease.targets)
