"""Says what the page of a directory offers to whoever looks at it."""

from __future__ import annotations

from typing import Any

from netsvc.filestore.access import Access
from netsvc.services.http.listing.offers import Offers


def offers_of(settings: Any, access: Access) -> Offers | None:
    """What may be changed from the page; None for nothing.

    :param settings: a ScopeSettings.
    :param access: what whoever looks at it may do.
    """
    if not settings.upload or access is Access.READ_ONLY:
        return None
    full = access is Access.FULL
    return Offers(remove=full and settings.upload_delete, make_directory=full and settings.upload_directories)
