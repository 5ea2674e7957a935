"""What people and programs are told of a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from netsvc.config import report, values
from netsvc.config.daemon import DaemonSettings
from netsvc.config.options import Context, ValueType, option, options
from netsvc.config.plan import Instance, Plan
from netsvc.config.sections import parse
from netsvc.config.server import ServerSettings
from netsvc.errors import Fault, Origin
from netsvc.interfaces import IServiceKind


def pair() -> ValueType[tuple[str, ...]]:
    """Lines, whose default is several."""
    return ValueType(name="lines", parse=lambda text, _: tuple(text.split("\n")), show="\n".join, multiline=True)


@frozen(kw_only=True)
class ParrotSettings(ServerSettings):
    """Every sort of option."""

    words: tuple[str, ...] = option(pair(), default=("a # b", "c"), help="Words.")
    sentence: str = option(
        values.text(), default="Polly wants a cracker. " * 6 + "# now", help="What it says." + " More." * 30
    )
    file: Path | None = option(values.path(), default=None, help="A file.")
    bare: str = option(ValueType(name="bare", unit="m", parse=lambda text, _: text), default="1", help="Bare.")


@implementer(IServiceKind)
@frozen
class ParrotKind:
    """A kind with long and hostile texts."""

    word: str = "parrot"
    summary: str = "Repeats what it hears, in whatever language, until somebody covers its cage with a cloth.\x1b[2J"
    source: str = "RFC 1149, RFC 2549"
    runs: str = "every-worker"

    def load_settings(self) -> type[Any]:
        return ParrotSettings

    def load_make_service(self) -> Any:
        raise NotImplementedError


KINDS: dict[str, Any] = {"parrot": ParrotKind()}
FAULTS = [Fault(Origin("a.ini", 1, 2), "bad-value", "no\x1b[2J", "yes"), Fault(Origin("a.ini"), "unreadable", "gone")]


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        origin = Origin("a.ini", 1, 1)
        daemon = DaemonSettings(state_directory=Path("/s"))
        instances = tuple(Instance(KINDS["parrot"], name, None, origin) for name in ("parrot", "parrot:b"))
        self.plan = Plan(daemon, instances, (Path("/etc/a.ini"),))

    def test_good(self) -> None:
        """A good file is one line that counts its services."""
        self.assertEqual(report.check_lines("a.ini", self.plan), ["a.ini: 2 services, no faults"])

    def test_bad(self) -> None:
        """Faults are one line each, escaped, and are counted at the end."""
        self.assertEqual(
            report.check_lines("a\x07.ini", None, FAULTS),
            [
                r"a.ini:1:2: error[bad-value]: no\x1b[2J; did you mean 'yes'?",
                "a.ini: error[unreadable]: gone",
                r"a\x07.ini: 2 faults",
            ],
        )

    def test_counts(self) -> None:
        """One is singular, none is 'no'."""
        self.assertEqual([report.count(number, "fault") for number in (0, 1, 2)], ["no faults", "1 fault", "2 faults"])

    def test_json(self) -> None:
        """Programs get the same, and only ASCII."""
        good = json.loads(report.check_json("a.ini", self.plan))
        services = [{"kind": "parrot", "name": "parrot"}, {"kind": "parrot", "name": "parrot:b"}]
        self.assertEqual(
            good, {"path": "a.ini", "ok": True, "files": ["/etc/a.ini"], "services": services, "faults": []}
        )
        text = report.check_json("é\x1b", None, FAULTS)
        self.assertTrue(text.isascii() and "\x1b" not in text)
        bad = json.loads(text)
        self.assertEqual((bad["ok"], bad["files"], bad["services"], len(bad["faults"])), (False, [], [], 2))
        self.assertEqual(
            bad["faults"][1],
            {"path": "a.ini", "line": 0, "column": 0, "code": "unreadable", "message": "gone", "suggestion": None},
        )


class ReferenceTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The table names every kind and the daemon, within 80 columns, without control characters."""
        lines = report.kinds_lines(KINDS)
        self.assertEqual(lines[0].split(), ["kind", "source", "summary"])
        self.assertTrue(lines[1].startswith("parrot  RFC 1149, RFC"))
        self.assertTrue(lines[-2].startswith("netsvc  - "))
        for line in lines:
            self.assertTrue(line.isprintable() and len(line) <= 80, line)
        self.assertIn(r"\x1b[2J", " ".join(lines))

    def test_table_without_sources(self) -> None:
        """A kind without a source or a summary still has its line."""
        lines = report.kinds_lines({"parrot": ParrotKind(source="", summary="")})  # type: ignore[dict-item]
        self.assertEqual(lines[1], "parrot  -")

    def test_reference(self) -> None:
        """Every option stands with its default, its help, its type and its bounds, within 80 columns."""
        lines = report.reference_lines("parrot", KINDS["parrot"])
        text = "\n".join(lines)
        self.assertEqual(lines[0], "[parrot] or [parrot:instance]")
        for piece in (
            "listen = ...  (required)\n    Endpoints, one a line.\n    endpoints; ",
            "file = ...  (not set)\n    A file.\n    path\n",
            "words =\n    a \\# b\n    c\n    Words.\n    lines; may run over several lines\n",
            "bare = 1\n    Bare.\n    bare; m",
            "idle_timeout = 5m\n",
            "rate = none\n",
        ):
            self.assertIn(piece, text)
        for line in lines:
            self.assertTrue(line.isprintable() and len(line) <= 80, line)
        for one in options(ParrotSettings):
            self.assertIn(f"\n{one.key} =", text)

    def test_defaults_can_be_copied(self) -> None:
        """A default that the reference shows over several lines is read as itself when it is put into a file."""
        lines = report.reference_lines("parrot", KINDS["parrot"])
        start = next(number for number, line in enumerate(lines) if line.startswith("words ="))
        document = parse("\n".join(["[parrot]", *lines[start : start + 3]]).encode(), "f")
        value = document.sections[0].entries[0].text
        self.assertEqual(pair().parse(value, Context(Path("/"))), ("a # b", "c"))

    def test_daemon(self) -> None:
        """The daemon's own section is in the reference like a kind."""
        lines = report.reference_lines("netsvc", None)
        self.assertEqual(lines[0], "[netsvc]")
        self.assertIn("max_connections = none", lines)
        self.assertEqual(json.loads(report.reference_json("netsvc", None))["word"], "netsvc")

    def test_json(self) -> None:
        """Programs get every option with type, unit, bounds, default, help."""
        found = json.loads(report.reference_json("parrot", KINDS["parrot"]))
        self.assertEqual((found["word"], found["runs"]), ("parrot", "every-worker"))
        by_key = {one["key"]: one for one in found["options"]}
        self.assertEqual(list(by_key), [one.key for one in options(ParrotSettings)])
        self.assertEqual(
            by_key["idle_timeout"],
            {
                "key": "idle_timeout",
                "type": "duration",
                "unit": "ms, s, m, h, d or w",
                "bounds": "0s to 1w",
                "required": False,
                "default": "5m",
                "multiline": False,
                "scope": False,
                "help": "Close a connection on which no octet moved for so long; 0 is never.",
            },
        )
        self.assertEqual((by_key["listen"]["required"], by_key["listen"]["default"]), (True, None))
        self.assertEqual((by_key["rate"]["default"], by_key["file"]["default"]), ("none", None))
        self.assertEqual(json.loads(report.kinds_json(KINDS))[0]["word"], "parrot")
