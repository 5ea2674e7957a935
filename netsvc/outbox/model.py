"""The terms of the outbox: submission, item, target, lease, outcome, and the queue id. No I/O, no Twisted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from attrs import field, frozen

TargetState = Literal["waiting", "delivered", "bounced", "expired", "removed", "ambiguous"]
ItemState = Literal["waiting", "leased", "held", "done"]
Operation = Literal["hold", "release", "requeue", "remove", "flush"]
Result = Literal["delivered", "retry", "permanent", "ambiguous", "withdrawn"]
ToldResult = Literal["delivered", "failed", "unknown"]

TARGET_STATES: tuple[TargetState, ...] = ("waiting", "delivered", "bounced", "expired", "removed", "ambiguous")

# Crockford's base 32 in lower case: no i, l, o, u, so that an id can be read out over a telephone.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_TIME_DIGITS = 9  # 45 bits of milliseconds since 1970: enough until the year 3084
_RANDOM_DIGITS = 6  # 30 bits; the store's primary key makes a collision harmless


def _base32(value: int, digits: int) -> str:
    text = ""
    for _ in range((digits + 1) // 2):
        text = _PAIRS[value & 1023] + text
        value >>= 10
    return text[-digits:]


def make_queue_id(now: float, random: Callable[[], float]) -> str:
    """A queue id: 15 characters that sort by the time of acceptance.

    :param now: wall clock, seconds since 1970.
    :param random: gives floats in [0, 1).
    """
    milliseconds = max(0, int(now * 1000)) & (1 << 5 * _TIME_DIGITS) - 1
    return _base32(milliseconds, _TIME_DIGITS) + _base32(int(random() * (1 << 5 * _RANDOM_DIGITS)), _RANDOM_DIGITS)


class OutboxError(Exception):
    """The outbox did not do what was asked. Its text is one clear line for people."""


class KeyConflictError(OutboxError):
    """An idempotency key was used again for something else: taking it for a repetition would lose what is new."""


class LeaseLostError(OutboxError):
    """The lease is not held any more (its fencing token is stale), so nothing may be recorded under it."""


class DamagedError(OutboxError):
    """The stored content is not what was accepted: its SHA-256 differs, or it is gone."""


class StoreFailedError(OutboxError):
    """The store could not write or read (disk full, I/O error): nothing of what was asked is kept; try again later."""


class StoreFullError(StoreFailedError):
    """There is no room for more: what is left of the disk is needed to deliver what is there."""


class SuppressedError(OutboxError):
    """Nothing was taken, because every target is on the suppression list.

    :param refused: the targets with the reasons.
    """

    def __init__(self, refused: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{address}: {reason}" for address, reason in list(refused.items())[:10]))
        self.refused = refused


class RedactedError(DamagedError):
    """The content was redacted when the item was final, so it cannot be sent again."""


class NoSuchItemError(OutboxError):
    """There is no item of that id, or it is not in a state that allows what was asked."""


@frozen(kw_only=True)
class Submission:
    """Something to be taken into custody.

    :param submitter: who hands it in, such as ``uid:1000``; idempotency keys are his own.
    :param sender: where it comes from, in the terms of the kind (an envelope sender); may be empty.
    :param targets: where it goes, at least one, each once.
    :param content: the octets.
    :param key: idempotency key, or None.
    :param meta: what else the kind wants to keep, small.
    :param destinations: for each target the word for where it goes (a domain, a smarthost); empty: one way for all.
        What goes one way together is attempted together, and limited and backed off together.
    :param not_before: the first attempt is not made earlier, wall clock; None: now.
    :param give_up_after: lived seconds after which a failed attempt is the last; None: as the queue's rule says.
    :param edition: of what is written anew until its time comes, from 1: while nothing of an earlier edition under the
        same key was attempted, this one takes its place. Where something was, this one is an item of its own.
    """

    submitter: str
    sender: str
    targets: tuple[str, ...] = field()
    content: bytes = field(repr=False)
    key: str | None = None
    meta: Mapping[str, str] = field(factory=lambda: MappingProxyType({}))
    destinations: tuple[str, ...] = field(default=())
    not_before: float | None = None
    give_up_after: float | None = None
    edition: int | None = None

    @destinations.validator
    def _parallel(self, _: object, value: tuple[str, ...]) -> None:
        if value and len(value) != len(self.targets):
            raise ValueError("a submission has one destination for each target, or none at all")

    @targets.validator
    def _whole(self, _: object, value: tuple[str, ...]) -> None:
        if not value or len(set(value)) != len(value):
            raise ValueError("a submission has at least one target and each only once")


@frozen
class Accepted:
    """The receipt: from here on the outbox answers for it.

    :param repeated: the key was known: this is the receipt of the first time.
    :param refused: targets that were not taken because they are suppressed, with the reasons. They stand in the item
        as bounced; nobody but the reader of this receipt is told.
    :param lease: of its only parcel, when the first attempt was asked for together with the acceptance.
    """

    queue_id: str
    repeated: bool = False
    refused: Mapping[str, str] = field(factory=lambda: MappingProxyType({}))
    lease: Lease | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Target:
    """One recipient of an item and where it stands.

    :param index: its place in the submission, from 0.
    :param ambiguous: how many attempts ended with an unknown result.
    :param changed_at: wall clock, seconds.
    :param parcel: the number of its parcel in the item.
    """

    index: int
    address: str
    state: TargetState = "waiting"
    code: int | None = None
    enhanced: str | None = None
    text: str = ""
    ambiguous: int = 0
    changed_at: float = 0.0
    parcel: int = 0


@frozen(kw_only=True)
class Item:
    """One accepted submission, with the progress of one of its parcels: in a lease the leased one, in a listing the
    one that is due first.

    :param size: octets of the content.
    :param sha256: of the content, hexadecimal.
    :param accepted_at: wall clock, seconds since 1970.
    :param attempts: finished and lost attempts.
    :param recoveries: attempts in a row that died with their process.
    :param waited: seconds that it has lived, as :func:`netsvc.outbox.retry.lived` counts them; negative before
        `not_before`.
    :param scheduled_at: when next_at was decided, wall clock.
    :param next_at: when it is due, wall clock.
    :param not_before: see :class:`Submission`; None when it was due at once.
    :param give_up_after: see :class:`Submission`.
    """

    queue_id: str
    submitter: str
    sender: str
    key: str | None
    meta: Mapping[str, str]
    size: int
    sha256: str
    accepted_at: float
    state: ItemState
    attempts: int
    recoveries: int
    waited: float
    scheduled_at: float
    next_at: float
    not_before: float | None = None
    give_up_after: float | None = None


@frozen(kw_only=True)
class Parcel:
    """Targets of an item that go one way together: what is leased, attempted, settled and scheduled.

    :param index: its number in the item, from 0. The times are those of :class:`Item`.
    """

    index: int
    destination: str
    state: ItemState
    attempts: int
    recoveries: int
    waited: float
    scheduled_at: float
    next_at: float


@frozen(kw_only=True)
class Lease:
    """The exclusive right to make one attempt at the waiting targets of one parcel.

    It ends by being settled or released, or with the process that holds it; never by a clock, because a jump of the
    clock would give one item to two runners.

    :param fence: the fencing token: greater with every claim of the parcel.
    :param destination: where they go, as the submission said.
    :param parcel: the parcel's number in the item.
    """

    item: Item
    targets: tuple[Target, ...]
    owner: str
    fence: int
    claimed_at: float
    destination: str = ""
    parcel: int = 0


@frozen(kw_only=True)
class Outcome:
    """What one attempt meant for one target.

    :param target: its address.
    :param result: ``delivered``; ``retry``: later; ``permanent``: never; ``ambiguous``: nobody knows; ``withdrawn``: it
        need not go any more.
    :param code: the peer's reply code, or None when the decision is ours.
    :param enhanced: RFC 3463 status, or None.
    :param text: the peer's words or our reason, one line.
    :param via: where the attempt went and under what protection, such as
        ``smtp:mail.example.com:587 TLSv1.3 TLS_AES_256_GCM_SHA384 verified``.
    :param unreachable: the destination failed before a word was said about this item; enough of these in a row make
        the whole destination wait.
    :param not_before: the peer wants to be asked no earlier, wall clock; None: it did not say. The item's life is not
        made longer by it: the last attempt comes when that is over.
    :param reference: the peer's name for what it took, by which it may tell more of it later; empty: none.
    :param ask_at: when it shall be asked for, wall clock; None: never. See :mod:`netsvc.outbox.steps_tracking`.
    """

    target: str
    result: Result
    code: int | None = None
    enhanced: str | None = None
    text: str = ""
    via: str = ""
    unreachable: bool = False
    not_before: float | None = None
    reference: str = ""
    ask_at: float | None = None

    @property
    def reason(self) -> str:
        """Code, status and words on one line."""
        return " ".join(str(part) for part in (self.code, self.enhanced, self.text) if part)


@frozen(kw_only=True)
class Attempt:
    """One line of the ledger: what was tried for one target, and how it went.

    :param result: an outcome's result, or ``held``, ``released``, ``requeued``, ``removed``, ``flushed`` for what a
        named operator did, ``suppressed``, or ``receipt-`` and what the peer told later (see :class:`Told`).
    """

    at: float
    target: str
    result: str
    code: int | None
    enhanced: str | None
    text: str
    via: str


@frozen(kw_only=True)
class Told:
    """What a peer told later of something that it had taken.

    :param result: ``delivered``, ``failed``, or ``unknown``: nobody will ever know.
    :param text: its words, one line.
    """

    result: ToldResult
    text: str = ""
    via: str = ""


@frozen(kw_only=True)
class Tracked:
    """Something that a peer took, and of which it may tell more.

    :param index: of the target.
    :param sent_at: wall clock, seconds.
    :param asked: how often it was asked for.
    :param told: the last that was told, or nothing.
    """

    queue_id: str
    index: int
    reference: str
    sent_at: float
    asked: int
    told: str


@frozen(kw_only=True)
class Settlement:
    """What an attempt's outcomes come to: the store writes it, the runner speaks of it.

    :param outcomes: one per leased target, in their order, each with the state that the target has from now on.
    :param next_at: when the item is due again, or None when no target waits.
    :param waited: the item's new lived time, seconds.
    """

    outcomes: tuple[tuple[Outcome, TargetState], ...]
    next_at: float | None
    waited: float


@frozen(kw_only=True)
class Summary:
    """One line of a queue listing."""

    item: Item
    targets: tuple[Target, ...]
    parcels: tuple[Parcel, ...] = ()

    @property
    def open(self) -> tuple[Target, ...]:
        """Those that wait; where none does, those that wait for a person, as nobody knows what became of them."""
        waiting = tuple(one for one in self.targets if one.state == "waiting")
        return waiting or tuple(one for one in self.targets if one.state == "ambiguous")


@frozen(kw_only=True)
class Selection:
    """What an operator means: one item, what goes to a domain or destination, or everything. At least one is given.

    :param queue_id: one item.
    :param domain: targets whose address ends with ``@domain``, or whose destination is this word.
    :param after: go on behind this queue id: large operations go in steps.
    """

    queue_id: str | None = None
    domain: str | None = None
    everything: bool = False
    after: str = ""

    def __attrs_post_init__(self) -> None:
        if self.queue_id is None and self.domain is None and not self.everything:
            raise ValueError("nothing is selected")

    def has(self, address: str, destination: str) -> bool:
        """Whether a target of the item is meant."""
        if self.domain is None:
            return True
        wanted = self.domain.casefold()
        return destination.casefold() == wanted or address.casefold().endswith("@" + wanted)


@frozen(kw_only=True)
class Operated:
    """What one step of an operation did.

    :param after: go on behind this queue id; None at the end.
    """

    items: int
    targets: int
    after: str | None = None


@frozen(kw_only=True)
class Suppressed:
    """One line of the suppression list.

    :param address: casefolded.
    :param since: wall clock, seconds.
    """

    address: str
    reason: str
    operator: str
    since: float


@frozen(kw_only=True)
class Audit:
    """The books, in targets: what was ever accepted, and what became of it.

    :param unknown_attempts: attempts with unknown result so far, whatever became of their targets.
    """

    accepted: int
    waiting: int
    delivered: int
    bounced: int
    expired: int
    removed: int
    ambiguous: int
    unknown_attempts: int

    @property
    def balanced(self) -> bool:
        """Whether every target that was accepted is accounted for, once."""
        parts = (self.waiting, self.delivered, self.bounced, self.expired, self.removed, self.ambiguous)
        return self.accepted == sum(parts)
