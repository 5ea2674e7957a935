"""Reads the files that name addresses: line by line, every fault with its line and column. No Twisted.

A file is read once, when the configuration is; what is wrong in it is an error of the option that names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from netsvc.config import sections
from netsvc.config.options import Context, ValueType
from netsvc.config.values import resolve
from netsvc.errors import BadValue, Origin, together
from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.submission_wire import check_address

T = TypeVar("T")

MAX_FAULTS = 100  # in one file; one with more is something else, and a longer list helps nobody
PLACEHOLDER = "host.invalid"  # RFC 2606 2: a domain for the check of a name that has none yet

Complain = Callable[[int, int, str], None]  # line and column, both from 1, and what is wrong there


def file_of(name: str, bounds: str, empty: T, read: Callable[[str, Complain], T]) -> ValueType[tuple[str, T]]:
    """An option that names a file: its path as it is written, and what it holds. ``none`` is no file.

    :param empty: the value of ``none``.
    :param read: makes the value of the file's text and complains of what is wrong in it.
    """

    def parse(text: str, context: Context) -> tuple[str, T]:
        if text == "none":
            return "none", empty
        path = str(resolve(text, context))
        try:
            content = sections.read(path).decode()
        except UnicodeDecodeError:
            raise BadValue(f"{path!r} is not UTF-8 text") from None
        wrong: list[BadValue] = []

        def complain(line: int, column: int, message: str) -> None:
            if len(wrong) < MAX_FAULTS:
                wrong.append(BadValue(f"{Origin(path, line, column)}: {message}"))

        value = read(content, complain)
        if wrong:
            raise together(wrong)
        return text, value

    return ValueType(name=name, bounds=bounds, parse=parse, show=lambda value: value[0])


def is_local_part(name: str) -> bool:
    """Whether a name can stand before an @."""
    return is_address(f"{name}@{PLACEHOLDER}")


def is_domain(name: str) -> bool:
    """Whether a name can stand behind an @."""
    return is_address(f"x@{name}")


def is_address(text: str) -> bool:
    """Whether it is an address with its domain, fit for SMTP."""
    try:
        check_address(text)
    except Refusal:
        return False
    return True
