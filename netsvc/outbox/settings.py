"""Options of a queue that is in PostgreSQL, for every service that has one. No Twisted, no driver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from netsvc.config import values
from netsvc.config.database import database, identifier
from netsvc.config.options import option
from netsvc.config.secrets import Secret

LEASE_TIMEOUT = 60.0  # seconds


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class DatabaseSettings:
    """Where several machines keep one queue."""

    queue_database: Secret | None = option(
        database(),
        default=None,
        help="PostgreSQL for the queue, which several machines may then share; without it, SQLite in queue_directory.",
    )
    queue_schema: str = option(
        identifier(), default="netsvc", help="The schema that the queue has for itself in that database."
    )
    lease_timeout: float = option(
        values.duration(5, 3600),
        default=LEASE_TIMEOUT,
        help="Silence after which another machine takes over what one was sending; alike on all machines.",
    )


def database_faults(settings: Any) -> Iterator[tuple[str, str]]:
    """What cannot stand together in settings that also have a `queue_directory`: (key, message) each."""
    if settings.queue_database is not None and settings.queue_directory is not None:
        yield "queue_directory", "the queue is in queue_database: one of the two"
