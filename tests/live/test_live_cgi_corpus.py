"""Scripts cannot tell whether they run warm: two daemons play the corpus, and all that can be seen is compared."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

from tests.live.cgi_corpus import CASES
from tests.live.cgi_corpus.compare import differences, hollow, layer_differences, stale, wrong_way
from tests.live.cgi_corpus.play import Played, play, play_thrice
from tests.live.cgi_corpus.site import Python, Site, pythons
from tests.shared import SharedCase

SHOWN = 30  # differences of one failure


class CorpusTest(SharedCase):
    """One daemon executes every script; another, asked the same in the same order, runs them warm."""

    place: ClassVar[tempfile.TemporaryDirectory[str]]
    interpreters: ClassVar[tuple[Python, ...]]
    exec_: ClassVar[Played]
    warm: ClassVar[Played]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = tempfile.TemporaryDirectory(prefix="netsvc-corpus-")
        cls.interpreters = pythons()
        site = Site(Path(cls.place.name) / "site", CASES, cls.interpreters)
        cls.exec_ = play(site, CASES, cls.interpreters, "cgi_warm = off")
        cls.warm = play(site, CASES, cls.interpreters, "cgi_warm = on")

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.place.cleanup()

    def assert_none(self, found: list[str]) -> None:
        shown = "\n".join(found[:SHOWN])
        self.assertFalse(found, f"{len(found)} of them:\n{shown}")

    def test_warm_corpus_is_a_proof(self) -> None:
        """There are more than 300 scripts of different names, and under exec each does what it is there for."""
        self.assertGreater(len({case.name for case in CASES}), 300)
        self.assertEqual(len({case.name for case in CASES}), len(CASES))
        self.assert_none(list(hollow(self.exec_, CASES, self.interpreters)))

    def test_warm_is_identical(self) -> None:
        """Status, headers, body, stderr, what the log says of the run, and every file left: all as under exec."""
        self.assert_none(list(differences(self.exec_, self.warm, CASES, self.interpreters)))

    def test_warm_layers_are_identical(self) -> None:
        """Also of scripts that run again and again, which a server of their own forks."""
        # A third of it all: each script under one interpreter, in turns.
        every = [(case, self.interpreters[at % len(self.interpreters)]) for at, case in enumerate(CASES)]
        site = Site(Path(self.place.name) / "thrice", CASES, self.interpreters)
        exec_ = play_thrice(site, every, self.interpreters, "cgi_warm = off")
        warm = play_thrice(site, every, self.interpreters, "cgi_warm = on")
        self.assert_none(list(layer_differences(exec_, warm, every)))
        self.assertGreater(len(warm.layered), 250)

    def test_warm_is_fresh(self) -> None:
        """Random numbers, names and keys are others at every run."""
        self.assert_none(list(stale(self.exec_, CASES, self.interpreters, warm=False)))
        self.assert_none(list(stale(self.warm, CASES, self.interpreters, warm=True)))

    def test_warm_is_warm(self) -> None:
        """What falls back to exec is known to, with its reason in the log; the rest are forks of one process."""
        self.assert_none(list(wrong_way(self.warm, CASES)))
        for python in self.interpreters:
            for played, alike in ((self.exec_, False), (self.warm, True)):
                last, before = (played.runs["address-space", python.version, turn].body for turn in (6, 5))
                self.assertEqual(last == before, alike, python)

    def test_warm_logs_no_failure(self) -> None:
        """Neither daemon has a failure of its own in its log, and exec knows nothing of warm."""
        self.assertEqual(self.exec_.warm, ())
        for played in (self.exec_, self.warm):
            self.assertNotIn('"traceback":', played.log)
