"""Stores: one FileStore for each user."""

from __future__ import annotations

from pathlib import Path

from netsvc.filestore.access import Access
from netsvc.filestore.store import FileStore
from netsvc.services.sftp.login.users import User
from netsvc.services.sftp.settings import SftpSettings


class Stores:
    """The stores of all users."""

    def __init__(self, settings: SftpSettings) -> None:
        self._roots: dict[User, Path] = {
            user: directory for user in settings.users if (directory := settings.directory_of(user)) is not None
        }
        self._stores = {user: FileStore(root, settings.terms(user.access)) for user, root in self._roots.items()}

    def open(self, user: User) -> FileStore:
        """The user's store; its directory is made if what is above it is there. Blocks.

        :raises OSError: it cannot be had.
        """
        self._roots[user].mkdir(exist_ok=True)
        return self._stores[user]

    def sweep(self) -> None:
        """Remove what uploads have left behind whose time is over. Blocks."""
        for user, store in self._stores.items():
            if user.access is not Access.READ_ONLY and self._roots[user].is_dir():
                store.sweep()
