"""Makes the filetransfer service of one section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService
from twisted.logger import Logger

from netsvc.filestore.access import Access
from netsvc.services.filetransfer.inbox import Inbox
from netsvc.services.filetransfer.offer import Offer
from netsvc.services.filetransfer.protocol import FileTransferFactory
from netsvc.services.filetransfer.receiver import FileReceiverFactory

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from netsvc.interfaces import IRuntime
    from netsvc.services.filetransfer.settings import FileTransferSettings

log = Logger()


class InboxService(MultiService):
    """The listeners of a service that receives; what a crash has left in its directory is removed at the start.

    :param listeners: accept connections once they are started.
    """

    def __init__(self, listeners: Any, inbox: Inbox, runtime: IRuntime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inbox = inbox
        self._runtime = runtime
        listeners.setServiceParent(self)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._runtime.in_thread(self._inbox.sweep).addErrback(self._not_swept)

    @staticmethod
    def _not_swept(failure: Failure) -> None:
        log.error(
            "what uploads have left cannot be swept: {reason}",
            event="filetransfer-sweep-failed",
            reason=failure.getErrorMessage(),
        )


def make_service(settings: FileTransferSettings, runtime: IRuntime) -> IService:
    """Listen where the settings say; a stream connection gives or takes a file, a datagram nothing."""
    if settings.store is None:
        assert settings.offer is not None  # noqa: S101 - the settings' check has seen to it
        factory = FileTransferFactory(Offer(settings.offer, settings.order), runtime)
        service: IService = runtime.serve(settings, stream=factory)
        return service
    access = Access.FULL if settings.replace else Access.UPLOAD_ONLY
    inbox = Inbox(settings.store, settings.terms(access))
    receiving: IService = InboxService(
        runtime.serve(settings, stream=FileReceiverFactory(inbox, runtime)), inbox, runtime
    )
    return receiving
