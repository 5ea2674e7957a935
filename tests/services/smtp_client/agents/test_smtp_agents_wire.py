"""Facts about what the daemon and its delivery agents say to each other."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.outbox.model import Outcome
from netsvc.services.smtp_client.agents import events, wire
from netsvc.services.smtp_client.dkim_keys import DkimKey
from netsvc.services.smtp_client.settings import SmtpClientSettings
from tests.outbox.test_outbox_rules import lease
from tests.services.smtp_client.test_smtp_passage import SEED

OUTCOMES = (
    Outcome(target="a@b.example", result="delivered", code=250, enhanced="2.0.0", text="taken", via="smtp:h:25"),
    Outcome(target="\N{SNOWMAN}@b.example", result="retry", text="no\ud800", unreachable=True),
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=30,
)


def frames(octets: bytes, longest: int | None = None) -> list[wire.Frame]:
    """The frames in octets."""
    return list(wire.Frames(longest).feed(octets))


class Framing(SynchronousTestCase):
    OCTETS = wire.frame(wire.STOP, 7) + wire.frame(wire.OUTCOMES, [1, "x"], b"\0" * 40) + wire.frame(wire.QUIT, None)

    def test_whole(self) -> None:
        """Frames come in order, each with its octets; the beginning of another waits."""
        one, two, three = frames(self.OCTETS + wire.frame(wire.READY, None)[:-1])
        self.assertEqual((one.kind, one.head, one.octets), (wire.STOP, 7, b""))
        self.assertEqual((two.kind, two.head, two.octets), (wire.OUTCOMES, [1, "x"], b"\0" * 40))
        self.assertEqual(three.kind, wire.QUIT)

    def test_byte_by_byte(self) -> None:
        """It does not matter how the octets come."""
        reader = wire.Frames()
        found = [one for at in range(len(self.OCTETS)) for one in reader.feed(self.OCTETS[at : at + 1])]
        self.assertEqual(found, frames(self.OCTETS))

    def test_too_long(self) -> None:
        """A frame that says that it is longer than it may be is none, before it is there."""
        with self.assertRaises(wire.BrokenFrameError):
            frames(self.OCTETS[:60], longest=20)

    def test_no_json(self) -> None:
        """A head that cannot be read breaks the stream."""
        with self.assertRaises(wire.BrokenFrameError):
            frames(wire.frame(wire.LOG, "xx").replace(b'"xx"', b"{{{{"))
        with self.assertRaises(wire.BrokenFrameError):
            frames(wire.frame(wire.LOG, "x" * 100_000).replace(b'"' + b"x" * 100_000 + b'"', b"[" * 100_002))


class Attempts(SynchronousTestCase):
    def test_attempt(self) -> None:
        """An agent knows of a lease what an attempt needs."""
        given = lease()
        (frame,) = frames(wire.attempt(3, given, b"octets"))
        number, found = wire.read_attempt(frame, frame.octets)
        self.assertEqual((number, frame.octets), (3, b"octets"))
        for one, other in ((found.item, given.item), (found, given)):
            for name in ("queue_id", "submitter", "sender", "accepted_at", "destination", "parcel"):
                if hasattr(other, name):
                    self.assertEqual(getattr(one, name), getattr(other, name), name)
        self.assertEqual(dict(found.item.meta), dict(given.item.meta))
        self.assertEqual(
            [(one.index, one.address) for one in found.targets], [(one.index, one.address) for one in given.targets]
        )

    def test_outcomes(self) -> None:
        """Outcomes come as they were, half of a surrogate pair as well."""
        (frame,) = frames(wire.outcomes(9, OUTCOMES, {"a@b.example"}))
        self.assertEqual(wire.read_outcomes(frame.head), (9, OUTCOMES, frozenset({"a@b.example"})))

    @settings(deadline=None)
    @given(ANYTHING)
    def test_anything(self, head: Any) -> None:
        """Whatever an agent says is outcomes or a broken frame; and so is an event of the log."""
        try:
            number, found, _ = wire.read_outcomes(json.loads(json.dumps(head)))
        except wire.BrokenFrameError:
            pass
        else:
            self.assertIsInstance(number, int)
            self.assertTrue(all(isinstance(one, Outcome) for one in found))
        with contextlib.suppress(wire.BrokenFrameError):
            events.tell(head)

    def test_results(self) -> None:
        """A result that there is not is no outcome."""
        for line in (["a", "sent", None, None, "", "", False], ["a", "retry", "250", None, "", "", False], ["a"]):
            with self.assertRaises(wire.BrokenFrameError):
                wire.read_outcomes([1, [line], []])


class Events(SynchronousTestCase):
    def said(self, *made: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        observer: Any = found.append
        globalLogPublisher.addObserver(observer)
        try:
            for one in made:
                head = events.to_head(one)
                if head is not None:
                    events.tell(json.loads(json.dumps(head)))
        finally:
            globalLogPublisher.removeObserver(observer)
        self.flushLoggedErrors(RuntimeError)
        return found

    def test_event(self) -> None:
        """An event comes out with its text, level, name and fields; braces in it are only braces."""
        made: list[dict[str, Any]] = []
        observer: Any = made.append
        log = Logger(namespace="netsvc.x", observer=observer)
        log.warn("the {what} of {one!r}", event="an-event", what="{brace}", one=self)
        try:
            raise ValueError("why")
        except ValueError:
            log.failure("a fault", Failure(), event="a-fault")
        Logger(namespace="twisted.internet", observer=observer).info("chatter")
        first, second = self.said(*made)
        self.assertEqual((first["log_namespace"], first["log_level"].name), ("netsvc.x", "warn"))
        self.assertEqual((first["event"], first["what"]), ("an-event", "{brace}"))
        self.assertEqual(first["log_format"].format(), f"the {{brace}} of {self!r}")
        self.assertIn("ValueError: why", second["log_failure"].getTraceback())


class Settings(SynchronousTestCase):
    def test_pickled(self) -> None:
        """Settings arrive as they are, secrets and keys among them."""
        key = DkimKey("a.example", "s", Secret("literal", SEED))
        there = pickle.loads(pickle.dumps(SmtpClientSettings(dkim=(key,), password=Secret("literal", "x"))))
        self.assertEqual(there.dkim[0].sign(b"x"), key.sign(b"x"))
        self.assertEqual(there.password.reveal(), "x")
