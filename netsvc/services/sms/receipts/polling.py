"""Asks the gateway what became of messages: one request at a time, again after an interval, and not without end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from netsvc.outbox.model import OutboxError, Tracked
from netsvc.services.sms.gateway import Gateway, UnsendableError
from netsvc.services.sms.http_client import Exchange, NotSentError, UnknownError
from netsvc.services.sms.receipts.book import Book
from netsvc.services.sms.receipts.meaning import Receipt, ReceiptRules, fate
from netsvc.services.sms.reply import Reply
from netsvc.services.sms.template import Values

AT_ONCE = 100  # asked for in one round
LOOK = 1.0  # seconds between two looks for what is due

log = Logger()


@frozen(kw_only=True)
class PollRules:
    """How and how long the gateway is asked.

    :param request: how; its {message_id} is the gateway's name for the message.
    :param rules: how its reply is read; its id is not asked for.
    :param interval: seconds between two questions.
    :param end: seconds from acceptance after which nobody will know.
    """

    request: Gateway
    rules: ReceiptRules
    interval: float
    end: float


class Polling(Service):
    """Asks, while the service runs.

    :param values: of a name, what the fields stand for.
    :param exchange: makes the way of one request.
    :param reactor: the clock.
    """

    def __init__(
        self,
        book: Book,
        rules: PollRules,
        *,
        values: Callable[[str], Values],
        exchange: Callable[[], Exchange],
        reactor: Any,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._rules = rules
        self._values = values
        self._exchange = exchange
        self._now = now
        self._under_way: Exchange | None = None
        self._look = LoopingCall(lambda: Deferred.fromCoroutine(self._round()))
        self._look.clock = reactor

    def startService(self) -> None:
        """Begin to ask."""
        super().startService()  # type: ignore[no-untyped-call]
        self._look.start(LOOK, now=False)

    def stopService(self) -> None:
        """Ask no more."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._look.running:
            self._look.stop()
        if self._under_way is not None:
            self._under_way.cut("the daemon stopped during the request")

    async def _round(self) -> None:
        try:
            for one in await self._book.runner.store.to_ask(self._now(), AT_ONCE):
                if not self.running:
                    return
                await self._ask(one)
        except OutboxError as error:
            log.warn("receipts cannot be asked for: {reason}", event="sms-poll-failed", reason=str(error))
        except Exception:  # noqa: BLE001 - the next round may go well
            log.failure("a round of questions failed by a fault of ours", event="sms-poll-fault")

    async def _ask(self, one: Tracked) -> None:
        now = self._now()
        if now >= one.sent_at + self._rules.end:
            nobody = Receipt(name=one.reference, fate="unknown", status="the gateway never said what became of it")
            await self._book.write(one, nobody)
            return
        reply = await self._reply(one.reference)
        pause = self._rules.interval
        if reply is not None:
            receipt = self._receipt(one.reference, reply)
            if receipt.fate != "pending":
                await self._book.write(one, receipt)
                return
            pause = max(pause, reply.retry_after or 0.0)
        end = one.sent_at + self._rules.end
        await self._book.runner.store.ask_later(one.queue_id, one.index, min(now + pause, max(end, now + 1)))

    async def _reply(self, name: str) -> Reply | None:
        self._under_way = self._exchange()
        try:
            return await self._under_way.run(self._rules.request.request(evolve(self._values(name), message_id=name)))
        except (NotSentError, UnknownError, UnsendableError) as error:
            log.info("the gateway could not be asked: {reason}", event="sms-poll-failed", reason=str(error))
            return None
        finally:
            self._under_way = None

    def _receipt(self, name: str, reply: Reply) -> Receipt:
        rules = self._rules.rules
        status = rules.status.first(reply) if 200 <= reply.status < 300 else ""
        words = rules.reason.first(reply) if rules.reason and status else ""
        return Receipt(name=name, fate=fate(rules, status), status=status, words=words)
