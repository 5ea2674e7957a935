"""Carries out orders: the deliver function of the runner. A run's order reads the list, a file's order gets the file.

A file that came just before the daemon died is found in the records and not got again. A host that asked to be left
alone (429, 503) is not asked for its other files meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred

from netsvc.filestore.errors import StoreError
from netsvc.filestore.store import FileStore
from netsvc.outbox.model import Lease, OutboxError, Outcome, Settlement, Submission
from netsvc.outbox.store import IOutboxStore
from netsvc.services.fetch.book import Book, Record, Status
from netsvc.services.fetch.checksums import parse_sum
from netsvc.services.fetch.download import (
    Checksum,
    Downloader,
    DownloadError,
    Permanent,
    Progress,
    Transient,
    Validators,
    Wanted,
    clean_url,
)
from netsvc.services.fetch.download.connecting import NOT_PUBLIC
from netsvc.services.fetch.orders import MISSING, FileOrder, OrderError, decode, key_of
from netsvc.services.fetch.recording import came, is_here
from netsvc.services.fetch.runs import Plan, begin, intact_of

STOPPED = "the daemon stopped before it was here"
LEFT_ALONE = frozenset({429, 503})  # answers that speak for the whole host, RFC 6585 4, RFC 9110 15.6.4


@define(kw_only=True, eq=False)
class Courier:
    """What orders are carried out with.

    :param queue: the section's name.
    :param outbox: the open store of the queue.
    :param now: wall clock, seconds.
    """

    queue: str
    plan: Plan
    downloader: Downloader
    files: FileStore
    book: Book
    in_thread: Callable[..., Deferred[Any]]
    outbox: Callable[[], IOutboxStore]
    now: Callable[[], float] = time.time
    _ordered: dict[str, tuple[Submission, ...]] = field(init=False, factory=dict)
    _free_at: dict[str, float] = field(init=False, factory=dict)  # by host: when it may be asked again

    def __call__(self, lease: Lease, content: bytes) -> Deferred[Iterable[Outcome]]:
        """Carry out a leased order; an outcome for its target. Cancelling cuts it short, and what came is kept."""
        return Deferred.fromCoroutine(self._carry_out(lease, content))

    def settled(self, lease: Lease, settlement: Settlement, content: bytes) -> Iterable[Submission]:
        """What follows from the end of an order: those of the files, by one stroke with the end of the run's."""
        del content
        (_, state), *_ = settlement.outcomes
        key = lease.item.meta.get("url")
        if state == "expired" and key and (record := self.book.get(key)) is not None and record.status == "retry":
            self.book.put(evolve(record, status="failed")).addErrback(lambda _: None)  # it stands in the outbox, too
        return self._ordered.get(lease.item.queue_id, ()) if state == "delivered" else ()

    async def _carry_out(self, lease: Lease, content: bytes) -> Iterable[Outcome]:
        target = lease.targets[0].address
        try:
            order = decode(content)
            if isinstance(order, FileOrder):
                return [await self._file(lease, order, target)]
            return [await self._run(lease, target)]
        except OrderError as error:
            return [Outcome(target=target, result="permanent", text=str(error))]
        except CancelledError:
            return [Outcome(target=target, result="retry", text=STOPPED)]
        except (OSError, OutboxError, StoreError) as error:  # the records, the queue, or the directory
            return [Outcome(target=target, result="retry", text=str(error))]

    async def _run(self, lease: Lease, target: str) -> Outcome:
        await self.in_thread(self.files.sweep)
        try:
            run = await begin(
                self.plan,
                queue=self.queue,
                run=lease.item.queue_id,
                reader=self.downloader,
                book=self.book,
                intact=lambda records: self.in_thread(intact_of, records, self._is_here),
                store=self.outbox(),
            )
        except DownloadError as error:
            return self._failed(target, error, error.status is None)
        self._ordered.clear()
        self._ordered[lease.item.queue_id] = run.orders
        return Outcome(target=target, result="delivered", text=str(run))

    def _is_here(self, record: Record) -> bool:
        return is_here(self.files, record)

    async def _file(self, lease: Lease, order: FileOrder, target: str) -> Outcome:
        record = self.book.get(key_of(order.url)) or Record(key=key_of(order.url), url=clean_url(order.url))
        run = lease.item.meta.get("run", "")
        here = bool(record.sha256) and bool(await self.in_thread(self._is_here, record))
        if here and record.run == run and record.status in {"fetched", "unchanged"}:
            return Outcome(target=target, result="delivered", text=f"{record.name} was here before the daemon ended")
        if order.checksum == MISSING:
            error: DownloadError = Permanent("the list of checksums has no line for it")
            await self._note(record, order, run, "failed", error)
            return self._failed(target, error, False)
        if (wait := self._free_at.get(lease.destination, 0.0)) > self.now():
            text = f"{lease.destination} asked to be left alone"
            return Outcome(target=target, result="retry", text=text, not_before=wait)
        heard: list[Progress] = []
        try:
            done = await self.downloader.download(_wanted(order, record, here), heard.append)
        except DownloadError as error:
            if isinstance(error, Transient) and error.retry_after and error.status in LEFT_ALONE:
                self._free_at[lease.destination] = self.now() + error.retry_after
            await self._note(record, order, run, "retry" if isinstance(error, Transient) else "failed", error)
            return self._failed(target, error, error.status is None and not heard)
        self._free_at.pop(lease.destination, None)
        await self.book.put(evolve(came(record, done, self.now()), run=run))
        resumed = f", {done.resumed_from} of them before" if done.resumed_from else ""
        text = "unchanged" if done.from_cache else f"{done.size} octets{resumed}"
        return Outcome(target=target, result="delivered", code=done.status, text=f"{done.names[-1]}: {text}")

    async def _note(self, record: Record, order: FileOrder, run: str, status: Status, error: DownloadError) -> None:
        """Write down that it did not come; what came of it earlier stays what it is."""
        name = record.name or order.name
        changed = evolve(record, name=name, status=status, reason=error.reason, run=run, resume=error.resume or "")
        await self.book.put(changed)

    def _failed(self, target: str, error: DownloadError, unreachable: bool) -> Outcome:
        wait = error.retry_after if isinstance(error, Transient) else None
        return Outcome(
            target=target,
            result="retry" if isinstance(error, Transient) else "permanent",
            code=error.status,
            text=f"{error.reason} (private_addresses = yes allows it)" if error.reason == NOT_PUBLIC else error.reason,
            unreachable=unreachable and isinstance(error, Transient),
            not_before=None if wait is None else self.now() + wait,
        )


def _wanted(order: FileOrder, record: Record, here: bool) -> Wanted:
    checksum = None
    if order.checksum:
        one = parse_sum(order.checksum)
        checksum = Checksum(one.algorithm, bytes.fromhex(one.digest))  # type: ignore[arg-type]
    if not order.name:
        # Nobody knows yet what it will be called: a file of another URL is not replaced.
        return Wanted(url=order.url, replace=False, checksum=checksum, resume=record.resume or None)
    is_known = here and record.name == order.name
    return Wanted(
        url=order.url,
        names=(order.name,),
        checksum=checksum,
        validators=Validators(etag=record.etag, last_modified=record.last_modified) if is_known else None,
    )
