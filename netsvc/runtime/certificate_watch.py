"""Keeps a TLS listener's certificates as their files have them: looks when peers come, and once an hour.

A look compares what stat(2) says and reads only what has changed. What cannot be used (half-written, a key that does
not belong to its certificate, not readable since privileges were dropped) leaves the one before in use. Only what is
still so at a second look is told, once; and only what is missing at a second look is dropped, because who replaces a
link may remove it first. A listener never loses its last certificate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define
from twisted.logger import Logger

from netsvc.config.tls import Tls, TlsDirectory, TlsPlace
from netsvc.errors import StartError
from netsvc.interfaces import IMetrics
from netsvc.runtime.certificates import BadCertificateError, Certificate, Identity, Source, read, sources_in
from netsvc.runtime.metrics import TLS_CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS
from netsvc.runtime.server_names import Chosen, ServerNames

log = Logger()

LOOK_EVERY = 2.0  # seconds between two looks while peers come
SETTLE = 2.0  # seconds until a look at what was not right at the last one
READS = 3  # tries to read files that change meanwhile
LOOK_ALWAYS = 3600.0  # seconds between two looks when nobody comes: what has expired is not chosen
WARN_EVERY = 24 * 3600.0  # seconds between two warnings of one certificate
WARN_BEFORE = 14 * 24 * 3600.0  # seconds; certbot renews at 30 days, so that something has failed for 16 of them


@define(eq=False)
class _Held:
    """What is known of one source.

    :param identity: of the files when they were last read, whatever came of it; None when they were not there.
    :param certificate: what is in use.
    :param fault: what is wrong with the files now; empty when all is well.
    :param told: whether that has been logged.
    :param gone: whether it was missing at the last look.
    :param warn_at: when its end may be warned of again, seconds since the epoch.
    """

    source: Source
    identity: Identity | None
    certificate: Certificate | None = None
    fault: str = ""
    told: bool = False
    gone: bool = False
    warn_at: float = 0.0


class CertificateWatch:
    """The certificates of one TLS listener.

    :param place: where they are.
    :param service: the section's name, for log and metrics.
    :param reactor: IReactorTime.
    :param now: seconds since the epoch.
    """

    def __init__(
        self,
        place: TlsPlace,
        *,
        service: str,
        reactor: Any,
        metrics: IMetrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._place = place
        self._service = service
        self._reactor = reactor
        self._now = now
        self._expiry: Any = TLS_CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS.bind(metrics)
        self._make_context: Callable[[Chosen], Any]
        self._held: dict[str, _Held] = {}
        self._names: ServerNames
        self._contexts: dict[Chosen, Any] = {}
        self._look_at = 0.0
        self._unreadable = ""  # why the directory cannot be read
        self._hourly: Any = None
        self._second_look: Any = None

    def load(self, make_context: Callable[[Chosen], Any]) -> None:
        """Read all of them for the first time.

        :param make_context: makes the OpenSSL context of some certificates, or raises BadCertificateError.
        :raise StartError: naming everything that cannot be used.
        """
        self._make_context = make_context
        try:
            found = self._sources()
        except OSError as error:
            raise StartError(f"the certificates in {self._where} cannot be read: {error.strerror}") from None
        if not found:
            raise StartError(f"there is no certificate in {self._where}")
        for source in found:
            self._try(source, _identity(source))
        faults = [held.fault for held in self._held.values() if held.fault]
        if faults:
            raise StartError("\n".join(faults))
        self._choose_anew()
        self._look_at = self._reactor.seconds() + LOOK_EVERY

    def start(self) -> None:
        """Warn, look on by itself."""
        if self._hourly is None:
            self._warn()
            self._hourly = self._reactor.callLater(LOOK_ALWAYS, self._each_hour)

    def stop(self) -> None:
        """Look no more."""
        for call in (self._hourly, self._second_look):
            if call is not None and call.active():
                call.cancel()
        self._hourly = self._second_look = None

    def context(self, name: bytes | None) -> Any:
        """The OpenSSL context for a host name, or for none."""
        return self._contexts[self._names.choose(name)]

    def look_if_due(self) -> None:
        """Look, unless that was a moment ago."""
        if self._reactor.seconds() >= self._look_at:
            self.look()

    def look(self) -> None:
        """Take over what has changed. Never raises: what is wrong is logged."""
        self._look_at = self._reactor.seconds() + LOOK_EVERY
        try:
            found = self._sources()
        except OSError as error:
            self._tell_unreadable(error.strerror or str(error))
            return
        if not found:
            self._tell_unreadable("there is no certificate in it")
            return
        self._unreadable = ""
        changed = [self._look_at_one(source) for source in found]
        changed += [self._miss(self._held[name]) for name in self._held.keys() - {source.name for source in found}]
        if any(changed):
            self._choose_anew()
            self._warn()
        if any((held.fault and not held.told) or held.gone for held in self._held.values()):
            self._look_again()

    @property
    def _where(self) -> Path:
        return self._place.directory if isinstance(self._place, TlsDirectory) else self._place.certificate

    def _sources(self) -> list[Source]:
        place = self._place
        if isinstance(place, Tls):
            chain = (place.certificate,) if place.chain is None else (place.certificate, place.chain)
            return [Source(place.certificate.name, chain, place.key)]
        return sources_in(place.directory)

    def _look_at_one(self, source: Source) -> bool:
        """Whether another certificate is in use now."""
        identity = _identity(source)
        held = self._held.get(source.name)
        if held is not None and held.source == source and held.identity == identity:
            if held.fault and not held.told:
                held.told = True
                log.error(
                    "a certificate stays as it was: {reason}",
                    event="tls-certificate-refused",
                    service=self._service,
                    certificate=source.name,
                    reason=held.fault,
                )
            held.gone = False
            return False
        return self._try(source, identity)

    def _try(self, source: Source, identity: Identity | None) -> bool:
        """Read a certificate; whether it is in use now."""
        held = self._held.get(source.name)
        if held is None:
            held = self._held[source.name] = _Held(source, identity)
        held.source = source
        held.told = held.gone = False
        for _ in range(READS):
            held.identity, held.fault = identity, ""
            try:
                certificate = read(source)
                context = self._make_context((certificate,))
            except BadCertificateError as error:
                held.fault = str(error)
            identity = _identity(source)
            if identity == held.identity:  # else it changed while it was read, and what was read may be half of each
                break
        else:
            held.fault = held.fault or f"the files of {source.name} change all the time"
        if held.fault:
            return False
        self._contexts[(certificate,)] = context
        held.certificate = certificate
        held.warn_at = 0.0
        self._expiry.set(certificate.ends, service=self._service, certificate=source.name)
        if self._hourly is not None:
            log.info(
                "certificate {certificate} is in use, for {names} until {until}",
                event="tls-certificate-loaded",
                service=self._service,
                certificate=source.name,
                names=certificate.shown_names(),
                until=_date(certificate.ends),
            )
        return True

    def _miss(self, held: _Held) -> bool:
        """A certificate is not there; whether it is not in use any more."""
        if not held.gone:
            held.gone = True
            return False
        others = any(one.certificate is not None for one in self._held.values() if one is not held)
        if held.certificate is not None and not others:
            held.gone = False
            return False
        del self._held[held.source.name]
        if held.certificate is None:
            return False
        self._expiry.remove(service=self._service, certificate=held.source.name)
        log.info(
            "certificate {certificate} is no longer there, and not in use",
            event="tls-certificate-removed",
            service=self._service,
            certificate=held.source.name,
        )
        return True

    def _look_again(self) -> None:
        if self._second_look is None and self._hourly is not None:
            self._second_look = self._reactor.callLater(SETTLE, self._looked_again)

    def _looked_again(self) -> None:
        self._second_look = None
        self.look()

    def _tell_unreadable(self, reason: str) -> None:
        if reason != self._unreadable:
            self._unreadable = reason
            log.error(
                "the certificates of {directory} stay as they were: {reason}",
                event="tls-directory-refused",
                service=self._service,
                directory=str(self._where),
                reason=reason,
            )

    def _choose_anew(self) -> None:
        """Which certificate is for which name follows from what there is, and from the time."""
        used = [held.certificate for held in self._held.values() if held.certificate is not None]
        names = ServerNames(used, self._now())
        contexts = {}
        for chosen in {(one,) for one in used} | names.every_choice():
            contexts[chosen] = self._contexts.get(chosen) or self._make_together(chosen)
        self._names, self._contexts = names, contexts

    def _make_together(self, chosen: Chosen) -> Any:
        try:
            return self._make_context(chosen)
        except BadCertificateError:  # each is right by itself
            return self._contexts[chosen[:1]]

    def _each_hour(self) -> None:
        self._hourly = self._reactor.callLater(LOOK_ALWAYS, self._each_hour)
        self.look()
        self._choose_anew()
        self._warn()

    def _warn(self) -> None:
        """Tell of those that have expired or soon will, once a day."""
        now = self._now()
        for held in self._held.values():
            certificate = held.certificate
            if certificate is None or certificate.ends - now > WARN_BEFORE or now < held.warn_at:
                continue
            held.warn_at = now + WARN_EVERY
            log.warn(
                "certificate {certificate} for {names} has expired on {until}"
                if certificate.ends < now
                else "certificate {certificate} for {names} expires on {until}",
                event="tls-certificate-expires",
                service=self._service,
                certificate=held.source.name,
                names=certificate.shown_names(),
                until=_date(certificate.ends),
            )


def _identity(source: Source) -> Identity | None:
    try:
        return source.identity()
    except OSError:
        return None


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
