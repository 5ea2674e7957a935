"""The outbox in SQLite, synchronously: every method is one step inside a transaction that its caller commits.

It has no thread, no lock and no clock of its own; :mod:`netsvc.outbox.sqlite_store` gives it one thread and groups the
commits. A method that raises leaves work to be rolled back.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from netsvc.outbox.model import (
    TARGET_STATES,
    Accepted,
    Attempt,
    Audit,
    DamagedError,
    Item,
    KeyConflictError,
    Lease,
    LeaseLostError,
    NoSuchItemError,
    Settlement,
    Submission,
    Summary,
    Target,
    TargetState,
    make_queue_id,
)
from netsvc.outbox.retry import CLOCK_STEP

# ruff: noqa: S608 - what is put into SQL text here are constants of this module; values are always bound

PURGE_AT_ONCE = 500  # items in one transaction, so that submissions need not wait long for a purge

_ITEM: Final = (
    "id, submitter, sender, key, meta, size, sha256, accepted_at, state, attempts, recoveries, waited,"
    " scheduled_at, next_at"
)
_TARGET: Final = "n, address, state, code, enhanced, text, ambiguous, changed_at"
_HELD: Final = "id = ? AND state = 'leased' AND owner = ? AND fence = ?"
_UNRESOLVED: Final = "('waiting', 'ambiguous')"


class Database:
    """The steps on one connection.

    :param connection: from :func:`netsvc.outbox.sqlite_schema.connect`.
    :param random: gives floats in [0, 1), for queue ids.
    """

    def __init__(self, connection: sqlite3.Connection, random: Callable[[], float]) -> None:
        self.connection = connection
        self._random = random

    def accept(self, submission: Submission, now: float) -> Accepted:
        """Take a submission in; with a known key, find the first receipt.

        :raises KeyConflictError: the key was used for another sender or other targets.
        """
        if submission.key is not None:
            known = self._repeated(submission)
            if known is not None:
                return Accepted(known, repeated=True)
        queue_id = make_queue_id(now, self._random)
        while self._one("SELECT 1 FROM item WHERE id = ?", queue_id) is not None:
            queue_id = make_queue_id(now + self._random(), self._random)
        self._do(
            "INSERT INTO item (id, submitter, key, sender, meta, size, sha256, accepted_at, state, scheduled_at,"
            " next_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?)",
            queue_id,
            submission.submitter,
            submission.key,
            submission.sender,
            json.dumps(dict(submission.meta)),
            len(submission.content),
            hashlib.sha256(submission.content).hexdigest(),
            now,
            now,
            now,
        )
        self.connection.executemany(
            "INSERT INTO target (item, n, address, state, changed_at) VALUES (?, ?, ?, 'waiting', ?)",
            ((queue_id, n, address, now) for n, address in enumerate(submission.targets)),
        )
        self._do("INSERT INTO content (item, octets) VALUES (?, ?)", queue_id, submission.content)
        self._count("accepted", len(submission.targets))
        return Accepted(queue_id)

    def _repeated(self, submission: Submission) -> str | None:
        found = self._one(
            "SELECT id, sender FROM item WHERE submitter = ? AND key = ?", submission.submitter, submission.key
        )
        if found is None:
            return None
        queue_id, sender = found
        targets = {address for (address,) in self._all("SELECT address FROM target WHERE item = ?", queue_id)}
        if sender != submission.sender or targets != set(submission.targets):
            raise KeyConflictError("this key was used before, with another sender or other recipients")
        return str(queue_id)

    def claim(self, owner: str, limit: int, octets: int, now: float) -> tuple[Lease, ...]:
        """Lease what is due, the longest due first.

        :param limit: at most so many items.
        :param octets: at most so much content together, but always one item if one is due.
        """
        due = self._all(
            "SELECT id, size FROM item WHERE state = 'waiting' AND next_at <= ? ORDER BY next_at LIMIT ?", now, limit
        )
        if len(due) < limit:  # what was scheduled in what is now the future: the clock was set back
            due += self._all(
                "SELECT id, size FROM item WHERE state = 'waiting' AND scheduled_at > ? AND next_at > ?"
                " ORDER BY scheduled_at LIMIT ?",
                now + CLOCK_STEP,
                now,
                limit - len(due),
            )
        leases: list[Lease] = []
        total = 0
        for queue_id, size in due:
            total += size
            if leases and total > octets:
                break
            self._do(
                "UPDATE item SET state = 'leased', owner = ?, fence = fence + 1, claimed_at = ? WHERE id = ?",
                owner,
                now,
                queue_id,
            )
            leases.append(self._lease(queue_id))
        return tuple(leases)

    def leased(self) -> tuple[Lease, ...]:
        """Every lease there is; at start these are of a predecessor that died, because only one process may be here."""
        return tuple(self._lease(queue_id) for (queue_id,) in self._all("SELECT id FROM item WHERE state = 'leased'"))

    def _lease(self, queue_id: str) -> Lease:
        row = self._one(f"SELECT owner, fence, claimed_at, {_ITEM} FROM item WHERE id = ?", queue_id)
        if row is None:
            raise NoSuchItemError(f"there is no item {queue_id}")
        owner, fence, claimed_at, *item = row
        waiting = tuple(one for one in self._targets(queue_id) if one.state == "waiting")
        return Lease(item=_item(item), targets=waiting, owner=owner, fence=fence, claimed_at=claimed_at)

    def content(self, queue_id: str) -> bytes:
        """The octets of an item, checked.

        :raises DamagedError: they are gone or not what was accepted.
        """
        row = self._one("SELECT octets, sha256 FROM content JOIN item ON item = id WHERE id = ?", queue_id)
        if row is None:
            raise DamagedError(f"the content of {queue_id} is not in the store")
        octets, digest = row
        if not isinstance(octets, bytes) or hashlib.sha256(octets).hexdigest() != digest:
            raise DamagedError(f"the content of {queue_id} is not what was accepted: its SHA-256 differs")
        return octets

    def settle(self, lease: Lease, settlement: Settlement, now: float, *, recovered: bool = False) -> None:
        """Write an attempt into the ledger and the states that follow from it; ends the lease.

        :param recovered: the attempt died with its process.
        :raises LeaseLostError: the lease was not held any more; nothing is written.
        """
        changed = self._do(
            "UPDATE item SET state = ?, owner = NULL, attempts = attempts + 1, recoveries = ?, waited = ?,"
            " scheduled_at = ?, next_at = ?, finished_at = ?"
            f" WHERE {_HELD}",
            "done" if settlement.next_at is None else "waiting",
            lease.item.recoveries + 1 if recovered else 0,
            settlement.waited,
            now,
            now if settlement.next_at is None else settlement.next_at,
            now if settlement.next_at is None else None,
            lease.item.queue_id,
            lease.owner,
            lease.fence,
        )
        if not changed:
            raise LeaseLostError(f"the lease {lease.fence} of {lease.item.queue_id} is not held any more")
        by_address = {one.address: one.index for one in lease.targets}
        for outcome, state in settlement.outcomes:
            index = by_address[outcome.target]
            unknown = outcome.result == "ambiguous"
            self._do(
                "UPDATE target SET state = ?, code = ?, enhanced = ?, text = ?, ambiguous = ambiguous + ?,"
                " changed_at = ? WHERE item = ? AND n = ?",
                *(state, outcome.code, outcome.enhanced, outcome.text, int(unknown), now, lease.item.queue_id, index),
            )
            note = (outcome.result, outcome.code, outcome.enhanced, outcome.text, outcome.via)
            self._write_ledger(lease.item.queue_id, index, now, *note)
            if unknown:
                self._count("unknown_attempts", 1)
        self._drop_content(lease.item.queue_id)

    def release(self, lease: Lease) -> None:
        """Give a lease back without an attempt; the item is due as before.

        :raises LeaseLostError: it was not held any more.
        """
        changed = self._do(
            "UPDATE item SET state = 'waiting', owner = NULL WHERE " + _HELD,
            *(lease.item.queue_id, lease.owner, lease.fence),
        )
        if not changed:
            raise LeaseLostError(f"the lease {lease.fence} of {lease.item.queue_id} is not held any more")

    def remove(self, queue_id: str, operator: str, now: float) -> int:
        """Take what waits or is held out of the queue, in an operator's name; how many targets that were.

        :raises NoSuchItemError: there is no such item, nothing of it is left to remove, or it is being delivered.
        """
        return self._operate(queue_id, operator, now, _UNRESOLVED, "removed", "removed")

    def requeue(self, queue_id: str, operator: str, now: float) -> int:
        """Make waiting what is held, bounced or expired, in an operator's name, due now; how many targets that were.

        :raises NoSuchItemError: there is no such item, nothing of it can wait again, or it is being delivered.
        """
        self.content(queue_id)
        return self._operate(queue_id, operator, now, "('ambiguous', 'bounced', 'expired')", "waiting", "requeued")

    def _operate(  # noqa: PLR0917
        self, queue_id: str, operator: str, now: float, states: str, state: TargetState, result: str
    ) -> int:
        row = self._one("SELECT state FROM item WHERE id = ?", queue_id)
        if row is None:
            raise NoSuchItemError(f"there is no item {queue_id}")
        if row[0] == "leased":
            raise NoSuchItemError(f"{queue_id} is being delivered right now")
        chosen = self._all(f"SELECT n FROM target WHERE item = ? AND state IN {states}", queue_id)
        if not chosen:
            raise NoSuchItemError(f"no recipient of {queue_id} can be {result}")
        for (n,) in chosen:
            self._do("UPDATE target SET state = ?, changed_at = ? WHERE item = ? AND n = ?", state, now, queue_id, n)
            self._write_ledger(queue_id, n, now, result, None, None, f"by {operator}", "")
        if state == "waiting":
            self._do(
                "UPDATE item SET state = 'waiting', waited = 0, scheduled_at = ?, next_at = ?,"
                " finished_at = NULL WHERE id = ?",
                *(now, now, queue_id),
            )
        else:
            self._do("UPDATE item SET state = 'done', finished_at = ? WHERE id = ?", now, queue_id)
            self._drop_content(queue_id)
        return len(chosen)

    def next_due(self, now: float) -> float | None:
        """When the next item is due, wall clock; `now` if one is; None when none waits."""
        row = self._one("SELECT next_at FROM item WHERE state = 'waiting' ORDER BY next_at LIMIT 1")
        if row is None:
            return None
        back = self._one("SELECT 1 FROM item WHERE state = 'waiting' AND scheduled_at > ? LIMIT 1", now + CLOCK_STEP)
        return now if back else max(now, float(row[0]))

    def listing(self, after: str, limit: int, submitter: str | None = None, done: bool = False) -> tuple[Summary, ...]:
        """Items in order of acceptance, for a page of a listing.

        :param after: the queue id that the page begins behind; empty for the first.
        :param submitter: only his; None for everybody's.
        :param done: those that are finished or held as well.
        """
        rows = self._all(
            f"SELECT {_ITEM} FROM item WHERE id > ? AND (? IS NULL OR submitter = ?)"
            f" {'' if done else self._OPEN} ORDER BY id LIMIT ?",
            *(after, submitter, submitter, limit),
        )
        return tuple(Summary(item=_item(row), targets=self._targets(row[0])) for row in rows)

    _OPEN: Final = "AND state != 'done'"

    def show(self, queue_id: str) -> tuple[Summary, tuple[Attempt, ...]]:
        """One item with its ledger.

        :raises NoSuchItemError: there is none of that id.
        """
        row = self._one(f"SELECT {_ITEM} FROM item WHERE id = ?", queue_id)
        if row is None:
            raise NoSuchItemError(f"there is no item {queue_id}")
        ledger = self._all(
            "SELECT at, address, result, attempt.code, attempt.enhanced, attempt.text, via FROM attempt"
            " JOIN target ON target.item = attempt.item AND target.n = attempt.n WHERE attempt.item = ? ORDER BY id",
            queue_id,
        )
        names = ("at", "target", "result", "code", "enhanced", "text", "via")
        attempts = tuple(Attempt(**dict(zip(names, line, strict=True))) for line in ledger)
        return Summary(item=_item(row), targets=self._targets(queue_id)), attempts

    def audit(self) -> Audit:
        """The books: what was ever accepted, and where it is."""
        totals = dict(self._all("SELECT name, n FROM total"))
        counted = dict(self._all("SELECT state, count(*) FROM target GROUP BY state"))
        states = {state: counted.get(state, 0) + totals.get(f"purged_{state}", 0) for state in TARGET_STATES}
        return Audit(accepted=totals.get("accepted", 0), unknown_attempts=totals.get("unknown_attempts", 0), **states)

    def purge(self, before: float) -> int:
        """Forget items that were finished before a time, with content and ledger; their counts stay in the books.

        Held (ambiguous) ones are never forgotten. At most :data:`PURGE_AT_ONCE`; returns how many.
        """
        old = self._all(
            "SELECT id FROM item WHERE state = 'done' AND finished_at < ? AND NOT EXISTS"
            " (SELECT 1 FROM target WHERE item = id AND state = 'ambiguous') LIMIT ?",
            *(before, PURGE_AT_ONCE),
        )
        for (queue_id,) in old:
            for state, count in self._all("SELECT state, count(*) FROM target WHERE item = ? GROUP BY state", queue_id):
                self._count(f"purged_{state}", count)
            for table in ("attempt", "content", "target"):
                self._do(f"DELETE FROM {table} WHERE item = ?", queue_id)
            self._do("DELETE FROM item WHERE id = ?", queue_id)
        return len(old)

    def _drop_content(self, queue_id: str) -> None:
        """Forget the octets once nobody can need them; those of a bounce stay until the purge."""
        self._do(
            "DELETE FROM content WHERE item = ? AND NOT EXISTS"
            " (SELECT 1 FROM target WHERE item = ? AND state NOT IN ('delivered', 'removed'))",
            *(queue_id, queue_id),
        )

    def _write_ledger(self, queue_id: str, n: int, at: float, result: str, *note: int | str | None) -> None:
        self._do(
            "INSERT INTO attempt (item, n, at, result, code, enhanced, text, via) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(queue_id, n, at, result, *note),
        )

    def _targets(self, queue_id: str) -> tuple[Target, ...]:
        rows = self._all(f"SELECT {_TARGET} FROM target WHERE item = ? ORDER BY n", queue_id)
        names = ("index", "address", "state", "code", "enhanced", "text", "ambiguous", "changed_at")
        return tuple(Target(**dict(zip(names, row, strict=True))) for row in rows)

    def _count(self, name: str, amount: int) -> None:
        self._do(
            "INSERT INTO total (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
            name,
            amount,
        )

    def _do(self, sql: str, *values: Any) -> int:
        return self.connection.execute(sql, values).rowcount

    def _one(self, sql: str, *values: Any) -> Any:
        return self.connection.execute(sql, values).fetchone()

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()


def _item(row: Sequence[Any]) -> Item:
    queue_id, submitter, sender, key, meta, *numbers = row
    names: Iterable[str] = (
        *("size", "sha256", "accepted_at", "state", "attempts", "recoveries", "waited", "scheduled_at", "next_at"),
    )
    return Item(
        queue_id=queue_id,
        submitter=submitter,
        sender=sender,
        key=key,
        meta=_meta(meta),
        **dict(zip(names, numbers, strict=True)),
    )


def _meta(text: str) -> Mapping[str, str]:
    """What the kind kept; nothing when it is damaged, because delivery does not hang on it."""
    try:
        return MappingProxyType(dict(json.loads(text)))
    except (ValueError, TypeError):
        return MappingProxyType({})
