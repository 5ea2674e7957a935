"""Begins a run: reads the list and the feed, and makes an order of each file that is to come.

Files that still wait from an earlier run are left to it. A file that is here as the records have it is ordered again
only by a mirror, or when its checksum is to be another now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen
from twisted.internet.defer import Deferred

from netsvc.outbox.model import Submission
from netsvc.outbox.store import IOutboxStore
from netsvc.services.fetch.book import Book, Record
from netsvc.services.fetch.checksums import Sum
from netsvc.services.fetch.download import clean_url
from netsvc.services.fetch.listing import Feed, Reader, read_checksums
from netsvc.services.fetch.naming import free_name, name_in
from netsvc.services.fetch.orders import FILE, MISSING, FileOrder, host_of, key_of
from netsvc.services.fetch.settings import Listed

PAGE = 1000  # items of the queue that are read at once


@frozen(kw_only=True)
class Plan:
    """What a run is of.

    :param listed: the URLs that stand in the configuration.
    :param checksums: URL of a list of them, or None.
    :param reserved: a name that no file may have: the manifest's.
    """

    listed: tuple[Listed, ...] = field(repr=False)
    feed: Feed | None = None
    checksums: str | None = field(default=None, repr=False)
    mirror: bool = False
    reserved: str | None = None
    windows_names: bool = False

    @property
    def destination(self) -> str:
        """Where a run begins: the host of the feed, or of the checksums."""
        if self.feed is not None:
            return self.feed.host
        return host_of(self.checksums) if self.checksums else ""


@frozen
class Run:
    """What came of the beginning.

    :param named: URLs of the list.
    """

    named: int
    orders: tuple[Submission, ...]

    def __str__(self) -> str:
        return f"{self.named} files, {len(self.orders)} of them ordered"


async def begin(
    plan: Plan,
    *,
    queue: str,
    run: str,
    reader: Reader,
    book: Book,
    intact: Callable[[list[Record]], Deferred[set[str]]],
    store: IOutboxStore,
) -> Run:
    """Read all and order what is to come.

    :param queue: the section's name.
    :param run: queue id of the order to begin.
    :param intact: which records' files are here as they stand in them; keys.
    :raises DownloadError: the feed or the checksums cannot be had.
    :raises OutboxError: the queue cannot be read.
    """
    wanted = {one.url: one.checksum for one in plan.listed}
    if plan.feed is not None:
        for url in await plan.feed.read(reader):
            wanted.setdefault(url, "")
    sums = {} if plan.checksums is None else await read_checksums(reader, plan.checksums)
    known = [record for url in wanted if (record := book.get(key_of(url))) is not None and record.sha256]
    here = await intact(known)
    waiting = await _waiting(store)
    taken = {plan.reserved} if plan.reserved else set()
    orders = []
    for url, given in wanted.items():
        key = key_of(url)
        record = book.get(key)
        name = record.name if record is not None and record.name else name_in(url, windows=plan.windows_names)
        checksum = given or (_checksum(sums, name_in(url)) if plan.checksums is not None else "")
        if key in waiting or (key in here and not _is_due(plan, record, checksum)):
            taken.add(name)
            continue
        name = free_name(name, lambda one, key=key: one in taken or book.owner(one) not in {None, key})  # type: ignore[misc]
        taken.add(name)
        orders.append(_submission(FileOrder(url=url, name=name, checksum=checksum), key, queue, run))
    return Run(len(wanted), tuple(orders))


def _is_due(plan: Plan, record: Record | None, checksum: str) -> bool:
    """Whether a file that is here is asked for again."""
    if checksum.startswith("sha256:"):
        return record is None or checksum != f"sha256:{record.sha256}"
    return plan.mirror


def _checksum(sums: Mapping[str, Sum], name: str) -> str:
    found = sums.get(name)
    return MISSING if found is None else str(found)


def _submission(order: FileOrder, key: str, queue: str, run: str) -> Submission:
    return Submission(
        submitter=queue,
        sender=queue,
        targets=(clean_url(order.url),),
        content=order.encode(),
        meta={"order": FILE, "run": run, "url": key},
        destinations=(host_of(order.url),),
    )


async def _waiting(store: IOutboxStore) -> set[str]:
    found: set[str] = set()
    after = ""
    while True:
        page = await store.listing(after, PAGE)
        found.update(one.item.meta.get("url", "") for one in page)
        if len(page) < PAGE:
            return found
        after = page[-1].item.queue_id


def intact_of(records: Iterable[Record], is_here: Callable[[Record], bool]) -> set[str]:
    """The keys of those whose file is here as they have it. Blocks."""
    return {one.key for one in records if is_here(one)}
