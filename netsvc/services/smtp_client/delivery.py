"""One message to the first of its relays that will speak about it: one outcome per recipient, and nothing ever raises.

A connection may be an old one (:mod:`.pool`). When that turns out dead before the server took anything of the message,
a fresh one is made, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.services.smtp_client.auth.token import TokenError
from netsvc.services.smtp_client.pool import Pool
from netsvc.services.smtp_client.protocol import Connection, ConnectionFactory, never
from netsvc.services.smtp_client.replies import clean
from netsvc.services.smtp_client.routing.dane_tls import relay_tls
from netsvc.services.smtp_client.session import Session
from netsvc.services.smtp_client.terms import Envelope, Outcome, Relay, Result, Timeouts
from netsvc.services.smtp_client.tls_policy import Checks, TLSPolicyError
from netsvc.services.smtp_client.tokens import Given, Tokens

__all__ = ["PRELIMINARY", "Envelope", "Outcome", "Relay", "Result", "Timeouts", "deliver"]

log = Logger()

# Phases in which nothing was said about a message, so that another relay may be asked at once.
PRELIMINARY = frozenset({"connect", "greeting", "ehlo", "starttls", "tls", "auth"})

# Servers that may put one message off, or break off at it, until it waits, ours; as Postfix's smtp_mx_session_limit.
MAX_SESSIONS = 2

_STOPPED = "the delivery was stopped here"


def deliver(
    reactor: Any,
    relays: Relay | Sequence[Relay],
    envelope: Envelope,
    content: bytes,
    *,
    helo_name: str,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    pool: Pool | None = None,
    tokens: Tokens | None = None,
) -> Deferred[tuple[Outcome, ...]]:
    """Hand a message to a relay, or to the first of several that will speak about it.

    A recipient about whom one relay has said nothing yet (his outcome's phase is among PRELIMINARY) has the next one
    at once; so has a message that one puts off at MAIL, or breaks off at before the end (RFC 5321 5.1), but for the
    other addresses of that host, and until MAX_SESSIONS have done so.

    :param reactor: connects, resolves and keeps the time.
    :param relays: best first.
    :param content: header and body, with any line ends; it is canonicalised, and mended where the relay needs that.
    :param helo_name: how this machine calls itself, a domain or address literal (RFC 5321 4.1.1.1).
    :param pool: keeps connections between messages; without it each is closed.
    :param tokens: keeps tokens of relays' token commands; without it one is fetched for this delivery.
    :return: a Deferred of one outcome per recipient, in their order. It never fails; to cancel it stops the delivery
        and fires it, with ``ambiguous`` if the final dot was out.
    """
    means = _Means(reactor, helo_name, timeouts, pool, tokens or Tokens(reactor, partial(_in_thread, reactor)))
    return _Delivery(means, (relays,) if isinstance(relays, Relay) else tuple(relays), envelope, content).begin()


def _in_thread(reactor: Any, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)


@frozen
class _Means:
    """What a delivery works with."""

    reactor: Any
    helo_name: str
    timeouts: Timeouts
    pool: Pool | None
    tokens: Tokens


class _Delivery:
    """The way to one set of outcomes, over as many relays as it takes."""

    def __init__(self, means: _Means, relays: tuple[Relay, ...], envelope: Envelope, content: bytes) -> None:
        self._means = means
        self._relays = list(reversed(relays))
        self._envelope = envelope
        self._content = content
        self._outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        self._cancelled = False
        self._put_off = 0  # sessions
        self._attempt: _Attempt | None = None
        self._done: Deferred[tuple[Outcome, ...]] = Deferred(lambda _: self._cancel())

    def begin(self) -> Deferred[tuple[Outcome, ...]]:
        if not self._relays:
            text = "there is no relay to hand it to"
            self._outcomes = [
                Outcome(one, "retry", None, "4.4.4", text, "connect") for one in self._envelope.recipients
            ]
        self._go_on(list(range(len(self._outcomes))))
        return self._done

    def _go_on(self, which: list[int]) -> None:
        """Try the next relay for these, if there are any of either."""
        if not which or not self._relays or self._cancelled:
            self._done.callback(tuple(outcome for outcome in self._outcomes if outcome is not None))
            return
        recipients = tuple(self._envelope.recipients[at] for at in which)
        envelope = evolve(self._envelope, recipients=recipients)
        relay = self._relays.pop()
        self._attempt = _Attempt(self._means, relay, envelope, self._content)
        self._attempt.begin().addCallback(self._tried, which, relay)

    def _tried(self, outcomes: tuple[Outcome, ...], which: list[int], relay: Relay) -> None:
        again, put_off = [], False
        for at, outcome in zip(which, outcomes, strict=True):
            before = self._outcomes[at]
            if before is None or not _tells_less(outcome, before):
                self._outcomes[at] = outcome
            if outcome.phase in PRELIMINARY:
                again.append(at)
            elif _is_put_off(outcome):
                put_off = True
                again.append(at)
        if put_off:
            self._put_off += 1
            # The host has spoken; by another of its addresses it would say the same.
            self._relays = [one for one in self._relays if (one.host, one.port) != (relay.host, relay.port)]
            if self._put_off >= MAX_SESSIONS:
                self._relays = []
        if again and self._relays and not self._cancelled:
            log.info(
                "{via} cannot be used now, going on to the next: {reason}",
                event="smtp-next-relay",
                via=outcomes[which.index(again[0])].via,
                reason=outcomes[which.index(again[0])].text,
            )
        self._go_on(again)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._attempt is not None:
            self._attempt.cancel()


def _is_put_off(outcome: Outcome) -> bool:
    """Whether a host took the message not now, and has said nothing of its recipient."""
    broke_off = outcome.code is None and outcome.enhanced == "4.4.2" and outcome.phase in {"rcpt", "data", "body"}
    return outcome.result == "retry" and (outcome.phase == "mail" or broke_off)


def _tells_less(outcome: Outcome, before: Outcome) -> bool:
    """Whether what one relay brought says less about a recipient than what another had brought before."""
    if outcome.phase not in PRELIMINARY:
        return False
    # One relay that will never do says nothing against another that did not answer; nor does one that cannot be
    # used against one that spoke about the message.
    return before.phase not in PRELIMINARY or (outcome.result == "permanent" and before.result == "retry")


class _Attempt:
    """One relay: a kept connection or a fresh one; another when the kept one was dead, or optional TLS failed."""

    def __init__(self, means: _Means, relay: Relay, envelope: Envelope, content: bytes) -> None:
        self._means = means
        self._relay = relay
        self._envelope = envelope
        self._content = content
        self._creator: Checks | None = None
        self._token: Given | None = None
        self._waiting: Deferred[Any] | None = None  # for a token or a connection
        self._connection: Connection | None = None
        self._done: Deferred[tuple[Outcome, ...]] = Deferred()
        self._cancelled = False

    def begin(self) -> Deferred[tuple[Outcome, ...]]:
        pool = self._means.pool
        kept = pool.take(self._key) if pool is not None else None
        if kept is not None:
            self._send(kept)
        else:
            self._prepare()
        return self._done

    def cancel(self) -> None:
        self._cancelled = True
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._connection is not None:
            self._connection.cancel()

    @property
    def _key(self) -> tuple[Relay, str]:
        return self._relay, self._means.helo_name

    def _prepare(self) -> None:
        """See to TLS and to the token before anything is connected."""
        relay = self._relay
        try:
            self._creator = relay_tls(relay) if relay.implicit or relay.tls != "none" else None
        except TLSPolicyError as error:
            self._retry(str(error), "4.7.5", "tls")
            return
        self._token = None
        if relay.username is None or not relay.token_command:
            self._connect()
            return
        self._waiting = self._means.tokens.get(relay)
        self._waiting.addCallbacks(self._have_token, self._no_token)

    def _have_token(self, token: Given) -> None:
        self._token = token
        self._connect()

    def _no_token(self, failure: Failure) -> None:
        self._waiting = None
        if self._cancelled:
            self._retry(_STOPPED, "4.3.2", "auth")
        elif failure.check(TokenError):
            self._retry(failure.getErrorMessage(), "4.7.0", "auth")
        else:
            log.failure("a token command could not be tried", failure=failure, event="smtp-fault")
            self._retry(f"an internal error ({type(failure.value).__name__})", "4.3.0", "auth")

    def _connect(self) -> None:
        token = self._token.secret if self._token is not None else None
        means, keep = self._means, self._means.pool.keep if self._means.pool is not None else never

        def make() -> Connection:
            session = Session(self._relay, helo_name=means.helo_name, timeouts=means.timeouts, token=token)
            return Connection(session, creator=self._creator, clock=means.reactor, keep=keep)

        try:
            self._waiting = self._endpoint().connect(ConnectionFactory(make))
        except Exception:  # noqa: BLE001 - this must never raise
            self._not_connected(Failure())
            return
        self._waiting.addTimeout(means.timeouts.connect, means.reactor, _timed_out)
        self._waiting.addCallbacks(self._connected, self._not_connected)

    def _endpoint(self) -> IStreamClientEndpoint:
        reactor, limit = self._means.reactor, self._means.timeouts.connect
        host, port = self._relay.address or self._relay.host, self._relay.port
        if isIPAddress(host):
            return TCP4ClientEndpoint(reactor, host, port, timeout=limit)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(reactor, host, port, timeout=limit)
        # Tries IPv6 and IPv4 in turn, 0.3 s apart; the first that connects wins (RFC 8305).
        return HostnameEndpoint(reactor, host, port, timeout=limit)

    def _connected(self, connection: Connection) -> None:
        if self._means.pool is not None:
            self._means.pool.add(connection, self._key)
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        self._waiting = None
        self._connection = connection
        connection.send(self._envelope, self._content).addCallback(self._decided, connection)

    def _decided(self, outcomes: tuple[Outcome, ...], connection: Connection) -> None:
        self._connection = None
        if connection.session.stale and not self._cancelled:
            # Nothing of the message was taken; one that is fresh cannot be stale.
            log.debug("a kept connection to {via} was dead", event="smtp-stale", via=str(self._relay))
            self._prepare()
            return
        if connection.session.login_refused and self._token is not None:
            self._means.tokens.refused(self._relay, self._token.secret)
            if not self._token.fresh and not self._cancelled:
                log.info("{via} refused a token, asking for another", event="smtp-token-refused", via=str(self._relay))
                self._prepare()
                return
        if connection.session.tls_failed and not self._cancelled:
            # RFC 7435 3: opportunistic means that the message would have gone in clear as well. Nothing of it was sent.
            log.info(
                "TLS with {host} failed and is optional, going on in clear: {reason}",
                event="smtp-tls-fallback",
                host=self._relay.host,
                reason=outcomes[0].text,
            )
            self._relay = evolve(self._relay, tls="none")
            self._prepare()
            return
        self._done.callback(outcomes)

    def _not_connected(self, failure: Failure) -> None:
        self._waiting = None
        text, enhanced = (_STOPPED, "4.3.2") if self._cancelled else _connect_problem(failure)
        if enhanced == "4.3.0":
            log.failure("a connection could not be tried", failure=failure, event="smtp-fault")
        address = f" ({self._relay.address})" if self._relay.address else ""
        self._retry(f"{self._relay.host}{address} port {self._relay.port}: {text}", enhanced, "connect")

    def _retry(self, text: str, enhanced: str, phase: str) -> None:
        via = str(self._relay)
        self._done.callback(
            tuple(
                Outcome(recipient, "retry", None, enhanced, clean(text), phase, via=via)
                for recipient in self._envelope.recipients
            )
        )


class _ConnectTimedOut(Exception):  # noqa: N818 - as Twisted's own
    """Look-up and connection together took too long."""


def _timed_out(_: object, seconds: float) -> Any:
    raise _ConnectTimedOut(f"no connection within {seconds:g} seconds")


def _connect_problem(failure: Failure) -> tuple[str, str]:
    """Words and RFC 3463 status for a connection that never came to be."""
    error = failure.value
    if failure.check(_ConnectTimedOut):
        return str(error), "4.4.1"
    if failure.check(DNSLookupError):
        return "the name has no address, or the look-up failed", "4.4.4"
    if failure.check(ConnectionRefusedError):
        return "the connection was refused", "4.4.1"
    if failure.check(ConnectTimeout, TCPTimedOutError):
        return "the connection attempt took too long", "4.4.1"
    if failure.check(NoRouteError):
        return "there is no route to it", "4.4.1"
    if failure.check(ConnectError, OSError):
        return f"the connection failed: {getattr(error, 'osError', None) or error}", "4.4.1"
    if failure.check(ValueError):
        return "this is not a usable host name", "4.4.4"
    return f"an internal error ({type(error).__name__})", "4.3.0"
