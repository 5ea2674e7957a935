"""Finds and reads every file of a configuration: the one that was named, and those that it includes.

Raises nothing for what it finds; faults are listed with the line that named the file.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from netsvc.config import sections
from netsvc.config.daemon import SECTION
from netsvc.config.options import Context
from netsvc.config.values import nearest
from netsvc.errors import BadValue, Fault, Origin

MAX_FILES = 1000  # a glob that finds more has surely hit the wrong directory
MAX_DEPTH = 32  # files that include one another in a row; nobody nests them on purpose, and each costs stack
INCLUDE = "include"

_Identity = tuple[int, int] | None  # device and inode; None for what is not there, which is never read


@frozen
class File:
    """One file that was read.

    :param context: what its values need to know of it.
    """

    document: sections.Document
    context: Context
    absolute: Path


@frozen
class Gathered:
    """The files in the order of their reading (an included one follows the one that names it), and the faults."""

    files: tuple[File, ...]
    faults: tuple[Fault, ...]


def gather(path: str, environ: Mapping[str, str]) -> Gathered:
    """Read a configuration and all that it includes."""
    gathering = _Gathering(environ)
    gathering.add(path, Origin(path), "unreadable", path)
    return Gathered(tuple(gathering.files), tuple(gathering.faults))


def _identity(path: str) -> _Identity:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


@frozen
class _Gathering:
    environ: Mapping[str, str]
    files: list[File] = field(factory=list)
    faults: list[Fault] = field(factory=list)
    _named: dict[_Identity, Origin] = field(factory=dict)  # by identity: where each file was named first
    _open: list[_Identity] = field(factory=list)  # the files that are being read, each including the next

    def add(self, path: str, named: Origin, code: str, written: str) -> None:
        """Read one file, named at a place and written there in some way, and all that it includes."""
        identity = _identity(path)
        if identity in self._named:
            first = self._named[identity]
            how = "includes itself" if identity in self._open else f"is read already, named at {first}"
            self.faults.append(Fault(named, "bad-include", f"{path!r} {how}"))
            return
        if len(self.files) == MAX_FILES:
            self.faults.append(Fault(named, "bad-include", f"more than {MAX_FILES} files"))
            return
        if len(self._open) == MAX_DEPTH:
            self.faults.append(
                Fault(named, "bad-include", f"more than {MAX_DEPTH} files, each included by the one before")
            )
            return
        try:
            octets = sections.read(path)
        except BadValue as bad:
            hint = None if os.path.lexists(path) else self._neighbour(path, written)
            self.faults.append(Fault(named, code, bad.message, hint))
            return
        document = sections.parse(octets, path)
        absolute = Path(os.path.abspath(path))
        self.files.append(File(document, Context(absolute.parent, self.environ), absolute))
        self.faults.extend(document.faults)
        self._named[identity] = named
        self._open.append(identity)
        for pattern, origin in _includes(document):
            self._include(pattern, origin, os.path.dirname(path))
        self._open.pop()

    def _include(self, pattern: str, origin: Origin, directory: str) -> None:
        expanded = os.path.expanduser(pattern)
        if not glob.has_magic(expanded):
            self.add(os.path.join(directory, expanded), origin, "bad-include", pattern)
            return
        for found in sorted(glob.glob(expanded, root_dir=directory or None)):
            self.add(os.path.join(directory, found), origin, "bad-include", found)

    def _neighbour(self, path: str, written: str) -> str | None:
        """The unread file beside a missing one that was probably meant, written as that was."""
        directory, name = os.path.split(path)
        try:
            names = os.listdir(directory or ".")
        except (OSError, ValueError):
            return None
        near = nearest(name, names)
        if near is None or _identity(os.path.join(directory, near)) in self._named:
            return None
        return os.path.join(os.path.dirname(written), near)


def _includes(document: sections.Document) -> Iterator[tuple[str, Origin]]:
    for section in document.sections:
        for entry in section.entries:
            if section.name == SECTION and entry.key == INCLUDE and not entry.faulty and entry.text:
                yield from ((line.text, Origin(document.path, line.number, line.column)) for line in entry.lines)
