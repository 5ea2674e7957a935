"""What a download makes of its record, and whether a file is still what its record says."""

from __future__ import annotations

from attrs import evolve

from netsvc.filestore.errors import StoreError
from netsvc.filestore.store import FileStore
from netsvc.services.fetch.book import Record
from netsvc.services.fetch.download import Done


def came(record: Record, done: Done, now: float) -> Record:
    """The record of a file that is here now, or still.

    :param record: what was known of its URL before.
    :param now: wall clock, seconds.
    """
    validators = (done.etag, done.last_modified)
    if done.from_cache:  # a 304 need not repeat them, RFC 9110 15.4.5
        validators = (done.etag or record.etag, done.last_modified or record.last_modified)
    return evolve(
        record,
        name="/".join(done.names),
        size=done.size,
        sha256=done.sha256.hex() if done.sha256 else record.sha256,
        etag=validators[0],
        last_modified=validators[1],
        fetched=now,
        status="unchanged" if done.from_cache else "fetched",
        reason="",
        resume="",
    )


def is_here(files: FileStore, record: Record) -> bool:
    """Whether the file is as its record has it. Blocks."""
    try:
        names = (record.name,)
        return files.stat(names).size == record.size and files.digest(names).hex() == record.sha256
    except StoreError:
        return False
