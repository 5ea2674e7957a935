"""UserSession: what somebody gets who has logged in: his files by SFTP, and the sums of them by a few commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore.store import FileStore
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.door import Door
from netsvc.services.sftp.login.users import User
from netsvc.services.sftp.server import SftpServer
from netsvc.services.sftp.ssh.channel import Answers, Begin, SessionChannel
from netsvc.services.sftp.stores import Stores
from netsvc.services.sftp.sums import Command

log = Logger()


class Answering:
    """A command that answers; what it is sent is nothing to it."""

    def __init__(self, command: Command) -> None:
        self._command = command
        command.start()

    def received(self, data: bytes) -> None:
        """A command reads nothing."""

    def room_grew(self) -> None:
        """Its answer is written whole; the channel keeps what waits."""

    def closed(self) -> None:
        """The peer is gone."""
        self._command.closed()


class UserSession:
    """What one user gets.

    :param host: the peer's address; None on a UNIX socket.
    :param in_thread: (function, arguments ...) -> Deferred of its result.
    :param turns: of commands; shared by all sessions.
    :param max_open_files: files and directories that each of his sessions may have open at once.
    """

    def __init__(
        self,
        user: User,
        host: str | None,
        stores: Stores,
        in_thread: Callable[..., Deferred[Any]],
        *,
        max_open_files: int,
        turns: DeferredSemaphore,
    ) -> None:
        self._user = user
        self._account = Account(user.name, host or "local")
        self._stores = stores
        self._in_thread = in_thread
        self._max_open_files = max_open_files
        self._turns = turns

    def sftp(self, channel: SessionChannel) -> Deferred[Begin]:
        """The subsystem."""

        def begin(store: FileStore) -> Answers:
            return SftpServer(
                store,
                channel,
                self._account,
                in_thread=self._in_thread,
                max_handles=self._max_open_files,
            )

        return self._with_store(begin)

    def command(self, channel: SessionChannel, line: bytes) -> Deferred[Begin]:
        """A command; one that is not known says so itself."""
        return self._with_store(
            lambda store: Answering(
                Command(
                    Door(store, self._user.name, time.time),
                    channel,
                    line,
                    self._account,
                    self._in_thread,
                    turns=self._turns,
                )
            )
        )

    def _with_store(self, begin: Callable[[FileStore], Answers]) -> Deferred[Begin]:
        opening: Deferred[FileStore] = self._in_thread(self._stores.open, self._user)
        opening.addErrback(self._cannot)
        return opening.addCallback(lambda store: lambda: begin(store))

    def _cannot(self, failure: Failure) -> Failure:
        log.error(
            "the directory of {user} cannot be used: {reason}",
            event="sftp-no-directory",
            user=self._user.name,
            reason=failure.getErrorMessage(),
        )
        return failure
