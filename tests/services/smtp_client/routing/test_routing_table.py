"""Facts about places and tables, as they stand in an INI file."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.errors import BadValue
from netsvc.services.smtp_client.routing.places import Smarthost, ToMaildir, ToMX, ToSmarthosts, a_place
from netsvc.services.smtp_client.routing.table import Table, routes, tls_policies

HERE = Context(Path("/etc"))


class Places(SynchronousTestCase):
    def test_good(self) -> None:
        """Every place is read, and shown as it is read."""
        for text, value in (
            ("mx", ToMX()),
            ("maildir:mail", ToMaildir(Path("mail"))),
            ("maildir:/var/my mail", ToMaildir(Path("/var/my mail"))),
            ("smtp:a.example", ToSmarthosts((Smarthost("a.example", 25),))),
            ("smtps:[2001:db8::1]", ToSmarthosts((Smarthost("2001:db8::1", 465, implicit=True),))),
            (
                "smtps:a.example login=work\n  smtp:例子.公司:587",
                ToSmarthosts(
                    (
                        Smarthost("a.example", 465, implicit=True, login="work"),
                        Smarthost("xn--fsqu00a.xn--55qx5d", 587),
                    )
                ),
            ),
        ):
            self.assertEqual(a_place().parse(text, HERE), value)
            self.assertEqual(a_place().parse(a_place().show(value), HERE), value)

    def test_bad(self) -> None:
        """What is no place is an error at its position."""
        for text, at in (
            ("", 0),
            ("mail.example.com", 0),
            ("maildir:", 8),
            ("maildir:a\nmx", 8),
            ("smtp:a mx", 7),
            ("smtp:a maildir:x", 7),
            ("login=x", 0),
            ("smtp:a login=", 13),
            ("smtp:a login=x login=y", 15),
            ("smtp:2001:db8::1", 5),
            ("smtp:a smtp:b:0", 14),
            ("smtp:-x", 5),
            ("smtp:", 5),
            (" ".join(["smtp:a"] * 17), 0),
        ):
            with self.assertRaises(BadValue, msg=text) as caught:
                a_place().parse(text, HERE)
            self.assertEqual(caught.exception.at, at, text)

    def test_all_at_once(self) -> None:
        """Two faults of one place are both reported, and a mistyped scheme has a suggestion."""
        with self.assertRaises(BadValue) as caught:
            a_place().parse("stmp:a:25 smtp:b:0", HERE)
        self.assertEqual(caught.exception.suggestion, "smtp:a:25")
        self.assertEqual([one.at for one in caught.exception.more], [17])


def find(text: str, domain: str, sender: str = "me@here.example") -> str | None:
    """Where a table sends a message."""
    line = routes().parse(text, HERE).find(domain, sender)
    return str(line.value) if line else None


class Routes(SynchronousTestCase):
    def test_domains(self) -> None:
        """A domain is itself, .domain is what is below it, * is the rest; case, final dots, U-labels do not matter."""
        text = "example.com maildir:a\n.example.com maildir:b\n\nbücher.example maildir:c\n[192.0.2.1] maildir:d\n* mx"
        for domain, where in (
            ("example.com", "maildir:a"),
            ("EXAMPLE.com.", "maildir:a"),
            ("x.y.example.com", "maildir:b"),
            ("badexample.com", "mx"),
            ("BÜCHER.example", "maildir:c"),
            ("xn--bcher-kva.example", "maildir:c"),
            ("[192.0.2.1]", "maildir:d"),
            ("a b", "mx"),
        ):
            self.assertEqual(find(text, domain), where, domain)
        self.assertIsNone(find("example.com mx", "example.org"))

    def test_senders(self) -> None:
        """from: matches the whole address, its domain, what is below that, or the null sender."""
        text = "\n".join(
            (
                "from:Boss@example.com maildir:a",
                "from:example.com maildir:b",
                "from:.example.com maildir:c",
                "from:<> maildir:d",
            )
        )
        for sender, where in (
            ("boss@EXAMPLE.com", "maildir:a"),
            ("anna@example.com", "maildir:b"),
            ("anna@x.example.com", "maildir:c"),
            ("", "maildir:d"),
            ("anna@example.org", None),
        ):
            self.assertEqual(find(text, "there.example", sender), where, sender)

    def test_first_counts(self) -> None:
        """The first line that matches counts, and it is known by its number."""
        table = routes().parse("from:a@b.example mx\nx.example maildir:m", HERE)
        line = table.find("x.example", "a@b.example")
        assert line is not None
        self.assertEqual((line.number, str(line)), (1, "from:a@b.example mx"))

    def test_bad(self) -> None:
        """A fault stands at its position in the whole value."""
        for text, at in (
            ("example.com", 11),
            ("a.example mx\n  -x mx", 15),
            ("to:a.example mx", 0),
            ("anna@a.example mx", 0),
            ("from:@a.example mx", 5),
            ("from:a@.b.example mx", 7),
            ("from:a@-b mx", 7),
            (".[::1] mx", 0),
            ("a.example smtp:x:0", 17),
            ("a.example mx\nA.Example. mx", 13),
            ("* mx\na.example mx", 5),
        ):
            with self.assertRaises(BadValue, msg=text) as caught:
                routes().parse(text, HERE)
            self.assertEqual(caught.exception.at, at, text)

    def test_all_at_once(self) -> None:
        """Faults of several lines are all reported."""
        with self.assertRaises(BadValue) as caught:
            routes().parse("-x mx\na.example smtp:x:0 smtp:y:0\nform:b.example mx", HERE)
        found = (caught.exception, *caught.exception.more)
        self.assertEqual([one.at for one in found], [0, 23, 32, 34])
        self.assertEqual(found[-1].suggestion, "from:b.example")

    def test_bounded(self) -> None:
        """A table has 1,000 lines at most."""
        routes().parse("\n".join(f"d{n}.example mx" for n in range(1000)), HERE)
        with self.assertRaises(BadValue):
            routes().parse("\n".join(f"d{n}.example mx" for n in range(1001)), HERE)

    def test_shown(self) -> None:
        """A table is shown as it is read."""
        text = "a.example smtp:x:25 login=l smtps:y:465\nfrom:<> mx\n* maildir:m"
        self.assertEqual(routes().show(routes().parse(text, HERE)), text)

    @given(st.text(alphabet="ab.-@:*<>[]\n é1", max_size=40))
    def test_any_text(self, text: str) -> None:
        """Any text is read or refused with BadValue at a position within it; what is read is shown as it is read."""
        try:
            table = routes().parse(text, HERE)
        except BadValue as bad:
            self.assertTrue(all(0 <= one.at <= len(text) for one in (bad, *bad.more)))
        else:
            again = routes().parse(routes().show(table), HERE)
            self.assertEqual([str(one) for one in again.lines], [str(one) for one in table.lines])

    @given(st.text(max_size=30), st.text(max_size=30))
    def test_any_look_up(self, domain: str, sender: str) -> None:
        """No domain and no sender makes a look-up fail, and * takes them all."""
        self.assertEqual(find("a.example mx\nfrom:.b mx\n* maildir:m", domain, sender), "maildir:m")


class Policies(SynchronousTestCase):
    def test_words(self) -> None:
        """A destination has one of five words; a mistyped one has a suggestion."""
        table = tls_policies().parse("a.example dane\n* verify", HERE)
        line = table.find("a.example")
        assert line is not None
        self.assertEqual(line.value, "dane")
        with self.assertRaises(BadValue) as caught:
            tls_policies().parse("a.example verfy", HERE)
        self.assertEqual((caught.exception.at, caught.exception.suggestion), (10, "verify"))

    def test_no_senders(self) -> None:
        """TLS is decided by destination, never by sender."""
        with self.assertRaises(BadValue):
            tls_policies().parse("from:a.example none", HERE)

    def test_empty(self) -> None:
        """An empty table matches nothing."""
        self.assertIsNone(Table[str]().find("a.example"))
