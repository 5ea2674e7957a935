"""Two stores of one root, whatever is done to them in whatever order, against a dict of names and contents."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from netsvc.filestore.census import Account
from netsvc.filestore.errors import ExistsError, NoSpaceError, QuotaError, StaleError
from netsvc.filestore.room import Room
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.filestore.upload import SYNC_SECONDS, Upload

QUOTA = 3000  # octets
FREE = 4000  # octets that the disk is said to have free, besides the files that are there

names = st.sampled_from(["a", "b", "c"])
owners = st.sampled_from(["me", "you"])
doors = st.integers(0, 1)
octets = st.binary(min_size=1, max_size=600)


class Doors(RuleBasedStateMachine):
    """`mine` says what each upload should have; one that was kept has a number to be continued with."""

    uploads: Bundle[Upload] = Bundle("uploads")
    kept: Bundle[tuple[str, str, bytes]] = Bundle("kept")

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="netsvc-model-"))
        self.now = 1_800_000_000.0
        clocks: dict[str, Any] = {"wall_clock": lambda: self.now, "steady_clock": lambda: self.now}
        self.stores = [FileStore(self.root, Terms(quota=quota), **clocks) for quota in (QUOTA, None)]
        self.commons = self.stores[0].commons
        self.commons.room = Room(self.root, lambda _: self.statvfs())
        self.files: dict[str, bytes] = {}
        self.mine: dict[str, bytearray] = {}

    def statvfs(self) -> os.statvfs_result:
        """A disk that counts octets, those that were set aside, too."""
        used = 0
        for path in self.root.glob("*"):
            if path.is_file():
                used += max(path.stat().st_size, self.set_aside(path))
        return os.statvfs_result((1, 1, 1 << 20, FREE - used, FREE - used, 99, 99, 99, 0, 255))

    def set_aside(self, path: Path) -> int:
        upload = next((one for one in self.commons._active.values() if one.id in path.name), None)
        return upload.size or 0 if upload is not None and not upload._room._loose else 0

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            for upload_id in self.mine:
                active = self.commons.active(upload_id)
                if active is not None:
                    active.keep()
            self.check_room()
        finally:
            shutil.rmtree(self.root)

    def check_room(self) -> None:
        """What is on the disk is what is accounted for."""
        used = sum(path.stat().st_size for path in self.root.iterdir() if path.is_file())
        room = self.commons.room
        assert (room._accounts, room._unallocated) == ({}, 0)
        probe = Account((0, 0), 0)
        if used <= QUOTA:  # the other door knows no quota
            room.claim(QUOTA - used, Terms(quota=QUOTA), probe)
        try:
            room.claim(1, Terms(quota=QUOTA), probe)
        except QuotaError:
            return
        raise AssertionError("an octet too many")

    @rule(target=uploads, door=doors, name=names, owner=owners, size=st.none() | st.integers(0, 900))
    def create(self, door: int, name: str, owner: str, size: int | None) -> Any:
        try:
            upload = self.stores[door].create((name,), owner=owner, size=size, lasting=True)
        except (QuotaError, NoSpaceError):
            return self.none()
        self.mine[upload.id] = bytearray()
        return upload

    @rule(target=uploads, door=doors, name=names)
    def modify(self, door: int, name: str) -> Any:
        if name not in self.files:
            return self.none()
        try:
            upload = self.stores[door].modify((name,), "me")
        except (QuotaError, NoSpaceError):
            return self.none()
        self.mine[upload.id] = bytearray(self.files[name])
        return upload

    def none(self) -> Upload:
        """An upload that takes nothing more."""
        upload = self.stores[1].create(("none",))
        upload.discard()
        return upload

    @rule(upload=uploads, data=octets, back=st.integers(0, 700))
    def write(self, upload: Upload, data: bytes, back: int) -> None:
        if upload.closed:
            return
        content = self.mine[upload.id]
        offset = max(0, len(content) - back) if back % 2 else len(content)
        if upload.size is not None:
            data = data[: upload.size - offset]
        try:
            upload.write(offset, data)
        except (QuotaError, NoSpaceError):
            return
        content[offset : offset + len(data)] = data

    @rule(upload=uploads, length=st.integers(0, 900))
    def truncate(self, upload: Upload, length: int) -> None:
        if upload.closed or (upload.size is not None and length > upload.size):
            return
        content = self.mine[upload.id]
        try:
            upload.truncate(length)
        except (QuotaError, NoSpaceError):
            return
        content[:] = content[:length].ljust(length, b"\0")

    @rule(upload=uploads)
    def sync(self, upload: Upload) -> None:
        if not upload.closed:
            upload.sync()

    @rule(upload=consumes(uploads))
    def commit(self, upload: Upload) -> None:
        try:
            content = bytes(self.mine.get(upload.id, b""))
            if upload.size is not None and upload.size != len(content):
                upload.discard()
            entry = upload.commit()
        except StaleError:
            return
        assert entry.digest == hashlib.sha256(content).digest()
        self.files[upload.names[0]] = content

    @rule(upload=consumes(uploads))
    def discard(self, upload: Upload) -> None:
        upload.discard()

    @rule(target=kept, upload=consumes(uploads))
    def keep(self, upload: Upload) -> tuple[str, str, bytes]:
        if not upload.closed:
            upload.keep()
        return upload.id, upload.partial().owner, bytes(self.mine.get(upload.id, b"")[: upload.offset])

    @rule(target=uploads, door=doors, one=consumes(kept))
    def resume(self, door: int, one: tuple[str, str, bytes]) -> Any:
        upload_id, owner, content = one
        if self.commons.partial(upload_id) is None or self.commons.active(upload_id) is not None:
            return self.none()
        try:
            upload = self.stores[door].resume(upload_id, owner, len(content))
        except (QuotaError, NoSpaceError):
            return self.none()
        self.mine[upload_id] = bytearray(content)
        assert upload.read(0, 9999) == content
        return upload

    @rule(door=doors, name=names)
    def remove(self, door: int, name: str) -> None:
        if self.files.pop(name, None) is not None:
            self.stores[door].remove((name,))

    @rule(door=doors, old=names, new=names, replace=st.booleans())
    def rename(self, door: int, old: str, new: str, replace: bool) -> None:
        if old not in self.files or old == new:
            return
        try:
            self.stores[door].rename((old,), (new,), replace=replace)
        except ExistsError:
            assert not replace
            return
        self.files[new] = self.files.pop(old)

    @rule(door=doors, seconds=st.sampled_from([1.0, SYNC_SECONDS, 90.0, 4 * 86400.0]))
    def sweep(self, door: int, seconds: float) -> None:
        self.now += seconds
        self.stores[door].sweep()

    @invariant()
    def published(self) -> None:
        """What is there is what was published."""
        if not hasattr(self, "root"):
            return
        found = {path.name: path.read_bytes() for path in self.root.iterdir() if path.is_file() and path.name[0] != "."}
        assert found == self.files
        for name, content in self.files.items():
            assert self.stores[0].digest((name,)) == hashlib.sha256(content).digest()


TestDoors = Doors.TestCase
TestDoors.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)
