"""Secrets by reference: a file, an environment variable or a systemd credential, never shown.

``credential:NAME`` reads $CREDENTIALS_DIRECTORY/NAME (systemd.exec(5), "CREDENTIALS").
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import field, frozen

from netsvc.config.options import Context, ValueType
from netsvc.config.values import resolve
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


def _octets(file: Path) -> bytes:
    # Non-blocking, because opening a FIFO without a writer would otherwise wait for ever.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "it is not a regular file")
        return stream.read(MAX_SECRET + 1)


def _read(file: Path, reference: str) -> Secret:
    try:
        octets = _octets(file)
        value = octets.decode().removesuffix("\n").removesuffix("\r") if len(octets) <= MAX_SECRET else ""
    except OSError as error:
        raise BadValue(f"the secret {reference} cannot be read: {error.strerror}") from None
    except ValueError:
        raise BadValue(f"the secret {reference} is not UTF-8 text") from None
    if not value:
        raise BadValue(f"the secret {reference} is empty or longer than {MAX_SECRET} octets")
    return Secret(reference, value)


def _parse(text: str, context: Context) -> Secret:
    scheme, _, rest = text.partition(":")
    if rest and "\0" not in rest:
        if scheme == "file":
            return _read(resolve(rest, context), text)
        if scheme == "env":
            value = context.environ.get(rest)
            if not value:
                raise BadValue(f"the environment has no variable {rest!r}", at=len("env:"))
            return Secret(text, value)
        if scheme == "credential":
            directory = context.environ.get("CREDENTIALS_DIRECTORY")
            if directory is None or "/" in rest:
                raise BadValue(f"there is no credential {rest!r}: CREDENTIALS_DIRECTORY is not set or has no such name")
            return _read(Path(directory) / rest, text)
        if scheme == "literal":
            return Secret("literal", rest)
    # The text is not repeated here: it may well be a password that somebody put in place of a reference.
    raise BadValue("a secret is named as file:PATH, env:NAME or credential:NAME (or, for tests, literal:TEXT)")


def secret() -> ValueType[Secret | None]:
    """A reference to a secret: ``file:PATH``, ``env:NAME``, ``credential:NAME``; ``literal:TEXT`` for tests."""
    return ValueType(
        name="secret",
        bounds="file:PATH, env:NAME, credential:NAME or literal:TEXT",
        parse=_parse,
        show=lambda value: value.reference if value else "",
    )
