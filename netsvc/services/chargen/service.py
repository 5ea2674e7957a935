"""Makes a character generator from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from netsvc.interfaces import IRuntime
from netsvc.services.chargen.protocol import ChargenFactory, ChargenResponder
from netsvc.services.chargen.settings import ChargenSettings


def make_service(settings: ChargenSettings, runtime: IRuntime) -> IService:
    """A character generator on the listeners of its section."""
    service: IService = runtime.serve(settings, stream=ChargenFactory(), datagram=ChargenResponder())
    return service
