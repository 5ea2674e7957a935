"""filetransfer: one JSON object with a file's name and its octets in base64, to each peer or from it."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="filetransfer",
    summary="Offers a file to whoever connects, or takes one: a JSON object with its name and its octets in base64.",
    source="the tutorials",
    settings="netsvc.services.filetransfer.settings:FileTransferSettings",
    make_service="netsvc.services.filetransfer.service:make_service",
)
