"""The store's thread: grouped commits, errors, closing, recovery, sudden death."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.errors import StartError
from netsvc.outbox import sqlite_store, threaded_store
from netsvc.outbox.custody import Custody
from netsvc.outbox.following import PUT_OFF, NotKeptError
from netsvc.outbox.model import KeyConflictError, Outcome, StoreFailedError, StoreFullError
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.sqlite_store import RESERVE, SqliteStore
from netsvc.outbox.store import IOutboxStore
from tests.outbox.kit import START, submission, temporary

PATIENCE = 30  # seconds until a test that waits for the thread fails


class Reactor:
    """Collects what the thread sends to the reactor, and runs it when a test waits."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.calls.put(lambda: function(*args))

    def wait(self, deferred: Deferred[Any]) -> Any:
        """The result of a Deferred, or its error."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            self.calls.get(timeout=PATIENCE)()
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.directory = temporary(self)
        self.recovered = 0

    def open(self, custody: Custody | None = None) -> SqliteStore:
        store, self.recovered = SqliteStore.open(
            self.directory, call_from_thread=self.reactor.callFromThread, custody=custody or Custody(), now=START
        )
        self.addCleanup(lambda: self.reactor.wait(store.close()) if not store._closed else None)
        return store


class Stores(StoreCase):
    def test_interface(self) -> None:
        """The store keeps the interface's promise."""
        self.assertTrue(verifyObject(IOutboxStore, self.open()))

    def test_life_of_an_item(self) -> None:
        """An item is accepted, claimed, read, settled, shown, counted and purged."""
        store, wait = self.open(), self.reactor.wait
        queue_id = wait(store.accept(submission(), START)).queue_id
        self.assertEqual(wait(store.next_due(START)), START)
        (lease,) = wait(store.claim("me", 1, 1, START))
        wait(store.release(lease))
        (lease,) = wait(store.claim("me", 1, 1, START))
        self.assertTrue(wait(store.content(queue_id)))
        outcome = Outcome(target="b@example.com", result="permanent")
        wait(store.settle(lease, Custody().settle(lease, [outcome], now=START, random=lambda: 0.5), START))
        self.assertEqual(wait(store.requeue(queue_id, "uid:0", START)), 1)
        self.assertEqual(len(wait(store.listing("", 5))), 1)
        self.assertEqual(wait(store.remove(queue_id, "uid:0", START)), 1)
        self.assertEqual(len(wait(store.show(queue_id))[1]), 3)
        self.assertEqual(wait(store.audit()).removed, 1)
        self.assertEqual(wait(store.purge(START + 1)), 1)

    def test_second_daemon(self) -> None:
        """A second store on one directory is refused; after the first is closed it is not."""
        store = self.open()
        self.assertRaises(StartError, self.open)
        self.reactor.wait(store.close())
        self.open()

    def test_closed(self) -> None:
        """What was asked before the end is done; what comes after is refused; closing twice is closing once."""
        store = self.open()
        accepted = store.accept(submission(), START)
        closed = store.close()
        self.assertIs(store.close(), closed)
        self.failureResultOf(store.accept(submission(), START), StoreFailedError)
        self.reactor.wait(closed)
        self.assertTrue(self.successResultOf(accepted).queue_id)

    def test_grouped(self) -> None:
        """Submissions that come while a commit runs share the next one."""
        store = self.open()
        commits: list[str] = []
        store._database.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        started, gate = queue.Queue[None](), queue.Queue[None]()

        def slow(_: object) -> None:
            started.put(None)
            gate.get(timeout=PATIENCE)

        first = store._submit(slow)
        started.get(timeout=PATIENCE)  # the thread has taken this group; what comes now is the next
        together = [store.accept(submission(), START) for _ in range(100)]
        gate.put(None)
        self.reactor.wait(first)
        for one in together:
            self.reactor.wait(one)
        self.assertEqual(len(commits), 2)

    def test_company(self) -> None:
        """The record of an attempt waits a little for something that must be synced, and shares its commit."""
        store = self.open()
        accepted = self.reactor.wait(store.accept(submission(), START, "me"))
        outcome = Outcome(target="b@example.com", result="delivered")
        settlement = Custody().settle(accepted.lease, [outcome], now=START, random=lambda: 0.5)
        commits: list[str] = []
        store._database.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        with mock.patch.object(threaded_store, "COMPANY", float(PATIENCE)):
            settled = store.settle(accepted.lease, settlement, START)
            self.reactor.wait(store.accept(submission(), START))
            self.successResultOf(settled)
        self.assertEqual(len(commits), 1)

    def test_who_waits_hears_first(self) -> None:
        """Of a group, who hands something in hears before the record of an attempt is told of."""
        store = self.open()
        accepted = self.reactor.wait(store.accept(submission(), START, "me"))
        outcome = Outcome(target="b@example.com", result="delivered")
        settlement = Custody().settle(accepted.lease, [outcome], now=START, random=lambda: 0.5)
        heard: list[str] = []
        with mock.patch.object(threaded_store, "COMPANY", float(PATIENCE)):
            settled = store.settle(accepted.lease, settlement, START)
            settled.addCallback(lambda _: heard.append("settled"))
            taken = store.accept(submission(), START)
            taken.addCallback(lambda _: heard.append("accepted"))
            self.reactor.wait(taken)
        self.assertEqual(heard, ["accepted", "settled"])

    def test_groups_are_bounded(self) -> None:
        """Much content at once is committed in several steps."""
        with mock.patch.object(threaded_store, "MAX_GROUP_OCTETS", 10):
            store = self.open()
            for one in [store.accept(submission(), START) for _ in range(5)]:
                self.reactor.wait(one)
        self.assertEqual(self.reactor.wait(store.audit()).accepted, 5)

    def test_failing_alone(self) -> None:
        """A job that fails takes none of its group along, and leaves nothing behind."""
        store = self.open()

        def half_done(database: Any) -> None:
            database.accept(submission(), START)
            raise ValueError("a fault of ours")

        def wrong_sql(database: Any) -> None:
            database.connection.execute("SELECT nothing FROM nowhere")

        self.reactor.wait(store.accept(submission(key="k"), START))
        gate = store._submit(lambda _: None)
        wrong = store._submit(half_done)
        bad = store._submit(wrong_sql)
        conflict = store.accept(submission("z@x", key="k"), START)
        right = store.accept(submission(), START)
        self.reactor.wait(gate)
        self.assertRaises(ValueError, self.reactor.wait, wrong)
        self.assertRaises(StoreFailedError, self.reactor.wait, bad)
        self.assertRaises(KeyConflictError, self.reactor.wait, conflict)
        self.reactor.wait(right)
        self.assertEqual(self.reactor.wait(store.audit()).accepted, 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_disk_full(self) -> None:
        """When the disk is full the submission is refused and nothing of it is kept; when it is not, all goes on."""
        store = self.open()
        connection = store._database.connection
        self.reactor.wait(store._submit(lambda _: connection.execute("PRAGMA max_page_count = 40").fetchone()))
        with self.assertRaisesRegex(StoreFailedError, "full"):
            self.reactor.wait(store.accept(submission(content=b"x" * 200_000), START))
        self.assertEqual(self.reactor.wait(store.audit()).accepted, 0)
        self.reactor.wait(store._submit(lambda _: connection.execute("PRAGMA max_page_count = 100000").fetchone()))
        self.reactor.wait(store.accept(submission(content=b"x" * 200_000), START))

    def test_room_to_deliver(self) -> None:
        """A submission is refused while the disk still has room to deliver what is there; then it is delivered."""
        store = self.open()
        self.reactor.wait(store.accept(submission(), START))
        about = os.statvfs(self.directory)
        fields = list(about)
        fields[4] = (RESERVE + 2_000_000) // about.f_frsize  # f_bavail; the log has a little, too
        with mock.patch("os.statvfs", return_value=os.statvfs_result(fields)):
            with self.assertRaisesRegex(StoreFullError, "full"):
                self.reactor.wait(store.accept(submission(content=b"x" * 1_000_000), START))
            self.reactor.wait(store.accept(submission(content=b"x" * 1_000), START))
            (lease, _) = self.reactor.wait(store.claim("me", 9, 10**9, START))
            self.reactor.wait(store.release(lease))
        self.assertEqual(self.reactor.wait(store.audit()).accepted, 2)

    def test_commit_fails(self) -> None:
        """When the commit itself fails, every job of the group is refused."""
        store = self.open()
        real = store._database.connection
        broken = mock.Mock(wraps=real)
        failing = ["COMMIT"]

        def execute(sql: str, *values: Any) -> Any:
            if sql in failing:
                failing.remove(sql)
                raise sqlite3.OperationalError("disk I/O error")
            return real.execute(sql, *values)

        broken.execute = execute
        store._database.connection = broken
        self.assertRaises(StoreFailedError, self.reactor.wait, store.accept(submission(), START))
        self.reactor.wait(store.accept(submission(), START))
        self.assertEqual(self.reactor.wait(store.audit()).accepted, 1)

    def test_fault_of_our_own(self) -> None:
        """A fault outside any job is logged and answered; the thread lives on."""
        store = self.open()
        with mock.patch.object(store, "_do_all", side_effect=ZeroDivisionError):
            self.assertRaises(StoreFailedError, self.reactor.wait, store.audit())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reactor.wait(store.audit())


class Recovery(StoreCase):
    def leave_a_lease(self) -> str:
        store = self.open()
        queue_id: str = self.reactor.wait(store.accept(submission(), START)).queue_id
        self.reactor.wait(store.claim("me", 1, 1, START))
        self.reactor.wait(store.close())
        return queue_id

    def test_lease_of_the_dead(self) -> None:
        """A lease whose process died is ended at the next start as an unknown result, and is due at once."""
        queue_id = self.leave_a_lease()
        store = self.open()
        self.assertEqual(self.recovered, 1)
        _, ledger = self.reactor.wait(store.show(queue_id))
        self.assertEqual([one.result for one in ledger], ["ambiguous"])
        self.assertEqual(self.reactor.wait(store.next_due(START)), START)
        self.assertEqual(self.reactor.wait(store.listing("", 1))[0].item.recoveries, 1)

    def test_hold(self) -> None:
        """With the policy to hold it is held."""
        self.leave_a_lease()
        store = self.open(Custody(ambiguous="hold"))
        self.assertEqual(self.reactor.wait(store.audit()).ambiguous, 1)

    def test_nothing_can_follow(self) -> None:
        """An attempt that would expire at the start waits again where nothing can follow from it."""
        queue_id = self.leave_a_lease()
        custody = Custody(retry=RetryPolicy(first=60, longest=60, give_up=0.0))

        def broken(*_: object) -> tuple[()]:
            raise NotKeptError("no room")

        store, _ = SqliteStore.open(
            self.directory,
            call_from_thread=self.reactor.callFromThread,
            custody=custody,
            settled=broken,
            now=START + 60,
        )
        self.addCleanup(lambda: self.reactor.wait(store.close()))
        summary, ledger = self.reactor.wait(store.show(queue_id))
        self.assertEqual(
            ([one.state for one in summary.targets], summary.item.next_at), (["waiting"], START + 60 + PUT_OFF)
        )
        self.assertEqual([one.result for one in ledger], ["ambiguous"])

    def test_unusable(self) -> None:
        """A directory that cannot be made, or a queue that cannot be written, ends the start in one line."""
        with self.assertRaisesRegex(StartError, "cannot be used"):
            SqliteStore.open(Path("/proc/nope"), call_from_thread=lambda: None, custody=Custody())
        (self.directory / "queue.sqlite").write_bytes(b"rubbish" * 1000)
        self.assertRaises(StartError, self.open)
        (self.directory / "queue.sqlite").unlink()
        with mock.patch.object(sqlite_store, "_recover", side_effect=sqlite3.OperationalError("disk I/O error")):
            with self.assertRaisesRegex(StartError, "cannot be written: disk I/O error"):
                self.open()
        with mock.patch.object(sqlite_store, "_recover", side_effect=KeyError):
            self.assertRaises(KeyError, self.open)
        self.open()


CHILD = """
import json, os, queue, sys, pathlib
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Submission
from netsvc.outbox.sqlite_store import RESERVE, SqliteStore

calls = queue.Queue()
store, _ = SqliteStore.open(
    pathlib.Path(sys.argv[1]), call_from_thread=lambda f, *a: calls.put(lambda: f(*a)), custody=Custody()
)
number = 0
def accepted(result):
    print(json.dumps(result.queue_id), flush=True)
while True:
    for _ in range(20):
        number += 1
        content = (f"{os.getpid()} {number} " * 50).encode()
        item = Submission(submitter="uid:1", sender="", targets=("b@x",), content=content)
        store.accept(item, 1.0).addCallback(accepted)
    calls.get()()
"""


class SuddenDeath(StoreCase):
    def test_nothing_acknowledged_is_lost(self) -> None:
        """A process that is killed while it accepts has on disk, whole, all that it had acknowledged."""
        acknowledged: list[str] = []
        for lines in (1, 7, 60):
            child = subprocess.Popen([sys.executable, "-c", CHILD, self.directory], stdout=subprocess.PIPE)
            self.addCleanup(child.wait)
            assert child.stdout is not None
            self.addCleanup(child.stdout.close)
            octets = b""
            while octets.count(b"\n") < lines:
                self.assertTrue(select.select([child.stdout], [], [], PATIENCE)[0], "the child is silent")
                some = os.read(child.stdout.fileno(), 4096)
                self.assertTrue(some, "the child is gone")
                octets += some
            os.kill(child.pid, signal.SIGKILL)
            octets += child.stdout.read()
            child.wait()  # its output ends before it lets go of the queue
            acknowledged += [json.loads(line) for line in octets.splitlines(keepends=True) if line.endswith(b"\n")]
        store = self.open()
        for queue_id in acknowledged:
            self.assertTrue(self.reactor.wait(store.content(queue_id)))
        audit = self.reactor.wait(store.audit())
        self.assertTrue(audit.balanced)
        self.assertGreaterEqual(audit.accepted, len(acknowledged))
        self.assertEqual(len(set(acknowledged)), len(acknowledged))
