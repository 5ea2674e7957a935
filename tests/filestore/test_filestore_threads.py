"""Octets of a connection on their way to the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from netsvc.filestore.errors import BrokenError, BusyError, QuotaError, StaleError, StoreError
from netsvc.filestore.threads import HIGH, Inflow
from tests.filestore.kit import StoreCase


class Threads:
    """Threads that work when the test says so."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self._jobs.append((function, arguments, done))
        return done

    def work(self) -> int:
        """Do what was asked for, and what follows; how many jobs it was."""
        count = 0
        while self._jobs:
            function, arguments, done = self._jobs.pop(0)
            maybeDeferred(function, *arguments).chainDeferred(done)
            count += 1
        return count


class Flowing(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.threads = Threads()
        self.told: list[str] = []
        self.errors: list[StoreError] = []

    def inflow(self, **arguments: Any) -> Inflow:
        return Inflow(
            self.store.create(("f",), owner="me", **arguments),
            self.threads,
            pause=lambda: self.told.append("pause"),
            resume=lambda: self.told.append("resume"),
            failed=self.errors.append,
        )

    def test_published(self) -> None:
        """Octets are written in order and in batches, and published when they are all on the disk."""
        inflow = self.inflow()
        for one in (b"a", b"b", b"", b"c"):
            inflow.write(one)
        done = inflow.finish(size=3)
        self.assertEqual(inflow.offset, 3)
        self.assertNoResult(done)
        self.assertEqual(self.threads.work(), 3)
        self.assertEqual(self.successResultOf(done).size, 3)
        self.assertEqual(self.octets("f"), b"abc")
        self.assertEqual(self.told, [])

    def test_the_peer_waits(self) -> None:
        """A peer that is faster than the disk is paused, once, and goes on when little is left."""
        inflow = self.inflow()
        inflow.write(bytes(10))
        inflow.write(bytes(HIGH - 1))
        self.assertEqual(self.told, [])
        inflow.write(bytes(1))
        inflow.write(bytes(1))
        self.assertEqual(self.told, ["pause"])
        self.threads.work()
        self.assertEqual(self.told, ["pause", "resume"])
        self.assertEqual(inflow.offset, HIGH + 11)
        inflow.discard()
        self.threads.work()
        self.assertEqual(self.parts(), [])

    def test_refused(self) -> None:
        """What the store refuses is told once; nothing more is written, and nothing published."""
        self.store = self.make(quota=10)
        inflow = self.inflow()
        inflow.write(bytes(11))
        inflow.write(bytes(HIGH))
        done = inflow.finish()
        self.threads.work()
        self.failureResultOf(done, QuotaError)
        self.assertEqual([type(one) for one in self.errors], [QuotaError])
        self.assertEqual(self.told, ["pause", "resume"])
        inflow.write(b"more")
        self.failureResultOf(inflow.sync(), QuotaError)
        inflow.keep()
        self.threads.work()
        self.assertEqual((self.shown(), self.parts()), ([], []))

    def test_kept(self) -> None:
        """A lost connection keeps what came, also what was still on its way to the disk."""
        inflow = self.inflow()
        inflow.write(b"ab")
        inflow.write(b"cd")
        finished = inflow.finish()
        kept = inflow.keep()
        self.failureResultOf(finished, StaleError)
        self.threads.work()
        self.assertEqual(self.successResultOf(kept), 4)
        found = self.store.find_partial(("f",), "me")
        assert found is not None
        again = Inflow(self.store.resume(found.id, "me"), self.threads, pause=lambda: None, resume=lambda: None)
        again.write(b"ef")
        done = again.finish()
        self.threads.work()
        self.successResultOf(done)
        self.assertEqual(self.octets("f"), b"abcdef")

    def test_synced_in_its_turn(self) -> None:
        """A sync comes after what was written before it, and the end after the sync."""
        inflow = self.inflow()
        inflow.write(b"ab")
        synced = inflow.sync()
        done = inflow.finish()
        self.threads.work()
        self.successResultOf(synced)
        self.successResultOf(done)
        self.failureResultOf(self._after(inflow), StaleError)

    def _after(self, inflow: Inflow) -> Deferred[Any]:
        inflow.write(b"z")
        done = inflow.sync()
        self.threads.work()
        return done

    def test_given_up_while_the_peer_waits(self) -> None:
        """A peer that had to wait for what is given up may go on."""
        inflow = self.inflow()
        inflow.sync()
        inflow.write(bytes(HIGH))
        self.assertEqual(self.told, ["pause"])
        inflow.discard()
        self.threads.work()
        self.assertEqual(self.told, ["pause", "resume"])

    def test_faults(self) -> None:
        """A fault of the program or the machine is told as one of the store, and logged."""
        for fault, kind in ((MemoryError(), BusyError), (ZeroDivisionError(), BrokenError)):
            self.errors.clear()
            inflow = self.inflow()

            def fail(*_: object, fault: Exception = fault) -> None:
                raise fault

            patched = self.patch(os, "pwritev", fail)
            inflow.write(b"abc")
            done = inflow.finish()
            self.threads.work()
            patched.restore()
            self.failureResultOf(done, kind)
            self.assertEqual([type(one) for one in self.errors], [kind])
            inflow.discard()
            self.threads.work()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.parts(), [])
