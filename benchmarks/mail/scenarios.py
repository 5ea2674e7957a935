"""What is measured of mail, and the ratios that netsvc must reach.

smtp-source hands messages in; the clock stops when the sink has the last of them. Rounds go from peer to peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmarks.contestants import Running
from benchmarks.mail import backlog, contestants, deferred, fsyncs
from benchmarks.mail.loads import Load, acceptance, through
from benchmarks.mail.sinks import CountingSink, Distant, Sink, SmtpSink
from benchmarks.result import MIB, Effort, Result, Target

MANY = 1000  # recipients of one message
TRANSACTIONS = 10.0  # in which it is to be delivered: 100 recipients each


@dataclass(frozen=True)
class Plan:
    """A scenario that hands messages in and waits for the last of them.

    :param rate: messages of a round for each second that it is to last, about.
    :param eager: both try again after at most a second what was put off.
    :param share: of the messages that the rate is of: the very last, put off twice, tell about chance only.
    """

    load: Load
    sink: Callable[[], Sink] = SmtpSink
    targets: tuple[Target, ...] = ()
    rate: int = 300
    eager: bool = False
    share: float = 1.0


@dataclass
class Seen:
    """What the rounds of one peer found, beside the value of the scenario."""

    taken: list[float] = field(default_factory=list)  # messages/s
    late: list[float] = field(default_factory=list)  # ms
    last: list[float] = field(default_factory=list)  # seconds until all were through
    memory: int = 0  # octets

    def note(self, peer: Running, count: int, *, tail: bool) -> str:
        """For the table.

        :param tail: with the time until all were through.
        """
        rates = f"taken in at {median(self.taken):,.0f}/s, p99 of acceptance {median(self.late):,.1f} ms"
        rest = f", the last of {count:,} after {median(self.last):.1f} s" if tail else ""
        return f"{rates}{rest}, peak RSS {peer.server.family_peak() / MIB:,.0f} MiB"


@contextmanager
def _running(plan: Plan, names: list[str]) -> Iterator[tuple[Sink, list[Running]]]:
    """The sink, and the peers, each warm."""
    with ExitStack() as stack:
        sink = plan.sink()
        stack.callback(sink.stop)
        peers = []
        for one in names:
            peer = contestants.ALL[one](sink.port, eager=plan.eager)
            stack.callback(peer.stop)
            peers.append(peer)
            # Processes, connections, the first of the disk.
            through(peer, sink, plan.load, max(1, plan.load.sessions * min(5, plan.rate // 30)))
        yield sink, peers


def _through(name: str, plan: Plan) -> Callable[[Effort, list[str]], Result]:
    def scenario(effort: Effort, names: list[str]) -> Result:
        result = Result(name, "messages/s", plan.targets)
        count = max(plan.load.sessions, int(plan.rate * effort.seconds))
        # The last of what is put off comes seconds later, and makes each round so much longer.
        rounds = max(1, effort.rounds // 2) if plan.eager else effort.rounds
        with _running(plan, names) as (sink, peers):
            seen = {peer.name: Seen() for peer in peers}
            for _ in range(rounds):
                for peer in peers:
                    before = peer.server.processor_seconds()
                    passed = through(peer, sink, plan.load, count, plan.share)
                    result.add(peer.name, passed.rate)
                    spent = (peer.server.processor_seconds() - before) / count
                    result.processor.setdefault(peer.name, []).append(spent * 1e6)
                    seen[peer.name].taken.append(passed.taken)
                    seen[peer.name].last.append(passed.seconds)
                    seen[peer.name].memory = max(seen[peer.name].memory, peer.server.proportional())
                for peer in peers:
                    seen[peer.name].late.append(acceptance(peer, sink, plan.load, count))
            for peer in peers:
                result.memory[peer.name] = seen[peer.name].memory / MIB
                result.notes[peer.name] = seen[peer.name].note(peer, count, tail=plan.share < 1)
        return result

    return scenario


def _many_recipients(effort: Effort, names: list[str]) -> Result:
    """In how many transactions a message to very many goes out."""
    name, load = "mail-1000-recipients", Load(sessions=1, recipients=MANY)
    result = Result(name, "transactions", (Target(most=TRANSACTIONS),))
    count = max(2, int(4 * effort.seconds))
    with ExitStack() as stack:
        sink = CountingSink()
        stack.callback(sink.stop)
        for one in names:
            peer = contestants.ALL[one](sink.port)
            stack.callback(peer.stop)
            through(peer, sink, load, 1)
            before = sink.transactions()
            passed = through(peer, sink, load, count)
            result.add(one, (sink.transactions() - before) / count)
            result.notes[one] = f"recipients served at {passed.rate * MANY:,.0f}/s"
    return result


PLANS = {
    "mail-20-sessions": Plan(Load(), targets=(Target("postfix", least=2.0),)),
    "mail-1-session": Plan(Load(sessions=1), targets=(Target("postfix", least=1.2),)),
    "mail-100-sessions": Plan(Load(sessions=100)),
    "mail-1mib": Plan(Load(size=MIB), rate=30),
    "mail-50-recipients": Plan(Load(recipients=50), CountingSink, rate=60),
    "mail-20ms": Plan(Load(), lambda: Distant(SmtpSink(), round_trip=20), rate=150),
    "mail-tempfail": Plan(Load(), lambda: CountingSink(tempfail=50), eager=True, share=0.9),
}
ALL: dict[str, Callable[[Effort, list[str]], Result | list[Result]]] = {
    **{name: _through(name, plan) for name, plan in PLANS.items()},
    "mail-1000-recipients": _many_recipients,
    "mail-deferred": deferred.scenario,
    "mail-queue": backlog.scenario,
    "mail-fsyncs": fsyncs.scenario,
}
