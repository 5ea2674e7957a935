"""What a runner says of its work: one event of the log and one count for each thing that happens to a target."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger, LogLevel

from netsvc.interfaces import IMetrics
from netsvc.outbox.model import Accepted, Lease, Operated, OutboxError, Settlement, Submission

# What a person should see of a target's new state, and how loudly.
_LEVELS = {
    "delivered": (LogLevel.info, "outbox-delivered", "{queue_id} to {target} delivered: {reason}{by}"),
    "waiting": (LogLevel.info, "outbox-deferred", "{queue_id} to {target} deferred: {reason}{by}"),
    "unknown": (LogLevel.warn, "outbox-ambiguous", "{queue_id} to {target} deferred, its result is unknown: {reason}"),
    "ambiguous": (LogLevel.warn, "outbox-held", "{queue_id} to {target} held, its result is unknown: {reason}"),
    "bounced": (LogLevel.error, "outbox-bounced", "{queue_id} from {sender} to {target} bounced: {reason}"),
    "removed": (LogLevel.info, "outbox-withdrawn", "{queue_id} to {target} need not go: {reason}"),
    "expired": (LogLevel.error, "outbox-expired", "{queue_id} from {sender} to {target} given up: {reason}"),
}


class Reports:
    """The log and the metrics of one queue.

    :param log: of the runner, whose name the events bear.
    """

    def __init__(self, queue: str, metrics: IMetrics, log: Logger) -> None:
        self._queue = queue
        self._log = log
        self._accepted = metrics.counter("outbox_accepted", "Targets taken into custody.", ("queue",))
        self._repeated = metrics.counter("outbox_repeated", "Submissions whose idempotency key was known.", ("queue",))
        self._attempts = metrics.counter("outbox_attempts", "Results of attempts, by target.", ("queue", "result"))
        self._finished = metrics.counter("outbox_finished", "Targets that stopped waiting.", ("queue", "state"))
        self._in_flight = metrics.gauge("outbox_in_flight", "Attempts under way.", ("queue",))
        self._faults = metrics.counter("outbox_store_faults", "Times that the store could not be used.", ("queue",))

    def accepted(self, submission: Submission, accepted: Accepted) -> None:
        """A submission was taken."""
        if accepted.repeated:
            self._repeated.inc(queue=self._queue)
        else:
            self._accepted.inc(len(submission.targets), queue=self._queue)

    def in_flight(self, count: int) -> None:
        """So many attempts are under way."""
        self._in_flight.set(count, queue=self._queue)

    def settled(self, lease: Lease, settlement: Settlement) -> None:
        """An attempt was recorded."""
        for outcome, state in settlement.outcomes:
            is_unknown = state == "waiting" and outcome.result == "ambiguous"
            level, event, line = _LEVELS["unknown" if is_unknown else state]
            self._attempts.inc(queue=self._queue, result=outcome.result)
            if state != "waiting":
                self._finished.inc(queue=self._queue, state=state)
            self._log.emit(
                level,
                line,
                event=event,
                queue=self._queue,
                queue_id=lease.item.queue_id,
                sender=lease.item.sender,
                target=outcome.target,
                result=outcome.result,
                reason=outcome.reason,
                code=outcome.code,
                enhanced=outcome.enhanced,
                via=outcome.via,
                by=f", by {outcome.via}" if outcome.via else "",  # and what TLS there was
                attempt=lease.item.attempts + 1,
                next_at=settlement.next_at if state == "waiting" else None,
            )

    def followed(self, lease: Lease, submissions: Sequence[Submission], accepted: Sequence[Accepted]) -> None:
        """Something was accepted that follows from a settlement."""
        for submission, one in zip(submissions, accepted, strict=True):
            self.accepted(submission, one)
            self._log.info(
                "{queue_id} brought forth {follow_up} to {targets}",
                event="outbox-follow-up",
                queue=self._queue,
                queue_id=lease.item.queue_id,
                follow_up=one.queue_id,
                targets=", ".join(submission.targets),
            )

    def closed(self, destination: str, seconds: float, reason: str) -> None:
        """A destination is left alone for some time."""
        self._log.warn(
            "{queue}: {destination} cannot be reached and is left alone for {seconds} s: {reason}",
            event="outbox-destination-closed",
            queue=self._queue,
            destination=destination,
            seconds=round(seconds),
            reason=reason,
        )

    def reached(self, destination: str) -> None:
        """A destination that was left alone is reached again."""
        self._log.info(
            "{queue}: {destination} is reached again",
            event="outbox-destination-reached",
            queue=self._queue,
            destination=destination,
        )

    def operated(self, operation: str, operator: str, operated: Operated) -> None:
        """An operator changed the queue."""
        self._log.info(
            "{queue}: {operator} did {operation}: {items} items, {targets} targets",
            event="outbox-operated",
            queue=self._queue,
            operator=operator,
            operation=operation,
            items=operated.items,
            targets=operated.targets,
        )

    def fault(self, error: OutboxError) -> None:
        """The store could not be used."""
        self._faults.inc(queue=self._queue)
        self._log.error("{queue}: {reason}", event="outbox-store-fault", queue=self._queue, reason=str(error))
