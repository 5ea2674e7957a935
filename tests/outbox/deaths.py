"""Runs a queue under strace, which kills it or fails its calls at a chosen one, and then looks what is left.

The oracle: what was acknowledged is there, whole; what was recorded as delivered is delivered; the books balance.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from attrs import frozen

from netsvc.outbox.custody import Custody
from netsvc.outbox.recovery import recover
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_schema import connect

CHILD = Path(__file__).with_name("death_child.py")
ROOT = Path(__file__).parents[2]
PATIENCE = 180  # seconds; strace is slow


@frozen
class Life:
    """What a process said until its end."""

    lines: tuple[tuple[str, str], ...]
    status: int

    def said(self, word: str) -> list[str]:
        """The arguments of the lines that begin so."""
        return [rest for first, rest in self.lines if first == word]


def live(directory: Path, injection: str, count: int = 4) -> Life:
    """One life of the queue.

    :param injection: as strace(1) has it, such as ``fdatasync:signal=KILL:when=3``.
    """
    with tempfile.TemporaryDirectory(prefix="netsvc-strace-") as scratch:
        calls = injection.partition(":")[0]
        command = ["strace", "-f", "-qq", "-o", f"{scratch}/trace", "-e", f"trace={calls}", "-e", f"inject={injection}"]
        child = subprocess.run(
            [*command, sys.executable, CHILD, directory, str(count)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=ROOT,
        )
    whole = [line for line in child.stdout.splitlines(keepends=True) if line.endswith("\n")]
    lines = [line.strip().partition(" ") for line in whole]
    return Life(tuple((first, rest) for first, _, rest in lines), child.returncode)


def examine(directory: Path, lives: list[Life]) -> list[str]:
    """What is wrong with what is left; empty when nothing is. Leases of the dead are ended, as at a start."""
    database = Database(connect(directory), lambda: 0.5)
    database.connection.execute("BEGIN")
    recover(database, database.leased(), Custody(), None, now=3.0, random=lambda: 0.5)
    database.connection.execute("COMMIT")
    wrong = []
    (check,) = database.connection.execute("PRAGMA integrity_check").fetchone()
    if check != "ok" or database.connection.execute("PRAGMA foreign_key_check").fetchall():
        wrong.append(f"the database is damaged: {check}")
    accepted = [one for life in lives for one in life.said("accepted")]
    delivered = [one for life in lives for one in life.said("delivered")]
    if len(set(accepted)) != len(accepted) or len(set(delivered)) != len(delivered):
        wrong.append("something was accepted or delivered twice")
    for queue_id in accepted:
        summary, _ = database.show(queue_id)
        if any(one.state not in ("waiting", "delivered") for one in summary.targets):
            wrong.append(f"{queue_id} is in no state that it was put into")
        if any(one.state == "waiting" for one in summary.targets):
            database.content(queue_id)  # raises what is wrong
    for one in delivered:
        queue_id, _, parcel = one.partition("/")
        if database.show(queue_id)[0].parcels[int(parcel)].state != "done":
            wrong.append(f"{one} was recorded as delivered and is not")
    audit = database.audit()
    if not audit.balanced or audit.accepted < 2 * len(accepted):
        wrong.append(f"the books do not balance: {audit}")
    earliest = dict(
        database.connection.execute(
            "SELECT destination, min(next_at) FROM parcel WHERE state = 'waiting' GROUP BY destination"
        ).fetchall()
    )
    if earliest != dict(database.connection.execute("SELECT name, next_at FROM destination").fetchall()):
        wrong.append("the destinations do not say what waits")
    database.connection.close()
    return wrong
