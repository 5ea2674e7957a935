"""Access times: the hours of the day in which a service is open, in local time, as in xinetd.conf(5)."""

from __future__ import annotations

import re
from datetime import time

from attrs import frozen

from netsvc.config.options import ValueType
from netsvc.config.values import items
from netsvc.errors import BadValue

_SPAN = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")


@frozen
class Span:
    """A span of the day, local time, start included, end excluded; it may run over midnight.

    An end of 24:00 is kept as :data:`datetime.time.max`.
    """

    start: time
    end: time

    def holds(self, moment: time) -> bool:
        """Whether a local time of day falls into the span."""
        if self.end == time.max:
            return self.start <= moment
        if self.start <= self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{'24:00' if self.end == time.max else f'{self.end:%H:%M}'}"


def _span(text: str) -> Span:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise BadValue(f"{text!r} is not a span of the day such as 08:00-18:30")
    first_hour, first_minute, last_hour, last_minute = map(int, match.groups())
    try:
        start = time(first_hour, first_minute)
        end = time.max if (last_hour, last_minute) == (24, 0) else time(last_hour, last_minute)
    except ValueError:
        raise BadValue(f"{text!r} goes beyond the day: 00:00 to 24:00") from None
    if start == end:
        raise BadValue(f"{text!r} is an empty span")
    return Span(start, end)


def spans() -> ValueType[tuple[Span, ...]]:
    """Spans such as ``08:00-18:30``; none means always."""
    return items(_span, name="access times", bounds="HH:MM-HH:MM, local time; empty is always")
