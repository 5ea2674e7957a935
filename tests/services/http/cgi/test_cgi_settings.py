"""The options of CGI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.errors import BadValue
from netsvc.services.http.cgi.settings import CgiSettings

CONTEXT = Context(Path("/etc/netsvc"))
OPTIONS = {option.key: option for option in options(CgiSettings)}


def parse(key: str, text: str) -> Any:
    """The value of an option's text."""
    return OPTIONS[key].value.parse(text, CONTEXT)


class SettingsTest(SynchronousTestCase):
    """What stands in the INI file."""

    def test_round_trip(self) -> None:
        """The text of every default is read as that default."""
        for key, option in OPTIONS.items():
            if option.default not in ((), None):
                self.assertEqual(parse(key, option.default_text), option.default)

    def test_directories(self) -> None:
        """CGI directories are names, not paths; none turns CGI off."""
        self.assertEqual(parse("cgi_directories", "cgi-bin, bin"), ("cgi-bin", "bin"))
        self.assertEqual(parse("cgi_directories", ""), ())
        for text in ("/srv/cgi-bin", "a/b", "..", "."):
            self.assertRaises(BadValue, parse, "cgi_directories", text)

    def test_assignments(self) -> None:
        """Variables are given one a line; the value may hold spaces and further "="."""
        found = parse("cgi_env", "A=1\n\n  B = two words=x \nC=")
        self.assertEqual(found, (("A", "1"), ("B", "two words=x"), ("C", "")))
        self.assertEqual(parse("cgi_env", OPTIONS["cgi_env"].value.show(found)), found)

    def test_bad_assignments(self) -> None:
        """A fault in a line is reported where it stands."""
        for text, at in (("A=1\nB", 4), ("1A=x", 0), ("A=1\n  A=2", 6), ("A=x\0", 0), ("A B=1", 0)):
            bad = self.assertRaises(BadValue, parse, "cgi_env", text)
            self.assertEqual(bad.at, at)

    def test_names(self) -> None:
        """The option cgi_pass_env takes names of variables only."""
        self.assertEqual(parse("cgi_pass_env", "TZ LANG"), ("TZ", "LANG"))
        self.assertRaises(BadValue, parse, "cgi_pass_env", "TZ=UTC")
