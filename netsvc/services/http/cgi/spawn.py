"""Starts a process as subprocess.Popen does, with vfork and exec, and without what Popen does around it.

Popen looks for the program on PATH, wraps pipes in files and keeps a list of what it has started: 0.1 ms of processor
time for each script. Underneath it calls one function of CPython, which is private. Where that function is not what
it was in Python 3.11, Popen itself is called.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping
from typing import Any

_fork_exec: Any
try:
    from _posixsubprocess import fork_exec as _fork_exec
except ImportError:  # pragma: no cover  (another Python)
    _fork_exec = None

_TOLD = 4096  # octets of what a child tells when it could not execute: "OSError:hexadecimal errno:which step"


def spawn(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    directory: str,
    umask: int,
    descriptors: tuple[int, int, int],
) -> int:
    """Start a program in a session of its own, with three descriptors and no others; its process id.

    Signals are as they are by default. The caller reaps it.

    :param arguments: the first is the program's file, absolute.
    :raises OSError: it cannot be executed; nothing runs.
    :raises ValueError: an argument or a variable holds a NUL.
    """
    if _fork_exec is None:  # pragma: no cover  (another Python)
        return _popen(arguments, environment, directory, umask, descriptors)
    encoded = [os.fsencode(one) for one in arguments]
    variables = _encoded(environment)
    told, tells = os.pipe()
    if tells <= 2:  # the child's own 0, 1 and 2 would take its place
        os.close(told)
        os.close(tells)
        return _popen(arguments, environment, directory, umask, descriptors)
    try:
        try:
            pid: int = _fork_exec(
                encoded,
                encoded[:1],
                True,  # close all other descriptors
                (tells,),
                os.fsencode(directory),
                variables,
                descriptors[0],
                -1,
                -1,
                descriptors[1],
                -1,
                descriptors[2],
                told,
                tells,
                True,  # restore the signals that Python ignores
                True,  # setsid()
                -1,  # process group
                None,  # group
                None,  # groups
                None,  # user
                umask,
                None,  # preexec_fn: with one there is no vfork
                True,  # vfork
            )
        except TypeError:  # another Python
            return _popen(arguments, environment, directory, umask, descriptors)
        finally:
            os.close(tells)
        reason = os.read(told, _TOLD)  # ends at exec
    finally:
        os.close(told)
    if reason:
        os.waitpid(pid, 0)
        raise _error(reason)
    return pid


def _encoded(environment: Mapping[str, str]) -> list[bytes]:
    """The variables as exec takes them, in one go: one by one it costs as much as a system call each."""
    if not environment:
        return []
    variables = os.fsencode("\0".join([f"{name}={value}" for name, value in environment.items()])).split(b"\0")
    if len(variables) != len(environment):
        raise ValueError("embedded null byte")
    return variables


def _error(reason: bytes) -> OSError:
    kind, number, _ = (*reason.split(b":", 2), b"", b"")[:3]
    code = int(number, 16) if kind == b"OSError" else errno.EIO
    return OSError(code, os.strerror(code))


def _popen(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    directory: str,
    umask: int,
    descriptors: tuple[int, int, int],
) -> int:
    """The same, by what Python promises."""
    child = subprocess.Popen(
        arguments,
        cwd=directory,
        env=environment,
        stdin=descriptors[0],
        stdout=descriptors[1],
        stderr=descriptors[2],
        start_new_session=True,
        umask=umask,
    )
    child.returncode = 0  # it is the caller who reaps: a Popen that is dropped would
    return child.pid
