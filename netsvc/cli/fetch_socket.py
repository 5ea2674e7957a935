"""Finds the socket of a running [fetch] and talks to it, for ``netsvc fetch run`` and its kin. No Twisted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from netsvc.cli import connection
from netsvc.cli.connection import CommandError
from netsvc.cli.instances import instance_of

if TYPE_CHECKING:
    import argparse


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which service is meant."""
    group = parser.add_argument_group("which daemon, for run and its kin")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--socket", metavar="PATH", help="the service's UNIX socket")
    where.add_argument("--config", metavar="FILE", help="the configuration that names the socket (or $NETSVC_CONFIG)")
    group.add_argument("--service", metavar="NAME", help="which, if the configuration has several: fetch:NAME")


def find_socket(arguments: argparse.Namespace, service: str | None) -> Path:
    """The socket: --socket, or of the configuration in --config or $NETSVC_CONFIG, or where it is by default.

    :param service: the section, or None.
    :raises CommandError: there is no telling.
    """
    if arguments.socket is not None:
        return Path(arguments.socket)
    config = arguments.config or os.environ.get("NETSVC_CONFIG")
    if config:
        return _of_configuration(config, service)
    from netsvc.config.daemon import default_state_directory

    directory = default_state_directory(os.environ)
    if directory is None:
        raise CommandError(os.EX_CONFIG, "no --socket, no --config, and no HOME to look in")
    return directory / f"{(service or 'fetch').replace(':', '-')}.sock"


def _of_configuration(config: str, service: str | None) -> Path:
    from netsvc.services.fetch.settings import KIND_WORD, socket_path

    state_directory, instance = instance_of(config, KIND_WORD, service, plural="lists")
    return socket_path(instance.settings, state_directory, instance.name)


class Connection(connection.Connection):
    """One connection to the service."""

    service = "[fetch]"
