"""The store of several machines: heartbeats, leases of the dead, hints, restarts of the server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import psycopg
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.config.secrets import Secret
from netsvc.errors import StartError
from netsvc.outbox import postgres_session
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, LeaseLostError, Outcome, Settlement, StoreFailedError
from netsvc.outbox.postgres_session import seconds
from netsvc.outbox.postgres_store import PostgresStore
from netsvc.outbox.runner import Limits, Runner
from netsvc.outbox.store import IOutboxStore
from tests.fakes import FakeMetrics
from tests.outbox.cluster import Cluster, new_schema, shared
from tests.outbox.kit import START, submission
from tests.outbox.proxy import Proxy
from tests.outbox.test_outbox_store import Reactor
from tests.waiting import wait_until

IMPATIENT = 1.2  # seconds of silence after which a machine is dead to the others


def settlement(lease: Lease) -> Settlement:
    """Everything was delivered."""
    outcomes = [Outcome(target=one.address, result="delivered") for one in lease.targets]
    return Custody().settle(lease, outcomes, now=START, random=lambda: 0.5)


class PostgresCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.schema = new_schema()
        self.conninfo = shared().conninfo
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def open(self, lease_timeout: float = 60.0) -> PostgresStore:
        store = PostgresStore.open(
            Secret("literal", self.conninfo),
            queue="test",
            schema=self.schema,
            call_from_thread=self.reactor.callFromThread,
            custody=Custody(),
            now=lambda: START,
            lease_timeout=lease_timeout,
            allow_volatile=True,
        )
        self.addCleanup(self.close, store)
        return store

    def close(self, store: PostgresStore) -> None:
        if store._closed is None:
            self.reactor.wait(store.close())

    def insist(self, ask: Callable[[], Any]) -> Any:
        """Ask until the store is there again."""
        answers: list[Any] = []

        def answered() -> bool:
            with contextlib.suppress(StoreFailedError):
                answers.append(self.reactor.wait(ask()))
            return bool(answers)

        wait_until(answered)
        return answers[0]

    def turn(self) -> bool:
        """Do what threads have sent to the reactor."""
        while not self.reactor.calls.empty():
            self.reactor.calls.get()()
        return True


class Stores(PostgresCase):
    def test_life_of_an_item(self) -> None:
        """The store keeps the interface's promise: an item is accepted, claimed, read, settled and counted."""
        store, wait = self.open(), self.reactor.wait
        self.assertTrue(verifyObject(IOutboxStore, store))
        queue_id = wait(store.accept(submission(content=bytes(range(256))), START)).queue_id
        self.assertEqual(wait(store.next_due(START)), START)
        (lease,) = wait(store.claim("me", 1, 1, START))
        self.assertEqual(wait(store.content(queue_id)), bytes(range(256)))
        wait(store.settle(lease, settlement(lease), START, [submission("z@x")]))
        self.assertEqual((wait(store.audit()).delivered, wait(store.audit()).waiting), (1, 1))

    def test_not_to_be_had(self) -> None:
        """A server that is not there ends the start in one line."""
        self.conninfo = "host=/nonexistent dbname=x"
        with self.assertRaisesRegex(StartError, "cannot be opened: .*") as caught:
            self.open()
        self.assertNotIn("\n", str(caught.exception))

    def test_clocks(self) -> None:
        """A clock that is far from the server's is warned of: the machines could not agree when things are due."""
        self.open()
        store = PostgresStore.open(
            Secret("literal", self.conninfo),
            queue="test",
            schema=self.schema,
            call_from_thread=self.reactor.callFromThread,
            custody=Custody(),
            allow_volatile=True,
        )
        self.addCleanup(self.close, store)
        warned = [one for one in self.events if one.get("event") == "outbox-clocks-differ"]
        self.assertEqual(len(warned), 1)
        self.assertGreater(warned[0]["seconds"], 1_000_000)  # of the first, whose clock stands at START

    def test_not_readable(self) -> None:
        """What is no connection string is not repeated: it may hold a password."""
        for one in ("postgresql://me:p%zz@host/x", "host=h secret"):
            self.conninfo = one
            with self.assertRaises(StartError) as caught:
                self.open()
            self.assertEqual(
                str(caught.exception), "queue_database is neither a connection string nor a URL of PostgreSQL"
            )

    def test_same_key_on_two_machines(self) -> None:
        """A key that two machines take in the same moment is one item: the second finds the first's."""
        one, two = self.open(), self.open()
        receipts = [store.accept(submission(key=f"k{n}"), START) for n in range(30) for store in (one, two)]
        accepted = [self.reactor.wait(receipt) for receipt in receipts]
        self.assertEqual(len({receipt.queue_id for receipt in accepted}), 30)
        self.assertEqual(self.reactor.wait(one.audit()).accepted, 30)

    def test_text_that_cannot_be_stored(self) -> None:
        """An address that PostgreSQL cannot hold is refused alone, and the store goes on."""
        store = self.open()
        bad = [store.accept(submission(address), START) for address in ("\udcff@x", "\0@x")]
        good = store.accept(submission(), START)
        for one in bad:
            self.assertRaises(StoreFailedError, self.reactor.wait, one)
        self.assertTrue(self.reactor.wait(good).queue_id)

    def test_hint(self) -> None:
        """What one machine accepts the others are told of."""
        one, two = self.open(), self.open()
        hints: list[str] = []
        one.watch(lambda: hints.append("one"), lambda: None)
        two.watch(lambda: hints.append("two"), lambda: None)
        self.reactor.wait(one.accept(submission(), START))
        wait_until(lambda: self.turn() and hints)
        self.assertEqual(set(hints), {"two"})


class Leases(PostgresCase):
    def test_dead_machine(self) -> None:
        """The lease of a machine that falls silent goes to another as an attempt of unknown result; its fence holds."""
        dead, living = self.open(IMPATIENT), self.open(IMPATIENT)
        lapsed: list[None] = []
        dead.watch(lambda: None, lambda: lapsed.append(None))
        queue_id = self.reactor.wait(dead.accept(submission(), START)).queue_id
        (lease,) = self.reactor.wait(dead.claim("dead", 9, 10**6, START))
        silence = threading.Event()
        self.addCleanup(silence.set)
        dead._submit(lambda _: silence.wait(30))  # its thread hangs, as with a network that is gone
        wait_until(lambda: self.reactor.wait(living.show(queue_id))[1])
        self.turn()
        self.assertEqual(len(lapsed), 1)
        (again,) = self.reactor.wait(living.claim("living", 9, 10**6, START))
        self.assertEqual(again.item.recoveries, 1)
        silence.set()
        self.assertRaises(LeaseLostError, self.reactor.wait, dead.settle(lease, settlement(lease), START))
        self.reactor.wait(living.settle(again, settlement(again), START))
        self.assertEqual(self.reactor.wait(living.audit()).delivered, 1)

    def test_living_machine(self) -> None:
        """A machine that lives keeps its leases, however long an attempt takes."""
        one, two = self.open(IMPATIENT), self.open(IMPATIENT)
        self.reactor.wait(one.accept(submission(), START))
        (lease,) = self.reactor.wait(one.claim("one", 9, 10**6, START))
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 3 * IMPATIENT)
        self.assertEqual(self.reactor.wait(two.claim("two", 9, 10**6, START)), ())
        self.reactor.wait(one.settle(lease, settlement(lease), START))

    def test_mail_fault_60_two_runners_on_one_queue(self) -> None:
        """Two runners drain one queue together; no item is delivered twice, and both do work."""
        delivered: Counter[str] = Counter()
        shares: Counter[int] = Counter()
        filler = self.open()
        for receipt in [filler.accept(submission(), START) for _ in range(200)]:
            self.reactor.wait(receipt)

        def runner(number: int) -> Runner:
            def deliver(lease: Lease, content: bytes) -> Deferred[Any]:
                delivered[lease.item.queue_id] += 1
                shares[number] += 1
                return succeed([Outcome(target=one.address, result="delivered") for one in lease.targets])

            return Runner(
                queue=f"mail{number}",
                reactor=Clock(),
                open_store=self.open,
                deliver=deliver,
                custody=Custody(),
                metrics=FakeMetrics(),
                random=lambda: 0.1 * number,
                limits=Limits(concurrency=5),
                wall_clock=lambda: START,
            )

        runners = [runner(number) for number in range(2)]
        for one in runners:
            one.startService()
        wait_until(lambda: self.turn() and len(delivered) == 200)
        for one in runners:
            self.reactor.wait(one.stopService())
        self.assertEqual(set(delivered.values()), {1})
        self.assertEqual(len(shares), 2)
        audit = self.reactor.wait(filler.audit())
        self.assertEqual((audit.delivered, audit.balanced), (200, True))


class Restarts(PostgresCase):
    def setUp(self) -> None:
        super().setUp()
        self.cluster = Cluster()
        self.addCleanup(self.cluster.remove)
        self.conninfo = self.cluster.conninfo

    def test_mail_fault_61_restarted_in_a_claim(self) -> None:
        """A server that dies in the middle of a claim leaves nothing leased; when it is back all goes on by itself."""
        store, wait = self.open(), self.reactor.wait
        queue_id = wait(store.accept(submission(), START)).queue_id
        inside, go_on = threading.Event(), threading.Event()

        def claim(database: Any) -> Any:
            leases = database.claim("me", 9, 10**6, START)
            inside.set()
            go_on.wait(30)
            return leases

        claimed = store._submit(claim)
        self.assertTrue(inside.wait(30))
        self.cluster.stop()
        self.cluster.start()
        go_on.set()
        self.assertRaises(StoreFailedError, wait, claimed)
        (lease,) = wait(store.claim("me", 9, 10**6, START))
        self.assertEqual((lease.item.queue_id, lease.item.attempts), (queue_id, 0))
        wait(store.settle(lease, settlement(lease), START))
        self.assertEqual(wait(store.audit()).delivered, 1)

    def test_mail_fault_61_away_for_a_while(self) -> None:
        """While the server is away everything is refused; a lease from before is settled when it is back."""
        store, wait = self.open(), self.reactor.wait
        wait(store.accept(submission(), START))
        (lease,) = wait(store.claim("me", 9, 10**6, START))
        self.cluster.stop()
        self.assertRaises(StoreFailedError, wait, store.accept(submission(), START))
        self.assertRaises(StoreFailedError, wait, store.settle(lease, settlement(lease), START))
        self.cluster.start()
        self.insist(lambda: store.settle(lease, settlement(lease), START))
        audit = wait(store.audit())
        self.assertEqual((audit.accepted, audit.delivered), (1, 1))

    def test_mail_fault_61_answer_to_the_commit_is_lost(self) -> None:
        """A commit whose answer was lost is asked for afterwards: what is on the disk is acknowledged, once."""
        store, wait = self.open(), self.reactor.wait

        class Deaf:
            """A connection that loses the answer to its second COMMIT, which happens or does not."""

            def __init__(self, connection: Any, real: bool) -> None:
                self._connection, self._real, self._commits = connection, real, 0

            def __getattr__(self, name: str) -> Any:
                return getattr(self._connection, name)

            def execute(self, statement: Any, *values: Any) -> Any:
                if statement == "COMMIT":
                    self._commits += 1
                    if self._commits == 2:
                        self._connection.execute("COMMIT" if self._real else "ROLLBACK")
                        raise psycopg.OperationalError("server closed the connection unexpectedly")
                return self._connection.execute(statement, *values)

        wait(store.audit())
        wait_until(lambda: store._next_beat)  # the next COMMIT of its own is some seconds away
        for real in (True, False):

            def deafen(database: Any, real: bool = real) -> None:
                database.connection = Deaf(database.connection, real)

            wait(store._submit(deafen))
            receipt = store.accept(submission(), START)
            if real:
                self.assertTrue(wait(receipt).queue_id)
            else:
                self.assertRaises(StoreFailedError, wait, receipt)
        self.assertEqual(wait(store.audit()).accepted, 1)

    def test_mail_fault_61_nobody_knows(self) -> None:
        """A commit of which nobody knows is refused in the end; a number that never was is one that did not happen."""
        store = self.open()
        other = psycopg.connect(self.conninfo)
        self.addCleanup(other.close)
        row = other.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
        with mock.patch.object(postgres_session, "RESOLVE", 0.0):
            asked = store._submit(lambda _: store._session.did_commit(row[0]))
            self.assertRaises(StoreFailedError, self.reactor.wait, asked)
        answers: list[bool] = []
        asked = store._submit(lambda _: answers.append(store._session.did_commit("999999999")))
        self.assertRaises(StoreFailedError, self.reactor.wait, asked)  # its own transaction went with the connection
        self.assertEqual(answers, [False])

    def test_mail_fault_61_lease_of_a_commit_that_nobody_knew_of(self) -> None:
        """A claim that was refused, and yet was committed, keeps nothing: its parcels wait again."""
        store, wait = self.open(IMPATIENT), self.reactor.wait
        wait(store.accept(submission(), START))
        commit = store._session.commit

        def lost(*, tell: bool) -> None:
            row = store._database.connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
            commit(tell=tell)
            if row is not None and row[0] is not None:
                store._session._doubtful.add(row[0])
                raise psycopg.OperationalError("nobody knows whether the transaction was committed")

        with mock.patch.object(store._session, "commit", lost):
            self.assertRaises(StoreFailedError, wait, store.claim("me", 9, 10**6, START))
        self.assertEqual(len(wait(store.listing("", 9))), 1)
        wait_until(lambda: wait(store.next_due(START)) == START)
        (lease,) = wait(store.claim("me", 9, 10**6, START))
        wait(store.settle(lease, settlement(lease), START))


class Stalls(PostgresCase):
    """A server that is connected and says nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = Proxy(shared().directory)
        self.addCleanup(self.proxy.close)
        self.conninfo = self.proxy.conninfo

    def test_silence(self) -> None:
        """Who asks is refused in time; the leases are known to have lapsed; it goes on when the server speaks again."""
        store, wait = self.open(IMPATIENT), self.reactor.wait
        lapsed: list[None] = []
        store.watch(lambda: None, lambda: lapsed.append(None))
        wait(store.accept(submission(), START, "me"))
        self.proxy.hold()
        self.assertRaises(StoreFailedError, wait, store.accept(submission(), START))
        wait_until(lambda: self.turn() and lapsed)
        self.assertRaises(StoreFailedError, wait, store.audit())
        self.proxy.go_on()
        self.assertTrue(self.insist(lambda: store.accept(submission(), START)).queue_id)
        self.assertTrue(wait(store.audit()).balanced)

    def test_late_lease(self) -> None:
        """A lease that comes when it may be another's already is not begun with; its item waits for the next claim."""
        store, wait = self.open(3.0), self.reactor.wait
        wait(store.audit())
        slow = threading.Event()
        self.addCleanup(slow.set)
        store._submit(lambda _: slow.wait(2.5))
        receipt = store.accept(submission(), START, "me")
        claimed = store.claim("me", 9, 10**6, START)
        accepted = wait(receipt)
        self.assertEqual((accepted.lease, wait(claimed)), (None, ()))
        leases: list[Lease] = []
        wait_until(lambda: leases.extend(wait(store.claim("me", 9, 10**6, START))) or leases)
        self.assertEqual(leases[0].item.queue_id, accepted.queue_id)

    def test_sleep(self) -> None:
        """A process that slept longer than its leases last ends its attempts when it wakes."""
        store, wait = self.open(), self.reactor.wait
        lapsed: list[None] = []
        store.watch(lambda: None, lambda: lapsed.append(None))
        wait(store.accept(submission(), START, "me"))
        with mock.patch.object(postgres_session, "seconds", side_effect=lambda: seconds() + 50):
            wait(store.claim("me", 9, 10**6, START))
        self.turn()
        self.assertEqual(len(lapsed), 1)
