"""Works on a mail queue of netsvc that no daemon has open: ``fill DIRECTORY COUNT SIZE``, ``look DIRECTORY``.

`fill` puts messages in that are due in a day; `look` prints how long the search for what is due next took, ms.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from statistics import median

from netsvc.outbox.directories import make_directories
from netsvc.outbox.model import Submission
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import connect

AT_ONCE = 1000  # messages in a transaction
DOMAINS = 500
DAY = 86400.0
LOOKS = 101


def _fill(database: Database, count: int, size: int) -> None:
    body = b"From: <a@example.com>\r\nSubject: waits\r\n\r\n" + b"X" * 76 + b"\r\n"
    body += (b"X" * 76 + b"\r\n") * ((size - len(body)) // 78)
    now = time.time()
    database.connection.execute("PRAGMA synchronous = OFF")  # nothing here must outlast a power cut
    for start in range(0, count, AT_ONCE):
        database.connection.execute("BEGIN IMMEDIATE")
        for n in range(start, min(count, start + AT_ONCE)):
            domain = f"d{n % DOMAINS}.example.org"
            database.accept(
                Submission(
                    submitter="uid:0",
                    sender="a@example.com",
                    targets=(f"b{n}@{domain}",),
                    content=body,
                    destinations=(domain,),
                    not_before=now + DAY + n / 100,
                ),
                now,
            )
        database.connection.execute("COMMIT")


def _look(database: Database) -> float:
    found = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        due = database.next_due(time.time())
        found.append((time.perf_counter() - began) * 1000)
        if due is None:
            sys.exit("nothing waits")
    return median(found)


def main() -> None:
    """Do what the words say."""
    match sys.argv[1:]:
        case ["fill", directory, count, size]:
            make_directories(Path(directory))
            _fill(Database(connect(Path(directory)), random.random), int(count), int(size))
            print(json.dumps({}))
        case ["look", directory]:
            print(json.dumps({"next_due": _look(Database(connect(Path(directory)), random.random))}))
        case _:
            sys.exit(f"usage: {sys.argv[0]} fill DIRECTORY COUNT SIZE | look DIRECTORY")


main()
