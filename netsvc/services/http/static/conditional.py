"""Evaluates the conditions of a request against a representation. Pure functions.

The order is that of RFC 9110 13.2.2: If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since; Range
with If-Range last.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime

from attrs import frozen

from netsvc.services.http.exchange import RequestHead

# RFC 9110 8.8.3, a member of a list. Possessive: else blanks between two tags cost the square of their number.
_ETAG = re.compile(rb'[ \t]*+(?:(W/)?("[!#-~\x80-\xff]*+"))?+[ \t]*+(?:,|\Z)')
_IMF = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ([A-Z][a-z][a-z]) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_RFC850 = re.compile(
    r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\d\d)-([A-Z][a-z][a-z])-(\d\d) (\d\d):(\d\d):(\d\d) GMT"
)
_ASCTIME = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z][a-z]) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@frozen(kw_only=True)
class Validators:
    """What a representation can be told apart by.

    :param etag: a strong entity tag with its quotes.
    :param modified: seconds since the epoch, whole; None when that is not known.
    """

    etag: bytes
    modified: int | None


def _fields_of_date(text: str) -> tuple[str, str, int, str, str, str] | None:
    if match := _IMF.fullmatch(text):
        day, month, year, *time = match.groups()
        return day, month, int(year), time[0], time[1], time[2]
    if match := _RFC850.fullmatch(text):
        day, month, year, *time = match.groups()
        this = datetime.now(UTC).year
        full = this // 100 * 100 + int(year)
        return day, month, full - 100 if full > this + 50 else full, time[0], time[1], time[2]  # RFC 9110 5.6.7
    if match := _ASCTIME.fullmatch(text):
        month, day, *time, year = match.groups()
        return day, month, int(year), time[0], time[1], time[2]
    return None


def parse_date(value: bytes) -> int | None:
    """Seconds since the epoch of an HTTP-date in any of its three forms (RFC 9110 5.6.7); None when invalid."""
    found = _fields_of_date(value.decode("latin-1"))
    if found is None or found[1] not in _MONTHS:
        return None
    day, month, year, hour, minute, second = found
    try:
        moment = datetime(
            year, _MONTHS.index(month) + 1, int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC
        )
    except ValueError:
        return None
    return timegm(moment.timetuple())


def etag_matches(header: bytes, etag: bytes, *, weak: bool) -> bool:
    """Whether an entity tag is in a list of them, or the list is ``*``.

    :param weak: compare weakly (If-None-Match); else only strong tags match (If-Match).
    """
    if header.strip(b" \t") == b"*":
        return True
    at = 0
    while at < len(header):
        member = _ETAG.match(header, at)
        if member is None:  # not a list of entity tags: what follows cannot be trusted
            return False
        if member[2] == etag and (weak or not member[1]):
            return True
        at = member.end()
    return False


def _joined(head: RequestHead, name: bytes) -> bytes | None:
    values = head.all(name)
    return b", ".join(values) if values else None


def _single_date(head: RequestHead, name: bytes) -> int | None:
    values = head.all(name)
    return parse_date(values[0]) if len(values) == 1 else None


def precondition(head: RequestHead, validators: Validators) -> int | None:
    """304 or 412 when a condition says so, or None to go on. Invalid dates are ignored."""
    match = _joined(head, b"if-match")
    if match is not None:
        if not etag_matches(match, validators.etag, weak=False):
            return 412
    else:
        unmodified = _single_date(head, b"if-unmodified-since")
        if unmodified is not None and validators.modified is not None and validators.modified > unmodified:
            return 412
    safe = head.method in ("GET", "HEAD")
    none_match = _joined(head, b"if-none-match")
    if none_match is not None:
        if etag_matches(none_match, validators.etag, weak=True):
            return 304 if safe else 412
    elif safe and validators.modified is not None:
        modified = _single_date(head, b"if-modified-since")
        if modified is not None and validators.modified <= modified:
            return 304
    return None


def range_applies(head: RequestHead, validators: Validators, now: float) -> bool:
    """Whether a Range field counts, by If-Range: a strong tag, or the exact date (RFC 9110 13.1.5).

    :param now: seconds since the epoch. A date is a strong validator only when it is a second old (RFC 9110 8.8.2.2).
    """
    values = head.all(b"if-range")
    if not values:
        return True
    if len(values) > 1:
        return False
    value = values[0].strip(b" \t")
    if value[:1] == b'"' or value[:2] == b"W/":
        return value == validators.etag
    modified = validators.modified
    return modified is not None and parse_date(value) == modified and now - modified >= 1
