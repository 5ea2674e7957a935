"""Facts about what follows from settlements, as the outbox asks for it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.following import PUT_OFF, follow
from netsvc.services.smtp_client.aftermath import DEAD, follow_up
from netsvc.services.smtp_client.bounce.bouncer import Bouncer
from netsvc.services.smtp_client.bounce.collapse import Collapse
from tests.fakes import FakeRuntime
from tests.outbox.kit import open_database, submission
from tests.services.smtp_client.bounce.kit import CONTENT, HOUR, NOW, ORIGIN, lease, settlement


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
        """A dead letter that cannot be kept is told of, and nobody is given up; it is kept when it can be."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        (self.state / DEAD).write_text("in the way")
        database = open_database(self)
        bob, made = "bob@y.example", settlement(("bob@y.example", "bounced"), ("al@y.example", "delivered"))
        queue_id = database.accept(submission(bob, "al@y.example", sender=""), NOW).queue_id
        [held] = database.claim("me", 1, 1, NOW)
        put_off, follow_ups = follow(self.follow, held, made, CONTENT, NOW)
        self.assertEqual(follow_ups, ())
        self.assertIn("mail-dead-letter-not-kept", [one.get("event") for one in events])
        database.settle(held, put_off, NOW)
        states = {one.address: one.state for one in database.show(queue_id)[0].targets}
        self.assertEqual(states, {bob: "waiting", "al@y.example": "delivered"})
        self.assertEqual(database.show(queue_id)[1][0].result, "permanent")
        (self.state / DEAD).unlink()
        [held] = database.claim("me", 1, 1, NOW + PUT_OFF)
        database.settle(held, follow(self.follow, held, settlement((bob, "bounced")), CONTENT, NOW)[0], NOW)
        self.assertEqual(len(list((self.state / DEAD / "new").iterdir())), 1)
        self.assertEqual(database.audit().bounced, 1)
