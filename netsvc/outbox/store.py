"""What a store of an outbox promises: durable before it answers, one holder for each item, books that balance."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import Interface

from netsvc.outbox.model import Accepted, Attempt, Audit, Lease, Settlement, Submission, Summary

# ruff: noqa: N805 - zope's interfaces describe methods without self


class IOutboxStore(Interface):
    """A durable store. Every method returns a Deferred that fires after its effect is on the disk.

    They fail with :class:`netsvc.outbox.model.StoreFailedError` when the disk does (nothing was kept then), and with
    the errors that :class:`netsvc.outbox.sqlite_database.Database` names. Times are wall clock, seconds since 1970.
    """

    def accept(submission: Submission, now: float) -> Deferred[Accepted]:
        """Take a Submission into custody; an Accepted."""

    def claim(owner: str, limit: int, octets: int, now: float) -> Deferred[tuple[Lease, ...]]:
        """Lease what is due: at most `limit` items and about `octets` of content; a tuple of Lease."""

    def content(queue_id: str) -> Deferred[bytes]:
        """The octets of an item, checked against its digest."""

    def settle(lease: Lease, settlement: Settlement, now: float) -> Deferred[None]:
        """Write what an attempt came to, and end the lease."""

    def release(lease: Lease) -> Deferred[None]:
        """End the lease without an attempt."""

    def remove(queue_id: str, operator: str, now: float) -> Deferred[int]:
        """Take an item out of the queue in an operator's name; how many targets."""

    def requeue(queue_id: str, operator: str, now: float) -> Deferred[int]:
        """Try again what is held, bounced or expired; how many targets."""

    def next_due(now: float) -> Deferred[float | None]:
        """When the next item is due, or None."""

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

    def close() -> Deferred[None]:
        """Finish what was asked, and let the store go."""
