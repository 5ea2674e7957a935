"""In which way a file did not come: what the exit status tells of it, and what may be said to have it otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from netsvc.filestore.errors import MismatchError
from netsvc.services.fetch.download import DownloadError
from netsvc.services.fetch.download.connecting import NOT_PUBLIC

#: How a call can end that does not have all its files.
End = Literal["failed", "missing", "forbidden", "unverified", "interrupted"]

_BY_STATUS: Mapping[int | None, End] = {
    401: "forbidden",
    403: "forbidden",
    404: "missing",
    407: "forbidden",
    410: "missing",
}


def end_of(error: DownloadError) -> End:
    """What an error is, of the ways to end."""
    if isinstance(error.__cause__, MismatchError):
        return "unverified"
    return "forbidden" if error.reason == NOT_PUBLIC else _BY_STATUS.get(error.status, "failed")


def hint_of(reason: str) -> str:
    """What may be said to have it otherwise."""
    return " (--private-addresses allows it)" if reason == NOT_PUBLIC else ""
