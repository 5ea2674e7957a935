"""The MTAs: netsvc and Postfix, each with a private queue on the same disk, which hands all mail to one sink.

Both write a message to the disk (fsync) before they take it; both are as they come, but for ports and places.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.contestants import Running, started, twistd
from benchmarks.processes import LOOPBACK

NETSVC_INI = """\
[netsvc]
state_directory = {directory}/state

[smtp_client]
relay = smtp:{host}:{sink}
tls = none
submission_listen = tcp:{smtp}:interface={host}
"""

MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
myhostname = localhost
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [{host}]:{sink}
alias_maps =
"""

MASTER = """\
{host}:{smtp} inet n - n - - smtpd
pickup    unix  n - n 60    1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
proxymap  unix  - - n -     - proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
error     unix  - - n -     - error
retry     unix  - - n -     - error
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
"""


def netsvc(sink: int) -> Running:
    """netsvc with its SMTP listener."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        text = NETSVC_INI.format(directory=directory, host=LOOPBACK, sink=sink, **ports)
        (directory / "netsvc.ini").write_text(text)
        return [twistd(), "-n", "--pidfile=", "netsvc", "--config", "netsvc.ini"]

    return started("netsvc", command, ("smtp",))


def postfix(sink: int) -> Running:
    """Postfix; only root can run one."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        directory.chmod(0o755)
        for name in ("queue", "data"):
            (directory / name).mkdir()
        shutil.chown(directory / "data", "postfix")
        (directory / "main.cf").write_text(MAIN.format(directory=directory, host=LOOPBACK, sink=sink))
        (directory / "master.cf").write_text(MASTER.format(host=LOOPBACK, **ports))
        subprocess.run(["postfix", "-c", str(directory), "check"], capture_output=True, check=True)
        where = subprocess.run(["postconf", "-dh", "daemon_directory"], capture_output=True, text=True, check=True)
        # What `postfix start-fg` runs, without the shell around it that would not pass a signal on.
        return [f"{where.stdout.strip()}/master", "-c", str(directory), "-s"]

    return started("postfix", command, ("smtp",))


ALL: dict[str, Callable[[int], Running]] = {"netsvc": netsvc, "postfix": postfix}
