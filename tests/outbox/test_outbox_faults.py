"""The faults of the host, 53 to 59: nothing that was acknowledged is lost, and nothing is half kept."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.outbox.custody import EAGER_RECOVERIES
from netsvc.outbox.model import Outcome
from netsvc.outbox.retry import DAY
from tests.outbox.deaths import ROOT, examine, live
from tests.outbox.kit import START, open_database, submission, temporary
from tests.outbox.test_outbox_runner import RunnerCase
from tests.outbox.test_outbox_store import StoreCase


class Deaths(SynchronousTestCase):
    def campaign(self, call: str, places: tuple[int, ...]) -> None:
        directory = temporary(self)
        lives = []
        for place in places:
            lives.append(live(directory, f"{call}:signal=KILL:when={place}"))
            self.assertEqual(examine(directory, lives), [], f"{call} {place}")
        self.assertTrue(any(one.said("accepted") for one in lives))
        self.assertNotIn("end", [word for one in lives for word, _ in one.lines])

    def test_mail_fault_53_killed_at_an_fsync(self) -> None:
        """A process that is killed at its first, third or later fsync loses nothing that it acknowledged."""
        self.campaign("fsync,fdatasync", (1, 3, 4, 6, 8))

    def test_mail_fault_53_killed_at_a_write(self) -> None:
        """A process that is killed in the middle of writing its log loses nothing that it acknowledged."""
        self.campaign("pwrite64", (1, 9, 30, 61, 92))

    def refusing(self, injection: str, words: str) -> None:
        directory = temporary(self)
        lives = [live(directory, "fdatasync:delay_enter=0:when=1", 1)]
        lives.append(live(directory, injection))
        self.assertRegex(" ".join(lives[1].said("refused")), words)
        self.assertEqual(examine(directory, lives), [])
        lives.append(live(directory, "fdatasync:delay_enter=0:when=1", 2))
        self.assertEqual(len(lives[2].said("accepted")), 2)
        self.assertEqual(examine(directory, lives), [])

    def test_mail_fault_54_fsync_fails(self) -> None:
        """What an fsync with EIO did not bring to the disk is refused; what was acknowledged before and after stays."""
        self.refusing("fsync,fdatasync:error=EIO:when=4", "disk I/O error")

    def test_mail_fault_55_disk_full(self) -> None:
        """While the disk is full every submission is refused; what is there stays whole and goes out later."""
        self.refusing("pwrite64:error=ENOSPC:when=30..90", "full|disk I/O error")

    def test_mail_fault_56_read_only(self) -> None:
        """While the file system is read-only every submission is refused; nothing of it is kept."""
        self.refusing("pwrite64:error=EROFS:when=30..90", "disk I/O error|readonly")

    def test_mail_fault_58_no_descriptors(self) -> None:
        """A process that has no descriptor left still accepts and delivers: everything is open that it needs."""
        directory = temporary(self)
        code = (
            "import resource, runpy, sys, os\n"
            "import tests.outbox.death_child as child\n"
            "say = child.say\n"
            "def limit(*words):\n"
            "    if words == ('open',):\n"
            "        most = max(int(one) for one in os.listdir('/proc/self/fd'))\n"
            "        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\n"
            "    say(*words)\n"
            "child.say = limit\n"
            "child.main(sys.argv[1], '3')\n"
        )
        child = subprocess.run([sys.executable, "-c", code, directory], capture_output=True, text=True, cwd=ROOT)
        self.assertEqual(child.stdout.splitlines()[-1:], ["end"], child.stderr)
        self.assertEqual(child.stdout.count("accepted"), 3)
        self.assertEqual(open_database(self, directory).audit().delivered, 4)


class Clocks(RunnerCase):
    def test_mail_fault_57_clock_jumps(self) -> None:
        """A clock that jumps five days ahead and back again expires nothing; all is delivered in the end."""
        self.answers = ["retry"] * 6
        self.runner.startService()
        self.accept("b@x")
        self.accept("c@y")
        for jump in (5 * DAY, -10 * DAY, 5 * DAY):
            self.offset += jump
            self.clock.pump([60] * 30)
        self.assertEqual(self.store.database.audit().waiting, 2)
        while self.store.database.audit().waiting:
            for _, _, deferred in self.asked:
                if not deferred.called:
                    lease = next(one[0] for one in self.asked if one[2] is deferred)
                    deferred.callback([Outcome(target=one.address, result="delivered") for one in lease.targets])
            self.answers = ["delivered"] * 2
            self.clock.advance(60)
        self.assertEqual(self.store.database.audit().delivered, 2)
        self.assertEqual(self.seen("outbox-expired"), [])


class Poison(StoreCase):
    def test_mail_fault_59_poison_row(self) -> None:
        """An item at which the daemon dies again and again backs off; the others are not kept from going."""
        store = self.open()
        poison = self.reactor.wait(store.accept(submission(), START)).queue_id
        for _ in range(EAGER_RECOVERIES + 1):
            self.reactor.wait(store.claim("me", 9, 10**6, START))
            self.reactor.wait(store.close())
            store = self.open()
        other = self.reactor.wait(store.accept(submission(), START)).queue_id
        leases = self.reactor.wait(store.claim("me", 9, 10**6, START))
        self.assertEqual([one.item.queue_id for one in leases], [other])
        summary, _ = self.reactor.wait(store.show(poison))
        self.assertGreater(summary.item.next_at, START)

    def test_mail_fault_60_two_daemons_on_one_directory(self) -> None:
        """A second daemon on the queue of a living one is refused by name, and changes nothing."""
        store = self.open()
        self.reactor.wait(store.accept(submission(), START))
        with self.assertRaisesRegex(StartError, "one queue has one daemon"):
            self.open()
        self.assertEqual(self.reactor.wait(store.audit()).waiting, 1)
