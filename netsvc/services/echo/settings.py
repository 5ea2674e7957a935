"""The options of echo: those of every server."""

from __future__ import annotations

from attrs import frozen

from netsvc.config.server import ServerSettings


@frozen(kw_only=True)
class EchoSettings(ServerSettings):
    """Options of an echo service (RFC 862)."""
