"""Datagram guards: forged sources, and loops that end."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.server import DATAGRAM_GUARDS
from netsvc.runtime.datagram_guards import (
    ANY_EVERY,
    ANY_PATIENCE,
    PAUSE,
    REASONS,
    SAME_EVERY,
    SAME_PATIENCE,
    LoopGuard,
    refuse,
)

ALL = frozenset(DATAGRAM_GUARDS)
OWN = {9090, 9019}


def refused(host: str, port: int = 40000, guards: frozenset[str] = ALL, on_loopback: bool = False) -> str | None:
    """What the guards say."""
    return refuse(host, port, guards=guards, own_ports=OWN, arrived_on_loopback=on_loopback)


class SourceTests(SynchronousTestCase):
    cases = (
        ("192.0.2.1", 0, "low-port"),
        ("192.0.2.1", 7, "low-port"),
        ("192.0.2.1", 1023, "low-port"),
        ("192.0.2.1", 9090, "own-port"),
        ("2001:db8::1", 9019, "own-port"),
        ("224.0.0.1", 40000, "multicast"),
        ("239.255.255.255", 40000, "multicast"),
        ("ff02::1%eth0", 40000, "multicast"),
        ("255.255.255.255", 40000, "broadcast"),
        ("0.0.0.0", 40000, "unspecified"),
        ("0.1.2.3", 40000, "unspecified"),
        ("::", 40000, "unspecified"),
        ("127.0.0.1", 40000, "loopback"),
        ("127.9.9.9", 40000, "loopback"),
        ("::1", 40000, "loopback"),
        ("::ffff:127.0.0.1", 40000, "loopback"),
        ("::ffff:224.0.0.1", 40000, "multicast"),
    )

    def test_forged(self) -> None:
        """Each kind of forged source is dropped under its own word."""
        for host, port, word in self.cases:
            self.assertEqual(refused(host, port), word, host)

    def test_off(self) -> None:
        """A guard that is off drops nothing; the others go on."""
        for host, port, word in self.cases:
            if port:
                self.assertIsNone(refused(host, port, ALL - {word}), host)
                self.assertEqual(refused(host, port, frozenset({word})), word)

    def test_port_0(self) -> None:
        """Source port 0 is dropped even when no guard is on: nothing can be sent there."""
        self.assertEqual(refused("192.0.2.1", 0, frozenset()), "low-port")

    def test_honest(self) -> None:
        """An honest client is let through."""
        for host in ("192.0.2.1", "10.255.255.255", "2001:db8::1", "fe80::1%eth0", "::ffff:192.0.2.1"):
            self.assertIsNone(refused(host, 1024))
            self.assertIsNone(refused(host, 65535))

    def test_loopback_on_loopback(self) -> None:
        """A loopback source is in order on the loopback interface."""
        self.assertIsNone(refused("127.0.0.1", on_loopback=True))
        self.assertIsNone(refused("::1", on_loopback=True))

    def test_no_address(self) -> None:
        """A source that is no address is dropped."""
        self.assertEqual(refused("peer", guards=frozenset()), "no-address")

    def test_words(self) -> None:
        """The reasons are the words of the option, the loop's, and that of what is no address."""
        self.assertEqual(set(REASONS), ALL | {"loop", "no-address"})

    @settings(derandomize=True, deadline=None)
    @given(st.ip_addresses().map(str), st.integers(0, 65535), st.booleans())
    def test_any_source(self, host: str, port: int, on_loopback: bool) -> None:
        """Any source is let through or dropped under a known word."""
        self.assertIn(refused(host, port, on_loopback=on_loopback), {None, *REASONS})


Side = Callable[[bytes], bytes | None]
FOR_EVER = 20_000  # round trips


class LoopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turn = 0

    def exchange(
        self,
        here: Side,
        there: Side,
        forged: list[bytes],
        delay: float,
        guards: tuple[LoopGuard | None, LoopGuard | None],
    ) -> int:
        """Let two services answer each other until nothing is in flight; how many answers that took."""
        flying = [(0, payload) for payload in forged]  # (side that receives, payload)
        answered = 0
        while flying and answered < FOR_EVER:
            side, payload = flying.pop(0)
            self.clock.advance(delay)
            guard = guards[side]
            if guard is not None and guard.seen((f"192.0.2.{2 - side}", 9090 + side), payload):
                continue
            answer = (here, there)[side](payload)
            if answer is not None:
                answered += 1
                flying.append((1 - side, answer))
        return answered

    def echo(self, payload: bytes) -> bytes:
        return payload

    def clockwork(self, _: bytes) -> bytes:
        """As daytime, time, qotd and chargen: the answer has nothing to do with the request."""
        self.turn += 1
        return b"%d" % self.turn

    def guard(self) -> LoopGuard:
        return LoopGuard(self.clock.seconds)

    def test_two_echoes(self) -> None:
        """Two netsvc echoes pointed at each other stop after a few datagrams, over a fast path and a slow one."""
        for delay in (0.0, 0.001, 0.3):
            answered = self.exchange(self.echo, self.echo, [b"x"], delay, (self.guard(), self.guard()))
            self.assertLessEqual(answered, 2 * (SAME_PATIENCE + SAME_EVERY))

    def test_one_guarded(self) -> None:
        """It is enough that one of the two has the guard."""
        for guards in ((self.guard(), None), (None, self.guard())):
            answered = self.exchange(self.echo, self.echo, [b"x"], 0.01, guards)
            self.assertLessEqual(answered, 2 * (SAME_PATIENCE + SAME_EVERY) + 1)

    def test_many_forged(self) -> None:
        """So they do when the forger sends the same thirty times, or thirty different ones."""
        for forged in ([b"x"] * 30, [b"%d" % n for n in range(30)]):
            answered = self.exchange(self.echo, self.echo, forged, 0.001, (self.guard(), self.guard()))
            self.assertLess(answered, FOR_EVER / 2)

    def test_echo_and_clockwork(self) -> None:
        """An echo and a service that answers always anew stop too."""
        for here, there in ((self.echo, self.clockwork), (self.clockwork, self.echo)):
            answered = self.exchange(here, there, [b"x"], 0.01, (self.guard(), self.guard()))
            self.assertLessEqual(answered, 2 * (ANY_PATIENCE + ANY_EVERY))

    def test_two_clockworks(self) -> None:
        """So do two of those."""
        answered = self.exchange(self.clockwork, self.clockwork, [b"x"], 0.01, (self.guard(), self.guard()))
        self.assertLessEqual(answered, 2 * (ANY_PATIENCE + ANY_EVERY))

    def test_unguarded(self) -> None:
        """Without the guard they would not."""
        self.assertEqual(self.exchange(self.echo, self.echo, [b"x"], 0.01, (None, None)), FOR_EVER)


class HonestTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guard = LoopGuard(self.clock.seconds)

    def losses(self, count: int, wait: float, payload: Callable[[int], bytes], port: Callable[[int], int]) -> int:
        lost = 0
        for number in range(count):
            self.clock.advance(wait)
            lost += self.guard.seen(("192.0.2.1", port(number)), payload(number))
        return lost

    def test_slow(self) -> None:
        """Who sends once a second loses nothing, whatever he sends for however long."""
        self.assertEqual(self.losses(5000, PAUSE, lambda _: b"ping", lambda _: 40000), 0)

    def test_short(self) -> None:
        """Nor does who sends a few in a row."""
        self.assertEqual(self.losses(SAME_PATIENCE, 0.001, lambda _: b"ping", lambda _: 40000), 0)
        self.assertEqual(self.losses(ANY_PATIENCE - SAME_PATIENCE, 0.001, lambda n: b"%d" % n, lambda _: 40000), 0)

    def test_new_sockets(self) -> None:
        """Nor do clients with a socket for each request."""
        self.assertEqual(self.losses(5000, 0.001, lambda _: b"ping", lambda n: 1024 + n), 0)

    def test_pause(self) -> None:
        """After a pause the patience is there again."""
        self.assertEqual(self.losses(SAME_PATIENCE, 0.001, lambda _: b"ping", lambda _: 40000), 0)
        self.clock.advance(PAUSE)
        self.assertEqual(self.losses(SAME_PATIENCE, 0.001, lambda _: b"ping", lambda _: 40000), 0)

    def test_steady(self) -> None:
        """A client that sends different payloads without end loses less than one in a hundred."""
        lost = self.losses(20_000, 0.01, lambda n: b"%d" % n, lambda _: 40000)
        self.assertGreater(lost, 0)
        self.assertLess(lost, 200)

    def test_bounded(self) -> None:
        """A flood from forged sources leaves no more rows than the capacity, and the busiest stay."""
        guard = LoopGuard(self.clock.seconds, capacity=20)
        lost = 0
        for number in range(4000):
            guard.seen((number, number), b"%d" % number)
            lost += guard.seen(("192.0.2.1", 9091), b"x")
            self.assertLessEqual(len(guard), 40)
        self.assertGreater(lost, 0)
