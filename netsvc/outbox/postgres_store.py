"""The store of several machines: PostgreSQL behind one thread, which keeps its leases by saying that it lives.

A machine that has been silent for `lease_timeout` seconds of the server's clock loses its leases: its attempts end as
unknown. It knows that earlier itself, by a clock of its own that nobody sets, and at two thirds of that time cuts its
attempts and begins none by leases that came too late. So no parcel is attempted by two at once; should a frozen machine
wake in the middle of one, its fence is stale and it can record nothing. The wall clocks of the machines must agree to a
minute, as NTP keeps them.
"""

from __future__ import annotations

import contextlib
import queue as queue_module
import random as random_module
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import psycopg
from psycopg.conninfo import conninfo_to_dict
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netsvc.config.secrets import Secret
from netsvc.errors import StartError
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import Accepted, Lease, LeaseLostError, Submission
from netsvc.outbox.postgres_database import PostgresDatabase
from netsvc.outbox.postgres_schema import check_server, clock_difference, connect, line, set_up
from netsvc.outbox.postgres_session import Session, seconds
from netsvc.outbox.recovery import recover
from netsvc.outbox.settings import LEASE_TIMEOUT
from netsvc.outbox.steps import ANY, Settled
from netsvc.outbox.threaded_store import ThreadedStore

TICK = 0.5  # seconds between two looks for hints of other machines
WATCH = 0.5  # seconds between two looks whether the leases are still ours
PATIENCE = 30.0  # seconds that the server may take for one answer; where leases are shorter, so is that
CLOCKS_AGREE = 30.0  # seconds that this clock may be off from the server's, so that two machines agree to a minute

_RANDOM = random_module.SystemRandom().random

log = Logger()


class PostgresStore(ThreadedStore[PostgresDatabase]):
    """An outbox in a schema of a PostgreSQL database.

    :param queue: its name, for the log.
    :param lease_timeout: seconds of silence after which a machine is taken for dead.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        conninfo: Secret,
        *,
        queue: str,
        schema: str,
        call_from_thread: Callable[..., Any],
        custody: Custody,
        settled: Settled | None,
        now: Callable[[], float],
        random: Callable[[], float],
        lease_timeout: float,
    ) -> None:
        self._queue = queue
        self._custody = custody
        database.redacts = custody.redact
        self._settled = settled
        self._now = now
        self._random = random
        self._lease_timeout = lease_timeout
        self._surely = lease_timeout * 2 / 3  # seconds that a lease is ours without having heard from the server
        self._late: queue_module.SimpleQueue[Lease] = queue_module.SimpleQueue()  # came too late: to be given back
        self._beat_at: float | None = None  # by `seconds`: since then at the latest the server knows that we live
        self._next_beat = 0.0
        self._ended = threading.Event()
        patience = min(PATIENCE, lease_timeout)
        self._session = Session(database, conninfo, queue=queue, schema=schema, patience=patience, ended=self._ended)
        threading.Thread(target=self._watch_leases, name="netsvc-outbox-leases", daemon=True).start()
        super().__init__(database, call_from_thread)

    @classmethod
    def open(
        cls,
        conninfo: Secret,
        *,
        queue: str,
        schema: str,
        call_from_thread: Callable[..., Any],
        custody: Custody,
        settled: Settled | None = None,
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = _RANDOM,
        lease_timeout: float = LEASE_TIMEOUT,
        allow_volatile: bool = False,
    ) -> PostgresStore:
        """Open the outbox, whose tables are made; blocks for a few round trips.

        :param conninfo: as for libpq: ``host=... dbname=... user=... password=...`` or a URL.
        :param queue: the section's name; a schema has the queue of one.
        :param schema: the schema that the queue has for itself.
        :param allow_volatile: take a server that forgets with the power what it said was written.
        :raises StartError: the server is not to be had or too old, or has a queue of another version or section.
        """
        try:
            conninfo_to_dict(conninfo.reveal())
        except psycopg.Error:  # whose text would repeat what it could not read
            raise StartError("queue_database is neither a connection string nor a URL of PostgreSQL") from None
        try:
            connection = connect(conninfo.reveal(), schema, min(PATIENCE, lease_timeout))
        except psycopg.Error as error:
            raise StartError(f"the queue {schema} in PostgreSQL cannot be opened: {line(error)}") from None
        try:
            check_server(connection, allow_volatile=allow_volatile)
            set_up(connection, schema, queue)
            difference = clock_difference(connection, now())
        except psycopg.Error as error:
            connection.close()
            raise StartError(f"the queue {schema} in PostgreSQL cannot be made: {line(error)}") from None
        except StartError:
            connection.close()
            raise
        if abs(difference) > CLOCKS_AGREE:
            log.warn(
                "{queue}: the clock here and that of PostgreSQL are {seconds} s apart; they must agree",
                event="outbox-clocks-differ",
                queue=queue,
                seconds=round(abs(difference)),
            )
        return cls(
            PostgresDatabase(connection, random, f"{int(random() * (1 << 60)):015x}"),
            conninfo,
            queue=queue,
            schema=schema,
            call_from_thread=call_from_thread,
            custody=custody,
            settled=settled,
            now=now,
            random=random,
            lease_timeout=lease_timeout,
        )

    # Leases that come late

    def accept(self, submission: Submission, now: float, owner: str | None = None) -> Deferred[Accepted]:
        """As every store's; without the lease when that comes too late."""
        asked = seconds()

        def timely(accepted: Accepted) -> Accepted:
            if accepted.lease is None or self._in_time(asked, (accepted.lease,)):
                return accepted
            return attrs.evolve(accepted, lease=None)

        return super().accept(submission, now, owner).addCallback(timely)

    def claim(
        self, owner: str, limit: int, octets: int, now: float, allowance: Allowance = ANY
    ) -> Deferred[tuple[Lease, ...]]:
        """As every store's; none when they come too late."""
        asked = seconds()
        claimed = super().claim(owner, limit, octets, now, allowance)
        return claimed.addCallback(lambda leases: leases if self._in_time(asked, leases) else ())

    def claim_overdue(
        self, owner: str, destination: str, before: float, limit: int, now: float
    ) -> Deferred[tuple[Lease, ...]]:
        """As every store's; none when they come too late."""
        asked = seconds()
        claimed = super().claim_overdue(owner, destination, before, limit, now)
        return claimed.addCallback(lambda leases: leases if self._in_time(asked, leases) else ())

    def _in_time(self, asked: float, leases: tuple[Lease, ...]) -> bool:
        """Whether leases are surely still ours; if not, they are given back."""
        if seconds() - asked <= self._surely:
            return True
        for one in leases:
            self._late.put(one)
        return False

    # Transactions

    def _begin(self, *, lasting: bool = True) -> None:  # noqa: ARG002
        # Everything lasts: a settlement that the server forgot would leave a lease of one that lives, for ever.
        self._database.beaten = self._database.news = False
        self._session.begin()

    def _commit(self) -> None:
        self._session.commit(tell=self._database.news)
        if not self._database.beaten:
            return
        before, self._beat_at = self._beat_at, self._session.began
        if before is not None and self._beat_at - before > self._surely and self._lapsed is not None:
            self._call_from_thread(self._lapsed)  # this process slept, and the other thread has not woken yet

    def _abort(self) -> None:
        self._session.abort()

    def _in_transaction(self) -> bool:
        return self._session.in_transaction

    def _is_database_error(self, error: Exception) -> bool:
        return isinstance(error, psycopg.Error | UnicodeEncodeError)  # the latter: text that PostgreSQL cannot hold

    def _try_again(self, error: Exception) -> bool:
        # Another machine took a submission with the same key in the same moment: now it is there to be found.
        return isinstance(error, psycopg.errors.UniqueViolation)

    def _let_go(self) -> None:
        self._ended.set()
        self._session.close()

    # Leases

    def _patience(self) -> float | None:
        return TICK

    def _tick(self) -> None:
        due = self._hint is not None and self._session.heard()
        if not self._late.empty() or seconds() >= self._next_beat:
            late = [self._late.get() for _ in range(self._late.qsize())]
            try:
                due = bool(self._beat(late)) or due
            except Exception as error:  # noqa: BLE001 - the thread must live
                self._abort()
                for one in late:
                    self._late.put(one)
                self._next_beat = seconds() + TICK
                if not self._is_database_error(error):
                    log.failure("the queue met a fault of its own", event="outbox-fault")
        if due and self._hint is not None:
            self._call_from_thread(self._hint)

    def _beat(self, late: list[Lease]) -> int:
        """Say that we live, give back what nobody asks for, and end what the dead had; how much came free."""
        self._begin()
        self._database.beat(self._database.owners)
        for one in late:
            with contextlib.suppress(LeaseLostError):
                self._database.release(one)
        leases = self._database.leases_of_the_dead(self._lease_timeout)
        recover(self._database, leases, self._custody, self._settled, now=self._now(), random=self._random)
        self._commit()
        self._next_beat = seconds() + self._lease_timeout / 6
        if leases:
            log.warn(
                "{queue}: {count} attempts had died with the daemon; their results are unknown",
                event="outbox-recovered",
                queue=self._queue,
                count=len(leases),
            )
        return len(late) + len(leases) + self._session.resolve()

    def _watch_leases(self) -> None:
        """In a thread of its own, because the other may hang with the server."""
        told = None
        while not self._ended.wait(WATCH):
            beat = self._beat_at
            if beat is not None and seconds() - beat > self._surely and told != beat:
                told = beat
                if self._lapsed is not None:
                    self._call_from_thread(self._lapsed)
