"""Section word -> kind of service: the folders under netsvc/services and the entry-point group "netsvc.services".

Imports no Twisted. Nothing is looked for before :func:`kinds` is called, and then only the KIND of each package is
imported: a kind's settings and service are its own to load (:class:`netsvc.kind.ServiceKind`).
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from attrs import frozen
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from netsvc.config.daemon import SECTION
from netsvc.errors import Fault, Origin, RegistryError
from netsvc.interfaces import IServiceKind

GROUP = "netsvc.services"
BUILT_IN = "netsvc.services"

_WORD = re.compile(r"[a-z][a-z0-9_]*")


@frozen
class Candidate:
    """A place where a kind is said to be.

    :param where: the place in words, for faults.
    :param load: imports and returns it; may raise anything.
    :param word: the word that it must have, or None.
    """

    where: str
    load: Callable[[], Any]
    word: str | None = None


def built_in(package: str = BUILT_IN) -> Iterator[Candidate]:
    """The kinds that are sub-packages of a package, each with its KIND."""
    for module in pkgutil.iter_modules(import_module(package).__path__):
        if module.ispkg:
            name = f"{package}.{module.name}"
            yield Candidate(name, partial(_kind_of, name), module.name)


def _kind_of(package: str) -> Any:
    return import_module(package).KIND


def third_party(points: Iterable[EntryPoint] | None = None) -> Iterator[Candidate]:
    """The kinds that installed distributions declare: ``finger = "netsvc_finger:KIND"``."""
    for point in sorted(entry_points(group=GROUP) if points is None else points):
        distribution = point.dist
        of = f" of {distribution.name} {distribution.version}" if distribution is not None else ""
        yield Candidate(f"entry point {point.name!r} ({point.value}){of}", point.load, point.name)


def collect(candidates: Iterable[Candidate]) -> dict[str, IServiceKind]:
    """The kinds by their words.

    :raises RegistryError: naming every package that is broken and every two that claim one word.
    """
    found: dict[str, tuple[IServiceKind, str]] = {}
    faults: list[Fault] = []
    for one in candidates:
        try:
            kind = one.load()
            problem = _problem(kind, one.word)
        except Exception as error:  # noqa: BLE001 - a package of a third party may fail in any way; it is named
            faults.append(
                Fault(Origin(one.where), "broken-kind", f"cannot be imported: {type(error).__name__}: {error}")
            )
            continue
        if problem is not None:
            faults.append(Fault(Origin(one.where), "broken-kind", problem))
        elif kind.word in found:
            message = f"the section word {kind.word!r} is claimed by {found[kind.word][1]} too"
            faults.append(Fault(Origin(one.where), "duplicate-kind", message))
        else:
            found[kind.word] = kind, one.where
    if faults:
        raise RegistryError(faults)
    return {word: found[word][0] for word in sorted(found)}


def kinds() -> dict[str, IServiceKind]:
    """Every kind of service that is installed, by its section word, sorted.

    :raises RegistryError: naming every package that is broken and every two that claim one word.
    """
    return collect([*built_in(), *third_party()])


def _problem(kind: Any, word: str | None) -> str | None:
    """What is wrong with something that should be a kind, in a sentence; or None."""
    try:
        verifyObject(IServiceKind, kind)
    except Invalid as error:
        lines = " ".join(str(error).split())
        return f"what is loaded is not an IServiceKind: {lines}"
    if not isinstance(kind.word, str) or not _WORD.fullmatch(kind.word) or kind.word == SECTION:
        return f"a kind's word is lower_snake_case and not {SECTION!r}; this one is {kind.word!r}"
    if word is not None and kind.word != word:
        return f"the kind's word is {kind.word!r}, but it stands under the name {word!r}"
    return None
