"""What operators do to a queue, synchronously: hold, release, requeue, remove, flush, and the suppression list.

Every change stands in the ledger under the operator's name. What is being delivered is left alone. An operation on much
goes in steps of some items, so that submissions need not wait for it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from netsvc.outbox.model import (
    ItemState,
    NoSuchItemError,
    Operated,
    Operation,
    Parcel,
    Selection,
    Suppressed,
    Target,
    TargetState,
)
from netsvc.outbox.retry import lived
from netsvc.outbox.rows import PARCEL, TARGET, make_parcel, make_target
from netsvc.outbox.steps import Steps

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

ITEMS_AT_ONCE = 200  # looked at in one step
TARGETS_AT_ONCE = 2000  # changed in one step, and then the rest of the item


@frozen
class _Rule:
    """What an operation may change, and what it makes of it.

    :param parcels: states of the parcels, :param targets: and of the targets in them, that it changes.
    """

    result: str
    parcels: tuple[ItemState, ...]
    targets: tuple[TargetState, ...]


_RULES: Mapping[Operation, _Rule] = {
    "hold": _Rule("held", ("waiting",), ("waiting",)),
    "release": _Rule("released", ("held",), ("waiting",)),
    "flush": _Rule("flushed", ("waiting",), ("waiting",)),
    "remove": _Rule("removed", ("waiting", "held", "done"), ("waiting", "ambiguous")),
    "requeue": _Rule("requeued", ("waiting", "held", "done"), ("ambiguous", "bounced", "expired")),
}


class Operations(Steps, abc.ABC):
    """The steps of operators."""

    def remove(self, queue_id: str, operator: str, now: float) -> int:
        """Take what waits or is held out of the queue, in an operator's name; how many targets that were.

        :raises NoSuchItemError: there is no such item, nothing of it is left to remove, or it is being delivered.
        """
        return self.operate("remove", Selection(queue_id=queue_id), operator, now).targets

    def requeue(self, queue_id: str, operator: str, now: float) -> int:
        """Make waiting what is held, bounced or expired, in an operator's name, due now; how many targets that were.

        :raises NoSuchItemError: there is no such item, nothing of it can wait again, or it is being delivered.
        """
        return self.operate("requeue", Selection(queue_id=queue_id), operator, now).targets

    def operate(self, operation: Operation, chosen: Selection, operator: str, now: float) -> Operated:
        """One step of an operation; go on with `after` until it is None.

        ``flush`` makes due now what waits; what was scheduled for later only if its item is named. ``release`` leaves
        the next try when it was. ``remove`` and ``requeue`` take what has an unknown result, too.

        :raises NoSuchItemError: one item was named, and there is none, or nothing of it can be so changed, or it is
            being delivered.
        :raises DamagedError: one item was named to be requeued, and its content is not there any more.
        """
        if chosen.queue_id is not None:
            targets = self._operate_one(operation, chosen, chosen.queue_id, operator, now)
            if not targets:
                raise self._refusal(operation, chosen.queue_id)
            return Operated(items=1, targets=targets)
        ids = self._candidates(operation, chosen.after)
        items = targets = 0
        for queue_id in ids:
            changed = self._operate_one(operation, chosen, queue_id, operator, now)
            items, targets = items + bool(changed), targets + changed
            if targets >= TARGETS_AT_ONCE:
                return Operated(items=items, targets=targets, after=queue_id)
        return Operated(items=items, targets=targets, after=ids[-1] if len(ids) == ITEMS_AT_ONCE else None)

    def _candidates(self, operation: Operation, after: str) -> list[str]:
        which = "" if operation in ("requeue", "remove") else " AND finished_at IS NULL"  # a bounce is finished
        rows = self._all(f"SELECT id FROM item WHERE id > ?{which} ORDER BY id LIMIT ?", after, ITEMS_AT_ONCE)
        return [queue_id for (queue_id,) in rows]

    def _refusal(self, operation: Operation, queue_id: str) -> NoSuchItemError:
        states = {state for (state,) in self._all("SELECT state FROM parcel WHERE item = ?", queue_id)}
        if not states:
            return NoSuchItemError(f"there is no message {queue_id}")
        if "leased" in states:
            return NoSuchItemError(f"{queue_id} is being delivered right now")
        return NoSuchItemError(f"no recipient of {queue_id} can be {_RULES[operation].result}")

    def _operate_one(self, operation: Operation, chosen: Selection, queue_id: str, operator: str, now: float) -> int:
        rule = _RULES[operation]
        parcels = [
            one
            for one in map(
                make_parcel, self._all(f"SELECT {PARCEL} FROM parcel WHERE item = ?{self.for_update}", queue_id)
            )
            if one.state in rule.parcels
        ]
        changed = 0
        for parcel in parcels:
            rows = self._all(
                f"SELECT {TARGET} FROM target WHERE item = ? AND parcel = ? ORDER BY n", queue_id, parcel.index
            )
            could = [one for one in map(make_target, rows) if one.state in rule.targets]
            meant = [one for one in could if chosen.has(one.address, parcel.destination)]
            if meant and self._DOES[operation](self, queue_id, parcel, meant, len(could), now, chosen):
                for one in meant:
                    self._write_ledger(queue_id, one.index, now, rule.result, None, None, f"by {operator}", "")
                changed += len(meant)
        return changed

    def _hold(  # noqa: PLR0917
        self, queue_id: str, parcel: Parcel, meant: Sequence[Target], could: int, now: float, chosen: Selection
    ) -> bool:
        del now, chosen
        n = parcel.index if len(meant) == could else self._split(queue_id, parcel, meant)
        self._do("UPDATE parcel SET state = 'held' WHERE item = ? AND n = ?", queue_id, n)
        self._recount([parcel.destination])
        return True

    def _release_held(  # noqa: PLR0917
        self, queue_id: str, parcel: Parcel, meant: Sequence[Target], could: int, now: float, chosen: Selection
    ) -> bool:
        del now, chosen
        n = parcel.index if len(meant) == could else self._split(queue_id, parcel, meant)
        self._do("UPDATE parcel SET state = 'waiting' WHERE item = ? AND n = ?", queue_id, n)
        self._waits(parcel.destination, parcel.next_at)
        return True

    def _flush(  # noqa: PLR0917
        self, queue_id: str, parcel: Parcel, meant: Sequence[Target], could: int, now: float, chosen: Selection
    ) -> bool:
        (not_before,) = self._one("SELECT not_before FROM item WHERE id = ?", queue_id)
        if chosen.queue_id is None and not_before is not None and not_before > now:
            return False
        n = parcel.index if len(meant) == could else self._split(queue_id, parcel, meant)
        waited = lived(parcel.waited, scheduled_at=parcel.scheduled_at, next_at=parcel.next_at, now=now)
        self._schedule(queue_id, n, parcel.destination, waited, now)
        return True

    def _remove(  # noqa: PLR0917
        self, queue_id: str, parcel: Parcel, meant: Sequence[Target], could: int, now: float, chosen: Selection
    ) -> bool:
        del could, chosen
        self._change(queue_id, parcel, meant, "removed", now)
        self._do(
            "UPDATE parcel SET state = 'done' WHERE item = ? AND n = ? AND NOT EXISTS"
            " (SELECT 1 FROM target WHERE target.item = ? AND parcel = ? AND target.state = 'waiting')",
            *(queue_id, parcel.index, queue_id, parcel.index),
        )
        self._recount([parcel.destination])
        self._finish(queue_id, now)
        return True

    def _requeue(  # noqa: PLR0917
        self, queue_id: str, parcel: Parcel, meant: Sequence[Target], could: int, now: float, chosen: Selection
    ) -> bool:
        del could
        if chosen.queue_id is not None:
            self.content(queue_id)
        elif self._one("SELECT 1 FROM content WHERE item = ?", queue_id) is None:
            return False
        self._change(queue_id, parcel, meant, "waiting", now)
        self._do("UPDATE item SET finished_at = NULL WHERE id = ?", queue_id)
        self._schedule(queue_id, parcel.index, parcel.destination, 0.0, now)
        return True

    _DOES: Mapping[Operation, Callable[..., bool]] = {
        "hold": _hold,
        "release": _release_held,
        "flush": _flush,
        "remove": _remove,
        "requeue": _requeue,
    }

    def _schedule(self, queue_id: str, n: int, destination: str, waited: float, now: float) -> None:
        self._do(
            "UPDATE parcel SET state = 'waiting', waited = ?, scheduled_at = ?, next_at = ? WHERE item = ? AND n = ?",
            *(waited, now, now, queue_id, n),
        )
        self._recount([destination])

    def _change(self, queue_id: str, parcel: Parcel, meant: Sequence[Target], state: TargetState, now: float) -> None:
        self._many(
            "UPDATE target SET state = ?, changed_at = ? WHERE item = ? AND parcel = ? AND n = ?",
            [(state, now, queue_id, parcel.index, one.index) for one in meant],
        )

    def _split(self, queue_id: str, parcel: Parcel, meant: Sequence[Target]) -> int:
        """Make some targets of a parcel one of their own; its number."""
        (last,) = self._one("SELECT max(n) FROM parcel WHERE item = ?", queue_id)
        columns = "destination, state, attempts, recoveries, waited, scheduled_at, next_at, fence"
        self._do(
            f"INSERT INTO parcel (item, n, {columns}) SELECT item, CAST(? AS INTEGER), {columns} FROM parcel"
            " WHERE item = ? AND n = ?",
            *(last + 1, queue_id, parcel.index),
        )
        self._many(
            "UPDATE target SET parcel = ? WHERE item = ? AND parcel = ? AND n = ?",
            [(last + 1, queue_id, parcel.index, one.index) for one in meant],
        )
        return int(last) + 1

    # The suppression list

    def suppress(self, address: str, reason: str, operator: str, now: float) -> None:
        """Take nothing more for an address, in an operator's name; what waits for it is not touched."""
        self._do(
            "INSERT INTO suppressed (address, reason, operator, since) VALUES (?, ?, ?, ?) ON CONFLICT (address)"
            " DO UPDATE SET reason = excluded.reason, operator = excluded.operator, since = excluded.since",
            *(address.casefold(), reason, operator, now),
        )

    def unsuppress(self, address: str) -> bool:
        """Take an address off the list; whether it was there."""
        return bool(self._do("DELETE FROM suppressed WHERE address = ?", address.casefold()))

    def suppressions(self, after: str, limit: int) -> tuple[Suppressed, ...]:
        """A page of the list, by address, behind one."""
        rows = self._all(
            "SELECT address, reason, operator, since FROM suppressed WHERE address > ? ORDER BY address LIMIT ?",
            *(after, limit),
        )
        return tuple(
            Suppressed(address=address, reason=reason, operator=operator, since=since)
            for address, reason, operator, since in rows
        )
