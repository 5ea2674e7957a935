"""Sweeps the stores of all places that take files: of each user's root, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from netsvc.filestore.access import Access
from netsvc.filestore.errors import BadNameError
from netsvc.services.http.site.sites import Place
from netsvc.services.http.upload.stores import Stores, terms_of


def roots_of(place: Place) -> Iterator[Path]:
    """The roots of a place that are there: one, or that of each user. Blocks."""
    if place.fixed_root == place.docroot:
        yield place.docroot
        return
    with suppress(OSError):
        for one in place.fixed_root.iterdir():
            with suppress(BadNameError):
                root = place.root_of(one.name)
                if root.is_dir():
                    yield root


def sweep(places: Iterable[Place], stores: Stores) -> None:
    """Remove what uploads have left whose time is over, at all places that take files. Blocks."""
    for place in places:
        if place.settings.upload:
            for root in roots_of(place):
                stores.store(root, terms_of(place.settings, Access.FULL)).sweep()
