"""Time: the seconds since 1900 in 32 bits."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="time",
    summary="Sends the time as 32 bits.",
    source="RFC 868",
    settings="netsvc.services.time.settings:TimeSettings",
    make_service="netsvc.services.time.service:make_service",
)
