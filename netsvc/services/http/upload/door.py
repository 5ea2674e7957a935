"""Door: where in which store a request knocks, and what its user may do. And what protocols of uploads look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from netsvc.filestore.access import Access
from netsvc.filestore.store import FileStore
from netsvc.services.http.exchange import Headers, RequestHead


@frozen(kw_only=True)
class Door:
    """One request's view of a place that takes files.

    :param store: of the root; its terms have the user's access already.
    :param root: names of the URL path that the store's root stands for, decoded; see `Found.names`.
    :param names: what the path names below the root; () is the root itself.
    :param directory: whether the path ends as a directory.
    :param below: the names of a file of that name in the directory that the path names, checked as a path would be.
        It raises BadNameError, and RefusedError where such a path would belong to another place.
    :param owner: who signed in; "" for whoever was not asked. Partial uploads are his only.
    :param source: where whoever was not asked comes from: his address, or its IPv6 /64.
    :param access: what he may do.
    :param settings: the options of the place, a ScopeSettings.
    :param longest: octets that the body of a request may have.
    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param clock: IReactorTime.
    """

    store: FileStore
    root: tuple[bytes, ...]
    names: tuple[str, ...]
    directory: bool
    below: Callable[[str], tuple[str, ...]]
    owner: str
    source: str
    access: Access
    settings: Any
    longest: int
    in_thread: Callable[..., Deferred[Any]]
    clock: Any


class UploadProtocol(Protocol):
    """A protocol of uploads beside plain PUT: tus, the IETF draft. One object serves all places."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that Allow names for it, such as ("POST", "PATCH")."""

    def takes(self, head: RequestHead) -> bool:
        """Whether a request is of this protocol, by its method, header fields and query: asked of every request."""

    def answer(self, exchange: Any, door: Door) -> None:
        """Answer an exchange, perhaps later."""

    def offered(self, door: Door) -> Headers:
        """What OPTIONS tells of it."""
