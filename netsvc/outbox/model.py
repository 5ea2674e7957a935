"""The terms of the outbox: submission, item, target, lease, outcome, and the queue id. No I/O, no Twisted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from attrs import field, frozen

TargetState = Literal["waiting", "delivered", "bounced", "expired", "removed", "ambiguous"]
ItemState = Literal["waiting", "leased", "done"]
Result = Literal["delivered", "retry", "permanent", "ambiguous"]

TARGET_STATES: tuple[TargetState, ...] = ("waiting", "delivered", "bounced", "expired", "removed", "ambiguous")

# Crockford's base 32 in lower case: no i, l, o, u, so that an id can be read out over a telephone.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS = 9  # 45 bits of milliseconds since 1970: enough until the year 3084
_RANDOM_DIGITS = 6  # 30 bits; the store's primary key makes a collision harmless


def _base32(value: int, digits: int) -> str:
    return "".join(_DIGITS[value >> 5 * place & 31] for place in reversed(range(digits)))


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
    """

    submitter: str
    sender: str
    targets: tuple[str, ...] = field()
    content: bytes = field(repr=False)
    key: str | None = None
    meta: Mapping[str, str] = field(factory=lambda: MappingProxyType({}))

    @targets.validator
    def _whole(self, _: object, value: tuple[str, ...]) -> None:
        if not value or len(set(value)) != len(value):
            raise ValueError("a submission has at least one target and each only once")


@frozen
class Accepted:
    """The receipt: from here on the outbox answers for it.

    :param repeated: the key was known: this is the receipt of the first time.
    """

    queue_id: str
    repeated: bool = False


@frozen(kw_only=True)
class Target:
    """One recipient of an item and where it stands.

    :param index: its place in the submission, from 0.
    :param ambiguous: how many attempts ended with an unknown result.
    :param changed_at: wall clock, seconds.
    """

    index: int
    address: str
    state: TargetState = "waiting"
    code: int | None = None
    enhanced: str | None = None
    text: str = ""
    ambiguous: int = 0
    changed_at: float = 0.0


@frozen(kw_only=True)
class Item:
    """One accepted submission.

    :param size: octets of the content.
    :param sha256: of the content, hexadecimal.
    :param accepted_at: wall clock, seconds since 1970.
    :param attempts: finished and lost attempts.
    :param recoveries: attempts in a row that died with their process.
    :param waited: seconds that it has lived, as :func:`netsvc.outbox.retry.lived` counts them.
    :param scheduled_at: when next_at was decided, wall clock.
    :param next_at: when it is due, wall clock.
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


@frozen(kw_only=True)
class Lease:
    """The exclusive right to make one attempt at an item's waiting targets.

    It ends by being settled or released, or with the process that holds it; never by a clock, because a jump of the
    clock would give one item to two runners.

    :param fence: the fencing token: greater with every claim of the item.
    """

    item: Item
    targets: tuple[Target, ...]
    owner: str
    fence: int
    claimed_at: float


@frozen(kw_only=True)
class Outcome:
    """What one attempt meant for one target.

    :param target: its address.
    :param result: ``delivered``; ``retry``: later; ``permanent``: never; ``ambiguous``: nobody knows.
    :param code: the peer's reply code, or None when the decision is ours.
    :param enhanced: RFC 3463 status, or None.
    :param text: the peer's words or our reason, one line.
    :param via: where the attempt went, such as ``smtp:mail.example.com:587``.
    """

    target: str
    result: Result
    code: int | None = None
    enhanced: str | None = None
    text: str = ""
    via: str = ""

    @property
    def reason(self) -> str:
        """Code, status and words on one line."""
        return " ".join(str(part) for part in (self.code, self.enhanced, self.text) if part)


@frozen(kw_only=True)
class Attempt:
    """One line of the ledger: what was tried for one target, and how it went.

    :param result: an outcome's result, or ``removed`` / ``requeued`` for what a named operator did.
    """

    at: float
    target: str
    result: str
    code: int | None
    enhanced: str | None
    text: str
    via: str


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
