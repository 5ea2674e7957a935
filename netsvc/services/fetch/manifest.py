"""The manifest: a JSON line for each URL of a list, in the directory itself, whole at any time.

It has url, name, size, sha256, etag, last_modified, fetched (UTC) and status: fetched, unchanged (the origin said so),
retry (it will be tried again) or failed, these two with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, get_args

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netsvc.filestore.errors import StoreError
from netsvc.filestore.store import FileStore
from netsvc.services.fetch.book import Record, Status
from netsvc.services.fetch.orders import key_of

QUIET = 0.5  # seconds without a change after which it is written
LATEST = 30.0  # seconds after a change in which it is written anyhow
LARGEST = 64 << 20  # octets of one that is read; that of 10,000 files has 5

log = Logger()


def line_of(record: Record) -> str:
    """One line of the manifest."""
    whole: dict[str, Any] = {
        "url": record.url,
        "name": record.name or None,
        "size": record.size if record.sha256 else None,
        "sha256": record.sha256 or None,
        "etag": record.etag,
        "last_modified": record.last_modified,
        "fetched": time_text(record.fetched) if record.fetched else None,
        "status": record.status,
    }
    if record.reason:
        whole["reason"] = record.reason
    return json.dumps(whole, ensure_ascii=False)


def record_of(line: str) -> Record | None:
    """What a line of the manifest says; None if it is none of ours."""
    try:
        whole = json.loads(line)
        fetched = whole["fetched"]
        found = Record(
            key=key_of(whole["url"]),
            url=whole["url"],
            name=whole["name"] or "",
            size=whole["size"] or 0,
            sha256=whole["sha256"] or "",
            etag=whole["etag"],
            last_modified=whole["last_modified"],
            fetched=datetime.fromisoformat(fetched).timestamp() if fetched else 0.0,
            status=whole["status"],
            reason=whole.get("reason", ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    texts = (found.name, found.sha256, found.etag or "", found.last_modified or "", found.reason)
    good = all(isinstance(one, str) for one in texts) and isinstance(found.size, int)
    return found if good and found.status in get_args(Status) else None


def time_text(seconds: float) -> str:
    """A moment as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_manifest(store: FileStore, name: str) -> list[Record]:
    """What a manifest says, as far as there is one that can be understood. Blocks."""
    try:
        file = store.open((name,))
        try:
            octets = file.read(0, LARGEST)
        finally:
            file.close()
    except StoreError:
        return []
    lines = octets.decode("utf-8", "replace").split("\n")
    return [one for one in map(record_of, lines) if one is not None]


def write_manifest(store: FileStore, name: str, lines: Iterable[str], owner: str) -> None:
    """Publish it. Blocks.

    :raises StoreError: it was not; the one before stands.
    """
    octets = "".join(f"{one}\n" for one in lines).encode("utf-8", "backslashreplace")
    upload = store.create((name,), owner=owner, size=len(octets))
    try:
        upload.write(0, octets)
        upload.commit()
    except BaseException:
        upload.discard()
        raise


class Manifest:
    """Keeps the manifest of a service.

    :param name: of the file; None: there is none.
    :param queue: for the log.
    :param records: gives what is to stand in it.
    """

    def __init__(  # noqa: PLR0917
        self,
        store: FileStore,
        name: str | None,
        queue: str,
        records: Callable[[], list[Record]],
        reactor: Any,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._store = store
        self._name = name
        self._queue = queue
        self._records = records
        self._reactor = reactor
        self._in_thread = in_thread
        self._timer: Any = None
        self._since: float | None = None
        self._writing: Deferred[None] | None = None

    def changed(self) -> None:
        """Something in it is another now."""
        if self._name is None:
            return
        now = self._reactor.seconds()
        if self._since is None:
            self._since = now
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.callLater(max(0.0, min(QUIET, self._since + LATEST - now)), self._begin)

    def flush(self) -> Deferred[None]:
        """Write what is to be written; fires when it is."""
        if self._timer is not None:
            self._timer.cancel()
            self._begin()
        done: Deferred[None] = Deferred()
        if self._writing is None:
            done.callback(None)
        else:
            self._writing.addBoth(lambda _: done.callback(None))
        return done

    def _begin(self) -> None:
        self._timer = None
        self._since = None
        before = self._writing
        self._writing = Deferred.fromCoroutine(self._write(before))

    async def _write(self, before: Deferred[None] | None) -> None:
        if before is not None:
            await before
        lines = [line_of(one) for one in self._records()]
        try:
            await self._in_thread(write_manifest, self._store, self._name, lines, "fetch")
        except StoreError as error:
            log.error(
                "{queue}: the manifest cannot be written: {reason}",
                event="fetch-manifest-failed",
                queue=self._queue,
                reason=error.reason,
            )
