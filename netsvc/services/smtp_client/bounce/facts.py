"""What a notice is about, and which notices are owed. Pure.

Owed by RFC 3461 4.1 and 5.2: of failure, unless the sender said otherwise; of delay, likewise; of success only when he
asked for it and the next server did not take over the duty to tell. The null sender is owed none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from attrs import frozen

from netsvc.outbox.model import Lease, Outcome, Settlement, TargetState
from netsvc.services.smtp_client.terms import Envelope, Notice

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]  # RFC 3464 2.3.3

SUCCESS: frozenset[Action] = frozenset({"delivered", "relayed", "expanded"})
EXPIRED = "4.4.7"  # RFC 3463 3.5: delivery time expired
_NO_WISHES = Notice()


@frozen(kw_only=True)
class ItemFacts:
    """A message, as a notice speaks of it.

    :param sender: whom to tell.
    :param accepted_at: wall clock, seconds since 1970.
    :param ret: what the sender wants back (RFC 3461 4.3), or None.
    :param envid: the sender's name for the message, decoded, or empty.
    :param received_from: who handed it in by SMTP, a name or an address literal; empty when nobody did.
    """

    queue_id: str
    sender: str
    accepted_at: float
    ret: Literal["full", "hdrs"] | None = None
    envid: str = ""
    received_from: str = ""


@frozen(kw_only=True)
class TargetFacts:
    """One recipient, and what became of the message for him.

    :param index: his place in the submission.
    :param status: RFC 3463, of the class that belongs to the action.
    :param code: the peer's reply code; None when the decision was ours.
    :param enhanced: the status that came with it, or None.
    :param text: the peer's words or our reason.
    :param remote: the host that said it, or empty.
    :param original: ORCPT, decoded, ``TYPE;ADDRESS``, or empty.
    :param attempted_at: the last attempt, wall clock, seconds since 1970.
    :param retry_until: when we shall give up, of a delay; None otherwise.
    """

    address: str
    index: int
    action: Action
    status: str
    code: int | None
    enhanced: str | None = None
    text: str
    remote: str = ""
    original: str = ""
    attempted_at: float
    retry_until: float | None = None


def item_facts(lease: Lease, envelope: Envelope, received_from: str = "") -> ItemFacts:
    """The message of a lease."""
    item = lease.item
    return ItemFacts(
        queue_id=item.queue_id,
        sender=item.sender,
        accepted_at=item.accepted_at,
        ret=envelope.ret,
        envid=envelope.envid,
        received_from=received_from,
    )


def owed(
    lease: Lease,
    settlement: Settlement,
    envelope: Envelope,
    *,
    now: float,
    delay_after: float | None,
    give_up_after: float,
    notified: Collection[str],
) -> Iterator[TargetFacts]:
    """The recipients of whom the sender is to be told after an attempt; of the null sender too.

    :param envelope: what the sender wants to hear.
    :param now: wall clock, seconds.
    :param delay_after: lived seconds after which a delay is told, at the first attempt beyond: once; None: never.
    :param give_up_after: lived seconds after which the message is given up.
    :param notified: the recipients whose next server took over the duty to tell.
    """
    late = delay_after is not None and lease.item.waited < delay_after <= settlement.waited
    indexes = {one.address: one.index for one in lease.targets}
    for outcome, state in settlement.outcomes:
        notice = envelope.notices.get(outcome.target, _NO_WISHES)
        action = _action(outcome, state, notice, late, outcome.target in notified)
        if action is not None:
            yield TargetFacts(
                address=outcome.target,
                index=indexes[outcome.target],
                action=action,
                status=_status(outcome, state, action),
                code=outcome.code,
                enhanced=outcome.enhanced,
                text=outcome.text,
                remote=_host(outcome.via),
                original=notice.orcpt,
                attempted_at=now,
                retry_until=now + max(0.0, give_up_after - settlement.waited) if action == "delayed" else None,
            )


def _action(outcome: Outcome, state: TargetState, notice: Notice, late: bool, notified: bool) -> Action | None:
    if state == "delivered" and "success" in notice.notify and not notified:
        return "relayed" if _host(outcome.via) else "delivered"
    if state in {"bounced", "expired"} and (not notice.notify or "failure" in notice.notify):
        return "failed"
    if state == "waiting" and late and (not notice.notify or "delay" in notice.notify):
        return "delayed"
    return None


def _status(outcome: Outcome, state: TargetState, action: Action) -> str:
    if state == "expired":
        return EXPIRED
    digit = {"failed": "5", "delayed": "4"}.get(action, "2")
    said = outcome.enhanced or ""
    return said if said.startswith(digit + ".") else f"{digit}.0.0"


def _host(via: str) -> str:
    """The host of ``smtp:HOST:PORT`` or ``smtps:HOST:PORT``, whatever stands behind it; empty for what is no server."""
    scheme, _, rest = via.partition(" ")[0].partition(":")
    return rest.rpartition(":")[0] if scheme in {"smtp", "smtps"} else ""
