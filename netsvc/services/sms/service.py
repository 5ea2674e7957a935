"""Makes the text message service: a queue, its runner, and the socket that fills it."""

from __future__ import annotations

import os
import random

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from netsvc.config.listen import UnixAddress
from netsvc.config.server import ServerSettings
from netsvc.errors import StartError
from netsvc.interfaces import IRuntime
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Pace
from netsvc.outbox.opening import open_store
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits as RunnerLimits
from netsvc.outbox.runner import Runner
from netsvc.services.sms.delivery import Account, Courier, zone
from netsvc.services.sms.desk import Desk, Rules
from netsvc.services.sms.http_client import Phases
from netsvc.services.sms.limits import Limits
from netsvc.services.sms.settings import MAX_SOCKET_PATH, SmsSettings, queue_path, socket_path
from netsvc.services.sms.submission import SubmissionFactory


class Sms(MultiService):
    """The service of one section: starts the queue before its socket, and stops the socket before the queue."""

    def __init__(self, runner: Runner, listener: IService) -> None:
        MultiService.__init__(self)
        self._runner = runner
        self._listener = listener
        self.addService(runner)  # type: ignore[no-untyped-call]
        self.addService(listener)  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:
        """Let submissions under way be answered, then requests under way end."""
        self.running = 0

        async def stop() -> None:
            try:
                await maybeDeferred(self._listener.stopService)
            finally:
                await self._runner.stopService()

        return Deferred.fromCoroutine(stop())


def make_service(settings: SmsSettings, runtime: IRuntime) -> IService:
    """The text message service of one section.

    :raises StartError: the path of its socket is too long.
    """
    path = socket_path(settings, runtime.state_directory, runtime.name)
    if len(bytes(path)) > MAX_SOCKET_PATH:
        raise StartError(f"[{runtime.name}] the socket {path} is longer than {MAX_SOCKET_PATH} octets; set socket")
    runner = _runner(settings, runtime)
    gateway = settings.gateway()
    desk = Desk(
        runner,
        Rules(
            numbering=settings.numbering(),
            national_only="national" in gateway.names(),
            max_segments=settings.max_segments,
            max_recipients=settings.max_recipients,
            destination=gateway.host(),
            operators=frozenset({0, os.geteuid()}),
        ),
        Limits(
            per_number=settings.limit_per_number,
            per_template=settings.limit_per_template,
            total=settings.limit_total,
        ),
        runtime.reactor,
        runtime.metrics,
    )
    listener: IService = runtime.serve(
        ServerSettings(
            listen=(UnixAddress(path=path, mode=settings.socket_mode),),
            max_connections=settings.max_connections,
            max_connections_per_source=settings.max_connections,
            idle_timeout=2 * settings.submission_timeout,  # a request has its own, shorter deadline
            drain_timeout=settings.drain_timeout,
        ),
        stream=SubmissionFactory(desk, timeout=settings.submission_timeout, reactor=runtime.reactor),
    )
    return Sms(runner, listener)


def _runner(settings: SmsSettings, runtime: IRuntime) -> Runner:
    custody = Custody(
        retry=RetryPolicy(first=settings.retry_first, longest=settings.retry_longest, give_up=settings.give_up_after),
        # What may have been sent is sent again only to a gateway that knows it again.
        ambiguous="retry" if settings.idempotent else "hold",
    )

    return Runner(
        queue=runtime.name,
        reactor=runtime.reactor,
        open_store=lambda: open_store(
            settings,
            queue=runtime.name,
            directory=queue_path(settings, runtime.state_directory, runtime.name),
            allow_volatile=True,
            call_from_thread=runtime.reactor.callFromThread,
            custody=custody,
        ),
        deliver=Courier(
            gateway=settings.gateway(),
            account=Account(
                name=settings.account,
                password=settings.password,
                signing_key=settings.signing_key,
                sender=settings.sender,
                numbering=settings.numbering(),
                zone=zone(settings.timezone),
            ),
            phases=Phases(connect=settings.connect_timeout, reply=settings.reply_timeout),
            reactor=runtime.reactor,
            trust_roots=settings.trust_roots,
        ),
        custody=custody,
        metrics=runtime.metrics,
        random=random.SystemRandom().random,
        limits=RunnerLimits(
            pace=Pace(concurrency=settings.concurrency, first=settings.retry_first, longest=settings.retry_longest),
            concurrency=settings.concurrency,
            drain_timeout=settings.drain_timeout,
            keep=settings.keep,
        ),
    )
