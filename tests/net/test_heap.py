"""Facts about what large messages leave in memory."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

_CHILD = """
import os
from netsvc.net.heap import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

give_back()
before = resident()
small = []
for _ in range(4):  # what is freed teaches the library to keep the next
    some = []
    for _ in range(4):
        some.append(bytearray(os.urandom(8 << 20)))
        small.append(bytes(100_000))
    del some
print(resident() - before)
"""


class Heap(SynchronousTestCase):
    def test_given_back(self) -> None:
        """Of large pieces that are free, between small ones that are not, nothing stays."""
        left = [one for one in os.environ if not one.startswith(("MALLOC_", "GLIBC_"))]
        environment = {one: os.environ[one] for one in left}
        ran = subprocess.run(
            [sys.executable, "-c", _CHILD], env=environment, capture_output=True, check=True, text=True
        )
        self.assertLess(int(ran.stdout), 8 << 20)
