"""The options of the warm interpreter, which the options of CGI inherit. Imports no Twisted."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class WarmSettings:
    """Which scripts run warm."""
