"""How a settings class declares an option: its type, unit, bounds, default and help in one place.

The declaration is the one source of the parser, ``netsvc kinds``, the reference and the man page::

    @frozen(kw_only=True)
    class GreeterSettings(ServerSettings):
        pause: float = option(values.duration(0, 60), default=0.0, help="Wait this long before each answer.")

(``values.duration``, not ``duration``: a field of the same name would hide the function in the class body.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
from attrs import field, frozen

T = TypeVar("T")

_KEY = "netsvc"
_SCOPES = "netsvc-scopes"  # see :mod:`netsvc.config.scopes`: the field that takes a kind's scope sections is no option


@frozen
class Context:
    """What a value needs to know of the place where it stands.

    :param directory: the directory of the file that holds it, absolute; relative paths start there.
    :param environ: the environment that ``env:`` and ``credential:`` secrets are looked up in.
    """

    directory: Path
    environ: Mapping[str, str] = field(factory=lambda: os.environ, repr=False, eq=False)


@frozen(kw_only=True)
class ValueType(Generic[T]):
    """A type of value.

    :param name: the type in a word ("duration"), for the reference.
    :param unit: what a number means ("seconds"), or empty.
    :param bounds: the accepted values in words ("0s to 1h"), or empty.
    :param parse: text without surrounding space -> value; raises :class:`netsvc.errors.BadValue`.
    :param show: value -> text that parse accepts again.
    :param none: the text that stands for None, or empty where no text does.
    :param multiline: the value may continue on indented lines; parse is then given them joined by newlines.
    """

    name: str
    unit: str = ""
    bounds: str = ""
    parse: Callable[[str, Context], T]
    show: Callable[[T], str] = str
    none: str = ""
    multiline: bool = False


@frozen(kw_only=True)
class Option:
    """One option of a settings class: what ``netsvc kinds`` prints and the loader parses with.

    :param key: the key in the INI file.
    :param value: its type.
    :param default: the value when the key is absent; :data:`attrs.NOTHING` if it must be given.
    :param help: one line for people.
    """

    key: str
    value: ValueType[Any]
    default: Any
    help: str

    @property
    def required(self) -> bool:
        """Whether the key must be given."""
        return self.default is attrs.NOTHING

    @property
    def default_text(self) -> str:
        """The default as it would stand in a file; empty when there is none."""
        if self.required:
            return ""
        if self.default is None:
            return self.value.none
        return self.value.show(self.default)


def option(value: ValueType[T], *, help: str, default: Any = attrs.NOTHING) -> Any:
    """Declare an option as a field of an attrs settings class.

    :param value: how its text is parsed and shown.
    :param help: one line, a whole sentence.
    :param default: a ready (immutable) value; leave it out when the key must be given.
    :raises TypeError: for a factory or a mutable default: settings are frozen and compared with ``==``.
    """
    if isinstance(default, attrs.Factory | list | dict | set | bytearray):
        raise TypeError(f"an option's default is a ready, immutable value, not {type(default).__name__}")
    return field(default=default, metadata={_KEY: (value, help)})


def options(settings: type[Any]) -> tuple[Option, ...]:
    """Every option of a settings class, in order of declaration, inherited ones last.

    :raises TypeError: when a field was not declared with :func:`option`.
    """

    def made(attribute: attrs.Attribute[Any]) -> Option:
        if _KEY not in attribute.metadata:
            raise TypeError(f"{settings.__name__}.{attribute.name} is not declared with option()")
        value, help_line = attribute.metadata[_KEY]
        return Option(key=attribute.name, value=value, default=attribute.default, help=help_line)

    fields: Iterable[attrs.Attribute[Any]] = (one for one in attrs.fields(settings) if _SCOPES not in one.metadata)
    return tuple(made(one) for one in sorted(fields, key=lambda one: one.inherited))  # type: ignore[attr-defined]


def groups(settings: type[Any]) -> tuple[tuple[str, tuple[Option, ...]], ...]:
    """The options of a settings class by the class that declares them: (first line of its docstring, options).

    Those with an option that must be given come first, then the class's own, then those that it inherits.
    """
    by_key = {one.key: one for one in options(settings)}
    found: list[tuple[str, tuple[Option, ...]]] = []
    for declaring in settings.__mro__:
        if not attrs.has(declaring):
            continue
        own = [one.name for one in attrs.fields(declaring) if not one.inherited and one.name in by_key]
        mine = tuple(by_key.pop(name) for name in own)
        if mine:
            found.append(((declaring.__doc__ or "").strip().partition("\n")[0].partition(". ")[0], mine))
    return tuple(sorted(found, key=lambda group: not any(one.required for one in group[1])))
