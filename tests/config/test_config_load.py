"""A configuration file to a plan, or to every fault of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.config import values
from netsvc.config.daemon import DaemonSettings
from netsvc.config.files import MAX_FILES
from netsvc.config.listen import TcpAddress, UdpAddress
from netsvc.config.load import load
from netsvc.config.options import Context, ValueType, option
from netsvc.config.plan import Plan
from netsvc.config.secrets import Secret, secret
from netsvc.config.server import ServerSettings
from netsvc.errors import BadValue, ConfigError, Fault, Origin
from netsvc.interfaces import IServiceKind


def careless() -> ValueType[int]:
    """A type of a third party whose code raises what it should not."""

    def parse(text: str, _: Context) -> int:
        return int(text)

    return ValueType(name="careless", parse=parse)


def reserved(_: object, __: object, value: int) -> None:
    """An attrs validator that raises as attrs' own do."""
    if value == 13:
        raise ValueError("hunter2")


@frozen(kw_only=True)
class ParrotSettings(ServerSettings):
    """A server with options of its own that depend on each other."""

    low: int = option(values.integer(0, 100), default=0, help="Low.")
    high: int = option(values.integer(0, 100), default=100, help="High.")
    password: Secret | None = option(secret(), default=None, help="Secret.")
    careless: int = option(careless(), default=0, help="Careless.")

    def check(self) -> Iterable[tuple[str, str]]:
        """What no single option can know."""
        if self.low > self.high:
            yield "low", "is above high"
        if self.high == 99:
            raise RuntimeError("hunter2")


@frozen(kw_only=True)
class JobSettings:
    """A kind that does not listen, with an option that must be given, and one that is refused late."""

    url: str = option(values.text(), help="Url.")
    odd: int = option(values.integer(0, 100), default=0, help="Odd.")

    def __attrs_post_init__(self) -> None:
        reserved(None, None, self.odd)
        if self.odd == 14:
            raise BadValue("14 is refused", suggestion="15")


@implementer(IServiceKind)
@frozen
class FakeKind:
    """A kind whose settings class is at hand."""

    word: str
    settings: Callable[[], type[Any]] = field(eq=False)
    summary: str = "A fake."
    source: str = "RFC 1"
    runs: str = "every-worker"

    def load_settings(self) -> type[Any]:
        return self.settings()

    def load_make_service(self) -> Any:
        raise NotImplementedError


def broken() -> type[Any]:
    """Settings that cannot be imported."""
    raise ModuleNotFoundError("No module named 'parrots'")


KINDS: dict[str, Any] = {
    "parrot": FakeKind("parrot", lambda: ParrotSettings),
    "job": FakeKind("job", lambda: JobSettings),
    "broken": FakeKind("broken", broken),
}
ENVIRON = {"HOME": "/home/test", "PASSWORD": "hunter2"}


class LoadCase(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(os.path.realpath(made.name))

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(self, text: str, **files: str) -> Plan:
        for name, content in files.items():
            self.write(f"{name}.ini", content)
        return load(self.write("main.ini", text), KINDS, ENVIRON)

    def found(self, text: str, **files: str) -> tuple[Fault, ...]:
        return self.assertRaises(ConfigError, self.load, text, **files).faults

    def faults(self, text: str, **files: str) -> list[str]:
        """The faults, without the directory."""
        return [str(fault).replace(f"{self.directory}/", "") for fault in self.found(text, **files)]


class PlanTests(LoadCase):
    def test_plan(self) -> None:
        """A good file is a plan: the daemon's options, the instances in order, the files."""
        plan = self.load(
            "[netsvc]\nlog_format = json\nstate_directory = state\nmax_connections = none\n"
            "[parrot]\nlisten = tcp:1 # one\n  udp:1\npassword = env:PASSWORD\n"
            "[parrot:a-b_3]\nlisten=tcp:2\n[job]\nurl = x\n"
        )
        self.assertEqual(plan.daemon, DaemonSettings(log_format="json", state_directory=self.directory / "state"))
        self.assertEqual([one.name for one in plan.instances], ["parrot", "parrot:a-b_3", "job"])
        first = plan.instances[0]
        self.assertIs(first.kind, KINDS["parrot"])
        self.assertEqual(first.settings.listen, (TcpAddress(port=1), UdpAddress(port=1)))
        self.assertEqual(first.settings.password.reveal(), "hunter2")
        self.assertEqual(first.origin, Origin(str(self.directory / "main.ini"), 5, 1))
        self.assertEqual(plan.files, (self.directory / "main.ini",))

    def test_equality(self) -> None:
        """Two plans of the same text are equal, wherever its lines stand; one changed value makes them differ."""
        text = "[parrot]\nlisten = tcp:1\nlow = 5\npassword = literal:x\n"
        one = self.load(text)
        self.assertEqual(self.load(f"# moved\n\n{text}"), one)
        self.assertNotEqual(self.load(text.replace("low = 5", "low = 6")), one)
        self.assertNotEqual(self.load(text.replace("literal:x", "literal:y")), one)
        hash(one)

    def test_empty(self) -> None:
        """An empty file is a plan without services, with state under the home directory."""
        plan = self.load("")
        self.assertEqual(plan.instances, ())
        self.assertEqual(plan.daemon, DaemonSettings(state_directory=Path("/home/test/.local/state/netsvc")))

    def test_relative_path(self) -> None:
        """Faults name a file as the person did; files in the plan are absolute."""
        path = self.write("main.ini", "[nothing]\n")
        relative = os.path.relpath(path)
        error = self.assertRaises(ConfigError, load, relative, KINDS, ENVIRON)
        self.assertEqual(error.faults[0].origin, Origin(relative, 1, 1))
        path.write_text("")
        self.assertEqual(load(relative, KINDS, ENVIRON).files, (path,))

    def test_no_state_directory(self) -> None:
        """Where nothing says where state goes, the fault is at [netsvc], or at the file that lacks it."""
        for text, line in (("[job]\nurl = x\n[netsvc]\n", 3), ("", 0)):
            path = self.write("main.ini", text)
            error = self.assertRaises(ConfigError, load, path, KINDS, {})
            self.assertEqual([(one.origin.line, one.code) for one in error.faults], [(line, "missing-key")])

    def test_processes_environment(self) -> None:
        """Without an environment the process's own is taken."""
        self.assertTrue(load(self.write("main.ini", "[netsvc]\nstate_directory = x\n"), KINDS).daemon.state_directory)


class FaultTests(LoadCase):
    def test_all_at_once(self) -> None:
        """Every fault of every file is listed, sorted, each with place, code and what was probably meant."""
        self.assertEqual(
            self.faults(
                "[netsvc]\ninclude = b.ini\nlog_fromat = json\n[parot:x]\nfoo = 1\n[parrot]\nlow = 200\nHigh = 5\n"
                "max_conections = 1\n[job]\nnonsense\n",
                b="[job:b]\nurl = x\nurl = y\n[jbo]\n",
            ),
            [
                "b.ini:3:1: error[duplicate-key]: this key stands in [job:b] already, at b.ini:2:1",
                "b.ini:4:1: error[unknown-section]: 'jbo' in [jbo] is not a kind of service; did you mean 'job'?",
                "main.ini:3:1: error[unknown-key]: 'log_fromat' is not a key of [netsvc]; did you mean 'log_format'?",
                "main.ini:4:1: error[unknown-section]: 'parot' in [parot:x] is not a kind of service; "
                "did you mean 'parrot:x'?",
                "main.ini:6:1: error[missing-key]: [parrot] needs the key 'listen'",
                "main.ini:7:7: error[bad-value]: low: 200 is not within 0 to 100",
                "main.ini:8:1: error[unknown-key]: 'High' is not a key of [parrot]; did you mean 'high'?",
                "main.ini:9:1: error[unknown-key]: 'max_conections' is not a key of [parrot]; "
                "did you mean 'max_connections'?",
                "main.ini:10:1: error[missing-key]: [job] needs the key 'url'",
                "main.ini:11:1: error[syntax]: this is neither [section] nor 'key = value' nor a comment",
            ],
        )

    def test_place_in_a_value(self) -> None:
        """A bad value is reported at the word that is bad, on whichever of its lines, behind tabs and backslashes."""
        for text, line, column in (
            ("[parrot]\nlisten = tcp:1\n  # no\n\ttcp:2:backlg=5 # x\n", 4, 8),
            ("[parrot]\nlisten = tcp:1\nallow = ::1, nonsense\n", 3, 14),
            ("[parrot]\nlisten = tcp:1\nallow = ::1\n   10.0.0.1/8\n", 4, 4),
            ("[parrot]\nlisten = tcp:1\nidle_timeout = 5 q\n", 3, 18),
            (r"[parrot]" "\n" r"listen = unix:/a \# b:mod=1", 2, 23),
        ):
            (fault,) = self.found(text)
            self.assertEqual((fault.origin.line, fault.origin.column), (line, column), str(fault))

    def test_one_line_only(self) -> None:
        """A continuation of a value that has one line is the fault, at its own place."""
        (fault,) = self.faults("[job]\nurl = x\n  odd = 1\n")
        self.assertIn("main.ini:3:3: error[bad-value]: url: one line only", fault)

    def test_section_names(self) -> None:
        """A section's name is [kind] or [kind:instance]; what is near is suggested."""
        for name, code, suggestion in (
            ("Parrot", "unknown-section", "parrot"), (" parrot ", "unknown-section", "parrot"),
            ("parrot:A b", "syntax", "parrot:a-b"), ("parrot:", "syntax", "parrot"), ("parrot:é", "syntax", "parrot"),
            ("", "unknown-section", None), (":x", "unknown-section", None), ("zzz", "unknown-section", None),
            ("netsvc:a", "unknown-section", "netsvc"), ("netsv:a", "unknown-section", "netsvc"),
        ):  # fmt: skip
            (fault,) = self.found(f"[{name}]\nlisten = tcp:1\n")
            self.assertEqual((fault.code, fault.suggestion), (code, suggestion), str(fault))

    def test_duplicate_sections(self) -> None:
        """The second of two sections names the first, in another file too; its values are judged all the same."""
        self.assertEqual(
            self.faults(
                "[netsvc]\ninclude = b.ini\n[parrot]\nlisten = tcp:1\n[parrot]\nlisten = tcp:1\nlow = x\n",
                b="[netsvc]\n[parrot]\n",
            ),
            [
                "b.ini:1:1: error[duplicate-section]: [netsvc] stands already at main.ini:1:1",
                "b.ini:2:1: error[duplicate-section]: [parrot] stands already at main.ini:3:1",
                "main.ini:5:1: error[duplicate-section]: [parrot] stands already at main.ini:3:1",
                "main.ini:7:7: error[bad-value]: low: 'x' is not a whole number",
            ],
        )

    def test_no_word_is_not_repeated(self) -> None:
        """What is no key at all may be a piece of a secret that was wrapped; it is not shown."""
        (fault,) = self.faults("[job]\nurl = x\nhunter2/+== x\n")
        self.assertNotIn("hunter2", fault)
        self.assertIn("main.ini:3:1: error[syntax]", fault)

    def test_secrets_are_not_repeated(self) -> None:
        """No fault of a secret's value shows it."""
        for value in ("hunter2", "literl:hunter2", "literal:x\n  hunter2", 'literal:" # hunter2', "literal:hunter2\0"):
            for fault in self.faults(f"[parrot]\nlisten = tcp:1\npassword = {value}\n"):
                self.assertNotIn("hunter2", fault)

    def test_faulty_values_are_not_judged(self) -> None:
        """A value that could not be read is one fault, and its key is not missing."""
        self.assertEqual(len(self.found("[job]\nurl = a\0\nodd = 5\0\n")), 2)

    def test_conflicting_options(self) -> None:
        """What check() yields is reported at its key, or at the section where the key does not stand."""
        text = "[parrot]\nlisten = tcp:1\nhigh = 5\n"
        self.assertEqual(self.faults(f"{text}low = 6\n"), ["main.ini:4:7: error[conflict]: low: is above high"])
        self.patch(ParrotSettings, "check", lambda _: [("low", "no")])
        self.assertEqual(self.faults(text), ["main.ini:1:1: error[conflict]: low: no"])

    def test_refused_by_the_class(self) -> None:
        """A settings class may refuse with BadValue when it is made."""
        self.assertEqual(
            self.faults("[job]\nurl = x\nodd = 14\n"),
            ["main.ini:1:1: error[bad-value]: [job]: 14 is refused; did you mean '15'?"],
        )

    def test_broken_kinds(self) -> None:
        """Code of a kind that fails is a fault that names it, not a traceback, and repeats no value."""
        for text, message in (
            (
                "[broken]\nx = 1\n",
                "main.ini:1:1: error[broken-kind]: the settings of the kind 'broken' cannot be loaded",
            ),
            (
                "[parrot]\nlisten=tcp:1\ncareless = hunter2\n",
                "main.ini:3:12: error[broken-kind]: careless: the kind's own code",
            ),
            ("[parrot]\nlisten=tcp:1\nhigh = 99\n", "main.ini:1:1: error[broken-kind]: [parrot]: the kind's own code"),
            ("[job]\nurl=x\nodd = 13\n", "main.ini:1:1: error[broken-kind]: [job]: the kind's own code"),
        ):
            (fault,) = self.faults(text)
            self.assertIn(message, fault)
            self.assertNotIn("hunter2", fault)

    def test_long_values_are_cut(self) -> None:
        """A value of a hundred thousand characters is not repeated whole."""
        (fault,) = self.faults(f"[parrot]\nlisten = tcp:1\nlow = {'x' * 100_000}\n")
        self.assertLess(len(fault), 600)
        (fault,) = self.faults(f"[parrot]\nlisten = {'9' * 100_000}\n")
        self.assertLess(len(fault), 600)


class ListenConflictTests(LoadCase):
    def test_same_address(self) -> None:
        """Two sections on one address are a fault at the later line that names both places."""
        self.assertEqual(
            self.faults(
                "[parrot]\nlisten = udp:7\n  tcp:7\n[parrot:b]\nlisten =\n  tcp:8\n  tcp:7:interface=127.0.0.1\n"
            ),
            ["main.ini:7:3: error[conflict]: listen: tcp:127.0.0.1:7 is taken by [parrot] at main.ini:3:3 (tcp:*:7)"],
        )

    def test_within_a_section(self) -> None:
        """Two lines of one section collide too."""
        (fault,) = self.faults("[parrot]\nlisten = tcp:7\n  tcp:7:interface=127.0.0.1\n")
        self.assertIn("main.ini:3:3: error[conflict]", fault)

    def test_free_ports(self) -> None:
        """Port 0 collides with nothing."""
        self.assertEqual(len(self.load("[parrot]\nlisten = tcp:0\n[parrot:b]\nlisten = tcp:0\n").instances), 2)

    def test_seen_despite_other_faults(self) -> None:
        """An address counts although another value of its section is bad."""
        codes = [one.code for one in self.found("[parrot]\nlisten = tcp:7\nlow = x\n[parrot:b]\nlisten = tcp:7\n")]
        self.assertEqual(codes, ["bad-value", "conflict"])

    def test_addresses_without_lines(self) -> None:
        """Addresses that a type makes of one line are all placed there."""
        twins = ValueType(name="twins", parse=lambda *_: (TcpAddress(port=7), TcpAddress(port=7)))

        @frozen(kw_only=True)
        class TwinSettings:
            listen: Any = option(twins, help="Twins.")

        path = self.write("main.ini", "[twin]\nlisten = x\n")
        kinds: Any = {"twin": FakeKind("twin", lambda: TwinSettings)}
        (fault,) = self.assertRaises(ConfigError, load, path, kinds, ENVIRON).faults
        self.assertEqual((fault.code, fault.origin.column), ("conflict", 10))


class IncludeTests(LoadCase):
    def test_glob(self) -> None:
        """Globs are relative to their file and sorted; paths in an included file are relative to that one."""
        self.write("conf.d/b.ini", "[parrot:b]\nlisten = unix:s\n")
        self.write("conf.d/a.ini", "[job:a]\nurl = x\n")
        self.write("conf.d/c.txt", "nonsense")
        plan = self.load("[netsvc]\ninclude =\n  conf.d/*.ini\n  none.d/*.ini\n[job]\nurl = x\n")
        self.assertEqual([one.name for one in plan.instances], ["job", "job:a", "parrot:b"])
        self.assertEqual(plan.instances[2].settings.listen[0].path, self.directory / "conf.d/s")
        self.assertEqual([one.name for one in plan.files], ["main.ini", "a.ini", "b.ini"])

    def test_directory_with_magic(self) -> None:
        """Marks of globs in the name of the configuration's own directory are no globs."""
        self.write("[a]*/x.ini", "[job]\nurl = x\n")
        plan = load(self.write("[a]*/main.ini", "[netsvc]\ninclude = *x.ini\n"), KINDS, ENVIRON)
        self.assertEqual(len(plan.instances), 1)

    def test_missing(self) -> None:
        """A file that is named and missing is a fault at its line, with the one that was probably meant."""
        self.write("conf.d/echo.ini", "")
        self.assertEqual(
            self.faults("[netsvc]\ninclude = conf.d/ecco.ini\n  none/x.ini\n"),
            [
                "main.ini:2:11: error[bad-include]: 'conf.d/ecco.ini' cannot be read: No such file or directory; "
                "did you mean 'conf.d/echo.ini'?",
                "main.ini:3:3: error[bad-include]: 'none/x.ini' cannot be read: No such file or directory",
            ],
        )

    def test_directory(self) -> None:
        """A directory that a glob finds is a fault at its line."""
        (self.directory / "d.ini").mkdir()
        self.assertEqual(
            self.faults("[netsvc]\ninclude = d*\n"), ["main.ini:2:11: error[bad-include]: 'd.ini' is a directory"]
        )

    def test_twice(self) -> None:
        """A file that is named twice, by whatever name, is a fault that names the first place."""
        self.write("a.ini", "")
        os.symlink("a.ini", self.directory / "b.ini")
        self.assertEqual(
            self.faults("[netsvc]\ninclude = a.ini\n  b.ini\n"),
            ["main.ini:3:3: error[bad-include]: 'b.ini' is read already, named at main.ini:2:11"],
        )

    def test_loops(self) -> None:
        """A file that includes itself, at once or through others, is a fault."""
        self.assertEqual(
            self.faults("[netsvc]\ninclude = *.ini\n"),
            ["main.ini:2:11: error[bad-include]: 'main.ini' includes itself"],
        )
        self.assertEqual(
            self.faults("[netsvc]\ninclude = b.ini\n", b="[netsvc]\ninclude = main.ini\n"),
            [
                "b.ini:1:1: error[duplicate-section]: [netsvc] stands already at main.ini:1:1",
                "b.ini:2:11: error[bad-include]: 'main.ini' includes itself",
            ],
        )

    def test_bound(self) -> None:
        """A glob that finds thousands of files ends in a fault."""
        for number in range(MAX_FILES + 5):
            self.write(f"many/{number}.ini", "")
        (fault, *_) = self.faults("[netsvc]\ninclude = many/*\n")
        self.assertIn("more than 1000 files", fault)

    def test_depth(self) -> None:
        """Files that include one another in a long row end in a fault and not in an overflow."""
        for number in range(1500):
            self.write(f"row/{number}.ini", f"[netsvc]\ninclude = {number + 1}.ini\n")
        faults = [one for one in self.faults("[netsvc]\ninclude = row/0.ini\n") if "bad-include" in one]
        self.assertEqual(len(faults), 1)
        self.assertIn("more than 32 files, each included by the one before", faults[0])

    def test_every_fault_of_a_list(self) -> None:
        """Each line of `listen` and each item of a list that is wrong is a fault of its own, at its place."""
        text = "[parrot]\nlisten =\n  tcp:x\n  tcp:1\n  tcp:1\n  udp:99999\nallow = foo, ::1, 10.0.0.1/8\n"
        places = [(one.origin.line, one.origin.column) for one in self.found(text)]
        self.assertEqual(places, [(3, 7), (5, 3), (6, 7), (7, 9), (7, 19)])

    def test_faulty_and_empty(self) -> None:
        """An include that cannot be read is not followed; an empty one includes nothing."""
        self.assertEqual([one.code for one in self.found("[netsvc]\ninclude = a\0.ini\n")], ["syntax"])
        self.assertEqual(self.load("[netsvc]\ninclude =\n").daemon.include, ())

    def test_main_file_unreadable(self) -> None:
        """The file itself missing, a directory, a FIFO or an impossible name is one fault."""
        os.mkfifo(self.directory / "fifo")
        self.write("netsvc.ini", "")
        for path, suggestion in (
            (self.directory / "netsvc.in", str(self.directory / "netsvc.ini")),
            (self.directory, None),
            (self.directory / "fifo", None),
            (Path("a\0b"), None),
            (Path("/nonexistent/dir/x.ini"), None),
        ):
            error = self.assertRaises(ConfigError, load, path, KINDS, ENVIRON)
            fault = error.faults[0]
            self.assertEqual(
                (fault.code, fault.origin, fault.suggestion), ("unreadable", Origin(str(path)), suggestion)
            )
            self.assertEqual(len(error.faults), 1)


class AnyTextTests(LoadCase):
    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        st.lists(
            st.sampled_from(
                [
                    *'[]=:# \n\n\n"\\\0;é',
                    "[parrot]\n",
                    "[job]\n",
                    "[netsvc]\n",
                    "\nlisten = ",
                    "tcp:",
                    "80",
                    "\nurl = ",
                    "include =",
                ]
            )
        ).map("".join)
    )
    def test_any_text(self, text: str) -> None:
        """Any text is a plan or a ConfigError with sorted faults whose places are in the file."""
        path = self.directory / "any.ini"
        path.write_text(text)
        try:
            load(path, KINDS, ENVIRON)
        except ConfigError as error:
            self.assertTrue(error.faults)
            self.assertEqual(list(error.faults), sorted(error.faults))
            for fault in error.faults:
                self.assertLessEqual(fault.origin.line, text.count("\n") + 1)
