"""Character generator: a rotating pattern for as long as the peer stays."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="chargen",
    summary="Sends a rotating pattern of printable characters.",
    source="RFC 864",
    settings="netsvc.services.chargen.settings:ChargenSettings",
    make_service="netsvc.services.chargen.service:make_service",
)
