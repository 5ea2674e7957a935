"""Makes one attempt at a message: a request for each number that waits, and an outcome for each.

What never left is tried later. What may have arrived is ambiguous. When the gateway cannot be reached, does not answer,
or asks to be left alone, the other numbers of the message wait for another attempt.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred

from netsvc.config.secrets import Secret
from netsvc.outbox.model import Lease, OutboxError, Outcome, Result, Target
from netsvc.services.sms.gateway import Gateway, Request, UnsendableError
from netsvc.services.sms.http_client import Exchange, NotSentError, Phases, UnknownError
from netsvc.services.sms.message import MessageError, TextMessage, decode
from netsvc.services.sms.numbers import Numbering, scrub
from netsvc.services.sms.reply import MAX_WORDS, Reply, Verdict, judge
from netsvc.services.sms.segments import alphabet_of
from netsvc.services.sms.template import MAX_RANDOM, Values

_RESULTS: dict[str, Result] = {
    "sent": "delivered",
    "retry": "retry",
    "permanent": "permanent",
    "ambiguous": "ambiguous",
}
ASK_AGAIN = 30.0  # seconds until a mail service that cannot say what became of a mail is asked again
STOPPED = "the daemon stopped before its turn"
MAX_PAUSE = 3600.0  # seconds that the whole gateway is left alone at most; what it asked that for waits itself as asked


def zone(name: str) -> tzinfo | None:
    """The time zone of that name; None is the machine's own, as datetime has it."""
    if name == "local":
        return None
    return UTC if name == "UTC" else ZoneInfo(name)


Fate = Callable[[str], Awaitable[str]]


@frozen(kw_only=True)
class Account:
    """Who we are to the gateway, and how numbers and times are written to it."""

    name: str = ""
    password: Secret | None = None
    signing_key: Secret | None = None
    sender: str = ""
    numbering: Numbering = field(factory=Numbering)
    zone: tzinfo | None = UTC
    receipt_url: Secret | None = None

    def keys(self) -> tuple[str, ...]:
        """What of this nobody may see."""
        known = [one.reveal() for one in (self.password, self.signing_key, self.receipt_url) if one is not None]
        login = [f"{self.name}:{self.password.reveal()}"] if self.password is not None else []  # as HTTP has it
        return tuple(known + login)


@define
class Courier:
    """Delivers to one gateway: the deliver function of the runner.

    :param reactor: connects, and is the clock of pauses.
    :param tracks: whether the gateway's names for messages are remembered, for its receipts.
    :param poll_interval: seconds until it is asked for one; None: it is not asked.
    :param fallback: what became of a mail that a message is kept for; raises OutboxError when nobody can say.
    :param now: wall clock, seconds.
    :param random: as random.SystemRandom.
    """

    gateway: Gateway
    account: Account
    phases: Phases
    reactor: Any
    trust_roots: Path | None = None
    tracks: bool = False
    poll_interval: float | None = None
    fallback: Fate | None = None
    now: Callable[[], float] = time.time
    random: random.Random = field(factory=random.SystemRandom)
    _free_at: float = field(init=False, default=0.0)  # by the reactor's clock: a gateway asked for a pause until then

    def __call__(self, lease: Lease, content: bytes) -> Deferred[Iterable[Outcome]]:
        """Hand a leased message over; an outcome for each of its waiting numbers. Cancelling cuts it short."""
        return _Attempt(self, lease, content).start()

    @property
    def via(self) -> str:
        """The gateway, as the ledger has it."""
        return f"{self.gateway.url.source.partition(':')[0]}:{self.gateway.host()}"

    def pause(self) -> float:
        """Seconds that the gateway still wants to be left alone."""
        return max(0.0, self._free_at - float(self.reactor.seconds()))

    def leave_alone(self, seconds: float) -> None:
        """The gateway asked for a pause."""
        self._free_at = max(self._free_at, self.reactor.seconds() + min(seconds, MAX_PAUSE))

    def question(self, name: str) -> Values:
        """What the fields stand for in a question about a message, by the gateway's name for it."""
        return self.values(TextMessage((), ""), "", name)

    def values(self, message: TextMessage, number: str, name: str) -> Values:
        """What the fields stand for.

        :param name: the same at every attempt.
        """
        return Values(
            text=message.text,
            number=number,
            national=self.account.numbering.national(number) or number.removeprefix("+"),
            id=name,
            time=datetime.fromtimestamp(self.now(), UTC).astimezone(self.account.zone),
            random=f"{self.random.getrandbits(4 * MAX_RANDOM):0{MAX_RANDOM}x}",
            gsm7=alphabet_of(message.text) == "gsm7",
            sender=self.account.sender,
            account=self.account.name,
            password=self.account.password,
            signing_key=self.account.signing_key,
            receipt_url=self.account.receipt_url,
        )

    def exchange(self) -> Exchange:
        """A request's way out."""
        return Exchange(self.reactor, self.phases, trust_roots=self.trust_roots, now=self.now)


class _Attempt:
    def __init__(self, courier: Courier, lease: Lease, content: bytes) -> None:
        self._courier = courier
        self._lease = lease
        self._content = content
        self._exchange: Exchange | None = None
        self._rest = ""  # why the numbers that are left have to wait
        self._unreachable = False
        self._not_before: float | None = None  # when the gateway wants to hear of these numbers again

    def start(self) -> Deferred[Iterable[Outcome]]:
        done: Deferred[Iterable[Outcome]] = Deferred(lambda _: self._stop())
        Deferred.fromCoroutine(self._run()).addCallbacks(done.callback, done.errback)
        return done

    def _stop(self) -> None:
        self._rest = STOPPED
        if self._exchange is not None:
            self._exchange.cut("the daemon stopped during the request")

    async def _run(self) -> tuple[Outcome, ...]:
        try:
            message = decode(self._content)
        except MessageError as error:
            return tuple(self._outcome(one, "permanent", str(error)) for one in self._lease.targets)
        decided = await self._without_sending()
        if decided is not None:
            return decided
        outcomes = []
        for target in self._lease.targets:
            if not self._rest and (pause := self._courier.pause()):
                self._rest = f"the gateway asked for a pause; {pause:.0f} s are left"
                self._not_before = self._courier.now() + pause
            if self._rest:
                outcomes.append(evolve(self._outcome(target, "retry", self._rest), not_before=self._not_before))
            else:
                outcomes.append(await self._one(message, target))
        return tuple(outcomes)

    async def _without_sending(self) -> tuple[Outcome, ...] | None:
        """The outcomes of a message that is kept for a mail, when it does not go now."""
        mail, ask = self._lease.item.meta.get("mail"), self._courier.fallback
        if not mail or ask is None:
            return None
        try:
            fate = await ask(mail)
        except OutboxError as error:
            wait = self._courier.now() + ASK_AGAIN
            text = f"what became of the mail {mail} is not known now: {error}"
            return tuple(evolve(self._outcome(one, "retry", text), not_before=wait) for one in self._lease.targets)
        if fate != "delivered":
            return None
        return tuple(self._outcome(one, "withdrawn", f"the mail {mail} was delivered") for one in self._lease.targets)

    async def _one(self, message: TextMessage, target: Target) -> Outcome:
        number = message.numbers[target.index]
        values = self._courier.values(message, number, f"{self._lease.item.queue_id}-{target.index}")
        try:
            request = self._courier.gateway.request(values)
        except UnsendableError as error:
            return self._outcome(target, "permanent", str(error))
        try:
            reply = await self._exchanged(request)
        except NotSentError as error:
            self._unreachable = self._rest != STOPPED
            self._rest = self._rest or "the gateway could not be reached for a number before"
            return self._outcome(target, "retry", str(error))
        except UnknownError as error:
            self._rest = self._rest or "the gateway did not answer for a number before"
            return self._outcome(target, "ambiguous", str(error))
        verdict = judge(self._courier.gateway.rules, reply)
        if verdict.pause is not None and verdict.meaning != "sent":
            self._courier.leave_alone(verdict.pause)
        spellings = (number, number.removeprefix("+"), values.national)
        words = _words(verdict, reply, spellings, message.text, self._courier.account.keys())
        outcome = self._outcome(target, _RESULTS[verdict.meaning], words, reply)
        now, courier = self._courier.now(), self._courier
        if verdict.meaning == "sent" and courier.tracks:
            ask_at = None if courier.poll_interval is None else now + courier.poll_interval
            return evolve(outcome, reference=verdict.message_id or values.id, ask_at=ask_at)
        if verdict.meaning != "sent" and verdict.pause is not None:
            return evolve(outcome, not_before=now + verdict.pause)
        return outcome

    async def _exchanged(self, request: Request) -> Reply:
        self._exchange = self._courier.exchange()
        try:
            return await self._exchange.run(request)
        finally:
            self._exchange = None

    def _outcome(self, target: Target, result: Result, text: str, reply: Reply | None = None) -> Outcome:
        return Outcome(
            target=target.address,
            result=result,
            code=reply.status if reply else None,
            text=text,
            via=self._courier.via,
            unreachable=self._unreachable,
        )


def _words(verdict: Verdict, reply: Reply, numbers: tuple[str, ...], text: str, keys: tuple[str, ...]) -> str:
    """A line for the ledger. What the gateway says may repeat the number, the message, a code in it or a password."""
    parts = []
    if verdict.code and verdict.code != str(reply.status):
        parts.append(f"code {scrub(verdict.code, numbers, text, keys)[:MAX_WORDS]}")
    if verdict.words:
        parts.append(scrub(verdict.words, numbers, text, keys)[:MAX_WORDS])  # cut first, half a password would stay
    if verdict.message_id:
        # A long run of digits is what such a name is; only what was sent is taken out of it.
        name = verdict.message_id
        for secret in sorted({*numbers, text, *keys} - {""}, key=len, reverse=True):
            name = name.replace(secret, "*" * min(len(secret), 8))
        parts.append(f"as {name}")
    return ", ".join(parts)
