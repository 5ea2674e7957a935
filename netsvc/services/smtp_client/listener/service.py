"""Makes the submission listener of a section."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService

from netsvc.config.server import ServerSettings
from netsvc.interfaces import IRuntime
from netsvc.net.passwords.checks import PasswordChecks
from netsvc.net.passwords.users import UserFile
from netsvc.services.smtp_client.intake import Intake
from netsvc.services.smtp_client.listener.events import Terms
from netsvc.services.smtp_client.listener.login import Logins
from netsvc.services.smtp_client.listener.protocol import ListenerFactory, ListenerRules
from netsvc.services.smtp_client.listener.settings import ListenerSettings


class Listener(MultiService):
    """Listens; has read its users before privileges are dropped.

    :param logins: None where nobody logs in.
    """

    def __init__(self, logins: Logins | None) -> None:
        MultiService.__init__(self)
        self._logins = logins

    def privilegedStartService(self) -> None:
        if self._logins is not None:
            self._logins.open()
        super().privilegedStartService()  # type: ignore[no-untyped-call]


def make_listener(
    settings: ListenerSettings,
    server: ServerSettings,
    runtime: IRuntime,
    intake: Intake,
    *,
    host: str,
    max_message: int,
    max_recipients: int,
    deadline: float,
    now: Any,
) -> Listener:
    """The listener, which binds and starts nothing yet.

    :param server: how many connections, how long.
    :param host: our name.
    :param deadline: seconds, see :class:`ListenerRules`.
    :param now: the wall clock, seconds since 1970.
    """
    logins = None
    if settings.submission_users is not None:
        logins = Logins(
            UserFile(settings.submission_users, runtime.reactor.seconds, now),
            PasswordChecks(runtime.in_thread),
            seconds=runtime.reactor.seconds,
            metrics=runtime.metrics,
            service=runtime.name,
        )
    start_tls = None if settings.submission_tls is None else runtime.start_tls(settings.submission_tls)
    rules = ListenerRules(
        terms=Terms(
            host=host,
            max_message=max_message,
            max_recipients=max_recipients,
            login=logins is not None,
            starttls=start_tls is not None,
        ),
        deadline=deadline,
        logins=logins,
        start_tls=None if start_tls is None else start_tls.begin,
    )
    made = Listener(logins)
    if start_tls is not None:
        made.addService(start_tls)  # type: ignore[no-untyped-call]
    factory = ListenerFactory(intake, rules, runtime.reactor)
    made.addService(runtime.serve(server, stream=factory))  # type: ignore[no-untyped-call]
    return made
