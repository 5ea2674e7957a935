"""Where a configuration came from and what is wrong with it. Imports nothing of netsvc but how to show text."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from netsvc.printable import printable as printable  # noqa: PLC0414 - most know it from here


@frozen(order=True)
class Origin:
    """One place in a configuration file, written as compilers do: ``path:line:column``, or ``path`` alone.

    :param path: the file, as the person named it.
    :param line: 1-based line; 0 when the fault is the file itself.
    :param column: 1-based column in characters; 0 when the fault is the file itself.
    """

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path


@frozen(order=True)
class Fault:
    """One thing that is wrong with a configuration, with all that a person needs to mend it.

    :param origin: the place.
    :param code: a stable word for programs, such as ``unknown-key``.
    :param message: one sentence for people, without the suggestion.
    :param suggestion: what was probably meant, or None.
    """

    origin: Origin
    code: str
    message: str
    suggestion: str | None = field(default=None, order=False)

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        return printable(f"{self.origin}: error[{self.code}]: {self.message}{hint}")


class ConfigError(Exception):
    """A configuration cannot be used. Carries every fault of every file, sorted, not the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(sorted(set(faults)))
        super().__init__("\n".join(map(str, self.faults)))


class RegistryError(ConfigError):
    """The kinds of service cannot be listed: a package is broken, or two claim one word.

    Its faults name packages where those of a configuration name files.
    """


class StartError(Exception):
    """The daemon cannot start (a bind failed, a user does not exist). Its text is one clear line."""


class BadValue(ValueError):  # noqa: N818 - it says what is wrong; the error is the Fault made of it
    """A value in a configuration file cannot be used.

    :param message: one sentence for people, without the key's name.
    :param at: offset in characters from the start of the value, for the column of the report.
    :param suggestion: what was probably meant, or None.
    :param more: what else is wrong with the same value, when it is a list.
    """

    def __init__(
        self, message: str, *, at: int = 0, suggestion: str | None = None, more: Iterable[BadValue] = ()
    ) -> None:
        super().__init__(message)
        self.more = tuple(more)
        self.message = message
        self.at = at
        self.suggestion = suggestion


def together(wrong: list[BadValue]) -> BadValue:
    """All that is wrong with one value, at least one thing, as one error."""
    first = wrong[0]
    return BadValue(first.message, at=first.at, suggestion=first.suggestion, more=wrong[1:])


class NotTakenError(Exception):
    """What one service asked of another was not done.

    :param code: as RFC 3463: 4 is try again, 5 is never.
    :param text: one line for people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
