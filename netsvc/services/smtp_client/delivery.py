"""One message to one relay over one connection: every recipient gets exactly one outcome, and nothing ever raises."""

from __future__ import annotations

from typing import Any

from attrs import evolve
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
from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.services.smtp_client.protocol import Delivery, DeliveryFactory
from netsvc.services.smtp_client.replies import clean
from netsvc.services.smtp_client.session import Session
from netsvc.services.smtp_client.terms import Envelope, Outcome, Relay, Result, Timeouts
from netsvc.services.smtp_client.tls_policy import RelayTLS, TLSPolicyError

__all__ = ["Envelope", "Outcome", "Relay", "Result", "Timeouts", "deliver"]

log = Logger()

_STOPPED = "the delivery was stopped here"


def deliver(
    reactor: Any,
    relay: Relay,
    envelope: Envelope,
    content: bytes,
    *,
    helo_name: str,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
) -> Deferred[tuple[Outcome, ...]]:
    """Hand a message to a relay.

    :param reactor: connects, resolves and keeps the time.
    :param content: header and body, with any line ends; it is canonicalised, and mended where the relay needs that.
    :param helo_name: how this machine calls itself, a domain or address literal (RFC 5321 4.1.1.1).
    :return: a Deferred of one outcome per recipient, in their order. It never fails; to cancel it stops the delivery
        and fires it, with ``ambiguous`` if the final dot was out.
    """
    return _Attempt(reactor, relay, envelope, content, helo_name=helo_name, timeouts=timeouts).begin()


class _Attempt:
    """The way to one set of outcomes: one connection, or a second without TLS where TLS was optional and failed."""

    def __init__(
        self,
        reactor: Any,
        relay: Relay,
        envelope: Envelope,
        content: bytes,
        *,
        helo_name: str,
        timeouts: Timeouts,
    ) -> None:
        self._reactor = reactor
        self._relay = relay
        self._envelope = envelope
        self._content = content
        self._helo_name = helo_name
        self._timeouts = timeouts
        self._connecting: Deferred[Any] | None = None
        self._delivery: Delivery | None = None
        self._done: Deferred[tuple[Outcome, ...]] = Deferred(lambda _: self._cancel())
        self._cancelled = False

    def begin(self) -> Deferred[tuple[Outcome, ...]]:
        if self._envelope.recipients:
            self._connect()
        else:
            self._done.callback(())
        return self._done

    def _connect(self) -> None:
        relay = self._relay
        try:
            creator = RelayTLS(relay) if relay.implicit or relay.tls != "none" else None
        except TLSPolicyError as error:
            self._retry(str(error), "4.7.5", "tls")
            return

        def make() -> Delivery:
            session = Session(relay, helo_name=self._helo_name, timeouts=self._timeouts)
            return Delivery(session, self._envelope, self._content, creator=creator, clock=self._reactor)

        try:
            self._connecting = self._endpoint().connect(DeliveryFactory(make))
        except Exception:  # noqa: BLE001 - this must never raise
            self._not_connected(Failure())
            return
        self._connecting.addTimeout(self._timeouts.connect, self._reactor, _timed_out)
        self._connecting.addCallbacks(self._connected, self._not_connected)

    def _endpoint(self) -> IStreamClientEndpoint:
        host, port, limit = self._relay.host, self._relay.port, self._timeouts.connect
        if isIPAddress(host):
            return TCP4ClientEndpoint(self._reactor, host, port, timeout=limit)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self._reactor, host, port, timeout=limit)
        # Tries IPv6 and IPv4 in turn, 0.3 s apart; the first that connects wins (RFC 8305).
        return HostnameEndpoint(self._reactor, host, port, timeout=limit)

    def _connected(self, delivery: Any) -> None:
        self._connecting = None
        self._delivery = delivery
        delivery.outcomes.addCallback(self._decided, delivery)

    def _decided(self, outcomes: tuple[Outcome, ...], delivery: Delivery) -> None:
        if delivery.session.tls_failed and not self._cancelled:
            # RFC 7435 3: opportunistic means that the message would have gone in clear as well. Nothing of it was sent.
            log.info(
                "TLS with {host} failed and is optional, going on in clear: {reason}",
                event="smtp-tls-fallback",
                host=self._relay.host,
                reason=outcomes[0].text,
            )
            self._relay = evolve(self._relay, tls="none")
            self._connect()
            return
        self._done.callback(outcomes)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        text, enhanced = (_STOPPED, "4.3.2") if self._cancelled else _connect_problem(failure)
        if enhanced == "4.3.0":
            log.failure("a connection could not be tried", failure=failure, event="smtp-fault")
        where = f"{self._relay.host} port {self._relay.port}"
        self._retry(f"{where}: {text}", enhanced, "connect")

    def _retry(self, text: str, enhanced: str, phase: str) -> None:
        self._done.callback(
            tuple(
                Outcome(recipient, "retry", None, enhanced, clean(text), phase)
                for recipient in self._envelope.recipients
            )
        )

    def _cancel(self) -> None:
        self._cancelled = True
        if self._connecting is not None:
            self._connecting.cancel()
        elif self._delivery is not None:
            self._delivery.cancel()


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
