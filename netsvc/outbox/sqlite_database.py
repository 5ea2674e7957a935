"""The outbox in SQLite, synchronously: every method is one step inside a transaction that its caller commits.

It has no thread, no lock and no clock of its own; :mod:`netsvc.outbox.sqlite_store` gives it one thread and groups the
commits. The table of destinations says when each has its earliest waiting parcel, so that a claim costs as much as it
takes and not as much as waits: ten thousand parcels to a destination that is down are one row of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from netsvc.outbox.destinations import Allowance
from netsvc.outbox.retry import CLOCK_STEP
from netsvc.outbox.steps_operations import Operations
from netsvc.outbox.steps_queries import Queries


class Database(Operations, Queries):
    """The steps on one connection, from :func:`netsvc.outbox.sqlite_schema.connect`."""

    connection: sqlite3.Connection

    def next_due(self, now: float, closed: Sequence[str] = ()) -> float | None:
        shut = set(closed)
        rows = self._all("SELECT name, next_at FROM destination ORDER BY next_at LIMIT ?", len(shut) + 1)
        due = next((next_at for name, next_at in rows if name not in shut), None)
        back = self._one("SELECT 1 FROM parcel WHERE state = 'waiting' AND scheduled_at > ? LIMIT 1", now + CLOCK_STEP)
        if back:
            return now
        return None if due is None else max(now, float(due))

    def _due(self, limit: int, now: float, allowance: Allowance) -> list[tuple[str, int, int, str]]:
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
                found.append((busy + turn, next_at, tuple(parcel)))
        found.sort(key=lambda one: one[:2])
        return [parcel for _, _, parcel in found[:limit]]

    def _due_to(self, destination: str, before: float, limit: int) -> list[tuple[str, int, int, str]]:
        return [tuple(parcel) for _, *parcel in self._waiting(destination, before, limit)]

    def _waiting(self, destination: str, until: float, limit: int) -> list[Any]:
        return self._all(
            "SELECT next_at, item, n, size, destination FROM parcel JOIN item ON item = id"
            " WHERE destination = ? AND next_at <= ? AND state = 'waiting' ORDER BY next_at LIMIT ?",
            *(destination, until, limit),
        )

    def _waits(self, destination: str, next_at: float) -> None:
        self._do(
            "INSERT INTO destination (name, next_at) VALUES (?, ?) ON CONFLICT (name)"
            " DO UPDATE SET next_at = min(next_at, excluded.next_at)",
            *(destination, next_at),
        )

    def _recount(self, destinations: Iterable[str]) -> None:
        for name in destinations:
            row = self._one(
                "SELECT next_at FROM parcel WHERE destination = ? AND state = 'waiting' ORDER BY next_at LIMIT 1", name
            )
            if row is None:
                self._do("DELETE FROM destination WHERE name = ?", name)
            else:
                self._do(
                    "INSERT INTO destination (name, next_at) VALUES (?, ?) ON CONFLICT (name)"
                    " DO UPDATE SET next_at = excluded.next_at",
                    *(name, row[0]),
                )

    def _do(self, sql: str, *values: Any) -> int:
        return self.connection.execute(sql, values).rowcount

    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.connection.executemany(sql, rows)

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()
