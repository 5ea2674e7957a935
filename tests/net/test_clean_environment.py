"""The environment of children."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.environment import clean_environment


class CleanEnvironmentTests(SynchronousTestCase):
    def test_private(self) -> None:
        """What systemd meant for the daemon alone does not reach a child."""
        private = [
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "LISTEN_PIDFDID",
            "CREDENTIALS_DIRECTORY",
            "FDSTORE",
            "JOURNAL_STREAM",
            "MAINPID",
        ]
        environ = dict.fromkeys([*private, "PATH", "LANG", "LISTENER"], "x")
        self.assertEqual(clean_environment(environ), dict.fromkeys(["PATH", "LANG", "LISTENER"], "x"))

    def test_copy(self) -> None:
        """The daemon's own environment is left as it is."""
        environ = {"NOTIFY_SOCKET": "/run/x"}
        clean_environment(environ)["A"] = "b"
        self.assertEqual(environ, {"NOTIFY_SOCKET": "/run/x"})
