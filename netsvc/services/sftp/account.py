"""Account: whose connection it is, and what the operator has been told of its troubles with the disk."""

from __future__ import annotations

from threading import Lock

from attrs import field, frozen
from twisted.logger import Logger

from netsvc.filestore.errors import BrokenError, NoSpaceError, QuotaError
from netsvc.printable import printable

log = Logger()

_TROUBLES = (NoSpaceError, BrokenError, QuotaError)


@frozen(eq=False)
class Account:
    """Who has logged in on one connection. Threads share it.

    :param owner: the user, whose uploads are continued, and whom listings show.
    :param peer: where the connection comes from, for the log.
    """

    owner: str
    peer: str
    _told: set[type[Exception]] = field(init=False, factory=set)
    _lock: Lock = field(init=False, factory=Lock)

    def tell(self, path: str, error: BaseException) -> None:
        """Log a full disk and one that fails, as errors, and a quota that is used up, as a warning; nothing else.

        Each kind of fault once on a connection: a client that sends a thousand files to a full disk is one line.

        :param path: below the root, with a slash in front or without.
        """
        kind = next((one for one in _TROUBLES if isinstance(error, one)), None)
        if kind is None:
            return
        with self._lock:
            if kind in self._told:
                return
            self._told.add(kind)
        shown = printable(path.lstrip("/") or "/")
        facts = {"path": shown, "reason": str(error), "user": self.owner, "peer": self.peer}
        if kind is QuotaError:
            log.warn("{path}: {reason} ({user} from {peer})", event="sftp-refused", **facts)
        else:
            log.error("{path}: {reason} ({user} from {peer})", event="sftp-refused", **facts)
