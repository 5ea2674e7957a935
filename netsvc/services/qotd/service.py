"""Makes a quote-of-the-day service from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from netsvc.interfaces import IRuntime
from netsvc.services.qotd.book import Book
from netsvc.services.qotd.protocol import QotdFactory, QotdResponder
from netsvc.services.qotd.settings import QotdSettings


def make_service(settings: QotdSettings, runtime: IRuntime) -> IService:
    """A quote-of-the-day service on the listeners of its section. Raises StartError for an unusable file."""
    book = Book(settings.file, runtime.reactor.seconds, runtime.in_thread)
    service: IService = runtime.serve(settings, stream=QotdFactory(book), datagram=QotdResponder(book))
    return service
