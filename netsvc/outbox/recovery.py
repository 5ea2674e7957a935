"""Ends the leases of processes that died: attempts whose result nobody knows. In a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netsvc.outbox.custody import Custody
from netsvc.outbox.following import follow
from netsvc.outbox.model import DamagedError, Lease, Submission
from netsvc.outbox.steps import Settled, Steps


def recover(
    database: Steps,
    leases: Iterable[Lease],
    custody: Custody,
    settled: Settled | None,
    *,
    now: float,
    random: Callable[[], float],
) -> None:
    """Settle each of them.

    :param settled: what follows from a settlement, such as the bounce of what is now too old.
    """
    for lease in leases:
        settlement = custody.recover(lease, now=now, random=random)
        following: tuple[Submission, ...] = ()
        if settled is not None:
            try:
                content = database.content(lease.item.queue_id)
            except DamagedError:
                content = b""
            settlement, following = follow(settled, lease, settlement, content, now)
        database.settle(lease, settlement, now, following, recovered=True)
    database.flush()
