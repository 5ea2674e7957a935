"""Opens the outbox of a section where its options say: SQLite in a directory, or PostgreSQL. Blocks.

The driver of PostgreSQL is imported here when it is needed, and nowhere else: who has SQLite need not have it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from netsvc.config.secrets import Secret
from netsvc.errors import StartError
from netsvc.outbox.custody import Custody
from netsvc.outbox.durable import check_durable
from netsvc.outbox.settings import DatabaseSettings
from netsvc.outbox.sqlite_store import SqliteStore
from netsvc.outbox.steps import Settled
from netsvc.outbox.store import IOutboxStore

log = Logger()


def open_store(
    settings: DatabaseSettings,
    *,
    queue: str,
    directory: Path,
    allow_volatile: bool,
    call_from_thread: Callable[..., Any],
    custody: Custody,
    settled: Settled | None = None,
) -> IOutboxStore:
    """The store of a section.

    :param queue: the section's name.
    :param directory: where the queue is unless it is in PostgreSQL.
    :param allow_volatile: take a place that forgets with the power what it said was written.
    :raises StartError: it cannot be opened; one line says why.
    """
    if settings.queue_database is not None:
        return _postgres(
            settings.queue_database,
            queue=queue,
            schema=settings.queue_schema,
            lease_timeout=settings.lease_timeout,
            allow_volatile=allow_volatile,
            call_from_thread=call_from_thread,
            custody=custody,
            settled=settled,
        )
    check_durable(directory, allow_volatile=allow_volatile)
    store, recovered = SqliteStore.open(directory, call_from_thread=call_from_thread, custody=custody, settled=settled)
    if recovered:
        log.warn(
            "{queue}: {count} attempts had died with the daemon; their results are unknown",
            event="outbox-recovered",
            queue=queue,
            count=recovered,
        )
    return store


def _postgres(conninfo: Secret, **rest: Any) -> IOutboxStore:
    try:
        from netsvc.outbox.postgres_store import PostgresStore  # noqa: PLC0415 - see above
    except ImportError as error:
        raise StartError(f"queue_database needs psycopg, as in pip install 'netsvc[postgres]': {error}") from None
    return PostgresStore.open(conninfo, **rest)
