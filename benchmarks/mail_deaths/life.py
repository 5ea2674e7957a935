"""One life of the daemon: a twistd that runs netsvc, perhaps under an strace that kills it at a certain call.

The daemon has a child, the delivery agent. The kill is for whichever of the two is the first to make the call so often;
an agent that dies so leaves the daemon alive.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from benchmarks import lives
from benchmarks.lives import Kill, LifeFailedError
from benchmarks.processes import LOOPBACK

__all__ = ["Kill", "Killed", "Life", "LifeFailedError", "configure"]

OTHER = "127.0.0.2"  # another loopback address, so that the log tells the endpoint from the listener
TOKEN = "a-token-of-the-campaign"

INI = """\
[netsvc]
state_directory = {state}

[smtp_client]
relay = smtp:{host}:{one}
routes = two.example smtp:{host}:{two}
tls = none
helo_name = here.example
bounce_from = mailer-daemon@one.example
bounce_window = 0s
delay_notice = none
retry_first = 1s
retry_longest = 1s
destination_failures = 1000
delivery_processes = {agents}
submission_listen = tcp:0:interface={host}
http_listen = tcp:0:interface={other}
http_token = env:DEATHS_TOKEN
"""

Killed = Literal["daemon", "agent", "nobody"]

_DEATH = re.compile(r"(?m)^(\d+) +\+\+\+ killed by SIGKILL")
_PORTS = re.compile(rf"\[smtp_client\] listening on tcp:({re.escape(LOOPBACK)}|{re.escape(OTHER)}):(\d+)")


def configure(directory: Path, ports: tuple[int, ...], agents: int) -> None:
    """Write the configuration of all lives of a directory."""
    one, two = ports
    text = INI.format(state=directory / "state", host=LOOPBACK, other=OTHER, one=one, two=two, agents=agents)
    (directory / "netsvc.ini").write_text(text)


class Life(lives.Life):
    """One that takes mail. Arguments as of :class:`benchmarks.lives.Life`."""

    def __init__(self, directory: Path, name: str, kill: Kill | None = None, trace: str = "") -> None:
        super().__init__(directory, name, kill, trace, {"DEATHS_TOKEN": TOKEN})
        self.socket = directory / "state" / "mail.sock"
        self.listener = self.endpoint = 0

    def __enter__(self) -> Life:
        return self

    def ready(self) -> bool:
        """Wait until it takes mail; False when it died before.

        :raises LifeFailedError: it does neither.
        """
        if not super().ready():
            return False
        ports = dict(_PORTS.findall(self.log()))
        self.listener, self.endpoint = int(ports[LOOPBACK]), int(ports[OTHER])
        return True

    @property
    def who(self) -> Killed:
        """Who was killed so far."""
        if self.over:
            return "daemon" if self.killed else "nobody"
        text = self.traced.read_text("utf-8", "replace") if self.traced.exists() else ""
        deaths = {int(one) for one in _DEATH.findall(text)}
        if not deaths:
            return "nobody"
        living = self.family()
        return "agent" if living and not deaths & living else "daemon"

    def finish(self) -> Killed:
        """End it; who had been killed before."""
        who = self.who
        self.end()
        return who
