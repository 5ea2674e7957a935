"""The tables of an outbox in SQLite, version 3."""

from __future__ import annotations

VERSION = 3  # kept in PRAGMA user_version
ALIKE = 2  # had the same tables, and all contents in the database

ITEMS = """
CREATE TABLE item (
    id TEXT PRIMARY KEY,
    submitter TEXT NOT NULL,
    key TEXT,
    sender TEXT NOT NULL,
    meta TEXT NOT NULL,             -- a JSON object of strings
    size INTEGER NOT NULL,          -- octets
    sha256 TEXT NOT NULL,
    accepted_at REAL NOT NULL,      -- all times: wall clock, seconds since 1970
    not_before REAL,
    give_up_after REAL,             -- seconds
    finished_at REAL                -- NULL while a parcel of it is not done
) WITHOUT ROWID;
CREATE UNIQUE INDEX item_key ON item (submitter, key) WHERE key IS NOT NULL;
CREATE INDEX item_open ON item (id) WHERE finished_at IS NULL;
CREATE INDEX item_open_of ON item (submitter, id) WHERE finished_at IS NULL;
CREATE INDEX item_finished ON item (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE parcel (
    item TEXT NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,             -- number in the item
    destination TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'held', 'done')),
    attempts INTEGER NOT NULL DEFAULT 0,
    recoveries INTEGER NOT NULL DEFAULT 0,
    waited REAL NOT NULL DEFAULT 0,
    scheduled_at REAL NOT NULL,
    next_at REAL NOT NULL,
    owner TEXT,                     -- of the lease
    fence INTEGER NOT NULL DEFAULT 0,
    claimed_at REAL,
    PRIMARY KEY (item, n)
) WITHOUT ROWID;
CREATE INDEX parcel_due ON parcel (destination, next_at) WHERE state = 'waiting';
CREATE INDEX parcel_scheduled ON parcel (scheduled_at) WHERE state = 'waiting';

CREATE TABLE target (
    item TEXT NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,             -- place in the submission
    parcel INTEGER NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'bounced', 'expired', 'removed', 'ambiguous')),
    code INTEGER,
    enhanced TEXT,
    text TEXT NOT NULL DEFAULT '',
    ambiguous INTEGER NOT NULL DEFAULT 0,
    changed_at REAL NOT NULL,
    PRIMARY KEY (item, parcel, n)
) WITHOUT ROWID;

CREATE TABLE total (name TEXT NOT NULL, part TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (name, part)) WITHOUT ROWID;
"""

# What a destination's earliest waiting parcel is due, so that a claim need not walk through what may not be tried.
DESTINATIONS = """
CREATE TABLE destination (name TEXT PRIMARY KEY, next_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX destination_due ON destination (next_at);
"""

SUPPRESSED = """
CREATE TABLE suppressed (
    address TEXT PRIMARY KEY,       -- casefolded
    reason TEXT NOT NULL,
    operator TEXT NOT NULL,
    since REAL NOT NULL
) WITHOUT ROWID;
"""

_LEDGER = """
CREATE TABLE attempt (              -- the ledger: only ever added to, until its item is purged
    id INTEGER PRIMARY KEY,
    item TEXT NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,
    at REAL NOT NULL,
    result TEXT NOT NULL,
    code INTEGER,
    enhanced TEXT,
    text TEXT NOT NULL,
    via TEXT NOT NULL
);
CREATE INDEX attempt_item ON attempt (item);

CREATE TABLE content (item TEXT PRIMARY KEY REFERENCES item (id), octets BLOB NOT NULL);  -- empty: in a file
"""

# What nobody knows the end of, for the listing. A queue of before has it not: it is made whenever one is opened.
UNKNOWN = "CREATE INDEX IF NOT EXISTS target_unknown ON target (item) WHERE state = 'ambiguous'"

SCHEMA = ITEMS + DESTINATIONS + SUPPRESSED + _LEDGER
