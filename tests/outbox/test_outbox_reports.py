"""What a runner says of its work."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.custody import Custody
from netsvc.outbox.model import Outcome
from netsvc.outbox.reports import Reports
from tests.fakes import FakeMetrics
from tests.outbox.kit import START, open_database, submission


class Lines(SynchronousTestCase):
    def line(self, **outcome: Any) -> str:
        """What is said of an attempt, without the queue id."""
        database = open_database(self)
        database.accept(submission(), START)
        (lease,) = database.claim("me", 1, 1, START)
        made = Outcome(target="b@example.com", **outcome)
        events: list[Any] = []
        reports = Reports("mail", FakeMetrics(), Logger("outbox", observer=events.append))
        reports.settled(lease, Custody().settle(lease, [made], now=START, random=lambda: 0.5))
        return formatEvent(events[0]).removeprefix(lease.item.queue_id)

    def test_via(self) -> None:
        """The line of what was delivered or put off says by which server, and what protected the way there."""
        via = "smtp:mx.example.com:25 TLSv1.3 TLS_AES_256_GCM_SHA384 verified"
        self.assertEqual(
            self.line(result="delivered", code=250, text="taken", via=via),
            f" to b@example.com delivered: 250 taken, by {via}",
        )
        self.assertEqual(self.line(result="retry", text="busy", via=via), f" to b@example.com deferred: busy, by {via}")
        self.assertEqual(self.line(result="retry", text="no route"), " to b@example.com deferred: no route")
