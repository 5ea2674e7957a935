"""Facts about changing addresses in header fields."""

from __future__ import annotations

import time
from email.headerregistry import Address, AddressHeader, HeaderRegistry
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.rewriting.addresses import rewrite_addresses

FRAGMENTS = st.lists(
    st.sampled_from(
        [
            "a@b",
            "root",
            "<",
            ">",
            ",",
            ";",
            ":",
            "@",
            '"',
            "\\",
            "(",
            ")",
            "[",
            "]",
            " ",
            "\r\n ",
            ".",
            "ü",
            "=?utf-8?q?x?=",
            "汤",
        ]
    )
).map("".join)


def moved(address: str) -> str:
    """An address in another domain; a name without one gets it."""
    return address.rpartition("@")[0] + "@new.example" if "@" in address else f"{address}@new.example"


class Rewriting(SynchronousTestCase):
    def test_forms(self) -> None:
        """Only the octets of addresses change: names, comments, groups, quotes, routes and folding stay."""
        for before, after in (
            (" a@b.example\r\n", " a@new.example\r\n"),
            (" root\r\n", " root@new.example\r\n"),
            (" <root>", " <root@new.example>"),
            (
                ' "Doe, \\"J\\" <x@y>"  <a@b>,\r\n\t (c (d) \\) x@y) c@d (e)\r\n',
                ' "Doe, \\"J\\" <x@y>"  <a@new.example>,\r\n\t (c (d) \\) x@y) c@new.example (e)\r\n',
            ),
            (" Friends : a@b, B <c@d>;, e@f", " Friends : a@new.example, B <c@new.example>;, e@new.example"),
            (" undisclosed-recipients:;", " undisclosed-recipients:;"),
            (" =?utf-8?b?w7w=?= <a@b>", " =?utf-8?b?w7w=?= <a@new.example>"),
            (" =?utf-8?b?w7w=?=", " =?utf-8?b?w7w=?="),
            (" x@y <a@b>", " x@y <a@new.example>"),
            (" <@r1,@r2:a@b>", " <@r1,@r2:a@new.example>"),
            (' "a b"@c', ' "a b"@new.example'),
            (" a@[192.0.2.1]", " a@new.example"),
            (" a . b @ c . d", " a . b @ new.example"),
            (" a(1)@(2)b(3).c(4)", " a(1)@(2)new.example(3)(4)"),
            (" 用@户.例, 汤众 <a@b>", " 用@new.example, 汤众 <a@new.example>"),
            ("", ""),
            (" <>", " <>"),
        ):
            self.assertEqual(rewrite_addresses(before, moved), after)

    def test_what_is_no_address(self) -> None:
        """What cannot be read as an address stays, and what comes before it is still changed."""
        for text in (
            " John Doe",
            " a@b c@d",
            " a@b@c",
            " @b",
            " a@",
            ' "open',
            " <a@b",
            " (open",
            " a\\b@c",
            " <a <b@c>",
            " >",
        ):
            self.assertEqual(rewrite_addresses(text, moved), text)
        self.assertEqual(rewrite_addresses(' a@b, "open', moved), ' a@new.example, "open')

    def test_local_part(self) -> None:
        """The local part may change too; a plain word in quotes is known as that word, and stays quoted if it fits."""
        table = {"root@b": "me@b", "keep@b": "keep@b"}
        for before, after in (
            ("<root@b>", "<me@b>"),
            ('<"root"@b>', "<me@b>"),
            ('<"keep"@b>', '<"keep"@b>'),
            ("ro(c)ot@b", "ro(c)ot@b"),
        ):
            self.assertEqual(rewrite_addresses(before, lambda one: table.get(one, one)), after)

    def test_nothing_to_change_is_the_same_object(self) -> None:
        """No copy is made when no address changes."""
        text = 'A <a@b>, "x" <c@d>'
        self.assertIs(rewrite_addresses(text, lambda one: one), text)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(FRAGMENTS)
    def test_identity(self, text: str) -> None:
        """Whatever the value holds, rules that change nothing change no character."""
        self.assertEqual(rewrite_addresses(text, lambda one: one), text)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(FRAGMENTS)
    def test_again(self, text: str) -> None:
        """What was rewritten once is not changed a second time."""
        once = rewrite_addresses(text, moved)
        self.assertEqual(rewrite_addresses(once, moved), once)

    @settings(derandomize=True, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["", "Jo", "Doe, John", "ü 汤", 'quo"te', "a@b", "(x)"]),
                st.sampled_from(["a", "a.b", "a b", 'a"b', "用", "x+y"]),
                st.sampled_from(["old.example", "x.y.example"]),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def test_as_the_standard_library_reads_it(self, people: list[tuple[str, str, str]]) -> None:
        """A reader sees the same names and local parts in the new domain."""
        value = ", ".join(str(Address(name, local, domain)) for name, local, domain in people)
        made: Any = HeaderRegistry()("to", rewrite_addresses(value, moved))
        assert isinstance(made, AddressHeader)
        self.assertEqual(
            [(one.display_name, one.username, one.domain) for one in made.addresses],
            [(name, local, "new.example") for name, local, _ in people],
        )

    def test_time(self) -> None:
        """Any mark 100,000 times over takes processor time in proportion."""
        for mark in ("(", '"', "\\", "<", "a ", "a@", "(\\", '"\\', ",", "(" * 9 + ")" * 9, "a.", " "):
            started = time.process_time()
            rewrite_addresses(mark * (100_000 // len(mark)), moved)
            self.assertLess(time.process_time() - started, 5, mark)
