"""How much may still be written: a quota, and a floor of free space. Room is claimed before it is used.

For a quota all files are counted, once at first and then by each sweep, since others may write past the store. That may
take seconds. Only the first count is waited for, by those who have a quota, and by what no count could follow: a
directory that is renamed, since its files could be passed over or seen twice, and a file of several names. Such a thing
makes a later count void.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from netsvc.filestore.census import Account, Census, Key, files_beneath
from netsvc.filestore.errors import NoSpaceError, QuotaError, store_error
from netsvc.filestore.terms import Terms


@frozen(kw_only=True)
class Space:
    """What statvfs(3) says, for this account: blocks and files, of which it may use so many."""

    block_size: int
    blocks: int
    free: int
    available: int
    files: int
    files_free: int


class Room:
    """The room of one root, for all who write there.

    :param statvfs: os.statvfs, a parameter for tests.
    """

    def __init__(self, root: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._root = root
        self._statvfs = statvfs
        self._lock = threading.Condition()
        self._used: int | None = None  # octets of all files, and claimed for them; None: never counted
        self._accounts: dict[Key, Account] = {}  # of files that have users, or had some since the count began
        self._counting = False
        self._needed = False  # the count that is under way must not become void
        self._void = False
        self._moving = 0  # how many are doing what no count could follow
        self._unallocated = 0  # octets claimed that the disk has not set aside, so that statvfs counts them as free

    def open(self, found: os.stat_result) -> Account:
        """The account of a file that is there, with so many octets, and stays until it is closed."""
        key = found.st_dev, found.st_ino
        with self._lock:
            account = self._accounts.get(key)
            if account is None or not account.users:
                octets = found.st_size if stat.S_ISREG(found.st_mode) else 0
                account = self._accounts[key] = Account(key, octets)
            account.users += 1
            return account

    def close(self, account: Account) -> None:
        """Nothing more happens to the file, for this user."""
        with self._lock:
            account.users -= 1
            if not account.users and not self._counting:
                del self._accounts[account.key]

    def claim(self, octets: int, terms: Terms, account: Account) -> None:
        """Claim room for what is to be written.

        :raises QuotaError: the account has not so much.
        :raises NoSpaceError: the disk has not.
        """
        if octets <= 0:
            return
        if terms.quota is not None:
            self.count(again=False)
        with self._lock:
            if terms.quota is not None and (self._used or 0) + octets > terms.quota:
                raise QuotaError(f"the quota of {terms.quota} octets is used up")
            try:
                found = self._statvfs(self._root)
            except OSError as error:
                raise store_error(error) from error
            if found.f_bavail * found.f_frsize - self._unallocated - octets < terms.keep_free:
                raise NoSpaceError("no space left")
            self._unallocated += octets
            account.octets += octets
            if self._used is not None:
                self._used += octets

    def settled(self, octets: int) -> None:
        """So much of what was claimed statvfs counts as free no longer, or must not; negative: it does again."""
        with self._lock:
            self._unallocated -= octets

    def give_back(self, octets: int, account: Account) -> None:
        """Octets are no longer in a file, or what was claimed will not be written."""
        with self._lock:
            account.octets -= octets
            if self._used is not None:
                self._used = max(0, self._used - octets)

    @contextmanager
    def touching(self, found: os.stat_result) -> Iterator[Account]:
        """What is in this state is cut or renamed in here, or loses a name.

        Whoever calls holds its name, so that it is in this state.
        """
        if stat.S_ISDIR(found.st_mode) or found.st_nlink > 1:
            with self._apart_from_counts():
                yield Account((found.st_dev, found.st_ino), found.st_size)
            return
        account = self.open(found)
        try:
            yield account
        finally:
            self.close(account)

    @contextmanager
    def leaving(self, found: os.stat_result | None) -> Iterator[None]:
        """A file in this state, if there is one, loses a name in here: then its octets are free. Each name counts."""
        if found is None:
            yield
            return
        with self.touching(found) as account:
            yield
            self.give_back(found.st_size, account)

    def count(self, look: Callable[[str, os.stat_result], object] | None = None, *, again: bool = True) -> None:
        """Count all files.

        :param look: is called with the path and state of each.
        :param again: whether that is done where they were counted once; the sum is not needed at once then.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._is_known(again) or not (self._counting or (self._moving and not again)))
            if self._is_known(again):
                return
            self._counting, self._needed, self._void = True, not again, bool(self._moving)
        try:
            census = Census()
            for path, found in files_beneath(self._root):
                census.saw(found)
                if look is not None:
                    look(path, found)
            with self._lock:
                if not self._void:
                    self._used = census.octets(self._accounts)
        finally:
            with self._lock:
                self._counting = self._needed = False
                self._accounts = {key: one for key, one in self._accounts.items() if one.users}
                self._lock.notify_all()

    def space(self, terms: Terms) -> Space:
        """What is free for the account.

        :raises StoreError: the disk does not say.
        """
        try:
            found = self._statvfs(self._root)
        except OSError as error:
            raise store_error(error) from error
        size = found.f_frsize
        floor = -(-terms.keep_free // size)
        blocks, free, available = found.f_blocks, max(0, found.f_bfree - floor), max(0, found.f_bavail - floor)
        if terms.quota is not None:
            self.count(again=False)
            with self._lock:
                left = max(0, terms.quota - (self._used or 0)) // size
            blocks, free, available = min(blocks, terms.quota // size), min(free, left), min(available, left)
        return Space(
            block_size=size,
            blocks=blocks,
            free=free,
            available=available,
            files=found.f_files,
            files_free=found.f_favail,
        )

    def _is_known(self, again: bool) -> bool:
        return not again and self._used is not None

    @contextmanager
    def _apart_from_counts(self) -> Iterator[None]:
        """No count that holds is under way in here."""
        with self._lock:
            self._lock.wait_for(lambda: not self._needed)
            self._void = True
            self._moving += 1
        try:
            yield
        finally:
            with self._lock:
                self._moving -= 1
                self._lock.notify_all()
