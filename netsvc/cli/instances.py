"""Finds the service that is meant in a configuration. Loads what reads one only when it is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from netsvc.cli.connection import CommandError

if TYPE_CHECKING:
    from netsvc.config.plan import Instance


def instance_of(config: str, word: str, service: str | None, *, plural: str) -> tuple[Path, Instance]:
    """The state directory, and the service of a kind: the one with the name, if the configuration has several.

    :param word: of the kind.
    :param service: its section, or None.
    :param plural: what several of them are called.
    :raises CommandError: the configuration is bad, or there is no telling which.
    """
    from netsvc.config.load import load
    from netsvc.errors import ConfigError, RegistryError
    from netsvc.registry import kinds

    try:
        plan = load(config, kinds())
    except (ConfigError, RegistryError) as error:
        raise CommandError(os.EX_CONFIG, str(error)) from None
    found = [one for one in plan.instances if one.kind.word == word and service in (None, one.name)]
    if not found:
        raise CommandError(os.EX_CONFIG, f"{config} has no [{service or word}]")
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise CommandError(os.EX_USAGE, f"{config} has several {plural} ({names}); choose one with --service")
    return plan.daemon.state_directory, found[0]
