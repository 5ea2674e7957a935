"""The protocols of uploads beside PUT, in the order in which they are asked whether a request is theirs."""

from __future__ import annotations

from netsvc.services.http.upload.door import UploadProtocol
from netsvc.services.http.upload.draft.answers import Draft
from netsvc.services.http.upload.form.answers import Forms
from netsvc.services.http.upload.transfers import Transfers
from netsvc.services.http.upload.tus.answers import Tus

_TRANSFERS = Transfers()

PROTOCOLS: tuple[UploadProtocol, ...] = (Tus(_TRANSFERS), Draft(_TRANSFERS), Forms())
