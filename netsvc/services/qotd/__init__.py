"""Quote of the day: one short quote, then the end."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="qotd",
    summary="Sends one quote and closes.",
    source="RFC 865",
    settings="netsvc.services.qotd.settings:QotdSettings",
    make_service="netsvc.services.qotd.service:make_service",
)
