"""A text message if a mail is not delivered in time: given to a text message service of the daemon, which hears of it.

The message is kept there, and why that is safe stands there; here is only what the mail's side knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from netsvc.errors import NotTakenError
from netsvc.interfaces import IMailFates, IRuntime, ITextMessages
from netsvc.net.json_lines import Refusal
from netsvc.outbox.model import Lease, NoSuchItemError, Settlement, Submission
from netsvc.outbox.runner import Runner
from netsvc.outbox.steps import Settled
from netsvc.services.smtp_client.submission_wire import Sms

META = "sms"  # where an item keeps the name of the section that has a message for it


@implementer(IMailFates)
class Fates:
    """What became of mails.

    :param runner: the outbox.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def fate(self, queue_id: str) -> Deferred[str]:
        """See :class:`netsvc.interfaces.IMailFates`."""

        async def fate() -> str:
            try:
                summary, _ = await self._runner.store.show(queue_id)
            except NoSuchItemError:
                return "unknown"
            states = {one.state for one in summary.targets}
            if states & {"bounced", "expired", "ambiguous"}:
                return "failed"
            return "waiting" if "waiting" in states else "delivered"

        return Deferred.fromCoroutine(fate())


class Fallback:
    """Messages that go if a mail does not.

    :param runtime: whose section `service` keeps them.
    :param now: wall clock, seconds.
    """

    def __init__(self, runtime: IRuntime, service: str, now: Callable[[], float] = time.time) -> None:
        self._runtime = runtime
        self._now = now
        self.service = service

    def check(self, sms: Sms) -> None:
        """Whether such a message can be kept; asked before the mail is taken.

        :raises Refusal: it cannot.
        """
        try:
            self._messages().check(sms.to, sms.text)
        except NotTakenError as error:
            raise Refusal(error.code, f"the text message: {error.text}") from None

    async def keep(self, queue_id: str, sms: Sms, submitter: str) -> str | None:
        """Keep a message for a mail that was taken; why it could not be kept, or None."""
        try:
            mail = f"{self._runtime.name} {queue_id}"
            await self._messages().keep(mail, sms.to, sms.text, self._now() + sms.after, submitter)
        except NotTakenError as error:
            return f"{error.code} {error.text}"
        return None

    def telling(self, settled: Settled) -> Settled:
        """What follows from a settlement; and whoever keeps a message for the mail hears of it."""

        def settle(lease: Lease, settlement: Settlement, content: bytes) -> Iterable[Submission]:
            section = lease.item.meta.get(META)
            if section and any(state != "waiting" for _, state in settlement.outcomes):
                # Behind the record of the attempt, which is asked for next; also from the thread of a store that opens.
                self._runtime.reactor.callFromThread(self._tell, section, lease.item.queue_id)
            return settled(lease, settlement, content)

        return settle

    def _tell(self, section: str, queue_id: str) -> None:
        messages = self._runtime.offered(section)
        if ITextMessages.providedBy(messages):
            messages.news(f"{self._runtime.name} {queue_id}")

    def _messages(self) -> Any:
        messages = self._runtime.offered(self.service)
        if not ITextMessages.providedBy(messages):
            raise NotTakenError(
                "5.3.5", f"there is no [{self.service}] for text messages in this daemon; see sms_service"
            )
        return messages
