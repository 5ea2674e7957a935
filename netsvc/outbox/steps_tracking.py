"""What is heard later of what a peer took, synchronously: its names for it, what it told, when to ask it again.

A delivery that gives an outcome a `reference` has it remembered; what the peer tells of it then, unasked or asked,
stands in the ledger. It changes no state: custody ended when the peer took it. Only a queue that was prepared for it
has the table.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from netsvc.outbox.model import Outcome, Told, Tracked
from netsvc.outbox.rows import Rows

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

# Types that SQLite and PostgreSQL know; no reference to item, so that a netsvc that knows no such table can purge.
_TABLE = """
CREATE TABLE IF NOT EXISTS tracked (
    item TEXT NOT NULL, n INTEGER NOT NULL, reference TEXT NOT NULL, sent_at DOUBLE PRECISION NOT NULL,
    ask_at DOUBLE PRECISION, asked INTEGER NOT NULL, told TEXT NOT NULL, PRIMARY KEY (item, n)
)
"""
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS tracked_reference ON tracked (reference)",
    "CREATE INDEX IF NOT EXISTS tracked_ask ON tracked (ask_at) WHERE ask_at IS NOT NULL",
)
_COLUMNS = "item, n, reference, sent_at, asked, told"


class Tracking(Rows, abc.ABC):
    """The steps of tracking."""

    tracks = False  # whether the table is there

    def prepare(self) -> None:
        """Make the table where there is none; and redact what was final before this queue redacted."""
        self._do(_TABLE)
        for index in _INDEXES:
            self._do(index)
        self.tracks = True
        if self.redacts:
            for (queue_id,) in self._all(
                "SELECT item FROM content JOIN item ON id = item WHERE finished_at IS NOT NULL"
            ):
                self._drop_content(queue_id)

    def tracked(self, reference: str) -> tuple[Tracked, ...]:
        """What a peer took under a name; nearly always one."""
        return _all(self._all(f"SELECT {_COLUMNS} FROM tracked WHERE reference = ? ORDER BY item, n", reference))

    def to_ask(self, now: float, limit: int) -> tuple[Tracked, ...]:
        """What it is time to ask for, the longest due first."""
        return _all(self._all(f"SELECT {_COLUMNS} FROM tracked WHERE ask_at <= ? ORDER BY ask_at LIMIT ?", now, limit))

    def ask_later(self, queue_id: str, n: int, ask_at: float | None) -> None:
        """It was asked for in vain; the next time, or None for never again."""
        self._do("UPDATE tracked SET ask_at = ?, asked = asked + 1 WHERE item = ? AND n = ?", ask_at, queue_id, n)

    def tell(self, queue_id: str, n: int, told: Told, now: float) -> bool:
        """Write into the ledger what was told of a target; nothing is asked any more.

        :return: whether it was new: not when the same was told before, nor when there is no such target.
        """
        changed = self._do(
            "UPDATE tracked SET told = ?, ask_at = NULL WHERE item = ? AND n = ? AND told != ?",
            *(told.result, queue_id, n, told.result),
        )
        if changed:
            self._write_ledger(queue_id, n, now, f"receipt-{told.result}", None, None, told.text, told.via)
        return bool(changed)

    def _track(self, queue_id: str, n: int, outcome: Outcome, now: float) -> None:
        """Remember the peer's name for what it took."""
        self._do(
            "INSERT INTO tracked (item, n, reference, sent_at, ask_at, asked, told) VALUES (?, ?, ?, ?, ?, 0, '')"
            " ON CONFLICT (item, n) DO UPDATE SET reference = excluded.reference, sent_at = excluded.sent_at,"
            " ask_at = excluded.ask_at, asked = 0, told = ''",
            *(queue_id, n, outcome.reference, now, outcome.ask_at),
        )

    def _forget_tracked(self, queue_id: str) -> None:
        """After its item was purged."""
        if self.tracks:
            self._do("DELETE FROM tracked WHERE item = ?", queue_id)


def _all(rows: Sequence[Any]) -> tuple[Tracked, ...]:
    names = ("queue_id", "index", "reference", "sent_at", "asked", "told")
    return tuple(Tracked(**dict(zip(names, row, strict=True))) for row in rows)
