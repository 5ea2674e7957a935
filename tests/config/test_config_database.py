"""Where a database is: in clear only without a password."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.database import database, identifier
from netsvc.config.options import Context
from netsvc.errors import BadValue

HERE = Context(Path("/etc"), {"QUEUE": "host=db password=geheim"})


class Databases(SynchronousTestCase):
    def test_in_clear(self) -> None:
        """A string or URL without a password stands as it is, and is shown."""
        for text in (
            "host=/run/postgresql dbname=netsvc",
            "service=mail",
            "postgresql://mail@db.example:5432/netsvc?sslmode=verify-full",
            "postgres:///netsvc?passfile=/etc/netsvc/pgpass",
        ):
            found = database().parse(text, HERE)
            assert found is not None
            self.assertEqual((found.reveal(), database().show(found)), (text, text))

    def test_reference(self) -> None:
        """A secret holds the whole string, and only its name is shown."""
        found = database().parse("env:QUEUE", HERE)
        assert found is not None
        self.assertEqual((found.reveal(), database().show(found)), ("host=db password=geheim", "env:QUEUE"))
        self.assertNotIn("geheim", repr(found))
        self.assertEqual(database().show(None), "")

    def test_refused(self) -> None:
        """A password in the file is refused, as is what is neither; neither is repeated."""
        for text in (
            "host=db password=geheim",
            "host=db PASSWORD = geheim",
            "host=db sslpassword='geheim'",
            "postgresql://mail:geheim@db/netsvc",
            "postgresql://db/netsvc?user=mail&password=geheim",
            "geheim",
            "file:/nonexistent",
        ):
            with self.assertRaises(BadValue) as caught:
                database().parse(text, HERE)
            self.assertNotIn("geheim", str(caught.exception))


class Identifiers(SynchronousTestCase):
    def test_names(self) -> None:
        """A name needs no quotes, and is none of PostgreSQL's own."""
        self.assertEqual(identifier().parse("mail_2", HERE), "mail_2")
        for text in ("", "Mail", "2mail", "a-b", "ä", "x" * 64, "pg_mail"):
            self.assertRaises(BadValue, identifier().parse, text, HERE)
