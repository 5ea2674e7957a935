"""First lines of scripts: which interpreter the kernel would run, and what cannot be warm."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.warm.shebang import (
    LONGEST,
    Cold,
    Identity,
    Interpreter,
    identity,
    parse,
    read_interpreter,
)

PATH = b"/usr/local/bin:/usr/bin"


class ShebangTest(SynchronousTestCase):
    """parse() does as execve(2) and env(1)."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.python = self.directory / "python3"
        self.python.write_text("")
        self.python.chmod(0o755)
        self.name = bytes(self.python)

    def parse(self, line: bytes, search: bytes = b"") -> Interpreter | Cold:
        return parse(line.replace(b"PYTHON", self.name), search or bytes(self.directory))

    def warm(self, line: bytes, search: bytes = b"") -> Interpreter:
        found = self.parse(line, search)
        assert isinstance(found, Interpreter), found
        return found

    def cold(self, line: bytes, search: bytes = b"") -> str:
        found = self.parse(line, search)
        assert isinstance(found, Cold), found
        return found.reason

    def test_warm_plain(self) -> None:
        """An interpreter, with blanks and without, with one argument."""
        for line in (b"#!PYTHON\nx", b"#! PYTHON \n", b"#!\tPYTHON\t\nprint(1)", b"#!PYTHON"):
            found = self.warm(line)
            self.assertEqual((self.name, (self.name,), b""), (found.path, found.line, found.comm))
        self.assertEqual((self.name, b"-Iu"), self.warm(b"#!PYTHON -Iu\n").line)
        self.assertEqual((self.name, b"-Wignore"), self.warm(b"#!PYTHON  -Wignore \n").line)
        self.assertEqual(((self.name, identity(self.name)),), self.warm(b"#!PYTHON\n").watch)

    def test_warm_env(self) -> None:
        """The program env looks in the PATH of the script, and keeps what it was called; -S splits."""
        found = self.warm(b"#!/usr/bin/env python3\n", b"/nowhere:" + bytes(self.directory))
        self.assertEqual((self.name, (b"python3",), b"python3"), (found.path, found.line, found.comm))
        self.assertEqual([b"/nowhere/python3", self.name], [path for path, _ in found.watch])
        self.assertEqual(
            (b"python3", b"-u", b"-W", b"error"), self.warm(b"#!/usr/bin/env -S python3 -u -W error\n").line
        )
        self.assertEqual((b"python3", b"-X", b"utf8=1"), self.warm(b"#!/usr/bin/env -Spython3 -X utf8=1\n").line)
        self.assertEqual((self.name,), self.warm(b"#!/usr/bin/env PYTHON\n").line)

    def test_warm_not_python(self) -> None:
        """What is no Python script, or what only exec can complain of, has no reason to tell."""
        for line in (
            b"",
            b"print(1)",
            b"\xef\xbb\xbf#!PYTHON\n",
            b"#!/bin/sh\n",
            b"#!/usr/bin/python2\n",
            b"#!PYTHON\r\n",
            b"#!/usr/bin/env\n",
            b"#!/usr/bin/env ruby\n",
            b"#!/usr/bin/env -S\n",
            b"#!/usr/bin/env -i python3\n",
            b"#!env python3\n",
            b"#!/nowhere/python3\n",
        ):
            with self.subTest(line):
                self.assertEqual("", self.cold(line))
        self.assertEqual("", self.cold(b"#!/usr/bin/env python3\n", b"/nowhere"))

    def test_warm_reasons(self) -> None:
        """What is Python and cannot be warm says why."""
        for line, reason in (
            (b"#!PYTHON -x\n", "the flag -x"),
            (b"#!PYTHON -u -B\n", "the flag -u -B"),
            (b"#!PYTHON -c\n", "the flag -c"),
            (b"#!/usr/bin/env -S python3 -X dev\n", "the flag -X"),
            (b"#!/usr/bin/env -S python3 -W\n", "the flag -W"),
            (b"#!/usr/bin/env -S python3 '-u'\n", "env -S with quotes, escapes or variables"),
            (b"#!PYTHON -u\0\n", "its first line has a NUL"),
            (b"#!python3\n", "its interpreter is not an absolute path"),
            (b"#!/usr/bin/env ./python3\n", "its interpreter is not an absolute path"),
            (b"#!/usr/bin/python3 " + b" " * LONGEST, "its first line is longer than the kernel reads"),
        ):
            with self.subTest(line):
                self.assertEqual(reason, self.cold(line[:LONGEST]))
        self.assertEqual("its PATH has a relative directory", self.cold(b"#!/usr/bin/env python3\n", b"bin:/usr/bin"))
        self.python.chmod(0o4755)
        self.assertEqual("its interpreter is set-user-ID or set-group-ID", self.cold(b"#!PYTHON\n"))

    def test_warm_file(self) -> None:
        """A script that cannot be read is executed."""
        self.assertEqual(Cold(""), read_interpreter(b"/nowhere/x.py", PATH))
        script = self.directory / "x.py"
        script.write_bytes(b"#!" + self.name + b"\n")
        self.assertIsInstance(read_interpreter(bytes(script), PATH), Interpreter)
        self.assertNotEqual(None, identity(bytes(script)))
        before = identity(bytes(script))
        os.utime(script, (1, 1))
        self.assertNotEqual(before, identity(bytes(script)))

    @given(st.binary(max_size=300), st.binary(max_size=40))
    def test_warm_any_octets(self, head: bytes, search: bytes) -> None:
        """No octets raise, and an interpreter that is found was looked at, last."""

        def look(_: bytes) -> Identity:
            return None

        for begin in (b"", b"#!", b"#!/usr/bin/env ", b"#!/usr/bin/env -S", b"#!/usr/bin/python3 "):
            found = parse((begin + head)[:LONGEST], search, look)
            if isinstance(found, Interpreter):
                self.assertEqual(found.path, found.watch[-1][0])
