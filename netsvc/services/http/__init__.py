"""HTTP: static files and CGI."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="http",
    summary="Serves and takes files, and runs CGI scripts, over HTTP/1 and HTTP/2.",
    source="RFC 9110, RFC 9112, RFC 9113, RFC 3875",
    settings="netsvc.services.http.settings:HttpSettings",
    make_service="netsvc.services.http.service:make_service",
)
