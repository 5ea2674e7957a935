"""Where a PostgreSQL database is, and who we are there: as libpq has it, in clear only while no password is in it."""

from __future__ import annotations

import re

from netsvc.config.options import Context, ValueType
from netsvc.config.secrets import Secret, secret
from netsvc.errors import BadValue

_CONNINFO = re.compile(r"postgres(ql)?://.*|\w+\s*=.*", re.DOTALL)
_PASSWORD = re.compile(r"password\s*=|^\w+://[^/?#@]*:[^/?#]*@", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")  # 63 octets are what PostgreSQL keeps of a name
_REFERENCE = secret()


def _parse(text: str, context: Context) -> Secret | None:
    if not _CONNINFO.match(text):
        return _REFERENCE.parse(text, context)
    if _PASSWORD.search(text):
        # The text is not repeated here.
        raise BadValue("it holds a password: put the whole of it into a file, and say file:PATH")
    return Secret(text, text)


def database() -> ValueType[Secret | None]:
    """A connection string or URL of libpq; or, as with a password it must be, the secret that holds it."""
    return ValueType(
        name="database",
        bounds="host=... dbname=... user=..., a postgresql: URL, or a secret that holds one of them",
        parse=_parse,
        show=lambda value: value.reference if value else "",
    )


def identifier() -> ValueType[str]:
    """A name in a database that needs no quotes anywhere."""

    def parse(text: str, _: Context) -> str:
        if not _IDENTIFIER.fullmatch(text) or text.startswith("pg_"):
            raise BadValue(f"{text!r} is not a name of lower-case letters, digits and underscores; pg_ is PostgreSQL's")
        return text

    return ValueType(name="identifier", bounds="letters, digits, underscores; at most 63", parse=parse)
