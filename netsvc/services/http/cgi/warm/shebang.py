"""Tells which interpreter, with which flags, the kernel would run a script with. Reads files; starts nothing.

As execve(2) and env(1) do it: `#!/usr/bin/python3 -u` is one interpreter and at most one argument;
`#!/usr/bin/env python3` looks in the script's PATH; `env -S` splits its words. What is not a CPython by its name, or
has a flag that leaves the interpreter's start to chance, is a `Cold` with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable

from attrs import frozen

LONGEST = 256  # octets of the first line that the kernel reads: BINPRM_BUF_SIZE, binfmts.h
COMM = 15  # octets of a process's name: TASK_COMM_LEN without its NUL, sched.h

_PYTHON = re.compile(rb"python(3(\.[0-9]+)?)?\Z")
# Flags whose whole effect is in the state that a child inherits. Not -x, -i, -v, -m, -c, -h, -V, -d, and not -X
# but for what only sets a value.
_FLAG = re.compile(rb"-[bBEIOPRsSu]+\Z")
_VALUE = re.compile(rb"-[bBEIOPRsSu]*W(.+)\Z", re.DOTALL)
_X = re.compile(rb"-X((utf8|int_max_str_digits|no_debug_ranges|warn_default_encoding|safe_path)(=[0-9]+)?)\Z")

Identity = tuple[int, int, int, int, int] | None


def identity(path: bytes | str) -> Identity:
    """What changes when a file is edited or replaced; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@frozen
class Cold:
    """A script that is executed.

    :param reason: why, in words; empty for what never could be warm: it is no Python script.
    """

    reason: str


@frozen
class Interpreter:
    """How the kernel would run a script.

    :param path: the program, absolute.
    :param line: the command line up to the script: its name as the kernel or env gives it, and its flags.
    :param comm: the name that the process has; empty for the script's own.
    :param watch: what was looked at to find it, with what was found.
    """

    path: bytes
    line: tuple[bytes, ...]
    comm: bytes
    watch: tuple[tuple[bytes, Identity], ...]


def read_interpreter(script: bytes, search: bytes) -> Interpreter | Cold:
    """Read a script's first line.

    :param search: its PATH.
    """
    try:
        with open(script, "rb", buffering=0) as stream:
            head = stream.read(LONGEST)
    except OSError:
        return Cold("")
    return parse(head, search, identity)


def parse(head: bytes, search: bytes, look: Callable[[bytes], Identity] = identity) -> Interpreter | Cold:
    """As read_interpreter, of the octets that a script begins with.

    :param look: tells what is at a path.
    """
    if not head.startswith(b"#!"):
        return Cold("")
    line, end, _ = head[2:].partition(b"\n")
    if not end and len(head) == LONGEST:
        return Cold("its first line is longer than the kernel reads")
    if b"\0" in line:  # the kernel stops there
        return Cold("its first line has a NUL")
    program, _, argument = line.strip(b" \t").replace(b"\t", b" ").partition(b" ")
    words = [argument.strip(b" ")] if argument.strip(b" ") else []
    if os.path.basename(program) == b"env":
        if not program.startswith(b"/"):
            return Cold("")
        return _of_env(words, search, look)
    if not _PYTHON.match(os.path.basename(program)):
        return Cold("")
    if not program.startswith(b"/"):
        return Cold("its interpreter is not an absolute path")
    return _interpreter(program, program, words, b"", ((program, look(program)),))


def _of_env(words: list[bytes], search: bytes, look: Callable[[bytes], Identity]) -> Interpreter | Cold:
    """`env NAME`, and `env -S 'NAME FLAGS'` without any of its escapes, variables or options."""
    if not words:
        return Cold("")
    if words[0].startswith((b"-S", b"--split-string=")):
        text = words[0].removeprefix(b"--split-string=").removeprefix(b"-S")
        if re.search(rb"[\\$'\"#]", text):
            return Cold("env -S with quotes, escapes or variables" if b"python" in text else "")
        words = [os.fsencode(word) for word in shlex.split(os.fsdecode(text))]
    if not words or not _PYTHON.match(os.path.basename(words[0])):
        return Cold("")
    name, flags = words[0], words[1:]
    if b"/" in name:
        if not name.startswith(b"/"):
            return Cold("its interpreter is not an absolute path")
        return _interpreter(name, name, flags, os.path.basename(name), ((name, look(name)),))
    seen: list[tuple[bytes, Identity]] = []
    for place in search.split(b":"):
        if not place.startswith(b"/"):
            return Cold("its PATH has a relative directory")
        path = place + b"/" + name
        found = look(path)
        seen.append((path, found))
        if found is not None and os.access(path, os.X_OK) and not os.path.isdir(path):
            return _interpreter(path, name, flags, name, tuple(seen))
    return Cold("")  # env says it


def _interpreter(
    path: bytes, name: bytes, flags: list[bytes], comm: bytes, watch: tuple[tuple[bytes, Identity], ...]
) -> Interpreter | Cold:
    at = 0
    while at < len(flags):
        flag = flags[at]
        at += 1
        if _FLAG.match(flag) or _VALUE.match(flag) or _X.match(flag):
            continue
        if re.match(rb"-[bBEIOPRsSu]*W\Z", flag) and at < len(flags):
            at += 1
            continue
        if flag == b"-X" and at < len(flags) and _X.match(b"-X" + flags[at]):
            at += 1
            continue
        return Cold(f"the flag {os.fsdecode(flag)}")
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return Cold("")  # exec says it
    if mode & (stat.S_ISUID | stat.S_ISGID):
        return Cold("its interpreter is set-user-ID or set-group-ID")
    return Interpreter(path, (name, *flags), comm[:COMM], watch)
