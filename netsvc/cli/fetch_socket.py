"""Finds the socket of a running [fetch] and talks to it, for ``netsvc fetch run`` and its kin. No Twisted."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netsvc.services.fetch.wire import VERSION, encode

if TYPE_CHECKING:
    import argparse

NO_SERVICE = "what answers there is no [fetch] of netsvc"

TIMEOUT = 60.0  # seconds without any progress
MAX_REPLY = 64 << 20  # octets: a page of 1,000 items is far below


class FetchError(Exception):
    """The command failed.

    :param status: of sysexits(3).
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


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
    :raises FetchError: there is no telling.
    """
    if arguments.socket is not None:
        return Path(arguments.socket)
    config = arguments.config or os.environ.get("NETSVC_CONFIG")
    if config:
        return _of_configuration(config, service)
    from netsvc.config.daemon import default_state_directory

    directory = default_state_directory(os.environ)
    if directory is None:
        raise FetchError(os.EX_CONFIG, "no --socket, no --config, and no HOME to look in")
    return directory / f"{(service or 'fetch').replace(':', '-')}.sock"


def _of_configuration(config: str, service: str | None) -> Path:
    from netsvc.config.load import load
    from netsvc.errors import ConfigError, RegistryError
    from netsvc.registry import kinds
    from netsvc.services.fetch.settings import KIND_WORD, socket_path

    try:
        plan = load(config, kinds())
    except (ConfigError, RegistryError) as error:
        raise FetchError(os.EX_CONFIG, str(error)) from None
    found = [one for one in plan.instances if one.kind.word == KIND_WORD and service in (None, one.name)]
    if not found:
        raise FetchError(os.EX_CONFIG, f"{config} has no [{service or KIND_WORD}]")
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise FetchError(os.EX_USAGE, f"{config} has several lists ({names}); choose with --service")
    return socket_path(found[0].settings, plan.daemon.state_directory, found[0].name)


class Connection:
    """One connection to the service.

    :raises FetchError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(TIMEOUT)
        self._path = path
        try:
            self._socket.connect(os.fspath(path))
        except PermissionError:
            self._socket.close()
            raise FetchError(os.EX_NOPERM, f"{path}: permission denied") from None
        except OSError as error:
            self._socket.close()
            reason = error.strerror or str(error)
            text = f"no [fetch] answers at {path}: {reason}; --config or --socket says where one is"
            raise FetchError(os.EX_UNAVAILABLE, text) from None
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        """Send a request; the reply, if it is ok.

        :raises FetchError: it is not, or there is none.
        """
        try:
            self._socket.sendall(encode({"v": VERSION, "command": command, **values}))
            line = self._file.readline(MAX_REPLY)
        except OSError as error:
            raise FetchError(os.EX_TEMPFAIL, f"{self._path} broke off: {error.strerror or error}") from None
        if not line.endswith(b"\n"):
            raise FetchError(os.EX_TEMPFAIL, f"{self._path} gave no answer")
        return _understood(line)


def _understood(line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
        if reply["ok"] is True:
            return dict(reply)
        code, text = str(reply["code"]), str(reply["text"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FetchError(os.EX_PROTOCOL, NO_SERVICE) from None
    if code.startswith("4"):
        raise FetchError(os.EX_TEMPFAIL, f"{code} {text}")
    raise FetchError(os.EX_NOPERM if code.startswith("5.7") else os.EX_DATAERR, f"{code} {text}")
