"""ServiceKind: what one kind of service is called and where its parts are, without importing them."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs
from attrs import field, frozen
from attrs.validators import in_
from zope.interface import implementer

from netsvc.interfaces import IServiceKind

if TYPE_CHECKING:
    from twisted.application.service import IService

    from netsvc.interfaces import IRuntime

_WORD = re.compile(r"[a-z][a-z0-9_]*\Z")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z", re.ASCII)


def _word(_: object, __: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not _WORD.match(value):
        raise ValueError(f"a kind's word is lower_snake_case, not {value!r}")


def _dotted(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not _DOTTED.match(value):
        raise ValueError(f"{attribute.name} is 'package.module:name', not {value!r}")


def _resolve(dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    return getattr(import_module(module), name)


@implementer(IServiceKind)
@frozen(kw_only=True)
class ServiceKind:
    """A kind of service, such as echo or http.

    :param word: the section word in the INI file, lower_snake_case.
    :param summary: one line for ``netsvc kinds``.
    :param source: where its rules stand ("RFC 862"), may be empty.
    :param settings: ``package.module:Class``, a frozen attrs class of options; imports no Twisted.
    :param make_service: ``package.module:function`` taking (settings, runtime), returning an IService.
    :param runs: ``every-worker`` for servers, ``once`` for queues and schedules.
    """

    word: str = field(validator=_word)
    summary: str
    source: str = ""
    settings: str = field(validator=_dotted)
    make_service: str = field(validator=_dotted)
    runs: Literal["every-worker", "once"] = field(default="every-worker", validator=in_(("every-worker", "once")))

    def load_settings(self) -> type[Any]:
        """Import and return the settings class."""
        return cast("type[Any]", _resolve(self.settings))

    def load_make_service(self) -> Callable[[Any, IRuntime], IService]:
        """Import and return the function that makes the service."""
        return cast("Callable[[Any, IRuntime], IService]", _resolve(self.make_service))
