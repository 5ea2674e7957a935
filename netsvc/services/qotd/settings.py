"""The options of qotd."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.server import ServerSettings


@frozen(kw_only=True)
class QotdSettings(ServerSettings):
    """Options of a quote-of-the-day service (RFC 865)."""

    file: Path | None = option(
        values.path(),
        default=None,
        help="Quotes, separated by lines with a single % or, where there are none, by blank lines; "
        "it is read again when it changes. Without it a few proverbs are told.",
    )
