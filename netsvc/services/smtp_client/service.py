"""Makes the outbound mail client: the ways in, a queue with its runner, and the way out."""

from __future__ import annotations

import os
import random
import re
import socket
import time
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from netsvc.config.listen import ListenAddress, UnixAddress
from netsvc.config.server import ServerSettings
from netsvc.errors import StartError
from netsvc.interfaces import IRuntime
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Pace
from netsvc.outbox.durable import check_durable
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits, Runner
from netsvc.outbox.sqlite_store import SqliteStore
from netsvc.services.smtp_client.aftermath import Summaries, follow_up, make_bouncer
from netsvc.services.smtp_client.arrival import Arrival
from netsvc.services.smtp_client.departure import Departure
from netsvc.services.smtp_client.endpoint.protocol import EndpointFactory, EndpointRules
from netsvc.services.smtp_client.intake import Intake, addressed
from netsvc.services.smtp_client.listener.service import make_listener
from netsvc.services.smtp_client.pool import Keeping, Pool
from netsvc.services.smtp_client.rewriting.settings import rewriting_of
from netsvc.services.smtp_client.routing.places import SMTP_PORT
from netsvc.services.smtp_client.routing.route import Router
from netsvc.services.smtp_client.routing.service import make_router
from netsvc.services.smtp_client.settings import MAX_SOCKET_PATH, SmtpClientSettings, queue_path, socket_path
from netsvc.services.smtp_client.submission import Desk, SubmissionFactory, SubmissionRules
from netsvc.services.smtp_client.terms import Relay, Timeouts
from netsvc.services.smtp_client.tokens import Tokens
from netsvc.services.smtp_client.way import Way, in_words

log = Logger()


class SmtpClient(MultiService):
    """The service of one section: starts the queue before its socket, and stops the socket before the queue."""

    def __init__(self, runner: Runner, listener: IService, pool: Pool) -> None:
        MultiService.__init__(self)
        self._runner = runner
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
                await self._pool.stop()

        return Deferred.fromCoroutine(stop())


def make_service(settings: SmtpClientSettings, runtime: IRuntime) -> IService:
    """The outbound mail client of one section.

    :raises StartError: the path of its socket is too long.
    """
    path = socket_path(settings, runtime.state_directory, runtime.name)
    if len(bytes(path)) > MAX_SOCKET_PATH:
        raise StartError(f"[{runtime.name}] the socket {path} is longer than {MAX_SOCKET_PATH} octets; set socket")
    way = _way(settings, runtime)
    bouncer = make_bouncer(settings, runtime, way.host)
    address = partial(addressed, destination=way.router.destination)
    runner = _make_runner(settings, runtime, way, follow_up(bouncer, way, address, runtime))
    arrival = Arrival(
        rewriting=way.departure.rewriting,
        aliases=settings.aliases[1],
        local_domains={*settings.local_domains, way.host.lower(), "localhost"},
    )
    intake = Intake(runner, runtime.metrics, arrival, way.router.destination)
    ways_in = _ways_in(settings, runtime, runner, intake, way.router)
    ways_in.addService(Summaries(bouncer, runner, address, runtime.reactor))
    return SmtpClient(runner, ways_in, way.pool)


def _way(settings: SmtpClientSettings, runtime: IRuntime) -> Way:
    host = settings.helo_name or _host_name()
    smarthost = Relay(
        host="",
        port=SMTP_PORT,
        tls=settings.tls,  # type: ignore[arg-type]  # one of the four words
        username=settings.username,
        password=settings.password,
        trust_roots=settings.trust_roots,
        auth_without_tls=settings.auth_without_tls,
        token_command=settings.token_command,
        mechanisms=settings.auth_mechanisms,
    )
    router = make_router(settings, runtime, default=settings.relay, smarthost=smarthost, names=[host, _host_name()])
    keeping = Keeping(
        idle=settings.keep_idle, messages=settings.messages_per_connection, connections=settings.keep_connections
    )
    return Way(
        router=router,
        departure=Departure(host=host, rewriting=rewriting_of(settings), keys=settings.dkim, by_smtp=True),
        pool=Pool(runtime.reactor, keeping),
        tokens=Tokens(runtime.reactor, runtime.in_thread),
        runtime=runtime,
        host=host,
        timeouts=Timeouts.within(settings.phase_timeout),
    )


def _make_runner(settings: SmtpClientSettings, runtime: IRuntime, way: Way, settled: Any) -> Runner:
    custody = Custody(
        retry=RetryPolicy(first=settings.retry_first, longest=settings.retry_longest, give_up=settings.give_up_after),
        ambiguous="hold" if settings.ambiguous == "hold" else "retry",
    )

    def open_store() -> SqliteStore:
        directory = queue_path(settings, runtime.state_directory, runtime.name)
        check_durable(directory, allow_volatile=settings.allow_volatile)
        store, recovered = SqliteStore.open(
            directory, call_from_thread=runtime.reactor.callFromThread, custody=custody, settled=settled
        )
        if recovered:
            log.warn(
                "{queue}: {count} attempts had died with the daemon; their results are unknown",
                event="outbox-recovered",
                queue=runtime.name,
                count=recovered,
            )
        return store

    rate = settings.rate_per_destination
    pace = Pace(
        concurrency=settings.per_destination,
        rate=0.0 if rate is None else rate.per_second,
        burst=1 if rate is None else rate.count,
        failures=settings.destination_failures,
        first=settings.destination_retry_first,
        longest=settings.destination_retry_longest,
    )
    limits = Limits(
        concurrency=settings.concurrency, drain_timeout=settings.drain_timeout, keep=settings.keep, pace=pace
    )
    return Runner(
        queue=runtime.name,
        reactor=runtime.reactor,
        open_store=open_store,
        deliver=way,
        custody=custody,
        metrics=runtime.metrics,
        random=random.SystemRandom().random,
        limits=limits,
        settled=settled,
    )


def _ways_in(
    settings: SmtpClientSettings, runtime: IRuntime, runner: Runner, intake: Intake, router: Router
) -> MultiService:
    """The socket of the commands; and, where they are configured, the SMTP listener and the HTTP endpoint."""
    rules = SubmissionRules(
        max_message=settings.max_message,
        max_recipients=settings.max_recipients,
        deadline=settings.submission_timeout,
        operators=_operators,
    )
    desk = Desk(runner, rules, intake, lambda destination: in_words(router, destination, settings.tls))
    ways_in = MultiService()
    path = socket_path(settings, runtime.state_directory, runtime.name)
    here = (UnixAddress(path=path, mode=settings.socket_mode),)
    factory = SubmissionFactory(desk, rules, runtime.reactor)
    ways_in.addService(runtime.serve(_server(settings, here), stream=factory))
    if settings.submission_listen:
        listener = make_listener(
            settings,
            _server(settings, settings.submission_listen),
            runtime,
            intake,
            host=settings.helo_name or _host_name(),
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


def _operators() -> frozenset[int]:
    """Root, and whom the daemon runs as: once privileges have dropped, that is another than at the start."""
    return frozenset({0, os.geteuid()})


def _server(settings: SmtpClientSettings, listen: tuple[ListenAddress, ...]) -> ServerSettings:
    return ServerSettings(
        listen=listen,
        max_connections=settings.max_connections,
        max_connections_per_source=settings.max_connections,
        idle_timeout=2 * settings.submission_timeout,  # a request has its own, shorter deadline
        drain_timeout=settings.drain_timeout,
    )


def _host_name() -> str:
    """The machine's name as it calls itself; not asked of the DNS, which may be slow and is not needed."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name) else "localhost"
