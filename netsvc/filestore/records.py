"""What is written down about uploads that may be continued: one small JSON file each, in a hidden directory.

A record says where the upload stood when its octets were last synced, and what they were: their SHA-256. Whoever
continues has the octets checked against that first; what stands behind them was never promised to be whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from errno import EFBIG
from pathlib import Path

from attrs import field, frozen

HIDDEN = ".netsvc"  # the directory in the root; every name that begins so is the store's own
UPLOADS = "uploads"
TRIES = 8  # to write a record while another thread or process removes the directory with what it takes for the last
LARGEST = 64 << 10  # octets of a record: names and what a door keeps with it

_RECORD = ".json"
_NEW = ".new"  # a record that is being written

_ID = re.compile(r"[0-9a-f]{32}\Z")


def part_name(upload_id: str) -> str:
    """The partial file's name, beside the name that it will have."""
    return f"{HIDDEN}-{upload_id}.part"


def id_of_part(name: str) -> str | None:
    """The upload that a partial file belongs to, or None: it is none."""
    if name.startswith(HIDDEN + "-") and name.endswith(".part"):
        upload_id = name[len(HIDDEN) + 1 : -len(".part")]
        return upload_id if _ID.match(upload_id) else None
    return None


@frozen(kw_only=True)
class Partial:
    """An upload that is not published.

    :param id: unguessable, 32 hexadecimal digits.
    :param names: what it will be called.
    :param owner: whose it is; nobody else hears of it.
    :param source: where it came from, if it is nobody's in particular.
    :param offset: octets that have come; of one that is written at this moment, as far as it is.
    :param size: octets that it will have, None: not known yet.
    :param digest: SHA-256 that it must have, or None.
    :param prefix: SHA-256 of the first ``offset`` octets when they were last synced.
    :param expires: wall clock, seconds.
    :param lasting: whether it has a record from its beginning, so that it is known after a crash.
    :param meta: what the door wants to know later.
    """

    id: str
    names: tuple[str, ...]
    owner: str = ""
    source: str = ""
    offset: int = 0
    size: int | None = None
    digest: bytes | None = None
    if_absent: bool = False
    replaces: bytes | None = None
    prefix: bytes = b""
    expires: float = 0.0
    lasting: bool = False
    meta: Mapping[str, str] = field(factory=dict)


def dump(one: Partial) -> bytes:
    """A record as it is written."""
    return json.dumps(
        {
            "id": one.id,
            "names": one.names,
            "owner": one.owner,
            "source": one.source,
            "offset": one.offset,
            "size": one.size,
            "digest": one.digest and one.digest.hex(),
            "if_absent": one.if_absent,
            "replaces": one.replaces and one.replaces.hex(),
            "prefix": one.prefix.hex(),
            "expires": one.expires,
            "lasting": one.lasting,
            "meta": dict(one.meta),
        }
    ).encode("ascii")


def load(octets: bytes) -> Partial:
    """A record that was read.

    :raises ValueError: it is none.
    """
    try:
        found = json.loads(octets)
        return Partial(
            id=str(found["id"]),
            names=tuple(map(str, found["names"])),
            owner=str(found["owner"]),
            source=str(found.get("source", "")),
            offset=int(found["offset"]),
            size=None if found["size"] is None else int(found["size"]),
            digest=bytes.fromhex(found["digest"]) if found["digest"] else None,
            if_absent=bool(found["if_absent"]),
            replaces=bytes.fromhex(found["replaces"]) if found["replaces"] else None,
            prefix=bytes.fromhex(found["prefix"]),
            expires=float(found["expires"]),
            lasting=bool(found["lasting"]),
            meta={str(key): str(value) for key, value in found["meta"].items()},
        )
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error


class Records:
    """The records of one root.

    :param root: where the hidden directory is made when the first is written, and removed with the last.
    """

    def __init__(self, root: Path) -> None:
        self._directory = root / HIDDEN / UPLOADS

    def write(self, one: Partial) -> None:
        """Write one, whole or not at all, and sync it.

        :raises OSError: it cannot be written, or is longer than any that is read.
        """
        octets = dump(one)
        if len(octets) > LARGEST:
            raise OSError(EFBIG, os.strerror(EFBIG))
        for left in reversed(range(TRIES)):
            try:
                self._write(self._path(one.id), octets)
                break
            except FileNotFoundError:
                if not left:
                    raise
                with contextlib.suppress(FileNotFoundError):
                    self._make_directory()
        _sync(self._directory)

    def _write(self, path: Path, octets: bytes) -> None:
        new = path.with_suffix(_NEW)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # no other process takes it for one that a crash left
                file.write(octets)
                file.flush()
                os.fsync(descriptor)
                os.rename(new, path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(new)
                raise

    def remove(self, upload_id: str) -> None:
        """Remove one; the directory goes with the last."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(upload_id))
            os.rmdir(self._directory)
            os.rmdir(self._directory.parent)

    def find(self, upload_id: str) -> Partial | None:
        """The record of one upload as it stands there now: another process may have written it.

        :raises OSError: it cannot be read.
        """
        try:
            return self._load(upload_id)
        except (FileNotFoundError, ValueError):
            return None

    def read(self) -> Iterator[Partial]:
        """All that this user may read; what makes no sense is removed. What another process writes, stays.

        :raises OSError: the disk failed, or there are too many open files: that says nothing of the records.
        """
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return
        for name in names:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # another process has removed it, or made it
                upload_id, kind = os.path.splitext(name)
                if kind == _NEW:
                    self._remove_left(name)
                    continue
                try:
                    yield self._load(upload_id if kind == _RECORD else name)
                except ValueError:
                    os.unlink(self._directory / name)

    def _load(self, upload_id: str) -> Partial:
        """:raises ValueError: it makes no sense."""
        if not _ID.match(upload_id):
            raise ValueError("not the name of a record")
        with open(self._path(upload_id), "rb") as file:
            found = load(file.read(LARGEST))
        if found.id != upload_id:
            raise ValueError("the record of another upload")
        return found

    def _remove_left(self, name: str) -> None:
        """Remove a record that was being written when a crash came, if it was."""
        path = self._directory / name
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)

    def _path(self, upload_id: str) -> Path:
        return self._directory / (upload_id + _RECORD)

    def _make_directory(self) -> None:
        for path in (self._directory.parent, self._directory):
            path.mkdir(mode=0o700, exist_ok=True)
            _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
