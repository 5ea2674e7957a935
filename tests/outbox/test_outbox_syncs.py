"""How often the embedded store syncs, and what a power cut between two syncs leaves."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox import sqlite_store
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, Outcome, StoreFailedError
from netsvc.outbox.sqlite_schema import FILE
from netsvc.outbox.sqlite_store import SqliteStore
from tests.outbox.deaths import ROOT
from tests.outbox.kit import START, submission, temporary
from tests.outbox.test_outbox_store import Reactor, StoreCase
from tests.waiting import wait_until

_CHILD = """
import sys
from netsvc.outbox import sqlite_store
sqlite_store.SOON = 3600.0
import tests.outbox.death_child as child
child.main(sys.argv[1], sys.argv[2])
"""


def syncs(directory: Path, count: int) -> int:
    """The fsyncs of a life in which so many items are accepted, half of them with a lease, and delivered."""
    trace = directory / "trace"
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fsync,fdatasync"]
    subprocess.run(
        [*command, sys.executable, "-c", _CHILD, directory / "queue", str(count)],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    return trace.read_text().count("sync(")


def settled(lease: Lease, result: Any = "delivered") -> Any:
    """What attempts at all targets of a lease come to that ended so."""
    outcomes = [Outcome(target=one.address, result=result) for one in lease.targets]
    return Custody().settle(lease, outcomes, now=START, random=lambda: 0.5)


def refuse_totals(action: int, table: str | None, *_: object) -> int:
    """Lets no statement change the totals."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_UPDATE and table == "total" else sqlite3.SQLITE_OK


class Syncs(SynchronousTestCase):
    def test_counted(self) -> None:
        """Two items alone, one leased with its acceptance and one claimed after it, cost three fsyncs to their end."""
        before, after = (syncs(temporary(self), count) for count in (2, 8))
        self.assertEqual(after - before, 9)


class PowerCuts(StoreCase):
    def durable(self) -> int:
        """Octets of the log that were synced; what is behind them may be lost."""
        return (self.directory / f"{FILE}-wal").stat().st_size

    def after_a_power_cut(self, octets: int) -> SqliteStore:
        """The store as it opens from what was on the disk."""
        there = temporary(self) / "copy"
        shutil.copytree(self.directory, there)
        with (there / f"{FILE}-wal").open("r+b") as log:
            log.truncate(octets)
        reactor = Reactor()
        store, self.recovered = SqliteStore.open(
            there, call_from_thread=reactor.callFromThread, custody=Custody(), now=START
        )
        self.addCleanup(lambda: reactor.wait(store.close()))
        self.there = reactor
        return store

    def test_lease_of_an_acceptance(self) -> None:
        """When a receipt with a lease is given, both are on the disk; a settlement that was forgotten is ambiguous."""
        with mock.patch.object(sqlite_store, "SOON", 3600.0):
            store = self.open()
            accepted = self.reactor.wait(store.accept(submission(), START, "me"))
            octets = self.durable()
            self.reactor.wait(store.settle(accepted.lease, settled(accepted.lease), START))
            self.assertGreater(self.durable(), octets)
            left = self.after_a_power_cut(octets)
        self.assertEqual(self.recovered, 1)
        _, ledger = self.there.wait(left.show(accepted.queue_id))
        self.assertEqual([one.result for one in ledger], ["ambiguous"])

    def test_lease_of_a_claim(self) -> None:
        """When a claim is answered its lease is on the disk."""
        with mock.patch.object(sqlite_store, "SOON", 3600.0):
            store = self.open()
            self.reactor.wait(store.accept(submission(), START))
            (lease,) = self.reactor.wait(store.claim("me", 1, 1, START))
            octets = self.durable()
            self.reactor.wait(store.settle(lease, settled(lease), START))
            self.after_a_power_cut(octets)
        self.assertEqual(self.recovered, 1)

    def test_taken_along(self) -> None:
        """The next acceptance takes the settlements before it to the disk."""
        with mock.patch.object(sqlite_store, "SOON", 3600.0):
            store = self.open()
            accepted = self.reactor.wait(store.accept(submission(), START, "me"))
            self.reactor.wait(store.settle(accepted.lease, settled(accepted.lease), START))
            self.assertIsNotNone(store._sync_at)
            self.reactor.wait(store.accept(submission(), START, "me"))
            self.assertIsNone(store._sync_at)
            left = self.after_a_power_cut(self.durable())
        self.assertEqual(self.recovered, 1)
        self.assertEqual(self.there.wait(left.audit()).delivered, 1)

    def test_no_hole(self) -> None:
        """After a sync that failed, what earlier steps had left to it goes into the database before anything else.

        In the log it would be a hole, perhaps, and what came behind it would be lost.
        """
        with mock.patch.object(sqlite_store, "SOON", 3600.0):
            store = self.open()
            accepted = self.reactor.wait(store.accept(submission(), START, "me"))
            self.reactor.wait(store.settle(accepted.lease, settled(accepted.lease), START))
            octets = self.durable()
            with mock.patch.object(store, "_commit", side_effect=sqlite3.OperationalError("disk I/O error")):
                with self.assertRaisesRegex(StoreFailedError, "disk I/O error"):
                    self.reactor.wait(store.accept(submission(), START, "me"))
            self.reactor.wait(store.accept(submission(), START, "me"))
            self.assertLess(self.durable(), octets)
            left = self.after_a_power_cut(self.durable())
        self.assertEqual(self.recovered, 1)
        self.assertEqual(self.there.wait(left.audit()).delivered, 1)

    def test_sync_fails(self) -> None:
        """A sync of what nothing took along that fails is tried again before anything else is written."""
        with mock.patch.object(sqlite_store, "SOON", 0.0):
            store = self.open()
            accepted = self.reactor.wait(store.accept(submission(), START, "me"))
            with mock.patch.object(store, "_abort", wraps=store._abort) as abort:
                store._database.connection.set_authorizer(refuse_totals)
                self.reactor.wait(store.settle(accepted.lease, settled(accepted.lease), START))
                wait_until(lambda: abort.called)
            store._database.connection.set_authorizer(None)
            self.assertTrue(store._doubtful)
            self.reactor.wait(store.accept(submission(), START, "me"))
            self.assertFalse(store._doubtful)

    def test_soon(self) -> None:
        """A settlement that nothing takes along is on the disk soon."""
        store = self.open()
        accepted = self.reactor.wait(store.accept(submission(), START, "me"))
        self.reactor.wait(store.settle(accepted.lease, settled(accepted.lease), START))
        wait_until(lambda: store._sync_at is None)


class AtOnce(StoreCase):
    def test_lease(self) -> None:
        """A lease that comes with the receipt is as one that is claimed: exclusive, and settled by its fence."""
        store, wait = self.open(), self.reactor.wait
        accepted = wait(store.accept(submission("b@x", "c@y", meta={"k": "v"}), START, "me"))
        self.assertEqual(wait(store.claim("other", 9, 10**6, START)), ())
        self.assertIsNone(wait(store.next_due(START)))
        wait(store.release(accepted.lease))
        (claimed,) = wait(store.claim("me", 9, 10**6, START))
        self.assertEqual(claimed.fence, accepted.lease.fence + 1)
        self.assertEqual(evolve(claimed, fence=accepted.lease.fence), accepted.lease)

    def test_not_leased(self) -> None:
        """What has several ways, is for later, or is partly suppressed, is not leased with its acceptance."""
        store, wait = self.open(), self.reactor.wait
        wait(store.suppress("gone@x", "bounced", "uid:0", START))
        for one in (
            submission("b@x", "c@y", destinations=("x", "y")),
            submission(not_before=START + 1),
            submission("b@x", "gone@x"),
        ):
            self.assertIsNone(wait(store.accept(one, START, "me")).lease)
        self.assertEqual(len(wait(store.claim("me", 9, 10**6, START + 1))), 4)
        self.assertEqual(wait(store.audit()).waiting, 4)
