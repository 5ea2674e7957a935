"""Tells a peer what the store refused: a status, and the house's error page, or problem details (RFC 9457) as JSON."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from netsvc.filestore import errors
from netsvc.services.http.answer import reason_phrase
from netsvc.services.http.exchange import Headers
from netsvc.services.http.pages import NOSNIFF
from netsvc.services.http.static.encodings import preferred_type

log = Logger()

HTML = b"text/html"
JSON = b"application/json"
PROBLEM = b"application/problem+json"
RETRY = 5  # seconds after which a peer may try again what the machine was too busy for

_STATUS: dict[type[errors.StoreError], int] = {
    errors.NotFoundError: 404,
    errors.ExistsError: 409,
    errors.BadNameError: 400,
    errors.NotPermittedError: 403,
    errors.WrongTypeError: 409,
    errors.NotEmptyError: 409,
    errors.TooLargeError: 413,
    errors.QuotaError: 507,
    errors.NoSpaceError: 507,
    errors.MismatchError: 400,
    errors.ChangedError: 412,
    errors.StaleError: 409,
    errors.OffsetError: 409,
    errors.BusyError: 503,
    errors.BrokenError: 500,
}


class RefusedError(Exception):
    """A request is refused by this room itself.

    :param reason: one phrase for the peer.
    """

    def __init__(self, status: int, reason: str, headers: Headers = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


def status_of(error: BaseException | None) -> int:
    """The status that says what an error means to the peer."""
    if isinstance(error, RefusedError):
        return error.status
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def refuse(exchange: Any, error: BaseException | None, status: int | None = None, headers: Headers = ()) -> None:
    """Answer an exchange with an error. Those that are the house's own fault are logged.

    :param error: a StoreError, a RefusedError, or a fault of ours: that is 500, and its text stays here.
    :param status: another status than the error's own.
    :param headers: more fields of the answer.
    """
    reason = error.reason if isinstance(error, errors.StoreError | RefusedError) else None
    if status is None:
        status = status_of(error)
    if isinstance(error, RefusedError):
        headers = (*error.headers, *headers)
    if status == 503:
        headers = (*headers, (b"Retry-After", b"%d" % RETRY))
    if reason is None:
        log.failure(
            "a request could not be answered: {request_id}",
            Failure(error),
            event="http-upload-failed",
            request_id=exchange.request_id,
        )
    elif status >= 500:
        facts = {
            "path": exchange.head.path.decode("latin-1"),
            "reason": reason,
            "request_id": exchange.request_id,
        }
        if isinstance(error, errors.QuotaError):  # the account's own affair
            log.warn("{path}: {reason} (request {request_id})", event="http-upload-refused", **facts)
        else:
            log.error("{path}: {reason} (request {request_id})", event="http-upload-refused", **facts)
    if preferred_type(exchange.head.all(b"accept"), (HTML, PROBLEM, JSON)) in (PROBLEM, JSON):
        problem = {"title": reason_phrase(status), "status": status, "detail": reason, "request": exchange.request_id}
        body = json.dumps({key: value for key, value in problem.items() if value}, ensure_ascii=False).encode()
        exchange.answer(status, ((b"Content-Type", PROBLEM), NOSNIFF, *headers), body)
    else:
        exchange.refuse(status, _sentence(reason or "") if status < 500 else None, headers)


def _sentence(reason: str) -> str | None:
    return reason[:1].upper() + reason[1:] or None
