"""Brings a database of version 1 to the last version, whole or not at all: items, leases, ledger and contents stay.

Version 1 leased an item whole. Its targets become parcels of one way; the ledger and the contents, which may be many
gigabytes, are not touched.
"""

from __future__ import annotations

import sqlite3

from netsvc.outbox.parcels import MOST
from netsvc.outbox.sqlite_tables import DESTINATIONS, ITEMS, SUPPRESSED, VERSION

# ruff: noqa: S608 - what is put into SQL text here are constants

_STEPS = f"""
BEGIN IMMEDIATE;
DROP INDEX item_key; DROP INDEX item_due; DROP INDEX item_scheduled; DROP INDEX item_open; DROP INDEX item_finished;
ALTER TABLE item RENAME TO item_1;
ALTER TABLE target RENAME TO target_1;
ALTER TABLE total RENAME TO total_1;
{ITEMS}
{DESTINATIONS}
{SUPPRESSED}
INSERT INTO item (id, submitter, key, sender, meta, size, sha256, accepted_at, finished_at)
    SELECT id, submitter, key, sender, meta, size, sha256, accepted_at,
        CASE state WHEN 'done' THEN coalesce(finished_at, next_at) END FROM item_1;
INSERT INTO target (item, n, parcel, address, state, code, enhanced, text, ambiguous, changed_at)
    SELECT item, n, n / {MOST}, address, state, code, enhanced, text, ambiguous, changed_at FROM target_1;
INSERT INTO parcel (item, n, destination, state, attempts, recoveries, waited, scheduled_at, next_at, owner, fence,
        claimed_at)
    SELECT id, part.n, '', CASE WHEN part.waits THEN state ELSE 'done' END, attempts, recoveries, waited, scheduled_at,
        next_at, CASE WHEN part.waits THEN owner END, fence, claimed_at
    FROM item_1 JOIN (SELECT item, parcel AS n, max(state = 'waiting') AS waits FROM target GROUP BY item, parcel) part
        ON part.item = id;
INSERT INTO destination (name, next_at)
    SELECT destination, min(next_at) FROM parcel WHERE state = 'waiting' GROUP BY destination;
INSERT INTO total (name, part, n) SELECT name, '', n FROM total_1;
DROP TABLE target_1; DROP TABLE item_1; DROP TABLE total_1;
PRAGMA user_version = {VERSION};
COMMIT;
"""


def migrate(connection: sqlite3.Connection) -> None:
    """From version 1 to the last.

    :raises sqlite3.Error: it cannot be done; nothing has changed.
    """
    # The ledger and the contents refer to "item", which is another table afterwards.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA legacy_alter_table = ON")
    try:
        connection.executescript(_STEPS)
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute("PRAGMA legacy_alter_table = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
