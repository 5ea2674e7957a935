"""Makes the sftp service of one section."""

from __future__ import annotations

import time
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import DeferredSemaphore

from netsvc.filestore.sweeper import Sweeper
from netsvc.interfaces import IRuntime
from netsvc.net.passwords.users import UserFile
from netsvc.services.sftp.factory import Limits, SftpFactory
from netsvc.services.sftp.host_keys import HostKeys
from netsvc.services.sftp.login.key_files import KeyFiles
from netsvc.services.sftp.login.logins import Logins
from netsvc.services.sftp.login.users import User
from netsvc.services.sftp.sessions import UserSession
from netsvc.services.sftp.settings import SftpSettings
from netsvc.services.sftp.stores import Stores
from netsvc.services.sftp.sums import AT_ONCE

HOST_KEYS = "sftp-host-keys"  # in the state directory


class SftpService(MultiService):
    """Listens, when it has the server's own keys and the users' passwords.

    :param listeners: accept connections once they are started.
    """

    def __init__(self, listeners: Any, sweeper: Sweeper, host_keys: HostKeys, logins: Logins) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._host_keys = host_keys
        self._logins = logins
        listeners.setServiceParent(self)
        sweeper.setServiceParent(self)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        self._host_keys.open()
        self._logins.open()
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        self._host_keys.make_missing()  # they belong to whom the daemon has become
        super().startService()  # type: ignore[no-untyped-call]


def make_service(settings: SftpSettings, runtime: IRuntime) -> IService:
    """The service, which binds, reads and makes nothing yet."""
    host_keys = HostKeys(settings.host_keys or runtime.state_directory / HOST_KEYS)
    seconds = runtime.reactor.seconds
    logins = Logins(
        {user.name: user for user in settings.users},
        passwords=None if settings.password_file is None else UserFile(settings.password_file, seconds, time.time),
        keys=None if settings.authorized_keys is None else KeyFiles(settings.authorized_keys),
        failures=settings.login_failures,
        in_thread=runtime.in_thread,
        seconds=seconds,
        now=time.time,
        metrics=runtime.metrics,
        service=runtime.name,
    )
    stores = Stores(settings)

    turns = DeferredSemaphore(AT_ONCE)

    def session(user: User, host: str | None) -> UserSession:
        return UserSession(
            user, host, stores, runtime.in_disk_thread, max_open_files=settings.max_open_files, turns=turns
        )

    factory = SftpFactory(
        runtime,
        host_keys,
        logins,
        session,
        Limits(settings.login_timeout, settings.login_tries, settings.max_logins),
    )
    listeners = runtime.serve(settings, stream=factory)
    sweeper = Sweeper(stores.sweep, runtime.in_disk_thread, runtime.reactor, runtime.name)
    made: IService = SftpService(listeners, sweeper, host_keys, logins)
    return made
