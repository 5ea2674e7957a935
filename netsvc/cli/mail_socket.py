"""Finds the socket of the mail service that is meant. No Twisted: ``netsvc mail send`` must start at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from netsvc.cli.instances import instance_of
from netsvc.cli.mail_connection import socket_places

if TYPE_CHECKING:
    import argparse


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which service is meant."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--socket", metavar="PATH", help="the service's UNIX socket (or $NETSVC_MAIL_SOCKET)")
    where.add_argument("--config", metavar="FILE", help="the configuration that names the socket (or $NETSVC_CONFIG)")
    parser.add_argument("--service", metavar="NAME", help="which, if the configuration has several: smtp_client:NAME")


def find_socket(arguments: argparse.Namespace) -> Path:
    """The socket: of --socket or --config; of $NETSVC_MAIL_SOCKET or $NETSVC_CONFIG; or where one is by default.

    :raises CommandError: there is no telling.
    """
    if arguments.socket is not None:
        return Path(arguments.socket)
    named = os.environ.get("NETSVC_MAIL_SOCKET")
    if named and not arguments.config:
        return Path(named)
    config = arguments.config or os.environ.get("NETSVC_CONFIG")
    if config:
        return _of_configuration(config, arguments.service)
    instance = (arguments.service or "").partition(":")[2]
    places = list(socket_places(os.environ, f"mail-{instance}.sock" if instance else "mail.sock"))
    return Path(next(filter(os.path.exists, places), places[0]))


def _of_configuration(config: str, service: str | None) -> Path:
    from netsvc.services.smtp_client.settings import KIND_WORD, socket_path

    state_directory, instance = instance_of(config, KIND_WORD, service, plural="mail services")
    return socket_path(instance.settings, state_directory, instance.name)
