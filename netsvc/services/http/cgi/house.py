"""What all runs of one engine share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from netsvc.services.http.cgi.child import Start
from netsvc.services.http.cgi.deadlines import Deadlines
from netsvc.services.http.cgi.remains import Remains
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.cgi.spool import Spool


@frozen(kw_only=True)
class House:
    """What all runs of an engine share.

    :param reactor: the reactor and clock.
    :param inherited: the variables that `cgi_pass_env` chooses from.
    :param python_path: tells a directory of modules for Python scripts; empty for none.
    :param start: starts a child; see :mod:`netsvc.services.http.cgi.child`.
    :param deadlines: keeps the time of scripts.
    :param remains: ends what scripts leave behind.
    :param spool: where request bodies of unknown length are kept.
    :param route: answers an exchange anew, for local redirects; None makes them redirects of the client.
    :param announce: told a script name the first time it sent no Content-Type; returns whether it is the first.
    """

    settings: CgiSettings
    reactor: Any
    inherited: Mapping[str, str]
    python_path: Callable[[], str]
    start: Start
    deadlines: Deadlines
    remains: Remains
    spool: Spool
    route: Callable[[Any], object] | None
    announce: Callable[[str], bool]
