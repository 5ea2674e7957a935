"""The options of daytime."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option
from netsvc.config.server import ServerSettings
from netsvc.config.values import nearest
from netsvc.errors import BadValue
from netsvc.services.daytime.wire import FORMATS, check_pattern


def line_format() -> ValueType[str]:
    """One of the named formats, or a strftime pattern (which has a ``%``)."""

    def parse(text: str, _: Context) -> str:
        value = text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
        if value in FORMATS:
            return value
        if "%" not in value:
            message = f"{value!r} is neither {', '.join(FORMATS)} nor a strftime pattern"
            raise BadValue(message, suggestion=nearest(value, FORMATS))
        check_pattern(value)
        return value

    return ValueType(name="format", bounds=" | ".join((*FORMATS, "a strftime pattern such as %H:%M:%S")), parse=parse)


@frozen(kw_only=True)
class DaytimeSettings(ServerSettings):
    """Options of a daytime service (RFC 867)."""

    format: str = option(
        line_format(),
        default="rfc867",
        help="How the line looks: weekday and month in words, ISO 8601, NIST's (always UTC), or a pattern.",
    )
    timezone: str = option(values.timezone(), default="local", help="The zone whose time is told.")
