"""Reads what a list names: its own lines, its feed page by page, and the checksums that go with them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from attrs import frozen

from netsvc.config.secrets import Secret
from netsvc.services.fetch.checksums import MAX_LIST, ChecksumError, Sum, parse_list
from netsvc.services.fetch.download import Document, Permanent
from netsvc.services.fetch.feed import MAX_FEED, MAX_FILES, FeedError, feed_url, files_of
from netsvc.services.fetch.path import Path


class Reader(Protocol):
    """What gets a small answer: a Downloader."""

    def read(self, url: str, *, max_size: int) -> Awaitable[Document]:
        """The answer."""


@frozen(kw_only=True)
class Feed:
    """A JSON API.

    :param template: its URL, with {key} and {page}.
    :param pages: the first and the last.
    """

    template: str
    path: Path
    key: Secret | None = None
    pages: tuple[int, int] = (1, 1)

    @property
    def host(self) -> str:
        """Where it is."""
        return urlsplit(self.template).hostname or ""

    async def read(self, reader: Reader) -> list[str]:
        """The URLs of all its pages, in order, each once. A page without any is the last.

        :raises DownloadError: one cannot be had.
        """
        found: dict[str, None] = {}
        for page in range(self.pages[0], self.pages[1] + 1):
            document = await reader.read(feed_url(self.template, self.key, page), max_size=MAX_FEED)
            try:
                some = files_of(document.content, self.path, document.url)
            except FeedError as error:
                raise Permanent(str(error)) from None
            if not some:
                break
            found.update(dict.fromkeys(some))
            if len(found) > MAX_FILES:
                raise Permanent(f"the feed names more than {MAX_FILES} files")
        return list(found)


async def read_checksums(reader: Reader, url: str) -> Mapping[str, Sum]:
    """A list of checksums, by name.

    :raises DownloadError: it cannot be had.
    """
    document = await reader.read(url, max_size=MAX_LIST)
    try:
        return parse_list(document.content)
    except ChecksumError as error:
        raise Permanent(str(error)) from None
