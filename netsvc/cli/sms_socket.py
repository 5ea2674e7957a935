"""Finds the socket of a running text message service and talks to it. No Twisted: ``netsvc sms`` starts at once."""

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
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--socket", metavar="PATH", help="the service's UNIX socket")
    where.add_argument("--config", metavar="FILE", help="the configuration that names the socket (or $NETSVC_CONFIG)")
    parser.add_argument("--service", metavar="NAME", help="which, if the configuration has several: sms:NAME")


def find_socket(arguments: argparse.Namespace) -> Path:
    """The socket: --socket, or of the configuration in --config or $NETSVC_CONFIG, or where it is by default.

    :raises CommandError: there is no telling.
    """
    if arguments.socket is not None:
        return Path(arguments.socket)
    config = arguments.config or os.environ.get("NETSVC_CONFIG")
    if config:
        return _of_configuration(config, arguments.service)
    from netsvc.config.daemon import default_state_directory

    directory = default_state_directory(os.environ)
    if directory is None:
        raise CommandError(os.EX_CONFIG, "no --socket, no --config, and no HOME to look in")
    instance = (arguments.service or "").partition(":")[2]
    return directory / (f"sms-{instance}.sock" if instance else "sms.sock")


def _of_configuration(config: str, service: str | None) -> Path:
    from netsvc.services.sms.settings import KIND_WORD, socket_path

    state_directory, instance = instance_of(config, KIND_WORD, service, plural="text message services")
    return socket_path(instance.settings, state_directory, instance.name)


class Connection(connection.Connection):
    """One connection to the service."""

    service = "text message service"
