"""The HTTP endpoint on a transport: who may post is decided at the head; 202 means that the message is on the disk.

One request at a time on each connection; while it is worked on, and while the peer does not read its answers, nothing
more is read. A request has a deadline for arriving whole. What is refused before it is read ends the connection, after
a moment in which what still comes is thrown away, so that the peer can take the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.config.secrets import Secret
from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.allowance import Allowance
from netsvc.services.smtp_client.endpoint.order import Posted, admit, read
from netsvc.services.smtp_client.endpoint.problem import Problem, problem_of
from netsvc.services.smtp_client.endpoint.wire import Connection, Head, Over, Part
from netsvc.services.smtp_client.intake import Intake
from netsvc.services.smtp_client.memory import Budget
from netsvc.services.smtp_client.wishes import to_meta

IDLE = 60.0  # seconds that a connection is kept for the next request
LINGER = 2.0  # seconds in which a peer may take its last answer
SMALL = 1 << 16  # octets of a body that is read in the reactor's thread
JSON_COPIES = 3  # of a message in memory while it is made: the JSON, what it means, and what is built of it


@frozen(kw_only=True)
class EndpointRules:
    """What may be posted.

    :param deadline: seconds for a request to arrive whole.
    :param in_thread: (function, arguments ...) -> Deferred of its result.
    :param wall_clock: seconds since 1970.
    :param memory: octets of all requests that are arriving at the same time.
    """

    token: Secret
    max_message: int
    max_recipients: int
    deadline: float
    in_thread: Callable[..., Deferred[Any]]
    wall_clock: Callable[[], float]
    memory: int = 256 << 20

    @property
    def max_body(self) -> int:
        """Octets of a body: a message in base64 is a third longer, and the rest of the JSON is small."""
        return self.max_message * 4 // 3 + (1 << 20)


@implementer(IHalfCloseableProtocol, IPushProducer)
class EndpointProtocol(Protocol):
    """One connection. As a producer it is its own output."""

    def __init__(self, factory: EndpointFactory, host: str | None) -> None:
        self._home = factory
        self._submitter = f"http:{host or 'local'}"
        self._wire = Connection()
        self._allowance = Allowance(factory.budget)
        self._posted: Posted | None = None
        self._body = bytearray()
        self._timer: Any = None
        self._working = False  # a request waits for memory, or for its answer
        self._peer_reads = True
        self._half_closed = False
        self._ending = False  # the last answer is written
        self._closed = False

    # Twisted's calls

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._home.connections.add(self)
        transport.registerProducer(self, True)
        self._wait(IDLE)

    def dataReceived(self, data: bytes) -> None:
        if self._closed or self._ending:
            return
        self._wire.receive(data)
        self._go_on()

    def readConnectionLost(self) -> None:
        """The peer will send no more; what it is owed it still gets."""
        if self._ending:
            self._close()
        elif not self._half_closed and not self._closed:
            self._half_closed = True
            self._wire.receive(b"")
            self._go_on()

    def writeConnectionLost(self) -> None:
        """Our direction is closed: by us, after the last answer, or because the peer will read no more."""
        if not self._ending:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._home.connections.discard(self)
        self._stop_timer()
        self._allowance.give_back()

    def pauseProducing(self) -> None:
        """The peer does not read."""
        self._peer_reads = False

    def resumeProducing(self) -> None:
        """It does again."""
        self._peer_reads = True
        self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # Ours

    def drain(self) -> None:
        """Take no further request than the one that is under way."""
        if not self._closed and not self._ending and not self._working and self._posted is None and self._wire.idle:
            self._close()

    def _go_on(self) -> None:
        while not (self._closed or self._ending or self._working) and self._peer_reads:
            try:
                event = self._wire.next()
                if event is None:
                    self._wait(self._home.rules.deadline if not self._wire.idle else IDLE)
                    return
                if isinstance(event, Over):
                    self._close()
                elif isinstance(event, Head):
                    self._begin(event)
                elif isinstance(event, Part):
                    self._take(event.octets)
                else:
                    self._answer()
            except Problem as problem:
                self._refuse(problem)

    def _begin(self, head: Head) -> None:
        rules, transport = self._home.rules, self.transport
        token = rules.token.reveal().encode()
        self._stop_timer()
        self._wait(rules.deadline)
        posted = admit(head.method, head.target, head.headers, token=token, largest=rules.max_body)
        self._posted = posted
        length = posted.length
        if length is not None and posted.is_json:
            length *= JSON_COPIES
        if self._allowance.ask(length, self._room_is_there):
            self._say(self._wire.go_ahead())
        else:
            self._working = True
            transport.pauseProducing()  # type: ignore[union-attr]

    def _room_is_there(self) -> None:
        transport: Any = self.transport
        self._working = False
        self._say(self._wire.go_ahead())
        transport.resumeProducing()
        self._go_on()

    def _take(self, octets: bytes) -> None:
        self._body += octets
        if len(self._body) > self._home.rules.max_body:
            raise Problem(413, "5.3.4", f"the body is larger than {self._home.rules.max_body} octets")
        if not self._allowance.covers(len(self._body)):
            raise problem_of(Refusal("4.3.1", "too many messages arrive at the same time; try again later"))

    def _answer(self) -> None:
        transport: Any = self.transport
        posted, body = self._posted, bytes(self._body)
        assert posted is not None  # noqa: S101 - a head came before its end
        self._posted, self._body = None, bytearray()
        self._working = True
        self._stop_timer()
        transport.pauseProducing()
        done = Deferred.fromCoroutine(self._hand_in(posted, body))
        del body
        done.addCallback(self._answered)

    async def _hand_in(self, posted: Posted, body: bytes) -> bytes:
        """Hand a message in; the answer."""
        home, close = self._home, self._half_closed or self._home.draining
        try:
            order = await self._read(posted, body)
            del body
            try:
                accepted = await home.intake.take(
                    submitter=self._submitter,
                    sender=order.sender,
                    recipients=order.recipients,
                    content=order.content,
                    key=order.key,
                    meta={"protocol": "HTTP", **to_meta("", "", {}, require_tls=order.require_tls)},
                )
            except Refusal as refusal:
                raise problem_of(refusal) from None
        except Problem as problem:
            return self._wire.refuse(problem, close=close)
        except Exception:  # noqa: BLE001 - one request's fault must not become the daemon's
            home.log.failure("a request failed by a fault of ours", event="mail-submission-fault")
            fault = Refusal("4.3.0", "a fault in the daemon; its log says more")
            return self._wire.refuse(problem_of(fault), close=close)
        said: dict[str, Any] = {"id": accepted.queue_id, "repeated": accepted.repeated}
        if accepted.refused:
            said["refused"] = dict(accepted.refused)
        return self._wire.answer(202, said, close=close)

    def _read(self, posted: Posted, body: bytes) -> Deferred[Any]:
        rules = self._home.rules
        limits: dict[str, Any] = {
            "now": datetime.fromtimestamp(rules.wall_clock(), UTC),
            "max_message": rules.max_message,
            "max_recipients": rules.max_recipients,
        }
        run = rules.in_thread if posted.is_json and len(body) > SMALL else maybeDeferred
        return run(read, posted, body, **limits)

    def _answered(self, octets: bytes) -> None:
        transport: Any = self.transport
        self._working = False
        self._allowance.give_back()
        if self._closed:
            return
        self._say(octets)
        if not self._wire.begin_next():
            self._end()
            return
        transport.resumeProducing()
        self._wait(IDLE)
        # From a new turn of the reactor, so that one peer with many requests does not keep the others waiting.
        self._home.reactor.callLater(0, self._go_on)

    def _refuse(self, problem: Problem) -> None:
        """Answer before the request is whole, and end the connection: what still comes of it is not looked at."""
        code, text = problem.code, problem.detail
        self._home.intake.refused(Refusal(code, text), self._submitter)
        self._say(self._wire.refuse(problem, close=True))
        self._end()

    def _too_slow(self) -> None:
        self._timer = None
        if self._posted is None and self._wire.idle:
            self._close()
        else:
            self._refuse(Problem(408, "4.4.2", f"the request did not arrive within {self._home.rules.deadline:g} s"))

    def _say(self, octets: bytes) -> None:
        if octets:
            transport: Any = self.transport
            transport.write(octets)

    def _end(self) -> None:
        """The last answer is written; the peer may take it and close."""
        transport: Any = self.transport
        if self._half_closed or ISSLTransport.providedBy(transport):
            self._close()
            return
        self._ending = True
        self._stop_timer()
        self._allowance.give_back()
        self._body = bytearray()
        transport.unregisterProducer()
        transport.resumeProducing()
        transport.loseWriteConnection()
        self._timer = self._home.reactor.callLater(LINGER, self._close)

    def _wait(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._home.reactor.callLater(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_timer()
        self._allowance.give_back()
        transport: Any = self.transport
        if not self._ending:
            transport.unregisterProducer()
        transport.loseConnection()


class EndpointFactory(Factory):
    """Makes the connections of one endpoint.

    :param reactor: the clock of deadlines.
    """

    noisy = False

    def __init__(self, intake: Intake, rules: EndpointRules, reactor: IReactorTime) -> None:
        self.intake = intake
        self.rules = rules
        self.reactor: Any = reactor
        self.budget = Budget(rules.memory)
        self.log = Logger(namespace=__name__)
        self.connections: set[EndpointProtocol] = set()
        self.draining = False

    def buildProtocol(self, addr: Any) -> EndpointProtocol:
        """A protocol for a connection."""
        return EndpointProtocol(self, getattr(addr, "host", None))

    def drain(self) -> None:
        """Let requests that are under way be answered, and take nothing new."""
        self.draining = True
        for one in tuple(self.connections):
            one.drain()
