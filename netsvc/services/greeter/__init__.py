"""Greeter: the server of the tutorials, which welcomes a peer and answers each word."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="greeter",
    summary="Welcomes a peer and answers each piece of its input.",
    settings="netsvc.services.greeter.settings:GreeterSettings",
    make_service="netsvc.services.greeter.service:make_service",
)
