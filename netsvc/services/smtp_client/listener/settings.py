"""Options of the submission listener. No Twisted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.endpoint_fields import Arguments, listen_line, split_fields
from netsvc.config.listen import ListenAddress, endpoints
from netsvc.config.options import Context, ValueType, option
from netsvc.config.tls import TLS_ARGUMENTS, TlsPlace, read_tls, tls_fields
from netsvc.services.smtp_client.reach import in_clear_from_afar, unusable


def tls_place() -> ValueType[TlsPlace]:
    """Where certificates are, in the words of a ``tls:`` listen line."""

    def parse(text: str, context: Context) -> TlsPlace:
        return read_tls(Arguments(split_fields(text), TLS_ARGUMENTS, positional=0), context)

    return ValueType(
        name="certificates",
        bounds="directory=PATH, or privateKey=FILE:certKey=FILE[:extraCertChain=FILE]",
        parse=parse,
        show=lambda place: listen_line(False, **tls_fields(place)),
    )


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class ListenerSettings:
    """The submission listener, for programs that speak SMTP."""

    submission_listen: tuple[ListenAddress, ...] = option(
        endpoints(),
        default=(),
        help="Endpoints that take mail in by SMTP, one a line, such as tcp:2525:interface=127.0.0.1 or tls:465.",
    )
    submission_users: Path | None = option(
        values.path(),
        default=None,
        help="htpasswd file (see 'netsvc htpasswd') of who may send; without it, everybody on this machine may.",
    )
    submission_tls: TlsPlace | None = option(
        tls_place(), default=None, help="Certificates for STARTTLS on the endpoints that begin in clear."
    )


def listener_faults(settings: ListenerSettings) -> Iterator[tuple[str, str]]:
    """What cannot stand together: (key, message) each."""
    for address in settings.submission_listen:
        if fault := unusable(address):
            yield "submission_listen", fault
        elif in_clear_from_afar(address) and settings.submission_tls is None:
            yield (
                "submission_listen",
                f"{address} is open to other machines, where passwords would cross in clear: "
                "use a loopback interface or tls:, or set submission_tls",
            )
        elif in_clear_from_afar(address, or_tls=True) and settings.submission_users is None:
            yield "submission_listen", f"{address} is open to other machines: set submission_users"
    if settings.submission_tls is not None and not settings.submission_listen:
        yield "submission_tls", "without submission_listen there is nothing to protect"
