"""What the command asks for. No Twisted: the command starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from netsvc.config.secrets import Secret
from netsvc.services.fetch.checksums import Sum
from netsvc.services.fetch.path import Path as JsonPath
from netsvc.services.fetch.settings import Listed


@frozen(kw_only=True)
class FeedRequest:
    """A JSON API; see :class:`netsvc.services.fetch.listing.Feed`."""

    template: str
    path: JsonPath
    key: Secret | None = None
    pages: tuple[int, int] = (1, 1)


@frozen(kw_only=True)
class Request:
    """One call of the command.

    :param directory: where the files go; it is there.
    :param output: what the one file is called; None: as its URL ends, or with `answer_names` as the answer says.
    :param sums: checksums by name, or None; what has none is not taken then.
    :param sums_url: where they are to be had.
    :param resume: go on with parts of earlier calls.
    :param mirror: ask for what is here only if it changed.
    :param head: give the heads of the answers to `on_head`.
    :param manifest: the name of one, or None.
    :param tries: how often a file is asked for at most.
    :param retry_for: seconds that a file is tried again.
    :param quiet: say nothing of other tries.
    """

    urls: tuple[Listed, ...] = ()
    feed: FeedRequest | None = None
    directory: Path = field(factory=Path)
    output: str | None = None
    answer_names: bool = False
    sums: Mapping[str, Sum] | None = None
    sums_url: str | None = None
    resume: bool = False
    mirror: bool = False
    head: bool = False
    manifest: str | None = None
    jobs: int = 8
    per_host: int = 4
    rate_limit: int | None = None
    max_size: int | None = None
    timeout: float = 30.0
    tries: int = 8
    retry_for: float = 60.0
    private_addresses: bool = False
    cafile: Path | None = None
    quiet: bool = False
