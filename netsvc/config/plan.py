"""A plan: everything that a validated configuration asks for, frozen. Two plans are compared with ``==``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen

from netsvc.config.daemon import DaemonSettings
from netsvc.errors import Origin
from netsvc.interfaces import IServiceKind


@frozen
class Instance:
    """One service to run: one section of a configuration.

    :param kind: what kind of service.
    :param name: the section's name: ``echo``, or ``filetransfer:inbox``. Unique in a plan.
    :param settings: an object of the kind's settings class.
    :param origin: the section's place; moving a section does not make it another one, so ``==`` ignores it.
    """

    kind: IServiceKind
    name: str
    settings: Any
    origin: Origin = field(eq=False)


@frozen
class Plan:
    """What a configuration asks for.

    :param daemon: the options of [netsvc], or their defaults; its state directory is always set.
    :param instances: the services, in the order of their sections.
    :param files: every file that was read, absolute, the first one first.
    """

    daemon: DaemonSettings
    instances: tuple[Instance, ...]
    files: tuple[Path, ...]
