"""Binding listen addresses, on real sockets of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import ListenAddress, SystemdAddress, TcpAddress, UdpAddress, UnixAddress
from netsvc.errors import StartError
from netsvc.runtime.sockets import BoundSocket, bind


def no_sockets(_: SystemdAddress) -> list[int]:
    """Nothing was passed in."""
    return []


class BindTests(SynchronousTestCase):
    """bind()."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def bound(self, address: ListenAddress) -> BoundSocket:
        (made,) = bind(address, no_sockets)
        self.addCleanup(made.close)
        return made

    def test_tcp(self) -> None:
        """A TCP address listens, without blocking, and tells its port."""
        made = self.bound(TcpAddress(port=0, interface="127.0.0.1"))
        port = made.socket.getsockname()[1]
        self.assertEqual(made.where(), f"tcp:127.0.0.1:{port}")
        self.assertFalse(made.datagram)
        self.assertFalse(made.socket.getblocking())
        self.assertFalse(made.socket.get_inheritable())
        socket.create_connection(("127.0.0.1", port), 5).close()

    def test_v6(self) -> None:
        """An IPv6 address is written in brackets."""
        made = self.bound(TcpAddress(port=0, interface="::1"))
        self.assertEqual(made.where(), f"tcp:[::1]:{made.socket.getsockname()[1]}")
        self.assertTrue(made.on_loopback)

    def test_udp(self) -> None:
        """A UDP address takes datagrams."""
        made = self.bound(UdpAddress(port=0, interface="127.0.0.1"))
        self.assertTrue(made.datagram)
        self.assertIsNone(made.tls)
        self.assertFalse(made.haproxy)
        self.assertTrue(made.where().startswith("udp:127.0.0.1:"))

    def test_port_in_use(self) -> None:
        """A port that is taken is one clear line."""
        port = self.bound(TcpAddress(port=0, interface="127.0.0.1")).socket.getsockname()[1]
        error = self.assertRaises(StartError, bind, TcpAddress(port=port, interface="127.0.0.1"), no_sockets)
        self.assertEqual(
            str(error),
            f"cannot listen on tcp:127.0.0.1:{port}: Address already in use (another program listens there)",
        )

    def test_foreign_address(self) -> None:
        """An address that this machine does not have is one clear line."""
        error = self.assertRaises(StartError, bind, TcpAddress(port=0, interface="192.0.2.1"), no_sockets)
        self.assertIn("this machine has no such address", str(error))

    def test_unix(self) -> None:
        """A UNIX address has its mode, and its file goes with it."""
        path = self.directory / "echo.sock"
        (made,) = bind(UnixAddress(path=path, mode=0o640), no_sockets)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
        self.assertEqual(made.where(), f"unix:{path}")
        made.close()
        self.assertFalse(path.exists())

    def test_unix_given(self) -> None:
        """The file of a UNIX address is given to a user, what stands in its place now is not; others have none."""
        path = self.directory / "echo.sock"
        given: list[tuple[int, int, int]] = []
        chown = lambda name, uid, gid: given.append((os.stat(name).st_ino, uid, gid))  # noqa: E731
        self.patch(os, "chown", chown)
        (made,) = bind(UnixAddress(path=path, mode=0o640), no_sockets)
        self.addCleanup(made.close)
        made.give(4711, -1)
        self.assertEqual(given, [(path.lstat().st_ino, 4711, -1)])
        path.unlink()
        path.write_text("another's")
        made.give(4711, -1)
        path.unlink()
        path.symlink_to("/etc/passwd")
        made.give(4711, -1)
        self.bound(TcpAddress(port=0, interface="127.0.0.1")).give(4711, -1)
        self.assertEqual(len(given), 1)

    def test_unix_leaves_anothers_file(self) -> None:
        """A socket file that somebody else put in our place is not removed."""
        path = self.directory / "echo.sock"
        (made,) = bind(UnixAddress(path=path), no_sockets)
        path.unlink()
        path.write_text("another's")
        made.close()
        self.assertEqual(path.read_text(), "another's")

    def test_unix_stale(self) -> None:
        """A socket file that a killed daemon left is replaced; one that somebody listens on is not."""
        path = self.directory / "echo.sock"
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))
        left.close()
        self.bound(UnixAddress(path=path))
        error = self.assertRaises(StartError, bind, UnixAddress(path=path), no_sockets)
        self.assertIn("Address already in use", str(error))

    def test_unix_spares_files(self) -> None:
        """A path with an ordinary file in it is not taken."""
        path = self.directory / "precious"
        path.write_text("data")
        self.assertRaises(StartError, bind, UnixAddress(path=path), no_sockets)
        self.assertEqual(path.read_text(), "data")

    def test_systemd(self) -> None:
        """Each passed descriptor becomes a listener of its own, and the passed one stays open."""
        passed = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(passed.close)
        (made,) = bind(SystemdAddress(name="echo"), lambda _: [passed.fileno()])
        made.close()
        os.fstat(passed.fileno())

    def test_systemd_accept_yes(self) -> None:
        """A connection instead of a listener (Accept=yes) is refused with a hint."""
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        error = self.assertRaises(StartError, bind, SystemdAddress(index=0), lambda _: [one.fileno()])
        self.assertIn("Accept= must be no", str(error))

    def test_systemd_strange_type(self) -> None:
        """A socket that is neither stream nor datagram is refused."""
        one, other = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        error = self.assertRaises(StartError, bind, SystemdAddress(index=0), lambda _: [one.fileno()])
        self.assertIn("neither a stream nor a datagram", str(error))

    def test_systemd_unix_datagrams(self) -> None:
        """A UNIX datagram socket, which no service speaks, is refused."""
        one, other = socket.socketpair(type=socket.SOCK_DGRAM)
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        error = self.assertRaises(StartError, bind, SystemdAddress(index=0), lambda _: [one.fileno()])
        self.assertIn("UNIX datagram socket", str(error))

    def test_systemd_abstract_name(self) -> None:
        """A listener with an abstract name says so as ss(8) does."""
        passed = socket.socket(socket.AF_UNIX)
        self.addCleanup(passed.close)
        passed.bind(f"\0netsvc-test-{os.getpid()}")
        passed.listen()
        (made,) = bind(SystemdAddress(index=0), lambda _: [passed.fileno()])
        self.addCleanup(made.close)
        self.assertEqual(made.where(), f"unix:@netsvc-test-{os.getpid()}")

    def test_unreadable_directory_for_unix(self) -> None:
        """A socket file in a directory that is not there is one clear line."""
        error = self.assertRaises(StartError, bind, UnixAddress(path=self.directory / "no" / "x"), no_sockets)
        self.assertIn("No such file or directory", str(error))
