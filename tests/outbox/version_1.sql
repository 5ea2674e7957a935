-- The tables of version 1 of the queue's database, as netsvc made them, and what was in one such queue.
CREATE TABLE item (
    id TEXT PRIMARY KEY,
    submitter TEXT NOT NULL,
    key TEXT,
    sender TEXT NOT NULL,
    meta TEXT NOT NULL,             -- a JSON object of strings
    size INTEGER NOT NULL,          -- octets
    sha256 TEXT NOT NULL,
    accepted_at REAL NOT NULL,      -- all times: wall clock, seconds since 1970
    state TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'done')),
    attempts INTEGER NOT NULL DEFAULT 0,
    recoveries INTEGER NOT NULL DEFAULT 0,
    waited REAL NOT NULL DEFAULT 0,
    scheduled_at REAL NOT NULL,
    next_at REAL NOT NULL,
    owner TEXT,                     -- of the lease
    fence INTEGER NOT NULL DEFAULT 0,
    claimed_at REAL,
    finished_at REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX item_key ON item (submitter, key) WHERE key IS NOT NULL;
CREATE INDEX item_due ON item (next_at) WHERE state = 'waiting';
CREATE INDEX item_scheduled ON item (scheduled_at) WHERE state = 'waiting';
CREATE INDEX item_open ON item (id) WHERE state != 'done';
CREATE INDEX item_finished ON item (finished_at) WHERE state = 'done';

CREATE TABLE target (
    item TEXT NOT NULL REFERENCES item (id),
    n INTEGER NOT NULL,             -- place in the submission
    address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'bounced', 'expired', 'removed', 'ambiguous')),
    code INTEGER,
    enhanced TEXT,
    text TEXT NOT NULL DEFAULT '',
    ambiguous INTEGER NOT NULL DEFAULT 0,
    changed_at REAL NOT NULL,
    PRIMARY KEY (item, n)
) WITHOUT ROWID;

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

CREATE TABLE content (item TEXT PRIMARY KEY REFERENCES item (id), octets BLOB NOT NULL);

CREATE TABLE total (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;

PRAGMA application_id = 1853058914;
PRAGMA user_version = 1;
INSERT INTO item VALUES
    ('id-waiting', 'uid:1', 'k', 'a@x', '{"m":"1"}', 5, '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
     1000, 'waiting', 3, 1, 77, 1100, 1400, NULL, 4, 1090, NULL),
    ('id-leased', 'uid:1', NULL, 'a@x', '{}', 5, '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
     1000, 'leased', 0, 0, 0, 1000, 1000, 'dead', 9, 1001, NULL),
    ('id-done', 'uid:1', NULL, '', '{}', 5, '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
     1000, 'done', 1, 0, 0, 1000, 1001, NULL, 1, 1001, 1001);
INSERT INTO target (item, n, address, state, changed_at)
    WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 249)
    SELECT 'id-waiting', n, 'r' || n || '@x', CASE WHEN n < 100 THEN 'delivered' ELSE 'waiting' END, 1090 FROM n;
INSERT INTO target VALUES
    ('id-leased', 0, 'b@x', 'waiting', NULL, NULL, '', 0, 1000),
    ('id-done', 0, 'b@x', 'bounced', 550, '5.1.1', 'no', 1, 1001);
INSERT INTO attempt (item, n, at, result, code, enhanced, text, via) VALUES
    ('id-done', 0, 1001, 'permanent', 550, '5.1.1', 'no', 'smtp:h:25');
INSERT INTO content VALUES
    ('id-waiting', CAST('hello' AS BLOB)), ('id-leased', CAST('hello' AS BLOB)), ('id-done', CAST('hello' AS BLOB));
INSERT INTO total VALUES ('accepted', 253), ('purged_delivered', 1);
