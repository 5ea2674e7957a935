"""The submission listener on a transport: deadlines, memory, flow control, TLS, and the outbox behind the final dot.

While an event of the conversation is worked on, or the peer does not read its replies, no further command is obeyed,
and nothing is read from that peer but what one read brings. At the end what the peer still sends is read and thrown
away for a moment, since a close with unread input is a reset, which may cost it the last reply; a peer that said QUIT
sends nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.addresses import canonical
from netsvc.net.fast_write import fast_write
from netsvc.net.json_lines import Refusal
from netsvc.net.last_words import say_and_close
from netsvc.services.smtp_client.allowance import Allowance
from netsvc.services.smtp_client.intake import Intake, take_key
from netsvc.services.smtp_client.listener.deadline import Deadline
from netsvc.services.smtp_client.listener.events import End, Event, Login, Message, Room, StartTls, Terms
from netsvc.services.smtp_client.listener.login import Logins
from netsvc.services.smtp_client.listener.wire import Conversation
from netsvc.services.smtp_client.memory import Budget

HANDSHAKE = 30.0  # seconds for the TLS handshake behind STARTTLS
LINGER = 2.0  # seconds in which a peer may take its last reply

_LOGIN_REFUSALS = {
    "refused": (535, "5.7.8", "the name or the password is wrong"),
    "limited": (454, "4.7.0", "too many attempts; try again later"),
    "busy": (454, "4.7.0", "too busy to check a password; try again later"),
}


@frozen(kw_only=True)
class ListenerRules:
    """What one listener needs to know.

    :param deadline: seconds for each command, and for each message to arrive whole.
    :param logins: None where nobody logs in.
    :param start_tls: begins TLS on a transport; None where there is no certificate.
    :param memory: octets of all messages that are arriving at the same time.
    """

    terms: Terms
    deadline: float
    logins: Logins | None = None
    start_tls: Callable[[Any], None] | None = None
    memory: int = 256 << 20


@implementer(IHalfCloseableProtocol, IPushProducer)
class ListenerProtocol(Protocol):
    """One connection. As a producer it is its own output."""

    def __init__(self, factory: ListenerFactory, host: str | None) -> None:
        self._home = factory
        self._host = host
        self._wire: Any = None
        self._allowance = Allowance(factory.budget)
        self._deadline = Deadline(factory.reactor)
        self._working = False  # an event waits for its answer
        self._paused = False  # nothing is read
        self._peer_reads = True
        self._half_closed = False
        self._handshaking = False
        self._ending = False  # the last reply is written
        self._closed = False

    # Twisted's calls

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._home.connections.add(self)
        address = canonical(self._host)
        secure = bool(ISSLTransport.providedBy(transport))
        near = address is None or address.is_loopback
        self._wire = Conversation(self._home.rules.terms, secure=secure, near=near)
        transport.registerProducer(self, True)
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        if self._closed or self._ending:
            return
        self._handshaking = False
        self._wire.receive(data)
        self._go_on()

    def readConnectionLost(self) -> None:
        """The peer will send no more; what it is owed it still gets."""
        self._half_closed = True
        if self._ending:
            self._close()
        else:
            self._go_on()

    def writeConnectionLost(self) -> None:
        """Our direction is closed: by us, after the last reply, or because the peer will read no more."""
        if not self._ending:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._home.connections.discard(self)
        self._deadline.end()
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
        """Finish the transaction that is open, if one is, and end."""
        self._wire.shut_down()
        self._go_on()

    def _go_on(self) -> None:
        if self._closed or self._ending or self._handshaking:
            return
        if self._working or not self._peer_reads:
            self._read_no_more()
            return
        event = self._wire.next()
        if event is None:
            self._look_at_memory()
        if isinstance(event, End) and event.said_all:
            self._take_leave()
            return
        self._say()
        if event is not None:
            self._work(event)
        elif self._half_closed:
            self._close()
        else:
            self._wait()

    def _work(self, event: Event) -> None:
        if isinstance(event, End):
            self._end()
            return
        if isinstance(event, StartTls):
            self._begin_tls()
            return
        self._working = True
        if isinstance(event, Room):
            if self._allowance.ask(event.octets, self._room_is_there):
                self._room_is_there()
            else:
                self._deadline.begin(self._home.rules.deadline, self._too_slow)
                self._read_no_more()
            return
        self._deadline.stop()
        self._read_no_more()
        Deferred.fromCoroutine(self._log_in(event) if isinstance(event, Login) else self._take(event))

    def _read_no_more(self) -> None:
        """What is read has to wait: so has all that the peer still sends."""
        if self._wire.unread and not self._paused:
            self._paused = True
            transport: Any = self.transport
            transport.pauseProducing()

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            transport: Any = self.transport
            transport.resumeProducing()

    def _room_is_there(self) -> None:
        self._wire.go_ahead()
        self._answered()

    async def _log_in(self, event: Login) -> None:
        logins = self._home.rules.logins
        assert logins is not None  # noqa: S101 - the terms say whether there are users
        verdict = await logins.check(event.user, event.password, self._host)
        if verdict == "accepted":
            self._wire.logged_in(event.user)
        else:
            self._wire.login_refused(*_LOGIN_REFUSALS[verdict])
        self._answered()

    async def _take(self, event: Message) -> None:
        try:
            try:
                key, content = take_key(event.content)
            except Refusal as refusal:
                raise self._home.intake.refused(refusal, self._submitter) from None
            accepted = await self._home.intake.take(
                submitter=self._submitter,
                sender=event.sender,
                recipients=event.recipients,
                content=content,
                key=key,
                meta=event.meta,
            )
        except Refusal as refusal:
            self._wire.refused(refusal)
        else:
            self._wire.taken(accepted.queue_id, repeated=accepted.repeated, suppressed=accepted.refused)
        finally:
            self._allowance.give_back()
        self._answered()

    @property
    def _submitter(self) -> str:
        user, host = self._wire.user, self._host or "local"
        return f"smtp:{host}" if user is None else f"smtp:{user}@{host}"

    def _answered(self) -> None:
        self._working = False
        self._deadline.stop()
        if self._closed:
            return
        # From a new turn of the reactor, so that one peer with many messages does not keep the others waiting.
        self._say()
        if self._wire.unread or self._wire.closed or self._half_closed or self._home.draining:
            self._home.reactor.callLater(0, self._go_on)
        else:
            self._wait()

    def _begin_tls(self) -> None:
        start_tls = self._home.rules.start_tls
        assert start_tls is not None  # noqa: S101 - the terms say whether there is a certificate
        self._wire.secured()
        self._handshaking = True
        self._read_on()
        self._deadline.begin(HANDSHAKE, self._too_slow)
        start_tls(self.transport)

    def _look_at_memory(self) -> None:
        held = self._wire.held
        if not held:
            self._allowance.give_back()
        elif not self._allowance.covers(held):
            self._wire.no_room()

    def _say(self) -> None:
        octets = self._wire.output()
        if octets:
            self._deadline.stop()  # what was asked for in time is answered; the time for the next begins
            fast_write(self.transport, octets)

    def _wait(self) -> None:
        """For more of the peer."""
        self._read_on()
        if not self._deadline.runs:
            self._deadline.begin(self._home.rules.deadline, self._too_slow)

    def _too_slow(self) -> None:
        if self._ending:
            self._close()
            return
        if self._handshaking:
            transport: Any = self.transport
            transport.abortConnection()
            return
        self._working = False
        self._wire.time_out()
        self._say()
        self._end()

    def _end(self) -> None:
        """The last reply is written; the peer may take it and close."""
        transport: Any = self.transport
        if self._half_closed or ISSLTransport.providedBy(transport) or getattr(transport, "TLS", False):
            self._close()
            return
        self._ending = True
        self._allowance.give_back()
        transport.unregisterProducer()
        self._read_on()
        transport.loseWriteConnection()
        self._deadline.begin(LINGER, self._too_slow)

    def _take_leave(self) -> None:
        """The peer said QUIT: the last reply and the end of the connection leave together."""
        octets = self._wire.output()
        self._let_go()
        say_and_close(self.transport, octets)

    def _close(self) -> None:
        if not self._closed:
            self._let_go()
            transport: Any = self.transport
            transport.loseConnection()

    def _let_go(self) -> None:
        self._closed = True
        self._deadline.end()
        self._allowance.give_back()
        if not self._ending:
            transport: Any = self.transport
            transport.unregisterProducer()


class ListenerFactory(Factory):
    """Makes the connections of one submission listener.

    :param reactor: the clock of deadlines.
    """

    noisy = False

    def __init__(self, intake: Intake, rules: ListenerRules, reactor: IReactorTime) -> None:
        self.intake = intake
        self.rules = rules
        self.reactor: Any = reactor
        self.budget = Budget(rules.memory)
        self.connections: set[ListenerProtocol] = set()
        self.draining = False

    def buildProtocol(self, addr: Any) -> ListenerProtocol:
        """A protocol for a connection."""
        return ListenerProtocol(self, getattr(addr, "host", None))

    def drain(self) -> None:
        """Let transactions that are open finish, and take nothing new."""
        self.draining = True
        for one in tuple(self.connections):
            one.drain()
