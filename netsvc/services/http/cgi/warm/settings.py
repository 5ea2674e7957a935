"""The options of the warm interpreter, which the options of CGI inherit. Imports no Twisted."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class WarmSettings:
    """Which scripts run warm."""

    cgi_warm: str = option(
        values.choice("auto", "on", "off"),
        default="auto",
        help="Run Python scripts in children of an interpreter that has started already: where that makes no "
        "difference to them ('auto'); the same, and warn of those it would ('on'); or never ('off').",
    )
    cgi_warm_servers: int = option(
        values.integer(1, 1000),
        default=8,
        help="Warm interpreters at the same time; the one that was not used for longest ends for the next.",
    )
    cgi_warm_idle: float = option(
        values.duration(1, 86_400), default=600.0, help="Time without a script after which a warm interpreter ends."
    )
