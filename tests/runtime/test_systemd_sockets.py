"""Sockets passed in by systemd."""

from __future__ import annotations

import errno
import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import SystemdAddress
from netsvc.errors import StartError
from netsvc.runtime.systemd_sockets import Inherited, inherited

PID = 4711


class InheritedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.closed_on_exec: list[int] = []

    def parse(self, **environ: str) -> Inherited:
        self.environ = {"PATH": "/bin", **environ}
        found = inherited(self.environ, PID, self.set_inheritable)
        self.assertEqual(self.environ, {"PATH": "/bin"})
        return found

    def set_inheritable(self, descriptor: int, inheritable: bool) -> None:
        if descriptor == 7:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.assertFalse(inheritable)
        self.closed_on_exec.append(descriptor)

    def test_names(self) -> None:
        """Two descriptors of one name are two, in order."""
        found = self.parse(LISTEN_PID="4711", LISTEN_FDS="3", LISTEN_FDNAMES="web:mail:web")
        self.assertEqual(found.descriptors, (3, 4, 5))
        self.assertEqual(found.take(SystemdAddress(name="web")), [3, 5])
        self.assertEqual(found.untaken, ((4, "mail"),))
        self.assertEqual(self.closed_on_exec, [3, 4, 5])

    def test_index(self) -> None:
        """Without names descriptors are had by their index, and are called unknown."""
        found = self.parse(LISTEN_PID="4711", LISTEN_FDS="2")
        self.assertEqual(found.take(SystemdAddress(index=1)), [4])
        self.assertEqual(found.names, ("unknown", "unknown"))
        self.assertEqual(found.take(SystemdAddress(index=0)), [3])

    def test_missing_names(self) -> None:
        """Descriptors without a name of their own are called unknown."""
        self.assertEqual(
            self.parse(LISTEN_PID="4711", LISTEN_FDS="3", LISTEN_FDNAMES="web:").names, ("web", "unknown", "unknown")
        )

    def test_none(self) -> None:
        """Without the variables, or with another process' ones, nothing was passed; the variables go all the same."""
        for environ in (
            {},
            {"LISTEN_PID": "4712", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"},
            {"LISTEN_FDS": "2"},
            {"LISTEN_PID": "4711"},
            {"LISTEN_PID": "4711", "LISTEN_FDS": "0", "LISTEN_PIDFDID": "1"},
        ):
            self.assertEqual(len(self.parse(**environ)), 0)
        self.assertEqual(self.closed_on_exec, [])

    def test_nonsense(self) -> None:
        """Variables that make no sense end the start, in one line that names them."""
        for environ, words in (
            ({"LISTEN_PID": "x\n", "LISTEN_FDS": "2"}, "LISTEN_PID 'x\\n' is not a number"),
            ({"LISTEN_PID": "4711", "LISTEN_FDS": "-1"}, "LISTEN_FDS '-1' is not a number"),
            ({"LISTEN_PID": "4711", "LISTEN_FDS": "99999999999"}, "is not a number"),
            ({"LISTEN_PID": "4711", "LISTEN_FDS": "70000"}, "more than 65536"),
            ({"LISTEN_PID": "4711", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, "2 names for 1 descriptors"),
            ({"LISTEN_PID": "4711", "LISTEN_FDS": "5"}, "descriptor 7 cannot be used: Bad file descriptor"),
        ):
            with self.assertRaises(StartError) as caught:
                self.parse(**environ)
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_real_descriptors(self) -> None:
        """A real descriptor becomes close-on-exec."""
        with socket.socket() as one:
            os.set_inheritable(one.fileno(), True)
            taken: list[int] = []

            def set_inheritable(descriptor: int, inheritable: bool) -> None:
                taken.append(descriptor)
                os.set_inheritable(one.fileno(), inheritable)

            inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, 1, set_inheritable)
            self.assertEqual(taken, [3])
            self.assertFalse(one.get_inheritable())


class TakeTests(SynchronousTestCase):
    def refusal(self, found: Inherited, address: SystemdAddress) -> str:
        with self.assertRaises(StartError) as caught:
            found.take(address)
        return str(caught.exception)

    def test_nothing_passed(self) -> None:
        """A listen line for systemd in a daemon that systemd did not start says so."""
        self.assertIn("systemd passed no sockets in", self.refusal(Inherited(), SystemdAddress(index=0)))

    def test_no_such_index(self) -> None:
        """An index too high says how many there are."""
        text = self.refusal(Inherited([3, 4]), SystemdAddress(index=2))
        self.assertEqual(text, "cannot listen on systemd:2: systemd passed 2 in, counted from 0 to 1")

    def test_no_such_name(self) -> None:
        """An unknown name says which there are."""
        text = self.refusal(Inherited([3, 4], ["web", "web"]), SystemdAddress(name="mail"))
        self.assertEqual(text, "cannot listen on systemd:mail: systemd passed no socket of that name in (but web)")

    def test_twice(self) -> None:
        """A socket is had once, by name or by index."""
        found = Inherited([3, 4], ["web", "web"])
        found.take(SystemdAddress(index=1))
        self.assertIn("another listen line has that socket", self.refusal(found, SystemdAddress(name="web")))
        self.assertEqual(found.untaken, ((3, "web"),))
