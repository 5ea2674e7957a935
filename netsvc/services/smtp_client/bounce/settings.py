"""Options of the notices that netsvc writes itself: bounces and delays. No Twisted."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option

HOUR = 3600.0
DAY = 24 * HOUR


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class NoticeSettings:
    """What senders are told."""

    bounce_from: str = option(
        values.text(longest=255),
        default="",
        help="Who notices are from; empty is MAILER-DAEMON at the origin, or at this machine.",
    )
    bounce_return: int = option(
        values.size(0, 10 << 20), default=50 << 10, help="The largest message that comes back whole with its bounce."
    )
    bounce_window: float = option(
        values.duration(0, 7 * DAY),
        default=HOUR,
        help="Identical bounces within this time are counted and told once; 0 mails each.",
    )
    delay_notice: float | None = option(
        values.optional(values.duration(1, 365 * DAY)),
        default=4 * HOUR,
        help="Age at which the sender is told that his message waits; none tells nobody.",
    )
