"""A runner on the queue that says what it was promised, and writes into a file what it sends.

    python -m benchmarks.postgres_deaths.child CONNINFO SINK NAME COUNT LEASE_TIMEOUT

It accepts COUNT messages in groups, delivers what is due, and ends when nothing is; with COUNT 0 it accepts some now
and then until SIGUSR1, and ends when its input does. On its output: ``accepted ID DIGEST``, ``refused``, ``end``. In
the file, one line each: ``begin ID/PARCEL PID TIME``, and ``taken ID/PARCEL PID TIME DIGEST`` or
``cut ID/PARCEL PID TIME``.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
import time
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from netsvc.config.secrets import Secret
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Pace
from netsvc.outbox.model import Lease, OutboxError, Outcome, Submission
from netsvc.outbox.postgres_store import PostgresStore
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits, Runner
from tests.fakes import FakeMetrics

GROUP = 6  # messages that are handed in at the same time
SENDING = 0.015  # seconds that an attempt takes
PACE = 0.1  # seconds between two groups of one that goes on

reactor: Any = installed


def say(descriptor: int, *words: str) -> None:
    """One whole line, at once."""
    os.write(descriptor, (" ".join(words) + "\n").encode())


def digest(content: bytes) -> str:
    """What a message is known by."""
    return hashlib.sha256(content).hexdigest()


class Child:
    """The life of the process."""

    def __init__(self, conninfo: str, sink: str, name: str, lease_timeout: float) -> None:
        self._name = name
        self._sink = os.open(sink, os.O_WRONLY | os.O_APPEND)
        self._number = 0
        self.under_way = 0
        custody = Custody(retry=RetryPolicy(first=0.5, longest=1.0))
        self.runner = Runner(
            queue=name,
            reactor=reactor,
            open_store=lambda: PostgresStore.open(
                Secret("literal", conninfo),
                queue="deaths",
                schema="deaths",
                call_from_thread=reactor.callFromThread,
                custody=custody,
                lease_timeout=lease_timeout,
                allow_volatile=True,
            ),
            deliver=self._deliver,
            custody=custody,
            metrics=FakeMetrics(),
            random=random.SystemRandom().random,
            limits=Limits(concurrency=8, drain_timeout=2.0, pace=Pace(concurrency=8)),
        )

    def _deliver(self, lease: Lease, content: bytes) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._send(lease, content))

    async def _send(self, lease: Lease, content: bytes) -> list[Outcome]:
        what = f"{lease.item.queue_id}/{lease.parcel}"
        self.under_way += 1
        say(self._sink, "begin", what, str(os.getpid()), f"{time.monotonic():.6f}")
        try:
            await deferLater(reactor, SENDING)
            say(self._sink, "taken", what, str(os.getpid()), f"{time.monotonic():.6f}", digest(content))
        except BaseException:
            say(self._sink, "cut", what, str(os.getpid()), f"{time.monotonic():.6f}")
            raise
        finally:
            self.under_way -= 1
        return [Outcome(target=one.address, result="delivered") for one in lease.targets]

    async def accept(self) -> None:
        """Hand one in; what is not taken is only refused."""
        self._number += 1
        content = f"{self._name} {self._number} ".encode() * 300
        ways = ("x", "y") if self._number % 3 else ("x", "x")  # of two ways are two parcels, which all may claim
        item = Submission(submitter="uid:1", sender="a@x", targets=("b@x", "c@y"), destinations=ways, content=content)
        try:
            accepted = await self.runner.accept(item)
        except OutboxError:
            say(1, "refused")
        else:
            say(1, "accepted", accepted.queue_id, digest(content))

    async def some(self, count: int) -> None:
        """Hand so many in, and wait until nothing is under way."""
        for _ in range(0, count, GROUP):
            await DeferredList([Deferred.fromCoroutine(self.accept()) for _ in range(GROUP)])
        while self.under_way:
            await deferLater(reactor, SENDING)

    async def many(self) -> None:
        """Hand in one after the other until a signal, and end with the input."""
        ended, silent = threading.Event(), threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: silent.set())

        def wait() -> None:
            sys.stdin.read()
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        while not ended.is_set():
            if not silent.is_set():
                await DeferredList([Deferred.fromCoroutine(self.accept()) for _ in range(GROUP)])
            await deferLater(reactor, PACE)


async def live(child: Child, count: int) -> None:
    """From the start of the runner to its end."""
    child.runner.startService()
    await (child.some(count) if count else child.many())
    await child.runner.stopService()
    say(1, "end")
    reactor.stop()


def main(conninfo: str, sink: str, name: str, count: str, lease_timeout: str) -> None:
    """Run until the end."""
    child = Child(conninfo, sink, name, float(lease_timeout))
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(live(child, int(count))).addErrback(fault))
    reactor.run()


def fault(failure: Any) -> None:
    """What should not be."""
    failure.printTraceback()
    os._exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
