"""The daemon's ends of a script's pipes, and what the reactor may do to them."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from typing import Any
from unittest import mock

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from netsvc.services.http.cgi.child import Command, ExitWatch, ScriptStartError, group_lives, start_child
from netsvc.services.http.cgi.limits import _children, limit_process
from netsvc.services.http.cgi.pipes import BLOCK, HIGH_WATER, InputPipe, OutputPipe
from netsvc.services.http.cgi.spawn import spawn
from tests.services.http.cgi.rig import ReactorCase, descriptors, open_gate

HANG_UP = Failure(ConnectionError())


class OutputPipeTest(ReactorCase):
    """Reading what a script prints."""

    def setUp(self) -> None:
        super().setUp()
        reading, self.writing = os.pipe()
        self.received = bytearray()
        self.ended: list[str] = []
        self.pipe = OutputPipe(self.reactor, reading, self.received.extend, lambda: self.ended.append("yes"))
        self.addCleanup(self.pipe.close)
        self.addCleanup(self.close_writing)

    def close_writing(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def test_interface(self) -> None:
        """It is what the reactor wants."""
        self.assertTrue(verifyObject(IReadDescriptor, self.pipe))
        self.assertEqual(self.pipe.logPrefix(), "cgi")

    def test_rest_at_hang_up(self) -> None:
        """What is in the pipe when the reactor tells of a hang-up is read to the end."""
        os.write(self.writing, b"x" * 50_000)
        self.close_writing()
        self.pipe.connectionLost(HANG_UP)
        self.assertEqual((len(self.received), self.ended, self.pipe.closed), (50_000, ["yes"], True))
        self.pipe.doRead()
        self.pipe.script_exited()
        self.pipe.resume()

    def test_stale_hang_up(self) -> None:
        """A hang-up that was meant for an earlier descriptor is not believed."""
        os.write(self.writing, b"one")
        self.reactor.removeReader(self.pipe)  # as the reactor does before connectionLost
        self.pipe.connectionLost(HANG_UP)
        self.assertEqual((self.received, self.ended), (b"one", []))
        os.write(self.writing, b"two")
        self.spin(lambda: self.received == b"onetwo")

    def test_stale_event(self) -> None:
        """A read event without anything to read is nothing."""
        self.pipe.doRead()
        self.assertFalse(self.pipe.closed)

    def test_exit_with_held_pipe(self) -> None:
        """After the script's exit only what is in the pipe then is read, whoever holds the other end."""
        os.write(self.writing, b"one")
        self.pipe.script_exited()
        self.assertEqual((self.received, self.ended), (b"one", ["yes"]))

    def test_exit_while_paused(self) -> None:
        """While paused nothing is read; what another process adds after the exit is not either."""
        self.pipe.pause()
        os.write(self.writing, b"one")
        self.pipe.script_exited()
        os.write(self.writing, b"two")
        self.assertEqual((self.received, self.ended), (b"", []))
        self.pipe.resume()
        self.assertEqual((self.received, self.ended), (b"one", ["yes"]))

    def test_pipe_emptied_by_another(self) -> None:
        """Octets that are gone when they are read end the output all the same."""
        with mock.patch("netsvc.services.http.cgi.pipes.readable_octets", return_value=5):
            self.pipe.script_exited()
        self.assertEqual(self.ended, ["yes"])


class InputPipeTest(ReactorCase):
    """Writing a body to a script."""

    def setUp(self) -> None:
        super().setUp()
        self.reading, writing = os.pipe()
        self.flow: list[bool] = []
        self.moves: list[int] = []
        self.pipe = InputPipe(self.reactor, writing, self.flow.append, lambda: self.moves.append(1))
        self.addCleanup(self.pipe.close)
        self.addCleanup(lambda: self.reading < 0 or os.close(self.reading))

    def test_interface(self) -> None:
        """It is what the reactor wants."""
        self.assertTrue(verifyObject(IWriteDescriptor, self.pipe))
        self.assertEqual(self.pipe.logPrefix(), "cgi")

    def test_order(self) -> None:
        """Octets arrive in order, and then the end."""
        data = os.urandom(3 * BLOCK)
        self.pipe.write(data[:10])
        self.pipe.write(b"")
        self.pipe.write(data[10 : 2 * BLOCK])
        self.pipe.write(data[2 * BLOCK :])
        self.pipe.finish()
        self.assertEqual(self.flow, [True])
        self.assertTrue(self.pipe.backed_up)
        found = bytearray()
        while len(found) < len(data):
            found += os.read(self.reading, BLOCK)
            self.reactor.iterate(0)
        self.assertEqual((bytes(found), os.read(self.reading, 1)), (data, b""))
        self.assertEqual((self.flow, self.pipe.closed), ([True, False], True))
        self.assertTrue(self.moves)

    def test_cgi_04_rest_of_a_body_at_once(self) -> None:
        """A body whose last octets were held back by a full pipe is whole, also when they come within the call."""
        data = os.urandom(6 * BLOCK)

        rest = [data[3 * BLOCK :]]

        def go_on(full: bool) -> None:
            if not full and rest:
                self.pipe.write(rest.pop())
                self.pipe.finish()

        self.pipe._flow = go_on
        self.pipe.write(data[: 3 * BLOCK])
        found = bytearray()
        while part := os.read(self.reading, BLOCK):
            found += part
            self.reactor.iterate(0)
        self.assertEqual(bytes(found), data)

    def test_reader_leaves(self) -> None:
        """When the script closes stdin what waits is dropped and the peer goes on."""
        self.pipe.write(b"x" * (3 * HIGH_WATER))
        os.close(self.reading)
        self.reading = -1
        self.spin(lambda: self.pipe.closed)
        self.assertEqual(self.flow, [True, False])
        self.pipe.write(b"more")
        self.pipe.finish()
        self.pipe.doWrite()

    def test_stale_hang_up(self) -> None:
        """A hang-up that was meant for an earlier descriptor is not believed."""
        self.pipe.write(b"x" * (3 * HIGH_WATER))
        self.reactor.removeWriter(self.pipe)
        self.pipe.connectionLost(HANG_UP)
        self.assertFalse(self.pipe.closed)
        self.assertIn(self.pipe, self.reactor.getWriters())
        self.pipe.connectionLost(HANG_UP)


class ChildTest(ReactorCase):
    """Starting processes and seeing their end."""

    def start(self, text: str) -> Any:
        script = self.script(text).filename
        command = Command(arguments=(str(script),), directory=script.parent, environment={"PATH": os.defpath})
        null = os.open(os.devnull, os.O_RDWR)
        try:
            child = start_child(command, subprocess.DEVNULL, null, null)
        finally:
            os.close(null)
        self.addCleanup(lambda: child.poll() is None and (os.kill(child.pid, 9), os.waitpid(child.pid, 0)))
        return child

    def test_stale_event(self) -> None:
        """An event that was meant for an earlier descriptor is no exit."""
        child = self.start("#!/bin/sh\nexec sleep 1000")
        exits: list[str] = []
        watch = ExitWatch(self.reactor, child.pid, lambda: exits.append("yes"))
        self.assertTrue(verifyObject(IReadDescriptor, watch))
        self.assertEqual(watch.logPrefix(), "cgi")
        watch.doRead()
        watch.connectionLost(HANG_UP)
        self.assertEqual(exits, [])
        os.kill(child.pid, signal.SIGKILL)
        self.spin(lambda: exits)
        watch.doRead()
        self.assertEqual((exits, child.poll()), (["yes"], -9))

    def test_group(self) -> None:
        """A group lives while one of it does; a zombie does not. Where there is no /proc nobody knows."""
        child = self.start("#!/bin/sh\nexec sleep 1000")
        self.assertTrue(group_lives(child.pid))
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertFalse(group_lives(child.pid))
        with mock.patch("os.listdir", side_effect=OSError(2, "none")):
            self.assertTrue(group_lives(child.pid))
        with mock.patch("os.listdir", return_value=["1", "self", "99999999"]):
            self.assertFalse(group_lives(child.pid))

    def test_limits_of_children(self) -> None:
        """What a script has started before its limits were set gets them, too."""
        child = self.start("#!/bin/sh\nsleep 1000 & mkfifo ../gate; read line <../gate; kill $!; wait")
        gate = self.directory / "www" / "gate"
        self.spin(lambda: os.path.exists(gate) and len(_children(child.pid)) == 1)  # mkfifo has ended
        (grandchild,) = _children(child.pid)
        limit_process(child.pid, nice=5, cpu=7, memory=1 << 30)
        for pid in (child.pid, grandchild):
            self.assertEqual(resource.prlimit(pid, resource.RLIMIT_CPU), (7, 8))
            self.assertEqual(resource.prlimit(pid, resource.RLIMIT_AS), (1 << 30, 1 << 30))
            self.assertEqual(os.getpriority(os.PRIO_PROCESS, pid), 5)
        limit_process(child.pid, nice=0, cpu=100, memory=0)
        self.assertEqual(resource.prlimit(child.pid, resource.RLIMIT_CPU), (8, 8))
        self.spin(lambda: open_gate(self.directory / "www" / "gate"))
        os.waitpid(child.pid, 0)
        self.assertEqual((child.poll(), child.poll()), (0, 0))
        limit_process(child.pid, nice=5, cpu=7, memory=1 << 30)

    def failure(self, error: int) -> ScriptStartError:
        with mock.patch("netsvc.services.http.cgi.child.spawn", side_effect=OSError(error, os.strerror(error))):
            return self.assertRaises(ScriptStartError, self.start, "#!/bin/sh\n")

    def test_failures(self) -> None:
        """Each reason for which a script does not start has its status."""
        for error, status in ((13, 403), (8, 500), (2, 500), (7, 431), (12, 503), (24, 503), (26, 503), (40, 500)):
            self.assertEqual(self.failure(error).status, status)

    def test_gone(self) -> None:
        """A script that was removed meanwhile is 404; one whose first line cannot be read is 500."""
        script = self.script("#!/bin/sh\n").filename
        command = Command(arguments=(str(script),), directory=script.parent, environment={})
        script.unlink()
        failure = self.assertRaises(ScriptStartError, start_child, command, -3, 1, 2)
        self.assertEqual(failure.status, 404)
        script.mkdir()
        with mock.patch("netsvc.services.http.cgi.child.spawn", side_effect=OSError(2, "none")):
            failure = self.assertRaises(ScriptStartError, start_child, command, -3, 1, 2)
        self.assertEqual(failure.status, 500)

    def spawned(self, **changes: Any) -> tuple[int, str]:
        """Exit status and output of a script that says how it was started."""
        # ls has no pipe behind it: the shell would still have it open.
        text = (
            '#!/bin/sh\npwd; umask; env | grep X=; echo "$@"; ls -m /proc/$$/fd;'
            " grep SigIgn /proc/$$/status;"
            " read -r _ _ _ _ _ session _ </proc/$$/stat; [ $session = $$ ] && exit 7"
        )
        script = self.script(text).filename
        reading, writing = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        arguments: dict[str, Any] = {
            "directory": os.fspath(script.parent),
            "umask": 0o027,
            "descriptors": (null, writing, null),
        }
        try:
            pid = spawn(
                (str(script), "a b", "\udcff"), {"PATH": os.defpath, "X": "\udcff="}, **{**arguments, **changes}
            )
        finally:
            os.close(writing)
            os.close(null)
            with os.fdopen(reading, "rb") as stream:
                output = stream.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.fsdecode(output)

    def test_cgi_09_spawn(self) -> None:
        """A program gets its directory, umask, session, octets, signals and three descriptors, in either way."""
        found = self.spawned()
        status, output = found
        place, mask, variable, arguments, *rest = output.splitlines()
        self.assertEqual(
            (status, place, mask, variable, arguments),
            (7, f"{self.directory}/www/cgi-bin", "0027", "X=\udcff=", "a b \udcff"),
        )
        self.assertRegex("\n".join(rest), r"\A0, 1, 10, 2\nSigIgn:\t[0-9a-f]+\Z")
        with mock.patch("netsvc.services.http.cgi.spawn._fork_exec", side_effect=TypeError("another Python")):
            self.assertEqual(self.spawned(), found)

    def test_cgi_09_spawn_without_standard_descriptors(self) -> None:
        """A daemon that has closed its own 0, 1 and 2 starts programs as well."""
        code = (
            "import os, sys\nos.dup2(1, 9)\nfor n in (0, 1, 2): os.close(n)\n"
            "from netsvc.services.http.cgi.spawn import spawn\n"
            "null = os.open('/dev/null', os.O_RDWR)\n"
            "pid = spawn(('/bin/echo', 'ok'), {}, directory='/', umask=18, descriptors=(null, 9, null))\n"
            "os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b"ok\n"))

    def test_cgi_09_spawn_fails(self) -> None:
        """What cannot be executed is told by its errno, leaves no zombie, and no descriptor."""
        before = descriptors()
        for name, code in (("none", errno.ENOENT), ("", errno.EACCES)):
            with self.assertRaises(OSError) as caught:
                spawn((str(self.directory / name),), {}, directory="/", umask=0, descriptors=(0, 1, 2))
            self.assertEqual(caught.exception.errno, code)
        with self.assertRaises(OSError) as caught:
            spawn(("/bin/true",), {}, directory="/none", umask=0, descriptors=(0, 1, 2))
        self.assertEqual(caught.exception.errno, errno.ENOENT)
        with self.assertRaises(ValueError):
            spawn(("/bin/true",), {"A": "\0"}, directory="/", umask=0, descriptors=(0, 1, 2))
        self.assertEqual(descriptors(), before)

    def test_import(self) -> None:
        """The module imports no reactor."""
        code = "import sys, netsvc.services.http.cgi.engine; print('twisted.internet.reactor' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        self.assertEqual(found.strip(), "False")
