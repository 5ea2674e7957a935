"""The runner: takes submissions into the store, claims what is due, has it delivered, records what came of it.

It knows no protocol: `deliver` is given a lease and the content, and answers with an outcome for each target. Whatever
`deliver` does, every attempt ends in the ledger: an exception, a missing outcome or a cut at the end of a drain is an
unknown result. An outcome that the store cannot write is kept and written again until it can.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger, LogLevel

from netsvc.interfaces import IMetrics
from netsvc.outbox.custody import Custody, unknown
from netsvc.outbox.model import (
    Accepted,
    DamagedError,
    Lease,
    LeaseLostError,
    OutboxError,
    Outcome,
    Settlement,
    StoreFailedError,
    Submission,
)
from netsvc.outbox.retry import DAY, HOUR
from netsvc.outbox.sqlite_database import PURGE_AT_ONCE
from netsvc.outbox.store import IOutboxStore

T = TypeVar("T")

Deliver = Callable[[Lease, bytes], Deferred[Iterable[Outcome]]]

LONGEST_SLEEP = 60.0  # seconds: after a jump of the clock what is due is found within a minute
STORE_PAUSE = 5.0  # seconds before a store that failed is asked again; a full disk does not empty in less
MAX_STORE_PAUSE = 60.0  # seconds; outcomes wait in memory meanwhile

# What a person should see of a target's new state, and how loudly.
_LEVELS = {
    "delivered": (LogLevel.info, "outbox-delivered", "{queue_id} to {target} delivered: {reason}"),
    "waiting": (LogLevel.info, "outbox-deferred", "{queue_id} to {target} deferred: {reason}"),
    "unknown": (LogLevel.warn, "outbox-ambiguous", "{queue_id} to {target} deferred, its result is unknown: {reason}"),
    "ambiguous": (LogLevel.warn, "outbox-held", "{queue_id} to {target} held, its result is unknown: {reason}"),
    "bounced": (LogLevel.error, "outbox-bounced", "{queue_id} from {sender} to {target} bounced: {reason}"),
    "expired": (LogLevel.error, "outbox-expired", "{queue_id} from {sender} to {target} given up: {reason}"),
}


@frozen(kw_only=True)
class Limits:
    """How much at once, how long.

    :param concurrency: attempts at the same time.
    :param octets: content in memory at the same time; one larger item still goes, alone.
    :param drain_timeout: seconds that attempts have to finish when the runner stops.
    :param keep: seconds that finished items stay in the store.
    """

    concurrency: int = 20
    octets: int = 256 << 20
    drain_timeout: float = 30.0
    keep: float = 30 * DAY


@frozen(eq=False)
class _Flight:
    """One attempt under way; `delivery` is what may be cut at the end of a drain."""

    lease: Lease
    delivery: list[Deferred[Any]] = field(factory=list)


class Runner(Service):
    """Runs one outbox.

    :param queue: its name, for logs and metrics.
    :param reactor: the clock for waiting; what is stored goes by `wall_clock`.
    :param open_store: opens the store when the runner starts, and may raise StartError; the runner closes it.
    :param deliver: makes one attempt at a lease's targets; best if its Deferred never fails.
    :param random: gives floats in [0, 1), for the jitter.
    """

    def __init__(
        self,
        *,
        queue: str,
        reactor: IReactorTime,
        open_store: Callable[[], IOutboxStore],
        deliver: Deliver,
        custody: Custody,
        metrics: IMetrics,
        random: Callable[[], float],
        limits: Limits,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.queue = queue
        self._open_store = open_store
        self._store: IOutboxStore | None = None
        self._reactor: Any = reactor
        self._deliver = deliver
        self._custody = custody
        self._random = random
        self._limits = limits
        self._now = wall_clock
        self._owner = f"{os.uname().nodename}:{os.getpid()}:{int(random() * (1 << 30)):08x}"
        self._log = Logger(namespace=__name__)
        self._accepted = metrics.counter("outbox_accepted", "Targets taken into custody.", ("queue",))
        self._repeated = metrics.counter("outbox_repeated", "Submissions whose idempotency key was known.", ("queue",))
        self._attempts = metrics.counter("outbox_attempts", "Results of attempts, by target.", ("queue", "result"))
        self._finished = metrics.counter("outbox_finished", "Targets that stopped waiting.", ("queue", "state"))
        self._in_flight = metrics.gauge("outbox_in_flight", "Attempts under way.", ("queue",))
        self._faults = metrics.counter("outbox_store_faults", "Times that the store could not be used.", ("queue",))
        self._flights: set[_Flight] = set()
        self._tasks: set[Deferred[Any]] = set()
        self._pauses: set[Deferred[Any]] = set()
        self._claiming = False
        self._again = False
        self._timer: Any = None
        self._cut = False
        self._purge = LoopingCall(self._forget_old)
        self._purge.clock = reactor

    @property
    def store(self) -> IOutboxStore:
        """The store, while the runner runs.

        :raises StoreFailedError: it does not.
        """
        if self._store is None:
            raise StoreFailedError("the queue is not open")
        return self._store

    # Ways in

    def accept(self, submission: Submission) -> Deferred[Accepted]:
        """Take custody; fires when the submission is on the disk.

        :raises OutboxError: (as a failure) it was not taken, and nothing of it is kept.
        """

        async def accept() -> Accepted:
            accepted = await self.store.accept(submission, self._now())
            if accepted.repeated:
                self._repeated.inc(queue=self.queue)
            else:
                self._accepted.inc(len(submission.targets), queue=self.queue)
                self.wake()
            return accepted

        return Deferred.fromCoroutine(accept())

    def wake(self) -> None:
        """Something may be due: look now."""
        if self._claiming:
            self._again = True
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.running and self._room():
            self._claiming = True
            self._run(self._claim())

    # Service

    def startService(self) -> None:
        """Open the store and begin to deliver.

        :raises StartError: the store cannot be opened.
        """
        self._store = self._open_store()
        super().startService()  # type: ignore[no-untyped-call]
        self._cut = False
        self._purge.start(HOUR, now=True)
        self.wake()

    def stopService(self) -> Deferred[None]:
        """Claim nothing more, let attempts finish within the drain time, cut the rest, and close the store."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._purge.running:
            self._purge.stop()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        cut = self._reactor.callLater(self._limits.drain_timeout, self._cut_short)
        while self._tasks:
            await DeferredList(list(self._tasks))
        if cut.active():
            cut.cancel()
        if self._store is not None:
            store, self._store = self._store, None
            await store.close()

    def _cut_short(self) -> None:
        self._cut = True
        if self._flights:
            self._log.warn(
                "{queue}: {count} attempts cut at the end of the drain",
                event="outbox-drain-cut",
                queue=self.queue,
                count=len(self._flights),
            )
        waiting = [one for flight in self._flights for one in flight.delivery]
        for one in (*waiting, *self._pauses):
            one.cancel()

    # Claims

    def _room(self) -> int:
        """Octets that may still be claimed; 0 when nothing may."""
        if len(self._flights) >= self._limits.concurrency:
            return 0
        return max(0, self._limits.octets - sum(one.lease.item.size for one in self._flights))

    async def _claim(self) -> None:
        wait: float | None = None
        try:
            while self.running and (room := self._room()):
                self._again = False
                free = self._limits.concurrency - len(self._flights)
                leases = await self.store.claim(self._owner, free, room, self._now())
                for lease in leases:
                    self._begin(lease)
                if not leases and not self._again:
                    now = self._now()
                    due = await self.store.next_due(now)
                    wait = None if due is None else due - now
                    if not self._again:
                        break
        except OutboxError as error:
            self._complain(error)
            wait = STORE_PAUSE
        except Exception:  # noqa: BLE001 - the queue must go on
            self._log.failure("{queue}: a fault in a claim", event="outbox-fault", queue=self.queue)
            wait = STORE_PAUSE
        finally:
            self._claiming = False
        if self.running and self._room():
            # Looked at again now and then, even when nothing waits: only the wall clock knows of its jumps.
            self._timer = self._reactor.callLater(
                LONGEST_SLEEP if wait is None else min(max(wait, 0.0), LONGEST_SLEEP), self._look
            )

    def _look(self) -> None:
        self._timer = None
        self.wake()

    def _begin(self, lease: Lease) -> None:
        flight = _Flight(lease)
        self._flights.add(flight)
        self._in_flight.set(len(self._flights), queue=self.queue)
        self._run(self._attempt(flight))

    # Attempts

    async def _attempt(self, flight: _Flight) -> None:
        lease = flight.lease
        try:
            outcomes = await self._outcomes(flight) if self.running else None
            now = self._now()
            if outcomes is None:
                await self._insist(lambda: self.store.release(lease))
                return
            settlement = self._custody.settle(lease, outcomes, now=now, random=self._random)
            if await self._insist(lambda: self.store.settle(lease, settlement, now)):
                self._tell(lease, settlement)
        finally:
            self._flights.discard(flight)
            self._in_flight.set(len(self._flights), queue=self.queue)
            self.wake()

    async def _outcomes(self, flight: _Flight) -> Iterable[Outcome] | None:
        """The outcomes of one attempt; None when the content could not be read, so that none was made."""
        lease = flight.lease
        try:
            content = await self.store.content(lease.item.queue_id)
        except DamagedError as error:
            return [Outcome(target=one.address, result="permanent", text=str(error)) for one in lease.targets]
        except OutboxError as error:
            self._complain(error)
            await self._pause(STORE_PAUSE)
            return None
        delivery = maybeDeferred(self._deliver, lease, content)
        del content
        flight.delivery.append(delivery)
        try:
            return tuple(await delivery)
        except CancelledError:
            reason = "the daemon stopped during the attempt"
        except Exception:  # noqa: BLE001 - one attempt's fault must not become the queue's
            self._log.failure(
                "{queue}: the delivery of {queue_id} broke",
                event="outbox-delivery-fault",
                queue=self.queue,
                queue_id=lease.item.queue_id,
            )
            reason = "a fault of our own broke the attempt"
        finally:
            flight.delivery.clear()
        return [unknown(one.address, reason) for one in lease.targets]

    async def _insist(self, write: Callable[[], Deferred[None]]) -> bool:
        """Write until it is written; False when it cannot be: the lease is lost, or the drain is over."""
        pause = STORE_PAUSE
        while True:
            try:
                await write()
            except LeaseLostError as error:
                self._log.error("{queue}: {reason}", event="outbox-lease-lost", queue=self.queue, reason=str(error))
                return False
            except OutboxError as error:
                self._complain(error)
                if self._cut:
                    return False  # the lease stays in the store; the next start finds it and calls the result unknown
                await self._pause(pause)
                pause = min(2 * pause, MAX_STORE_PAUSE)
            else:
                return True

    def _tell(self, lease: Lease, settlement: Settlement) -> None:
        for outcome, state in settlement.outcomes:
            is_unknown = state == "waiting" and outcome.result == "ambiguous"
            level, event, line = _LEVELS["unknown" if is_unknown else state]
            self._attempts.inc(queue=self.queue, result=outcome.result)
            if state != "waiting":
                self._finished.inc(queue=self.queue, state=state)
            self._log.emit(
                level,
                line,
                event=event,
                queue=self.queue,
                queue_id=lease.item.queue_id,
                sender=lease.item.sender,
                target=outcome.target,
                result=outcome.result,
                reason=outcome.reason,
                code=outcome.code,
                enhanced=outcome.enhanced,
                via=outcome.via,
                attempt=lease.item.attempts + 1,
                next_at=settlement.next_at if state == "waiting" else None,
            )

    # The rest

    async def _forget(self) -> None:
        try:
            while self.running and await self.store.purge(self._now() - self._limits.keep) == PURGE_AT_ONCE:
                pass
        except OutboxError as error:
            self._complain(error)

    def _forget_old(self) -> None:
        self._run(self._forget())

    def _complain(self, error: OutboxError) -> None:
        self._faults.inc(queue=self.queue)
        self._log.error("{queue}: {reason}", event="outbox-store-fault", queue=self.queue, reason=str(error))

    async def _pause(self, seconds: float) -> None:
        if self._cut:
            return
        pause: Deferred[None] = deferLater(self._reactor, seconds)
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            pass  # the drain is over: go on at once
        finally:
            self._pauses.discard(pause)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task of ours; the drain waits for it."""
        task = Deferred.fromCoroutine(coroutine)
        self._tasks.add(task)

        def ended(result: Any) -> None:
            self._tasks.discard(task)
            if result is not None:
                self._log.failure("{queue}: a fault", result, event="outbox-fault", queue=self.queue)

        task.addBoth(ended)
