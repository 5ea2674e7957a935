"""A store behind one thread that owns the only connection, with grouped commits.

Jobs that arrive while a commit runs are done together in the next transaction, each in a savepoint of its own, so that
one that fails takes none along; their Deferreds fire after that one commit, which is an fsync of the write-ahead log.
So one submission alone waits for one fsync, and a hundred at once wait for one or two.
"""

from __future__ import annotations

import abc
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.outbox.destinations import Allowance
from netsvc.outbox.model import (
    Accepted,
    Attempt,
    Audit,
    Lease,
    Operated,
    Operation,
    OutboxError,
    Selection,
    Settlement,
    StoreFailedError,
    Submission,
    Summary,
    Suppressed,
    Told,
    Tracked,
)
from netsvc.outbox.steps import ANY
from netsvc.outbox.store import IOutboxStore

T = TypeVar("T")
D = TypeVar("D", bound=Any)

MAX_GROUP = 256  # jobs in one transaction, so that the first of them need not wait long for the last
MAX_GROUP_OCTETS = 32 << 20  # of content in one transaction, for the same reason
# Each transaction writes the same few pages again and wakes both threads: fewer and larger ones cost less.
MANY = 4  # jobs in one group, after which more are to be expected
GATHER = 0.001  # seconds that the next group waits for these
COMPANY = 0.003  # seconds that the record of an attempt, which need not be synced, waits for something that must be

log = Logger()


@frozen
class Job:
    """Work for the thread, and who waits for it.

    :param lasting: what it writes must outlast a power cut when it is answered. Otherwise it may be forgotten by one
        that comes soon after.
    :param patient: nobody is kept waiting by it, so that it may wait a little for others.
    """

    work: Callable[[Any], Any]
    done: Deferred[Any]
    octets: int
    lasting: bool
    patient: bool


@implementer(IOutboxStore)
class ThreadedStore(abc.ABC, Generic[D]):
    """The thread and its jobs; `D` is the database of steps.

    :param call_from_thread: runs a function in the reactor's thread: ``reactor.callFromThread``.
    """

    def __init__(self, database: D, call_from_thread: Callable[..., Any]) -> None:
        self._database = database
        self._arriving = 0  # octets of content in the group under way
        self._has_room = False  # there is room for that
        self._last = 0  # jobs in the last group
        self._call_from_thread = call_from_thread
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed: Deferred[None] | None = None
        self._hint: Callable[[], None] | None = None
        self._lapsed: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="netsvc-outbox", daemon=True)
        self._thread.start()

    # What a kind of store does its own way, in the thread

    @abc.abstractmethod
    def _begin(self, *, lasting: bool = True) -> None:
        """Begin a transaction; with `lasting` false its commit may return before it is on the disk."""

    @abc.abstractmethod
    def _commit(self) -> None:
        """Commit it; returns when it is on the disk."""

    @abc.abstractmethod
    def _abort(self) -> None:
        """Undo it; never raises."""

    @abc.abstractmethod
    def _in_transaction(self) -> bool:
        """Whether the transaction outlived an error of a job."""

    @abc.abstractmethod
    def _is_database_error(self, error: Exception) -> bool:
        """Whether an error is the database's and not a fault of ours."""

    def _try_again(self, error: Exception) -> bool:  # noqa: ARG002
        """Whether a job that failed so is worth a second try in the same transaction."""
        return False

    @abc.abstractmethod
    def _let_go(self) -> None:
        """Close what the store holds."""

    def _check_room(self) -> None:
        """Before a submission is written: whether there is room for it.

        :raises StoreFullError: there is none.
        """

    def _patience(self) -> float | None:
        """Seconds to wait for work before `_tick` is called all the same."""
        return None

    def _tick(self) -> None:
        """Called behind each group, and when none has come; never raises."""

    # The promises of IOutboxStore

    def accept(self, submission: Submission, now: float, owner: str | None = None) -> Deferred[Accepted]:
        """See :meth:`netsvc.outbox.steps.Steps.accept`.

        :raises StoreFullError: (as a failure) the disk has no room but for what is there already.
        """

        def work(database: D) -> Accepted:
            if not self._has_room:
                self._check_room()
                self._has_room = True
            accepted: Accepted = database.accept(submission, now, owner)
            return accepted

        return self._submit(work, len(submission.content))

    def claim(
        self, owner: str, limit: int, octets: int, now: float, allowance: Allowance = ANY
    ) -> Deferred[tuple[Lease, ...]]:
        """See :meth:`netsvc.outbox.steps.Steps.claim`."""
        return self._submit(lambda database: database.claim(owner, limit, octets, now, allowance))

    def claim_overdue(
        self, owner: str, destination: str, before: float, limit: int, now: float
    ) -> Deferred[tuple[Lease, ...]]:
        """See :meth:`netsvc.outbox.steps.Steps.claim_overdue`."""
        return self._submit(lambda database: database.claim_overdue(owner, destination, before, limit, now))

    def content(self, queue_id: str) -> Deferred[bytes]:
        """See :meth:`netsvc.outbox.steps.Steps.content`."""
        return self._submit(lambda database: database.content(queue_id), lasting=False)

    def settle(
        self, lease: Lease, settlement: Settlement, now: float, follow_ups: Iterable[Submission] = ()
    ) -> Deferred[tuple[Accepted, ...]]:
        """See :meth:`netsvc.outbox.steps.Steps.settle`."""
        following = tuple(follow_ups)
        octets = sum(len(one.content) for one in following)
        work: Callable[[D], tuple[Accepted, ...]]
        work = lambda database: database.settle(lease, settlement, now, following)  # noqa: E731
        return self._submit(work, octets, lasting=False, patient=True)

    def release(self, lease: Lease) -> Deferred[None]:
        """See :meth:`netsvc.outbox.steps.Steps.release`."""
        return self._submit(lambda database: database.release(lease))

    def operate(self, operation: Operation, chosen: Selection, operator: str, now: float) -> Deferred[Operated]:
        """See :meth:`netsvc.outbox.steps_operations.Operations.operate`."""
        return self._submit(lambda database: database.operate(operation, chosen, operator, now))

    def remove(self, queue_id: str, operator: str, now: float) -> Deferred[int]:
        """See :meth:`netsvc.outbox.steps_operations.Operations.remove`."""
        return self._submit(lambda database: database.remove(queue_id, operator, now))

    def requeue(self, queue_id: str, operator: str, now: float) -> Deferred[int]:
        """See :meth:`netsvc.outbox.steps_operations.Operations.requeue`."""
        return self._submit(lambda database: database.requeue(queue_id, operator, now))

    def suppress(self, address: str, reason: str, operator: str, now: float) -> Deferred[None]:
        """See :meth:`netsvc.outbox.steps_operations.Operations.suppress`."""
        return self._submit(lambda database: database.suppress(address, reason, operator, now))

    def unsuppress(self, address: str) -> Deferred[bool]:
        """See :meth:`netsvc.outbox.steps_operations.Operations.unsuppress`."""
        return self._submit(lambda database: database.unsuppress(address))

    def suppressed(self, addresses: Sequence[str]) -> Deferred[Mapping[str, str]]:
        """See :meth:`netsvc.outbox.steps.Steps.suppressed`."""
        return self._submit(lambda database: database.suppressed(addresses), lasting=False)

    def suppressions(self, after: str, limit: int) -> Deferred[tuple[Suppressed, ...]]:
        """See :meth:`netsvc.outbox.steps_operations.Operations.suppressions`."""
        return self._submit(lambda database: database.suppressions(after, limit), lasting=False)

    def next_due(self, now: float, closed: Sequence[str] = ()) -> Deferred[float | None]:
        """See :meth:`netsvc.outbox.steps_queries.Queries.next_due`."""
        return self._submit(lambda database: database.next_due(now, closed), lasting=False)

    def listing(
        self, after: str, limit: int, submitter: str | None = None, done: bool = False
    ) -> Deferred[tuple[Summary, ...]]:
        """See :meth:`netsvc.outbox.steps_queries.Queries.listing`."""
        return self._submit(lambda database: database.listing(after, limit, submitter, done), lasting=False)

    def show(self, queue_id: str) -> Deferred[tuple[Summary, tuple[Attempt, ...]]]:
        """See :meth:`netsvc.outbox.steps_queries.Queries.show`."""
        return self._submit(lambda database: database.show(queue_id), lasting=False)

    def audit(self) -> Deferred[Audit]:
        """See :meth:`netsvc.outbox.steps_queries.Queries.audit`."""
        return self._submit(lambda database: database.audit(), lasting=False)

    def purge(self, before: float) -> Deferred[int]:
        """See :meth:`netsvc.outbox.steps_queries.Queries.purge`."""
        return self._submit(lambda database: database.purge(before))

    def prepare(self) -> Deferred[None]:
        """See :meth:`netsvc.outbox.steps_tracking.Tracking.prepare`."""
        return self._submit(lambda database: database.prepare())

    def tracked(self, reference: str) -> Deferred[tuple[Tracked, ...]]:
        """See :meth:`netsvc.outbox.steps_tracking.Tracking.tracked`."""
        return self._submit(lambda database: database.tracked(reference), lasting=False)

    def to_ask(self, now: float, limit: int) -> Deferred[tuple[Tracked, ...]]:
        """See :meth:`netsvc.outbox.steps_tracking.Tracking.to_ask`."""
        return self._submit(lambda database: database.to_ask(now, limit), lasting=False)

    def ask_later(self, queue_id: str, n: int, ask_at: float | None) -> Deferred[None]:
        """See :meth:`netsvc.outbox.steps_tracking.Tracking.ask_later`."""
        return self._submit(lambda database: database.ask_later(queue_id, n, ask_at))

    def tell(self, queue_id: str, n: int, told: Told, now: float) -> Deferred[bool]:
        """See :meth:`netsvc.outbox.steps_tracking.Tracking.tell`."""
        return self._submit(lambda database: database.tell(queue_id, n, told, now))

    def watch(self, hint: Callable[[], None], lapsed: Callable[[], None]) -> None:
        """See :meth:`netsvc.outbox.store.IOutboxStore.watch`."""
        self._hint, self._lapsed = hint, lapsed

    def close(self) -> Deferred[None]:
        """Do what is queued, then let go."""
        if self._closed is None:
            self._closed = Deferred()
            self._jobs.put(None)
        return self._closed

    # The thread

    def _submit(
        self, work: Callable[[D], T], octets: int = 0, *, lasting: bool = True, patient: bool = False
    ) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        if self._closed is not None:
            done.errback(StoreFailedError("the queue is closed"))
        else:
            self._jobs.put(Job(work, done, octets, lasting, patient))
        return done

    def _run(self) -> None:
        """Take what has come, do it, commit it, answer."""
        ending = False
        while not ending:
            jobs, ending = self._next_group()
            if jobs:
                answers = self._do(jobs)
                self._call_from_thread(_answer, answers)
            if not ending:
                self._tick()
        self._let_go()
        assert self._closed is not None  # noqa: S101 - only close() ends the loop
        self._call_from_thread(self._closed.callback, None)

    def _next_group(self) -> tuple[list[Job], bool]:
        jobs: list[Job] = []
        octets = 0
        end = 0.0  # monotonic: until then what is patient waits for company
        while len(jobs) < MAX_GROUP and octets < MAX_GROUP_OCTETS:
            wait = end - time.monotonic() if end else 0.0
            try:
                job = self._jobs.get(block=not jobs or wait > 0, timeout=max(wait, 0.0) if jobs else self._patience())
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            if not jobs:
                if self._last >= MANY:
                    time.sleep(GATHER)
                elif job.patient:
                    end = time.monotonic() + COMPANY
            if not job.patient:
                end = 0.0
            jobs.append(job)
            octets += job.octets
        self._last = len(jobs)
        return jobs, False

    def _do(self, jobs: list[Job]) -> list[tuple[Job, Any]]:
        """Do jobs in one transaction; each with its result or its Failure.

        Nearly always none fails, so that savepoints would only cost time: they are for the second try.
        """
        self._arriving, self._has_room = sum(job.octets for job in jobs), False
        try:
            self._begin(lasting=any(job.lasting for job in jobs))
            answers = self._do_all(jobs)
            if answers is None:
                self._database.connection.execute("ROLLBACK")
                self._database.undone()
                self._begin(lasting=any(job.lasting for job in jobs))
                answers = [(job, self._do_one(job)) for job in jobs]
            if not self._in_transaction():  # else a COMMIT of nothing would be taken for one of theirs
                raise StoreFailedError("its transaction ended under it")
            self._database.flush()
            self._commit()
        except Exception as error:  # noqa: BLE001 - the thread must live, and every job must be answered
            self._abort()
            self._database.undone()
            if not isinstance(error, StoreFailedError) and not self._is_database_error(error):
                log.failure("the queue met a fault of its own", event="outbox-fault")
            failure = Failure(StoreFailedError(f"the queue cannot be written or read: {error}"))
            return [(job, failure) for job in jobs]
        return answers

    def _do_all(self, jobs: list[Job]) -> list[tuple[Job, Any]] | None:
        """Do jobs; None when one failed, and the transaction is to be undone."""
        try:
            return [(job, job.work(self._database)) for job in jobs]
        except Exception:  # done again, each on its own, which says more
            if not self._in_transaction():
                raise
            return None

    def _do_one(self, job: Job, *, again: bool = False) -> Any:
        connection = self._database.connection
        mark = self._database.mark()
        connection.execute("SAVEPOINT job")
        try:
            result = job.work(self._database)
        except OutboxError:
            result = Failure()
        except Exception as error:
            if self._is_database_error(error):
                if not self._in_transaction():  # disk full and its kin: everything was rolled back
                    raise
                if self._try_again(error) and not again:
                    connection.execute("ROLLBACK TO job")
                    self._database.undone(mark)
                    return self._do_one(job, again=True)
                result = Failure(StoreFailedError(f"the queue cannot be written or read: {error}"))
            else:
                log.failure("the queue met a fault of its own", event="outbox-fault")
                result = Failure()
        if isinstance(result, Failure):
            result.cleanFailure()
            connection.execute("ROLLBACK TO job")
            self._database.undone(mark)
        connection.execute("RELEASE job")
        return result


def _answer(answers: list[tuple[Job, Any]]) -> None:
    for patient in (False, True):  # first those who keep somebody waiting
        for job, result in answers:
            if job.patient is patient:
                job.done.callback(result)
