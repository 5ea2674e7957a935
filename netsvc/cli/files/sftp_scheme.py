"""sftp://: by the system's ssh and an SFTP client of our own.

What is sent goes to NAME.part and gets its name when all is there and durable; to a server that says that it does just
that itself it goes under its name, unless its digest is to be looked at before. Digests are those of ``sha256sum`` over
there. A part over there is gone on with only if that says that it is the beginning of our file; a part here only if
size and time of the file over there are what they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from netsvc.cli.files.errors import NotThereError, NotVerifiedError, TransferError, UsageError
from netsvc.cli.files.local import Source, Target
from netsvc.cli.files.locations import Location
from netsvc.cli.files.meter import Meter, Stop
from netsvc.cli.files.sftp_session import Session, remote_sha256
from netsvc.cli.files.ways import Facts, Listed, Wishes, got
from netsvc.filestore.records import Partial
from netsvc.services.sftp.wire import APPEND, CREATE, PUBLISH_AT_CLOSE, READ, TRUNCATE, WRITE

HOME = "/~"
PART = b".part"


def _path(location: Location) -> bytes:
    """The path as the server is told it: ``/~/a`` is ``a`` in the home directory.

    :raises UsageError: the URL has what ssh cannot be told.
    """
    if location.password is not None:
        raise UsageError("ssh takes no password from a URL: it asks, or has a key")
    path = location.decoded
    if "\0" in path:
        raise UsageError("a path has no NUL")
    if path == HOME or path.startswith(HOME + "/"):
        path = path[len(HOME) :].lstrip("/") or "."
    return os.fsencode(path)


@contextmanager
def _session(location: Location, wishes: Wishes, meter: Meter | None = None) -> Iterator[Session]:
    session = Session(location, wishes)
    with (Stop() if meter is None else meter.stop).cutting(session.cut), session:
        yield session


def get(location: Location, target: Target, wishes: Wishes, meter: Meter) -> Facts:
    """Fetch a file, or the rest of one."""
    path, name = _path(location), target.named(location.name)
    with _session(location, wishes, meter) as session:
        found = session.stat(path)
        if found.directory:
            raise TransferError("it is a directory")
        if found.size is None:
            raise TransferError("the server does not tell its size")
        digest = remote_sha256(location, wishes, path) if wishes.verify else None
        if wishes.verify and digest is None:
            raise NotVerifiedError("sha256sum cannot be run over there: --verify cannot be done")
        state = {"url": str(location), "size": str(found.size), "modified": str(found.modified)}
        kept = target.kept(name) if wishes.resume else None
        download = target.go_on(kept) if kept and _same(kept, state) else target.begin(name, found.size, state)
        with download:
            start = download.offset
            meter.expect(found.size, at=start)
            handle = session.open(path, READ)
            for data in session.read(handle, start, found.size, min(session.piece, meter.piece)):
                download.write(data)
                meter.moved(len(data))
            session.close_handle(handle)
            now = session.stat(path)
            if (now.size, now.modified) != (found.size, found.modified):
                raise TransferError("the file changed while it was fetched")
            entry = download.commit(size=found.size, digest=digest, modified=found.modified)
    return got(target, entry, verified=digest is not None, resumed_at=start)


def _same(kept: Partial, state: dict[str, str]) -> bool:
    return dict(kept.meta) == state and kept.offset <= int(state["size"])


def put(source: Source, location: Location, wishes: Wishes, meter: Meter) -> Facts:
    """Send a file, or the rest of one."""
    path = _path(location)
    if not location.name:
        path = path.rstrip(b"/") + b"/" + os.fsencode(source.name)
    with _session(location, wishes, meter) as session:
        part = path + PART
        start = _sent_before(session, location, wishes, source, part) if wishes.resume else 0
        publishes = PUBLISH_AT_CLOSE in session.extensions
        at_once = publishes and not wishes.verify and not start
        if at_once:
            part = path
            # What that server keeps of an upload that was cut off stands for the file as long as there is none.
            start = _sent_before(session, location, wishes, source, part) if wishes.resume else 0
        meter.expect(source.size, at=start)
        handle = session.open(part, WRITE | _flags(start, publishes))
        if start and publishes and session.stat(part).size != start:
            raise TransferError("somebody else has sent to this name meanwhile")
        for octets in session.write(handle, start, source.blocks(start, min(session.piece, meter.piece))):
            meter.moved(octets)
        session.sync(handle)
        session.close_handle(handle)
        if wishes.verify:
            found = remote_sha256(location, wishes, part)
            if found is None:
                raise NotVerifiedError("sha256sum cannot be run over there: --verify cannot be done")
            if found != source.digest():
                raise NotVerifiedError("the server has other octets; they stand in the .part file")
        if not at_once:
            session.rename(part, path)
    return {"stored": os.fsdecode(path), "verified": wishes.verify, "resumed_at": start}


def _flags(start: int, publishes: bool) -> int:
    """How a file is opened whose first `start` octets are there.

    A server of ours goes on with a part, as for OpenSSH's ``reput``, where it is appended to; then it refuses octets
    that come from elsewhere in the file than it has got to.
    """
    if not start:
        return CREATE | TRUNCATE
    return APPEND if publishes else 0


def _sent_before(session: Session, location: Location, wishes: Wishes, source: Source, part: bytes) -> int:
    """Octets of the file that are there from an earlier run; 0 if that is not sure."""
    try:
        size = session.stat(part).size or 0
    except NotThereError:
        return 0
    if not 0 < size <= source.size:
        return 0
    there = remote_sha256(location, wishes, part)
    return size if there is not None and there == source.digest(size) else 0


def ls(location: Location, wishes: Wishes) -> Iterator[Listed]:
    """The entries of a directory, by name; of a file, itself."""
    path = _path(location)
    with _session(location, wishes) as session:
        found = session.stat(path)
        if not found.directory:
            yield Listed(location.name, False, found.size, found.modified)
            return
        entries = sorted(one for one in session.names(path) if one[0] not in (b".", b".."))
    for name, one in entries:
        yield Listed(name.decode("utf-8", "replace"), one.directory, one.size, one.modified)


def rm(location: Location, wishes: Wishes) -> None:
    """Remove a file."""
    path = _path(location)
    with _session(location, wishes) as session:
        session.remove(path)
