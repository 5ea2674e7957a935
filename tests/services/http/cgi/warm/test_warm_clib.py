"""What the fork server asks of the C library itself, in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.warm import server

PROGRAM = """
import ctypes, os, runpy, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: nobody else's, were it an orphan
reading, writing = os.pipe()
middle = os.fork()
if not middle:
    fork, clear, write, rename = runpy.run_path(sys.argv[1])["c_library"]()
    pid = fork()
    if pid:
        os.read(reading, 1)  # it lives on: who has this child already did not inherit it
        os._exit(0)
    rename(b"renamed")
    clear()
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    room = ctypes.create_string_buffer(b"before")
    write(ctypes.addressof(room), b"AFTER")
    print(os.getppid(), libc.gettid() == os.getpid(), flush=True)
    print(open("/proc/self/comm").read().strip(), libc.getenv(b"PATH"), room.value.decode(), flush=True)
    os.write(writing, b"x")
    os._exit(7)
pid, status = os.waitpid(-1, 0)
other, _ = os.waitpid(-1, 0)
print(sorted([pid == middle, other == middle]), os.getpid())
print(os.waitstatus_to_exitcode(status) in (0, 7))
"""


class ClibTest(SynchronousTestCase):
    """The machines of the tests have a C library that is known."""

    def test_warm_one_fork(self) -> None:
        """A child is its grandparent's while its parent lives; its name, memory and C environment are set from here."""
        clib = Path(server.PROGRAM).with_name("clib.py")
        done = subprocess.run([sys.executable, "-c", PROGRAM, clib], capture_output=True, text=True, timeout=30)
        first, second, third, fourth = done.stdout.split("\n")[:4]
        parent, thread = first.split()
        self.assertEqual((second, thread, fourth), ("renamed None AFTERe", "True", "True"), done.stderr)
        self.assertEqual(third, f"[False, True] {parent}")
