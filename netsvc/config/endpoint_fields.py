r"""The fields of a listen line: split, quoted and read one by one. What they mean is the endpoint's own (listen).

The syntax is Twisted's (twisted.internet.endpoints, "strports"): fields between colons, ``\`` quotes the next
character, ``name=value`` for the named ones.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from attrs import frozen

from netsvc.config.options import Context
from netsvc.config.values import nearest, resolve
from netsvc.errors import BadValue


def listen_line(haproxy: bool, *positional: object, **named: object) -> str:
    """A line of these fields, that splits into them again; a named one that is None or empty is left out."""
    fields = [_quoted(str(one)) for one in positional]
    fields += [f"{name}={_quoted(str(value))}" for name, value in named.items() if value is not None and value != ""]
    return ":".join(["haproxy", *fields] if haproxy else fields)


def _quoted(text: str) -> str:
    return re.sub(r"[\\:=]", r"\\\g<0>", text)


@frozen
class Field:
    """One field between colons, and where it begins."""

    at: int
    name: str | None
    value: str


def split_fields(line: str) -> list[Field]:
    """Split at colons; a backslash quotes what follows; the first unquoted '=' ends a name."""
    fields: list[Field] = []
    at, name, text, position = 0, None, "", 0
    while position <= len(line):
        character = line[position : position + 1]
        if character == "\\" and position + 1 < len(line):
            position += 1
            text += line[position]
        elif character in (":", ""):
            fields.append(Field(at, name, text))
            at, name, text = position + 1, None, ""
        elif character == "=" and name is None:
            name, text = text, ""
        else:
            text += character
        position += 1
    return fields


_COLON = "a colon within a value (an IPv6 address) is written \\:"


class Arguments:
    """The fields of one listen line, taken one by one; what is left over at the end is a fault.

    :param known: the names; the first `positional` of them may be given without a name, in that order.
    """

    def __init__(self, fields: list[Field], known: tuple[str, ...], positional: int = 1) -> None:
        self._given: dict[str, Field] = {}
        unnamed = 0
        for one in fields:
            name = one.name
            if name is None:
                if unnamed == positional:
                    raise BadValue(f"{one.value!r} is one field too many; {_COLON}", at=one.at)
                name = known[unnamed]
                unnamed += 1
            if name not in known:
                message = f"{name!r} is not an argument here ({', '.join(known)})"
                raise BadValue(message, at=one.at, suggestion=nearest(name, known))
            if name in self._given:
                hint = "" if one.name is not None else f"; {_COLON}"
                raise BadValue(f"{name!r} is given twice{hint}", at=one.at)
            self._given[name] = one

    def at(self, name: str) -> int:
        """Where the argument stands in the line; 0 when it is not there."""
        one = self._given.get(name)
        return 0 if one is None else one.at

    def text(self, name: str) -> str | None:
        one = self._given.get(name)
        if one is not None and not one.value:
            raise BadValue(f"the {name} is empty", at=one.at)
        return None if one is None else one.value

    def number(self, name: str, low: int, high: int, default: int | None = None, base: int = 10) -> int:
        value = self.text(name)
        if value is None:
            if default is None:
                raise BadValue(f"the {name} is missing")
            return default
        digits = r"[0-7]{1,4}" if base == 8 else r"[0-9]{1,9}"
        if not re.fullmatch(digits, value) or not low <= int(value, base) <= high:
            what = "an octal mode" if base == 8 else f"a whole number from {low} to {high}"
            raise BadValue(f"{name} {value!r} is not {what}", at=self.at(name))
        return int(value, base)

    def word(self, name: str, known: tuple[str, ...]) -> str | None:
        value = self.text(name)
        if value is not None and value not in known:
            hint = nearest(value, known)
            raise BadValue(f"{name} {value!r} is not one of {', '.join(known)}", at=self.at(name), suggestion=hint)
        return value

    def interface(self) -> str:
        one = self._given.get("interface")
        if one is None or not one.value:
            return ""
        try:
            return str(ipaddress.ip_address(one.value.strip("[]")))
        except ValueError:
            raise BadValue(f"interface {one.value!r} is not an IP address", at=one.at) from None

    def file(self, name: str, context: Context) -> Path | None:
        value = self.text(name)
        try:
            return None if value is None else resolve(value, context)
        except BadValue as bad:
            raise BadValue(bad.message, at=self.at(name)) from None
