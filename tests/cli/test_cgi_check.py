"""netsvc cgi-check: what it finds in a directory, what it says, and that it runs scripts both ways."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.cgi_check import asked, interpreters, report
from netsvc.cli.cgi_check.interpreters import ask
from netsvc.cli.cgi_check.look import Script, of_directory, scripts_in
from netsvc.cli.cgi_check.problem import Problem
from netsvc.cli.cgi_check.runs import judge
from netsvc.cli.main import main

PATH = "/usr/local/bin:/usr/bin:/bin"
GOOD = 'print("Content-Type: text/plain\\n\\nhi")\n'


class CheckCase(SynchronousTestCase):
    """A directory of scripts."""

    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.root = Path(made.name).resolve()
        self.directory = self.root / "cgi-bin"
        self.directory.mkdir(mode=0o755)

    def write(self, name: str, content: str | bytes, mode: int = 0o755) -> Path:
        """A file."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def script(self, content: str | bytes, name: str = "a.py", mode: int = 0o755) -> Script:
        """What is seen of a script."""
        self.write(name, content, mode)
        (found,) = scripts_in(self.directory, PATH)
        return found

    def codes(self, script: Script) -> list[str]:
        return [one.code for one in script.problems]

    def check(self, *arguments: str) -> tuple[int, str, str]:
        """The exit status, stdout and stderr of the command."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["cgi-check", *arguments])
        return status, out.getvalue(), err.getvalue()


class LookTests(CheckCase):
    def test_first_lines(self) -> None:
        """Each way in which the kernel cannot start a script has its own word, and all but the last have a remedy."""
        for content, code in (
            (f"#!/usr/bin/python3\r\n{GOOD}", "crlf-shebang"),
            (b"\xef\xbb\xbf#!/usr/bin/python3\n", "bom"),
            (GOOD, "no-shebang"),
            ("#!\n", "no-shebang"),
            ("#!/usr/bin/pythn\n", "no-interpreter"),
            ("#!/usr/bin\n", "no-interpreter"),
            ("#!python3\n", "relative-shebang"),
            ("#!/usr/bin/env python3 -u\n", "env-words"),
            ("#!/usr/bin/env no-such-program\n", "no-interpreter"),
            ("#!/usr/bin/env -S no-such-program -u\n", "no-interpreter"),
            (f"#!/{'x' * 300}\n", "long-shebang"),
        ):
            script = self.script(content)
            self.assertEqual((self.codes(script), script.runs, script.python), ([code], False, ()), content)

    def test_first_lines_that_work(self) -> None:
        """A Python is known by its name, through env and its -S as well; other programs are run as they are."""
        place = Path("/usr/bin/python3")
        if not place.exists():
            place = Path(sys.executable)
        for line, python in (
            (f"#!{place}", (str(place),)),
            (f"#! \t{place} -u ", (str(place), "-u")),
            (f"#!/usr/bin/env -S {place} -u -B", (str(place), "-u", "-B")),
            (f"#!/usr/bin/env -S A=b {place}", (str(place),)),
            ("#!/bin/sh", ()),
            ("#!/usr/bin/env sh", ()),
            ("#!/usr/bin/env", ()),
            ("#!/usr/bin/env -S", ()),
        ):
            script = self.script(f"{line}\nContent-Type\n")
            self.assertEqual((self.codes(script), script.runs, script.python), ([], True, python), line)
        self.assertEqual(self.script("#!/usr/bin/env -S 'sh\n").runs, False)

    def test_what_was_meant(self) -> None:
        """A Python that is gone, and one that has only its new name, get the one of this machine proposed."""
        tools = self.root / "tools"
        tools.mkdir()
        (tools / "python3").symlink_to(sys.executable)
        self.write("a.py", "#!/opt/old/python2.6\n")
        (script,) = scripts_in(self.directory, str(tools))
        self.assertEqual(script.problems[0].remedy, f"say #!{tools}/python3")
        self.write("a.py", "#!python3\n")
        (script,) = scripts_in(self.directory, str(tools))
        self.assertEqual(script.problems[0].remedy, f"say #!{tools}/python3")

    def test_bits(self) -> None:
        """A script that may not be executed, and one that everybody may write to, are named with the chmod."""
        script = self.script("#!/bin/sh\n", "a b.sh", 0o644)
        self.assertEqual((self.codes(script), script.runs), (["not-executable"], False))
        self.assertEqual(script.problems[0].remedy, f"chmod 755 '{self.directory}/a b.sh'")
        script = self.script("#!/bin/sh\n", "a b.sh", 0o777)
        self.assertEqual((self.codes(script), script.runs), (["writable"], True))

    def test_line_ends(self) -> None:
        """Windows line ends behind the first line are a warning, but not for Python."""
        self.assertEqual(self.codes(self.script("#!/bin/sh\necho\r\n")), ["crlf"])
        self.assertEqual(self.codes(self.script(f"#!{sys.executable}\n1\r\n")), [])

    def test_what_is_no_script(self) -> None:
        """Modules, data, hidden files and __pycache__ are not looked at; links, programs and subdirectories are."""
        for name in ("module.py", "data.txt", ".hidden.py", "__pycache__/x.py", ".git/x.cgi"):
            self.write(name, "#!/bin/sh\n" if "x." in name or "hidden" in name else "x", 0o644)
        self.write("sub/program", b"\x7fELF")
        (self.directory / "dead.py").symlink_to("nothing")
        (self.directory / "fifo").unlink(missing_ok=True)
        os.mkfifo(self.directory / "fifo")
        found = list(scripts_in(self.directory, PATH))
        self.assertEqual(
            [(one.name, self.codes(one)) for one in found], [("dead.py", ["dead-link"]), ("sub/program", [])]
        )
        self.assertEqual([one.runs for one in found], [False, True])

    def test_directories(self) -> None:
        """Directories that everybody can write to are named."""
        self.write("sub/a", "")
        (self.directory / "sub").chmod(0o777)
        self.assertEqual([one.file for one in of_directory(self.directory)], ["sub/"])
        self.directory.chmod(0o777)
        self.assertEqual([one.file for one in of_directory(self.directory)], ["", "sub/"])

    def test_unreadable(self) -> None:
        """A script that cannot be read is said to be so."""
        path = self.write("loop.cgi", "")
        path.unlink()
        path.symlink_to("loop.cgi")
        (script,) = scripts_in(self.directory, PATH)
        self.assertEqual(self.codes(script), ["unreadable"])


class AskTests(CheckCase):
    def ask(self, source: str | bytes, *, legacy: bool = True, answer: Any = None) -> list[Problem]:
        """What is said of a script by this Python, or by one that answers so."""
        content = source if isinstance(source, bytes) else source.encode()
        script = self.script(f"#!{sys.executable}\n".encode() + content)
        if answer is not None:
            self.patch(
                interpreters, "_answer", lambda *_: answer and {**answer, "files": {str(script.path): answer["one"]}}
            )
        ask([script], {"PATH": PATH}, legacy=legacy)
        return script.problems

    def test_syntax(self) -> None:
        """A syntax error has its line and the interpreter's words; Python 2 is recognised."""
        (one,) = self.ask("x = 1\nif True print(1)\n")
        self.assertEqual((one.code, one.line, one.level), ("syntax", 3, "error"))
        self.assertEqual(one.remedy, "")
        (one,) = self.ask('print "x"\n')
        self.assertIn("2to3", one.remedy)
        for source in (b"x = '\xff'\n", b"x = 1\0\n", b"return 1\n"):
            self.assertEqual([one.code for one in self.ask(source)], ["syntax"], source)

    def test_modules(self) -> None:
        """Modules that are not there are named with their line; those that may be missing are not."""
        self.write("beside.py", "", 0o644)
        found = self.ask(
            "import json, beside, no_such\nfrom no_other.x import y\nfrom . import z\n"
            "try:\n    import perhaps\nexcept ImportError:\n    pass\n"
            "def f():\n    import later\nwith open('x'):\n    import inside\n"
        )
        self.assertEqual(
            [(one.code, one.line) for one in found], [("no-module", 2), ("no-module", 3), ("no-module", 12)]
        )

    def test_modules_of_netsvc(self) -> None:
        """What stands beside the program that asks is not found by chance, and asking leaves nothing behind."""
        self.assertEqual([one.code for one in self.ask("import asked, problem\n")], ["no-module", "no-module"])
        self.assertEqual([one.name for one in self.directory.iterdir()], ["a.py"])

    def test_gone(self) -> None:
        """The module cgi is offered with cgi_legacy; what else has left the library is named with its last Python."""
        version = {"version": [3, 13, 0]}
        cgi = {**version, "one": {"error": None, "missing": [["cgi", 3]]}}
        self.assertEqual([(one.code, one.level) for one in self.ask("", answer=cgi)], [("legacy-module", "note")])
        (one,) = self.ask("", answer=cgi, legacy=False)
        self.assertEqual((one.code, one.level, one.remedy), ("no-module", "error", "set cgi_legacy = yes"))
        (one,) = self.ask("", answer={**version, "one": {"error": None, "missing": [["imp", 3]]}})
        self.assertIn("3.11", one.message)

    def test_python_2(self) -> None:
        """Python 2 is a warning; an interpreter that does not start is an error."""
        answer = {"version": [2, 7, 18], "one": {"error": None, "missing": []}}
        self.assertEqual([one.code for one in self.ask("", answer=answer)], ["python-2"])
        self.assertEqual([one.code for one in self.ask("", answer={})], ["broken-interpreter"])

    def test_broken_interpreter(self) -> None:
        """What is a Python by its name only does not answer."""
        fake = self.root / "python3"
        fake.write_text("#!/bin/sh\necho hi\n")
        fake.chmod(0o755)
        script = self.script(f"#!{fake}\n")
        ask([script], {"PATH": PATH}, legacy=True)
        self.assertEqual((self.codes(script), script.runs), (["broken-interpreter"], False))

    def test_asked(self) -> None:
        """The program that other interpreters run looks at a zip file with a first line as at no source."""
        path = self.write("a.pyz", b"#!/usr/bin/python3\nPK\x05\x06" + bytes(18))
        self.assertEqual(asked.look(str(path)), {"error": None, "missing": []})
        for source, error, missing in (
            ("import no_such, no_such.x\nfrom no_other import y\n", None, [("no_such", 1), ("no_other", 2)]),
            ("with x:\n  import no_such\nimport sys\n", None, [("no_such", 2)]),
            ("x = (\n", "'(' was never closed", []),
            ("x = '\0'\n", "source code string cannot contain null bytes", []),
        ):
            path = self.write("c.py", source)
            found = asked.look(str(path))
            self.assertEqual((found["error"] and found["error"][1], found["missing"]), (error, missing))
        self.patch(asked, "_is_there", lambda *_: 1 / 0)
        self.assertEqual(asked.look(str(self.write("c.py", "import x\n")))["missing"], [])
        good = self.write("b.py", "import json, sys, email.message\nfrom os import path\n")
        out = io.StringIO()
        self.patch(sys, "stdin", io.StringIO(json.dumps([str(good)])))
        self.patch(sys, "stdout", out)
        self.patch(sys, "path", list(sys.path))
        asked.main()
        self.assertEqual(json.loads(out.getvalue())["files"], {str(good): {"error": None, "missing": []}})


def told(**parts: Any) -> dict[str, Any]:
    """What a run gave."""
    given = {"status": 200, "headers": [["Content-Type", "text/plain"]], "body": "aGk=", "octets": 2, "end": "finished"}
    return {**given, "outcome": "ok", "typed": True, "stderr": [], "said": [], "fallback": "", "last": True, **parts}


class JudgeTests(SynchronousTestCase):
    def judge(self, first: dict[str, Any], again: dict[str, Any], warm: dict[str, Any] | None) -> list[str]:
        runs = {"exec": {**first, "way": "exec"}, "again": {**again, "way": "again"}}
        if warm is not None:
            runs["warm"] = {**warm, "way": "warm"}
        return [one.code for one in judge("a.py", runs)]

    def test_same(self) -> None:
        """The same both ways is nothing to say; with cgi_warm = off nothing is compared."""
        self.assertEqual(self.judge(told(), told(), told()), [])
        self.assertEqual(self.judge(told(), told(), None), [])

    def test_different(self) -> None:
        """Any part that differs is an error, but for what differs under exec as well."""
        for part in ({"status": 201}, {"body": "aG8="}, {"headers": []}, {"stderr": ["x"]}, {"end": "aborted"}):
            self.assertEqual(self.judge(told(), told(), told(**part)), ["different"], part)
        # Lines: "same", and a number.
        one, two, three = ("c2FtZQox", "c2FtZQoy", "c2FtZQoz")
        self.assertEqual(self.judge(told(body=one), told(body=two), told(body=three)), ["changes"])
        self.assertEqual(self.judge(told(body=one), told(body=two), told(body="b3RoZXIKNA==")), ["different"])
        self.assertEqual(self.judge(told(body=one), told(body=two), told(body="YQpiCmM=")), ["changes"])

    def test_what_is_shown(self) -> None:
        """The difference is shown without the lines that differ at every run."""
        runs = {"exec": told(body="c2FtZQox"), "again": told(body="c2FtZQoy"), "warm": told(body="b3RoZXIKNA==")}
        (one,) = judge("a.py", runs)
        self.assertEqual(one.details, ("-same", "+other"))
        long = told(octets=9)
        (one,) = judge("a.py", {"exec": long, "again": long, "warm": told(octets=9, body="aG8=")})
        self.assertEqual(one.details, ("-hi", "+ho"))

    def test_one_run(self) -> None:
        """What fails, takes too long, complains or has no type is told from the run under exec."""
        for part, codes in (
            ({"status": 500, "end": "refused", "said": ["it printed nothing, exit status 1"]}, ["fails"]),
            ({"status": 503}, ["fails"]),
            ({"end": "aborted", "said": ["signal SIGKILL"]}, ["fails"]),
            ({"outcome": "time-up", "end": "refused"}, ["slow"]),
            ({"typed": False}, ["no-content-type"]),
            ({"typed": False, "status": 302}, []),
            ({"stderr": ["oops"]}, ["complains"]),
        ):
            self.assertEqual(self.judge(told(**part), told(**part), told(**part)), codes, part)

    def test_not_warm(self) -> None:
        """What fell back to exec is not compared, and the reason is told."""
        self.assertEqual(self.judge(told(), told(), told(fallback="the flag -d", status=404)), ["not-warm"])


class ReportTests(SynchronousTestCase):
    def test_escapes(self) -> None:
        """What files say cannot move the cursor."""
        script = Script(Path("/x/\x1b[2J"), "\x1b[2J", runs=True)
        script.problems.append(Problem("x", 3, "error", "fails", "Bad \x1b.", "do \x1b", ("| \x1b\t",)))
        text = "\n".join(report.script_lines("d\x07", script, True, 40))
        self.assertTrue(all(one.isprintable() for one in text.split("\n")), text)

    def test_verdicts(self) -> None:
        """The worst decides; notes are no fault."""
        for codes, python, ran, words in (
            ((), (), True, "ok"),
            ((), ("p",), True, "ok, the same both ways"),
            ((), ("p",), False, "ok"),
            ((("note", "not-warm"),), ("p",), True, "ok, but is not run warm"),
            ((("note", "not-warm"),), (), True, "ok"),
            ((("warning", "writable"),), (), False, "look at this"),
            ((("warning", "slow"),), (), True, "takes too long"),
            ((("error", "syntax"), ("note", "x")), (), False, "does not work"),
            ((("error", "different"),), ("p",), True, "different when it runs warm"),
        ):
            script = Script(Path("/a"), "a", python, runs=True)
            script.problems += [Problem("a", 0, level, code, "X.") for level, code in codes]
            self.assertEqual(report.verdict(script, ran), words)

    def test_summary(self) -> None:
        """Counts are words that people use."""
        one = Script(Path("/a"), "a", ("p",), runs=True)
        self.assertEqual(report.summary([], [], False), "0 scripts, nothing to say")
        self.assertEqual(report.summary([one], [], True), "1 script, 1 script the same both ways")
        problem = Problem("", 0, "warning", "directory-writable", "X.")
        self.assertEqual(report.summary([one], [problem], False), "1 script, 1 warning")


class CommandTests(CheckCase):
    def test_usage(self) -> None:
        """What is no directory, and no time, is bad usage."""
        status, out, err = self.check(str(self.root / "none"))
        self.assertEqual((status, out), (2, ""))
        self.assertIn("is not a directory", err)
        self.assertEqual(self.check(str(self.directory), "--timeout", "soon")[0], 2)

    def test_help_warns(self) -> None:
        """The help says that scripts are run."""
        self.assertIn("RUNS EACH SCRIPT", self.check("--help")[1])

    def test_nothing(self) -> None:
        """An empty directory is well."""
        self.assertEqual(self.check(str(self.directory))[:2], (0, "0 scripts, 0 scripts the same both ways\n"))

    def test_only_looks(self) -> None:
        """With --no-run nothing is run; what is suspicious is a note."""
        self.write("a.py", f"#!{sys.executable}\nopen('ran', 'w')\n")
        self.directory.chmod(0o777)
        status, out, _ = self.check(str(self.directory), "--no-run")
        self.assertEqual(status, 1)
        self.assertIn("Nothing in it looks like a Content-Type", out)
        self.assertIn("Everybody on this machine can put a script here.", out)
        self.assertTrue(out.endswith("1 script, 1 warning, 1 note\n"), out)
        self.assertFalse((self.directory / "ran").exists())

    def test_quiet(self) -> None:
        """With --quiet only what is wrong is shown."""
        self.write("a.sh", "#!/bin/sh\n# Content-Type\n")
        self.assertEqual(self.check(str(self.directory), "--no-run", "-q")[1], "1 script, nothing to say\n")

    def test_runs(self) -> None:
        """Scripts run both ways, with the daemon's environment; what a person has to know of each is told."""
        self.write(
            "good.py", f"#!{sys.executable}\nimport os\n{GOOD}print(sorted(os.environ), os.environ['SCRIPT_NAME'])\n"
        )
        self.write("hello.sh", "#!/bin/sh\necho Content-Type: text/plain\necho\necho hi\n")
        self.write("crash.py", f"#!{sys.executable}\n1/0\n")
        self.write("syntax.py", f"#!{sys.executable}\n1 1\n")
        status, out, err = self.check(str(self.directory))
        self.assertEqual((status, err), (1, ""), out)
        self.assertIn("good.py: ok, the same both ways\n", out)
        self.assertIn("hello.sh: ok\n", out)
        self.assertIn("| ZeroDivisionError: division by zero\n", out)
        self.assertIn("syntax.py: does not work\n", out)
        self.assertTrue(out.endswith("4 scripts, 2 errors, 1 script the same both ways\n"), out)

    def test_json(self) -> None:
        """Programs get everything as one object."""
        self.write("a.sh", "#!/bin/sh\necho Content-Type: text/plain\necho\n", 0o777)
        status, out, _ = self.check(str(self.directory), "--format", "json")
        found = json.loads(out)
        self.assertEqual((status, found["ok"], found["ran"]), (1, False, True))
        self.assertEqual(found["scripts"][0]["verdict"], "ok")
        self.assertEqual([one["code"] for one in found["scripts"][0]["problems"]], ["writable"])

    def test_configuration(self) -> None:
        """The options of the scope that holds for the directory are the scripts'."""
        self.write("a.sh", "#!/bin/sh\necho Content-Type: text/plain\necho\necho $A; echo oops $A >&2\n")
        config = self.root / "netsvc.ini"
        config.write_text(
            f"[netsvc]\nstate_directory = {self.root}/state\n[echo]\nlisten = tcp:1\n"
            f"[http]\nlisten = tcp:2\ndocroot = {self.root}\ncgi_warm = off\ncgi_env = A=outer\n"
            "[http /cgi-bin]\ncgi_env = A=inner\n"
        )
        status, out, err = self.check(str(self.directory), "--config", str(config))
        self.assertEqual((status, err), (0, ""))
        self.assertIn("| oops inner\n", out)
        other = self.root / "other"
        other.mkdir()
        config.write_text(config.read_text().replace(f"docroot = {self.root}", f"docroot = {other}"))
        status, _, err = self.check(str(self.directory), "--config", str(config))
        self.assertEqual(status, 1)
        self.assertIn("no document root", err)
        config.write_text("[htp]\n")
        self.assertEqual(self.check(str(self.directory), "--config", str(config))[0], 1)

    def test_rehearsal_fails(self) -> None:
        """When the program that runs scripts fails, that is one clear line."""
        self.write("a.sh", "#!/bin/sh\n")
        self.patch(sys, "executable", "/bin/false")
        status, _, err = self.check(str(self.directory))
        self.assertEqual((status, err), (1, "netsvc cgi-check: the scripts could not be run: status 1\n"))

    def test_no_twisted(self) -> None:
        """The command imports no Twisted."""
        program = (
            "import sys; from netsvc.cli.main import main; main(sys.argv[1:]);"
            "sys.exit('twisted' if 'twisted' in sys.modules else 0)"
        )
        self.write("a.py", f"#!{sys.executable}\n{GOOD}")
        done = subprocess.run([sys.executable, "-c", program, "cgi-check", str(self.directory)], capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
