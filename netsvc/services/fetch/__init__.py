"""Downloads: files of a list or of a feed come into a directory, whole and verified, at their times."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="fetch",
    summary="Downloads the files of a list or of a JSON feed into a directory: once, at times, or when told.",
    source="RFC 9110, RFC 9112",
    settings="netsvc.services.fetch.settings:FetchSettings",
    make_service="netsvc.services.fetch.service:make_service",
    runs="once",
)
