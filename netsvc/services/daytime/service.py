"""Makes a daytime service from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from netsvc.interfaces import IRuntime
from netsvc.services.daytime.protocol import DaytimeFactory, DaytimeResponder
from netsvc.services.daytime.settings import DaytimeSettings
from netsvc.services.daytime.wire import formatter


def make_service(settings: DaytimeSettings, runtime: IRuntime) -> IService:
    """A daytime service on the listeners of its section."""
    line = formatter(settings.format, settings.timezone)
    service: IService = runtime.serve(settings, stream=DaytimeFactory(line), datagram=DaytimeResponder(line))
    return service
