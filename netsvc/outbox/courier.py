"""Takes leases to their end: reads the content, has it delivered, records what came of it, learns of the destination.

Whatever `deliver` does, every attempt ends in the ledger: an exception, a missing outcome or a cut at the end of a
drain is an unknown result. An outcome that the store cannot write is kept and written again until it can.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from netsvc.outbox.custody import Custody, unknown
from netsvc.outbox.destinations import Destinations
from netsvc.outbox.following import follow
from netsvc.outbox.model import (
    Accepted,
    DamagedError,
    Lease,
    LeaseLostError,
    OutboxError,
    Outcome,
)
from netsvc.outbox.reports import Reports
from netsvc.outbox.retry import SLACK
from netsvc.outbox.steps import Settled
from netsvc.outbox.store import IOutboxStore

Deliver = Callable[[Lease, bytes], Deferred[Iterable[Outcome]]]
Reached = str | Literal[True] | None  # why a destination was not reached; True: it was; None: nobody knows

AGED_AT_ONCE = 100  # parcels
STORE_PAUSE = 5.0  # seconds before a store that failed is asked again; a full disk does not empty in less
MAX_STORE_PAUSE = 60.0  # seconds; outcomes wait in memory meanwhile


@frozen(kw_only=True)
class Hands:
    """What a courier works with; the meanings are those of the runner's parameters.

    :param store: the open store; raises StoreFailedError when there is none.
    :param running: whether attempts may still begin.
    :param settling: called when the store was asked to record an attempt, and has not answered: what is asked of it now
        comes behind that, and shares its commit. True: something is due by it, now or later.
    """

    queue: str
    owner: str
    reactor: Any
    store: Callable[[], IOutboxStore]
    running: Callable[[], bool]
    deliver: Deliver
    custody: Custody
    settled: Settled | None
    random: Callable[[], float]
    now: Callable[[], float]
    settling: Callable[[bool], None]


@frozen
class Ended:
    """How an attempt ended.

    :param closed: when it closed the destination, why; :meth:`Courier.age` is due then.
    :param at_once: it was recorded when that was first tried, so that what was asked of the store behind it knows it.
    """

    closed: str | None
    at_once: bool


@define(eq=False)
class Flight:
    """One attempt under way; `delivery` is what may be cut.

    :param cut: it must not begin any more, if it has not.
    """

    lease: Lease
    delivery: list[Deferred[Any]] = field(factory=list)
    cut: bool = False


class Courier:
    """The attempts of one runner.

    :param log: of the runner, whose name the events bear.
    """

    def __init__(self, hands: Hands, destinations: Destinations, reports: Reports, log: Logger) -> None:
        self._hands = hands
        self._destinations = destinations
        self._reports = reports
        self._log = log
        self._pauses: set[Deferred[Any]] = set()
        self._aging: set[str] = set()
        self._cut = False
        self.flights: set[Flight] = set()

    def cut(self, *, for_good: bool) -> None:
        """End the deliveries under way.

        :param for_good: the drain is over: nothing waits for the store any more, either.
        """
        self._cut = self._cut or for_good  # leases may lapse behind the drain, too
        pauses = list(self._pauses) if for_good else []
        for flight in self.flights:
            flight.cut = True
        for one in (*(one for flight in self.flights for one in flight.delivery), *pauses):
            one.cancel()

    def resume(self) -> None:
        """The runner starts again after a drain."""
        self._cut = False

    @property
    def pausing(self) -> int:
        """How many wait for a store that failed."""
        return len(self._pauses)

    async def attempt(self, lease: Lease, content: bytes | None = None, *, begun: bool = False) -> Ended:
        """Make the attempt that a lease is for; returns when it is recorded, or cannot be.

        The place that it takes is free, and its destination knows of its end, before it is recorded.

        :param content: when it need not be read.
        :param begun: its destination was told already that it begins.
        """
        flight = Flight(lease)
        self.flights.add(flight)
        if not begun:
            self._destinations.began(lease.destination)
        self._reports.in_flight(len(self.flights))
        octets: bytes | DamagedError | None = None
        reached: Reached = None
        try:
            if self._hands.running():
                octets = await self._content(lease) if content is None else content
            if isinstance(octets, DamagedError):
                reason = str(octets)
                outcomes = [Outcome(target=one.address, result="permanent", text=reason) for one in lease.targets]
                octets = b""
            elif octets is not None and not flight.cut:
                outcomes, reached = await self._outcomes(flight, octets)
            else:
                octets = None
                await self._insist(lambda: self._hands.store().release(lease))
        finally:
            self.flights.discard(flight)
            closed = self._learn(lease.destination, reached)
            self._reports.in_flight(len(self.flights))
        if octets is None:
            return Ended(closed, at_once=False)
        return Ended(closed, at_once=await self._settle(lease, outcomes, octets, cut=flight.cut))

    async def _content(self, lease: Lease) -> bytes | DamagedError | None:
        """The octets; None when they could not be read for now."""
        try:
            return await self._hands.store().content(lease.item.queue_id)
        except DamagedError as error:
            return error
        except OutboxError as error:
            self._reports.fault(error)
            await self._pause(STORE_PAUSE)
            return None

    async def _outcomes(self, flight: Flight, content: bytes) -> tuple[list[Outcome], Reached]:
        """The outcomes of one attempt, and what it says of the destination."""
        lease = flight.lease
        delivery = maybeDeferred(self._hands.deliver, lease, content)
        flight.delivery.append(delivery)
        try:
            outcomes = list(await delivery)
        except CancelledError:
            reason = "the daemon stopped during the attempt" if not self._hands.running() else "the attempt was cut"
        except Exception:  # noqa: BLE001 - one attempt's fault must not become the queue's
            self._log.failure(
                "{queue}: the delivery of {queue_id} broke",
                event="outbox-delivery-fault",
                queue=self._hands.queue,
                queue_id=lease.item.queue_id,
            )
            reason = "a fault of our own broke the attempt"
        else:
            lost = outcomes[0].reason if outcomes and all(one.unreachable for one in outcomes) else ""
            return outcomes, lost or (True if outcomes else None)
        finally:
            flight.delivery.clear()
        return [unknown(one.address, reason) for one in lease.targets], None

    async def _settle(self, lease: Lease, outcomes: Iterable[Outcome], content: bytes, *, cut: bool = False) -> bool:
        """Record an attempt, which we have cut perhaps; whether that went well at once."""
        now = self._hands.now()
        settlement = self._hands.custody.settle(lease, outcomes, now=now, random=self._hands.random, ours=cut)
        settlement, following = follow(self._hands.settled, lease, settlement, content, now)
        written: list[tuple[Accepted, ...]] = []

        tries = 0

        async def write() -> None:
            nonlocal tries
            tries += 1
            writing = self._hands.store().settle(lease, settlement, now, following)
            if tries == 1:
                self._hands.settling(bool(following) or settlement.next_at is not None)
            written.append(await writing)

        if not await self._insist(write):
            return False
        self._reports.settled(lease, settlement)
        self._reports.followed(lease, following, written[0])
        return tries == 1

    # Destinations

    def _learn(self, destination: str, reached: Reached) -> str | None:
        """Remember what an attempt says of its destination; the reason when that was closed by it."""
        was_closed = self._destinations.closed(destination)
        if reached is None:
            self._destinations.passed(destination)
        elif reached is True:
            self._destinations.ended(destination, None)
            if was_closed:
                self._reports.reached(destination)
        elif self._destinations.ended(destination, str(reached)):
            self._reports.closed(destination, self._destinations.standing(destination).opens_in, str(reached))
            return str(reached)
        return None

    async def age(self, destination: str, reason: str) -> None:
        """Give what has long been due to a destination that is left alone its share of the failure.

        Otherwise it would grow old without end: only an attempt that failed lets anything expire.
        """
        if destination in self._aging:
            return
        self._aging.add(destination)
        text = f"not tried, the destination cannot be reached: {reason}"
        try:
            while self._hands.running():
                now = self._hands.now()
                leases = await self._hands.store().claim_overdue(
                    self._hands.owner, destination, now - SLACK, AGED_AT_ONCE, now
                )
                for lease in leases:
                    content = await self._content(lease) if self._hands.settled is not None else b""
                    if content is None:
                        await self._insist(lambda lease=lease: self._hands.store().release(lease))  # type: ignore[misc]
                        continue
                    outcomes = [Outcome(target=one.address, result="retry", text=text) for one in lease.targets]
                    await self._settle(lease, outcomes, content if isinstance(content, bytes) else b"")
                if len(leases) < AGED_AT_ONCE:
                    break
        except OutboxError as error:
            self._reports.fault(error)
        finally:
            self._aging.discard(destination)

    async def _insist(self, write: Callable[[], Awaitable[Any]]) -> bool:
        """Write until it is written; False when it cannot be: the lease is lost, or the drain is over."""
        pause = STORE_PAUSE
        queue = self._hands.queue
        while True:
            try:
                await write()
            except LeaseLostError as error:
                self._log.error("{queue}: {reason}", event="outbox-lease-lost", queue=queue, reason=str(error))
                return False
            except OutboxError as error:
                self._reports.fault(error)
                if self._cut:
                    return False  # the lease stays in the store; the next start finds it and calls the result unknown
                await self._pause(pause)
                pause = min(2 * pause, MAX_STORE_PAUSE)
            else:
                return True

    async def _pause(self, seconds: float) -> None:
        if self._cut:
            return
        pause: Deferred[None] = deferLater(self._hands.reactor, seconds)
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            pass  # the drain is over: go on at once
        finally:
            self._pauses.discard(pause)
