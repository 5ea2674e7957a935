"""The manifest of a call: what the calls before wrote into it, and what becomes of it now. Blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve

from netsvc.filestore.store import FileStore
from netsvc.services.fetch.book import Record
from netsvc.services.fetch.download import Done, clean_url
from netsvc.services.fetch.manifest import line_of, read_manifest, write_manifest
from netsvc.services.fetch.orders import key_of
from netsvc.services.fetch.recording import came

OWNER = "netsvc-fetch"  # whose the kept parts are


class Records:
    """What is known of the files of one call.

    :param name: of the manifest; None: there is none.
    :param now: wall clock, seconds.
    """

    def __init__(self, store: FileStore, name: str | None, now: Callable[[], float]) -> None:
        self._store = store
        self._name = name
        self._now = now
        self._earlier: dict[str, Record] = {}

    def read(self) -> None:
        """Learn what is written down; what cannot be read is not known."""
        if self._name is not None:
            self._earlier = {one.url: one for one in read_manifest(self._store, self._name)}

    def earlier(self, url: str, name: str) -> Record | None:
        """What is written of the file that came of a URL under a name."""
        found = self._earlier.get(clean_url(url))
        return found if found is not None and found.name == name and found.sha256 else None

    def came(self, url: str, done: Done) -> Record:
        """The record of a file that is here."""
        name = "/".join(done.names)
        return came(self.earlier(url, name) or _new(url, name), done, self._now())

    def failed(self, url: str, name: str, reason: str) -> Record:
        """The record of one that did not come; what came of it earlier stays what it is."""
        before = self.earlier(url, name) or _new(url, name)
        return evolve(before, status="failed", reason=reason)

    def write(self, records: Iterable[Record]) -> None:
        """Publish the manifest.

        :raises StoreError: it was not; the one before stands.
        """
        if self._name is not None:
            write_manifest(self._store, self._name, map(line_of, records), OWNER)


def _new(url: str, name: str) -> Record:
    return Record(key=key_of(url), url=clean_url(url), name=name)
