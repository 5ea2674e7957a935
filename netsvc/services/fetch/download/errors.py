"""How a download fails. Every text is one line for people and logs: no octets of the peer's, no password of a URL."""

from __future__ import annotations

from netsvc.filestore.errors import BusyError, MismatchError, NoSpaceError, QuotaError, StaleError, StoreError


class DownloadError(Exception):
    """The attempt failed; nothing was published.

    :ivar reason: one phrase.
    :ivar status: of the answer, or None when it did not come to one.
    :ivar resume: id of the partial upload that was kept, for :attr:`Wanted.resume`, or None.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.resume: str | None = None


class Transient(DownloadError):  # noqa: N818 - it says what to do about it
    """Another attempt may do.

    :ivar retry_after: seconds that the peer wants to be left alone, bounded; None: it did not say.
    """

    def __init__(self, reason: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason, status=status)
        self.retry_after = retry_after


class Permanent(DownloadError):  # noqa: N818 - as above
    """Another attempt would end in the same way: something must be changed first."""


def of_store(error: StoreError) -> DownloadError:
    """What a refusal of the store means for a download. Room and descriptors come back; names and rights do not."""
    if isinstance(error, BusyError | NoSpaceError | QuotaError | StaleError):
        return Transient(error.reason)
    return Permanent(not_promised(error) if isinstance(error, MismatchError) else error.reason)


def not_promised(error: MismatchError) -> str:
    """Size or digest are others."""
    return f"what came is not what was promised: {error.reason}"
