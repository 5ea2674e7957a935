"""Stores: one FileStore for each root and access, made when it is first needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netsvc.filestore.access import Access
from netsvc.filestore.terms import Terms

if TYPE_CHECKING:
    from netsvc.filestore.store import FileStore


def terms_of(settings: Any, access: Access) -> Terms:
    """What holds for one who may do so much at a place.

    :param settings: a ScopeSettings.
    """
    return Terms(access=access, follow="no" if settings.follow_symlinks == "no" else "inside")


class Stores:
    """The stores of one http service. Any thread may ask."""

    def __init__(self) -> None:
        self._stores: dict[tuple[Path, Terms], FileStore] = {}
        self._lock = threading.Lock()

    def store(self, root: Path, terms: Terms) -> FileStore:
        """The store of a root; the root is made if its parent is there.

        :raises OSError: it cannot be made or opened.
        """
        from netsvc.filestore.store import FileStore  # noqa: PLC0415

        with self._lock:
            found = self._stores.get((root, terms))
            if found is None:
                root.mkdir(exist_ok=True)
                found = self._stores[root, terms] = FileStore(root, terms)
            return found
