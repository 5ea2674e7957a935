"""A configuration file to a plan, or to every fault of it and of all that it includes.

Structured here and not with cattrs: its errors know the path to a field but not the file, line and column of a piece of
text within a value, and the values come from text by types of their own (:mod:`netsvc.config.values`) in any case.

The codes of the faults, which are stable: ``syntax``, ``unreadable``, ``bad-include``, ``duplicate-section``,
``duplicate-key``, ``unknown-section``, ``unknown-key``, ``missing-key``, ``bad-value``, ``conflict`` (two options
or two sections that cannot stand together) and ``broken-kind`` (the fault is in the package of a kind).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import attrs
from attrs import field, frozen

from netsvc.config.daemon import SECTION, DaemonSettings, default_state_directory
from netsvc.config.files import gather
from netsvc.config.listen import ListenAddress
from netsvc.config.options import Context, Option, options
from netsvc.config.overlap import Claim, Claims
from netsvc.config.plan import Instance, Plan
from netsvc.config.scopes import (
    Prefix,
    Scope,
    inherited,
    parse_prefix,
    scope_class,
    scope_field,
    scope_options,
)
from netsvc.config.sections import Entry, Section
from netsvc.config.values import nearest
from netsvc.errors import BadValue, ConfigError, Fault, Origin
from netsvc.interfaces import IServiceKind

LONGEST_MESSAGE = 400  # characters; a value of a megabyte is not repeated to the person who mistyped it

_KEY = re.compile(r"[a-z][a-z0-9_]*")
_INSTANCE = re.compile(r"[a-z0-9_-]+")


def load(
    path: str | os.PathLike[str], kinds: Mapping[str, IServiceKind], environ: Mapping[str, str] = os.environ
) -> Plan:
    """Read a configuration.

    :param path: the file, named in faults as it is named here.
    :param kinds: the kinds of service by their section words.
    :param environ: the environment that secrets and the default state directory come from.
    :raises ConfigError: with every fault of every file.
    """
    path = os.fspath(path)
    gathered = gather(path, environ)
    loading = _Loading(kinds, list(gathered.faults))
    for file in gathered.files:
        for section in file.document.sections:
            loading.add(section, file.context)
    daemon = loading.daemon_settings(Origin(path), environ)
    instances = loading.finish()
    if loading.faults:
        raise ConfigError(loading.faults)
    return Plan(daemon, instances, tuple(file.absolute for file in gathered.files))


def _shorten(text: str) -> str:
    if len(text) <= LONGEST_MESSAGE:
        return text
    half = LONGEST_MESSAGE // 2
    return f"{text[:half]} ... {text[-half:]}"


@frozen
class _Loading:
    """What is known so far. Sections are added one by one."""

    kinds: Mapping[str, IServiceKind]
    faults: list[Fault]
    instances: list[Instance] = field(factory=list)
    _daemon: list[DaemonSettings] = field(factory=list)
    _first: dict[str, Origin] = field(factory=dict)  # of each section name: where it stands first
    _classes: dict[str, tuple[type[Any], dict[str, Option]]] = field(factory=dict)
    _claims: Claims = field(factory=Claims)
    _scopes: list[tuple[str, Section, Context]] = field(factory=list)  # with the names of the sections they belong to

    def add(self, section: Section, context: Context) -> None:
        """Take one section: its instance or its faults. Scopes wait for the sections that they belong to."""
        name, _, rest = section.name.partition(" ")
        if rest.lstrip().startswith("/") and name.partition(":")[0] in self.kinds:
            self._scopes.append((name, section, context))
            return
        word, colon, instance = section.name.partition(":")
        if word == SECTION and not colon:
            self._add_daemon(section, context)
            return
        if word not in self.kinds:
            self._unknown_section(section, word, colon + instance)
            return
        if colon and not _INSTANCE.fullmatch(instance):
            message = "an instance's name is made of a-z, 0-9, '_' and '-'"
            meant = re.sub("[^a-z0-9_-]+", "-", instance.strip().lower()).strip("-")
            self._fault(section.origin, "syntax", message, f"{word}:{meant}" if meant else word)
            return
        known = self._class(word, section.origin)
        if known is None:
            return
        settings_class, by_key = known
        settings = self._settings(section, context, settings_class, by_key, self._is_first(section))
        if settings is not None:
            self.instances.append(Instance(self.kinds[word], section.name, settings, section.origin))

    def finish(self) -> tuple[Instance, ...]:
        """Take the scopes, each into the settings that it belongs to; all instances."""
        found: dict[str, dict[Prefix, tuple[Section, dict[str, Any]]]] = {}
        for name, section, context in self._scopes:
            self._add_scope(name, section, context, found.setdefault(name, {}))
        return tuple(
            attrs.evolve(one, settings=self._scoped(one.settings, found[one.name])) if found.get(one.name) else one
            for one in self.instances
        )

    def _add_scope(
        self, name: str, section: Section, context: Context, found: dict[Prefix, tuple[Section, dict[str, Any]]]
    ) -> None:
        known = self._class(name.partition(":")[0], section.origin)
        if known is None:
            return
        by_key = scope_options(known[0])
        if not by_key:
            self._fault(section.origin, "unknown-section", f"[{name}] has no scopes; a kind's name stands alone", name)
            return
        if name not in self._first:
            self._fault(section.origin, "unknown-section", f"[{section.name}] is a part of [{name}], which is nowhere")
            return
        try:
            prefix = parse_prefix(section.name[len(name) :].strip())
        except BadValue as bad:
            self._fault(section.origin, "syntax", f"[{section.name}]: {bad.message}")
            return
        parsed = self._parsed(section, context, by_key, of_all=known[1])
        if self._is_first(attrs.evolve(section, name=f"{name} {prefix}")) and parsed is not None:
            found[prefix] = section, parsed

    def _scoped(self, settings: Any, found: dict[Prefix, tuple[Section, dict[str, Any]]]) -> Any:
        """Settings with their scopes, each of which has what the one around it has."""
        settings_class: Any = scope_class(type(settings))
        made: dict[Prefix, Scope] = {}
        for prefix in sorted(found, key=lambda one: (len(one.names), one)):
            section, parsed = found[prefix]
            around = max(
                (one for one in made if one.encloses(prefix)), key=lambda one: (one.host, len(one.names)), default=None
            )
            base = settings if around is None else made[around].settings
            own = self._made(section, partial(inherited, base, settings_class), parsed)
            check = getattr(own, "check_place", None)
            for key, message in check(prefix, parsed) if callable(check) else ():
                place = next((one.at(0) for one in section.entries if one.key == key), section.origin)
                self._fault(place, "conflict", f"{key}: {message}")
            if own is not None:
                made[prefix] = Scope(prefix, frozenset(parsed), own)
        whole = attrs.evolve(settings, **{scope_field(type(settings)): tuple(made.values())})
        check = getattr(whole, "check_scopes", None)
        for prefix, key, message in check() if callable(check) and len(made) == len(found) else ():
            section = found[prefix][0]
            place = next((one.at(0) for one in section.entries if one.key == key), section.origin)
            self._fault(place, "conflict", f"{key}: {message}")
        return whole

    def daemon_settings(self, origin: Origin, environ: Mapping[str, str]) -> DaemonSettings:
        """The options of [netsvc], or their defaults."""
        settings = self._daemon[0] if self._daemon else DaemonSettings()
        if settings.state_directory is None:
            default = default_state_directory(environ)
            if default is None:
                message = f"set state_directory in [{SECTION}]: no STATE_DIRECTORY, XDG_STATE_HOME or HOME says one"
                self._fault(self._first.get(SECTION, origin), "missing-key", message)
            settings = attrs.evolve(settings, state_directory=default)
        return settings

    def _fault(self, origin: Origin, code: str, message: str, suggestion: str | None = None) -> None:
        meant = None if suggestion is None or len(suggestion) > LONGEST_MESSAGE else suggestion
        self.faults.append(Fault(origin, code, _shorten(message), meant))

    def _is_first(self, section: Section) -> bool:
        first = self._first.setdefault(section.name, section.origin)
        if first is not section.origin:
            self._fault(section.origin, "duplicate-section", f"[{section.name}] stands already at {first}")
        return first is section.origin

    def _add_daemon(self, section: Section, context: Context) -> None:
        by_key = {one.key: one for one in options(DaemonSettings)}
        settings = self._settings(section, context, DaemonSettings, by_key, self._is_first(section))
        if settings is not None:
            self._daemon.append(settings)

    def _unknown_section(self, section: Section, word: str, rest: str) -> None:
        if word == SECTION:
            self._fault(section.origin, "unknown-section", f"[{SECTION}] has no instances", SECTION)
            return
        kind, _, path = word.partition(" ")
        known_kind = self._class(kind, section.origin) if path and kind in self.kinds else None
        if known_kind is not None and scope_options(known_kind[0]):
            message = f"[{section.name}] is no scope: its path has no slash"
            self._fault(section.origin, "unknown-section", message, f"{kind} /{path.strip().lstrip('/')}{rest}")
            return
        folded = re.sub("[^a-z0-9_]+", "_", word.strip().lower()).strip("_")
        known = sorted({*self.kinds, SECTION})
        near = folded if folded in known else nearest(folded, known)
        meant = None if near is None else near if near == SECTION else near + rest
        what = "a kind of service" if word else "a name"
        self._fault(section.origin, "unknown-section", f"{word!r} in [{section.name}] is not {what}", meant)

    def _class(self, word: str, origin: Origin) -> tuple[type[Any], dict[str, Option]] | None:
        if word not in self._classes:
            try:
                settings_class = self.kinds[word].load_settings()
                self._classes[word] = settings_class, {one.key: one for one in options(settings_class)}
            except Exception as error:  # noqa: BLE001 - code of a third party; the report names what it is about
                self._fault(
                    origin, "broken-kind", f"the settings of the kind {word!r} cannot be loaded: {_described(error)}"
                )
                return None
        return self._classes[word]

    def _settings(
        self, section: Section, context: Context, settings_class: type[Any], by_key: dict[str, Option], is_first: bool
    ) -> Any:
        """An object of the settings class, or None when the section has a fault or is not the first of its name."""
        before = len(self.faults)
        parsed = self._parsed(section, context, by_key)
        given = {entry.key for entry in section.entries}
        if not is_first:
            return None
        for key, option in by_key.items():
            if option.required and key not in given:
                self._fault(section.origin, "missing-key", f"[{section.name}] needs the key {key!r}")
        if parsed is None or len(self.faults) > before:
            return None
        return self._made(section, lambda given: settings_class(**given), parsed)

    def _parsed(
        self, section: Section, context: Context, by_key: dict[str, Option], of_all: Collection[str] = ()
    ) -> dict[str, Any] | None:
        """The values of a section by key, or None when one has a fault.

        :param of_all: keys of the section that a scope is a part of.
        """
        before = len(self.faults)
        parsed: dict[str, Any] = {}
        for entry in section.entries:
            option = by_key.get(entry.key)
            if option is None and entry.key in of_all:
                whole = section.name.partition(" ")[0]
                message = f"{entry.key!r} is said once for all of [{whole}], not in [{section.name}]"
                self._fault(entry.origin, "unknown-key", message)
            elif option is None:
                self._unknown_key(section, entry, list(by_key))
            elif not entry.faulty:
                self._value(entry, option, context, parsed)
        if self._first.get(section.name, section.origin) is section.origin:
            for entry in section.entries:
                if entry.key in parsed:
                    self._claim(section, entry, parsed[entry.key])
        if len(self.faults) > before or any(entry.faulty for entry in section.entries):
            return None
        return parsed

    def _unknown_key(self, section: Section, entry: Entry, known: list[str]) -> None:
        folded = re.sub("[^a-z0-9_]+", "_", entry.key.lower()).strip("_")
        near = folded if folded in known else nearest(folded, known)
        if near is None and not _KEY.fullmatch(entry.key):
            # Not repeated: what is no word at all may be a piece of a secret that was wrapped.
            self._fault(entry.origin, "syntax", "a key is lower_snake_case: a-z, 0-9 and '_'")
            return
        self._fault(entry.origin, "unknown-key", f"{entry.key!r} is not a key of [{section.name}]", near)

    def _value(self, entry: Entry, option: Option, context: Context, parsed: dict[str, Any]) -> None:
        if len(entry.lines) > 1 and not option.value.multiline:
            extra = entry.lines[1]
            message = f"{entry.key}: one line only; this line is indented and so continues the one above"
            self._fault(Origin(entry.origin.path, extra.number, extra.column), "bad-value", message)
            return
        try:
            value = option.value.parse(entry.text, context)
        except BadValue as bad:
            for one in (bad, *bad.more):
                self._fault(entry.at(one.at), "bad-value", f"{entry.key}: {one.message}", one.suggestion)
            return
        except Exception as error:  # noqa: BLE001 - code of a third party
            # The error's own text is left out, for it may hold the value, which may be a secret.
            message = f"{entry.key}: the kind's own code failed on this value ({type(error).__name__})"
            self._fault(entry.at(0), "broken-kind", message)
            return
        parsed[entry.key] = value

    def _claim(self, section: Section, entry: Entry, value: Any) -> None:
        """Note the listen addresses in a value; a fault for each that is taken."""
        if not isinstance(value, tuple):
            return
        addresses = [one for one in value if isinstance(one, ListenAddress)]
        own_lines = len(addresses) == len(entry.lines)
        for number, address in enumerate(addresses):
            line = entry.lines[number if own_lines else 0]
            origin = Origin(entry.origin.path, line.number, line.column)
            taken = self._claims.add(Claim(address, section.name, origin))
            if taken is not None:
                message = f"{entry.key}: {address} is taken by [{taken.section}] at {taken.origin} ({taken.address})"
                self._fault(origin, "conflict", message)

    def _made(self, section: Section, make: Callable[[dict[str, Any]], Any], parsed: dict[str, Any]) -> Any:
        places = {entry.key: entry for entry in section.entries}
        before = len(self.faults)
        try:
            settings = make(parsed)
            check = getattr(settings, "check", None)
            for key, message in check() if callable(check) else ():
                origin = places[key].at(0) if key in places else section.origin
                self._fault(origin, "conflict", f"{key}: {message}")
        except BadValue as bad:
            self._fault(section.origin, "bad-value", f"[{section.name}]: {bad.message}", bad.suggestion)
        except Exception as error:  # noqa: BLE001 - code of a third party
            message = f"[{section.name}]: the kind's own code failed on these settings ({type(error).__name__})"
            self._fault(section.origin, "broken-kind", message)
        return settings if len(self.faults) == before else None


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
