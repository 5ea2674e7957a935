"""The runner: takes submissions into the store, claims what is due, has it delivered, records what came of it.

It knows no protocol: `deliver` is given a lease and the content, and answers with an outcome for each target.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from netsvc.interfaces import IMetrics
from netsvc.outbox.courier import STORE_PAUSE, Courier, Deliver, Ended, Hands
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Destinations, Pace
from netsvc.outbox.model import (
    Accepted,
    Lease,
    Operated,
    Operation,
    OutboxError,
    Selection,
    StoreFailedError,
    Submission,
)
from netsvc.outbox.recent import Recent
from netsvc.outbox.reports import Reports
from netsvc.outbox.retry import DAY, HOUR
from netsvc.outbox.steps import Settled
from netsvc.outbox.steps_queries import PURGE_AT_ONCE
from netsvc.outbox.store import IOutboxStore

RECENT = 8 << 20  # octets of content that was just accepted, kept until its first attempt
LONGEST_SLEEP = 60.0  # seconds: after a jump of the clock what is due is found within a minute


@frozen(kw_only=True)
class Limits:
    """How much at once, how long.

    :param concurrency: attempts at the same time.
    :param pace: what each destination may take.
    :param octets: content in memory at the same time; one larger item still goes, alone.
    :param drain_timeout: seconds that attempts have to finish when the runner stops.
    :param keep: seconds that finished items stay in the store.
    :param moment: seconds that the first attempt of what was just accepted waits, so that whoever hands in one item
        after the other is served first, and attempts that begin together share a turn of the reactor.
    """

    concurrency: int = 20
    pace: Pace = field(factory=Pace)
    octets: int = 256 << 20
    drain_timeout: float = 30.0
    keep: float = 30 * DAY
    moment: float = 0.0


class Runner(Service):
    """Runs one outbox.

    :param queue: its name, for logs and metrics.
    :param reactor: the clock for waiting; what is stored goes by `wall_clock`.
    :param open_store: opens the store when the runner starts, and may raise StartError; the runner closes it.
    :param deliver: makes one attempt at a lease's targets; best if its Deferred never fails.
    :param random: gives floats in [0, 1), for the jitter.
    :param settled: given a lease, its settlement and the content, what is to be accepted by the same stroke, such as
        bounces. Quick and without effects: it may be asked again for one that was not written.
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
        settled: Settled | None = None,
    ) -> None:
        self.queue = queue
        self._open_store = open_store
        self._store: IOutboxStore | None = None
        self._reactor: Any = reactor
        self._limits = limits
        self._now = wall_clock
        self._owner = f"{os.uname().nodename}:{os.getpid()}:{int(random() * (1 << 30)):08x}"
        self._log = Logger(namespace=__name__)
        self._reports = Reports(queue, metrics, self._log)
        self.destinations = Destinations(limits.pace, reactor.seconds)
        hands = Hands(
            queue=queue,
            owner=self._owner,
            reactor=reactor,
            store=lambda: self.store,
            running=lambda: bool(self.running),
            deliver=deliver,
            custody=custody,
            settled=settled,
            random=random,
            now=wall_clock,
            settling=self._settling,
        )
        self._courier = Courier(hands, self.destinations, self._reports, self._log)
        self._recent = Recent(0 if custody.redact else RECENT, reactor.seconds)
        self._tasks: set[Deferred[Any]] = set()
        self._claiming = False
        self._again = False
        self._idle = False  # nothing is due that might go, and the timer stands for what will be
        self._promised: list[int] = []  # octets of what is being accepted, to be attempted as soon as it is
        self._soon: list[tuple[Lease, bytes]] = []  # of what was promised: accepted, with its lease
        self._begins: Any = None
        self._timer: Any = None
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
        if self._may_go(submission):
            return self._accept_to_go(submission)

        async def accept() -> Accepted:
            accepted = await self.store.accept(submission, self._now())
            self._reports.accepted(submission, accepted)
            self._expect(accepted, submission)
            return accepted

        return Deferred.fromCoroutine(accept())

    def _may_go(self, submission: Submission) -> bool:
        """Whether its first attempt can begin when it is accepted; not where something else is due and waits."""
        destination = submission.destinations[0] if submission.destinations else ""
        return (
            self._idle
            and bool(self.running)
            and self._room() >= len(submission.content)
            and self.destinations.room(destination) > 0
        )

    def _accept_to_go(self, submission: Submission) -> Deferred[Accepted]:
        """Take custody and a lease by one stroke; the attempt, with the content that is at hand, begins when whoever
        handed it in has heard.
        """
        destination = submission.destinations[0] if submission.destinations else ""
        self._promised.append(len(submission.content))
        self.destinations.began(destination)
        told: Deferred[Accepted] = Deferred()

        async def accept() -> None:
            accepted: Accepted | None = None
            try:
                accepted = await self.store.accept(submission, self._now(), self._owner)
            except Exception:  # noqa: BLE001 - it is told to whoever handed it in
                told.errback()
            else:
                self._reports.accepted(submission, accepted)
                told.callback(accepted)
            if accepted is not None and accepted.lease is not None:
                self._begin_soon(accepted.lease, submission.content)
            else:
                self._promised.remove(len(submission.content))
                self.destinations.passed(destination)
                if accepted is not None:
                    self._expect(accepted, submission)

        self._run(accept())  # the drain waits for it: when that begins meanwhile, the lease is to be given back
        return told

    def _begin_soon(self, lease: Lease, content: bytes) -> None:
        self._soon.append((lease, content))
        if not (self.running and self._limits.moment):
            self._begin()
        elif len(self._soon) == 1:
            self._begins = self._reactor.callLater(self._limits.moment, self._begin)

    def _begin(self) -> None:
        """Begin the first attempts of what was accepted; what holds a lease when the drain begins gives it back."""
        if self._begins is not None and self._begins.active():
            self._begins.cancel()
        soon, self._soon = self._soon, []
        for lease, content in soon:
            self._promised.remove(len(content))
            self._run(self._attempt(lease, content, begun=True))

    def _expect(self, accepted: Accepted, submission: Submission) -> None:
        """What was accepted may be due."""
        if not accepted.repeated:
            self._recent.keep(accepted.queue_id, submission.content)
            self.wake()

    def operate(self, operation: Operation, chosen: Selection, operator: str) -> Deferred[Operated]:
        """Do to all that is chosen what an operator asks, step by step; how much that was.

        A flush also tries destinations that are left alone.

        :raises OutboxError: (as a failure) see :meth:`netsvc.outbox.steps_operations.Operations.operate`; what earlier
            steps did stands.
        """

        async def operate() -> Operated:
            step: Operated | None = None
            items = targets = 0
            while step is None or step.after is not None:
                after = chosen.after if step is None else step.after or ""
                step = await self.store.operate(operation, evolve(chosen, after=after), operator, self._now())
                items, targets = items + step.items, targets + step.targets
            whole = Operated(items=items, targets=targets)
            self._reports.operated(operation, operator, whole)
            if operation == "flush":
                self.destinations.open(None if chosen.queue_id or chosen.everything else chosen.domain)
            self.wake()
            return whole

        return Deferred.fromCoroutine(operate())

    def wake(self) -> None:
        """Something may be due: look now."""
        self._idle = False
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
        self._store.watch(self.wake, self._lapse)
        super().startService()  # type: ignore[no-untyped-call]
        self._purge.start(HOUR, now=True)
        self.wake()

    def stopService(self) -> Deferred[None]:
        """Claim nothing more, let attempts finish within the drain time, cut the rest, and close the store."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._begin()
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
        if self._courier.flights:
            self._log.warn(
                "{queue}: {count} attempts cut at the end of the drain",
                event="outbox-drain-cut",
                queue=self.queue,
                count=len(self._courier.flights),
            )
        self._courier.cut(for_good=True)

    def _lapse(self) -> None:
        """The store cannot answer for the leases any longer: another may soon hold them, so the attempts end now."""
        if self._courier.flights:
            self._log.error(
                "{queue}: {count} attempts cut: the store is out of reach, and others may take their leases",
                event="outbox-leases-lapsed",
                queue=self.queue,
                count=len(self._courier.flights),
            )
        self._courier.cut(for_good=False)

    # Claims

    def _room(self) -> int:
        """Octets that may still be claimed; 0 when nothing may."""
        if self._free() <= 0:
            return 0
        held = sum(one.lease.item.size for one in self._courier.flights) + sum(self._promised)
        return max(0, self._limits.octets - held)

    def _free(self) -> int:
        """How many attempts may still begin. Outcomes that wait for a store that failed take places, too."""
        taken = len(self._courier.flights) + len(self._promised) + self._courier.pausing
        return self._limits.concurrency - taken

    def _settling(self, is_due: bool) -> None:
        """A place is free: look for what is due, behind the record of what had it."""
        if is_due or not self._idle:
            self.wake()

    async def _claim(self) -> None:
        wait: float | None = None
        idle = False
        try:
            while self.running and (room := self._room()):
                self._again = False
                free = self._free()
                allowance = self.destinations.allowance()
                leases = await self.store.claim(self._owner, free, room, self._now(), allowance)
                for lease in leases:
                    self._run(self._attempt(lease, self._recent.take(lease.item.queue_id)))
                if not leases and not self._again:
                    now = self._now()
                    shut = [name for name, most in allowance.room.items() if not most]
                    due = await self.store.next_due(now, shut)
                    waits = [self.destinations.opens_in(), None if due is None else due - now]
                    wait = min((one for one in waits if one is not None), default=None)
                    if not self._again:
                        idle = not shut and (wait is None or wait > 0)
                        break
        except OutboxError as error:
            self._reports.fault(error)
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
            self._idle = idle

    def _look(self) -> None:
        self._timer = None
        self.wake()

    async def _attempt(self, lease: Lease, content: bytes | None = None, *, begun: bool = False) -> None:
        ended: Ended | None = None
        try:
            ended = await self._courier.attempt(lease, content, begun=begun)
        finally:
            if ended is None or not ended.at_once:
                self.wake()
        if ended is not None and ended.closed is not None:
            await self._courier.age(lease.destination, ended.closed)

    # The rest

    async def _forget(self) -> None:
        try:
            while self.running and await self.store.purge(self._now() - self._limits.keep) == PURGE_AT_ONCE:
                pass
        except OutboxError as error:
            self._reports.fault(error)

    def _forget_old(self) -> None:
        self._run(self._forget())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task of ours; the drain waits for it."""
        task = Deferred.fromCoroutine(coroutine)
        self._tasks.add(task)

        def ended(result: Any) -> None:
            self._tasks.discard(task)
            if result is not None:
                self._log.failure("{queue}: a fault", result, event="outbox-fault", queue=self.queue)

        task.addBoth(ended)
