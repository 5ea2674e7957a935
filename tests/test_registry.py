"""The kinds of service: found, or refused with the name of the package that is wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import RegistryError
from netsvc.kind import ServiceKind
from netsvc.registry import Candidate, built_in, collect, kinds, third_party

PARROT = ServiceKind(word="parrot", summary="Repeats.", settings="a.b:C", make_service="a.b:c")


def source(word: str) -> str:
    """The text of a package that has a kind."""
    made = f"ServiceKind(word={word!r}, summary='', settings='a.b:C', make_service='a.b:c')"
    return f"from netsvc.kind import ServiceKind\nKIND = {made}\n"


@frozen
class Halfway:
    """Something with a word, but no kind."""

    word: str = "halfway"


class RegistryTests(SynchronousTestCase):
    def refused(self, *candidates: Candidate) -> list[str]:
        return [str(fault) for fault in self.assertRaises(RegistryError, collect, candidates).faults]

    def package(self, **modules: str) -> str:
        """A package on the path, with a sub-package for each module; its name."""
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        name = f"parrots{id(made)}"
        for module, text in {"": "", **modules}.items():
            directory = Path(made.name) / name / module
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "__init__.py").write_text(text)
        (Path(made.name) / name / "plain.py").write_text("raise RuntimeError('a module is no kind')")
        sys.path.insert(0, made.name)
        self.addCleanup(sys.path.remove, made.name)
        importlib.invalidate_caches()
        return name

    def test_found(self) -> None:
        """Kinds are found by their words, sorted."""
        other = evolve(PARROT, word="ara")
        found = collect([Candidate("x", lambda: PARROT), Candidate("y", lambda: other, "ara")])
        self.assertEqual(list(found.items()), [("ara", other), ("parrot", PARROT)])

    def test_claimed_twice(self) -> None:
        """A word that two kinds claim is an error that names both."""
        (fault,) = self.refused(
            Candidate("netsvc.services.parrot", lambda: PARROT), Candidate("entry point 'parrot'", lambda: PARROT)
        )
        self.assertEqual(
            fault,
            "entry point 'parrot': error[duplicate-kind]: the section word 'parrot' is claimed by "
            "netsvc.services.parrot too",
        )

    def test_malformed(self) -> None:
        """What is no kind is an error that names its package; all of them are listed."""
        wrong: tuple[Any, ...] = (
            None,
            Halfway(),
            evolve(PARROT, word="netsvc"),
            type("Impostor", (), {"__providedBy__": None})(),
        )
        for one in wrong:
            (fault,) = self.refused(Candidate("netsvc_parrot:KIND", lambda one=one: one))
            self.assertTrue(fault.startswith("netsvc_parrot:KIND: error[broken-kind]: "), fault)
        self.assertEqual(len(self.refused(*(Candidate(str(one), lambda: None) for one in range(3)))), 3)

    def test_wrong_name(self) -> None:
        """A kind stands under its own word."""
        (fault,) = self.refused(Candidate("entry point 'ara'", lambda: PARROT, "ara"))
        self.assertIn("the kind's word is 'parrot', but it stands under the name 'ara'", fault)

    def test_built_in(self) -> None:
        """Each sub-package is a kind; plain modules are none; one that cannot be imported or has no KIND is named."""
        kind = source("good")
        package = self.package(good=kind)
        self.assertEqual(list(collect(built_in(package))), ["good"])
        package = self.package(bad="1/0", empty="", missing="import nothing_of_this_name")
        self.assertEqual(
            self.refused(*built_in(package)),
            [
                f"{package}.bad: error[broken-kind]: cannot be imported: ZeroDivisionError: division by zero",
                f"{package}.empty: error[broken-kind]: cannot be imported: AttributeError: "
                f"module '{package}.empty' has no attribute 'KIND'",
                f"{package}.missing: error[broken-kind]: cannot be imported: ModuleNotFoundError: "
                "No module named 'nothing_of_this_name'",
            ],
        )

    def test_third_party(self) -> None:
        """Entry points are loaded by their names; the fault of a broken one names its value and distribution."""
        package = self.package(good=source("finger"))
        good = EntryPoint("finger", f"{package}.good:KIND", "netsvc.services")
        bad = EntryPoint("bad", "nothing_of_this_name:KIND", "netsvc.services")
        self.assertEqual(list(collect(third_party([good]))), ["finger"])
        (fault,) = self.refused(*third_party([bad, good]))
        self.assertIn("entry point 'bad' (nothing_of_this_name:KIND): error[broken-kind]: cannot be imported", fault)

    def test_installed_distribution(self) -> None:
        """A distribution that is installed is found, and named with its version when it is broken."""
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        metadata = Path(made.name) / "netsvc_finger-1.5.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: netsvc-finger\nVersion: 1.5\n")
        (metadata / "entry_points.txt").write_text("[netsvc.services]\nfinger = netsvc_finger_gone:KIND\n")
        sys.path.insert(0, made.name)
        self.addCleanup(sys.path.remove, made.name)
        error = self.assertRaises(RegistryError, collect, third_party())
        self.assertIn("entry point 'finger' (netsvc_finger_gone:KIND) of netsvc-finger 1.5: error", str(error))

    def test_the_real_ones(self) -> None:
        """The kinds that come with netsvc are found, and finding them imports no Twisted."""
        self.assertIn("echo", kinds())
        program = "import sys, netsvc.registry as r; r.kinds(); sys.exit('twisted' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", program]).returncode, 0)
