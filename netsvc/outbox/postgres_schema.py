"""Opens an outbox in PostgreSQL: a schema of its own in a database, at a version that we know. Raises StartError."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from netsvc.errors import StartError

VERSION = 1  # of the tables below, kept in the table of that name
OLDEST = 13  # the first PostgreSQL that tells by pg_current_xact_id what became of a transaction

# Seconds until a peer that says nothing is taken for dead, so that a thread of ours does not hang with it.
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 15000, "keepalives_idle": 10, "keepalives_interval": 5}
# What a frozen machine has locked must come free; a commit is one that survives the power.
_SESSION = """
SET synchronous_commit = on; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s';
SET client_min_messages = warning;
"""

_TABLES = """
CREATE TABLE version (n INTEGER NOT NULL, queue TEXT NOT NULL);  -- one row; whose queue it is
CREATE TABLE runner (owner TEXT PRIMARY KEY, seen_at TIMESTAMPTZ NOT NULL);  -- by the clock of this server
CREATE TABLE item (
    id TEXT COLLATE "C" PRIMARY KEY,
    submitter TEXT NOT NULL,
    key TEXT,
    sender TEXT NOT NULL,
    meta TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    accepted_at DOUBLE PRECISION NOT NULL,
    not_before DOUBLE PRECISION,
    give_up_after DOUBLE PRECISION,
    finished_at DOUBLE PRECISION
);
CREATE UNIQUE INDEX item_key ON item (submitter, key) WHERE key IS NOT NULL;
CREATE INDEX item_open ON item (id) WHERE finished_at IS NULL;
CREATE INDEX item_open_of ON item (submitter, id) WHERE finished_at IS NULL;
CREATE INDEX item_finished ON item (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE parcel (
    item TEXT COLLATE "C" NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'held', 'done')),
    attempts INTEGER NOT NULL DEFAULT 0,
    recoveries INTEGER NOT NULL DEFAULT 0,
    waited DOUBLE PRECISION NOT NULL DEFAULT 0,
    scheduled_at DOUBLE PRECISION NOT NULL,
    next_at DOUBLE PRECISION NOT NULL,
    owner TEXT,
    fence BIGINT NOT NULL DEFAULT 0,
    claimed_at DOUBLE PRECISION,
    PRIMARY KEY (item, n)
);
CREATE INDEX parcel_due ON parcel (next_at, destination) WHERE state = 'waiting';
CREATE INDEX parcel_due_to ON parcel (destination, next_at) WHERE state = 'waiting';
CREATE INDEX parcel_scheduled ON parcel (scheduled_at) WHERE state = 'waiting';
CREATE INDEX parcel_leased ON parcel (owner) WHERE state = 'leased';
CREATE TABLE target (
    item TEXT COLLATE "C" NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,
    parcel INTEGER NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'bounced', 'expired', 'removed', 'ambiguous')),
    code INTEGER,
    enhanced TEXT,
    text TEXT NOT NULL DEFAULT '',
    ambiguous INTEGER NOT NULL DEFAULT 0,
    changed_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (item, parcel, n)
);
CREATE INDEX target_unknown ON target (item) WHERE state = 'ambiguous';
CREATE TABLE total (name TEXT NOT NULL, part TEXT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (name, part));
CREATE TABLE suppressed (
    address TEXT COLLATE "C" PRIMARY KEY,
    reason TEXT NOT NULL,
    operator TEXT NOT NULL,
    since DOUBLE PRECISION NOT NULL
);
CREATE TABLE attempt (
    id BIGSERIAL PRIMARY KEY,
    item TEXT COLLATE "C" NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    result TEXT NOT NULL,
    code INTEGER,
    enhanced TEXT,
    text TEXT NOT NULL,
    via TEXT NOT NULL
);
CREATE INDEX attempt_item ON attempt (item);
CREATE TABLE content (item TEXT COLLATE "C" PRIMARY KEY REFERENCES item (id), octets BYTEA NOT NULL);
"""


class Connection(psycopg.Connection[Any]):
    """One that waits for no answer for ever: a server may be frozen, or its network gone."""

    patience: float | None = None  # seconds

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's; but what it would wait for without end, only for as long as our patience lasts."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError:
            if timeout is None and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # the answer may come yet, and would be taken for that of another question
                raise psycopg.OperationalError(f"the server did not answer within {self.patience:g} s") from None
            raise


def connect(conninfo: str, schema: str, patience: float = 30.0) -> Connection:
    """A session in the queue's schema; statements commit at once unless BEGIN was said.

    :param patience: seconds that the server may take for one answer.
    :raises psycopg.Error: the server is not to be had.
    """
    connection = Connection.connect(conninfo, autocommit=True, **_PATIENCE)  # type: ignore[arg-type]
    connection.patience = patience
    try:
        connection.execute(_SESSION)
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(schema)))
    except BaseException:
        connection.close()
        raise
    return connection


def check_server(connection: Connection, *, allow_volatile: bool = False) -> None:
    """Refuse a server that cannot keep what we promise.

    :param allow_volatile: take one that forgets with the power what it said was written.
    :raises StartError: one line with the reason.
    """
    number = connection.info.server_version
    if number < OLDEST * 10_000:
        raise StartError(f"PostgreSQL is of version {number // 10_000}; {OLDEST} is the oldest that has what we need")
    if not allow_volatile and connection.execute("SHOW fsync").fetchone() == ("off",):
        raise StartError("PostgreSQL has fsync = off and so forgets with the power; change that, or set allow_volatile")


def clock_difference(connection: Connection, now: float) -> float:
    """Seconds that a wall clock is ahead of the server's; negative when it is behind."""
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    return now - float(row[0]) if row else 0.0


def set_up(connection: Connection, schema: str, queue: str) -> None:
    """Make the tables where there are none.

    :param queue: whose they are: of a section's name.
    :raises StartError: they are of a version that we do not know, or of another queue.
    """
    name = sql.Identifier(schema)
    with connection.transaction():
        # Of several machines that start together one makes them, and the others wait for it.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"netsvc outbox {schema}",))
        # Where it is, nobody asks whether we might make one.
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        if connection.execute("SELECT to_regclass('version')").fetchone() == (None,):
            connection.execute(_TABLES)
            connection.execute("INSERT INTO version (n, queue) VALUES (%s, %s)", (VERSION, queue))
        found = connection.execute("SELECT n FROM version").fetchone()
        if found != (VERSION,):
            version = found[0] if found else "none"
            raise StartError(f"the queue {schema} has version {version}; this netsvc knows version {VERSION}")
        found = connection.execute("SELECT queue FROM version").fetchone()
        if found != (queue,):
            raise StartError(f"the schema {schema} has the queue of [{found and found[0]}]; give [{queue}] another")


def line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())
