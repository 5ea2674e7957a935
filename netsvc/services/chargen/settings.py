"""The options of chargen: those of every server."""

from __future__ import annotations

from attrs import frozen

from netsvc.config.server import ServerSettings


@frozen(kw_only=True)
class ChargenSettings(ServerSettings):
    """Options of a character generator (RFC 864)."""
