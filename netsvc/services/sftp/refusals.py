"""Why a request fails, as a STATUS says it. No I/O."""

from __future__ import annotations

from twisted.python.failure import Failure

from netsvc.filestore.errors import BadNameError, NotFoundError, NotPermittedError, StoreError
from netsvc.services.sftp.handles import TooManyHandlesError
from netsvc.services.sftp.wire import BadMessageError, Status


class UnsupportedError(Exception):
    """The server does not do that; the text says what."""


class RefusedError(Exception):
    """The request makes no sense here; the text says why."""


def status_of(failure: Failure, *, lookup: bool) -> tuple[Status, str] | None:
    """The code and the text for a peer; None: it is a fault of this program.

    :param lookup: whether something that exists was asked for. There is none under a name that none may have.
    """
    error = failure.value
    match error:
        case NotFoundError():
            return Status.NO_SUCH_FILE, error.reason
        case BadNameError():
            return (Status.NO_SUCH_FILE if lookup else Status.FAILURE), error.reason
        case NotPermittedError():
            return Status.PERMISSION_DENIED, error.reason
        case StoreError():
            return Status.FAILURE, error.reason
        case BadMessageError():
            return Status.BAD_MESSAGE, str(error)
        case UnsupportedError():
            return Status.OP_UNSUPPORTED, str(error)
        case TooManyHandlesError() | RefusedError():
            return Status.FAILURE, str(error)
    return None
