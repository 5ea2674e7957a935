"""Says after each attempt which notices are to be sent, and what is a dead letter. No I/O.

Called before the settlement is written, so that the outbox can take the notices in by the same stroke; a dead letter
is written by the caller, with :func:`netsvc.services.smtp_client.bounce.dead_letter.keep_dead`. May be called from
several threads: a store ends the leases of dead processes in one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from threading import Lock

from attrs import evolve, field, frozen
from twisted.logger import Logger

from netsvc.outbox.model import Lease, Settlement, Submission
from netsvc.services.smtp_client.bounce.collapse import Collapse, Counted
from netsvc.services.smtp_client.bounce.dsn import Origin, write_dsn
from netsvc.services.smtp_client.bounce.facts import SUCCESS, ItemFacts, TargetFacts, item_facts, owed
from netsvc.services.smtp_client.terms import Envelope, Notice
from netsvc.services.smtp_client.wishes import to_envelope, to_meta

SUBMITTER = "netsvc"

log = Logger()


@frozen(kw_only=True)
class Aftermath:
    """What an attempt leaves to be done.

    :param submissions: notices to take into custody.
    :param dead: recipients for whom the message, of the null sender, is a dead letter.
    """

    submissions: tuple[Submission, ...] = ()
    dead: tuple[TargetFacts, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.submissions or self.dead)


class Bouncer:
    """Makes the notices of one queue.

    :param delay_after: lived seconds after which the sender is told of a delay, once; None: never.
    :param give_up_after: lived seconds after which mail is given up.
    """

    def __init__(
        self, origin: Origin, collapse: Collapse, *, delay_after: float | None, give_up_after: float, queue: str
    ) -> None:
        self._origin = origin
        self._collapse = collapse
        self._delay_after = delay_after
        self._give_up_after = give_up_after
        self._queue = queue
        self._lock = Lock()

    def on_settled(
        self,
        lease: Lease,
        settlement: Settlement,
        content: bytes,
        envelope: Envelope,
        *,
        now: float,
        notified: Collection[str] = (),
        received_from: str = "",
    ) -> Aftermath:
        """What is to be done after an attempt, before its settlement is written.

        :param content: the message as it was handed in; empty when it is lost.
        :param envelope: what the sender wants to hear of it.
        :param now: wall clock, seconds.
        :param notified: recipients whose next server took over the duty to tell.
        :param received_from: who handed the message in by SMTP; empty: nobody did.
        """
        sender = lease.item.sender
        targets = owed(
            lease,
            settlement,
            envelope if sender else Envelope(sender="", recipients=envelope.recipients),
            now=now,
            delay_after=self._delay_after if sender else None,
            give_up_after=self._give_up_after,
            notified=notified,
        )
        item = item_facts(lease, envelope, received_from)
        if not sender:
            return Aftermath(dead=tuple(self._buried(item, targets)))
        with self._lock:
            judged = [(one, self._collapse.count(item, one, now)) for one in targets]
        mailed = [one for one, counted in judged if counted is None]
        groups = (
            [one for one in mailed if one.action == "failed"],
            [one for one in mailed if one.action == "delayed"],
            [one for one in mailed if one.action in SUCCESS],
        )
        attempt = lease.item.attempts + 1
        made = [self._submission(item, group, content or None, attempt, now=now) for group in groups if group]
        told = [self._counted(item, one, counted, now) for one, counted in judged if counted is not None]
        return Aftermath(submissions=(*made, *told))

    def _counted(self, item: ItemFacts, target: TargetFacts, counted: Counted, now: float) -> Submission:
        """What tells of all that was counted in a window, when it ends."""
        log.info(
            "{queue_id}: {sender} is not told of {target} now, an identical notice has just gone: {reason}",
            event="mail-bounce-counted",
            queue=self._queue,
            queue_id=item.queue_id,
            sender=item.sender,
            target=target.address,
            reason=target.text,
        )
        return evolve(
            self._submission(item, [target], None, 0, now=now, also=counted.count - 1),
            key=f"dsn:more:{counted.name}",
            not_before=counted.ends,
            edition=counted.count,
        )

    def _buried(self, item: ItemFacts, targets: Iterable[TargetFacts]) -> Iterable[TargetFacts]:
        for one in targets:
            if one.action == "failed":
                log.error(
                    "{queue_id} to {target} can neither be delivered nor returned, it is a dead letter: {reason}",
                    event="mail-dead-letter",
                    queue=self._queue,
                    queue_id=item.queue_id,
                    target=one.address,
                    reason=one.text,
                )
                yield one

    def _submission(
        self,
        item: ItemFacts,
        targets: Sequence[TargetFacts],
        content: bytes | None,
        attempt: int,
        *,
        now: float,
        also: int = 0,
    ) -> Submission:
        first = targets[0]
        return Submission(
            submitter=SUBMITTER,
            sender="",
            targets=(item.sender,),
            content=write_dsn(item, targets, content, self._origin, now=now, also=also),
            key=f"dsn:{item.queue_id}:{first.index}:{attempt}:{first.action}",
            meta=to_meta("", "", {item.sender: Notice(notify=("never",))}),  # RFC 3461 6.1: a notice asks for none
        )


def _nobody(_: Lease) -> Collection[str]:
    return ()


@frozen(kw_only=True)
class FollowUp:
    """What the runner calls with each settlement: gives the notices, and hands on what is dead.

    :param now: the wall clock, seconds.
    :param bury: takes a lease, its dead recipients and the content; while it raises, nobody is given up.
    :param notified: the recipients of a lease whose next server took over the duty to tell.
    """

    bouncer: Bouncer
    now: Callable[[], float]
    bury: Callable[[Lease, tuple[TargetFacts, ...], bytes], None]
    notified: Callable[[Lease], Collection[str]] = field(default=_nobody)

    def __call__(self, lease: Lease, settlement: Settlement, content: bytes) -> tuple[Submission, ...]:
        """The notices to take in with a settlement."""
        item = lease.item
        aftermath = self.bouncer.on_settled(
            lease,
            settlement,
            content,
            to_envelope(item.sender, [one.address for one in lease.targets], item.meta),
            now=self.now(),
            notified=self.notified(lease),
            received_from=item.meta.get("helo", ""),
        )
        if aftermath.dead:
            self.bury(lease, aftermath.dead, content)
        return aftermath.submissions
