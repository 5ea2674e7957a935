"""The options of HTTP/2, which the settings of the http kind inherit. Imports no Twisted."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class Http2Settings:
    """What an HTTP/2 connection may do."""
