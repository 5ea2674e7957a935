"""Builds the http service: settings and runtime -> routes, scripts, factory, listeners."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import gatherResults, inlineCallbacks

from netsvc.errors import StartError
from netsvc.filestore.sweeper import Sweeper
from netsvc.interfaces import IRuntime
from netsvc.services.http.access_log.log import AccessLog, access_log
from netsvc.services.http.factory import HttpFactory
from netsvc.services.http.settings import HttpSettings
from netsvc.services.http.site.equipment import EquipmentMaker
from netsvc.services.http.site.routes import Routes
from netsvc.services.http.site.sites import Sites
from netsvc.services.http.static.ready import ReadyAnswers
from netsvc.services.http.upload.sweeping import sweep


class HttpService(MultiService):
    """The listeners and the scripts: first the connections end, then what is left of the scripts.

    :param sites: their docroots must be directories when the service starts.
    :param parts: services: the listeners, and what runs beside them.
    :param equipment: what answers at them.
    :param record: the access log.
    """

    def __init__(self, sites: Sites, parts: Iterable[Any], equipment: EquipmentMaker, record: AccessLog | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sites = sites
        self._equipment = equipment
        self._record = record
        for part in parts:
            part.setServiceParent(self)

    def privilegedStartService(self) -> None:
        for place in self._sites.places:
            if not place.fixed_root.is_dir():
                where = f" (of {place})" if place.prefix or place.host else ""
                raise StartError(f"the docroot {place.fixed_root}{where} is not a directory")
        self._equipment.authentication.open()
        if self._record is not None:
            self._record.open()
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        for mounted in self._equipment.mounted.values():  # code of others: not before privileges are dropped
            mounted.start()
        super().startService()  # type: ignore[no-untyped-call]

    @inlineCallbacks
    def stopService(self) -> Any:
        yield super().stopService()  # type: ignore[no-untyped-call]
        for mounted in self._equipment.mounted.values():
            mounted.stop()
        yield gatherResults([engine.stop() for engine in self._equipment.engines.values()])
        if self._record is not None:
            yield self._record.close()


def make_service(settings: HttpSettings, runtime: IRuntime) -> IService:
    """The service of one [http] section."""
    sites = Sites(settings)
    ready = ReadyAnswers(settings.cache, settings.cache_file, sites.name_of)

    def route(exchange: Any) -> None:
        routes.route(exchange)

    maker = EquipmentMaker(settings, runtime, sites, ready, route)
    routes = Routes(sites, maker)
    record = access_log(
        settings, clock=runtime.reactor, in_thread=runtime.in_thread, metrics=runtime.metrics, service=runtime.name
    )
    factory = HttpFactory(
        settings,
        clock=runtime.reactor,
        metrics=runtime.metrics,
        service=runtime.name,
        ready=ready,
        route=routes.route,
        access_log=record,
    )
    parts: list[Any] = [runtime.serve(settings, stream=factory)]
    if any(place.settings.upload for place in sites.places):
        sweeping = partial(sweep, sites.places, maker.stores)
        parts.append(Sweeper(sweeping, runtime.in_disk_thread, runtime.reactor, runtime.name))
    return HttpService(sites, parts, maker, record)
