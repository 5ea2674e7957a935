"""Raises the number of descriptors that this process may have to what it may raise it to.

The soft limit is commonly 1024, for the sake of programs that use select(2) (getrlimit(2), systemd.exec(5)
"LimitNOFILE="); with it the thousandth connection would wait although `max_connections` allows it.
"""

from __future__ import annotations

import contextlib
import resource

ENOUGH = 1 << 20  # descriptors; fs.nr_open's default, and more than anybody's connections


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one; where the system does not let us it stays what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
