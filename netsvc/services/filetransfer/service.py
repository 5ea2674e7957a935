"""Makes the filetransfer service of one section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netsvc.services.filetransfer.offer import Offer
from netsvc.services.filetransfer.protocol import FileTransferFactory

if TYPE_CHECKING:
    from twisted.application.service import IService

    from netsvc.interfaces import IRuntime
    from netsvc.services.filetransfer.settings import FileTransferSettings


def make_service(settings: FileTransferSettings, runtime: IRuntime) -> IService:
    """Listen where the settings say; every stream connection gets a file, a datagram nothing."""
    factory = FileTransferFactory(Offer(settings.offer, settings.order), runtime)
    service: IService = runtime.serve(settings, stream=factory)
    return service
