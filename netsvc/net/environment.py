"""The environment that children get: the daemon's own, without what systemd meant for the daemon alone."""

from __future__ import annotations

from collections.abc import Mapping

# sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3), systemd.exec(5) "Environment Variables in Spawned Processes".
# A child with these could report for the daemon, take its sockets for its own, or read its credentials.
PRIVATE_NAMES = frozenset(
    {
        "CREDENTIALS_DIRECTORY",
        "FDSTORE",
        "JOURNAL_STREAM",
        "MAINPID",
        "MANAGERPID",
        "MEMORY_PRESSURE_WATCH",
        "MEMORY_PRESSURE_WRITE",
        "NOTIFY_SOCKET",
    }
)
PRIVATE_PREFIXES = ("LISTEN_", "WATCHDOG_")


def is_private(name: str) -> bool:
    """Whether a variable is between systemd and the daemon only."""
    return name in PRIVATE_NAMES or name.startswith(PRIVATE_PREFIXES)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """A copy of an environment that is fit for a child."""
    return {name: value for name, value in environ.items() if not is_private(name)}
