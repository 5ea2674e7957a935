"""Validators, ranges and waits: what an answer's fields say of the same file at another time, RFC 9110. No I/O."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from attrs import frozen

from netsvc.services.fetch.download.wire.head import Head

SAFE_AGE = 60.0  # seconds from Last-Modified to Date that make the first strong, RFC 7232 2.2.2; RFC 9110 asks for one

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_RANGE = re.compile(r"bytes +(?:([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)|\*/([0-9]{1,19}))", re.IGNORECASE)
_SECONDS = re.compile("[0-9]{1,9}")


@frozen
class ContentRange:
    """RFC 9110 14.4.

    :param first: octet that comes first; None for an answer that has none (416).
    :param last: octet that comes last.
    :param size: of the whole file, or None where the peer does not say.
    """

    first: int | None
    last: int | None
    size: int | None


def content_range(value: str | None) -> ContentRange | None:
    """Understand it; None when it is missing or makes no sense."""
    found = _RANGE.fullmatch(value.strip()) if value else None
    if found is None:
        return None
    if found[4] is not None:
        return ContentRange(None, None, int(found[4]))
    first, last, size = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    if last < first or (size is not None and last >= size):
        return None
    return ContentRange(first, last, size)


def seconds_of(date: str | None) -> float | None:
    """A date of HTTP as seconds since 1970; None when it is missing or none."""
    if not date:
        return None
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None


def etag(head: Head) -> str | None:
    """The entity tag, strong or weak; None when there is none that is well-formed."""
    value = head.value("etag")
    return value if value is not None and _TAG.fullmatch(value) else None


def strong_validator(head: Head) -> str | None:
    """What If-Range may hold, RFC 9110 13.1.5: a strong entity tag, else a date that is old enough; None: nothing."""
    tag = head.value("etag")
    if tag is not None:
        found = etag(head)
        return None if found is None or found.startswith("W/") else found
    modified, now = seconds_of(head.value("last-modified")), seconds_of(head.value("date"))
    if modified is None or now is None or now - modified < SAFE_AGE:
        return None
    return head.value("last-modified")


def retry_after(head: Head, now: float, longest: float) -> float | None:
    """The seconds that the peer wants to be left alone, RFC 9110 10.2.3, at most `longest`; None: it does not say.

    :param now: wall clock, seconds since 1970.
    """
    value = head.value("retry-after")
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        return min(float(value), longest)
    date = seconds_of(value)
    return None if date is None else min(max(0.0, date - now), longest)
