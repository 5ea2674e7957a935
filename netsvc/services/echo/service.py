"""Makes an echo service from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from netsvc.interfaces import IRuntime
from netsvc.services.echo.protocol import EchoFactory, EchoResponder
from netsvc.services.echo.settings import EchoSettings


def make_service(settings: EchoSettings, runtime: IRuntime) -> IService:
    """An echo service on the listeners of its section."""
    service: IService = runtime.serve(settings, stream=EchoFactory(), datagram=EchoResponder())
    return service
