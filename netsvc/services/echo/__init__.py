"""Echo: every octet comes back."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="echo",
    summary="Sends back every octet, in order.",
    source="RFC 862",
    settings="netsvc.services.echo.settings:EchoSettings",
    make_service="netsvc.services.echo.service:make_service",
)
