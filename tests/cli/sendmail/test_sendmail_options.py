"""sendmail's command line."""

from __future__ import annotations

from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.sendmail.options import Options, UsageError, parse


class CommandLine(SynchronousTestCase):
    programs: ClassVar[dict[str, tuple[str, Options]]] = {
        "cron": (
            "-FCronDaemon -i -B8BITMIME -oem root",
            Options(full_name="CronDaemon", dot_ends=False, recipients=("root",)),
        ),
        "PHP": ("-t -i -fwww@x.example", Options(from_header=True, dot_ends=False, sender="www@x.example")),
        "git send-email": ("-i a@x b@x", Options(dot_ends=False, recipients=("a@x", "b@x"))),
        "mutt": (
            "-oem -oi -f a@x -N failure,delay -R hdrs -B8BITMIME -- b@x",
            Options(dot_ends=False, sender="a@x", notify=("failure", "delay"), ret="hdrs", recipients=("b@x",)),
        ),
        "the old way": (
            "-r a@x -odq -o7 -O DeliveryMode=b -C /etc/x -Xlog -v -m -h3 -hc 4 -tvi b@x",
            Options(sender="a@x", verbose=True, recipients=("4", "-tvi", "b@x")),
        ),
        "flags in one word": ("-tvi b@x", Options(from_header=True, verbose=True, dot_ends=False, recipients=("b@x",))),
        "envelope id": ("-V id -N never x", Options(envid="id", notify=("never",), recipients=("x",))),
    }

    def test_as_programs_call_it(self) -> None:
        """What programs say is understood."""
        for name, (line, expected) in self.programs.items():
            self.assertEqual(parse("/usr/sbin/sendmail", line.split()), expected, name)

    def test_modes(self) -> None:
        """The mode is in -b, in -q, in -I, or in the program's name."""
        for program, line, mode in (
            ("sendmail", "-bm x", "deliver"),
            ("sendmail", "-bs", "smtp"),
            ("sendmail", "-b p", "queue"),
            ("sendmail", "-bv x", "verify"),
            ("sendmail", "-bi", "aliases"),
            ("sendmail", "-I", "aliases"),
            ("sendmail", "-q", "flush"),
            ("sendmail", "-q30m x", "deliver"),
            ("/usr/bin/mailq", "", "queue"),
            ("mailq", "-v", "queue"),
            ("/usr/bin/newaliases", "", "aliases"),
            ("mailq", "-q", "flush"),
        ):
            self.assertEqual(parse(program, line.split()).mode, mode, (program, line))
        self.assertEqual(parse("sendmail", ["-qIabc"]).flush_what, "Iabc")
        self.assertEqual(parse("sendmail", ["-qRexample.com"]).flush_what, "Rexample.com")

    def test_not_understood(self) -> None:
        """What is none of sendmail's flags, or has no value, is said with the flag."""
        for line in (
            "-z",
            "-f",
            "-bd",
            "-bt",
            "-N often",
            "-N never,delay",
            "-N delay,delay",
            "-R all",
            "-qSx",
            "-V é",
        ):
            with self.assertRaises(UsageError) as caught:
                parse("sendmail", line.split())
            self.assertIn(line.split()[0], str(caught.exception))

    def test_dashes(self) -> None:
        """Two dashes end the flags; one alone is a recipient."""
        self.assertEqual(parse("sendmail", ["-i", "--", "-x@y"]).recipients, ("-x@y",))
        self.assertEqual(parse("sendmail", ["-", "-i"]).recipients, ("-", "-i"))

    @given(st.lists(st.text("-tfriobqNRVFBX ImshpvdDacGz1@", max_size=6), max_size=6))
    def test_anything(self, words: list[str]) -> None:
        """Any command line is understood or refused."""
        try:
            options = parse("sendmail", words)
        except UsageError:
            return
        self.assertEqual(words[len(words) - len(options.recipients) :], list(options.recipients))
