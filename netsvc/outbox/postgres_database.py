"""The outbox in PostgreSQL, synchronously: every method is one step inside a transaction that its caller commits.

Several machines work on one queue. What one claims is locked for the claim and then leased; a lease belongs to an
owner, who says again and again that he lives, by the server's clock. Who was silent for too long loses his leases.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import Accepted, Lease, Submission
from netsvc.outbox.retry import CLOCK_STEP
from netsvc.outbox.rows import CLAIMABLE
from netsvc.outbox.steps import ANY
from netsvc.outbox.steps_operations import Operations
from netsvc.outbox.steps_queries import Queries

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

RECOVERED_AT_ONCE = 200  # leases of the dead in one transaction


@functools.cache
def _translated(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


class PostgresDatabase(Operations, Queries):
    """The steps on one connection, from :func:`netsvc.outbox.postgres_schema.connect`.

    :param part: this process: the totals that it adds to are its own, so that no other waits for their rows.
    """

    connection: psycopg.Connection[Any]
    for_update = " FOR UPDATE"

    def __init__(self, connection: psycopg.Connection[Any], random: Callable[[], float], part: str) -> None:
        super().__init__(connection, random)
        self.part = part
        self.owners: set[str] = set()
        self.beaten = False  # in this transaction an owner was said to live
        self.news = False  # in this transaction something became due

    def accept(self, submission: Submission, now: float, owner: str | None = None) -> Accepted:
        if owner is not None:
            self.beat([owner])
        return super().accept(submission, now, owner)

    def claim(self, owner: str, limit: int, octets: int, now: float, allowance: Allowance = ANY) -> tuple[Lease, ...]:
        self.beat([owner])
        return super().claim(owner, limit, octets, now, allowance)

    def claim_overdue(self, owner: str, destination: str, before: float, limit: int, now: float) -> tuple[Lease, ...]:
        self.beat([owner])
        return super().claim_overdue(owner, destination, before, limit, now)

    def beat(self, owners: Iterable[str]) -> None:
        """Say that owners live."""
        for owner in owners:
            self.owners.add(owner)
            self._do(
                "INSERT INTO runner (owner, seen_at) VALUES (?, clock_timestamp())"
                " ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at",
                owner,
            )
        self.beaten = True

    def release_of(self, transaction: str) -> int:
        """Give back what one transaction of ours leased; how many parcels."""
        return self._do(
            "UPDATE parcel SET state = 'waiting', owner = NULL WHERE state = 'leased' AND owner = ANY(?)"
            " AND xmin::text = (?::bigint & 4294967295)::text",  # xmin: who wrote the row, without the epoch
            *(list(self.owners), transaction),
        )

    def leases_of_the_dead(self, timeout: float) -> tuple[Lease, ...]:
        """Leases whose owners have been silent for so many seconds, some at once; they are locked for us.

        Nobody could be heard while the server was away: silence counts since it is there again.
        """
        rows = self._all(
            "SELECT item, n FROM parcel LEFT JOIN runner ON runner.owner = parcel.owner WHERE state = 'leased'"
            " AND greatest(seen_at, pg_postmaster_start_time()) < clock_timestamp() - make_interval(secs => ?) LIMIT ?"
            " FOR UPDATE OF parcel SKIP LOCKED",
            *(timeout, RECOVERED_AT_ONCE),
        )
        if not rows:
            self._do(
                "DELETE FROM runner WHERE seen_at < clock_timestamp() - make_interval(secs => ?) AND NOT EXISTS"
                " (SELECT 1 FROM parcel WHERE parcel.owner = runner.owner AND state = 'leased')",
                timeout,
            )
        return tuple(self._lease(queue_id, n) for queue_id, n in rows)

    def next_due(self, now: float, closed: Sequence[str] = ()) -> float | None:
        row = self._one(
            "SELECT next_at FROM parcel WHERE state = 'waiting' AND NOT destination = ANY(?) ORDER BY next_at LIMIT 1",
            list(closed),
        )
        back = self._one("SELECT 1 FROM parcel WHERE state = 'waiting' AND scheduled_at > ? LIMIT 1", now + CLOCK_STEP)
        if back:
            return now
        return None if row is None else max(now, float(row[0]))

    def _due(self, limit: int, now: float, allowance: Allowance) -> list[Sequence[Any]]:
        found: list[Sequence[Any]] = []
        full = {name for name in allowance.room if allowance.of(name) <= 0}
        taken: dict[str, int] = {}
        for later in (set(allowance.busy), set[str]()):  # those with nothing under way first
            while len(found) < limit:
                asked = limit - len(found)
                rows = self._all(
                    f"SELECT {CLAIMABLE} FROM parcel JOIN item ON item = id WHERE state = 'waiting'"
                    " AND next_at <= ? AND NOT destination = ANY(?) AND NOT (item, n) = ANY"
                    " (SELECT * FROM unnest(?::text[], ?::int[])) ORDER BY next_at LIMIT ? FOR UPDATE OF parcel"
                    " SKIP LOCKED",
                    *(now, list(full | later), [one[0] for one in found], [one[1] for one in found], asked),
                )
                for row in rows:
                    name = row[3]
                    if taken.get(name, 0) < allowance.of(name):
                        taken[name] = taken.get(name, 0) + 1
                        found.append(row)
                full |= {name for name, count in taken.items() if count >= allowance.of(name)}
                if len(rows) < asked:
                    break
        return found

    def _due_to(self, destination: str, before: float, limit: int) -> list[Sequence[Any]]:
        return self._all(
            f"SELECT {CLAIMABLE} FROM parcel JOIN item ON item = id WHERE destination = ?"
            " AND next_at <= ? AND state = 'waiting' ORDER BY next_at LIMIT ? FOR UPDATE OF parcel SKIP LOCKED",
            *(destination, before, limit),
        )

    def _accept(self, submission: Submission, now: float, *, whole_refusal: bool, owner: str | None = None) -> Accepted:
        accepted = super()._accept(submission, now, whole_refusal=whole_refusal, owner=owner)
        self.news = self.news or accepted.lease is None
        return accepted

    def _finish(self, queue_id: str, now: float) -> None:
        # Two machines may settle the last two parcels at the same time: one of them must see what the other did.
        self._one("SELECT 1 FROM item WHERE id = ? FOR UPDATE", queue_id)
        super()._finish(queue_id, now)

    def _waits(self, destination: str, next_at: float) -> None:
        """The index of what waits is enough here."""

    def _recount(self, destinations: Iterable[str]) -> None:
        """As above."""
        del destinations
        self.news = True

    def _do(self, sql: str, *values: Any) -> int:
        return self.connection.execute(_translated(sql), values).rowcount

    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(_translated(sql), list(rows))

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(_translated(sql), values).fetchall()
