"""The MTAs: netsvc and Postfix, each with a private queue on the same disk, which hands all mail to one sink.

Both write a message to the disk (fsync) before they take it; both are as they come, but for ports and places.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
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

# What was put off is tried again after at most 1 s, then 2 s, then 4 s.
EAGER_INI = """\
retry_first = 1s
retry_longest = 4s
"""
EAGER_MAIN = """\
minimal_backoff_time = 1s
maximal_backoff_time = 4s
queue_run_delay = 1s
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
showq     unix  n - n -     - showq
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
"""


def netsvc(sink: int, *, eager: bool = False, prefix: Sequence[str] = (), queue: Path | None = None) -> Running:
    """netsvc with its SMTP listener.

    :param sink: port to which all mail goes.
    :param eager: put off for a second only.
    :param prefix: a command that runs the daemon in its own place, with arguments.
    :param queue: where its queue is; None: with the rest of it.
    """

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        text = NETSVC_INI.format(directory=directory, host=LOOPBACK, sink=sink, **ports)
        text += (EAGER_INI if eager else "") + (f"queue_directory = {queue}\n" if queue else "")
        (directory / "netsvc.ini").write_text(text)
        return [*prefix, twistd(), "-n", "--pidfile=", "netsvc", "--config", "netsvc.ini"]

    return started("netsvc", command, ("smtp",))


def postfix(sink: int, *, eager: bool = False, prefix: Sequence[str] = ()) -> Running:
    """Postfix; only root can run one. The parameters are those of netsvc."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        directory.chmod(0o755)
        for name in ("queue", "data"):
            (directory / name).mkdir()
        shutil.chown(directory / "data", "postfix")
        text = MAIN.format(directory=directory, host=LOOPBACK, sink=sink)
        (directory / "main.cf").write_text(text + (EAGER_MAIN if eager else ""))
        (directory / "master.cf").write_text(MASTER.format(host=LOOPBACK, **ports))
        subprocess.run(["postfix", "-c", str(directory), "check"], capture_output=True, check=True)
        where = subprocess.run(["postconf", "-dh", "daemon_directory"], capture_output=True, text=True, check=True)
        # What `postfix start-fg` runs, without the shell around it that would not pass a signal on.
        return [*prefix, f"{where.stdout.strip()}/master", "-c", str(directory), "-s"]

    return started("postfix", command, ("smtp",))


def mail_command(peer: Running, *words: str) -> list[str]:
    """`netsvc mail`, as the operator of this netsvc types it."""
    program = str(Path(sys.executable).parent / "netsvc")
    return [program, "mail", *words, "--socket", str(peer.directory / "state" / "mail.sock")]


def flush(peer: Running) -> None:
    """Tell a peer to try everything now, as its operator would."""
    postqueue = ["postqueue", "-c", str(peer.directory), "-f"]
    command = mail_command(peer, "flush", "--all") if peer.name == "netsvc" else postqueue
    subprocess.run(command, capture_output=True, check=True)


ALL: dict[str, Callable[..., Running]] = {"netsvc": netsvc, "postfix": postfix}
