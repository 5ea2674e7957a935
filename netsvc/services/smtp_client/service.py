"""Makes the outbound mail client: a queue, its runner, and the socket that fills it."""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from netsvc.config.listen import ListenAddress, UnixAddress
from netsvc.config.server import ServerSettings
from netsvc.errors import StartError
from netsvc.interfaces import IRuntime
from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Lease, Outcome
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits, Runner
from netsvc.outbox.sqlite_store import SqliteStore
from netsvc.services.smtp_client.delivery import deliver
from netsvc.services.smtp_client.endpoint.protocol import EndpointFactory, EndpointRules
from netsvc.services.smtp_client.intake import Intake
from netsvc.services.smtp_client.listener.service import make_listener
from netsvc.services.smtp_client.maildir import deliver_to_maildir
from netsvc.services.smtp_client.settings import (
    MAX_SOCKET_PATH,
    MaildirRelay,
    SmtpClientSettings,
    SmtpRelay,
    queue_path,
    socket_path,
)
from netsvc.services.smtp_client.submission import Desk, SubmissionFactory, SubmissionRules
from netsvc.services.smtp_client.terms import Outcome as DeliveryOutcome
from netsvc.services.smtp_client.terms import Relay, Timeouts
from netsvc.services.smtp_client.trace import stamp
from netsvc.services.smtp_client.wishes import to_envelope

MAX_HOST = 100  # characters of our name in the name of a file, which has 255 octets at most on Linux

log = Logger()


class SmtpClient(MultiService):
    """The service of one section: starts the queue before its socket, and stops the socket before the queue."""

    def __init__(self, runner: Runner, listener: IService) -> None:
        MultiService.__init__(self)
        self._runner = runner
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

        return Deferred.fromCoroutine(stop())


@frozen
class Way:
    """Makes one attempt: the deliver function of the runner.

    :param relay: where everything goes.
    :param host: our name.
    :param timeouts: of each phase of a delivery to the smarthost.
    """

    relay: MaildirRelay | SmtpRelay
    smarthost: Relay | None
    root: Path
    host: str
    runtime: IRuntime
    timeouts: Timeouts

    def __call__(self, lease: Lease, content: bytes) -> Deferred[Iterable[Outcome]]:
        """Hand a leased message over; an outcome for each of its waiting recipients."""
        item = lease.item
        envelope = to_envelope(item.sender, [one.address for one in lease.targets], item.meta)
        stamped = stamp(
            content,
            queue_id=item.queue_id,
            accepted_at=item.accepted_at,
            sender=item.sender,
            submitter=item.submitter,
            host=self.host,
            protocol=item.meta.get("protocol", ""),
        )
        delivery: Deferred[Any]
        if self.smarthost is not None:
            delivery = deliver(
                self.runtime.reactor,
                self.smarthost,
                envelope,
                stamped,
                helo_name=self.host,
                timeouts=self.timeouts,
            )
        else:
            # A host name may hold neither of the two, but the rule is the Maildir's. A long one would make the file's
            # name too long; the queue id alone makes it unique.
            host = self.host.replace("/", r"\057").replace(":", r"\072")[:MAX_HOST]
            delivery = self.runtime.in_thread(
                deliver_to_maildir,
                self.root,
                envelope,
                stamped,
                unique=f"{int(item.accepted_at)}.Q{item.queue_id}.{host}",
                indexes=[one.index for one in lease.targets],
            )
        return delivery.addCallback(self._translated)

    def _translated(self, outcomes: Iterable[DeliveryOutcome]) -> Iterable[Outcome]:
        return tuple(
            Outcome(
                target=one.recipient,
                result=one.result,
                code=one.code,
                enhanced=one.enhanced,
                text=one.text,
                via=str(self.relay),
            )
            for one in outcomes
        )


def make_service(settings: SmtpClientSettings, runtime: IRuntime) -> IService:
    """The outbound mail client of one section.

    :raises StartError: the path of its socket is too long.
    """
    path = socket_path(settings, runtime.state_directory, runtime.name)
    if len(bytes(path)) > MAX_SOCKET_PATH:
        raise StartError(f"[{runtime.name}] the socket {path} is longer than {MAX_SOCKET_PATH} octets; set socket")
    custody = Custody(
        retry=RetryPolicy(first=settings.retry_first, longest=settings.retry_longest, give_up=settings.give_up_after),
        ambiguous="hold" if settings.ambiguous == "hold" else "retry",
    )

    def open_store() -> SqliteStore:
        directory = queue_path(settings, runtime.state_directory, runtime.name)
        store, recovered = SqliteStore.open(directory, call_from_thread=runtime.reactor.callFromThread, custody=custody)
        if recovered:
            log.warn(
                "{queue}: {count} attempts had died with the daemon; their results are unknown",
                event="outbox-recovered",
                queue=runtime.name,
                count=recovered,
            )
        return store

    runner = Runner(
        queue=runtime.name,
        reactor=runtime.reactor,
        open_store=open_store,
        deliver=_way(settings, runtime),
        custody=custody,
        metrics=runtime.metrics,
        random=random.SystemRandom().random,
        limits=Limits(concurrency=settings.concurrency, drain_timeout=settings.drain_timeout, keep=settings.keep),
    )
    rules = SubmissionRules(
        max_message=settings.max_message,
        max_recipients=settings.max_recipients,
        deadline=settings.submission_timeout,
        operators=frozenset({0, os.geteuid()}),
    )
    way = _in_words(settings)
    factory = SubmissionFactory(Desk(runner, rules, runtime.metrics, lambda _: way), rules, runtime.reactor)
    ways_in = MultiService()
    here = (UnixAddress(path=path, mode=settings.socket_mode),)
    ways_in.addService(runtime.serve(_server(settings, here), stream=factory))
    intake = Intake(runner, runtime.metrics)
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
    return SmtpClient(runner, ways_in)


def _in_words(settings: SmtpClientSettings) -> dict[str, str]:
    """Where mail goes and how, for `netsvc mail explain`."""
    if isinstance(settings.relay, MaildirRelay):
        return {"way": str(settings.relay)}
    return {"way": str(settings.relay), "TLS": f"{settings.tls}, by the option tls"}


def _server(settings: SmtpClientSettings, listen: tuple[ListenAddress, ...]) -> ServerSettings:
    return ServerSettings(
        listen=listen,
        max_connections=settings.max_connections,
        max_connections_per_source=settings.max_connections,
        idle_timeout=2 * settings.submission_timeout,  # a request has its own, shorter deadline
        drain_timeout=settings.drain_timeout,
    )


def _way(settings: SmtpClientSettings, runtime: IRuntime) -> Way:
    host, timeouts = settings.helo_name or _host_name(), Timeouts.within(settings.phase_timeout)
    if isinstance(settings.relay, MaildirRelay):
        root = runtime.state_directory / settings.relay.path.expanduser()
        return Way(settings.relay, None, root, host, runtime, timeouts)
    smarthost = Relay(
        host=settings.relay.host,
        port=settings.relay.port,
        tls=settings.tls,  # type: ignore[arg-type]  # one of the four words
        implicit=settings.relay.implicit,
        username=settings.username,
        password=settings.password,
        trust_roots=settings.trust_roots,
        auth_without_tls=settings.auth_without_tls,
    )
    return Way(settings.relay, smarthost, runtime.state_directory, host, runtime, timeouts)


def _host_name() -> str:
    """The machine's name as it calls itself; not asked of the DNS, which may be slow and is not needed."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name) else "localhost"
