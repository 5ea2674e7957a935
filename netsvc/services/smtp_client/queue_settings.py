"""Options of the queue and of how hard it tries. No Twisted."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.values import Rate
from netsvc.outbox.settings import DatabaseSettings

HOUR = 3600.0


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class QueueSettings(DatabaseSettings):
    """The queue, and what one destination is spared."""

    allow_volatile: bool = option(
        values.boolean(), default=False, help="Take mail even on a disk that forgets it when the power fails."
    )
    sms_service: str = option(
        values.text(longest=100, empty=False),
        default="sms",
        help="The section that keeps the text messages of 'netsvc mail send --sms-to', such as sms:alarm.",
    )
    per_destination: int = option(
        values.integer(1, 1000), default=20, help="Deliveries to one destination at the same time."
    )
    rate_per_destination: Rate | None = option(
        values.rate(), default=None, help="Deliveries to one destination in a time; the count may go at once."
    )
    destination_failures: int = option(
        values.integer(1, 1000),
        default=3,
        help="So many failed connections in a row, and a destination is left alone for a while.",
    )
    destination_retry_first: float = option(
        values.duration(1, HOUR), default=60.0, help="How long at first; each next time is twice as long."
    )
    destination_retry_longest: float = option(
        values.duration(1, 24 * HOUR), default=HOUR / 2, help="And how long at most."
    )
    keep_connections: int = option(
        values.integer(0, 1000), default=20, help="Connections kept for the next message; 0 keeps none."
    )
    keep_idle: float = option(
        values.duration(0.1, 300), default=5.0, help="How long a kept connection waits for its next message."
    )
    messages_per_connection: int = option(
        values.integer(1, 100_000), default=100, help="Messages on one connection before a fresh one is made."
    )
