"""Answers the requests of a list's socket, and orders runs: an answer of ok means that it is on the disk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from netsvc.interfaces import IMetrics
from netsvc.net.json_lines import Refusal, refused
from netsvc.net.unix_peer import UnixPeer
from netsvc.outbox.model import DamagedError, NoSuchItemError, OutboxError, Submission, Summary, make_queue_id
from netsvc.outbox.retry import DAY
from netsvc.outbox.runner import Runner
from netsvc.services.fetch.book import Book
from netsvc.services.fetch.orders import RUN, RunOrder
from netsvc.services.fetch.wire import Request

PAGE = 1000  # items of the queue that are read at once
SHOWN_ATTEMPTS = 1000  # lines of a ledger, the newest

log = Logger()


class Desk:
    """Answers requests: the part without a transport.

    :param identity: of the list.
    :param destination: where its runs begin.
    :param operators: gives the uids that may remove and requeue.
    :param now: wall clock, seconds.
    """

    def __init__(  # noqa: PLR0917
        self,
        runner: Runner,
        book: Book,
        identity: str,
        destination: str,
        metrics: IMetrics,
        operators: Callable[[], frozenset[int]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._runner = runner
        self._book = book
        self._identity = identity
        self._destination = destination
        self._operators = operators
        self._now = now
        self._ordering = DeferredLock()
        self._runs = metrics.counter("fetch_runs_ordered", "Runs of a list that were ordered.", ("queue", "by"))

    async def order(self, submitter: str, by: str) -> tuple[str, bool]:
        """Order a run, unless one is ordered that has not begun; its queue id, and whether it was there.

        :param by: schedule or peer.
        :raises OutboxError: it could not be written.
        """
        await self._ordering.acquire()
        try:
            found = await self._pending()
            queue_id = found or await self._accept(submitter)
            await self._book.ran(self._now(), self._identity)
        finally:
            self._ordering.release()
        if not found:
            self._runs.inc(queue=self._runner.queue, by=by)
            log.info(
                "{queue}: a run was ordered by {submitter}: {queue_id}",
                event="fetch-run-ordered",
                queue=self._runner.queue,
                submitter=submitter,
                queue_id=queue_id,
            )
        return queue_id, found is not None

    async def due(self) -> bool:
        """Order a run because its time has come; whether that could be."""
        try:
            await self.order("schedule", "schedule")
        except (OutboxError, OSError) as error:
            log.error(
                "{queue}: a run that is due cannot be ordered: {reason}",
                event="fetch-run-not-ordered",
                queue=self._runner.queue,
                reason=str(error),
            )
            return False
        return True

    async def answer(self, request: Request, peer: UnixPeer) -> dict[str, Any]:
        """The reply; never raises."""
        try:
            return {"ok": True, **await self._answer(request, peer)}
        except Refusal as refusal:
            return refused(refusal)
        except (NoSuchItemError, DamagedError) as error:
            return refused(Refusal("5.0.0", str(error)))
        except (OutboxError, OSError) as error:
            return refused(Refusal("4.3.0", str(error)))
        except Exception:  # noqa: BLE001 - one request's fault must not become the daemon's
            log.failure("a request failed by a fault of ours", event="fetch-request-fault")
            return refused(Refusal("4.3.0", "a fault in the daemon; its log says more"))

    async def _answer(self, request: Request, peer: UnixPeer) -> dict[str, Any]:
        store = self._runner.store
        if request.command == "run":
            queue_id, repeated = await self.order(str(peer), "peer")
            return {"id": queue_id, "repeated": repeated}
        if request.command == "tally":
            return await self._tally(request.id)
        if request.command == "audit":
            audit = await store.audit()
            return {"audit": {**attrs.asdict(audit), "balanced": audit.balanced}}
        if request.command == "queue":
            page = await store.listing(request.after, request.limit, None, request.done)
            return {"items": [_line(one) for one in page], "more": len(page) == request.limit}
        if request.command == "show":
            summary, ledger = await store.show(request.id)
            attempts = [attrs.asdict(one) for one in tuple(ledger)[-SHOWN_ATTEMPTS:]]
            return {"item": {**_line(summary), "ledger": attempts}}
        return await self._operate(request, peer)

    async def _operate(self, request: Request, peer: UnixPeer) -> dict[str, Any]:
        if peer.uid not in self._operators():
            raise Refusal("5.7.1", f"only the daemon's user and root may {request.command}")
        store, now = self._runner.store, self._now()
        if request.command == "remove":
            count = await store.remove(request.id, str(peer), now)
        else:
            count = await store.requeue(request.id, str(peer), now)
            self._runner.wake()
        log.info(
            "{peer} did {command} {queue_id}",
            event="fetch-operated",
            queue=self._runner.queue,
            peer=str(peer),
            command=request.command,
            queue_id=request.id,
        )
        return {"count": count}

    async def _accept(self, submitter: str) -> str:
        accepted = await self._runner.accept(
            Submission(
                submitter=submitter,
                sender=self._runner.queue,
                targets=(self._runner.queue,),
                content=RunOrder().encode(),
                meta={"order": RUN},
                destinations=(self._destination,),
            )
        )
        return accepted.queue_id

    async def _pending(self) -> str | None:
        async for one in self._items(done=False):
            if one.item.meta.get("order") == RUN:
                return one.item.queue_id
        return None

    async def _tally(self, queue_id: str) -> dict[str, Any]:
        """What became of a run so far: its own order, and its files by their states."""
        summary, _ = await self._runner.store.show(queue_id)
        if summary.item.meta.get("order") != RUN:
            raise Refusal("5.0.0", f"{queue_id} is no run")
        states: Counter[str] = Counter()
        failed = []
        # Ids are in the order of time, but for those of one millisecond and of a clock that was set back.
        after = make_queue_id(summary.item.accepted_at - DAY, lambda: 0.0)
        async for one in self._items(done=True, after=after):
            if one.item.meta.get("run") == queue_id:
                target = one.targets[0]
                states[target.state] += 1
                if target.state not in {"delivered", "waiting"}:
                    failed.append({"url": target.address, "state": target.state, "reason": target.text})
        own = summary.targets[0]
        return {"run": {"state": own.state, "reason": own.text}, "files": dict(states), "failed": failed[:PAGE]}

    async def _items(self, *, done: bool, after: str = "") -> AsyncIterator[Summary]:
        while True:
            page = await self._runner.store.listing(after, PAGE, None, done)
            for one in page:
                yield one
            if len(page) < PAGE:
                return
            after = page[-1].item.queue_id


def _line(summary: Summary) -> dict[str, Any]:
    """One item; times are seconds since 1970."""
    item, target = summary.item, summary.targets[0]
    return {
        "id": item.queue_id,
        "order": item.meta.get("order", ""),
        "run": item.meta.get("run", ""),
        "state": item.state,
        "url": target.address,
        "became": target.state,
        "last": target.text,
        "accepted_at": item.accepted_at,
        "next_at": item.next_at if item.state == "waiting" else None,
        "attempts": item.attempts,
    }
