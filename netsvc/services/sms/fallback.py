"""Mail first, and a text message if that is not delivered: what this service does for a mail service of the daemon.

The message waits in our own queue from the moment that the mail was accepted, with the time when it goes, and under a
key that is the mail's queue id: so a restart forgets nothing, and nothing goes twice. When it is due, its attempt
begins with the question what became of the mail: a message whose mail was delivered is withdrawn, and where the mail
service cannot say, it is asked again. What that tells in between only makes the message due earlier. So neither of the
two queues hangs on what the other has written, and news that get lost cost time, not a message.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from netsvc.errors import NotTakenError
from netsvc.interfaces import IMailFates, ITextMessages
from netsvc.net.json_lines import Refusal, encode
from netsvc.outbox.model import OutboxError, Selection
from netsvc.outbox.runner import Runner
from netsvc.services.sms.desk import Desk
from netsvc.services.sms.wire import Send, parse_request

PAGE = 1000  # items that are read at once

log = Logger()


@implementer(ITextMessages)
class Fallback:
    """Keeps messages for mails.

    :param offered: what a section of the daemon offers, by its name.
    :param now: wall clock, seconds.
    """

    def __init__(
        self, desk: Desk, runner: Runner, offered: Callable[[str], Any], now: Callable[[], float] = time.time
    ) -> None:
        self._desk = desk
        self._runner = runner
        self._offered = offered
        self._now = now
        self._kept: dict[str, str] = {}  # mail -> our queue id

    def check(self, to: tuple[str, ...], text: str) -> None:
        """See :class:`netsvc.interfaces.ITextMessages`."""
        try:
            self._desk.check(_request(to, text))
        except Refusal as refusal:
            raise NotTakenError(refusal.code, refusal.text) from None

    def keep(self, mail: str, to: tuple[str, ...], text: str, not_before: float, submitter: str) -> Deferred[str]:
        """See :class:`netsvc.interfaces.ITextMessages`."""

        async def keep() -> str:
            try:
                request = _request(to, text)._replace(key=f"mail {mail}")
                reply = await self._desk.take(request, submitter, {"mail": mail}, not_before)
            except Refusal as refusal:
                raise NotTakenError(refusal.code, refusal.text) from None
            except OutboxError as error:
                raise NotTakenError("4.3.0", str(error)) from None
            self._kept[mail] = reply["id"]
            return str(reply["id"])

        return Deferred.fromCoroutine(keep())

    def news(self, mail: str) -> None:
        """See :class:`netsvc.interfaces.ITextMessages`."""
        Deferred.fromCoroutine(self._look(mail)).addErrback(
            lambda failure: log.failure("news of a mail met a fault", failure, event="sms-fallback-fault")
        )

    async def fate(self, mail: str) -> str:
        """What became of a mail; ``unknown`` also when its section is not in this daemon.

        :raises OutboxError: its service cannot say.
        """
        section, _, queue_id = mail.partition(" ")
        offer = self._offered(section)
        if not IMailFates.providedBy(offer):
            return "unknown"
        return str(await maybeDeferred(offer.fate, queue_id))

    async def decide(self, mail: str) -> str:
        """As `fate`, when the message is due: no news of the mail is wanted any more.

        :raises OutboxError: its service cannot say.
        """
        self._kept.pop(mail, None)
        return await self.fate(mail)

    async def recall(self) -> None:
        """Look at every message that waits for its mail: after a start, news may have been lost.

        :raises OutboxError: the queue cannot be read.
        """
        after = ""
        while True:
            page = await self._runner.store.listing(after, PAGE)
            for one in page:
                mail = one.item.meta.get("mail")
                if mail and one.item.state == "waiting" and one.item.next_at > self._now():
                    self._kept[mail] = one.item.queue_id
                    await self._look(mail)
            if len(page) < PAGE:
                return
            after = page[-1].item.queue_id

    async def _look(self, mail: str) -> None:
        queue_id = self._kept.get(mail)
        if queue_id is None:
            return
        try:
            fate = await self.fate(mail)
            if fate in ("delivered", "failed"):
                self._kept.pop(mail, None)
                await self._runner.operate("flush", Selection(queue_id=queue_id), f"mail {mail}")
        except OutboxError as error:
            # It is due when its time comes, and then the same is asked.
            log.info(
                "{queue_id} waits for its time: {reason}", event="sms-fallback", queue_id=queue_id, reason=str(error)
            )


def _request(to: tuple[str, ...], text: str) -> Send:
    request = parse_request(encode({"v": 1, "command": "send", "to": list(to), "text": text})[:-1])
    assert isinstance(request, Send)  # noqa: S101 - its command says so
    return request
