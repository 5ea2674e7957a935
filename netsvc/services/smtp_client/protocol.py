"""A session over a Twisted transport: octets, TLS, deadlines and the body's pace, and nothing of SMTP itself.

The protocol stays at the bottom of the connection and puts TLS above itself, so that STARTTLS and implicit TLS are one
path, with an injected clock. The body is pulled: a block is encoded when the kernel has taken the one before, so
memory stays flat, and the moment at which the kernel has the final dot is known exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHandshakeListener, IPullProducer, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netsvc.net.fast_write import fast_write
from netsvc.net.plain import is_plain
from netsvc.services.smtp_client.conversation import (
    Action,
    BeginTLS,
    Close,
    Deadline,
    Finished,
    PullBody,
    Send,
    StopPulling,
)
from netsvc.services.smtp_client.session import Session
from netsvc.services.smtp_client.terms import Envelope, Outcome
from netsvc.services.smtp_client.tls_policy import Checks, handshake_problem

log = Logger()


class _TLSFactory(TLSMemoryBIOFactory):
    """Makes the TLS layer, without the aggregation of small writes: the session already joins them."""

    protocol = TLSMemoryBIOProtocol


@implementer(IHandshakeListener)
class _Above(Protocol):
    """What the TLS layer talks to."""

    def __init__(self, below: Connection) -> None:
        self._below = below

    def handshakeCompleted(self) -> None:
        self._below.tls_established()

    def dataReceived(self, data: bytes) -> None:
        self._below.session_received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._below.session_lost(reason)


def never(_: Connection) -> bool:
    """Keeps no connection."""
    return False


@implementer(IPullProducer)
class Connection(Protocol):
    """One connection to a relay, for one message after the other.

    :param session: fresh.
    :param creator: the TLS side, or None where the relay never has TLS.
    :param clock: an IReactorTime.
    :param keep: called between two messages, before the outcomes fire: True when somebody keeps the connection, who
        must then call :meth:`send` or :meth:`quit`.
    :ivar gone: fires with None once the connection is closed.
    :ivar on_end: called when a connection that is kept can carry no further message.
    """

    def __init__(
        self,
        session: Session,
        *,
        creator: Checks | None,
        clock: Any,
        keep: Callable[[Connection], bool] = never,
    ) -> None:
        self.session = session
        self.gone: Deferred[None] = Deferred()
        self.on_end: Callable[[Connection], None] | None = None
        self._creator: Any = creator
        self._clock = clock
        self._keep = keep
        self._outcomes: Deferred[tuple[Outcome, ...]] | None = None
        self._wire: Any = None
        self._tls: Any = None
        self._tls_words = ""
        self._handshaken = False
        self._deadline: Any = None
        self._pulling = False  # the body, as a producer
        self._at_once = False  # the body, without
        self._registering = False
        self._closed = False
        self._pending: deque[Action] = deque()
        self._performing = False

    def send(self, envelope: Envelope, content: bytes) -> Deferred[tuple[Outcome, ...]]:
        """Hand over a message: the first once the connection is made, another when that one is done.

        :return: a Deferred that always fires with one outcome per recipient.
        """
        self.on_end = None
        outcomes: Deferred[tuple[Outcome, ...]] = Deferred()
        self._outcomes = outcomes
        self._perform(self.session.begin(envelope, content))
        return outcomes

    def quit(self) -> None:
        """End the connection politely: nobody sends on it any more."""
        self.on_end = None
        self._perform(self.session.quit())

    # Twisted's side.

    def connectionMade(self) -> None:
        self._wire = self.transport
        if ITCPTransport.providedBy(self._wire):
            self._wire.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.dataReceived(data)
        else:
            self.session_received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        if self._tls is not None:
            self._tls.connectionLost(reason)  # which tells session_lost, with the better reason
        else:
            self.session_lost(reason)
        self._set_deadline(None)
        self.gone.callback(None)

    def resumeProducing(self) -> None:
        """The kernel has taken everything."""
        if self._registering:
            return
        if self._wire.disconnecting:
            # TLS has ended underneath; while a producer is registered the transport would not close.
            self._stop_pulling()
            return
        self._perform(self.session.body_wanted())

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""
        self._pulling = False

    # The session's side.

    def session_received(self, data: bytes) -> None:
        """Octets for the session, in clear or decrypted."""
        self._perform(self.session.receive(data))
        self._look()

    def tls_established(self) -> None:
        """The TLS handshake is done."""
        if self._creator.problem is not None:
            return  # the certificate was looked at behind the handshake, and the connection is being cut
        self._handshaken = True
        connection = self._tls.getHandle()
        how = f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
        self._tls_words = f"{how} {self.session.trust}"
        log.debug(
            "{tls} with {peer}", event="smtp-tls-established", tls=self._tls_words, peer=str(self._wire.getPeer())
        )
        self._perform(self.session.tls_established())

    def session_lost(self, reason: Failure) -> None:
        """The connection, or the TLS on it, is gone."""
        if self._tls is not None and not self._handshaken:
            text, enhanced = handshake_problem(self._creator, reason.value), "4.7.5"
        elif reason.check(ConnectionDone):
            text, enhanced = "the server closed the connection", "4.4.2"
        else:
            text, enhanced = "the connection was lost", "4.4.2"
        self._perform(self.session.connection_lost(text, enhanced))
        self._look()

    def _look(self) -> None:
        """A kept connection on which something happened is of no use any more."""
        if self.on_end is not None and not self.session.usable:
            on_end, self.on_end = self.on_end, None
            on_end(self)
            self._perform(self.session.quit())

    def cancel(self) -> None:
        """Give up now: the outcomes fire as if the connection were lost."""
        self._perform([*self.session.connection_lost("the delivery was stopped here", "4.3.2"), Close(abort=True)])

    # Actions, in order, also when one of them causes more.

    def _perform(self, actions: list[Action]) -> None:
        self._pending.extend(actions)
        if self._performing:
            return
        self._performing = True
        try:
            while self._pending:
                self._do(self._pending.popleft())
        finally:
            self._performing = False

    def _do(self, action: Action) -> None:
        match action:
            case Send(data):
                self._write(data)
            case Deadline(seconds):
                self._set_deadline(seconds)
            case BeginTLS():
                self._begin_tls()
            case PullBody():
                self._pull()
            case StopPulling():
                self._stop_pulling()
            case Finished(outcomes):
                self._finish(outcomes)
            case Close(abort):
                self._close(abort)

    def _begin_tls(self) -> None:
        factory = _TLSFactory(self._creator, True, Factory.forProtocol(lambda: _Above(self)), self._clock)
        self._tls = factory.buildProtocol(self._wire.getPeer())
        self._tls.makeConnection(self._wire)

    def _write(self, data: bytes) -> None:
        if self._tls is not None or self._pulling:  # a producer is asked again only after what was queued
            (self._tls or self._wire).write(data)
            return
        taken = fast_write(self._wire, data)
        if self._at_once:
            if taken:
                self._pending.extend(self.session.body_wanted())
            else:
                self._at_once = False
                self._register()

    def _pull(self) -> None:
        """Give the body block by block: at once while the kernel takes each whole, else when it has taken the last."""
        self._at_once = self._tls is None and is_plain(self._wire)
        if self._at_once:
            self._pending.extend(self.session.body_wanted())
        else:
            self._pulling = True
            self._wire.registerProducer(self, streaming=False)

    def _register(self) -> None:
        self._registering = True  # the transport asks for more at once, but has not written what it has
        try:
            self._pulling = True
            self._wire.registerProducer(self, streaming=False)
        finally:
            self._registering = False

    def _stop_pulling(self) -> None:
        self._at_once = False
        if self._pulling:
            self._pulling = False
            self._wire.unregisterProducer()

    def _finish(self, outcomes: tuple[Outcome, ...]) -> None:
        if self.session.fault is not None:
            log.failure(
                "a delivery broke off by a fault of ours", failure=Failure(self.session.fault), event="smtp-fault"
            )
        if not (self.session.usable and not self.session.spent and self._keep(self)):
            self._pending.extend(self.session.quit())
        deferred, self._outcomes = self._outcomes, None
        if deferred is not None:
            via = self.session.via
            deferred.callback(tuple(evolve(outcome, via=via, tls=self._tls_words) for outcome in outcomes))

    def _close(self, abort: bool) -> None:
        self._stop_pulling()
        if self._closed:
            return
        if abort:
            self._set_deadline(None)
            self._closed = True
            self._wire.abortConnection()
        else:
            (self._tls or self._wire).loseConnection()

    def _set_deadline(self, seconds: float | None) -> None:
        waiting = self._deadline is not None and self._deadline.active()
        if seconds is None or self._closed:
            if waiting:
                self._deadline.cancel()
            self._deadline = None
        elif waiting:
            self._deadline.reset(seconds)  # at less cost than another
        else:
            self._deadline = self._clock.callLater(seconds, self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._perform(self.session.deadline_passed())


class ConnectionFactory(Factory):
    """Makes a Connection for each attempt; of several in parallel only one goes on."""

    noisy = False

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._make()
