"""Makes a greeter from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from netsvc.interfaces import IRuntime
from netsvc.services.greeter.protocol import GreeterFactory
from netsvc.services.greeter.settings import GreeterSettings
from netsvc.services.greeter.wire import LINE_ENDS, Script


def make_service(settings: GreeterSettings, runtime: IRuntime) -> IService:
    """A greeter on the listeners of its section."""
    script = Script(
        welcome=settings.welcome,
        reply=settings.reply,
        exit=settings.exit,
        limit=settings.limit,
        refusal=settings.refusal,
        line_end=LINE_ENDS[settings.line_end],
    )
    factory = GreeterFactory(script, close=settings.close, pause=settings.pause, clock=runtime.reactor)
    service: IService = runtime.serve(settings, stream=factory)
    return service
