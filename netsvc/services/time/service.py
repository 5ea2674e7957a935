"""Makes a time service from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from netsvc.interfaces import IRuntime
from netsvc.services.time.protocol import TimeFactory, TimeResponder
from netsvc.services.time.settings import TimeSettings


def make_service(settings: TimeSettings, runtime: IRuntime) -> IService:
    """A time service on the listeners of its section."""
    service: IService = runtime.serve(settings, stream=TimeFactory(), datagram=TimeResponder())
    return service
