"""Ends what scripts leave behind in sessions of their own, and reaps it: no orphans, no zombies.

A script's process group is ended by :mod:`.process`. What called setsid() or forked twice is not in it. So this process
becomes the one that inherits orphans (a subreaper, prctl(2)), and after the end of runs it looks at those of its
children that nobody here has started. A run's own variable, UNIQUE_ID, tells whose they are. One that has no such
variable was started with another environment: it belongs to one of the scripts that ran when it was first seen, and
ends when the last of those has ended. Each gets SIGTERM, with all below it, then SIGKILL.

Only what is certainly no other part's child is touched: a process of the daemon's own session is not, nor one that
Twisted or a subprocess.Popen will reap.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
from typing import Any
from weakref import WeakKeyDictionary

from attrs import define, field
from twisted.internet import process as twisted_process
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netsvc.services.http.cgi import environment, procfs

log = Logger()

MARK = environment.MARK.encode()  # the variable that tells a run's processes from all others
SWEEP = 0.25  # seconds from the end of a run to the look at what it left behind
CHASE = 0.02  # seconds between looks while something is dying
ROUNDS = 16  # looks in one go at what was forked while its parent was killed
UNCLAIMED = 1.0  # seconds that a zombie waits for whoever may have started it: a warm one may not be known yet
LINGER = 2.0  # seconds that killed processes have to disappear before nobody waits for them any more


@define
class _Run:
    background: bool
    grace: float


@define(eq=False)
class _Left:
    """One process that a run has left behind, and all below it.

    :param mark: of the run.
    :param kill_at: when SIGKILL follows SIGTERM.
    :param sessions: those of all its processes.
    :param killed: what got SIGKILL.
    """

    mark: bytes
    kill_at: float
    sessions: set[int] = field(factory=set)
    killed: set[int] = field(factory=set)
    given_up: bool = False


class Remains:
    """What the scripts of all engines on one reactor leave behind.

    :param reactor: an IReactorTime.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._inherits: bool | None = None  # whether orphans become ours; None: not tried yet
        self._session = os.getsid(0)
        self._scripts: dict[int, bytes] = {}  # pid -> mark of what runs
        self._claimed: set[int] = set()
        self._running: dict[bytes, list[_Run]] = {}
        self._ended: dict[bytes, _Run] = {}  # since the last look
        self._groups: dict[int, bytes] = {}  # process groups, which are sessions, of the same
        self._suspects: dict[int, dict[bytes, _Run]] = {}  # unmarked: pid -> whose it may be
        self._left: dict[int, _Left] = {}
        self._zombies: dict[int, float] = {}  # pid -> when first seen
        self._spared: set[int] = set()  # other parts' children, as far as we know
        self._doubtful: set[int] = set()  # seems to be nobody's: within execve(2) a process has no environment
        self._doubt = False  # one such was seen for the first time, in this look
        self._call: Any = None
        self._waiting: list[Deferred[None]] = []

    def claim(self, pid: int) -> None:
        """Leave a child alone: somebody here started it and will reap it."""
        self._claimed.add(pid)

    def release(self, pid: int) -> None:
        """It is reaped."""
        self._claimed.discard(pid)

    def begin(self, mark: bytes, pid: int, *, background: bool, grace: float) -> None:
        """A script runs.

        :param mark: the value of the variable MARK in its environment.
        :param pid: its process, 0 while it is not known: see identify.
        :param background: what it leaves behind may live.
        :param grace: seconds from SIGTERM to SIGKILL.
        """
        if self._inherits is None:
            self._inherits = procfs.become_subreaper()
            if not self._inherits:
                log.warn(
                    "processes that scripts leave behind in sessions of their own are found by their environment only",
                    event="cgi-no-subreaper",
                )
        if pid:
            self._scripts[pid] = mark
        self._running.setdefault(mark, []).append(_Run(background, grace))

    def identify(self, mark: bytes, pid: int) -> None:
        """A script that began without one has a process now."""
        self._scripts[pid] = mark

    def end(self, mark: bytes, pid: int) -> None:
        """It is gone, and so is its process group. It never had a process when that is 0."""
        self._scripts.pop(pid, None)
        runs = self._running[mark]
        run = runs.pop()
        if runs:
            return
        del self._running[mark]
        if not run.background:
            self._ended[mark] = run
            self._groups[pid] = mark
            self._look_after(SWEEP)

    def settle(self) -> Deferred[None]:
        """Look at once; fires when nothing is left of runs that have ended, or it does not even die of SIGKILL."""
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        self._cancel()
        self._look()
        return done

    # Looking

    def _look_after(self, seconds: float) -> None:
        if self._call is None:
            self._call = self._reactor.callLater(seconds, self._look)

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _look(self) -> None:
        self._call = None
        self._doubt = False
        for _ in range(ROUNDS):
            if not self._round():
                break
        if self._doubt:  # the next look may find whose it is
            self._look_after(CHASE)
            return
        self._ended.clear()
        self._groups.clear()
        if any(not left.given_up for left in self._left.values()):
            self._look_after(CHASE if self._waiting or self._is_dying() else SWEEP)
        else:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)
            if self._zombies and not waiting:
                self._look_after(UNCLAIMED)

    def _is_dying(self) -> bool:
        now = self._reactor.seconds()
        return any(left.kill_at <= now for left in self._left.values())

    def _round(self) -> bool:
        """One look at all children; whether another one can find more."""
        children, now = self._children(), self._reactor.seconds()
        for known in (self._suspects, self._left, self._zombies):
            for pid in known.keys() - children:
                self._drop(pid)
        self._spared &= children
        self._doubtful &= children
        doomed = tuple(dict.fromkeys(self._left.values()))  # a process can end, and leave others, within the round
        held: set[int] | None = None
        again = False
        for pid in children - self._spared:
            status = procfs.status_of(pid)
            if status is None or status.session == self._session:
                self._spared.add(pid)
                continue
            if pid in self._left:
                again |= self._end(pid) if status.alive else self._bury(pid)
                continue
            if not status.alive and now < self._zombies.setdefault(pid, now) + UNCLAIMED:
                continue  # most are somebody's, who has not heard of it yet
            mark = procfs.variable_of(pid, MARK)
            known_mark = mark is not None and self._is_ours(mark, doomed)
            if not known_mark and pid not in self._suspects and status.session == pid:
                held = _held() if held is None else held
                if pid in held or mark is not None:
                    self._spared.add(pid)
                    continue
            if not status.alive:
                again |= self._bury(pid)
            elif self._is_left(pid, status, mark if known_mark else None, doomed):
                again |= self._end(pid)
        return again

    def _is_ours(self, mark: bytes, doomed: tuple[_Left, ...]) -> bool:
        return mark in self._running or mark in self._ended or any(left.mark == mark for left in doomed)

    def _children(self) -> set[int]:
        """The children that nobody here has started; where they are init's, those with a run's mark."""
        if self._inherits:
            return procfs.children_of(os.getpid()) - self._scripts.keys() - self._claimed
        if not self._ended and not self._left:
            return set()
        doomed = tuple(self._left.values())
        return {
            pid
            for pid in procfs.all_processes()
            if pid not in self._scripts
            and pid not in self._claimed
            and (mark := procfs.variable_of(pid, MARK)) is not None
            and self._is_ours(mark, doomed)
        }

    def _bury(self, pid: int) -> bool:
        """Reap a zombie; whether that was done. Its children are ours from now on."""
        self._drop(pid)
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
        except ChildProcessError:
            return False

    def _drop(self, pid: int) -> None:
        """It is gone. What it leaves in its turn has no time left, and is known by the mark until the look is over."""
        left = self._left.pop(pid, None)
        if left is not None:
            self._ended.setdefault(left.mark, _Run(background=False, grace=0.0))
        self._suspects.pop(pid, None)
        self._zombies.pop(pid, None)

    def _is_left(self, pid: int, status: procfs.Status, mark: bytes | None, doomed: tuple[_Left, ...]) -> bool:
        """Whether a process has outlived its run; then it is one of `_left` from now on."""
        if mark in self._running or status.session in self._scripts:
            return False
        kin = next((left for left in doomed if left.mark == mark or status.session in left.sessions), None)
        if kin is not None:
            self._left[pid] = kin
            return True
        if mark is None:
            mark = self._groups.get(status.session)
        run = None if mark is None else self._ended.get(mark)
        if mark is None or run is None:
            may_be = self._suspects.setdefault(pid, self._present())
            if not may_be or any(one.background for one in may_be.values()):
                if pid in self._doubtful and not self._doubt:
                    self._spared.add(pid)
                elif pid not in self._doubtful:
                    self._doubtful.add(pid)
                    self._doubt = True
                return False
            if not may_be.keys().isdisjoint(self._running):
                return False
            mark, run = max(may_be.items(), key=lambda item: item[1].grace)
        self._left[pid] = left = _Left(mark, self._reactor.seconds() + run.grace)
        log.info("pid {pid} was left behind by a script: SIGTERM", event="cgi-left-behind", pid=pid)
        for one in self._tree(pid, left):
            _signal(one, signal.SIGTERM)
        return True

    def _present(self) -> dict[bytes, _Run]:
        """The runs that a process may belong to that was not there at the last look."""
        return {**self._ended, **{mark: runs[-1] for mark, runs in self._running.items()}}

    @staticmethod
    def _tree(pid: int, left: _Left) -> list[int]:
        tree = procfs.tree_of(pid)
        left.sessions.update(status.session for status in map(procfs.status_of, tree) if status is not None)
        return tree

    def _end(self, pid: int) -> bool:
        """SIGKILL for one whose grace is over, and all below it; whether that found somebody new."""
        left, now = self._left[pid], self._reactor.seconds()
        if now < left.kill_at:
            return False
        if not left.given_up and now >= left.kill_at + LINGER:
            left.given_up = True
            log.error("pid {pid} was left behind by a script and cannot be ended", event="cgi-unkillable", pid=pid)
        tree = self._tree(pid, left)
        for one in tree:
            _signal(one, signal.SIGKILL)
        again = not left.killed.issuperset(tree)
        left.killed.update(tree)
        return again


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _held() -> set[int]:
    """The children that Twisted or a subprocess.Popen will reap. Slow: it looks at every object."""
    found: set[int] = set(twisted_process.reapProcessHandlers)
    found.update(one.pid for one in gc.get_objects() if isinstance(one, subprocess.Popen) and one.returncode is None)
    return found


_REMAINS: WeakKeyDictionary[Any, Remains] = WeakKeyDictionary()


def remains_of(reactor: Any) -> Remains:
    """The one that all engines on a reactor share: children and their inheritance are the process's."""
    found = _REMAINS.get(reactor)
    if found is None:
        found = _REMAINS[reactor] = Remains(reactor)
    return found
