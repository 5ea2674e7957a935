"""What follows from a settlement, before it is written; where that cannot be had, nobody is given up yet."""

from __future__ import annotations

from typing import Final

from attrs import evolve
from twisted.logger import Logger

from netsvc.outbox.model import Lease, OutboxError, Settlement, Submission
from netsvc.outbox.steps import Settled

PUT_OFF: Final = 300.0  # seconds until what could not be given up is attempted again, ours

log = Logger()


class NotKeptError(OutboxError):
    """What must be kept before a settlement, such as a dead letter, cannot be kept now. Who raises it has logged it."""


def follow(
    settled: Settled | None, lease: Lease, settlement: Settlement, content: bytes, now: float
) -> tuple[Settlement, tuple[Submission, ...]]:
    """The settlement to write, and what is to be taken in with it.

    A target that bounced or expired while nobody can be told of it waits again: what it came to is in the ledger, and
    the next attempt asks once more. What was delivered, withdrawn or is held stays so.

    :param settled: says what follows.
    :param now: wall clock, seconds.
    """
    if settled is None:
        return settlement, ()
    try:
        return settlement, tuple(settled(lease, settlement, content))
    except NotKeptError:
        pass
    except Exception:  # noqa: BLE001 - what happened to the targets must be written all the same
        log.failure(
            "nothing could follow from {queue_id}, what cannot be delivered is tried again",
            event="outbox-follow-up-fault",
            queue_id=lease.item.queue_id,
        )
    return _put_off(settlement, now), ()


def _put_off(settlement: Settlement, now: float) -> Settlement:
    if not any(state in {"bounced", "expired"} for _, state in settlement.outcomes):
        return settlement
    outcomes = [(one, "waiting" if state in {"bounced", "expired"} else state) for one, state in settlement.outcomes]
    next_at = now + PUT_OFF if settlement.next_at is None else settlement.next_at
    return evolve(settlement, outcomes=tuple(outcomes), next_at=next_at)
