"""Makes the text message service: a queue, its runner, and the socket that fills it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.config.listen import ListenAddress
from netsvc.config.secrets import Secret
from netsvc.config.server import ServerSettings
from netsvc.interfaces import IRuntime
from netsvc.net.request_socket import own_socket
from netsvc.net.unix_peer import operators
from netsvc.outbox.custody import Custody
from netsvc.outbox.destinations import Pace
from netsvc.outbox.model import OutboxError
from netsvc.outbox.opening import open_store
from netsvc.outbox.retry import RetryPolicy
from netsvc.outbox.runner import Limits as RunnerLimits
from netsvc.outbox.runner import Runner
from netsvc.services.sms.delivery import Account, Courier, zone
from netsvc.services.sms.desk import Desk, Rules
from netsvc.services.sms.fallback import Fallback
from netsvc.services.sms.http_client import Phases
from netsvc.services.sms.limits import Limits
from netsvc.services.sms.marks import Marks
from netsvc.services.sms.receipts.book import Book
from netsvc.services.sms.receipts.polling import Polling, PollRules
from netsvc.services.sms.receipts.protocol import CallRules, ReceiptFactory
from netsvc.services.sms.settings import SmsSettings, key_path, queue_path, socket_path
from netsvc.services.sms.submission import SubmissionFactory

SETTLE_IN = 1.0  # seconds after the start in which a mail service comes up, too
PREPARE_AGAIN = 5.0  # seconds until a store that failed is prepared again

log = Logger()


class Sms(MultiService):
    """The service of one section: starts the queue before its socket, and stops the socket before the queue.

    :param ways: the socket, and how receipts come.
    :param key: file of the key of marks.
    """

    marks: Marks

    def __init__(self, runner: Runner, ways: MultiService, fallback: Fallback, reactor: Any, key: Path) -> None:
        MultiService.__init__(self)
        self._runner = runner
        self._ways = ways
        self._fallback = fallback
        self._reactor = reactor
        self._key = key
        self.addService(runner)  # type: ignore[no-untyped-call]
        self.addService(ways)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """Start; the queue is prepared for receipts before the first message is recorded.

        :raises StartError: the queue or the key cannot be opened.
        """
        self.marks = Marks.open(self._key)
        super().startService()  # type: ignore[no-untyped-call]
        self._prepare()

    def _prepare(self) -> None:
        if self.running:
            Deferred.fromCoroutine(self._prepared()).addErrback(self._not_prepared)

    async def _prepared(self) -> None:
        await self._runner.store.prepare()
        await deferLater(self._reactor, SETTLE_IN)
        if self.running:
            await self._fallback.recall()

    def _not_prepared(self, failure: Failure) -> None:
        failure.trap(OutboxError)
        log.warn("{queue}: {reason}", event="outbox-store-fault", queue=self._runner.queue, reason=str(failure.value))
        self._reactor.callLater(PREPARE_AGAIN, self._prepare)

    def stopService(self) -> Deferred[None]:
        """Let submissions under way be answered, then requests under way end."""
        self.running = 0

        async def stop() -> None:
            try:
                await maybeDeferred(self._ways.stopService)
            finally:
                await self._runner.stopService()

        return Deferred.fromCoroutine(stop())


def make_service(settings: SmsSettings, runtime: IRuntime) -> IService:
    """The text message service of one section.

    :raises StartError: the path of its socket is too long.
    """
    path = socket_path(settings, runtime.state_directory, runtime.name)
    here = own_socket(runtime.name, path, settings.socket_mode)
    custody = Custody(
        retry=RetryPolicy(first=settings.retry_first, longest=settings.retry_longest, give_up=settings.give_up_after),
        # What may have been sent is sent again only to a gateway that knows it again.
        ambiguous="retry" if settings.idempotent else "hold",
        redact=True,
    )
    courier = _courier(settings, runtime)
    runner = _runner(settings, runtime, custody, courier)
    gateway = settings.gateway()
    desk = Desk(
        runner,
        Rules(
            numbering=settings.numbering(),
            national_only="national" in gateway.names(),
            max_segments=settings.max_segments,
            max_recipients=settings.max_recipients,
            destination=gateway.host(),
            operators=operators,
        ),
        Limits(
            per_number=settings.limit_per_number,
            per_template=settings.limit_per_template,
            total=settings.limit_total,
        ),
        runtime.reactor,
        runtime.metrics,
        lambda: service.marks,
    )
    fallback = Fallback(desk, runner, runtime.offered)
    runtime.offer(fallback)
    courier.fallback = fallback.decide
    ways = MultiService()
    factory = SubmissionFactory(desk, timeout=settings.submission_timeout, reactor=runtime.reactor)
    ways.addService(runtime.serve(_server(settings, (here,)), stream=factory))
    for way in _receipts(settings, runtime, runner, courier):
        ways.addService(way)
    key = key_path(settings, runtime.state_directory, runtime.name)
    service = Sms(runner, ways, fallback, runtime.reactor, key)
    return service


def _server(settings: SmsSettings, listen: tuple[ListenAddress, ...]) -> ServerSettings:
    return ServerSettings(
        listen=listen,
        max_connections=settings.max_connections,
        max_connections_per_source=settings.max_connections,
        idle_timeout=2 * settings.submission_timeout,  # a request has its own, shorter deadline
        drain_timeout=settings.drain_timeout,
    )


def _receipts(settings: SmsSettings, runtime: IRuntime, runner: Runner, courier: Courier) -> Iterator[IService]:
    """How the gateway tells us of messages that it took."""
    book = Book(runner=runner, metrics=runtime.metrics, reactor=runtime.reactor, via=courier.via)
    url = settings.full_receipt_url()
    if url is not None:
        signature, key = settings.signature()
        rules = CallRules(
            path=Secret(url.reference, urlsplit(url.reveal()).path or "/"),
            url=url,
            rules=settings.receipt_rules(polled=False),
            signature=signature,
            key=key,
            thanks=settings.thanks(),
            deadline=settings.submission_timeout,
        )
        factory = ReceiptFactory(book, rules, runtime.reactor)
        yield runtime.serve(_server(settings, settings.receipt_listen), stream=factory)
    if settings.poll_interval is not None:
        yield Polling(
            book,
            PollRules(
                request=settings.question(),
                rules=settings.receipt_rules(polled=True),
                interval=settings.poll_interval,
                end=settings.poll_for,
            ),
            values=courier.question,
            exchange=courier.exchange,
            reactor=runtime.reactor,
        )


def _courier(settings: SmsSettings, runtime: IRuntime) -> Courier:
    return Courier(
        gateway=settings.gateway(),
        account=Account(
            name=settings.account,
            password=settings.password,
            signing_key=settings.signing_key,
            sender=settings.sender,
            numbering=settings.numbering(),
            zone=zone(settings.timezone),
            receipt_url=settings.full_receipt_url(),
        ),
        phases=Phases(connect=settings.connect_timeout, reply=settings.reply_timeout),
        reactor=runtime.reactor,
        trust_roots=settings.trust_roots,
        tracks=bool(settings.receipt_listen) or settings.poll_interval is not None,
        poll_interval=settings.poll_interval,
    )


def _runner(settings: SmsSettings, runtime: IRuntime, custody: Custody, courier: Courier) -> Runner:
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
        deliver=courier,
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
