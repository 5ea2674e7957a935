"""Has attempts made by agents: the deliver function of the runner. What stays on this machine needs none.

An agent is started when there is something to send, and ends when there has been nothing for some minutes. While none
can be had, the daemon makes the attempts itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from netsvc.interfaces import IRuntime
from netsvc.outbox.model import Lease, Outcome
from netsvc.services.smtp_client.agents.agent import Agent, Answer, Handed
from netsvc.services.smtp_client.routing.places import MAILDIR
from netsvc.services.smtp_client.way import Way

LOOK = 15.0  # seconds between two looks whether agents are alive, and needed
IDLE = 20  # looks without an attempt after which they end
AGAIN = 60.0  # seconds until another is tried when one did not start; doubled each time
LONGEST = 3600.0  # seconds that this becomes
BUSY = 4  # attempts that an agent has before another one is started

log = Logger()


class Agents:
    """The agents of one section.

    :param most: how many; 0: the daemon makes all attempts itself.
    :param settings: the section's.
    :param way: of the daemon itself.
    """

    def __init__(self, most: int, settings: object, runtime: IRuntime, way: Way) -> None:
        self._most = most
        self._settings = settings
        self._runtime = runtime
        self._way = way
        self._agents: list[Agent] = []
        self._not_before = 0.0
        self._pause = AGAIN
        self._notified: dict[tuple[str, int], Collection[str]] = {}
        self._made = False  # an attempt, since the last look
        self._idle = 0  # looks since the last one
        self._look = LoopingCall(self._look_after)
        self._look.clock = runtime.reactor

    def __call__(self, lease: Lease, content: bytes) -> Deferred[Iterable[Outcome]]:
        """Hand a leased message over; an outcome for each of its waiting recipients, who have one way."""
        if not self._most or lease.destination.startswith(MAILDIR):
            return self._way(lease, content)
        agent = self._choose()
        if agent is None:
            return self._way(lease, content)
        self._made = True
        handed: Any = agent.attempt(lease, content)
        handed.addCallback(self._answered, lease)
        return handed  # type: ignore[no-any-return]

    def notified(self, lease: Lease) -> Collection[str]:
        """As :meth:`netsvc.services.smtp_client.way.Way.notified`."""
        return self._notified.pop((lease.item.queue_id, lease.parcel), ()) or self._way.notified(lease)

    async def stop(self) -> None:
        """End the agents, which close the connections that they keep."""
        if self._look.running:
            self._look.stop()
        await DeferredList([one.quit() for one in self._agents])

    def _answered(self, answer: Answer, lease: Lease) -> Iterable[Outcome]:
        outcomes, notified = answer
        if notified:
            self._notified[lease.item.queue_id, lease.parcel] = notified
        return outcomes

    def _choose(self) -> Agent | None:
        """The agent that has least to do, perhaps a new one; None when there is none and none can be had now."""
        least = min(self._agents, key=lambda one: one.busy, default=None)
        if (least is None or least.busy >= BUSY) and len(self._agents) < self._most:
            another = self._begin()
            return least if another is None else another
        return least

    def _begin(self) -> Agent | None:
        reactor: Any = self._runtime.reactor
        if reactor.seconds() < self._not_before:
            return None
        try:
            agent = Agent(self._settings, self._runtime, refused=self._refused, lost=self._lost)
        except OSError as error:
            self._cannot(str(error.strerror))
            return None
        self._agents.append(agent)
        if not self._look.running:
            self._look.start(LOOK, now=False)
        return agent

    def _cannot(self, reason: str) -> None:
        self._not_before = self._runtime.reactor.seconds() + self._pause
        self._pause = min(2 * self._pause, LONGEST)
        log.error(
            "{queue}: no delivery agent can be started, the daemon makes the attempts itself: {reason}",
            event="agent-not-started",
            queue=self._runtime.name,
            reason=reason,
        )

    def _lost(self, agent: Agent) -> None:
        if agent.ready:
            self._pause = AGAIN
        if agent in self._agents:
            self._agents.remove(agent)
            if not agent.ready:
                self._cannot("it ended before it was ready")

    def _refused(self, lease: Lease, content: bytes, handed: Handed) -> None:
        """An agent never began this attempt: it is made here."""
        made: Any = self._way(lease, content)
        made.addCallback(lambda outcomes: (tuple(outcomes), self._way.notified(lease)))
        made.chainDeferred(handed)

    def _look_after(self) -> None:
        for one in list(self._agents):
            one.look()
        needed = self._made or any(one.busy for one in self._agents)
        self._made, self._idle = False, 0 if needed else self._idle + 1
        if self._idle < IDLE:
            return
        self._look.stop()
        self._idle = 0
        agents, self._agents = self._agents, []
        for one in agents:
            one.quit()
