"""Looks at the files of a CGI directory: what the kernel and the daemon will say of each. Runs nothing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from netsvc.cli.cgi_check.problem import ERROR, NOTE, WARNING, Problem

LONGEST = 256  # octets of the first line that the kernel reads: BINPRM_BUF_SIZE, binfmts.h
LARGEST = 16 << 20  # octets of a file that is read whole; no script is larger
BOM = b"\xef\xbb\xbf"
SUFFIXES = frozenset({".cgi", ".pl", ".sh", ".php", ".rb"})  # by which a file is meant to be run; .py may be a module
SPEAKS = re.compile(
    # What a script that answers has somewhere, if only in what it imports.
    rb"content-type|status:|location:|HTTP/1\.|CGIHandler|cgitb|wsgiref|flask|django|bottle|CGI(\.pm|;)|use CGI",
    re.IGNORECASE,
)
_PYTHON = re.compile(r"(python|pypy)[0-9.]*\Z")


@define
class Script:
    """A file that is meant to be run.

    :param path: absolute.
    :param name: relative to the directory.
    :param python: the interpreter and its flags, when it is a Python that exists.
    :param silent: nothing in it speaks of a Content-Type.
    :param runs: the kernel can start it.
    """

    path: Path
    name: str
    python: tuple[str, ...] = ()
    silent: bool = False
    runs: bool = False
    problems: list[Problem] = field(factory=list)

    def say(self, level: str, code: str, message: str, remedy: str = "", line: int = 0) -> None:
        """One more problem."""
        self.problems.append(Problem(self.name, line, level, code, message, remedy))


def scripts_in(directory: Path, search: str) -> Iterator[Script]:
    """Every script, with what can be seen of it, in the order of their names.

    :param search: the PATH that scripts get.
    """
    for parent, directories, files in os.walk(directory):
        directories[:] = sorted(one for one in directories if one != "__pycache__" and not one.startswith("."))
        for name in sorted(one for one in files if not one.startswith(".")):
            found = _script(Path(parent, name), os.path.relpath(os.path.join(parent, name), directory), search)
            if found is not None:
                yield found


def of_directory(directory: Path) -> Iterator[Problem]:
    """What is wrong with the directory itself, and with those below it."""
    for parent, directories, _ in os.walk(directory):
        directories.sort()
        if stat.S_IMODE(os.stat(parent).st_mode) & stat.S_IWOTH:
            name = os.path.relpath(parent, directory)
            yield Problem(
                "" if name == "." else name + "/",
                0,
                WARNING,
                "directory-writable",
                "Everybody on this machine can put a script here.",
                f"chmod o-w {shlex.quote(parent)}",
            )


def _script(path: Path, name: str, search: str) -> Script | None:
    script = Script(path, name)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return None
        with path.open("rb") as stream:
            content = stream.read(LARGEST)
    except FileNotFoundError:
        script.say(ERROR, "dead-link", "It is a symbolic link to nothing.", f"rm {_quoted(path)}")
        return script
    except OSError as error:
        script.say(ERROR, "unreadable", f"It cannot be read: {error.strerror}.")
        return script
    executable = bool(mode & 0o111)
    marked = content.startswith((b"#!", BOM + b"#!"))
    if not (executable or marked or path.suffix in SUFFIXES):
        return None  # data, or a module that scripts import
    if not executable:
        script.say(ERROR, "not-executable", "It may not be executed: the answer is 403.", f"chmod 755 {_quoted(path)}")
    if mode & stat.S_IWOTH:
        script.say(
            WARNING, "writable", "Everybody on this machine can change what it does.", f"chmod o-w {_quoted(path)}"
        )
    if content.startswith(b"\x7fELF"):
        script.runs = executable
        return script
    _first_line(script, content, executable, search)
    script.silent = not SPEAKS.search(content)
    return script


def _first_line(script: Script, content: bytes, executable: bool, search: str) -> None:
    quoted = _quoted(script.path)
    if content.startswith(BOM):
        script.say(
            ERROR,
            "bom",
            "A byte order mark stands before '#!', so the kernel does not see it.",
            f"sed -i '1s/^\\xEF\\xBB\\xBF//' {quoted}",
            1,
        )
        return
    if not content.startswith(b"#!"):
        remedy = "begin it with #!/usr/bin/env python3" if script.path.suffix == ".py" else "begin it with '#!'"
        script.say(ERROR, "no-shebang", "Its first line names no interpreter ('#!').", remedy, 1)
        return
    line, end, rest = content[2:].partition(b"\n")
    if line.endswith(b"\r"):
        name = line.strip(b" \t").decode("utf-8", "replace")
        script.say(
            ERROR,
            "crlf-shebang",
            f"Its lines end as on Windows, so the kernel looks for {name!r}.",
            f"sed -i 's/\\r$//' {quoted}",
            1,
        )
        return
    if len(line) + 2 + len(end) > LONGEST:
        script.say(
            ERROR, "long-shebang", f"The kernel reads {LONGEST} octets of the first line, and it is longer.", "", 1
        )
        return
    program, _, argument = os.fsdecode(line).strip(" \t").replace("\t", " ").partition(" ")
    found = _interpreter(script, program, argument.strip(), search)
    script.runs = executable and bool(found)
    if found and _PYTHON.match(os.path.basename(found[0])):
        script.python = tuple(found)
    elif found and b"\r\n" in rest:
        script.say(
            WARNING,
            "crlf",
            f"Its lines end as on Windows, which {os.path.basename(found[0])} may take for a part of them.",
            f"sed -i 's/\\r$//' {quoted}",
        )


def _interpreter(script: Script, program: str, argument: str, search: str) -> list[str]:
    """What runs it, with its flags; empty when nothing does, with a problem that says why."""
    if os.path.basename(program) == "env" and os.access(program, os.X_OK) and argument:
        split = argument.startswith(("-S", "--split-string="))
        text = argument.removeprefix("--split-string=").removeprefix("-S") if split else argument
        try:
            words = shlex.split(text) if split else [argument]
        except ValueError:
            words = [text]
        while split and words and (words[0].startswith("-") or "=" in words[0]):
            words.pop(0)
        if not words:
            return [program]
        if not split and " " in argument:
            script.say(
                ERROR,
                "env-words",
                f"env gets {argument!r} as one word, and looks for a program of that name.",
                f"say #!{program} -S {argument}",
                1,
            )
            return []
        place = shutil.which(words[0], path=search)
        if place is None:
            script.say(
                ERROR,
                "no-interpreter",
                f"There is no {words[0]!r} on the PATH of scripts, {search}.",
                _instead(words[0], search) or "install it, or set cgi_path",
                1,
            )
            return []
        return [place, *words[1:]]
    if not program:
        script.say(ERROR, "no-shebang", "Nothing stands behind '#!'.", "", 1)
    elif not program.startswith("/"):
        place = shutil.which(program, path=search)
        script.say(
            ERROR,
            "relative-shebang",
            f"{program!r} is no absolute path: the kernel looks for it in the script's directory.",
            f"say #!{place}" if place else "",
            1,
        )
    elif not os.path.exists(program):
        script.say(
            ERROR,
            "no-interpreter",
            f"There is no {program!r} on this machine.",
            _instead(os.path.basename(program), search) or "install it",
            1,
        )
    elif os.path.isdir(program) or not os.access(program, os.X_OK):
        script.say(ERROR, "no-interpreter", f"{program!r} cannot be executed.", "", 1)
    else:
        return [program, *([argument] if argument else [])]
    return []


def _instead(name: str, search: str) -> str:
    """What may have been meant: python3 for python, and for a python2 that is gone."""
    plain = "python3" if _PYTHON.match(name) else name
    place = shutil.which(plain, path=search)
    return f"say #!{place}" if place else ""


def suspicion(script: Script) -> None:
    """What only the text tells, when the script is not run."""
    if script.silent and script.runs:
        script.say(
            NOTE,
            "no-content-type",
            "Nothing in it looks like a Content-Type, and an answer needs one.",
            "print 'Content-Type: text/html' and an empty line first",
        )


def _quoted(path: Path) -> str:
    return shlex.quote(os.fspath(path))
