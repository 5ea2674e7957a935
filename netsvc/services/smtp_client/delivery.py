"""One message to one relay over one connection: every recipient gets exactly one outcome, and nothing ever raises."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from netsvc.services.smtp_client.terms import Envelope, Outcome, Relay, Timeouts

__all__ = ["Envelope", "Outcome", "Relay", "Timeouts", "deliver"]


def deliver(
    reactor: Any,
    relay: Relay,
    envelope: Envelope,
    content: bytes,
    *,
    helo_name: str,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
) -> Deferred[tuple[Outcome, ...]]:
    """Hand a message to a relay; a Deferred of one outcome per recipient, in their order. It never fails."""
    raise NotImplementedError
