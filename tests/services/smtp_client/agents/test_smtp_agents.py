"""Facts about which process makes an attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.model import Lease, Outcome
from netsvc.services.smtp_client.agents import agents as module
from netsvc.services.smtp_client.agents.agent import Handed
from netsvc.services.smtp_client.agents.agents import AGAIN, BUSY, IDLE, LOOK, Agents
from tests.fakes import FakeRuntime
from tests.outbox.test_outbox_rules import lease


class FakeAgent:
    """Makes attempts when it is told to."""

    made: list[FakeAgent]

    def __init__(self, settings: object, runtime: Any, *, refused: Any, lost: Callable[[Any], None]) -> None:
        self.refused, self.lost = refused, lost
        self.asked: list[tuple[Lease, bytes, Handed]] = []
        self.ready = self.quitted = False
        self.looks = 0
        self.made.append(self)

    @property
    def busy(self) -> int:
        return len(self.asked)

    def attempt(self, one: Lease, content: bytes) -> Handed:
        self.asked.append((one, content, Handed(lambda: None)))
        return self.asked[-1][2]

    def look(self) -> None:
        self.looks += 1

    def quit(self) -> Deferred[None]:
        self.quitted = True
        return succeed(None)


class FakeWay:
    """The daemon's own way."""

    def __init__(self) -> None:
        self.went: list[bytes] = []

    def __call__(self, one: Lease, content: bytes) -> Deferred[Any]:
        self.went.append(content)
        return succeed((Outcome(target="a", result="delivered"),))

    def notified(self, one: Lease) -> frozenset[str]:
        return frozenset({"by the daemon's"})


class Choosing(SynchronousTestCase):
    def setUp(self) -> None:
        FakeAgent.made = []
        self.runtime = FakeRuntime()
        self.way: Any = FakeWay()
        self.patch(module, "Agent", FakeAgent)

    def agents(self, most: int = 1) -> Agents:
        return Agents(most, object(), self.runtime, self.way)

    def test_answer(self) -> None:
        """An agent's outcomes are the attempt's, and who is notified is told once."""
        agents = self.agents()
        done = agents(lease(), b"x")
        ((one, content, handed),) = FakeAgent.made[0].asked
        self.assertEqual(content, b"x")
        outcomes = (Outcome(target="a", result="delivered"),)
        handed.callback((outcomes, {"a"}))
        self.assertEqual(self.successResultOf(done), outcomes)
        self.assertEqual(agents.notified(one), {"a"})
        self.assertEqual(self.way.went, [])

    def test_maildirs(self) -> None:
        """What stays on this machine needs no agent."""
        self.successResultOf(self.agents()(evolve(lease(), destination="maildir:mail"), b"x"))
        self.assertEqual((self.way.went, FakeAgent.made), ([b"x"], []))

    def test_more(self) -> None:
        """Another agent is started when all have much to do, up to the number that is allowed."""
        agents = self.agents(2)
        for _ in range(BUSY):
            agents(lease(), b"")
        self.assertEqual([one.busy for one in FakeAgent.made], [BUSY])
        for _ in range(BUSY * 2):
            agents(lease(), b"")
        self.assertEqual([one.busy for one in FakeAgent.made], [6, 6])

    def test_none_to_be_had(self) -> None:
        """While no agent can be started the daemon makes the attempts; another is tried after a time that doubles."""
        agents = self.agents()
        with mock.patch.object(module, "Agent", side_effect=OSError(12, "Cannot allocate memory")) as made:
            for seconds in (0, AGAIN - 1, 1, AGAIN, AGAIN):
                self.runtime.reactor.advance(seconds)
                self.successResultOf(agents(lease(), b"x"))
            self.assertEqual((len(self.way.went), made.call_count), (5, 3))
        self.runtime.reactor.advance(4 * AGAIN)
        agents(lease(), b"x")
        self.assertEqual((len(self.way.went), len(FakeAgent.made)), (5, 1))

    def test_ended_before_it_was_ready(self) -> None:
        """What such an agent was asked for, the daemon does."""
        agents = self.agents()
        done = agents(lease(), b"x")
        (agent,) = FakeAgent.made
        agent.lost(agent)
        ((one, content, handed),) = agent.asked
        agent.refused(one, content, handed)
        self.assertEqual([each.result for each in self.successResultOf(done)], ["delivered"])
        self.assertEqual((self.way.went, agents.notified(one)), ([b"x"], frozenset({"by the daemon's"})))
        self.successResultOf(agents(lease(), b"y"))  # no other is tried at once

    def test_died(self) -> None:
        """One that was ready is followed by another at once."""
        agents = self.agents()
        agents(lease(), b"x")
        (agent,) = FakeAgent.made
        agent.ready = True
        agent.lost(agent)
        agents(lease(), b"x")
        self.assertEqual(len(FakeAgent.made), 2)

    def test_idle(self) -> None:
        """Agents that have had nothing to do for a time end; one that works stays."""
        agents = self.agents()
        agents(lease(), b"x")
        (agent,) = FakeAgent.made
        self.runtime.reactor.pump([LOOK] * (IDLE + 1))
        self.assertEqual((agent.quitted, agent.looks), (False, IDLE + 1))
        del agent.asked[:]
        self.runtime.reactor.pump([LOOK] * IDLE)
        self.assertTrue(agent.quitted)
        self.assertEqual(self.runtime.reactor.getDelayedCalls(), [])
        agents(lease(), b"x")
        self.assertEqual(len(FakeAgent.made), 2)

    def test_stop(self) -> None:
        """At the end the agents are told."""
        agents = self.agents()
        agents(lease(), b"x")
        self.successResultOf(Deferred.fromCoroutine(agents.stop()))
        self.assertTrue(FakeAgent.made[0].quitted)
        self.assertEqual(self.runtime.reactor.getDelayedCalls(), [])
