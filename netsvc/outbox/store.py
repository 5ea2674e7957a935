"""What a store of an outbox promises: durable before it answers, one holder for each parcel, books that balance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import (
    Accepted,
    Attempt,
    Audit,
    Lease,
    Operated,
    Operation,
    Selection,
    Settlement,
    Submission,
    Summary,
    Suppressed,
    Told,
    Tracked,
)

# ruff: noqa: N805 - zope's interfaces describe methods without self


class IOutboxStore(Interface):
    """A durable store. Every method returns a Deferred that fires after its effect is on the disk.

    They fail with :class:`netsvc.outbox.model.StoreFailedError` when the disk does (nothing was kept then), and with
    the errors that the steps name (:mod:`netsvc.outbox.steps`, `steps_operations`, `steps_queries`). Times are wall
    clock, seconds since 1970.
    """

    def accept(submission: Submission, now: float, owner: str | None = None) -> Deferred[Accepted]:
        """Take a Submission into custody; an Accepted, if possible with a lease for an owner who will begin at once."""

    def claim(
        owner: str, limit: int, octets: int, now: float, allowance: Allowance = ...
    ) -> Deferred[tuple[Lease, ...]]:
        """Lease what is due and allowed: at most `limit` parcels and about `octets` of content; a tuple of Lease."""

    def claim_overdue(
        owner: str, destination: str, before: float, limit: int, now: float
    ) -> Deferred[tuple[Lease, ...]]:
        """Lease what has been due to one destination since before a time, whatever its allowance; a tuple of Lease."""

    def content(queue_id: str) -> Deferred[bytes]:
        """The octets of an item, checked against its digest."""

    def settle(
        lease: Lease, settlement: Settlement, now: float, follow_ups: Iterable[Submission] = ()
    ) -> Deferred[tuple[Accepted, ...]]:
        """Write what an attempt came to, and end the lease; take in what follows from it by the same stroke."""

    def release(lease: Lease) -> Deferred[None]:
        """End the lease without an attempt."""

    def operate(operation: Operation, chosen: Selection, operator: str, now: float) -> Deferred[Operated]:
        """One step of what an operator does to one item, to a domain or to everything; an Operated."""

    def remove(queue_id: str, operator: str, now: float) -> Deferred[int]:
        """Take an item out of the queue in an operator's name; how many targets."""

    def requeue(queue_id: str, operator: str, now: float) -> Deferred[int]:
        """Try again what is held, bounced or expired; how many targets."""

    def suppress(address: str, reason: str, operator: str, now: float) -> Deferred[None]:
        """Take nothing more for an address."""

    def unsuppress(address: str) -> Deferred[bool]:
        """Take an address off the suppression list; whether it was there."""

    def suppressed(addresses: Sequence[str]) -> Deferred[Mapping[str, str]]:
        """Which of some addresses are on the list, with the reasons."""

    def suppressions(after: str, limit: int) -> Deferred[tuple[Suppressed, ...]]:
        """A page of the list; a tuple of Suppressed."""

    def next_due(now: float, closed: Sequence[str] = ()) -> Deferred[float | None]:
        """When the next parcel to none of the closed destinations is due, or None."""

    def listing(
        after: str, limit: int, submitter: str | None = None, done: bool = False
    ) -> Deferred[tuple[Summary, ...]]:
        """A page of items in order of acceptance; a tuple of Summary."""

    def show(queue_id: str) -> Deferred[tuple[Summary, tuple[Attempt, ...]]]:
        """One item with its ledger: (Summary, tuple of Attempt)."""

    def audit() -> Deferred[Audit]:
        """The books: an Audit."""

    def purge(before: float) -> Deferred[int]:
        """Forget what was finished before a time, some items at once; how many."""

    def prepare() -> Deferred[None]:
        """Be ready for `tracked`, `tell`, `to_ask` and `ask_later`, which know nothing before."""

    def tracked(reference: str) -> Deferred[tuple[Tracked, ...]]:
        """What a peer took under a name of its own; a tuple of Tracked."""

    def to_ask(now: float, limit: int) -> Deferred[tuple[Tracked, ...]]:
        """What it is time to ask a peer for; a tuple of Tracked."""

    def ask_later(queue_id: str, n: int, ask_at: float | None) -> Deferred[None]:
        """A peer was asked in vain; when again."""

    def tell(queue_id: str, n: int, told: Told, now: float) -> Deferred[bool]:
        """Write down what a peer told of what it had taken; whether it was new."""

    def watch(hint: Callable[[], None], lapsed: Callable[[], None]) -> None:
        """Have functions called in the reactor's thread.

        :param hint: something may be due that another process put there.
        :param lapsed: the leases may soon be another's: what is being attempted must end now.
        """

    def close() -> Deferred[None]:
        """Finish what was asked, and let the store go."""
