"""The options of mounted resources, which every scope of an http service has. Imports no Twisted, and no resource."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import Context, ValueType, option
from netsvc.errors import BadValue

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@frozen
class MountTarget:
    """What is mounted, by its dotted name.

    :param module: such as ``package.module``.
    :param name: of what stands in it; dots go on to attributes.
    :param wsgi: whether that is a WSGI application (PEP 3333) rather than a resource.
    """

    module: str
    name: str
    wsgi: bool = False

    def __str__(self) -> str:
        return f"{'wsgi:' if self.wsgi else ''}{self.module}:{self.name}"


def mount_target() -> ValueType[MountTarget | None]:
    """``package.module:name``, or ``none``. Only its form is looked at."""

    def parse(text: str, _: Context) -> MountTarget | None:
        if text == "none":
            return None
        wsgi = text.startswith("wsgi:")
        module, colon, name = text.removeprefix("wsgi:").partition(":")
        if not colon or not _DOTTED.fullmatch(module) or not _DOTTED.fullmatch(name):
            raise BadValue(f"{text!r} is not package.module:name, nor wsgi:package.module:name")
        return MountTarget(module, name, wsgi)

    return ValueType(
        name="resource",
        bounds="none, [wsgi:]MODULE:NAME",
        parse=parse,
        show=lambda value: "none" if value is None else str(value),
        none="none",
    )


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class MountSettings:
    """What answers instead of files and scripts."""

    mount: MountTarget | None = option(
        mount_target(),
        default=None,
        help="A Twisted IResource, what returns one or has one (Klein), or a WSGI application, that answers here.",
    )
    mount_path: Path | None = option(
        values.path(),
        default=None,
        help="A directory in which the mounted module is looked for after all others.",
    )
    mount_form: int = option(
        values.size(0, 1 << 30),
        default=16 << 20,
        help="The longest form that is read into a mounted resource's request.args; longer is 413.",
    )
    mount_threads: int = option(
        values.integer(1, 1000), default=10, help="Requests that a mounted WSGI application answers at the same time."
    )
