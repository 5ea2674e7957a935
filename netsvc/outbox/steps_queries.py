"""What can be asked of a queue, synchronously, and the purge: listing, one item, the books."""

from __future__ import annotations

import abc
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from netsvc.outbox.model import TARGET_STATES, Attempt, Audit, NoSuchItemError, Parcel, Summary, Target
from netsvc.outbox.rows import ITEM, PARCEL, TARGET, make_item, make_parcel, make_target
from netsvc.outbox.steps_tracking import Tracking

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

PURGE_AT_ONCE = 500  # items in one transaction, so that submissions need not wait long for a purge


class Queries(Tracking, abc.ABC):
    """The steps that look."""

    @abc.abstractmethod
    def next_due(self, now: float, closed: Sequence[str] = ()) -> float | None:
        """When the next parcel is due, wall clock; `now` if one is; None when none waits.

        :param closed: destinations whose parcels do not count.
        """

    def listing(self, after: str, limit: int, submitter: str | None = None, done: bool = False) -> tuple[Summary, ...]:
        """Items in order of acceptance, for a page of a listing.

        :param after: the queue id that the page begins behind; empty for the first.
        :param submitter: only his; None for everybody's.
        :param done: those that are finished as well. One with an unknown result is not: it is for a person to decide.
        """
        conditions, values = "id > ?", [after]
        if submitter is not None:
            conditions, values = f"{conditions} AND submitter = ?", [after, submitter]
        if done:
            return self._summaries(self._page(conditions, *values, limit))
        found = self._page(f"{conditions} AND finished_at IS NULL", *values, limit)
        unknown = "id IN (SELECT item FROM target WHERE state = 'ambiguous' AND item > ?)"
        found += self._page(f"{unknown} AND {conditions}", after, *values, limit)
        by_id = {row[0]: row for row in found}
        return self._summaries([by_id[queue_id] for queue_id in sorted(by_id)[:limit]])

    def _page(self, conditions: str, *values: object) -> list[Any]:
        return list(self._all(f"SELECT {ITEM} FROM item WHERE {conditions} ORDER BY id LIMIT ?", *values))

    def _summaries(self, rows: Sequence[Any]) -> tuple[Summary, ...]:
        ids = [row[0] for row in rows]
        parcels: dict[str, list[Parcel]] = defaultdict(list)
        targets: dict[str, list[Target]] = defaultdict(list)
        for queue_id, *columns in self._in(f"SELECT item, {PARCEL} FROM parcel WHERE item IN", ids):
            parcels[queue_id].append(make_parcel(columns))
        for queue_id, *columns in self._in(f"SELECT item, {TARGET} FROM target WHERE item IN", ids):
            targets[queue_id].append(make_target(columns))
        return tuple(
            Summary(
                item=make_item(row, parcels[row[0]]),
                targets=tuple(sorted(targets[row[0]], key=lambda one: one.index)),
                parcels=tuple(sorted(parcels[row[0]], key=lambda one: one.index)),
            )
            for row in rows
        )

    def show(self, queue_id: str) -> tuple[Summary, tuple[Attempt, ...]]:
        """One item with its ledger.

        :raises NoSuchItemError: there is none of that id.
        """
        found = self._summaries(self._all(f"SELECT {ITEM} FROM item WHERE id = ?", queue_id))
        if not found:
            raise NoSuchItemError(f"there is no message {queue_id}")
        ledger = self._all(
            "SELECT at, address, result, attempt.code, attempt.enhanced, attempt.text, via FROM attempt"
            " JOIN target ON target.item = attempt.item AND target.n = attempt.n WHERE attempt.item = ?"
            " ORDER BY attempt.id",
            queue_id,
        )
        names = ("at", "target", "result", "code", "enhanced", "text", "via")
        return found[0], tuple(Attempt(**dict(zip(names, line, strict=True))) for line in ledger)

    def audit(self) -> Audit:
        """The books: what was ever accepted, and where it is."""
        self.flush()
        # One statement: what another machine does between two of them would unbalance the books.
        rows = self._all(
            "SELECT 'total', name, sum(n) FROM total GROUP BY name"
            " UNION ALL SELECT 'target', state, count(*) FROM target GROUP BY state"
        )
        totals = {name: int(n) for table, name, n in rows if table == "total"}
        counted = {state: int(n) for table, state, n in rows if table == "target"}
        states = {state: counted.get(state, 0) + totals.get(f"purged_{state}", 0) for state in TARGET_STATES}
        return Audit(accepted=totals.get("accepted", 0), unknown_attempts=totals.get("unknown_attempts", 0), **states)

    def purge(self, before: float) -> int:
        """Forget items that were finished before a time, with content and ledger; their counts stay in the books.

        Held (ambiguous) ones are never forgotten. At most :data:`PURGE_AT_ONCE`; returns how many.
        """
        old = self._all(
            "SELECT id FROM item WHERE finished_at < ? AND NOT EXISTS"
            f" (SELECT 1 FROM target WHERE item = id AND state = 'ambiguous') LIMIT ?{self.for_update}",
            *(before, PURGE_AT_ONCE),
        )
        for (queue_id,) in old:
            for state, count in self._all("SELECT state, count(*) FROM target WHERE item = ? GROUP BY state", queue_id):
                self._count(f"purged_{state}", count)
            for table in ("attempt", "content", "target", "parcel"):
                self._do(f"DELETE FROM {table} WHERE item = ?", queue_id)
            self._do("DELETE FROM item WHERE id = ?", queue_id)
            self._forget_tracked(queue_id)
        return len(old)
