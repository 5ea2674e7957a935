"""Makes the filetransfer service of one section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import IService, MultiService

from netsvc.filestore.access import Access
from netsvc.filestore.sweeper import Sweeper
from netsvc.services.filetransfer.inbox import Inbox
from netsvc.services.filetransfer.offer import Offer
from netsvc.services.filetransfer.protocol import FileTransferFactory
from netsvc.services.filetransfer.receiver import FileReceiverFactory

if TYPE_CHECKING:
    from netsvc.interfaces import IRuntime
    from netsvc.services.filetransfer.settings import FileTransferSettings


def make_service(settings: FileTransferSettings, runtime: IRuntime) -> IService:
    """Listen where the settings say; a stream connection gives or takes a file, a datagram nothing."""
    if settings.store is None:
        assert settings.offer is not None  # noqa: S101 - the settings' check has seen to it
        factory = FileTransferFactory(Offer(settings.offer, settings.order), runtime)
        service: IService = runtime.serve(settings, stream=factory)
        return service
    access = Access.FULL if settings.replace else Access.UPLOAD_ONLY
    inbox = Inbox(settings.store, settings.terms(access))
    receiving = MultiService()
    for part in (
        runtime.serve(settings, stream=FileReceiverFactory(inbox, runtime)),
        Sweeper(inbox.sweep, runtime.in_disk_thread, runtime.reactor, runtime.name),
    ):
        part.setServiceParent(receiving)
    made: IService = receiving
    return made
