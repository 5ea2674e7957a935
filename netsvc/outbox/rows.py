"""What the steps of an outbox ask of a database connection: SQL that SQLite and PostgreSQL know; ? is a value."""

from __future__ import annotations

import abc
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from netsvc.outbox.model import Item, ItemState, Parcel, Target

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

ITEM: Final = "id, submitter, sender, key, meta, size, sha256, accepted_at, not_before, give_up_after"
PARCEL: Final = "n, destination, state, attempts, recoveries, waited, scheduled_at, next_at"
TARGET: Final = "n, address, state, code, enhanced, text, ambiguous, changed_at, parcel"
# Of a parcel and its item, for a claim.
CLAIMABLE: Final = f"item, parcel.n, size, destination, fence, {PARCEL}, {ITEM}"
LEDGER: Final = "INSERT INTO attempt (item, n, at, result, code, enhanced, text, via) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
AT_ONCE: Final = 500  # values in one IN list


class Rows(abc.ABC):
    """One connection, inside a transaction that its caller commits.

    :param random: gives floats in [0, 1), for queue ids.
    """

    for_update = ""  # what a SELECT ends with that takes the rows for its transaction; nothing where only one writes
    redacts = False  # whether what is final loses its content and digest: see Custody.redact
    redacted = False  # whether it was done since the store last looked
    part = ""  # whose part of the totals this connection adds to

    def __init__(self, connection: Any, random: Callable[[], float]) -> None:
        self.connection = connection
        self._random = random
        self._counted: dict[str, int] = {}  # in this transaction, not yet added to the totals

    @abc.abstractmethod
    def _do(self, sql: str, *values: Any) -> int:
        """Change rows; how many."""

    @abc.abstractmethod
    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Change rows, once for each line of values."""

    @abc.abstractmethod
    def _all(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a question."""

    def _one(self, sql: str, *values: Any) -> Any:
        """The first row of a question, or None."""
        rows = self._all(sql, *values)
        return rows[0] if rows else None

    def _in(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """The rows of a question that ends with IN; in steps."""
        found = []
        for start in range(0, len(values), AT_ONCE):
            some = values[start : start + AT_ONCE]
            found += self._all(f"{sql} ({', '.join('?' * len(some))})", *some)
        return found

    def _count(self, name: str, amount: int) -> None:
        self._counted[name] = self._counted.get(name, 0) + amount

    def flush(self) -> None:
        """Add to the totals what was counted: once for a transaction, before its commit."""
        for name, amount in self._counted.items():
            self._do(
                "INSERT INTO total (name, part, n) VALUES (?, ?, ?)"
                " ON CONFLICT (name, part) DO UPDATE SET n = total.n + excluded.n",
                *(name, self.part, amount),
            )
        self._counted.clear()

    def mark(self) -> Mapping[str, int]:
        """What `undone` needs to know when a savepoint that begins here is rolled back."""
        return dict(self._counted)

    def undone(self, mark: Mapping[str, int] = MappingProxyType({})) -> None:
        """What was done since a mark was rolled back; without one, the whole transaction."""
        self._counted = dict(mark)

    def _write_ledger(self, queue_id: str, n: int, at: float, result: str, *note: int | str | None) -> None:
        self._do(LEDGER, queue_id, n, at, result, *note)

    def _drop_content(self, queue_id: str) -> None:
        """Forget the octets once nobody can need them; those of a bounce stay until the purge, unless we redact."""
        final = "'delivered', 'removed'" + (", 'bounced', 'expired'" if self.redacts else "")
        dropped = self._do(
            "DELETE FROM content WHERE item = ? AND NOT EXISTS"
            f" (SELECT 1 FROM target WHERE item = ? AND state NOT IN ({final}))",
            *(queue_id, queue_id),
        )
        if dropped and self.redacts:
            self._do("UPDATE item SET sha256 = '' WHERE id = ?", queue_id)
            self.redacted = True

    def _finish(self, queue_id: str, now: float) -> None:
        """After a parcel was done: so is the item, when it was the last."""
        self._do(
            "UPDATE item SET finished_at = ? WHERE id = ? AND NOT EXISTS"
            " (SELECT 1 FROM parcel WHERE item = ? AND state != 'done')",
            *(now, queue_id, queue_id),
        )
        self._drop_content(queue_id)

    @abc.abstractmethod
    def _waits(self, destination: str, next_at: float) -> None:
        """A parcel to a destination waits from now on."""

    @abc.abstractmethod
    def _recount(self, destinations: Iterable[str]) -> None:
        """Parcels to these destinations wait no more, or at another time."""


_ORDER: Final[Mapping[ItemState, int]] = {"leased": 0, "waiting": 1, "held": 2, "done": 3}


def make_item(row: Sequence[Any], parcels: Sequence[Parcel]) -> Item:
    """An item with the progress of the one of these parcels that is due first."""
    queue_id, submitter, sender, key, meta, size, sha256, accepted_at, not_before, give_up_after = row
    first = min(parcels, key=lambda one: (_ORDER[one.state], one.next_at)) if len(parcels) > 1 else parcels[0]
    return Item(
        queue_id=queue_id,
        submitter=submitter,
        sender=sender,
        key=key,
        meta=make_meta(meta),
        size=size,
        sha256=sha256,
        accepted_at=accepted_at,
        state=first.state,
        attempts=max(one.attempts for one in parcels),
        recoveries=first.recoveries,
        waited=first.waited,
        scheduled_at=first.scheduled_at,
        next_at=first.next_at,
        not_before=not_before,
        give_up_after=give_up_after,
    )


def make_parcel(row: Sequence[Any]) -> Parcel:
    """A parcel from the columns of PARCEL."""
    index, destination, state, attempts, recoveries, waited, scheduled_at, next_at = row
    return Parcel(
        index=index,
        destination=destination,
        state=state,
        attempts=attempts,
        recoveries=recoveries,
        waited=waited,
        scheduled_at=scheduled_at,
        next_at=next_at,
    )


def make_target(row: Sequence[Any]) -> Target:
    """A target from the columns of TARGET."""
    index, address, state, code, enhanced, text, ambiguous, changed_at, parcel = row
    return Target(
        index=index,
        address=address,
        state=state,
        code=code,
        enhanced=enhanced,
        text=text,
        ambiguous=ambiguous,
        changed_at=changed_at,
        parcel=parcel,
    )


def make_meta(text: str) -> Mapping[str, str]:
    """What the kind kept; nothing when it is damaged, because delivery does not hang on it."""
    try:
        return MappingProxyType(dict(json.loads(text)))
    except (ValueError, TypeError):
        return MappingProxyType({})
