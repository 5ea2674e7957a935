"""What the outcomes of an attempt mean: the next state of each target, and when the parcel is due again. Pure.

This is the whole of the custody rules: a target leaves `waiting` only by delivery, a permanent refusal, its age
after a failed attempt, (policy `hold`) an unknown result, or because it need not go any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import attrs
from attrs import field, frozen

from netsvc.outbox.model import Lease, Outcome, Settlement, TargetState
from netsvc.outbox.retry import SHORTEST, RetryPolicy, lived

AmbiguousPolicy = Literal["retry", "hold"]

MAX_TEXT = 1024  # characters of a reason that are kept; a peer may send a long one
EAGER_RECOVERIES = 3  # attempts in a row that died with the daemon, after which an item backs off as if it had failed


@frozen(kw_only=True)
class Custody:
    """The rules that one outbox keeps.

    :param ambiguous: after an unknown result ``retry`` (twice rather than never) or ``hold`` (for an operator).
    :param redact: an item of which nothing waits and nothing is unknown any more loses its content, whatever became of
        it, and the digest of that, for a short text can be guessed from a digest. It cannot be requeued.
    """

    retry: RetryPolicy = field(factory=RetryPolicy)
    ambiguous: AmbiguousPolicy = "retry"
    redact: bool = False

    def settle(
        self,
        lease: Lease,
        outcomes: Iterable[Outcome],
        *,
        now: float,
        random: Callable[[], float],
        ours: bool = False,
    ) -> Settlement:
        """Decide what an attempt came to.

        A leased target without an outcome has an unknown one; outcomes for others are ignored; of several for one
        target the last holds.

        :param now: wall clock, seconds.
        :param random: gives floats in [0, 1), for the jitter.
        :param ours: we ended the attempt, no peer did: there is nothing to wait for before the next one.
        """
        by_target = {one.target: one for one in outcomes}
        waited = lived(lease.item.waited, scheduled_at=lease.item.scheduled_at, next_at=lease.item.next_at, now=now)
        settled = []
        for target in lease.targets:
            outcome = by_target.get(target.address) or unknown(target.address, "the delivery gave no result for it")
            text = one_line(outcome.text)
            if text is not outcome.text:
                outcome = attrs.evolve(outcome, text=text)
            settled.append((outcome, self._state(outcome, waited, lease.item.give_up_after)))
        waiting = [outcome for outcome, state in settled if state == "waiting"]
        next_at = None
        if waiting:
            due = now if ours else now + self.retry.delay(lease.item.attempts + 1, random)
            next_at = max(due, self._asked_for(lease, waiting, waited=waited, now=now))
        return Settlement(outcomes=tuple(settled), next_at=next_at, waited=waited)

    def _asked_for(self, lease: Lease, waiting: Iterable[Outcome], *, waited: float, now: float) -> float:
        """When peers want to be asked again, within the life of the item; wall clock."""
        latest = max((one.not_before for one in waiting if one.not_before is not None), default=now)
        life = self.retry.give_up if lease.item.give_up_after is None else lease.item.give_up_after
        return min(latest, now + max(SHORTEST, life - waited))

    def recover(self, lease: Lease, *, now: float, random: Callable[[], float]) -> Settlement:
        """Decide what becomes of an attempt whose process died in the middle of it: nobody knows its result.

        It is tried again at once, but an item that was there at several deaths in a row backs off: it may be their
        cause.
        """
        lost = [unknown(target.address, "the daemon ended during the attempt") for target in lease.targets]
        return self.settle(lease, lost, now=now, random=random, ours=lease.item.recoveries < EAGER_RECOVERIES)

    def _state(self, outcome: Outcome, waited: float, give_up: float | None) -> TargetState:
        if outcome.result == "delivered":
            return "delivered"
        if outcome.result == "permanent":
            return "bounced"
        if outcome.result == "withdrawn":
            return "removed"
        if outcome.result == "ambiguous" and self.ambiguous == "hold":
            return "ambiguous"
        return "expired" if self.retry.expired(waited, give_up) else "waiting"


def unknown(target: str, reason: str) -> Outcome:
    """The outcome of an attempt of which nobody knows the result."""
    return Outcome(target=target, result="ambiguous", text=reason)


def one_line(text: str) -> str:
    """A peer's words on one line of bounded length, without control characters."""
    if len(text) <= MAX_TEXT and text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " for one in text[:MAX_TEXT])
