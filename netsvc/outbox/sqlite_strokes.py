"""What an embedded queue does most, each as one statement: views of this connection, whose triggers write the tables.

A statement costs more than its time, because the interpreter's lock is let go and taken again for each. A view here is
a form: what is inserted into it is written where it belongs. All of it or nothing, as with any statement.

What is dropped of which the octets are in a file (:mod:`netsvc.outbox.bodies`) is noted in a table, so that it is
forgotten again where the transaction is undone.
"""

from __future__ import annotations

from typing import Final

from netsvc.outbox.rows import ITEM

# ruff: noqa: S608 - what is put into SQL text here are constants; values are always bound

LOST: Final = "the lease is lost"  # what the database says when a settlement comes too late

_PARCEL = "destination, state, waited, scheduled_at, next_at, owner, fence, claimed_at"
_ARRIVAL = f"{ITEM}, {_PARCEL}, address, octets"
_RECORD = (
    "item, parcel, owner, fence, parcel_state, recoveries, waited, at, next_at, n, state, ambiguous, result, code,"
    " enhanced, text, via"
)


def _nulls(columns: str) -> str:
    return ", ".join(f"NULL AS {one}" for one in columns.split(", "))


def _new(columns: str) -> str:
    return ", ".join(f"NEW.{one}" for one in columns.split(", "))


def _insert(view: str, columns: str) -> str:
    return f"INSERT INTO {view} ({columns}) VALUES ({', '.join('?' * len(columns.split(', ')))})"


STROKES: Final = f"""
CREATE TEMP TABLE gone (item TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TRIGGER let_go AFTER DELETE ON content WHEN length(OLD.octets) = 0 BEGIN
    INSERT OR IGNORE INTO gone (item) VALUES (OLD.item);
END;
CREATE TEMP TRIGGER replace AFTER UPDATE OF octets ON content WHEN length(OLD.octets) = 0 BEGIN
    INSERT OR IGNORE INTO gone (item) VALUES (OLD.item);
END;

CREATE TEMP VIEW arrival AS SELECT {_nulls(_ARRIVAL)};
CREATE TEMP TRIGGER arrive INSTEAD OF INSERT ON arrival BEGIN
    INSERT INTO item ({ITEM}) VALUES ({_new(ITEM)});
    INSERT INTO parcel (item, n, {_PARCEL}) VALUES (NEW.id, 0, {_new(_PARCEL)});
    INSERT INTO target (item, n, parcel, address, state, changed_at)
        VALUES (NEW.id, 0, 0, NEW.address, 'waiting', NEW.accepted_at);
    INSERT INTO content (item, octets) VALUES (NEW.id, NEW.octets);
END;

CREATE TEMP VIEW record AS SELECT {_nulls(_RECORD)};
CREATE TEMP TRIGGER note INSTEAD OF INSERT ON record BEGIN
    UPDATE parcel SET state = NEW.parcel_state, owner = NULL, attempts = attempts + 1, recoveries = NEW.recoveries,
        waited = NEW.waited, scheduled_at = NEW.at, next_at = NEW.next_at
        WHERE item = NEW.item AND n = NEW.parcel AND state = 'leased' AND owner = NEW.owner AND fence = NEW.fence;
    SELECT RAISE(ABORT, '{LOST}') WHERE changes() = 0;
    UPDATE target SET state = NEW.state, code = NEW.code, enhanced = NEW.enhanced, text = NEW.text,
        ambiguous = ambiguous + NEW.ambiguous, changed_at = NEW.at
        WHERE item = NEW.item AND parcel = NEW.parcel AND n = NEW.n;
    INSERT INTO attempt (item, n, at, result, code, enhanced, text, via)
        VALUES (NEW.item, NEW.n, NEW.at, NEW.result, NEW.code, NEW.enhanced, NEW.text, NEW.via);
    UPDATE item SET finished_at = NEW.at WHERE NEW.parcel_state = 'done' AND id = NEW.item AND NOT EXISTS
        (SELECT 1 FROM parcel WHERE item = NEW.item AND state != 'done');
    DELETE FROM content WHERE NEW.parcel_state = 'done' AND item = NEW.item AND NOT EXISTS
        (SELECT 1 FROM target WHERE item = NEW.item AND state NOT IN ('delivered', 'removed'));
END;
"""
ARRIVE: Final = _insert("arrival", _ARRIVAL)
RECORD: Final = _insert("record", _RECORD)
