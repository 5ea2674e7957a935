"""Makes what answers at each place of an http section: each thing once, for as many places as share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netsvc.config.options import options
from netsvc.config.scopes import Prefix
from netsvc.errors import StartError
from netsvc.interfaces import IRuntime
from netsvc.services.http.auth.authenticator import Authentication, Authenticator
from netsvc.services.http.auth.settings import AuthSettings
from netsvc.services.http.cgi.engine import CgiEngine
from netsvc.services.http.listing.lists import Listings
from netsvc.services.http.mount.resource import MountedResource
from netsvc.services.http.mount.settings import MountSettings
from netsvc.services.http.site.error_pages import ErrorPages
from netsvc.services.http.site.paths import Decision
from netsvc.services.http.site.routes import Equipment
from netsvc.services.http.site.sites import Place, Sites, credentials_of
from netsvc.services.http.site.style import AnswerStyle, own_error_page
from netsvc.services.http.static.files import StaticFiles
from netsvc.services.http.static.ready import ReadyAnswers
from netsvc.services.http.upload.offers import file_fields
from netsvc.services.http.upload.settings import is_guarded
from netsvc.services.http.upload.stores import Stores
from netsvc.services.http.upload.uploads import Uploads


class EquipmentMaker:
    """Called with a place, gives its Equipment.

    :param settings: the HttpSettings of the section.
    :param sites: what URLs mean.
    :param ready: answers from memory.
    :param route: answers an exchange anew, for local redirects of scripts.
    """

    def __init__(
        self,
        settings: Any,
        runtime: IRuntime,
        sites: Sites,
        ready: ReadyAnswers,
        route: Callable[[Any], None],
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._sites = sites
        self._ready = ready
        self._route = route
        self.engines: dict[Prefix, CgiEngine] = {}
        self.authentication = Authentication(
            clock=runtime.reactor, in_thread=runtime.in_thread, metrics=runtime.metrics, service=runtime.name
        )
        self.mounted: dict[tuple[object, ...], MountedResource] = {}
        self.stores = Stores()
        self._uploads = Uploads(self.stores, runtime.in_disk_thread, runtime.reactor, settings.max_body)
        self._authenticators: dict[tuple[object, ...], Authenticator | None] = {}

    def __call__(self, place: Place) -> Equipment:
        """What answers at a place.

        :raises StartError: it is one that should not be: what scopes of hosts inherit is known only here.
        """
        if place.settings.upload and not is_guarded(place.settings, self._settings.listen):
            raise StartError(f"{place} would take files from anybody: set an auth_file, or say upload_anonymous = yes")
        engine = self._engine(place)
        return Equipment(
            style=self._style(place),
            static=StaticFiles(place.settings, self._ready, self._runtime.reactor, fields=file_fields(place.settings)),
            listings=self._listings(place),
            run_script=None if engine is None else engine.run,
            authenticator=self._authenticator(place.settings),
            mounted=self._mounted(place.settings),
            uploads=self._uploads if place.settings.upload else None,
        )

    def _listings(self, place: Place) -> Listings:
        runtime, uploads = self._runtime, self._uploads
        if not place.settings.upload:
            return Listings(place.policy, place.settings, runtime.in_thread, runtime.reactor)
        return Listings(
            place.policy,
            place.settings,
            runtime.in_thread,
            runtime.reactor,
            offers=lambda exchange: uploads.offers(place, exchange.user),
            kept_digest=lambda user, names, file, found: uploads.kept_digest(place, user, names, file, found),
        )

    def _style(self, place: Place) -> AnswerStyle:
        fields = tuple((name.encode("ascii"), value.encode("ascii")) for name, value in place.settings.headers)
        page = own_error_page
        if place.settings.error_pages:
            page = ErrorPages(place.settings.error_pages, lambda path: self._look(place, path)).page
        return AnswerStyle(fields=fields, error_page=page)

    def _authenticator(self, settings: AuthSettings) -> Authenticator | None:
        """Places that ask for the same have one gate: who passed it at one may go to the other."""
        key = credentials_of(settings)
        if key not in self._authenticators:
            self._authenticators[key] = self.authentication.authenticator(settings)
        return self._authenticators[key]

    def _mounted(self, settings: MountSettings) -> MountedResource | None:
        """One resource, with its sessions, for all places that mount the same."""
        if settings.mount is None:
            return None
        key = tuple(getattr(settings, one.key) for one in options(MountSettings))
        if key not in self.mounted:
            self.mounted[key] = MountedResource(settings, self._runtime.reactor, self._runtime.in_thread)
        return self.mounted[key]

    def _look(self, place: Place, path: bytes) -> Decision:
        found = self._sites.find(place.host, path)
        return found[1] if isinstance(found, tuple) else self._sites.look(found)[1]

    def _engine(self, place: Place) -> CgiEngine | None:
        """The engine of the scope that said something of CGI last: its limits hold for all below it together."""
        if not place.settings.cgi_directories:
            return None
        key = place.cgi_at
        if key not in self.engines:
            self.engines[key] = CgiEngine(
                place.settings,
                self._runtime.reactor,
                self._runtime.metrics,
                service=self._runtime.name,
                state_directory=self._runtime.state_directory,
                route=self._route,
                pipes=self._runtime.streams,
            )
        return self.engines[key]
