"""Discard: reads everything and answers nothing."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="discard",
    summary="Throws away whatever arrives.",
    source="RFC 863",
    settings="netsvc.services.discard.settings:DiscardSettings",
    make_service="netsvc.services.discard.service:make_service",
)
