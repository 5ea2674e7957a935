"""The store of several machines: PostgreSQL behind one thread, which keeps its leases by saying that it lives.

A machine that has been silent for `lease_timeout` seconds of the server's clock loses its leases: its attempts end as
unknown. It knows that earlier itself, by its own monotonic clock, and cuts its attempts at two thirds of that time. So
no parcel is ever attempted by two at once; should a frozen machine wake in the middle of one, its fence is stale and it
can record nothing. The wall clocks of the machines must agree to a minute, as NTP keeps them.
"""

from __future__ import annotations

import contextlib
import random as random_module
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from twisted.logger import Logger

from netsvc.errors import StartError
from netsvc.outbox.custody import Custody
from netsvc.outbox.postgres_database import PostgresDatabase
from netsvc.outbox.postgres_schema import connect, set_up
from netsvc.outbox.recovery import recover
from netsvc.outbox.steps import Settled
from netsvc.outbox.threaded_store import ThreadedStore

LEASE_TIMEOUT = 60.0  # seconds
TICK = 0.5  # seconds between two looks for hints of other machines
WATCH = 0.5  # seconds between two looks whether the leases are still ours
RESOLVE = 20.0  # seconds to find out whether a commit happened whose answer was lost

_RANDOM = random_module.SystemRandom().random

log = Logger()


class PostgresStore(ThreadedStore[PostgresDatabase]):
    """An outbox in a schema of a PostgreSQL database.

    :param lease_timeout: seconds of silence after which a machine is taken for dead.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        *,
        conninfo: str,
        schema: str,
        call_from_thread: Callable[..., Any],
        custody: Custody,
        settled: Settled | None,
        now: Callable[[], float],
        random: Callable[[], float],
        lease_timeout: float,
    ) -> None:
        self._conninfo = conninfo
        self._schema = schema
        self._custody = custody
        self._settled = settled
        self._now = now
        self._random = random
        self._lease_timeout = lease_timeout
        self._began = 0.0
        self._beat_at: float | None = None  # monotonic: since then at the latest the server knows that we live
        self._next_beat = 0.0
        self._ended = threading.Event()
        threading.Thread(target=self._watch_leases, name="netsvc-outbox-leases", daemon=True).start()
        super().__init__(database, call_from_thread)

    @classmethod
    def open(
        cls,
        conninfo: str,
        *,
        schema: str,
        call_from_thread: Callable[..., Any],
        custody: Custody,
        settled: Settled | None = None,
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = _RANDOM,
        lease_timeout: float = LEASE_TIMEOUT,
    ) -> PostgresStore:
        """Open the outbox, whose tables are made; blocks for a few round trips.

        :param conninfo: as for libpq: ``host=... dbname=... user=... password=...`` or a URL.
        :param schema: the schema that the queue has for itself.
        :raises StartError: the server is not to be had, or has a queue of another version.
        """
        try:
            connection = connect(conninfo, schema)
        except psycopg.Error as error:
            raise StartError(f"the queue {schema} in PostgreSQL cannot be opened: {_line(error)}") from None
        try:
            set_up(connection, schema)
        except psycopg.Error as error:
            connection.close()
            raise StartError(f"the queue {schema} in PostgreSQL cannot be made: {_line(error)}") from None
        except StartError:
            connection.close()
            raise
        return cls(
            PostgresDatabase(connection, random, f"{int(random() * (1 << 60)):015x}"),
            conninfo=conninfo,
            schema=schema,
            call_from_thread=call_from_thread,
            custody=custody,
            settled=settled,
            now=now,
            random=random,
            lease_timeout=lease_timeout,
        )

    # Transactions

    def _begin(self, *, lasting: bool = True) -> None:  # noqa: ARG002
        # Everything lasts: a settlement that the server forgot would leave a lease of one that lives, for ever.
        database = self._database
        database.beaten = database.news = False
        self._began = time.monotonic()
        try:
            database.connection.execute("BEGIN")
        except psycopg.OperationalError:  # the server was restarted since; perhaps it is there again
            self._reconnect()
            database.connection.execute("BEGIN")

    def _commit(self) -> None:
        database = self._database
        if database.news:
            database.connection.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(self._schema)))
        row = database.connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
        try:
            database.connection.execute("COMMIT")
        except psycopg.OperationalError:
            if row is None or row[0] is None or not self._did_commit(row[0]):
                raise
        if database.beaten:
            self._beat_at = self._began

    def _did_commit(self, transaction: str) -> bool:
        """Ask the server, when it is there again, what became of a transaction whose commit it did not answer.

        :raises psycopg.OperationalError: it does not come back, or does not know.
        """
        end = time.monotonic() + RESOLVE
        while True:
            try:
                self._reconnect()
                row = self._database.connection.execute("SELECT pg_xact_status(%s::xid8)", (transaction,)).fetchone()
                if row is not None and row[0] in ("committed", "aborted"):
                    return bool(row[0] == "committed")
            except psycopg.errors.InvalidParameterValue:
                return False  # a number that the server has not come to again: it died before it wrote that down
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
            if time.monotonic() > end or self._ended.wait(0.2):
                raise psycopg.OperationalError("nobody knows whether the transaction was committed")

    def _abort(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._database.connection.execute("ROLLBACK")

    def _in_transaction(self) -> bool:
        status = self._database.connection.info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def _is_database_error(self, error: Exception) -> bool:
        return isinstance(error, psycopg.Error | UnicodeEncodeError)  # the latter: text that PostgreSQL cannot hold

    def _reconnect(self) -> None:
        self._database.connection.close()
        self._database.connection = connect(self._conninfo, self._schema)

    def _try_again(self, error: Exception) -> bool:
        # Another machine took a submission with the same key in the same moment: now it is there to be found.
        return isinstance(error, psycopg.errors.UniqueViolation)

    def _let_go(self) -> None:
        self._ended.set()
        with contextlib.suppress(psycopg.Error):
            self._database.connection.close()

    # Leases

    def _patience(self) -> float | None:
        return TICK

    def _tick(self) -> None:
        if self._hint is not None and self._heard():
            self._call_from_thread(self._hint)
        if time.monotonic() < self._next_beat:
            return
        self._next_beat = time.monotonic() + self._lease_timeout / 6
        try:
            self._begin()
            self._database.beat(self._database.owners)
            leases = self._database.leases_of_the_dead(self._lease_timeout)
            recover(self._database, leases, self._custody, self._settled, now=self._now(), random=self._random)
            self._commit()
        except Exception as error:  # noqa: BLE001 - the thread must live
            self._abort()
            self._next_beat = time.monotonic() + TICK
            if not self._is_database_error(error):
                log.failure("the queue met a fault of its own", event="outbox-fault")
            return
        if leases:
            log.warn(
                "{queue}: {count} attempts had died with the daemon; their results are unknown",
                event="outbox-recovered",
                queue=self._schema,
                count=len(leases),
            )
            if self._hint is not None:
                self._call_from_thread(self._hint)

    def _heard(self) -> bool:
        """Whether another process said that something is due."""
        connection = self._database.connection
        try:
            return any(one.pid != connection.info.backend_pid for one in list(connection.notifies(timeout=0)))
        except psycopg.Error:
            return False

    def _watch_leases(self) -> None:
        """In a thread of its own, because the other may hang with the server."""
        told = None
        while not self._ended.wait(WATCH):
            beat = self._beat_at
            if beat is not None and time.monotonic() - beat > self._lease_timeout * 2 / 3 and told != beat:
                told = beat
                if self._lapsed is not None:
                    self._call_from_thread(self._lapsed)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
