"""The fuzzers' own seeds pass, so that a target that has rotted is seen; the fuzzing itself is ``make fuzz``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import TARGETS


class SeedTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """Every seed, each of its beginnings, and each with an octet changed."""
        for name, target in TARGETS.items():
            for seed in target.seeds:
                for at in range(0, len(seed) + 1, 1 if len(seed) < 40 else 7):
                    for data in (seed[:at], seed[:at] + b"\xff" + seed[at + 1 :]):
                        try:
                            target.run(data)
                        except Exception as error:
                            raise AssertionError((name, data)) from error
