"""Formats the daytime line. No I/O; the time is a parameter. The named formats are English in any locale.

RFC 867, "Daytime Syntax": there is no specific syntax; it is recommended to be limited to the ASCII printing
characters, space, CR and LF, and to be just one line. One popular syntax is "Weekday, Month Day, Year Time-Zone",
with the example "Tuesday, February 22, 1982 17:37:43-PST".

NIST's form, "JJJJJ YR-MO-DA HH:MM:SS TT L H msADV UTC(NIST) OTM", is described at
https://www.nist.gov/pml/time-and-frequency-division/time-distribution/internet-time-service-its
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from netsvc.errors import BadValue

FORMATS = ("rfc867", "iso", "nist")
LONGEST_PATTERN = 128  # characters; every directive gives a few, so that a line stays under 4 KiB

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_MODIFIED_JULIAN_EPOCH = date(1858, 11, 17).toordinal()  # day 0 of the Modified Julian Date

# The directives of datetime.strftime that are one line on Linux's C library, with glibc's flags for padding and case.
_DIRECTIVE = re.compile(r"%(?:[-_0^#]?[aAbBcCdDeFgGhHIjmMpPrRsSTuUVwWxXyYzZfk]|%)")


def check_pattern(pattern: str) -> None:
    """Raise BadValue unless it is a strftime pattern that gives one line of text."""
    if len(pattern) > LONGEST_PATTERN:
        raise BadValue(f"the pattern has {len(pattern)} characters, more than {LONGEST_PATTERN}")
    for at, character in enumerate(pattern):
        if not character.isprintable():
            raise BadValue("the pattern has a character that does not print", at=at)
    at = pattern.find("%")
    while at >= 0:
        match = _DIRECTIVE.match(pattern, at)
        if match is None:
            raise BadValue(f"{pattern[at : at + 2]!r} is not a directive of strftime", at=at)
        at = pattern.find("%", match.end())


def _zone_name(moment: datetime) -> str:
    """The zone's letters; where it has none, its distance from UTC, told from the dash before it."""
    name = moment.tzname() or ""
    return name if name.isalpha() else f"UTC{name}"


def rfc867(moment: datetime) -> str:
    """``Tuesday, February 22, 1982 17:37:43-PST``."""
    day = f"{_WEEKDAYS[moment.weekday()]}, {_MONTHS[moment.month - 1]} {moment.day}, {moment.year:04d}"
    return f"{day} {moment:%H:%M:%S}-{_zone_name(moment)}"


def iso(moment: datetime) -> str:
    """``1982-02-22T17:37:43-08:00``, ISO 8601 as in RFC 3339; UTC is ``Z``."""
    text = moment.isoformat(timespec="seconds")
    return text.removesuffix("+00:00") + "Z" if moment.tzname() == "UTC" else text


def _sunday(year: int, month: int, which: int) -> int:
    """The day of the month of its first (1), second (2) ... Sunday."""
    return 7 * which - date(year, month, 1).weekday()


def us_summer_time(day: date) -> int:
    """NIST's TT: 0 for standard time in the United States, 50 for daylight time.

    In the month of a change it counts the days down to it: 51 on the day that daylight time begins (the second
    Sunday of March), 1 on the day that it ends (the first of November; Energy Policy Act of 2005, section 110).
    """
    begin, end = _sunday(day.year, 3, 2), _sunday(day.year, 11, 1)
    if day.month == 3:
        return 51 + begin - day.day if day.day <= begin else 50
    if day.month == 11:
        return 1 + end - day.day if day.day <= end else 0
    return 50 if 3 < day.month < 11 else 0


def nist(moment: datetime) -> str:
    """``45022 82-02-23 01:37:43 00 0 1 0.0 UTC(netsvc) *``, always UTC.

    What the daemon can vouch for: no leap second is announced (L is 0), the host's clock may be wrong by some
    seconds (H is 1: "in error by up to 5 seconds"), and the line is sent on time, not in advance (msADV is 0.0).
    """
    utc = moment.astimezone(UTC)
    julian = utc.toordinal() - _MODIFIED_JULIAN_EPOCH
    return f"{julian:05d} {utc:%y-%m-%d %H:%M:%S} {us_summer_time(utc.date()):02d} 0 1 0.0 UTC(netsvc) *"


def formatter(form: str, timezone: str) -> Callable[[float], bytes]:
    """A function from seconds since 1970 to the line with its CRLF, in UTF-8.

    :param form: one of FORMATS, or a pattern that check_pattern lets pass.
    :param timezone: an IANA name, ``UTC`` or ``local``.
    """
    zone = None if timezone == "local" else UTC if timezone == "UTC" else ZoneInfo(timezone)
    named: dict[str, Callable[[datetime], str]] = {"rfc867": rfc867, "iso": iso, "nist": nist}
    text = named.get(form) or (lambda moment: moment.strftime(form))

    def line(seconds: float) -> bytes:
        return text(datetime.fromtimestamp(seconds, UTC).astimezone(zone)).encode("utf-8", "replace") + b"\r\n"

    if "%f" in form:  # the only part that changes within a second
        return line
    last: tuple[int | None, bytes] = (None, b"")

    def line_of_second(seconds: float) -> bytes:
        nonlocal last
        second = int(seconds)
        if last[0] != second:
            last = (second, line(second))
        return last[1]

    return line_of_second
