"""The record of requests: one event or one line of a file each, whatever became of it. Peers' text is escaped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from netsvc.interfaces import IMetrics
from netsvc.services.http.access_log.file import AccessLogFile
from netsvc.services.http.access_log.lines import Format, Record, line_format
from netsvc.services.http.access_log.settings import AccessLogSettings
from netsvc.services.http.exchange import RequestHead

log = Logger()


class AccessLog(Protocol):
    """Where requests are recorded."""

    def open(self) -> None:
        """Be ready, before privileges are dropped.

        :raise StartError: that is not possible.
        """

    def request(
        self,
        peer: str,
        head: RequestHead,
        status: int,
        octets: int,
        *,
        request_id: str = "",
        aborted: bool = False,
        user: str = "",
        seconds: float | None = None,
        port: int = 0,
        secure: bool = False,
    ) -> None:
        """A request was answered.

        :param octets: of the answer's body that were sent, without framing.
        :param request_id: the word by which other events name the request; "" when there can be none.
        :param aborted: the answer is not whole.
        :param seconds: from the head to the end of the answer; None when it was answered at once from memory.
        :param secure: it came over TLS.
        """

    def bad_request(self, peer: str, status: int, reason: str, request_id: str) -> None:
        """What came was no request, or not in time.

        :param reason: one phrase.
        """

    def close(self) -> Deferred[None]:
        """The last request is over."""


class EventLog:
    """Records requests in the daemon's own log."""

    def open(self) -> None:
        """There is nothing to open."""

    def request(
        self,
        peer: str,
        head: RequestHead,
        status: int,
        octets: int,
        *,
        request_id: str = "",
        aborted: bool = False,
        user: str = "",
        seconds: float | None = None,
        port: int = 0,  # noqa: ARG002
        secure: bool = False,  # noqa: ARG002
    ) -> None:
        """As :meth:`AccessLog.request`."""
        text = "{peer} {method} {target} {status} {octets}" + (" aborted" if aborted else "")
        if request_id and status >= 400:  # the page of an error shows it, too
            text += " (request {request_id})"
        log.info(
            text,
            event="http-request-aborted" if aborted else "http-request",
            peer=peer or "-",
            method=head.method,
            target=head.target.decode("ascii", "backslashreplace"),
            status=status,
            octets=octets,
            request_id=request_id,
            user=user,
            seconds=seconds,
        )

    def bad_request(self, peer: str, status: int, reason: str, request_id: str) -> None:
        """As :meth:`AccessLog.bad_request`."""
        log.info(
            "{peer} {status} {reason} (request {request_id})",
            event="http-bad-request",
            peer=peer or "-",
            status=status,
            reason=reason,
            request_id=request_id,
        )

    def close(self) -> Deferred[None]:
        """There is nothing to close."""
        return succeed(None)


class FileLog:
    """Records requests in a file.

    :param file: takes the lines.
    :param line: makes them.
    :param now: seconds since the epoch.
    """

    def __init__(self, file: AccessLogFile, line: Format, now: Callable[[], float] = time.time) -> None:
        self._line = line
        self._now = now
        self._add = file.add
        self.open = file.open
        self.close = file.close

    def request(
        self,
        peer: str,
        head: RequestHead,
        status: int,
        octets: int,
        *,
        request_id: str = "",
        aborted: bool = False,
        user: str = "",
        seconds: float | None = None,
        port: int = 0,
        secure: bool = False,
    ) -> None:
        """As :meth:`AccessLog.request`."""
        self._add(
            self._line(
                Record(
                    when=self._now(),
                    peer=peer,
                    status=status,
                    head=head,
                    octets=octets,
                    request_id=request_id,
                    aborted=aborted,
                    user=user,
                    seconds=seconds,
                    port=port,
                    secure=secure,
                )
            )
        )

    def bad_request(self, peer: str, status: int, reason: str, request_id: str) -> None:
        """As :meth:`AccessLog.bad_request`."""
        self._add(self._line(Record(when=self._now(), peer=peer, status=status, request_id=request_id, reason=reason)))


def access_log(
    settings: AccessLogSettings,
    *,
    clock: Any,
    in_thread: Callable[..., Deferred[Any]],
    metrics: IMetrics,
    service: str,
) -> AccessLog | None:
    """The access log that the settings ask for.

    :param clock: IReactorTime.
    :param in_thread: (function, argument) -> Deferred of its result.
    :param service: the section's name.
    """
    if settings.access_log is False:
        return None
    if settings.access_log is True:
        return EventLog()
    file = AccessLogFile(settings.access_log, clock=clock, in_thread=in_thread, metrics=metrics, service=service)
    return FileLog(file, line_format(settings.access_log_format))
