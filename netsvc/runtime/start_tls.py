"""TLS that a service begins in the middle of a conversation, as STARTTLS does, with certificates that are watched."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from netsvc.config.tls import TlsPlace
from netsvc.errors import StartError
from netsvc.interfaces import IMetrics
from netsvc.runtime.certificate_watch import CertificateWatch
from netsvc.runtime.tls import ConnectionCreator, context_maker


class StartTls(Service):
    """The certificates of one place, for connections that begin in clear.

    privilegedStartService reads them or raises StartError.

    :param service: the section's name.
    """

    def __init__(self, place: TlsPlace, *, service: str, reactor: Any, metrics: IMetrics) -> None:
        self._service = service
        self._watch = CertificateWatch(place, service=service, reactor=reactor, metrics=metrics)
        self._loaded = False

    def privilegedStartService(self) -> None:
        if self._loaded:
            return
        try:
            self._watch.load(context_maker(None, self._watch.context))
        except StartError as error:
            raise StartError("\n".join(f"[{self._service}] {line}" for line in str(error).splitlines())) from None
        self._loaded = True

    def startService(self) -> None:
        self.privilegedStartService()  # a service added to a running daemon is started without it
        super().startService()  # type: ignore[no-untyped-call]
        self._watch.start()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._watch.stop()
        return None

    def begin(self, transport: Any) -> None:
        """Begin TLS as the server; what is written from now on is sent under it."""
        transport.startTLS(ConnectionCreator(self._watch))
