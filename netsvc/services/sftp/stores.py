"""Stores: one FileStore for each user, and what sweeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.access import Access
from netsvc.filestore.store import FileStore
from netsvc.services.sftp.login.users import User
from netsvc.services.sftp.settings import SftpSettings

log = Logger()

SWEEP = 3600.0  # seconds between two sweeps


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


class Sweeper(Service):
    """Sweeps when the service starts, and every hour.

    :param in_thread: (function, arguments ...) -> Deferred of its result.
    :param clock: IReactorTime.
    """

    def __init__(self, stores: Stores, in_thread: Callable[..., Deferred[Any]], clock: Any) -> None:
        self._stores = stores
        self._in_thread = in_thread
        self._clock = clock
        self._call: Any = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._begin()

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _begin(self) -> None:
        self._call = None
        self._in_thread(self._stores.sweep).addErrback(self._failed).addBoth(self._again)

    def _failed(self, failure: Failure) -> None:
        log.error(
            "what uploads have left cannot be swept: {reason}",
            event="sftp-sweep-failed",
            reason=failure.getErrorMessage(),
        )

    def _again(self, _: object) -> None:
        if self.running:
            self._call = self._clock.callLater(SWEEP, self._begin)
