"""The options of HTTP/2, which the settings of the http kind inherit. Imports no Twisted."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class Http2Settings:
    """What an HTTP/2 connection may do."""

    http2: bool = option(values.boolean(), default=True, help="Offer HTTP/2 to peers that come by TLS.")
    http2_max_streams: int = option(
        values.integer(1, 1000),
        default=100,
        help="The most requests of one HTTP/2 connection at a time; also the most that it may have cut whose scripts "
        "have not ended yet.",
    )
    http2_body_window: int = option(
        values.size(64 << 10, 16 << 20),
        default=256 << 10,
        help="How much of the body of an HTTP/2 request may wait in memory for who takes it; a connection has four "
        "times as much in all.",
    )
