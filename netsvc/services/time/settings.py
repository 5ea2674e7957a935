"""The options of time: those of every server."""

from __future__ import annotations

from attrs import frozen

from netsvc.config.server import ServerSettings


@frozen(kw_only=True)
class TimeSettings(ServerSettings):
    """Options of a time service (RFC 868)."""
