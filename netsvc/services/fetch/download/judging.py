"""What the head of an answer means for a download: the file, its rest, the old one still, start over, or an error."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from netsvc.services.fetch.download.errors import DownloadError, Permanent, Transient
from netsvc.services.fetch.download.terms import Terms, Wanted
from netsvc.services.fetch.download.wire.conditions import content_range, etag, retry_after
from netsvc.services.fetch.download.wire.head import Head
from netsvc.services.fetch.download.wire.url import Url

#: Another time may be better: RFC 9110 15.5.9, RFC 8470, RFC 6585, and all faults of the server's but those that say
#: that it cannot do it at all (501, 505).
_TRANSIENT = frozenset({408, 425, 429})
_NEVER = frozenset({501, 505})

Verdict = Literal["whole", "rest", "unchanged", "over"]


@frozen(kw_only=True)
class Standing:
    """What is here of the file already.

    :param offset: octets of it.
    :param validator: for If-Range: a strong entity tag, or a date.
    :param origin: whose validator it is; only there is the rest asked for.
    :param size: of the whole file, or None.
    """

    offset: int
    validator: str
    origin: str
    size: int | None

    def may_ask(self, url: Url) -> bool:
        """Whether the rest may be asked for there."""
        return self.origin == origin_text(url)


def origin_text(url: Url) -> str:
    """An origin as records have it."""
    return f"{url.scheme}://{url.host}:{url.port}"


def fields(url: Url, standing: Standing | None, wanted: Wanted) -> list[tuple[str, str]]:
    """What a request for it says of what is here."""
    if standing is not None:
        if not standing.may_ask(url):
            return []
        return [("Range", f"bytes={standing.offset}-"), ("If-Range", standing.validator)]
    known = wanted.validators
    if known is None:
        return []
    found = []
    if known.etag:
        found.append(("If-None-Match", known.etag))
    if known.last_modified:
        found.append(("If-Modified-Since", known.last_modified))
    return [(name, value) for name, value in found if value.isascii() and value.isprintable()]


def judge(url: Url, head: Head, length: int | None, standing: Standing | None, wanted: Wanted) -> Verdict:
    """What the answer is.

    :param length: octets of its body, or None.
    :raises DownloadError: it is none that a file can be had from. The caller adds when to come again.
    """
    asked = standing if standing is not None and standing.may_ask(url) else None
    status = head.status
    if status in {200, 203}:
        _is_plain(head)
        return "whole"
    if status == 206 and asked is not None:
        _is_plain(head)
        return "rest" if _continues(head, length, asked) else "over"
    if status == 416 and asked is not None:
        return "over"
    if status == 304 and standing is None and wanted.validators is not None:
        return "unchanged"
    if status == 206:
        raise Permanent("the answer is a part that was not asked for", status=status)
    raise error_of(status)


def _is_plain(head: Head) -> None:
    if [one for one in head.words("content-encoding") if one != "identity"]:
        raise Permanent("the answer has a Content-Encoding that was not asked for", status=head.status)


def _continues(head: Head, length: int | None, standing: Standing) -> bool:
    found = content_range(head.value("content-range"))
    if found is None or found.first != standing.offset or found.last is None:
        return False
    if length is not None and length != found.last - found.first + 1:
        return False
    if found.size is None or found.last != found.size - 1:
        return False  # less than the rest
    if standing.size is not None and standing.size != found.size:
        return False
    tag = etag(head)
    return tag is None or not standing.validator.startswith('"') or tag == standing.validator


def error_of(status: int) -> DownloadError:
    """The error that a status is."""
    words = f"the answer is {status}"
    if status in _TRANSIENT or (status >= 500 and status not in _NEVER):
        return Transient(words, status=status)
    return Permanent(words, status=status)


def with_wait(error: DownloadError, head: Head, terms: Terms, now: float) -> DownloadError:
    """The error, with what the answer says of when to come again.

    :param now: wall clock, seconds since 1970.
    """
    if isinstance(error, Transient):
        error.retry_after = retry_after(head, now, terms.max_retry_after)
    return error
