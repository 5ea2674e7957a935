"""Takes mail in over a UNIX socket: an answer of ok means that the message is on the disk.

The connections are those of :mod:`netsvc.net.request_socket`. Messages that are arriving share a budget of memory. The
uid of the peer is who the message is from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from netsvc.net.json_lines import Refusal, refused
from netsvc.net.request_socket import RequestFactory
from netsvc.net.unix_peer import UnixPeer, unix_peer
from netsvc.outbox.model import NoSuchItemError, OutboxError
from netsvc.outbox.runner import Runner
from netsvc.services.smtp_client.fallback import META, Fallback
from netsvc.services.smtp_client.guide import Guide
from netsvc.services.smtp_client.intake import Intake
from netsvc.services.smtp_client.memory import Budget
from netsvc.services.smtp_client.queries import Questions
from netsvc.services.smtp_client.submission_wire import Query, RequestReader, Send
from netsvc.services.smtp_client.terms import Envelope, Notice, Wish
from netsvc.services.smtp_client.wishes import to_meta


@frozen(kw_only=True)
class SubmissionRules:
    """What may be handed in, by whom.

    :param max_message: octets of one message.
    :param memory: octets of all messages that are arriving at the same time.
    :param deadline: seconds that a request may take to arrive.
    :param operators: gives the uids that see everybody's mail and may remove and requeue it, as they are now.
    """

    max_message: int
    max_recipients: int
    deadline: float
    operators: Callable[[], frozenset[int]] = field(default=lambda: frozenset({0}))
    memory: int = 256 << 20


class Desk:
    """Answers requests: the part without a transport.

    :param runner: the outbox.
    :param intake: where messages are handed in.
    :param guide: tells where mail goes and how.
    :param fallback: where text messages are kept that go if a mail does not; None: nowhere.
    """

    def __init__(
        self,
        runner: Runner,
        rules: SubmissionRules,
        intake: Intake,
        guide: Guide,
        fallback: Fallback | None = None,
    ) -> None:
        self._fallback = fallback
        self._questions = Questions(runner, guide)
        self._rules = rules
        self._intake = intake
        self._log = Logger(namespace=__name__)

    async def answer(self, request: Send | Query, peer: UnixPeer) -> dict[str, Any]:
        """The reply; never raises."""
        try:
            if isinstance(request, Send):
                return await self._take(request, peer)
            is_operator = peer.uid in self._rules.operators()
            return await self._questions.answer(request, str(peer), is_operator=is_operator)
        except Refusal as refusal:
            return self.refuse(refusal, peer)
        except NoSuchItemError as error:
            return refused(Refusal("5.0.0", str(error)))
        except OutboxError as error:
            return self.refuse(Refusal("4.3.0", str(error)), peer)
        except Exception:  # noqa: BLE001 - one request's fault must not become the daemon's
            self._log.failure("a request failed by a fault of ours", event="mail-submission-fault")
            return refused(Refusal("4.3.0", "a fault in the daemon; its log says more"))

    def refuse(self, refusal: Refusal, peer: UnixPeer) -> dict[str, Any]:
        """The reply to what is not taken; logged and counted."""
        return refused(self._intake.refused(refusal, str(peer)))

    async def _take(self, request: Send, peer: UnixPeer) -> dict[str, Any]:
        meta = {"pid": str(peer.pid), **_wishes(request)}
        fallback = self._fallback
        if request.sms is not None:
            if fallback is None:
                raise Refusal("5.3.5", "no text message can be kept here")
            fallback.check(request.sms)
            meta[META] = fallback.service
        try:
            accepted = await self._intake.take(
                submitter=str(peer),
                sender=request.sender,
                recipients=request.recipients,
                content=request.content,
                key=request.key,
                meta=meta,
                domain=request.domain,
            )
        except Refusal as refusal:  # logged and counted
            return refused(refusal)
        reply: dict[str, Any] = {"ok": True, "id": accepted.queue_id, "repeated": accepted.repeated}
        if request.sms is not None and fallback is not None:
            # The mail is taken; what is said now of the message is news, and no reason to hand the mail in again.
            wrong = await fallback.keep(accepted.queue_id, request.sms, str(peer))
            if wrong is not None:
                reply["sms_refused"] = wrong
        return {**reply, "refused": dict(accepted.refused)} if accepted.refused else reply


def _wishes(request: Send) -> dict[str, str]:
    """What the outbox keeps of what the sender wants to hear."""
    try:
        Envelope(sender=request.sender, recipients=request.recipients, envid=request.envid)
        notices = {one: _notice(*said) for one, said in request.notices.items()}
    except ValueError as error:
        raise Refusal("5.5.4", str(error)) from None
    if request.ret not in ("", "full", "hdrs"):
        raise Refusal("5.5.4", "ret is full or hdrs")
    return to_meta(request.ret, request.envid, notices, require_tls=request.require_tls)


def _notice(wishes: Any, original: str) -> Notice:
    if not set(wishes) <= set(get_args(Wish)):
        raise ValueError("a notice is about never, success, failure or delay")
    return Notice(notify=wishes, orcpt=original)


class SubmissionFactory(RequestFactory[Send | Query]):
    """Makes the connections of one submission socket; messages that are arriving share a budget of memory.

    :param reactor: the clock of deadlines.
    :param peer: transport -> UnixPeer.
    """

    def __init__(
        self, desk: Desk, rules: SubmissionRules, reactor: IReactorTime, peer: Callable[[Any], UnixPeer] = unix_peer
    ) -> None:
        super().__init__(
            partial(RequestReader, max_message=rules.max_message, max_recipients=rules.max_recipients),
            desk.answer,
            reactor,
            deadline=rules.deadline,
            refuse=desk.refuse,
            room=Budget(rules.memory).take,
            peer=peer,
        )
        self.rules = rules
