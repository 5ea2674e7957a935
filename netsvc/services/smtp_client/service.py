"""Makes the outbound mail client: the ways in, a queue with its runner, and the way out."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from netsvc.config.listen import ListenAddress
from netsvc.config.server import ServerSettings
from netsvc.interfaces import IRuntime
from netsvc.net.request_socket import own_socket
from netsvc.net.unix_peer import operators
from netsvc.outbox.courier import Deliver
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Pace
from netsvc.outbox.opening import open_store
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits, Runner
from netsvc.services.smtp_client.aftermath import follow_up, make_bouncer
from netsvc.services.smtp_client.agents.agents import Agents
from netsvc.services.smtp_client.arrival import Arrival
from netsvc.services.smtp_client.endpoint.protocol import EndpointFactory, EndpointRules
from netsvc.services.smtp_client.fallback import Fallback, Fates
from netsvc.services.smtp_client.guide import Guide
from netsvc.services.smtp_client.intake import Intake, addressed
from netsvc.services.smtp_client.listener.service import make_listener
from netsvc.services.smtp_client.pool import Pool
from netsvc.services.smtp_client.settings import SmtpClientSettings, queue_path, socket_path
from netsvc.services.smtp_client.submission import Desk, SubmissionFactory, SubmissionRules
from netsvc.services.smtp_client.turns import AHEAD
from netsvc.services.smtp_client.way import host_name, make_way

MOMENT = 0.001  # seconds that a first attempt waits for company


class SmtpClient(MultiService):
    """The service of one section: starts the queue before its socket, and stops the socket before the queue."""

    def __init__(self, runner: Runner, listener: IService, agents: Agents, pool: Pool) -> None:
        MultiService.__init__(self)
        self._runner = runner
        self._agents = agents
        self._pool = pool
        self._listener = listener
        self.addService(runner)  # type: ignore[no-untyped-call]
        self.addService(listener)  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:
        """Let submissions under way be answered, then deliveries under way end."""
        self.running = 0

        async def stop() -> None:
            try:
                await maybeDeferred(self._listener.stopService)
            finally:
                await self._runner.stopService()
                await self._agents.stop()
                await self._pool.stop()

        return Deferred.fromCoroutine(stop())


def make_service(settings: SmtpClientSettings, runtime: IRuntime) -> IService:
    """The outbound mail client of one section.

    :raises StartError: the path of its socket is too long.
    """
    way = make_way(settings, runtime)
    agents = Agents(settings.delivery_processes, settings, runtime, way)
    bouncer = make_bouncer(settings, runtime, way.host)
    address = partial(addressed, destination=way.router.destination)
    fallback = Fallback(runtime, settings.sms_service)
    settled = fallback.telling(follow_up(bouncer, agents.notified, way.host, address, runtime))
    runner = _make_runner(settings, runtime, agents, settled)
    runtime.offer(Fates(runner))
    arrival = Arrival(
        rewriting=way.departure.rewriting,
        aliases=settings.aliases[1],
        local_domains={*settings.local_domains, way.host.lower(), "localhost"},
    )
    intake = Intake(runner, runtime.metrics, arrival, way.router.destination)
    guide = Guide(way.router, arrival, runtime.reactor)
    ways_in = _ways_in(settings, runtime, runner, intake, guide, fallback)
    return SmtpClient(runner, ways_in, agents, way.pool)


def _make_runner(settings: SmtpClientSettings, runtime: IRuntime, deliver: Deliver, settled: Any) -> Runner:
    custody = Custody(
        retry=RetryPolicy(first=settings.retry_first, longest=settings.retry_longest, give_up=settings.give_up_after),
        ambiguous="hold" if settings.ambiguous == "hold" else "retry",
    )

    rate = settings.rate_per_destination
    pace = Pace(
        concurrency=AHEAD * settings.per_destination,
        rate=0.0 if rate is None else rate.per_second,
        burst=1 if rate is None else rate.count,
        failures=settings.destination_failures,
        first=settings.destination_retry_first,
        longest=settings.destination_retry_longest,
    )
    limits = Limits(
        concurrency=AHEAD * settings.concurrency,
        drain_timeout=settings.drain_timeout,
        keep=settings.keep,
        moment=MOMENT,
        pace=pace,
    )
    return Runner(
        queue=runtime.name,
        reactor=runtime.reactor,
        open_store=lambda: open_store(
            settings,
            queue=runtime.name,
            directory=queue_path(settings, runtime.state_directory, runtime.name),
            allow_volatile=settings.allow_volatile,
            call_from_thread=runtime.reactor.callFromThread,
            custody=custody,
            settled=settled,
        ),
        deliver=deliver,
        custody=custody,
        metrics=runtime.metrics,
        random=random.SystemRandom().random,
        limits=limits,
        settled=settled,
    )


def _ways_in(  # noqa: PLR0917
    settings: SmtpClientSettings,
    runtime: IRuntime,
    runner: Runner,
    intake: Intake,
    guide: Guide,
    fallback: Fallback,
) -> MultiService:
    """The socket of the commands; and, where they are configured, the SMTP listener and the HTTP endpoint."""
    rules = SubmissionRules(
        max_message=settings.max_message,
        max_recipients=settings.max_recipients,
        deadline=settings.submission_timeout,
        operators=operators,
    )
    desk = Desk(runner, rules, intake, guide, fallback)
    ways_in = MultiService()
    path = socket_path(settings, runtime.state_directory, runtime.name)
    here = own_socket(runtime.name, path, settings.socket_mode)
    factory = SubmissionFactory(desk, rules, runtime.reactor)
    ways_in.addService(runtime.serve(_server(settings, (here,)), stream=factory))
    if settings.submission_listen:
        listener = make_listener(
            settings,
            _server(settings, settings.submission_listen),
            runtime,
            intake,
            host=settings.helo_name or host_name(),
            max_message=settings.max_message,
            max_recipients=settings.max_recipients,
            deadline=settings.submission_timeout,
            now=time.time,
        )
        ways_in.addService(listener)
    if settings.http_listen and settings.http_token is not None:
        posts = EndpointRules(
            token=settings.http_token,
            max_message=settings.max_message,
            max_recipients=settings.max_recipients,
            deadline=settings.submission_timeout,
            in_thread=runtime.in_thread,
            wall_clock=time.time,
        )
        endpoint = EndpointFactory(intake, posts, runtime.reactor)
        ways_in.addService(runtime.serve(_server(settings, settings.http_listen), stream=endpoint))
    return ways_in


def _server(settings: SmtpClientSettings, listen: tuple[ListenAddress, ...]) -> ServerSettings:
    return ServerSettings(
        listen=listen,
        max_connections=settings.max_connections,
        max_connections_per_source=settings.max_connections,
        idle_timeout=2 * settings.submission_timeout,  # a request has its own, shorter deadline
        drain_timeout=settings.drain_timeout,
    )
