"""Says what the page of a directory offers to whoever looks at it, and what its files may do in a browser."""

from __future__ import annotations

from typing import Any

from netsvc.filestore.access import Access
from netsvc.services.http.exchange import Headers
from netsvc.services.http.listing.offers import Offers

_POLICY = b"content-security-policy"
# No sandbox: browsers show no PDF in one.
_NO_SCRIPTS = (b"Content-Security-Policy", b"script-src 'none'; form-action 'none'; base-uri 'none'")


def file_fields(settings: Any) -> Headers:
    """What answers with files of a place have besides.

    Where people put files, a page among them must not act with the rights of whoever opens it: delete what others put
    there, or ask for passwords. Whoever publishes his own site in this way says so with a Content-Security-Policy in
    ``headers``, which then stands alone.

    :param settings: a ScopeSettings.
    """
    own = any(name.lower().encode("ascii") == _POLICY for name, _ in settings.headers)
    return (_NO_SCRIPTS,) if settings.upload and not own else ()


def offers_of(settings: Any, access: Access, longest: int) -> Offers | None:
    """What may be changed from the page; None for nothing.

    :param settings: a ScopeSettings.
    :param access: what whoever looks at it may do.
    :param longest: octets that the body of a request may have.
    """
    if not settings.upload or access is Access.READ_ONLY:
        return None
    full = access is Access.FULL
    return Offers(
        chunk=longest,
        remove=full and settings.upload_delete,
        make_directory=full and settings.upload_directories,
    )
