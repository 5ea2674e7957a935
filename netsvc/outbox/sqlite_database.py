"""The outbox in SQLite, synchronously: every method is one step inside a transaction that its caller commits.

It has no thread, no lock and no clock of its own; :mod:`netsvc.outbox.sqlite_store` gives it one thread and groups the
commits. The table of destinations says when each has its earliest waiting parcel, so that a claim costs as much as it
takes and not as much as waits: ten thousand parcels to a destination that is down are one row of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from netsvc.outbox.bodies import LEAST, Bodies
from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import Lease, Outcome, TargetState
from netsvc.outbox.retry import CLOCK_STEP
from netsvc.outbox.rows import CLAIMABLE
from netsvc.outbox.sqlite_strokes import ARRIVE, LOST, RECORD
from netsvc.outbox.steps_operations import Operations
from netsvc.outbox.steps_queries import Queries

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

REMEMBERED = 1000  # destinations


class Database(Operations, Queries):
    """The steps on one connection, from :func:`netsvc.outbox.sqlite_schema.connect`.

    :param bodies: has what is large; None: the database has all of it.
    """

    connection: sqlite3.Connection

    def __init__(
        self, connection: sqlite3.Connection, random: Callable[[], float], bodies: Bodies | None = None
    ) -> None:
        super().__init__(connection, random)
        self._bodies = bodies
        # What the tables are known to hold, as nobody else writes them.
        self._earliest: dict[str, float] = {}  # rows of `destination`
        self._none_suppressed = False

    def undone(self, mark: Mapping[str, int] = MappingProxyType({})) -> None:
        super().undone(mark)
        self._earliest.clear()
        self._none_suppressed = False

    def suppressed(self, addresses: Sequence[str]) -> Mapping[str, str]:
        if self._none_suppressed:
            return {}
        self._none_suppressed = self._one("SELECT 1 FROM suppressed LIMIT 1") is None
        return super().suppressed(addresses)

    def suppress(self, address: str, reason: str, operator: str, now: float) -> None:
        self._none_suppressed = False
        super().suppress(address, reason, operator, now)

    def _write_new(self, item: Sequence[Any], parcel: Sequence[Any], address: str, content: bytes) -> bool:
        # Nothing of a file is overwritten when it is removed, so what will be redacted is in the database.
        large = self._bodies if len(content) >= LEAST and not self.redacts else None
        try:
            self.connection.execute(ARRIVE, (*item, *parcel[1:], address, content if large is None else b""))
        except sqlite3.IntegrityError:
            if self._one("SELECT 1 FROM item WHERE id = ?", item[0]) is None:
                raise
            return False
        if large is not None:
            large.write(item[0], content)
        return True

    def _whole(self, queue_id: str, octets: Any) -> Any:
        return octets if octets != b"" or self._bodies is None else self._bodies.read(queue_id)

    def flush(self) -> None:
        super().flush()
        if self._bodies is not None and self._bodies.fresh:
            self._bodies.sync(self._filed(self._bodies.fresh))

    def lasts(self) -> None:
        """What was committed is on the disk: files that nothing refers to any more are removed."""
        bodies = self._bodies
        if bodies is None or bodies.empty:
            return
        bodies.committed()
        gone = [queue_id for (queue_id,) in self._all("SELECT item FROM gone")]
        if gone:
            self._do("DELETE FROM gone")
            bodies.remove(gone)

    def failed(self) -> None:
        """A commit failed, or never came."""
        if self._bodies is not None:
            self._bodies.undone()

    def sweep(self) -> None:
        """Remove the files that belong to nothing: at start."""
        if self._bodies is not None:
            self._bodies.sweep(self._filed)
            self._do("DELETE FROM gone")

    def _filed(self, queue_ids: Sequence[str]) -> set[str]:
        """Which of some items have their content in a file."""
        rows = self._in("SELECT item FROM content WHERE length(octets) = 0 AND item IN", queue_ids)
        return {queue_id for (queue_id,) in rows}

    def _record(
        self, lease: Lease, parcel: Sequence[Any], outcomes: Sequence[tuple[int, Outcome, TargetState]]
    ) -> bool:
        if len(outcomes) != 1 or self.redacts:
            return super()._record(lease, parcel, outcomes)
        ((n, one, state),) = outcomes
        held = (lease.item.queue_id, lease.parcel, lease.owner, lease.fence)
        note = (one.result, one.code, one.enhanced, one.text, one.via)
        try:
            self.connection.execute(RECORD, (*held, *parcel, n, state, one.result == "ambiguous", *note))
        except sqlite3.IntegrityError as error:
            if str(error) != LOST:
                raise
            return False
        return True

    def next_due(self, now: float, closed: Sequence[str] = ()) -> float | None:
        shut = set(closed)
        rows = self._all("SELECT name, next_at FROM destination ORDER BY next_at LIMIT ?", len(shut) + 1)
        due = next((next_at for name, next_at in rows if name not in shut), None)
        back = self._one("SELECT 1 FROM parcel WHERE state = 'waiting' AND scheduled_at > ? LIMIT 1", now + CLOCK_STEP)
        if back:
            return now
        return None if due is None else max(now, float(due))

    def _due(self, limit: int, now: float, allowance: Allowance) -> list[Sequence[Any]]:
        # So many rows that `limit` destinations are among them of which nothing special is known, if there are.
        look = limit + len(allowance.room)
        rows = self._all("SELECT name FROM destination WHERE next_at <= ? ORDER BY next_at LIMIT ?", now, look)
        names = [name for (name,) in rows if allowance.of(name) > 0]
        names.sort(key=lambda name: allowance.busy.get(name, 0))
        del names[limit:]
        found = []
        for name in names:
            share = min(allowance.of(name), -(-limit // len(names)))
            busy = allowance.busy.get(name, 0)
            for turn, (next_at, *parcel) in enumerate(self._waiting(name, now, share)):
                found.append((busy + turn, next_at, parcel))
        found.sort(key=lambda one: one[:2])
        return [parcel for _, _, parcel in found[:limit]]

    def _due_to(self, destination: str, before: float, limit: int) -> list[Sequence[Any]]:
        return [parcel for _, *parcel in self._waiting(destination, before, limit)]

    def _waiting(self, destination: str, until: float, limit: int) -> list[Any]:
        return self._all(
            f"SELECT next_at, {CLAIMABLE} FROM parcel JOIN item ON item = id"
            " WHERE destination = ? AND next_at <= ? AND state = 'waiting' ORDER BY next_at LIMIT ?",
            *(destination, until, limit),
        )

    def _waits(self, destination: str, next_at: float) -> None:
        known = self._earliest.get(destination)
        if known is None or known > next_at:
            (known,) = self._one(
                "INSERT INTO destination (name, next_at) VALUES (?, ?) ON CONFLICT (name)"
                " DO UPDATE SET next_at = min(next_at, excluded.next_at) RETURNING next_at",
                *(destination, next_at),
            )
            self._remember(destination, known)

    def _recount(self, destinations: Iterable[str]) -> None:
        for name in destinations:
            row = self._one(
                "SELECT next_at FROM parcel WHERE destination = ? AND state = 'waiting' ORDER BY next_at LIMIT 1", name
            )
            if row is None:
                self._do("DELETE FROM destination WHERE name = ?", name)
                self._earliest.pop(name, None)
            elif row[0] != self._earliest.get(name):
                self._do(
                    "INSERT INTO destination (name, next_at) VALUES (?, ?) ON CONFLICT (name)"
                    " DO UPDATE SET next_at = excluded.next_at",
                    *(name, row[0]),
                )
                self._remember(name, row[0])

    def _remember(self, destination: str, next_at: float) -> None:
        if len(self._earliest) >= REMEMBERED:
            self._earliest.clear()
        self._earliest[destination] = next_at

    def _do(self, sql: str, *values: Any) -> int:
        return self.connection.execute(sql, values).rowcount

    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.connection.executemany(sql, rows)

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()
