"""The netsvc command: help, status, and what it does not import."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import netsvc
from netsvc.cli import check as check_module
from netsvc.cli import kinds as kinds_module
from netsvc.cli import main as main_module
from netsvc.cli.main import main
from netsvc.errors import Fault, Origin, RegistryError
from netsvc.kind import ServiceKind

PROGRAM = [sys.executable, "-c", "import sys; from netsvc.cli.main import main; sys.exit(main())"]
SERVER = ServiceKind(
    word="parrot",
    summary="Repeats.",
    source="RFC 1",
    settings="netsvc.config.server:ServerSettings",
    make_service="netsvc.config.load:load",
)


def broken_registry() -> Any:
    """A registry with a broken package."""
    raise RegistryError([Fault(Origin("netsvc-finger 1.5"), "broken-kind", "cannot be imported\x1b[2J")])


class CommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        for module in (check_module, kinds_module):
            self.patch(module, "kinds", lambda: {"parrot": SERVER})

    def run_main(self, *arguments: str) -> tuple[int, str, str]:
        """The exit status, stdout and stderr of a command run in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(list(arguments))
        return status, out.getvalue(), err.getvalue()

    def write(self, text: str) -> str:
        path = self.directory / "a.ini"
        path.write_text(f"[netsvc]\nstate_directory = state\n{text}")
        return str(path)


class MainTests(CommandCase):
    def test_help(self) -> None:
        """Help names every subcommand and imports none of them."""
        status, out, err = self.run_main("--help")
        self.assertEqual((status, err), (0, ""))
        for name, (_, line) in main_module.SUBCOMMANDS.items():
            self.assertIn(name, out)
            self.assertIn(line, out)

    def test_help_is_light(self) -> None:
        """Help imports neither Twisted nor zope nor attrs nor any subcommand."""
        program = (
            "import sys; from netsvc.cli.main import main; main(['--help']);"
            "wrong = {'twisted', 'zope', 'attr', 'attrs', 'netsvc.config', 'netsvc.cli.check'} & set(sys.modules);"
            "sys.exit(str(wrong) if wrong else 0)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_check_is_light(self) -> None:
        """A check imports no Twisted."""
        program = (
            "import sys; from netsvc.cli.main import main; status = main(sys.argv[1:]);"
            "sys.exit(3 if 'twisted' in sys.modules else status)"
        )
        done = subprocess.run([sys.executable, "-c", program, "check", self.write("[echo]\nlisten = tcp:1\n")])
        self.assertEqual(done.returncode, 0)

    def test_version(self) -> None:
        """--version says which."""
        self.assertEqual(self.run_main("--version"), (0, f"netsvc {netsvc.__version__}\n", ""))

    def test_usage(self) -> None:
        """No command, an unknown one and a wrong argument are bad usage: status 2, on stderr."""
        for arguments in (
            (),
            ("chek",),
            ("--nonsense",),
            ("check",),
            ("check", "a", "b"),
            ("check", "a", "--format", "x"),
        ):
            status, out, err = self.run_main(*arguments)
            self.assertEqual((status, out), (2, ""), arguments)
            self.assertIn("usage: netsvc", err)

    def test_help_of_a_subcommand(self) -> None:
        """A subcommand's help has its arguments."""
        status, out, _ = self.run_main("check", "--help")
        self.assertEqual(status, 0)
        self.assertIn("FILE", out)
        self.assertIn("Check a configuration", out)

    def subcommand(self, run: Any) -> None:
        """Put one subcommand in the place of all."""
        module = types.ModuleType("netsvc_fake_subcommand")
        module.configure = lambda parser: parser.add_argument("--x")  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        self.addCleanup(sys.modules.pop, module.__name__, None)
        self.patch(main_module, "SUBCOMMANDS", {"fake": (module.__name__, "fake it")})

    def test_status(self) -> None:
        """The status is the subcommand's, or the one that it exits with."""
        seen: list[str] = []

        def run(arguments: argparse.Namespace) -> int:
            seen.append(arguments.x)
            return 1

        self.subcommand(run)
        self.assertEqual(self.run_main("fake", "--x", "y")[0], 1)
        self.assertEqual(seen, ["y"])
        for code, status, text in ((None, 0, ""), (3, 3, ""), ("no such host", 1, "no such host\n")):
            self.subcommand(lambda _, code=code: sys.exit(code))
            self.assertEqual(self.run_main("fake"), (status, "", text))

    def test_interrupted(self) -> None:
        """Ctrl-C ends with the status that shells give to it, and no traceback."""

        def run(_: argparse.Namespace) -> int:
            raise KeyboardInterrupt

        self.subcommand(run)
        self.assertEqual(self.run_main("fake"), (130, "", ""))

    def test_output_lost(self) -> None:
        """A reader that has left ends the command quietly, a disk that is full with one line."""
        for error, status, text in (
            (BrokenPipeError(), 141, ""),
            (OSError(28, "No space left"), 1, "netsvc: [Errno 28] No space left\n"),
        ):

            def run(_: argparse.Namespace, error: OSError = error) -> int:
                raise error

            self.subcommand(run)
            self.assertEqual(self.run_main("fake"), (status, "", text))

    def test_broken_pipe_for_real(self) -> None:
        """A pipe that nobody reads leaves no trace on stderr."""
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([*PROGRAM, "kinds", "echo"], stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        self.assertEqual((done.returncode, done.stderr), (141, b""))

    def test_no_stdout(self) -> None:
        """Without a stdout the status is all there is."""
        self.subcommand(lambda _: 1)
        with contextlib.redirect_stdout(None):
            self.assertEqual(main(["fake"]), 1)

        def run(_: argparse.Namespace) -> int:
            raise BrokenPipeError

        self.subcommand(run)
        with contextlib.redirect_stdout(None):
            self.assertEqual(main(["fake"]), 141)

    def test_poor_terminal(self) -> None:
        """A terminal that knows only ASCII gets escapes, not a traceback."""
        path = self.write("[汇总]\n")
        environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run([*PROGRAM, "check", path], capture_output=True, env=environ)
        self.assertEqual((done.returncode, done.stderr), (1, b""))
        self.assertIn(rb"\u6c47", done.stdout)

    def test_process_arguments(self) -> None:
        """Without arguments the process's own are taken."""
        self.patch(sys, "argv", ["netsvc", "--version"])
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(main(), 0)
        self.assertIn(netsvc.__version__, out.getvalue())


class CheckTests(CommandCase):
    def test_good(self) -> None:
        """A good file: one line, status 0."""
        path = self.write("[parrot]\nlisten = tcp:1\n")
        self.assertEqual(self.run_main("check", path), (0, f"{path}: 1 service, no faults\n", ""))
        status, out, _ = self.run_main("check", "--format", "json", path)
        self.assertEqual((status, json.loads(out)["ok"]), (0, True))

    def test_bad(self) -> None:
        """A bad file: every fault and their number, status 1."""
        path = self.write("[parot]\n[parrot]\n")
        status, out, err = self.run_main("check", path)
        self.assertEqual((status, err), (1, ""))
        lines = out.splitlines()
        self.assertEqual(lines[0][-24:], "; did you mean 'parrot'?")
        self.assertEqual((len(lines), lines[-1]), (3, f"{path}: 2 faults"))
        status, out, _ = self.run_main("check", path, "--format", "json")
        self.assertEqual(
            (status, [one["code"] for one in json.loads(out)["faults"]]), (1, ["unknown-section", "missing-key"])
        )

    def test_missing(self) -> None:
        """A missing file is a fault of the configuration, status 1."""
        status, out, _ = self.run_main("check", str(self.directory / "none"))
        self.assertEqual(status, 1)
        self.assertIn("error[unreadable]", out)

    def test_broken_registry(self) -> None:
        """A broken package of a third party is reported like a fault."""
        self.patch(check_module, "kinds", broken_registry)
        status, out, err = self.run_main("check", self.write(""))
        self.assertEqual((status, err), (1, ""))
        self.assertTrue(out.startswith(r"netsvc-finger 1.5: error[broken-kind]: cannot be imported\x1b[2J"), out)


class KindsTests(CommandCase):
    def test_table(self) -> None:
        """Without a kind: all of them."""
        status, out, _ = self.run_main("kinds")
        self.assertEqual((status, out.splitlines()[1].split()), (0, ["parrot", "RFC", "1", "Repeats."]))
        status, out, _ = self.run_main("kinds", "--format", "json")
        self.assertEqual((status, [one["word"] for one in json.loads(out)]), (0, ["parrot"]))

    def test_reference(self) -> None:
        """With a kind, or 'netsvc': its options."""
        for word, key in (("parrot", "idle_timeout"), ("netsvc", "log_format")):
            status, out, _ = self.run_main("kinds", word)
            self.assertEqual(status, 0)
            self.assertIn(f"{key} = ", out)
            status, out, _ = self.run_main("kinds", word, "--format", "json")
            self.assertEqual(status, 0)
            self.assertIn(key, [one["key"] for one in json.loads(out)["options"]])

    def test_unknown(self) -> None:
        """An unknown kind is bad usage; the nearest one is suggested."""
        expected = "netsvc kinds: 'parot' is not a kind of service; did you mean 'parrot'?\n"
        self.assertEqual(self.run_main("kinds", "parot"), (2, "", expected))
        self.assertEqual(
            self.run_main("kinds", "\x1b[2J"), (2, "", "netsvc kinds: '\\x1b[2J' is not a kind of service\n")
        )

    def test_broken_registry(self) -> None:
        """A broken package of a third party is one clear line, status 1."""
        self.patch(kinds_module, "kinds", broken_registry)
        status, out, err = self.run_main("kinds")
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, "netsvc-finger 1.5: error[broken-kind]: cannot be imported\\x1b[2J\n")
