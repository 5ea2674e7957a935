"""Talks to a running mail service over its UNIX socket. Standard library only, and little of it: sendmail stands on it.

The form of a request is that of :mod:`netsvc.services.smtp_client.submission_wire`, which is not imported because its
package needs more than the standard library; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netsvc.cli import connection

# sysexits(3), which what calls sendmail-like commands knows
EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_NOUSER = 67
EX_NOHOST = 68
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_PROTOCOL = 76
EX_NOPERM = 77
EX_CONFIG = 78

# Where a daemon of the machine may have its socket: file-hierarchy(7), and systemd's StateDirectory=netsvc.
SYSTEM_PLACES = ("/run/netsvc", "/var/lib/netsvc")


def socket_places(environ: Mapping[str, str], name: str = "mail.sock") -> Iterator[str]:
    """Where the socket may be, the likeliest first: the caller's own daemon, then the machine's.

    The first are those of :func:`netsvc.config.daemon.default_state_directory`.
    """
    granted = environ.get("STATE_DIRECTORY", "").split(":")[0]
    own = (
        (granted, ""),
        (environ.get("XDG_STATE_HOME", ""), "/netsvc"),
        (environ.get("HOME", ""), "/.local/state/netsvc"),
    )
    for base, below in own:
        if base.startswith("/"):
            yield f"{base.rstrip('/')}{below}/{name}"
    for place in SYSTEM_PLACES:
        yield f"{place}/{name}"


class Connection(connection.Connection):
    """One connection to the mail service."""

    service = "mail service"
    timeout = 330.0  # more than the daemon's own 5 minutes for a submission
    hint = ""
