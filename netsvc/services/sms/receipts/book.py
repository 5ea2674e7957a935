"""Writes receipts into the ledger: finds what they are of, takes out of them what must not be seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.task import deferLater
from twisted.logger import Logger

from netsvc.interfaces import IMetrics
from netsvc.outbox.model import Told, Tracked
from netsvc.outbox.runner import Runner
from netsvc.services.sms.numbers import scrub
from netsvc.services.sms.receipts.meaning import Receipt

LOOKS = 5  # a gateway may tell of a message before its acceptance is written down
BETWEEN = 1.0  # seconds between two of them


@define
class Book:
    """Where receipts are written down.

    :param via: the gateway, as the ledger has it.
    :param reactor: the clock of pauses.
    :param now: wall clock, seconds.
    """

    runner: Runner
    metrics: IMetrics
    reactor: Any
    via: str
    now: Callable[[], float] = time.time
    log: Logger = field(factory=lambda: Logger(namespace=__name__))

    async def take(self, receipts: Sequence[Receipt]) -> None:
        """Write receipts down.

        :raises OutboxError: they could not be written.
        """
        missing = list(receipts)
        for look in range(LOOKS):
            if look and missing:
                await deferLater(self.reactor, BETWEEN)
            for receipt in tuple(missing):
                found = await self.runner.store.tracked(receipt.name)
                for one in found:
                    await self.write(one, receipt)
                if found:
                    missing.remove(receipt)
        if missing:
            self.log.info(
                "{queue}: {count} receipts are of messages that nobody here sent",
                event="sms-receipt-unknown",
                queue=self.runner.queue,
                count=len(missing),
            )

    async def write(self, tracked: Tracked, receipt: Receipt) -> None:
        """Write what a receipt says of something."""
        if receipt.fate == "pending":
            return
        # Neither number nor text are known here: whatever looks like a number goes, the rest is the gateway's.
        words = scrub(" ".join(filter(None, (receipt.status, receipt.words))), (), "")
        told = Told(result=receipt.fate, text=words, via=self.via)
        if await self.runner.store.tell(tracked.queue_id, tracked.index, told, self.now()):
            self.metrics.counter("sms_receipts", "What became of messages, by the gateway.", ("queue", "result")).inc(
                queue=self.runner.queue, result=receipt.fate
            )
            self.log.info(
                "{queue_id}: the gateway says of number {index} that it is {result}",
                event="sms-receipt",
                queue=self.runner.queue,
                queue_id=tracked.queue_id,
                index=tracked.index,
                result=receipt.fate,
                status=words,
            )
