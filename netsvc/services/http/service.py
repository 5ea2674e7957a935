"""Builds the http service: settings and runtime -> routes, scripts, factory, listeners."""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import inlineCallbacks

from netsvc.errors import StartError
from netsvc.interfaces import IRuntime
from netsvc.services.http.access_log import AccessLog, access_log
from netsvc.services.http.cgi.engine import CgiEngine
from netsvc.services.http.factory import HttpFactory
from netsvc.services.http.paths import Policy
from netsvc.services.http.ready import ReadyAnswers
from netsvc.services.http.routes import Routes, Site
from netsvc.services.http.settings import HttpSettings
from netsvc.services.http.static import StaticFiles


def policy_of(settings: HttpSettings) -> Policy:
    """What may be served, by the settings."""
    return Policy(
        follow=settings.follow_symlinks,
        dotfiles=settings.dotfiles,
        cgi=frozenset(os.fsencode(name) for name in settings.cgi_directories),
        index=tuple(os.fsencode(name) for name in settings.index),
    )


class HttpService(MultiService):
    """The listeners and the scripts: first the connections end, then what is left of the scripts.

    :param docroot: must be a directory when the service starts.
    :param record: the access log.
    """

    def __init__(
        self, settings: HttpSettings, listeners: Any, engine: CgiEngine | None, record: AccessLog | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._settings = settings
        self._engine = engine
        self._record = record
        listeners.setServiceParent(self)

    def privilegedStartService(self) -> None:
        docroot = self._settings.docroot
        if not docroot.is_dir():
            raise StartError(f"the docroot {docroot} is not a directory")
        if self._record is not None:
            self._record.open()
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    @inlineCallbacks
    def stopService(self) -> Any:
        yield super().stopService()  # type: ignore[no-untyped-call]
        if self._engine is not None:
            yield self._engine.stop()
        if self._record is not None:
            yield self._record.close()


def make_service(settings: HttpSettings, runtime: IRuntime) -> IService:
    """The service of one [http] section."""
    ready = ReadyAnswers(settings.cache)
    static = StaticFiles(ready, settings.cache_file, time.time)
    site = Site(settings.docroot.absolute(), policy_of(settings), settings.listing)
    routes = Routes(site, static)
    engine = None
    if settings.cgi_directories:
        engine = CgiEngine(
            settings,
            runtime.reactor,
            runtime.metrics,
            service=runtime.name,
            state_directory=runtime.state_directory,
            route=routes.route,
        )
        routes.run_script = engine.run
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
    return HttpService(settings, runtime.serve(settings, stream=factory), engine, record)
