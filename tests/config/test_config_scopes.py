"""Scope sections: how their headers are read, and what they have from the scopes around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.load import load
from netsvc.config.scopes import Prefix, Scope, parse_prefix, scope_options
from netsvc.config.server import ServerSettings
from netsvc.errors import BadValue, ConfigError
from netsvc.registry import kinds
from netsvc.services.http.settings import HttpSettings

HEAD = "[netsvc]\nstate_directory = s\n[http]\nlisten = tcp:0\ndocroot = www\n"


class PrefixTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """A path, a host, or both; case of hosts and doubled slashes say nothing."""
        for text, host, names in (
            ("/", "", ()), ("/a", "", ("a",)), ("/a//b/", "", ("a", "b")),
            ("//Blog.Example.ORG/", "blog.example.org", ()),
            ("//x/a b", "x", ("a b",)), ("//*.example.org/a", "*.example.org", ("a",)),
            ("//bücher.example", "xn--bcher-kva.example", ()),
        ):  # fmt: skip
            self.assertEqual(parse_prefix(text), Prefix(host, names), text)

    def test_no_forms(self) -> None:
        """What is no host and no path, what could mean two things, and what a request cannot ask for."""
        for text in (
            "a", "", "//", "//a:80", "//a..b", "//-a", "//*", "//*.*.a", "//a b", "/a/../b", "/./a", "/a\\b", "/a\tb",
            "///", "//[::1]", "/" + "a/" * 33, "//" + "a" * 300,
        ):  # fmt: skip
            with self.assertRaises(BadValue, msg=text):
                parse_prefix(text)

    @given(st.text(alphabet="/ab.*-:\\é ", max_size=12))
    def test_any_text(self, text: str) -> None:
        """Any text is a prefix or a fault, and a prefix reads back as itself."""
        try:
            prefix = parse_prefix(text)
        except BadValue:
            return
        self.assertEqual(parse_prefix(str(prefix)), prefix)

    def test_encloses(self) -> None:
        """A prefix encloses those below it; the root of all hosts encloses every host, a path of it none."""
        root, place, host = Prefix(), Prefix("", ("a",)), Prefix("h")
        self.assertTrue(root.encloses(place) and root.encloses(host) and host.encloses(Prefix("h", ("a",))))
        self.assertTrue(place.encloses(place) and place.encloses(Prefix("", ("a", "b"))))
        self.assertFalse(place.encloses(Prefix("", ("ab",))))
        self.assertFalse(place.encloses(Prefix("h", ("a",))))
        self.assertFalse(host.encloses(Prefix("g", ())))


class LoadTests(SynchronousTestCase):
    def load(self, text: str, **more: str) -> Any:
        directory = Path(self.mktemp())
        directory.mkdir()
        for name, content in more.items():
            (directory / f"{name}.ini").write_text(content)
        (directory / "main.ini").write_text(text)
        return load(directory / "main.ini", kinds()), directory

    def scopes(self, text: str, **more: str) -> dict[str, Scope]:
        plan, _ = self.load(text, **more)
        (instance,) = plan.instances
        return {str(one.prefix): one for one in instance.settings.scopes}

    def faults(self, text: str) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            self.load(text)
        return [f"{one.origin.line}: {one.code}: {one.message}" for one in caught.exception.faults]

    def test_inheritance(self) -> None:
        """A scope has what is around it, but for what it sets; the order of the sections says nothing."""
        scopes = self.scopes(
            "[http /a/b]\nindex = b.html\n[http //h/x]\ndotfiles = yes\n[http //h]\nindex = h.html\n"
            + HEAD
            + "listing = yes\n[http /a]\nlisting = no\n"
        )
        found = {
            name: (one.settings.listing, one.settings.index, one.settings.dotfiles) for name, one in scopes.items()
        }
        index = ("index.html", "index.htm")
        self.assertEqual(
            found,
            {
                "/a": (False, index, False),
                "/a/b": (False, ("b.html",), False),
                "//h": (True, ("h.html",), False),
                "//h/x": (True, ("h.html",), True),
            },
        )
        self.assertEqual(scopes["/a/b"].given, {"index"})

    def test_paths_start_where_they_are_named(self) -> None:
        """A relative path of a scope starts at the file that holds the scope, in an included file too."""
        text = HEAD.replace("state_directory = s", "state_directory = s\ninclude = more.ini")
        scope = self.scopes(text, more="[http /a]\ndocroot = elsewhere\n")["/a"]
        self.assertEqual(scope.settings.docroot.name, "elsewhere")
        self.assertTrue(scope.settings.docroot.is_absolute())

    def test_instances_have_their_own(self) -> None:
        """A scope belongs to the section that it names."""
        plan, _ = self.load(
            HEAD + "[http:b]\nlisten = tcp:0\ndocroot = b\n[http:b /x]\nlisting = yes\n[http /y]\nlisting = yes\n"
        )
        found = {one.name: [str(scope.prefix) for scope in one.settings.scopes] for one in plan.instances}
        self.assertEqual(found, {"http": ["/y"], "http:b": ["/x"]})

    def test_equality(self) -> None:
        """Two configurations that say the same are equal; a scope makes them differ."""
        one, two, three = (self.load(HEAD + more)[0].instances[0].settings for more in ("", "", "[http /a]\n"))
        self.assertEqual(one.scopes, two.scopes)
        self.assertNotEqual(one.scopes, three.scopes)

    def test_faults(self) -> None:
        """Every fault of every scope is told with its place."""
        found = self.faults(
            HEAD + "[http /a]\nlisten = tcp:1\nlisting = maybe\n[http /a/]\n[http //a:1]\n[echo /a]\n"
            "[http:b /x]\n[http /names/x]\nnames = other\n"
        )
        for start in (
            "7: unknown-key: 'listen' is said once for all of [http], not in [http /a]",
            "8: bad-value: listing: 'maybe'",
            "9: duplicate-section: [http /a] stands already at ", "10: syntax: [http //a:1]: 'a:1' is not the name",
            "11: unknown-section: [echo] has no scopes", "12: unknown-section: [http:b /x] is a part of [http:b]",
            "14: conflict: names: a host's names stand in the scope of its root",
        ):  # fmt: skip
            self.assertTrue([one for one in found if one.startswith(start)], (start, found))
        self.assertEqual(len(found), 7, found)

    def test_names_that_two_claim(self) -> None:
        """A host has one scope, whether it is named in a header or among names; what is inherited is no claim."""
        head = HEAD + "names = main.test\n"
        self.scopes(head + "[http //a.test]\nnames = b.test, a.test, *.a.test\n[http //c.test]\n[http //c.test/x]\n")
        found = self.faults(
            head + "[http //a.test]\nnames = main.test\n[http //b.test]\nnames = *.c.test, a.test\n[http //*.c.test]\n"
            "[http //main.test]\n"
        )
        self.assertEqual(
            sorted(found),
            [
                "10: conflict: names: *.c.test is a name of //*.c.test already",
                "10: conflict: names: a.test is a name of //a.test already",
                "12: conflict: names: main.test is a name of the section itself already",
                "8: conflict: names: main.test is a name of //main.test already",
            ],
        )

    def test_users_without_passwords(self) -> None:
        """A scope that names users, where nobody is asked who he is, is a fault; one that opens up is none."""
        found = self.faults(HEAD + "[http /a]\nauth_users = joe\n")
        self.assertIn("7: conflict: auth_users: without an auth_file nobody is asked", found[0])
        self.scopes(HEAD + "[http /a]\nauth_users = joe\nauth_file = u\n[http /a/open]\nauth_file = none\n")

    def test_headers_that_nearly_are_one(self) -> None:
        """A path without its slash is suggested with it; one that is percent-encoded would never be met."""
        with self.assertRaises(ConfigError) as caught:
            self.load(HEAD + "[http private]\n[echo private]\n[http /a%20b]\n")
        found = [(one.origin.line, one.suggestion) for one in caught.exception.faults]
        self.assertEqual(found[0], (6, "http /private"))
        self.assertIn("'a%20b' is percent-encoded", caught.exception.faults[2].message)

    def test_every_line_of_a_value(self) -> None:
        """All that is wrong with a value of several lines is told at once, each with its line."""
        found = self.faults(HEAD + "redirect =\n    /a /b /c\n    /a /b\n    /a //c\nheaders =\n    x\n    y\n")
        self.assertEqual([int(one.partition(":")[0]) for one in found], [7, 9, 11, 12])

    def test_options(self) -> None:
        """A kind without scopes has no options for them; http's are not those of listeners."""
        self.assertEqual(scope_options(ServerSettings), {})
        known = scope_options(HttpSettings)
        self.assertIn("cgi_max_scripts", known)
        self.assertNotIn("listen", known)
