"""Options of the HTTP endpoint. No Twisted."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from netsvc.config.listen import ListenAddress, endpoints
from netsvc.config.options import option
from netsvc.config.secrets import Secret, secret
from netsvc.services.smtp_client.reach import in_clear_from_afar, unusable

MIN_TOKEN = 16  # characters: fewer can be guessed


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class EndpointSettings:
    """The HTTP endpoint, for programs that speak HTTP."""

    http_listen: tuple[ListenAddress, ...] = option(
        endpoints(),
        default=(),
        help="Endpoints that take POST /v1/messages, one a line, such as tcp:8025:interface=127.0.0.1 or tls:8443.",
    )
    http_token: Secret | None = option(
        secret(), default=None, help="What a program shows to post a message: 'Authorization: Bearer TOKEN'."
    )


def endpoint_faults(settings: EndpointSettings) -> Iterator[tuple[str, str]]:
    """What cannot stand together: (key, message) each."""
    for address in settings.http_listen:
        if fault := unusable(address):
            yield "http_listen", fault
        elif in_clear_from_afar(address):
            yield (
                "http_listen",
                f"{address} is open to other machines, where the token would cross in clear: "
                "use a loopback interface or tls:",
            )
    if bool(settings.http_listen) != (settings.http_token is not None):
        yield ("http_token" if settings.http_token is not None else "http_listen"), "http_listen needs a http_token"
    if settings.http_token is not None:
        token = settings.http_token.reveal()
        if len(token) < MIN_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
            yield "http_token", f"a token has {MIN_TOKEN} visible ASCII characters at least"
