"""Takes mail in over a UNIX socket: an answer of ok means that the message is on the disk.

One request at a time on each connection; while it is worked on, nothing more is read from that peer. Messages that are
arriving share a budget of memory. A request has a deadline for arriving whole. The uid of the peer comes from the
kernel (SO_PEERCRED, unix(7)) and is who the message is from.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, get_args

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.outbox.model import NoSuchItemError, OutboxError
from netsvc.outbox.runner import Runner
from netsvc.services.smtp_client.fallback import META, Fallback
from netsvc.services.smtp_client.guide import Guide
from netsvc.services.smtp_client.intake import Intake
from netsvc.services.smtp_client.memory import Budget, Share
from netsvc.services.smtp_client.queries import Questions
from netsvc.services.smtp_client.submission_wire import (
    MalformedError,
    Query,
    Refusal,
    RequestReader,
    Send,
    encode,
    refused,
)
from netsvc.services.smtp_client.terms import Envelope, Notice, Wish
from netsvc.services.smtp_client.wishes import to_meta

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


@frozen
class Peer:
    """Who is at the other end.

    :param uid: of the process that connected; None when the kernel does not say.
    """

    uid: int | None
    pid: int = 0

    def __str__(self) -> str:
        return "unknown" if self.uid is None else f"uid:{self.uid}"


def credentials(transport: Any) -> Peer:
    """Ask the kernel who connected."""
    try:
        handle = transport.getHandle()
        octets = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError):
        return Peer(None)
    pid, uid, _ = _CREDENTIALS.unpack(octets)
    return Peer(uid, pid)


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

    async def answer(self, request: Send | Query, peer: Peer) -> dict[str, Any]:
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

    def refuse(self, refusal: Refusal, peer: Peer) -> dict[str, Any]:
        """The reply to what is not taken; logged and counted."""
        return refused(self._intake.refused(refusal, str(peer)))

    async def _take(self, request: Send, peer: Peer) -> dict[str, Any]:
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


@implementer(IHalfCloseableProtocol, IPushProducer)
class SubmissionProtocol(Protocol):
    """One connection. As a producer it is its own output: while the peer does not read, nothing more is answered."""

    def __init__(self, factory: SubmissionFactory) -> None:
        self._home = factory
        self._peer = Peer(None)
        self._reader = factory.new_reader()
        self._share: Share | None = None
        self._deadline: Any = None
        self._working = False  # a request is being answered
        self._peer_reads = True
        self._half_closed = False  # the peer will send no more
        self._draining = False  # the service stops: this request is the last
        self._closed = False

    # Twisted's calls

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._peer = self._home.credentials(transport)
        self._home.connections.add(self)
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        self._reader.feed(data)
        self._go_on()

    def readConnectionLost(self) -> None:
        """The peer will send no more; what it is owed it still gets."""
        self._half_closed = True
        self._go_on()

    def writeConnectionLost(self) -> None:
        """The peer will read no more."""
        self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._closed = True
        self._home.connections.discard(self)
        self._settle_up()

    def pauseProducing(self) -> None:
        """The peer does not read: the transport's buffer is full."""
        self._peer_reads = False

    def resumeProducing(self) -> None:
        """The buffer is empty again."""
        self._peer_reads = True
        self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # Ours

    def drain(self) -> None:
        """Take no further request than the one that is under way."""
        self._draining = True
        if not self._closed and not self._working and self._reader.idle:
            self._close()

    def _go_on(self) -> None:
        transport: Any = self.transport
        while not self._closed and not self._working and self._peer_reads:
            try:
                request = self._reader.next()
            except MalformedError as refusal:
                self._say(self._home.desk.refuse(refusal, self._peer))
                self._close()
                return
            if request is None:
                if self._half_closed:
                    self._close()
                else:
                    self._wait_for_more()
                return
            self._stop_deadline()
            self._working = True
            transport.pauseProducing()
            answer = Deferred.fromCoroutine(self._home.desk.answer(request, self._peer))
            del request
            answer.addCallback(self._answered)

    def _wait_for_more(self) -> None:
        """Part of a request is here: it has its deadline, and its octets their share of memory."""
        transport: Any = self.transport
        if not self._reader.idle and self._deadline is None:
            self._deadline = self._home.reactor.callLater(self._home.rules.deadline, self._too_slow)
        pending = self._reader.pending
        if pending is not None and self._share is None:
            self._share = self._home.budget.take(pending.length, transport.resumeProducing)
            if not self._share.granted:
                transport.pauseProducing()

    def _answered(self, reply: dict[str, Any]) -> None:
        transport: Any = self.transport
        self._working = False
        self._settle_up()
        if self._closed:
            return
        self._say(reply)
        transport.resumeProducing()
        if self._draining or (self._half_closed and self._reader.idle):
            self._close()
        elif not self._reader.idle:
            # From a new turn of the reactor, so that one peer with many requests does not keep the others waiting.
            self._home.reactor.callLater(0, self._go_on)

    def _say(self, reply: dict[str, Any]) -> None:
        transport: Any = self.transport
        transport.write(encode(reply))

    def _too_slow(self) -> None:
        self._deadline = None
        refusal = Refusal("4.4.2", f"the request did not arrive within {self._home.rules.deadline:g} s")
        self._say(self._home.desk.refuse(refusal, self._peer))
        self._close()

    def _settle_up(self) -> None:
        self._stop_deadline()
        if self._share is not None:
            share, self._share = self._share, None
            share.give_back()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._settle_up()
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()


class SubmissionFactory(Factory):
    """Makes the connections of one submission socket.

    :param reactor: the clock of deadlines.
    :param credentials: transport -> Peer.
    """

    noisy = False

    def __init__(
        self,
        desk: Desk,
        rules: SubmissionRules,
        reactor: IReactorTime,
        credentials: Callable[[Any], Peer] = credentials,
    ) -> None:
        self.desk = desk
        self.rules = rules
        self.reactor: Any = reactor
        self.credentials = credentials
        self.budget = Budget(rules.memory)
        self.connections: set[SubmissionProtocol] = set()

    def new_reader(self) -> RequestReader:
        """A reader for one connection."""
        return RequestReader(max_message=self.rules.max_message, max_recipients=self.rules.max_recipients)

    def buildProtocol(self, addr: object) -> SubmissionProtocol:  # noqa: ARG002
        """A protocol for a connection."""
        return SubmissionProtocol(self)

    def drain(self) -> None:
        """Let what is under way finish, and take nothing new."""
        for one in tuple(self.connections):
            one.drain()
