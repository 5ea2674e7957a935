"""Makes one attempt: finds the way, makes the message ready, hands it over. The deliver function of the runner."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterable
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred

from netsvc.interfaces import IRuntime
from netsvc.outbox.model import Item, Lease, Outcome
from netsvc.services.smtp_client.delivery import PRELIMINARY, deliver
from netsvc.services.smtp_client.departure import Departure, by_queue_name
from netsvc.services.smtp_client.maildir import deliver_to_maildir
from netsvc.services.smtp_client.pool import Keeping, Pool
from netsvc.services.smtp_client.rewriting.settings import rewriting_of
from netsvc.services.smtp_client.routing.answers import Decision
from netsvc.services.smtp_client.routing.places import SMTP_PORT
from netsvc.services.smtp_client.routing.route import Hops, Local, Router
from netsvc.services.smtp_client.routing.service import make_router
from netsvc.services.smtp_client.settings import SmtpClientSettings
from netsvc.services.smtp_client.terms import Envelope, Relay, Timeouts
from netsvc.services.smtp_client.terms import Outcome as DeliveryOutcome
from netsvc.services.smtp_client.tokens import Tokens
from netsvc.services.smtp_client.turns import Turns
from netsvc.services.smtp_client.wishes import tls_wish, to_envelope

MAX_HOST = 100  # characters of our name in the name of a file, which has 255 octets at most on Linux
INLINE = 64 << 10  # octets of a message that is made ready in the reactor: a thread costs more


@define(eq=False, kw_only=True)
class Way:
    """Where and how the mail of one section goes.

    :param departure: what is done to messages that leave by SMTP.
    :param host: our name.
    :param timeouts: of each phase of a delivery.
    :param turns: whose turn it is to send.
    """

    router: Router
    departure: Departure
    pool: Pool
    tokens: Tokens
    runtime: IRuntime
    host: str
    timeouts: Timeouts
    turns: Turns
    _notified: dict[tuple[str, int], frozenset[str]] = field(factory=dict, init=False)

    def __call__(self, lease: Lease, content: bytes) -> Deferred[Iterable[Outcome]]:
        """Hand a leased message over; an outcome for each of its waiting recipients, who have one way."""
        return Deferred.fromCoroutine(self._go(lease, content))

    def notified(self, lease: Lease) -> Collection[str]:
        """The recipients of an attempt whose next server tells the sender what he wants to hear. Asked once."""
        return self._notified.pop((lease.item.queue_id, lease.parcel), frozenset())

    async def _go(self, lease: Lease, content: bytes) -> Iterable[Outcome]:
        item = lease.item
        waiting = [one.address for one in lease.targets]
        found = await self.router.route(waiting[0].rpartition("@")[2], item.sender, tls_wish(item.meta, content))
        if isinstance(found, Decision):
            return tuple(
                Outcome(target=one, result=found.result, code=found.code, enhanced=found.enhanced, text=found.text)
                for one in waiting
            )
        by_smtp = not isinstance(found, Local)
        departure = self.departure if by_smtp else evolve(self.departure, by_smtp=False)
        envelope, names = departure.envelope(to_envelope(item.sender, waiting, item.meta))
        if len(content) > INLINE or (by_smtp and departure.keys):
            message = await self.runtime.in_thread(departure.message, item, content)
        else:
            message = departure.message(item, content)
        del content
        outcomes: Iterable[DeliveryOutcome]
        if isinstance(found, Local):
            outcomes = await self._keep(found, lease, envelope, message)
        else:
            outcomes = await self._send(found, lease.destination, envelope, message)
        named = by_queue_name(outcomes, names)
        told = frozenset(one.recipient for one in named if one.notified)
        if told:
            self._notified[item.queue_id, lease.parcel] = told
        where = str(found.maildir) if isinstance(found, Local) else ""
        return tuple(_translated(one, where) for one in named)

    async def _send(
        self, found: Hops, destination: str, envelope: Envelope, message: bytes
    ) -> tuple[DeliveryOutcome, ...]:
        turn = self.turns.take(destination)
        if turn is not None:
            try:
                await turn
            except CancelledError:
                text = "the delivery was stopped here"
                return tuple(
                    DeliveryOutcome(one, "retry", None, "4.3.2", text, "waiting") for one in envelope.recipients
                )
        try:
            return await deliver(
                self.runtime.reactor,
                found.relays,
                envelope,
                message,
                helo_name=self.host,
                timeouts=self.timeouts,
                pool=self.pool,
                tokens=self.tokens,
            )
        finally:
            self.turns.leave(destination)

    def _keep(self, found: Local, lease: Lease, envelope: Envelope, message: bytes) -> Deferred[Any]:
        done: Deferred[Any] = self.runtime.in_thread(
            deliver_to_maildir,
            self.runtime.state_directory / found.maildir.path.expanduser(),
            envelope,
            message,
            unique=unique_name(lease.item, self.host),
            indexes=[one.index for one in lease.targets],
        )
        return done


def unique_name(item: Item, host: str) -> str:
    """The beginning of a file's name in a Maildir."""
    # A host name may hold neither of the two, but the rule is the Maildir's. A long one would make the file's name too
    # long; the queue id alone makes it unique.
    safe = host.replace("/", r"\057").replace(":", r"\072")[:MAX_HOST]
    return f"{int(item.accepted_at)}.Q{item.queue_id}.{safe}"


def _translated(outcome: DeliveryOutcome, where: str) -> Outcome:
    """For the outbox, whose ledger and log say with the server what protected the way there."""
    return Outcome(
        target=outcome.recipient,
        result=outcome.result,
        code=outcome.code,
        enhanced=outcome.enhanced,
        text=outcome.text,
        via=f"{outcome.via} {outcome.tls}".rstrip() or where,
        unreachable=outcome.result == "retry" and outcome.phase in PRELIMINARY,
    )


def make_way(settings: SmtpClientSettings, runtime: IRuntime, *, processes: int = 1) -> Way:
    """The way of one section's mail. Nothing is looked up or connected before the first message.

    :param processes: how many share what may be sent at the same time.
    """
    host = settings.helo_name or host_name()
    smarthost = Relay(
        host="",
        port=SMTP_PORT,
        tls=settings.tls,  # type: ignore[arg-type]  # one of the four words
        username=settings.username,
        login_source="username",
        password=settings.password,
        trust_roots=settings.trust_roots,
        auth_without_tls=settings.auth_without_tls,
        token_command=settings.token_command,
        mechanisms=settings.auth_mechanisms,
    )
    router = make_router(settings, runtime, default=settings.relay, smarthost=smarthost, names=[host, host_name()])
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
        turns=Turns(max(1, settings.concurrency // processes), max(1, settings.per_destination // processes)),
    )


def host_name() -> str:
    """The machine's name as it calls itself; not asked of the DNS, which may be slow and is not needed."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name) else "localhost"
