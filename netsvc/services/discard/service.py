"""Makes a discard service from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from netsvc.interfaces import IRuntime
from netsvc.services.discard.protocol import DiscardFactory, DiscardResponder, Record
from netsvc.services.discard.settings import DiscardSettings


def make_service(settings: DiscardSettings, runtime: IRuntime) -> IService:
    """A discard service on the listeners of its section; connections and datagrams share one log budget."""
    record = Record(settings.log_rate, settings.log_longest, runtime.reactor.seconds) if settings.log else None
    service: IService = runtime.serve(settings, stream=DiscardFactory(record), datagram=DiscardResponder(record))
    return service
