"""The session of a store with PostgreSQL, which no server can hang: made again when it is lost, asked what it did.

Used by one thread. Each wait for the server has an end; a session that came to it is given up, and its transaction
with it. While the server is not to be had it is asked again and again, at growing distances, and in between everything
fails at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from twisted.logger import Logger

from netsvc.config.secrets import Secret
from netsvc.outbox.postgres_database import PostgresDatabase
from netsvc.outbox.postgres_schema import connect, line

RESOLVE = 20.0  # seconds to find out whether a commit happened whose answer was lost
FIRST_PAUSE = 0.25  # seconds until a server that was not to be had is asked again
LONGEST_PAUSE = 5.0  # and after many times
AWAY = "PostgreSQL is not to be had"

log = Logger()


def seconds() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Session:
    """Transactions on the connection of a database of steps.

    :param patience: seconds that the server may take for one answer.
    :param ended: set when the store ends: nothing is waited for then.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        conninfo: Secret,
        *,
        queue: str,
        schema: str,
        patience: float,
        ended: threading.Event,
    ) -> None:
        self._database = database
        self._conninfo = conninfo
        self._queue = queue
        self._schema = schema
        self._patience = patience
        self._ended = ended
        self._lost = False  # the server is not to be had
        self._pause = FIRST_PAUSE
        self._next_try = 0.0
        self._doubtful: set[str] = set()  # transactions of which nobody knows whether they were committed
        self.began = 0.0  # when the transaction began

    def begin(self) -> None:
        """Begin a transaction; in a new session, when the old one is lost.

        :raises psycopg.Error: the server is not to be had.
        """
        self.began = seconds()
        try:
            self._database.connection.execute("BEGIN")
        except psycopg.OperationalError:  # the server was restarted since; perhaps it is there again
            if seconds() < self._next_try:
                raise psycopg.OperationalError(AWAY) from None
            self._connect()
            self._database.connection.execute("BEGIN")
        if self._lost:
            self._lost, self._pause, self._next_try = False, FIRST_PAUSE, 0.0
            log.info("{queue}: PostgreSQL is there again", event="outbox-database-back", queue=self._queue)

    def commit(self, *, tell: bool) -> None:
        """Commit the transaction; returns when it is on the server's disk.

        :param tell: the other machines that something is due.
        :raises psycopg.Error: it did not happen; or nobody knows, and :meth:`resolve` will.
        """
        connection = self._database.connection
        if tell:
            connection.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(self._schema)))
        row = connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
        try:
            connection.execute("COMMIT")
        except psycopg.OperationalError:
            if row is None or row[0] is None or not self.did_commit(row[0]):
                raise

    def did_commit(self, transaction: str) -> bool:
        """Ask the server, when it is there again, what became of a transaction whose commit it did not answer.

        :raises psycopg.OperationalError: it does not come back, or does not know.
        """
        end = seconds() + RESOLVE
        while True:
            try:
                self._connect()
                status = self._status(transaction)
            except psycopg.OperationalError:
                status = "in progress"
            if status != "in progress":
                return status == "committed"
            if seconds() > end or self._ended.wait(0.2):
                self._doubtful.add(transaction)
                raise psycopg.OperationalError("nobody knows whether the transaction was committed")

    def resolve(self) -> int:
        """Outside of a transaction: find out what became of commits that nobody knew of.

        What they leased was refused to whoever asked for it, so nobody would ever give it back: it waits again.

        :return: how many parcels that were.
        :raises psycopg.Error: the server is not to be had.
        """
        released = 0
        for transaction in tuple(self._doubtful):
            status = self._status(transaction)
            if status == "in progress":
                continue
            if status == "committed":
                released += self._database.release_of(transaction)
            self._doubtful.discard(transaction)
        return released

    def _status(self, transaction: str) -> str:
        try:
            asked = self._database.connection.execute("SELECT pg_xact_status(%s::xid8)", (transaction,))
        except psycopg.errors.InvalidParameterValue:
            return "aborted"  # a number that the server has not come to again: it died before it wrote that down
        row = asked.fetchone()
        # Of one so old that the server forgot it, what it leased tells.
        return "committed" if row is None or row[0] is None else str(row[0])

    def abort(self) -> None:
        """Undo the transaction; never raises."""
        with contextlib.suppress(psycopg.Error):
            self._database.connection.execute("ROLLBACK")

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, be it one that failed."""
        status = self._database.connection.info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def heard(self) -> bool:
        """Whether another process said that something is due."""
        connection: Any = self._database.connection
        try:
            return any(one.pid != connection.info.backend_pid for one in list(connection.notifies(timeout=0)))
        except psycopg.Error:
            return False

    def close(self) -> None:
        """End the session; never raises."""
        with contextlib.suppress(psycopg.Error):
            self._database.connection.close()

    def _connect(self) -> None:
        self.close()
        try:
            self._database.connection = connect(self._conninfo.reveal(), self._schema, self._patience)
        except psycopg.Error as error:
            if not self._lost:
                log.error(
                    "{queue}: PostgreSQL is lost: {reason}",
                    event="outbox-database-lost",
                    queue=self._queue,
                    reason=line(error),
                )
            self._lost = True
            self._next_try = seconds() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            raise psycopg.OperationalError(AWAY) from None  # who hands mail in need not know where the server is
