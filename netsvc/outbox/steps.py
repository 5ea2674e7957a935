"""The life of an item, synchronously: acceptance, lease, settlement. Every method is one step inside a transaction.

The same SQL runs on SQLite and on PostgreSQL; what differs is asked of the subclass. A method that raises leaves work
to be rolled back.
"""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import (
    Accepted,
    DamagedError,
    KeyConflictError,
    Lease,
    LeaseLostError,
    NoSuchItemError,
    RedactedError,
    Settlement,
    Submission,
    SuppressedError,
    Target,
    make_queue_id,
)
from netsvc.outbox.parcels import divide
from netsvc.outbox.retry import CLOCK_STEP
from netsvc.outbox.rows import ITEM, PARCEL, TARGET, make_item, make_parcel, make_target
from netsvc.outbox.steps_tracking import Tracking

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

ANY = Allowance(each=1 << 30)
MEND_AT_ONCE = 1000  # parcels that a claim reschedules after the clock was set back

Settled = Callable[[Lease, Settlement, bytes], Iterable[Submission]]

_HELD = "item = ? AND n = ? AND state = 'leased' AND owner = ? AND fence = ?"


class Steps(Tracking, abc.ABC):
    """Acceptance, claims and settlements."""

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
        if submission.key is not None:
            known = self._repeated(submission)
            if known is not None:
                return known
        refused = self.suppressed(submission.targets)
        if whole_refusal and len(refused) == len(submission.targets):
            raise SuppressedError(refused)
        queue_id = make_queue_id(now, self._random)
        columns = (
            submission.submitter,
            submission.sender,
            submission.key,
            json.dumps(dict(submission.meta)),
            len(submission.content),
            hashlib.sha256(submission.content).hexdigest(),
            now,
            submission.not_before,
            submission.give_up_after,
        )
        insert = f"INSERT INTO item ({ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
        while not self._do(insert, queue_id, *columns):
            queue_id = make_queue_id(now + self._random(), self._random)
        item = (queue_id, *columns)
        lease = self._lease_at_once(item, submission, now, owner) if owner is not None and not refused else None
        if lease is None:
            self._write_parcels(queue_id, submission, now, refused)
        self._do("INSERT INTO content (item, octets) VALUES (?, ?)", queue_id, submission.content)
        self._count("accepted", len(submission.targets))
        if refused:
            self._refuse(queue_id, submission.targets, refused, now)
        return Accepted(queue_id, refused=refused, lease=lease)

    def _lease_at_once(self, item: Sequence[Any], submission: Submission, now: float, owner: str) -> Lease | None:
        """Write the only parcel of a new item as leased; None, and nothing, when there are several or it is for later.

        The table of destinations never hears of it: nothing waits.
        """
        divisions = divide(len(submission.targets), submission.destinations)
        if len(divisions) > 1 or (submission.not_before or now) > now:
            return None
        (division,) = divisions
        parcel = (0, division.destination, "leased", 0, 0, 0.0, now, now)
        self._do(
            f"INSERT INTO parcel (item, {PARCEL}, owner, fence, claimed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)",
            *(item[0], *parcel, owner, now),
        )
        self._write_targets(str(item[0]), submission, 0, division.indexes, now)
        return Lease(
            item=make_item(item, [make_parcel(parcel)]),
            targets=tuple(Target(index=n, address=submission.targets[n], changed_at=now) for n in division.indexes),
            owner=owner,
            fence=1,
            claimed_at=now,
            destination=division.destination,
        )

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

    def _write_parcels(self, queue_id: str, submission: Submission, now: float, refused: Mapping[str, str]) -> None:
        next_at = max(now, submission.not_before or now)
        for n, division in enumerate(divide(len(submission.targets), submission.destinations)):
            waits = not refused or any(submission.targets[one] not in refused for one in division.indexes)
            self._do(
                "INSERT INTO parcel (item, n, destination, state, waited, scheduled_at, next_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                # The wait until not_before is no part of its life: it begins to live then.
                *(queue_id, n, division.destination, "waiting" if waits else "done", now - next_at, now, next_at),
            )
            if waits:
                self._waits(division.destination, next_at)
            self._write_targets(queue_id, submission, n, division.indexes, now)

    def _write_targets(
        self, queue_id: str, submission: Submission, parcel: int, indexes: Iterable[int], now: float
    ) -> None:
        self._many(
            "INSERT INTO target (item, n, parcel, address, state, changed_at) VALUES (?, ?, ?, ?, 'waiting', ?)",
            ((queue_id, one, parcel, submission.targets[one], now) for one in indexes),
        )

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
            one: f"the address is suppressed: {reasons[one.casefold()]}"
            for one in addresses
            if one.casefold() in reasons
        }

    def claim(self, owner: str, limit: int, octets: int, now: float, allowance: Allowance = ANY) -> tuple[Lease, ...]:
        """Lease what is due: the least busy destination first, there the longest due.

        :param limit: at most so many parcels.
        :param octets: at most so much content together, but always one parcel if one is due.
        :param allowance: what each destination may take.
        """
        self._mend(now)
        return self._take(owner, self._due(limit, now, allowance), octets, now)

    def claim_overdue(self, owner: str, destination: str, before: float, limit: int, now: float) -> tuple[Lease, ...]:
        """Lease what has been due to one destination since before a time, whatever its allowance.

        For a destination that cannot be reached: what waits there grows old although nobody tries it.
        """
        return self._take(owner, self._due_to(destination, before, limit), 1 << 62, now)

    def _take(self, owner: str, due: Iterable[tuple[str, int, int, str]], octets: int, now: float) -> tuple[Lease, ...]:
        leases: list[Lease] = []
        total = 0
        for queue_id, n, size, _ in due:
            total += size
            if leases and total > octets:
                break
            self._do(
                "UPDATE parcel SET state = 'leased', owner = ?, fence = fence + 1, claimed_at = ?"
                " WHERE item = ? AND n = ?",
                *(owner, now, queue_id, n),
            )
            leases.append(self._lease(queue_id, n))
        self._recount({one.destination for one in leases})
        return tuple(leases)

    @abc.abstractmethod
    def _due(self, limit: int, now: float, allowance: Allowance) -> list[tuple[str, int, int, str]]:
        """Parcels that may be claimed: item, number, size of the content, destination; the best first."""

    @abc.abstractmethod
    def _due_to(self, destination: str, before: float, limit: int) -> list[tuple[str, int, int, str]]:
        """Parcels to one destination that were due before a time."""

    def _mend(self, now: float) -> None:
        """Make due what was scheduled in what is now the future: the clock was set back."""
        future = self._all(
            "SELECT item, n, destination, next_at, waited, not_before FROM parcel JOIN item ON item = id"
            " WHERE state = 'waiting' AND scheduled_at > ? LIMIT ?",
            *(now + CLOCK_STEP, MEND_AT_ONCE),
        )
        for queue_id, n, destination, next_at, waited, not_before in future:
            scheduled = not_before is not None and not_before >= next_at  # for later, and not yet tried
            due = next_at if scheduled else min(next_at, now)
            self._do(
                "UPDATE parcel SET waited = ?, scheduled_at = ?, next_at = ? WHERE item = ? AND n = ?",
                *(now - due if scheduled else waited, now, due, queue_id, n),
            )
            self._waits(destination, due)

    def leased(self) -> tuple[Lease, ...]:
        """Every lease there is; at start these are of a predecessor that died, where only one process may be here."""
        rows = self._all("SELECT item, n FROM parcel WHERE state = 'leased'")
        return tuple(self._lease(queue_id, n) for queue_id, n in rows)

    def _lease(self, queue_id: str, n: int = 0) -> Lease:
        row = self._one(f"SELECT owner, fence, claimed_at, {PARCEL} FROM parcel WHERE item = ? AND n = ?", queue_id, n)
        if row is None:
            raise NoSuchItemError(f"there is no item {queue_id}")
        owner, fence, claimed_at, *columns = row
        parcel = make_parcel(columns)
        targets = self._all(
            f"SELECT {TARGET} FROM target WHERE item = ? AND parcel = ? AND state = 'waiting' ORDER BY n", queue_id, n
        )
        return Lease(
            item=make_item(self._one(f"SELECT {ITEM} FROM item WHERE id = ?", queue_id), [parcel]),
            targets=tuple(make_target(one) for one in targets),
            owner=owner,
            fence=fence,
            claimed_at=claimed_at,
            destination=parcel.destination,
            parcel=n,
        )

    def content(self, queue_id: str) -> bytes:
        """The octets of an item, checked.

        :raises RedactedError: they were redacted, because the item was final.
        :raises DamagedError: they are gone or not what was accepted.
        """
        row = self._one("SELECT octets, sha256 FROM content JOIN item ON item = id WHERE id = ?", queue_id)
        if row is None:
            if self._one("SELECT 1 FROM item WHERE id = ? AND sha256 = ''", queue_id) is not None:
                raise RedactedError(f"{queue_id} is finished and was redacted: what it held is not known any more")
            raise DamagedError(f"the content of {queue_id} is not in the store")
        octets, digest = row
        if not isinstance(octets, bytes) or hashlib.sha256(octets).hexdigest() != digest:
            raise DamagedError(f"the content of {queue_id} is not what was accepted: its SHA-256 differs")
        return octets

    def settle(
        self,
        lease: Lease,
        settlement: Settlement,
        now: float,
        follow_ups: Iterable[Submission] = (),
        *,
        recovered: bool = False,
    ) -> tuple[Accepted, ...]:
        """Write an attempt into the ledger and the states that follow from it; ends the lease.

        :param follow_ups: what is accepted by the same stroke, such as bounces: a crash neither loses nor doubles it.
            One whose targets are all suppressed is kept as bounced.
        :param recovered: the attempt died with its process.
        :raises LeaseLostError: the lease was not held any more; nothing is written.
        """
        item, done = lease.item, settlement.next_at is None
        changed = self._do(
            "UPDATE parcel SET state = ?, owner = NULL, attempts = attempts + 1, recoveries = ?, waited = ?,"
            f" scheduled_at = ?, next_at = ? WHERE {_HELD}",
            "done" if done else "waiting",
            item.recoveries + 1 if recovered else 0,
            settlement.waited,
            now,
            now if settlement.next_at is None else settlement.next_at,
            *(item.queue_id, lease.parcel, lease.owner, lease.fence),
        )
        if not changed:
            raise _lost(lease)
        by_address = {one.address: one.index for one in lease.targets}
        for outcome, state in settlement.outcomes:
            index = by_address[outcome.target]
            unknown = outcome.result == "ambiguous"
            self._do(
                "UPDATE target SET state = ?, code = ?, enhanced = ?, text = ?, ambiguous = ambiguous + ?,"
                " changed_at = ? WHERE item = ? AND parcel = ? AND n = ?",
                *(state, outcome.code, outcome.enhanced, outcome.text, int(unknown), now),
                *(item.queue_id, lease.parcel, index),
            )
            note = (outcome.result, outcome.code, outcome.enhanced, outcome.text, outcome.via)
            self._write_ledger(item.queue_id, index, now, *note)
            if unknown:
                self._count("unknown_attempts", 1)
            if outcome.reference and self.tracks:
                self._track(item.queue_id, index, outcome, now)
        if settlement.next_at is None:
            self._finish(item.queue_id, now)
        else:
            self._waits(lease.destination, settlement.next_at)
        return tuple(self._accept(one, now, whole_refusal=False) for one in follow_ups)

    def release(self, lease: Lease) -> None:
        """Give a lease back without an attempt; the parcel is due as before.

        :raises LeaseLostError: it was not held any more.
        """
        changed = self._do(
            "UPDATE parcel SET state = 'waiting', owner = NULL WHERE " + _HELD,
            *(lease.item.queue_id, lease.parcel, lease.owner, lease.fence),
        )
        if not changed:
            raise _lost(lease)
        self._waits(lease.destination, lease.item.next_at)


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(f"the lease {lease.fence} of {lease.item.queue_id} is not held any more")
