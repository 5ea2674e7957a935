"""Facts about aliases and their file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.errors import BadValue
from netsvc.services.smtp_client.aliases import NO_ALIASES, Aliases, TooManyTargetsError, aliases, read_aliases

LOCAL = frozenset({"here.example", "localhost"})


def complaints(text: str) -> list[tuple[int, int, str]]:
    """What is wrong in a file: (line, column, message) each."""
    found: list[tuple[int, int, str]] = []
    read_aliases(text, lambda line, column, message: found.append((line, column, message)))
    return found


class Reading(SynchronousTestCase):
    def read(self, text: str) -> dict[str, tuple[str, ...]]:
        return dict(read_aliases(text, lambda *what: self.fail(str(what))).entries)

    def test_file(self) -> None:
        """Names, lists, continuation, comments and quotes are read as aliases(5) says."""
        text = (
            '# c\n\nPostmaster:root\nroot : a@x.example, "b c"@x.example,\n\t# between\n  \\root, jo\n'
            '"Jo.Do" :\n jo\ncron:root,\n'
        )
        self.assertEqual(
            self.read(text),
            {
                "postmaster": ("root",),
                "root": ("a@x.example", '"b c"@x.example', "\\root", "jo"),
                "jo.do": ("jo",),
                "cron": ("root",),
            },
        )

    def test_no_programs_and_no_files(self) -> None:
        """A pipe, a file or an include is refused where it stands, quoted or not, with the reason."""
        for target, why in (
            ("|/bin/vacation", "program"),
            ('"|/bin/vacation jo"', "program"),
            ('" |x"', "program"),
            ("/dev/null", "file"),
            ('"/var/mail/x y"', "file"),
            (":include:/etc/list", "other files"),
        ):
            [(line, column, message)] = complaints(f"a: b@x\nroot: b@x, {target}\n")
            self.assertEqual((line, column), (2, 12))
            self.assertIn(why, message)

    def test_faults(self) -> None:
        """Every fault of a file has its line and column."""
        text = ' x\nroot\nroot: a b\nroot: x\na@b: c\n: d\nempty: # no\nquote: "x\nnone:\n,\n'
        self.assertEqual(
            [(line, column) for line, column, _ in complaints(text)],
            [(1, 1), (2, 1), (3, 7), (4, 1), (5, 1), (6, 1), (7, 8), (8, 8), (10, 1), (9, 1)],
        )

    def test_circles(self) -> None:
        """Names that lead to each other are an error with the whole circle; a name that keeps itself is none."""
        [(line, column, message)] = complaints("x: a\na: b, me@x\nb: c\nc: A\nself: self, x@y\n")
        self.assertEqual((line, column), (2, 1))
        self.assertIn("a -> b -> c -> a", message)

    def test_long_chains(self) -> None:
        """Ten thousand names in a row, and names that share targets many times over, are read and followed at once."""
        chain = "".join(f"n{at}: n{at + 1}, n{at + 1}\n" for at in range(10_000)) + "n10000: end@x.example\n"
        made = read_aliases(chain, lambda *what: self.fail(str(what)))
        self.assertEqual(made.expand(["n0"], LOCAL), ("end@x.example",))

    def test_option(self) -> None:
        """The option reads the file and names it in its faults."""
        with tempfile.TemporaryDirectory(prefix="netsvc-aliases-") as directory:
            here, file = Context(Path(directory)), Path(directory, "aliases")
            file.write_text("root: me@x.example\n")
            self.assertEqual(aliases().parse("aliases", here), ("aliases", Aliases((("root", ("me@x.example",)),))))
            file.write_text("root: |x\n")
            with self.assertRaises(BadValue) as caught:
                aliases().parse("aliases", here)
            self.assertIn(f"{file}:1:7: '|x' is not allowed", caught.exception.message)
            self.assertEqual(aliases().parse("none", here), NO_ALIASES)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.lists(st.sampled_from(["a", "b", "c", ":", ",", "\n", " ", '"', "\\", "#", "@x", "|", "/", "ü"])).map(
            "".join
        )
    )
    def test_any_file(self, text: str) -> None:
        """Whatever a file holds, it is read; complaints are within its lines; what was read can be followed."""
        for line, column, _ in complaints(text):
            self.assertTrue(1 <= column <= len(text.split("\n")[line - 1]))
        made = read_aliases(text, lambda *_: None)
        made.expand(["a", "b@here.example", "c@x"], LOCAL)


class Expanding(SynchronousTestCase):
    MADE = Aliases(
        (
            ("cron", ("root",)),
            ("root", ("root", "a@x.example", "Cron", "jo@here.example")),
            ("jo", ("\\jo", "jo@y.example")),
        )
    )

    def test_expansion(self) -> None:
        """Local names are followed to their ends, each target once; a name that keeps itself stays a name."""
        ends = ("root", "a@x.example", "jo", "jo@y.example")
        self.assertEqual(self.MADE.expand(["Root@Here.example"], LOCAL), ends)
        self.assertEqual(self.MADE.expand(["cron", "root", "x@x"], LOCAL), (*ends, "x@x"))

    def test_others_are_left_alone(self) -> None:
        """A name without an alias, and a name at somebody else's domain, stay as they are."""
        self.assertEqual(
            self.MADE.expand(["root@else.example", "nobody", "jim@localhost"], LOCAL),
            ("root@else.example", "nobody", "jim@localhost"),
        )
        self.assertEqual(NO_ALIASES[1].expand(["root"], LOCAL), ("root",))

    def test_too_many(self) -> None:
        """Aliases that make one message a thousand and more are refused, not truncated."""
        big = Aliases((("all", tuple(f"u{at}@x.example" for at in range(1001))),))
        with self.assertRaises(TooManyTargetsError):
            big.expand(["all"], LOCAL)
