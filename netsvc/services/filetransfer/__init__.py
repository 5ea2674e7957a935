"""filetransfer: on connect, one JSON object with a file's name and its octets in base64; then the end."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="filetransfer",
    summary="Offers a file to whoever connects, as one JSON object with its name and its octets in base64.",
    source="the tutorials",
    settings="netsvc.services.filetransfer.settings:FileTransferSettings",
    make_service="netsvc.services.filetransfer.service:make_service",
)
