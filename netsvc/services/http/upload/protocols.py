"""The protocols of resumable uploads, in the order in which they are asked whether a request is theirs."""

from __future__ import annotations

from netsvc.services.http.upload.door import UploadProtocol

PROTOCOLS: tuple[UploadProtocol, ...] = ()
