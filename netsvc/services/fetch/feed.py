"""A feed: the JSON answer of an API that names files. Its URL is made of a template, its answer read by a path. No I/O.

In the URL ``{key}`` stands for a secret and ``{page}`` for the number of a page, both escaped as RFC 3986 wants it.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote, urljoin

from netsvc.config.secrets import Secret
from netsvc.services.fetch.path import Path, PathError

MAX_FEED = 32 << 20  # octets of one page, ours
MAX_FILES = 10_000  # of one run, ours: they are taken into custody by one stroke

_FIELD = re.compile(r"\{(\w*)\}")
FIELDS = frozenset({"key", "page"})


class FeedError(Exception):
    """The feed is not what was expected. Its text is one line for people, without anything of the feed."""


def fields_of(template: str) -> set[str]:
    """What stands in braces in the URL of a feed."""
    return set(_FIELD.findall(template))


def feed_url(template: str, key: Secret | None, page: int) -> str:
    """The URL to ask. It holds the key: nobody may see it."""
    known = {"key": "" if key is None else key.reveal(), "page": str(page)}
    return _FIELD.sub(lambda field: quote(known.get(field[1], field[0]), safe=""), template)


def files_of(content: bytes, path: Path, base: str) -> list[str]:
    """The URLs in an answer, in order, each once.

    :param base: where the answer came from: relative URLs start there.
    :raises FeedError: there are none to be had from it.
    """
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        raise FeedError("the feed is not JSON") from None
    try:
        found = path.find(whole)
    except PathError as error:
        raise FeedError(f"the feed is another than expected: {error}") from None
    texts = [one.strip() for one in found if isinstance(one, str) and one.strip()]
    if found and not texts:
        raise FeedError(f"what {path} leads to is no text")
    start = base.partition("?")[0].partition("#")[0]
    try:
        urls = list(dict.fromkeys(urljoin(start, one) for one in texts))
        "".join(urls).encode()  # JSON can spell halves of characters, which nobody can ask for
        return urls
    except ValueError:
        raise FeedError("the feed has a URL that is none") from None
