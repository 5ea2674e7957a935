"""The types of value that only this kind has: templates, paths into replies, conditions, tables. No Twisted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

from netsvc.config import values
from netsvc.config.options import Context, ValueType
from netsvc.config.values import Rate
from netsvc.errors import BadValue
from netsvc.services.sms.gateway import Entry, check_url, parse_entries
from netsvc.services.sms.reply import MEANINGS, Condition, Meaning, parse_codes, parse_condition, parse_path
from netsvc.services.sms.reply import Path as ReplyPath
from netsvc.services.sms.template import Template, parse_template

T = TypeVar("T")


def value(
    name: str, bounds: str, parse: Callable[[str], T], *, show: Callable[[T], str] = str, multiline: bool = False
) -> ValueType[T]:
    """A type whose values do not depend on where they stand."""
    return ValueType(name=name, bounds=bounds, parse=lambda text, _: parse(text), show=show, multiline=multiline)


def url() -> ValueType[Template]:
    """A template that is a URL; fields may stand in its path."""

    def parse(text: str) -> Template:
        template = parse_template(text)
        wrong = check_url(template)
        if wrong:
            raise BadValue(wrong)
        return template

    return value("url", "https: or http:, with fields in its path", parse)


def _lines(entries: tuple[Entry, ...]) -> str:
    return "\n".join(map(str, entries))


def entries(*, headers: bool = False) -> ValueType[tuple[Entry, ...]]:
    """Lines of ``NAME = TEMPLATE``."""
    return value(
        "headers" if headers else "parameters",
        "lines of NAME = TEMPLATE",
        lambda text: parse_entries(text, headers=headers),
        show=_lines,
        multiline=True,
    )


def reply_path() -> ValueType[ReplyPath]:
    """A place in a reply."""
    return value("path", "http, body, body /REGEX/ or $.NAME[*].NAME", parse_path)


def condition() -> ValueType[Condition]:
    """A condition on a reply."""
    return value("condition", "PATH == VALUE, or !=, in, matches, exists", parse_condition)


def codes() -> ValueType[tuple[tuple[str, Meaning], ...]]:
    """A table of codes."""

    def show(table: tuple[tuple[str, Meaning], ...]) -> str:
        return "\n".join(f"{code} -> {meaning}" for code, meaning in table)

    return value("codes", f"lines of CODE -> {' | '.join(MEANINGS)}", parse_codes, show=show, multiline=True)


def digits(longest: int) -> ValueType[str]:
    """Decimal digits; none at all is allowed."""

    def parse(text: str) -> str:
        text = "" if text == "none" else text
        if len(text) > longest or not (text == "" or (text.isascii() and text.isdigit())):
            raise BadValue(f"{text!r} is not {longest} digits at most")
        return text

    return value("digits", f"none, or at most {longest} digits", parse, show=lambda text: text or "none")


def rates() -> ValueType[tuple[Rate, ...]]:
    """Several rates, each of which holds: ``1/m, 5/h, 10/d``."""
    one = values.rate()

    def parse(text: str) -> Rate:
        found = one.parse(text, Context(Path("/")))
        if found is None:
            raise BadValue("'none' stands alone")
        return found

    several = values.items(parse, name="rates", bounds="none, or rates such as 1/m, 10/d")
    return attrs.evolve(
        several,
        parse=lambda text, context: () if text == "none" else several.parse(text, context),
        show=lambda found: ", ".join(map(str, found)) or "none",
    )
