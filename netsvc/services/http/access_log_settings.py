"""The options of the access log, which the settings of the http kind inherit. Imports no Twisted."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class AccessLogSettings:
    """What is recorded of requests."""
