"""Scope sections: options for a part of what a service serves, named by the URL prefix of that part.

``[http /private]`` is a part of ``[http]``, ``[http:main //blog.example.org/drafts]`` one of ``[http:main]``. A scope
has every option of the scope around it but for those that it sets itself. The longest prefix decides, name by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from netsvc.config.options import Option, options
from netsvc.errors import BadValue

MAX_NAMES = 32  # in a prefix; a request's path has at most 256

_HOST = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_PERCENT = re.compile("%[0-9A-Fa-f]{2}")
_KEY = "netsvc-scopes"


@frozen(order=True)
class Prefix:
    """Where a scope begins.

    :param host: in lower case, A-labels; ``*.`` in front stands for any one or more labels; "" is every host that has
        no scope of its own.
    :param names: of the path, decoded.
    """

    host: str = ""
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        path = "".join(f"/{name}" for name in self.names)
        return f"//{self.host}{path}" if self.host else path or "/"

    def encloses(self, other: Prefix) -> bool:
        """Whether a scope here inherits to a scope there. A host inherits from what is said for every host's root."""
        if self.host == other.host:
            return other.names[: len(self.names)] == self.names
        return not self.host and not self.names


def parse_prefix(text: str) -> Prefix:
    """A prefix as it stands in a section's header: ``/path``, ``//host`` or ``//host/path``; not percent-encoded.

    :raises BadValue: it is none.
    """
    host = ""
    path = text
    if text.startswith("//"):
        given, slash, rest = text[2:].partition("/")
        path = slash + rest
        try:
            host = a_labels(given.lower())
        except UnicodeError:
            host = ""
        if not _HOST.fullmatch(host) or ".." in host:
            raise BadValue(f"{given!r} is not the name of a host, such as blog.example.org; a port has no place here")
    elif not text.startswith("/"):
        raise BadValue(f"{text!r} is neither /path nor //host nor //host/path")
    names = tuple(name for name in path.split("/") if name)
    if len(names) > MAX_NAMES:
        raise BadValue(f"more than {MAX_NAMES} names in the path")
    for name in names:
        if name in (".", "..") or "\\" in name or not name.isprintable():
            raise BadValue(f"{name!r} cannot be a name in the path of a scope")
        if _PERCENT.search(name):
            raise BadValue(f"{name!r} is percent-encoded; the path of a scope stands as it is")
    return Prefix(host, names)


def a_labels(host: str) -> str:
    """The name of a host as it stands in requests (RFC 5891); `:PORT` may stand behind it, ``*.`` before it.

    :raises UnicodeError: it is none.
    """
    if host.isascii():
        return host
    import idna  # noqa: PLC0415  (its tables take their time, and few configurations need them)

    wild = "*." if host.startswith("*.") else ""
    name, colon, port = host.removeprefix("*.").partition(":")
    return f"{wild}{idna.encode(name, uts46=True).decode('ascii')}{colon}{port}"


@frozen
class Scope:
    """One scope.

    :param prefix: where it begins.
    :param given: the keys that its own section sets.
    :param settings: all options as they hold there.
    """

    prefix: Prefix
    given: frozenset[str]
    settings: Any


def scope_sections(settings: type[Any]) -> Any:
    """Declare the field of a settings class that takes the scopes, ``tuple[Scope, ...]``.

    :param settings: a class of options that the settings class inherits: those that a scope may set.
    """
    return field(default=(), metadata={_KEY: settings})


def scope_class(settings: type[Any]) -> type[Any] | None:
    """The class of options of a kind's scopes, or None when it has none."""
    for attribute in attrs.fields(settings):
        if _KEY in attribute.metadata:
            found: type[Any] = attribute.metadata[_KEY]
            return found
    return None


def scope_field(settings: type[Any]) -> str:
    """The name of the field that takes the scopes."""
    names: list[str] = [one.name for one in attrs.fields(settings) if _KEY in one.metadata]
    return names[0]


def scope_options(settings: type[Any]) -> dict[str, Option]:
    """By key, the options that a scope of this kind may set; empty when it has no scopes."""
    found = scope_class(settings)
    return {} if found is None else {one.key: one for one in options(found)}


def inherited(around: Any, settings: type[Any], given: Mapping[str, Any]) -> Any:
    """An object of the scopes' class: what is given, and else what holds around it."""
    values = {one.name: getattr(around, one.name) for one in attrs.fields(settings)}
    return settings(**{**values, **given})
