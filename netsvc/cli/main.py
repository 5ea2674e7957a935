"""``netsvc``: finds the subcommand and runs it. Imports nothing else until one is named, so that help is at once there.

A subcommand is a module with ``configure(parser) -> None`` and ``run(arguments) -> int``. The exit status is 0, 1 (what
was asked failed, or a configuration is bad) or 2 (bad usage); 130 after Ctrl-C and 141 when the reader of a pipe has
left, as a shell reports the signals of the same meaning.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TextIO

import netsvc

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "check": ("netsvc.cli.check", "check a configuration and list every fault of it"),
    "kinds": ("netsvc.cli.kinds", "list the kinds of service, or every option of one"),
    "explain": ("netsvc.cli.explain", "tell what a URL means to a configuration"),
    "probe": ("netsvc.cli.probe", "check running services from the outside"),
    "get": ("netsvc.cli.get", "fetch files by netsvc://, http://, https:// and sftp://"),
    "put": ("netsvc.cli.put", "send files in the same ways"),
    "ls": ("netsvc.cli.ls", "list a directory of a server"),
    "rm": ("netsvc.cli.rm", "remove files of a server"),
    "fetch": ("netsvc.cli.fetch", "download many files, or order a run of the daemon's downloads"),
    "cgi-check": ("netsvc.cli.cgi_check", "check a directory of CGI scripts, and run each in both ways"),
    "htpasswd": ("netsvc.cli.htpasswd", "add a user to a file of passwords for HTTP, or change one"),
    "mail": ("netsvc.cli.mail", "send mail through the queue, and look into it"),
    "sms": ("netsvc.cli.sms", "send text messages through the queue, and look into it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: the arguments without the program's name; None for those of the process.
    :return: the exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character is no failure
    try:
        status = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon(sys.stdout)
        return EXIT_BROKEN_PIPE
    except OSError as error:
        # Subcommands report their own; this is the output that could not be written, to a full disk perhaps.
        _abandon(sys.stdout)
        print(f"netsvc: {error}", file=sys.stderr)
        return EXIT_FAILED
    return status


def _run(arguments: list[str]) -> int:
    parser, subparsers = _parser()
    # The top level has no option with a value, so the first word that is no option is the subcommand.
    name = next((one for one in arguments if not one.startswith("-")), None)
    try:
        if name in SUBCOMMANDS:
            module = import_module(SUBCOMMANDS[name][0])
            module.configure(subparsers[name])
            status: int = module.run(parser.parse_args(arguments))
            return status
        parser.parse_args(arguments)
        parser.print_help(sys.stderr)
    except SystemExit as exiting:
        return _status(exiting)
    return EXIT_USAGE


def _status(exiting: SystemExit) -> int:
    """The status that the interpreter would make of it."""
    if exiting.code is None or isinstance(exiting.code, int):
        return exiting.code or 0
    print(exiting.code, file=sys.stderr)
    return EXIT_FAILED


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="netsvc",
        description="The network services of a machine, from one INI file. twistd -n netsvc --config FILE runs them.",
        epilog="netsvc COMMAND --help says more.",
    )
    parser.add_argument("--version", action="version", version=f"netsvc {netsvc.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    return parser, {
        name: subparsers.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.")
        for name, (_, line) in SUBCOMMANDS.items()
    }


def _abandon(stream: TextIO | None) -> None:
    """Point a stream whose reader has left at nothing, lest the interpreter complain when it flushes at exit."""
    if stream is None:
        return
    with contextlib.suppress(OSError):  # a stream in memory has no descriptor
        descriptor = stream.fileno()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)
