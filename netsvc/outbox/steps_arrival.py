"""Acceptance, synchronously: a submission becomes an item with parcels and targets, in one step of a transaction."""

from __future__ import annotations

import abc
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from netsvc.outbox.model import (
    Accepted,
    Item,
    KeyConflictError,
    Lease,
    Submission,
    SuppressedError,
    Target,
    make_queue_id,
)
from netsvc.outbox.parcels import divide
from netsvc.outbox.rows import ITEM, make_meta
from netsvc.outbox.steps_tracking import Tracking
from netsvc.outbox.veil import veiled

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

EDITION: Final = "edition"  # in meta: which one is there

_ITEM: Final = f"INSERT INTO item ({ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_PARCEL: Final = (
    "INSERT INTO parcel (item, n, destination, state, waited, scheduled_at, next_at, owner, fence, claimed_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_TARGET: Final = "INSERT INTO target (item, n, parcel, address, state, changed_at) VALUES (?, ?, ?, ?, 'waiting', ?)"


class Arrival(Tracking, abc.ABC):
    """The step of acceptance."""

    def accept(self, submission: Submission, now: float, owner: str | None = None) -> Accepted:
        """Take a submission in; with a known key, find the first receipt.

        :param owner: who would begin the first attempt at once. What is due now and makes one parcel is leased to him
            by the same stroke, and the receipt has the lease: so the lease is on the disk before the attempt begins,
            as after a claim, and costs no commit of its own.
        :raises KeyConflictError: the key was used for another sender or other targets.
        :raises SuppressedError: every target is suppressed; nothing is kept.
        """
        return self._accept(submission, now, whole_refusal=True, owner=owner)

    def _accept(self, submission: Submission, now: float, *, whole_refusal: bool, owner: str | None = None) -> Accepted:
        known = self._known(submission)
        if known is not None:
            return known
        targets = submission.targets
        refused = self.suppressed(targets)
        if whole_refusal and len(refused) == len(targets):
            raise SuppressedError(refused)
        octets = self._octets(submission)
        columns = (
            submission.submitter,
            submission.sender,
            submission.key,
            _meta(submission),
            len(submission.content),
            hashlib.sha256(octets).hexdigest(),
            now,
            submission.not_before,
            submission.give_up_after,
        )
        next_at = max(now, submission.not_before or now)
        divisions = divide(len(targets), submission.destinations)
        holder = owner if len(divisions) == 1 and next_at <= now and not refused else None
        parcels = []
        for n, division in enumerate(divisions):
            waits = not refused or any(targets[one] not in refused for one in division.indexes)
            state = "leased" if holder is not None else "waiting" if waits else "done"
            # The wait until not_before is no part of its life: it begins to live then.
            schedule = (now - next_at, now, next_at)
            held = (None, 0, None) if holder is None else (holder, 1, now)
            parcels.append((n, division.destination, state, *schedule, *held))
        numbers = [(one, n) for n, division in enumerate(divisions) for one in division.indexes]
        queue_id = make_queue_id(now, self._random)
        while not self._write_new((queue_id, *columns), parcels[0], targets[0], octets):
            queue_id = make_queue_id(now + self._random(), self._random)
        if len(parcels) > 1:
            self._many(_PARCEL, [(queue_id, *one) for one in parcels[1:]])
        if len(numbers) > 1:  # the first target is always the first of the first parcel
            self._many(_TARGET, [(queue_id, one, n, targets[one], now) for one, n in numbers[1:]])
        for destination in {one[1] for one in parcels if one[2] == "waiting"}:
            self._waits(destination, next_at)
        self._count("accepted", len(targets))
        if refused:
            self._refuse(queue_id, targets, refused, now)
        if holder is None:
            return Accepted(queue_id, refused=refused)
        lease = _new_lease((queue_id, *columns), submission, divisions[0].destination, holder)
        return Accepted(queue_id, lease=lease)

    def _write_new(self, item: Sequence[Any], parcel: Sequence[Any], address: str, content: bytes) -> bool:
        """Write an item with its first parcel, the first target in that and the content.

        :return: False, and nothing is written, when there is an item of that id.
        """
        queue_id, now = item[0], item[7]
        if not self._do(_ITEM, *item):
            return False
        self._do(_PARCEL, queue_id, *parcel)
        self._do(_TARGET, queue_id, 0, 0, address, now)
        self._do("INSERT INTO content (item, octets) VALUES (?, ?)", queue_id, content)
        return True

    def _octets(self, submission: Submission) -> bytes:
        return veiled(submission.content, secrets.token_bytes) if self.redacts else submission.content

    def _known(self, submission: Submission) -> Accepted | None:
        """The receipt of what was taken in before under the same key."""
        if submission.key is None:
            return None
        if submission.edition is None:
            return self._repeated(submission)
        return self._revised(submission, submission.edition)

    def _revised(self, submission: Submission, edition: int) -> Accepted | None:
        """Put a later edition in the place of what nobody has seen; None when it must be an item of its own."""
        found = self._one(
            "SELECT id, meta FROM item WHERE submitter = ? AND key = ?", submission.submitter, submission.key
        )
        if found is None:
            return None
        queue_id, meta = str(found[0]), make_meta(found[1])
        if int(meta.get(EDITION, "0")) >= edition:
            return Accepted(queue_id, repeated=True)
        parcels = self._all(f"SELECT state, attempts FROM parcel WHERE item = ?{self.for_update}", queue_id)
        if any(state not in {"waiting", "held"} or attempts for state, attempts in parcels):
            self._do("UPDATE item SET key = NULL WHERE id = ?", queue_id)  # it belongs to the latest
            return None
        octets = self._octets(submission)
        self._do(
            "UPDATE item SET meta = ?, size = ?, sha256 = ? WHERE id = ?",
            *(_meta(submission), len(submission.content), hashlib.sha256(octets).hexdigest(), queue_id),
        )
        self._do("UPDATE content SET octets = ? WHERE item = ?", octets, queue_id)
        return Accepted(queue_id, repeated=True)

    def _repeated(self, submission: Submission) -> Accepted | None:
        found = self._one(
            "SELECT id, sender FROM item WHERE submitter = ? AND key = ?", submission.submitter, submission.key
        )
        if found is None:
            return None
        queue_id, sender = found
        targets = {address for (address,) in self._all("SELECT address FROM target WHERE item = ?", queue_id)}
        if sender != submission.sender or targets != set(submission.targets):
            raise KeyConflictError("this key was used before, with another sender or other recipients")
        refused = self._all(
            "SELECT address, attempt.text FROM attempt JOIN target ON target.item = attempt.item"
            " AND target.n = attempt.n WHERE attempt.item = ? AND result = 'suppressed'",
            queue_id,
        )
        return Accepted(str(queue_id), repeated=True, refused=dict(refused))

    def _refuse(self, queue_id: str, targets: Sequence[str], refused: Mapping[str, str], now: float) -> None:
        for n, address in enumerate(targets):
            if address in refused:
                note = (550, "5.7.1", refused[address])
                self._do(
                    "UPDATE target SET state = 'bounced', code = ?, enhanced = ?, text = ? WHERE item = ? AND n = ?",
                    *(*note, queue_id, n),
                )
                self._write_ledger(queue_id, n, now, "suppressed", *note, "")
        if len(refused) == len(targets):
            self._finish(queue_id, now)

    def suppressed(self, addresses: Sequence[str]) -> Mapping[str, str]:
        """Which of some addresses are on the suppression list, with the reasons as a peer may be told them."""
        if self._one("SELECT 1 FROM suppressed LIMIT 1") is None:
            return {}
        rows = self._in(
            "SELECT address, reason FROM suppressed WHERE address IN", [one.casefold() for one in addresses]
        )
        reasons = dict(rows)
        return {
            one: ": ".join(filter(None, ("the address is suppressed", reasons[one.casefold()])))
            for one in addresses
            if one.casefold() in reasons
        }


def _meta(submission: Submission) -> str:
    edition = {} if submission.edition is None else {EDITION: str(submission.edition)}
    return json.dumps({**submission.meta, **edition})


def _new_lease(item: Sequence[Any], submission: Submission, destination: str, owner: str) -> Lease:
    """The lease of the only parcel of an item that is written as leased.

    :param item: the columns of ITEM.
    """
    now = item[7]
    return Lease(
        item=Item(
            queue_id=item[0],
            submitter=submission.submitter,
            sender=submission.sender,
            key=submission.key,
            meta=MappingProxyType(dict(submission.meta)),
            size=item[5],
            sha256=item[6],
            accepted_at=now,
            state="leased",
            attempts=0,
            recoveries=0,
            waited=0.0,
            scheduled_at=now,
            next_at=now,
            not_before=submission.not_before,
            give_up_after=submission.give_up_after,
        ),
        targets=tuple(Target(index=n, address=one, changed_at=now) for n, one in enumerate(submission.targets)),
        owner=owner,
        fence=1,
        claimed_at=now,
        destination=destination,
    )
