"""Daytime: the date and the time of day for people, in one line."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="daytime",
    summary="Sends the date and time as one line of text.",
    source="RFC 867",
    settings="netsvc.services.daytime.settings:DaytimeSettings",
    make_service="netsvc.services.daytime.service:make_service",
)
