"""Users in the configuration."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.errors import BadValue
from netsvc.filestore.access import Access
from netsvc.services.sftp.login.users import User, users

CONTEXT = Context(Path("/etc/netsvc"))


class UsersTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """A name, what he may do, and a directory that may have spaces; relative ones start at the file."""
        text = "bob\nann read-only\neve upload-only in box\ndan /srv/my files\n zoë full ../x"
        found = users().parse(text, CONTEXT)
        self.assertEqual(
            found,
            (
                User("bob"),
                User("ann", Access.READ_ONLY),
                User("eve", Access.UPLOAD_ONLY, Path("/etc/netsvc/in box")),
                User("dan", Access.FULL, Path("/srv/my files")),
                User("zoë", Access.FULL, Path("/etc/netsvc/../x")),
            ),
        )
        self.assertEqual(users().parse(users().show(found), CONTEXT), found)

    def test_faults(self) -> None:
        """All faults of all lines are told: names that cannot be files, doubles, words that nobody knows."""
        with self.assertRaises(BadValue) as caught:
            users().parse("../etc\nbob\nbob\nann readonly\n.x\na:b", CONTEXT)
        messages = [one.message for one in (caught.exception, *caught.exception.more)]
        self.assertEqual(len(messages), 5)
        self.assertIn("'bob' is there twice", messages)
        self.assertEqual([one.suggestion for one in caught.exception.more if one.suggestion], ["read-only"])
        with self.assertRaises(BadValue):
            users().parse("", CONTEXT)

    @settings(deadline=None)
    @given(st.text(max_size=80))
    def test_nonsense(self, text: str) -> None:
        """Whatever stands there is users whose names are one component of a path, or a fault."""
        try:
            found = users().parse(text, CONTEXT)
        except BadValue:
            return
        for one in found:
            self.assertEqual(Path("/x", one.name).parent, Path("/x"))
