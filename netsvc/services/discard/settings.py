"""The options of discard."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.server import ServerSettings
from netsvc.config.values import Rate


@frozen(kw_only=True)
class DiscardSettings(ServerSettings):
    """Options of a discard service (RFC 863)."""

    log: bool = option(values.boolean(), default=False, help="Log what arrives, escaped, before it is thrown away.")
    log_rate: Rate | None = option(
        values.rate(), default=Rate(10, 1.0), help="Log lines of this service; what arrives beyond is only counted."
    )
    log_longest: int = option(
        values.size(1, 1 << 16), default=256, help="Log so much of each piece; the rest is cut off."
    )
