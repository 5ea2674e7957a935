"""Whose turn it is when more scripts are asked for than may run, and engines that stand side by side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.turns import Turns, source_of
from tests.services.http.cgi.rig import EngineCase, FakeExchange, is_alive, open_gate

PLAIN = "#!/bin/sh\necho Content-Type: text/plain; echo; "
WAITS = PLAIN + "mkfifo ../gate 2>/dev/null; read line <../gate; echo done"


class TurnsTest(SynchronousTestCase):
    """CGI line 8: the queue."""

    def test_cgi_08_turns(self) -> None:
        """Sources take turns; each keeps its order."""
        turns: Turns[str] = Turns()
        for one in ("a1", "a2", "a3", "b1", "c1", "b2"):
            turns.add(one, one[0])
        turns.remove("a2")
        self.assertFalse(turns.remove("a2"))
        found = [turns.next(lambda _: True) for _ in range(6)]
        self.assertEqual(found, ["a1", "b1", "c1", "a3", "b2", None])

    def test_cgi_08_turns_of_those_who_may(self) -> None:
        """A source that may not start another one is passed over and keeps its place."""
        turns: Turns[str] = Turns()
        for one in ("a1", "b1", "b2"):
            turns.add(one, one[0])
        self.assertEqual(turns.next(lambda source: source != "a"), "b1")
        self.assertEqual(turns.next(lambda _: True), "a1")
        self.assertIsNone(turns.next(lambda source: source != "b"))
        self.assertEqual(len(turns), 1)

    def test_cgi_08_source(self) -> None:
        """A source is an IPv4 address or an IPv6 network of a site."""
        self.assertEqual(source_of("192.0.2.7"), "192.0.2.7")
        self.assertEqual(source_of("2001:db8:0:1::7"), source_of("2001:db8:0:1:ffff::8"))
        self.assertNotEqual(source_of("2001:db8:0:1::7"), source_of("2001:db8:0:2::7"))
        self.assertEqual((source_of("fe80::1%eth0"), source_of(""), source_of("a:b")), ("fe80::/64", "", "a:b"))

    @given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ard"))))
    def test_cgi_08_turns_any_order(self, steps: list[tuple[int, str]]) -> None:
        """Whatever comes and goes, each that was added leaves once, first come first served within a source."""
        turns: Turns[tuple[int, int]] = Turns()
        waiting: list[tuple[int, int]] = []
        for number, (source, step) in enumerate(steps):
            if step == "a":
                turns.add((source, number), str(source))
                waiting.append((source, number))
            elif step == "r" and waiting:
                self.assertTrue(turns.remove(waiting.pop(len(waiting) // 2)))
            elif step == "d":
                one = turns.next(lambda _: True)
                self.assertEqual(one is None, not waiting)
                if one is not None:
                    self.assertEqual(one, min(other for other in waiting if other[0] == one[0]))
                    waiting.remove(one)
            self.assertEqual(len(turns), len(waiting))


class SourcesTest(EngineCase):
    """CGI line 8: limits."""

    def exchange(self, host: str) -> FakeExchange:
        return FakeExchange(peer=(host, 40000))

    def test_cgi_08_one_source_asks_a_lot(self) -> None:
        """A source that fills the queue makes others wait for one of its scripts only."""
        engine = self.engine(cgi_max_scripts=1)
        script = self.script(WAITS)
        greedy = [self.exchange("192.0.2.7") for _ in range(5)]
        modest = self.exchange("192.0.2.8")
        for exchange in (*greedy, modest):
            engine.run(exchange, script)
        for _ in range(3):
            self.open_gate()
            ended = sum(bool(one.end) for one in (*greedy, modest))
            self.spin(lambda: sum(bool(one.end) for one in (*greedy, modest)) > ended)  # noqa: B023
        self.assertEqual((modest.body, sum(bool(one.end) for one in greedy)), (b"done\n", 2))

    def test_cgi_08_scripts_of_one_source(self) -> None:
        """With cgi_max_scripts_per_source a source waits for itself while others start at once."""
        engine = self.engine(cgi_max_scripts_per_source=1)
        script = self.script(WAITS)
        first, second, other = (self.exchange(host) for host in ("192.0.2.7", "192.0.2.7", "192.0.2.8"))
        for exchange in (first, second, other):
            engine.run(exchange, script)
        self.assertEqual((len(engine._running), len(engine._queue)), (2, 1))
        gate = self.directory / "www" / "gate"  # two may read from it: each gets the word, its half, or its end
        self.spin(lambda: (open_gate(gate), all(one.end for one in (first, second, other)))[1])
        self.spin(lambda: not engine._all)
        self.assertEqual((second.body, len(engine._sources)), (b"done\n", 0))

    def test_cgi_08_engines_side_by_side(self) -> None:
        """Engines of one service have limits and queues of their own; their metrics add up; each stops alone."""
        heavy, light = self.engine(cgi_max_scripts=1, cgi_queue=0), self.engine()
        script = self.script(PLAIN + "echo $$; exec sleep 1000")
        in_heavy, refused, in_light = FakeExchange(), FakeExchange(), FakeExchange()
        heavy.run(in_heavy, script)
        heavy.run(refused, script)
        light.run(in_light, script)
        self.spin(lambda: in_heavy.body and in_light.body)
        self.assertEqual(refused.status, 503)
        self.assertEqual(self.metrics.metrics["cgi_running"].values, {(("service", "http"),): 2})
        done: list[object] = []
        heavy.stop().addCallback(done.append)
        self.spin(lambda: done)
        self.assertEqual([is_alive(int(one.body)) for one in (in_heavy, in_light)], [False, True])
        self.assertEqual(self.metrics.metrics["cgi_running"].values, {(("service", "http"),): 1})
