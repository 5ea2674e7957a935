"""The life of an item, synchronously: acceptance, lease, settlement. Every method is one step inside a transaction.

The same SQL runs on SQLite and on PostgreSQL; what differs is asked of the subclass. A method that raises leaves work
to be rolled back.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import (
    Accepted,
    DamagedError,
    Lease,
    LeaseLostError,
    NoSuchItemError,
    Outcome,
    RedactedError,
    Settlement,
    Submission,
    Target,
    TargetState,
)
from netsvc.outbox.retry import CLOCK_STEP
from netsvc.outbox.rows import ITEM, LEDGER, PARCEL, TARGET, make_item, make_parcel, make_target
from netsvc.outbox.steps_arrival import Arrival
from netsvc.outbox.veil import unveiled

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

ANY = Allowance(each=1 << 30)
MEND_AT_ONCE = 1000  # parcels that a claim reschedules after the clock was set back

Settled = Callable[[Lease, Settlement, bytes], Iterable[Submission]]

_STATE: Final = 2  # its place among the columns of PARCEL
_PARCEL_WIDTH: Final = 8
_HELD: Final = "item = ? AND n = ? AND state = 'leased' AND owner = ? AND fence = ?"


class Steps(Arrival, abc.ABC):
    """Claims and settlements, behind acceptance."""

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

    def _take(self, owner: str, due: Iterable[Sequence[Any]], octets: int, now: float) -> tuple[Lease, ...]:
        taken: list[Sequence[Any]] = []
        total = 0
        for row in due:
            total += row[2]
            if taken and total > octets:
                break
            taken.append(row)
        if not taken:
            return ()
        self._many(
            "UPDATE parcel SET state = 'leased', owner = ?, fence = fence + 1, claimed_at = ? WHERE item = ? AND n = ?",
            [(owner, now, queue_id, n) for queue_id, n, *_ in taken],
        )
        targets = self._waiting_in([(queue_id, n) for queue_id, n, *_ in taken])
        self._recount({row[3] for row in taken})
        leases = []
        for queue_id, n, _, destination, fence, *columns in taken:
            columns[_STATE] = "leased"
            leases.append(
                Lease(
                    item=make_item(columns[_PARCEL_WIDTH:], [make_parcel(columns[:_PARCEL_WIDTH])]),
                    targets=tuple(targets[queue_id, n]),
                    owner=owner,
                    fence=fence + 1,
                    claimed_at=now,
                    destination=destination,
                    parcel=n,
                )
            )
        return tuple(leases)

    def _waiting_in(self, parcels: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], list[Target]]:
        """The targets that wait in each of some parcels, in their order."""
        found: dict[tuple[str, int], list[Target]] = {one: [] for one in parcels}
        pairs = ", ".join(["(?, ?)"] * len(parcels))
        rows = self._all(
            f"WITH wanted (wanted_item, wanted_parcel) AS (VALUES {pairs}) SELECT item, parcel, {TARGET} FROM wanted"
            " JOIN target ON item = wanted_item AND parcel = wanted_parcel WHERE state = 'waiting'",
            *(value for one in parcels for value in one),
        )
        for queue_id, n, *columns in rows:
            found[queue_id, n].append(make_target(columns))
        for some in found.values():
            some.sort(key=lambda one: one.index)
        return found

    @abc.abstractmethod
    def _due(self, limit: int, now: float, allowance: Allowance) -> list[Sequence[Any]]:
        """Parcels that may be claimed, with the columns of CLAIMABLE; the best first."""

    @abc.abstractmethod
    def _due_to(self, destination: str, before: float, limit: int) -> list[Sequence[Any]]:
        """Parcels to one destination that were due before a time; as above."""

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
            raise NoSuchItemError(f"there is no message {queue_id}")
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
        row = self._one("SELECT octets, sha256, size FROM content JOIN item ON item = id WHERE id = ?", queue_id)
        if row is None:
            if self._one("SELECT 1 FROM item WHERE id = ? AND sha256 = ''", queue_id) is not None:
                raise RedactedError(f"{queue_id} is finished and was redacted: what it held is not known any more")
            raise DamagedError(f"the content of {queue_id} is not in the store")
        stored, digest, size = row
        octets = self._whole(queue_id, stored)
        if not isinstance(octets, bytes) or hashlib.sha256(octets).hexdigest() != digest:
            raise DamagedError(f"the content of {queue_id} is not what was accepted: its SHA-256 differs")
        return unveiled(octets, size)

    def _whole(self, queue_id: str, octets: Any) -> Any:  # noqa: ARG002
        """What a row of contents stands for."""
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
        next_at = settlement.next_at
        recoveries = lease.item.recoveries + 1 if recovered else 0
        state = "done" if next_at is None else "waiting"
        parcel = (state, recoveries, settlement.waited, now, now if next_at is None else next_at)
        index_of = {one.address: one.index for one in lease.targets}
        if not self._record(lease, parcel, [(index_of[one.target], one, state) for one, state in settlement.outcomes]):
            raise _lost(lease)
        if self.tracks:
            for one, _ in settlement.outcomes:
                if one.reference:
                    self._track(lease.item.queue_id, index_of[one.target], one, now)
        unknown = sum(one.result == "ambiguous" for one, _ in settlement.outcomes)
        if unknown:
            self._count("unknown_attempts", unknown)
        if next_at is not None:
            self._waits(lease.destination, next_at)
        return tuple(self._accept(one, now, whole_refusal=False) for one in follow_ups)

    def _record(
        self, lease: Lease, parcel: Sequence[Any], outcomes: Sequence[tuple[int, Outcome, TargetState]]
    ) -> bool:
        """Write what became of a leased parcel and of its targets, finish the item if that was the last of it.

        :param parcel: its new state, recoveries, waited, scheduled_at and next_at.
        :param outcomes: each with the target's index and its new state.
        :return: False, and nothing is written, when the lease is not held any more.
        """
        queue_id, now = lease.item.queue_id, parcel[3]
        place = (queue_id, lease.parcel)
        changed = self._do(
            "UPDATE parcel SET state = ?, owner = NULL, attempts = attempts + 1, recoveries = ?, waited = ?,"
            f" scheduled_at = ?, next_at = ? WHERE {_HELD}",
            *(*parcel, *place, lease.owner, lease.fence),
        )
        if not changed:
            return False
        self._many(
            "UPDATE target SET state = ?, code = ?, enhanced = ?, text = ?, ambiguous = ambiguous + ?,"
            " changed_at = ? WHERE item = ? AND parcel = ? AND n = ?",
            [
                (state, one.code, one.enhanced, one.text, int(one.result == "ambiguous"), now, *place, n)
                for n, one, state in outcomes
            ],
        )
        self._many(
            LEDGER,
            [(queue_id, n, now, one.result, one.code, one.enhanced, one.text, one.via) for n, one, _ in outcomes],
        )
        if parcel[0] == "done":
            self._finish(queue_id, now)
        return True

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
