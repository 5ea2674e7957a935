"""Stores: one FileStore for each root and terms, made when it is first needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netsvc.filestore.access import Access
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms


def terms_of(settings: Any, access: Access) -> Terms:
    """What holds for one who may do so much at a place.

    :param settings: a ScopeSettings.
    """
    terms: Terms = settings.terms(access, "no" if settings.follow_symlinks == "no" else "inside")
    return terms


class Stores:
    """The stores of one http service. Threads may share them."""

    def __init__(self) -> None:
        self._stores: dict[tuple[Path, Terms], FileStore] = {}

    def store(self, root: Path, terms: Terms, *, make: bool = False) -> FileStore:
        """The store of a root.

        :param make: whether the root is made where it is not, if the directory above it is there: that of a user, when
            he first comes, and when somebody has removed it since. Other roots are not: a disk may be missing there.
        """
        if make and not root.is_dir():
            root.mkdir(exist_ok=True)
        found = self._stores.get((root, terms))
        if found is None:
            found = self._stores[root, terms] = FileStore(root, terms)
        return found
