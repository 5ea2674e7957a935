"""Facts about what follows from settlements, as the outbox asks for it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.aftermath import DEAD, follow_up
from netsvc.services.smtp_client.bounce.bouncer import Bouncer
from netsvc.services.smtp_client.bounce.collapse import Collapse
from tests.fakes import FakeRuntime
from tests.services.smtp_client.bounce.kit import CONTENT, HOUR, ORIGIN, lease, settlement


class Burying(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-dead-")
        self.addCleanup(directory.cleanup)
        self.state = Path(directory.name)
        runtime: Any = FakeRuntime(name="smtp_client", state_directory=self.state)
        bouncer = Bouncer(ORIGIN, Collapse(HOUR), delay_after=None, give_up_after=120 * HOUR, queue="smtp_client")
        self.follow = follow_up(bouncer, lambda _: (), "here.example", lambda one: one, runtime)

    def test_mail_fault_53_dead_letter_comes_first(self) -> None:
        """A dead letter is on the disk before the settlement that ends custody of it can be written; twice is once."""
        for _ in range(2):
            self.assertEqual(self.follow(lease(sender=""), settlement(("bob@y.example", "bounced")), CONTENT), ())
            [file] = (self.state / DEAD / "new").iterdir()
            self.assertTrue(file.read_bytes().endswith(CONTENT.replace(b"\r\n", b"\n")))

    def test_mail_fault_65_not_kept(self) -> None:
        """A dead letter that cannot be kept is told of, and hinders no settlement."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        (self.state / DEAD).write_text("in the way")
        self.assertEqual(self.follow(lease(sender=""), settlement(("bob@y.example", "bounced")), CONTENT), ())
        self.assertIn("mail-dead-letter-lost", [one.get("event") for one in events])
