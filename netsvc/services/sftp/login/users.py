"""User: who may log in, to which directory, and what he may do there. No Twisted."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from netsvc.config.options import Context, ValueType
from netsvc.config.values import nearest, resolve
from netsvc.errors import BadValue, together
from netsvc.filestore.access import Access
from netsvc.net.passwords.htpasswd import is_name, normal

_WORDS = tuple(one.value for one in Access)


@frozen
class User:
    """A virtual user.

    :param name: in NFC; it can stand in the name of a file.
    :param directory: his own; None for the one that `root` says.
    """

    name: str
    access: Access = Access.FULL
    directory: Path | None = None


def users() -> ValueType[tuple[User, ...]]:
    """One user a line: NAME [full | read-only | upload-only] [DIRECTORY]."""

    def parse(text: str, context: Context) -> tuple[User, ...]:
        found: dict[str, User] = {}
        wrong = []
        for match in re.finditer(r"[^\n]*\S[^\n]*", text):
            try:
                one = _user(match[0].strip(), context)
                if one.name in found:
                    raise BadValue(f"{one.name!r} is there twice")
                found[one.name] = one
            except BadValue as bad:
                wrong.append(BadValue(bad.message, at=match.start(), suggestion=bad.suggestion))
        if wrong:
            raise together(wrong)
        if not found:
            raise BadValue("there is no user")
        return tuple(found.values())

    return ValueType(
        name="users",
        bounds="NAME [full | read-only | upload-only] [DIRECTORY], one a line",
        parse=parse,
        show=lambda value: "\n".join(map(_show, value)),
        multiline=True,
    )


def _user(line: str, context: Context) -> User:
    name, *words = line.split(maxsplit=2)
    name = normal(name)
    if not is_name(name) or "/" in name or name.startswith((".", "-")):
        raise BadValue(f"{name!r} is not a user's name")
    access = Access.FULL
    if words and words[0] in _WORDS:
        access = Access(words.pop(0))
    elif words and len(words) == 1 and "/" not in words[0]:
        raise BadValue(f"{words[0]!r} is not one of {', '.join(_WORDS)}", suggestion=nearest(words[0], _WORDS))
    return User(name, access, resolve(" ".join(words), context) if words else None)


def _show(user: User) -> str:
    return " ".join((user.name, user.access.value, *([] if user.directory is None else [str(user.directory)])))
