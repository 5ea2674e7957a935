"""Every fault of the catalogue, played by the adversary to one real daemon: nothing is lost, little comes twice.

The faults are those of ``netsvc mail torture``; one daemon has a queue for each, and all are played at once. A second
and a third daemon meet some of them on the other ways of the tutorials: TLS from the first octet and STARTTLS, both
with a login.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.torture.faults import FAULTS
from netsvc.cli.torture.play import torture
from netsvc.cli.torture.terms import Fault, Way
from netsvc.cli.torture.verdict import Verdict
from tests.live.daemon import NETSVC
from tests.shared import SharedCase

PATIENCE = 60.0  # seconds until a message is called stuck; a loaded CI machine is slow


def played(way: Way, numbers: frozenset[int] = frozenset(), **options: str) -> dict[int, Verdict]:
    """Verdicts by number; without numbers of all faults."""
    faults = [one for one in FAULTS if not numbers or one.number in numbers]
    with tempfile.TemporaryDirectory(prefix="netsvc-faults-") as directory:
        verdicts = torture(Path(directory), faults, way, options, patience=PATIENCE)
    return {one.fault.number: one for one in verdicts}


class Faults(SharedCase):
    verdicts: ClassVar[dict[int, Verdict]]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.verdicts = played(Way(), delivery_processes="1")  # as usual; the command itself spares small machines


def _test(fault: Fault) -> Callable[[Faults], None]:
    def test(self: Faults) -> None:
        verdict = self.verdicts[fault.number]
        self.assertEqual(verdict.findings, ())
        self.assertTrue(verdict.results or all(one.refused for one in fault.messages))

    test.__doc__ = f"Fault {fault.number}: {fault.does}"
    return test


for _fault in FAULTS:
    _words = re.sub(r"[^a-z0-9]+", "_", _fault.name.lower())
    setattr(Faults, f"test_mail_fault_{_fault.number:02}_{_words}", _test(_fault))


class OtherWays(SynchronousTestCase):
    def assert_passed(self, verdicts: dict[int, Verdict]) -> None:
        self.assertEqual([one.findings for one in verdicts.values() if one.findings], [])

    def test_mail_faults_implicit_tls_with_login(self) -> None:
        """The faults from the handshake to the dot that TLS could hide, by TLS from the first octet and a login."""
        chosen = frozenset({3, 4, 7, 16, 17, 18, 19, 20, 21, 22, 25, 29, 36, 37, 38, 39, 42, 43, 44, 46})
        self.assert_passed(played(Way("verify", implicit=True, login=True), chosen))

    def test_mail_faults_starttls_with_login(self) -> None:
        """The same by STARTTLS; those who try to read along get nothing."""
        chosen = frozenset({12, 13, 14, 15, 16, 17, 18, 20, 26, 30, 35, 37, 38, 40, 41, 42, 43, 45})
        self.assert_passed(played(Way("verify", login=True), chosen))

    def test_mail_faults_held(self) -> None:
        """With ambiguous = hold nothing arrives twice, and what is unknown is held for a person."""
        verdicts = played(Way(), frozenset({38, 39, 42, 44}), ambiguous="hold")
        self.assert_passed(verdicts)
        self.assertEqual({number: one.copies for number, one in verdicts.items()}, {38: 0, 39: 1, 42: 1, 44: 1})


class Command(SynchronousTestCase):
    def torture(self, *words: str, ini: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command with a configuration."""
        with tempfile.TemporaryDirectory(prefix="netsvc-faults-") as directory:
            config = Path(directory) / "netsvc.ini"
            config.write_text(f"[netsvc]\nstate_directory = {directory}/state\n{ini}")
            done = subprocess.run(
                [NETSVC, "mail", "torture", "--config", config, *words], capture_output=True, text=True, timeout=600
            )
            self.assertFalse((Path(directory) / "state").exists())
            return done

    def test_table(self) -> None:
        """A user's section goes through its own way; the table fits a terminal, and the user's state is not touched."""
        ini = "[smtp_client]\nrelay = smtps:mail.example.com\nusername = a\npassword = env:HOME\n"
        done = self.torture("--only", "9,38", ini=ini)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertIn("TLS from the first octet (verify) with login", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^ 38  cut after the dot +1 +0 +0 +2 +2  passed$")
        self.assertLessEqual(max(map(len, done.stdout.split("\n"))), 80)

    def test_json(self) -> None:
        """Programs get the same as JSON."""
        done = self.torture("--only", "41", "--json", ini="[smtp_client]")
        report = json.loads(done.stdout)
        self.assertEqual((done.returncode, report["passed"], report["lost"]), (0, True, []))
        self.assertEqual(report["faults"][0]["attempts"], {"permanent": 1})
