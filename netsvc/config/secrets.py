"""Secrets by reference: a file, an environment variable or a systemd credential, never shown.

``credential:NAME`` reads $CREDENTIALS_DIRECTORY/NAME (systemd.exec(5), "CREDENTIALS").
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import field, frozen

from netsvc.config.options import Context, ValueType
from netsvc.errors import BadValue

MAX_SECRET = 64 * 1024  # octets; a longer file is surely not a password


@frozen(repr=False)
class Secret:
    """A secret and the reference it came from. Neither repr, str nor a log shows the secret.

    :param reference: ``file:PATH``, ``env:NAME``, ``credential:NAME``, or ``literal``.
    """

    reference: str
    _value: str = field()

    def reveal(self) -> str:
        """The secret itself. Call it where it is used, and keep the result nowhere."""
        return self._value

    def __repr__(self) -> str:
        return f"<Secret from {self.reference}>"

    __str__ = __repr__


def _read(file: Path, reference: str) -> Secret:
    try:
        with open(file, "rb") as stream:
            octets = stream.read(MAX_SECRET + 1)
        value = octets.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise BadValue(f"the secret {reference} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadValue(f"the secret {reference} is not UTF-8 text") from None
    if len(octets) > MAX_SECRET or not value:
        raise BadValue(f"the secret {reference} is empty or longer than {MAX_SECRET} octets")
    return Secret(reference, value)


def _parse(text: str, context: Context) -> Secret:
    scheme, colon, rest = text.partition(":")
    if colon and rest:
        if scheme == "file":
            return _read(context.directory / Path(rest).expanduser(), text)
        if scheme == "env":
            value = os.environ.get(rest)
            if not value:
                raise BadValue(f"the environment has no variable {rest!r}", at=4)
            return Secret(text, value)
        if scheme == "credential":
            directory = os.environ.get("CREDENTIALS_DIRECTORY")
            if directory is None or "/" in rest:
                raise BadValue(f"there is no credential {rest!r}: CREDENTIALS_DIRECTORY is not set or has no such name")
            return _read(Path(directory) / rest, text)
        if scheme == "literal":
            return Secret("literal", rest)
    raise BadValue("a secret is named as file:PATH, env:NAME or credential:NAME (or, for tests, literal:TEXT)")


def secret() -> ValueType[Secret | None]:
    """A reference to a secret: ``file:PATH``, ``env:NAME``, ``credential:NAME``; ``literal:TEXT`` for tests."""
    return ValueType(
        name="secret",
        bounds="file:PATH, env:NAME, credential:NAME or literal:TEXT",
        parse=_parse,
        show=lambda value: value.reference if value else "",
    )
