"""Redaction and what peers tell later, in PostgreSQL."""

from __future__ import annotations

from typing import Any

from tests.outbox import test_outbox_tracking as tracking
from tests.outbox.cluster import open_postgres


class PostgresRedaction(tracking.Redaction):
    def open(self) -> Any:
        return open_postgres(self)


class PostgresReceipts(tracking.Receipts):
    def open(self) -> Any:
        return open_postgres(self)
