"""The record of requests: one event each, whatever became of it. Peers' text goes into fields, which are escaped."""

from __future__ import annotations

from twisted.logger import Logger

from netsvc.services.http.exchange import RequestHead

log = Logger()


def log_request(
    peer: str, head: RequestHead, status: int, octets: int, *, request_id: str = "", aborted: bool = False
) -> None:
    """A request was answered.

    :param octets: of the answer's body that were sent, without framing.
    :param request_id: the word by which other events name the request; "" when there can be none.
    :param aborted: the answer is not whole.
    """
    log.info(
        "{peer} {method} {target} {status} {octets}" + (" aborted" if aborted else ""),
        event="http-request-aborted" if aborted else "http-request",
        peer=peer,
        method=head.method,
        target=head.target.decode("ascii", "backslashreplace"),
        status=status,
        octets=octets,
        request_id=request_id,
    )


def log_bad_request(peer: str, status: int, reason: str, request_id: str) -> None:
    """What came was no request, or not in time.

    :param reason: one phrase.
    """
    log.info(
        "{peer} {status} {reason}",
        event="http-bad-request",
        peer=peer,
        status=status,
        reason=reason,
        request_id=request_id,
    )
