"""get, put, ls and rm by sftp: against OpenSSH's sftp-server, and against one that says odd things."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.files import sftp_wire
from netsvc.cli.files.sftp_wire import Answer, Attributes, Greeting, StatusAnswer
from netsvc.services.sftp import wire as server_wire
from netsvc.services.sftp.wire import BadMessageError, UnusableStreamError
from tests.cli.files.running import FilesCase, run

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
DATA = os.urandom(3_000_000)


class WireTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.binary(min_size=1, max_size=100))
    def test_anything(self, octets: bytes) -> None:
        """Any packet is an answer or one of the two errors of the wire."""
        for packet in (octets, bytes((104, 0, 0, 0, 1)) + octets, bytes((2, 0, 0, 0, 3)) + octets):
            try:
                identity, found = sftp_wire.answer(memoryview(packet))
            except (BadMessageError, UnusableStreamError):
                continue
            self.assertIsInstance(found, Greeting | StatusAnswer | Answer)
            self.assertGreaterEqual(identity, 0)

    def test_as_the_server_writes_it(self) -> None:
        """What this daemon's server writes is read as it was meant."""

        def read(octets: bytes) -> tuple[int, object]:
            return sftp_wire.answer(memoryview(octets)[4:])

        self.assertEqual(read(server_wire.version([("a@b", b"1")])), (0, Greeting({"a@b": b"1"})))
        self.assertEqual(read(server_wire.ok(7)), (7, StatusAnswer(0, "")))
        self.assertEqual(read(server_wire.status(7, server_wire.Status.EOF, "é")), (7, StatusAnswer(1, "é")))
        self.assertEqual(read(server_wire.handle(8, b"abcd")), (8, Answer(b"abcd")))
        encoded = server_wire.attributes(1 << 40, stat.S_IFDIR | 0o755, 1800000000)
        self.assertEqual(read(server_wire.attrs(9, encoded)), (9, Answer(Attributes(1 << 40, 0o40755, 1800000000))))
        entry = server_wire.name_entry(b"n", b"long", encoded)
        (_, names) = read(server_wire.names(9, 2, entry * 2))
        assert isinstance(names, Answer)
        assert isinstance(names.value, list)
        self.assertEqual([one[0] for one in names.value], [b"n", b"n"])
        self.assertTrue(names.value[0][1].directory)
        (_, limits) = read(server_wire.extended_reply(1, 262144, 65536, 200000, 0))
        assert isinstance(limits, Answer)
        assert isinstance(limits.value, bytes)
        self.assertEqual(sftp_wire.largest_piece(limits.value), 65536)
        self.assertEqual(sftp_wire.largest_piece(b"x"), sftp_wire.PIECE)


class SftpCase(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.there = self.directory / "there"
        self.there.mkdir()

    def ssh(self, sftp: str = SFTP_SERVER, command: str = 'exec sh -c "$last"') -> str:
        """A stand-in for ssh; what it was told is in the file ``told``."""
        script = self.directory / "ssh"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {self.directory}/told\nfor last; do :; done\n'
            f'case "$last" in sftp) exec {sftp};; *) {command};; esac\n'
        )
        script.chmod(0o755)
        return shlex.quote(str(script))

    def cut_after(self, octets: int) -> str:
        """A server whose connection breaks after so many octets of answers."""
        script = self.directory / "cut.py"
        script.write_text(
            "import os, subprocess\n"
            f"child = subprocess.Popen([{SFTP_SERVER!r}], stdout=subprocess.PIPE)\n"
            f"left = {octets}\n"
            "while left and (data := os.read(child.stdout.fileno(), left)):\n"
            "    os.write(1, data)\n"
            "    left -= len(data)\n"
            "child.kill()\n"
        )
        return f"{sys.executable} {script}"

    def url(self, name: str = "") -> str:
        return f"sftp://me@h:2222{self.there}/{name}"


class SftpTests(SftpCase):
    def test_both_ways(self) -> None:
        """A file goes there and comes back, verified; ssh is told user and port; .part is gone."""
        file = self.here / "ä 1"
        file.write_bytes(DATA)
        ran = run("put", "--verify", "--ssh", self.ssh(), file, self.url())
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertEqual([one.name for one in self.there.iterdir()], ["ä 1"])
        os.utime(self.there / "ä 1", (1800000000, 1800000000))
        ran = run("get", "--verify", "--json", "--ssh", self.ssh(), "-o", self.here / "b", self.url("%C3%A4%201"))
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertEqual((self.here / "b").read_bytes(), DATA)
        self.assertEqual((self.here / "b").stat().st_mtime, 1800000000)
        self.assertEqual(json.loads(ran.out.splitlines()[-1])["sha256"], hashlib.sha256(DATA).hexdigest())
        self.assertIn("-p 2222 -l me -s -- h sftp", (self.directory / "told").read_text())

    def test_no_such_ssh(self) -> None:
        """A command that cannot be run is named: bad usage."""
        ran = run("ls", "--ssh", "-i key", self.url())
        self.assertEqual((ran.status, ran.out), (2, ""))
        self.assertIn("'-i' cannot be run: no such file or directory", ran.err)

    def test_sizes(self) -> None:
        """Empty files, and those as long as a piece or an octet more, go both ways; a slow pace has small pieces."""
        for size, options in ((0, ()), (1, ()), (131072, ()), (131073, ()), (30_000, ("--limit-rate", "100KiB/s"))):
            (self.here / "a").write_bytes(DATA[:size])
            self.assertEqual(run("put", *options, "--ssh", self.ssh(), self.here / "a", self.url("n")).status, 0)
            self.assertEqual(run("get", *options, "--ssh", self.ssh(), "-d", self.here, self.url("n")).status, 0)
            self.assertEqual((self.here / "n").read_bytes(), DATA[:size])

    def netsvc(self, access: str) -> str:
        """A stand-in for ssh to this daemon's own server, whose root is ``there``."""
        server = f"{sys.executable} -m tests.services.sftp.pipe_server {self.there} {access} 2>/dev/full"
        return self.ssh(f"sh -c 'cd {Path(__file__).parents[3]} && exec {server}'", command="exit 1")

    def test_put_that_may_only_upload(self) -> None:
        """To a server that publishes at CLOSE a file goes under its name: who may only upload can send it, once."""
        file = self.here / "a"
        file.write_bytes(DATA)
        ssh = self.netsvc("upload-only")
        ran = run("put", "-c", "--ssh", ssh, file, "sftp://h/")
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertEqual((self.there / "a").read_bytes(), DATA)
        self.assertFalse((self.there / "a.part").exists())
        file.write_bytes(b"other octets")
        ran = run("put", "--ssh", ssh, file, "sftp://h/")
        self.assertEqual((ran.status, ran.err), (1, f"netsvc put: {file} to sftp://h/: it exists\n"))
        self.assertEqual((self.there / "a").read_bytes(), DATA)

    def test_put_to_be_verified_first(self) -> None:
        """With --verify no file gets its name before its digest was seen, on such a server, too."""
        file = self.here / "a"
        file.write_bytes(DATA)
        self.assertEqual(run("put", "--verify", "--ssh", self.netsvc("full"), file, "sftp://h/").status, 5)
        self.assertFalse((self.there / "a").exists())
        self.assertEqual(run("put", "--ssh", self.netsvc("full"), file, "sftp://h/").status, 0)
        self.assertEqual((self.there / "a").read_bytes(), DATA)

    def test_put_goes_on(self) -> None:
        """With -c the rest follows a part that is the beginning of the file; any other part is written anew."""
        file = self.here / "a"
        file.write_bytes(DATA)
        for part, start in ((DATA[:2000], 2000), (DATA[:10] + b"x", 0), (DATA + b"x", 0), (DATA, len(DATA)), (b"", 0)):
            (self.there / "a.part").write_bytes(part)
            ran = run("put", "-c", "--json", "--limit-rate", "1GiB/s", "--ssh", self.ssh(), file, self.url())
            self.assertEqual((ran.status, (self.there / "a").read_bytes() == DATA), (0, True))
            self.assertEqual(json.loads(ran.out.splitlines()[-1])["resumed_at"], start)

    def test_get_goes_on(self) -> None:
        """What came before the connection broke is kept; with -c the rest comes, if the file is still the same."""
        file = self.there / "a"
        file.write_bytes(DATA)
        cut = self.cut_after(1_000_000)
        ran = run("get", "--ssh", self.ssh(cut), "-d", self.here, self.url("a"))
        self.assertEqual(ran.status, 1)
        self.assertFalse((self.here / "a").exists())
        ran = run("get", "-c", "--json", "--ssh", self.ssh(), "-d", self.here, self.url("a"))
        self.assertEqual((ran.status, (self.here / "a").read_bytes() == DATA), (0, True))
        self.assertEqual(self.names(), ["a"])
        run("get", "--ssh", self.ssh(cut), "-d", self.here, self.url("a"))
        file.write_bytes(DATA[::-1])
        os.utime(file, (1, 1))
        self.assertEqual(run("get", "-c", "--ssh", self.ssh(), "-d", self.here, self.url("a")).status, 0)
        self.assertEqual((self.here / "a").read_bytes(), DATA[::-1])

    def test_verify(self) -> None:
        """Where sha256sum cannot be run, or says another digest, --verify fails and no file gets its name."""
        (self.there / "a").write_bytes(DATA)
        (self.here / "b").write_bytes(DATA)
        wrong = f"echo {'0' * 64} x"
        for command in ("exit 1", wrong, "echo nonsense"):
            ssh = self.ssh(command=command)
            self.assertEqual(run("get", "--verify", "--ssh", ssh, "-d", self.here, self.url("a")).status, 5)
            self.assertEqual(run("put", "--verify", "--ssh", ssh, self.here / "b", self.url()).status, 5)
        self.assertFalse((self.here / "a").exists())
        self.assertFalse((self.there / "b").exists())

    def test_ls_and_rm(self) -> None:
        """A directory is listed by name, a file as itself; files are removed; what is not there has status 3."""
        (self.there / "b").write_bytes(b"12")
        (self.there / "a\x1b").mkdir()
        ran = run("ls", "--ssh", self.ssh(), self.url())
        self.assertEqual([line.split()[-1] for line in ran.out.splitlines()], ["a\\x1b/", "b"])
        ran = run("ls", "--json", "--ssh", self.ssh(), self.url("b"))
        self.assertEqual(json.loads(ran.out)["size"], 2)
        self.assertEqual(run("rm", "--ssh", self.ssh(), self.url("b")).status, 0)
        for command in ("rm", "ls", "get"):
            self.assertEqual(run(command, "--ssh", self.ssh(), self.url("b")).status, 3)

    def test_home(self) -> None:
        """A path behind /~/ begins where the server begins."""
        ssh = self.ssh(f"sh -c 'cd {self.there} && exec {SFTP_SERVER}'")
        (self.here / "a").write_bytes(b"12")
        self.assertEqual(run("put", "--ssh", ssh, self.here / "a", "sftp://h/~/b").status, 0)
        self.assertEqual(run("ls", "--ssh", ssh, "sftp://h/~/").out.split()[-1], "b")

    def test_refused(self) -> None:
        """What cannot be asked for: a password in the URL, a directory as a file, a place that may not be written."""
        self.assertEqual(run("get", "--ssh", self.ssh(), "-d", self.here, "sftp://me:pw@h/a").status, 2)
        ran = run("get", "--ssh", self.ssh(), "-d", self.here, self.url().rstrip("/"))
        self.assertIn("it is a directory", ran.err)
        (self.here / "a").write_bytes(b"")
        self.assertEqual(run("put", "--ssh", self.ssh(), self.here / "a", self.url("no/such/")).status, 3)

    def test_ssh_fails(self) -> None:
        """The last line of ssh is the reason, and decides about the status."""
        for words, status in (("Permission denied (publickey).", 4), ("no route\x1b", 1), ("", 1)):
            script = self.directory / "fails"
            script.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write({words!r})\nsys.exit(255)\n")
            script.chmod(0o755)
            ran = run("ls", "--ssh", script, self.url())
            self.assertEqual((ran.status, len(ran.err.splitlines())), (status, 1), ran.err)
            self.assertIn(words.rstrip("\x1b") or "status 255", ran.err)

    def test_no_sftp(self) -> None:
        """A peer that does not speak SFTP, or falls silent, is an error in one line."""
        hello = self.directory / "hello"
        hello.write_bytes(server_wire.version([]))
        silent = f"sh -c 'cat {hello}; exec cat >/dev/null'"
        for sftp in ("echo Welcome to this machine, all of you", silent):
            ran = run("ls", "--timeout", "0.3", "--ssh", self.ssh(sftp), self.url())
            self.assertEqual((ran.status, len(ran.err.splitlines())), (1, 1), ran.err)


def test_there_is_a_server() -> None:
    """The tests above talk to OpenSSH's own server."""
    assert Path(SFTP_SERVER).exists()
