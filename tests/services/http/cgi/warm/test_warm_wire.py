"""The packets between the daemon and its fork servers."""

from __future__ import annotations

import marshal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.child import Command
from netsvc.services.http.cgi.warm.shebang import Interpreter
from netsvc.services.http.cgi.warm.wire import HEAD, LONGEST, Report, layer_request, read_report, request

PYTHON = Interpreter(b"/usr/bin/python3", (b"python3", b"-u"), b"", ((b"/usr/bin/python3", (1, 2, 3, 4, 5)),))


def command(**environment: str) -> Command:
    """A command with an environment."""
    return Command(
        arguments=("/srv/a-very-long-name.py", "a"), directory=Path("/srv"), environment=environment, umask=0o27, nice=1
    )


class WireTest(SynchronousTestCase):
    """What is written is read."""

    def test_warm_request(self) -> None:
        """A request carries all that exec would be told, as octets."""
        packet = request(7, 8, command(A="\udcff"), PYTHON)
        assert packet is not None
        serial, sent, size = HEAD.unpack_from(packet)
        self.assertEqual((serial, sent), (7, 8))
        watch, rest = packet[HEAD.size : HEAD.size + size], packet[HEAD.size + size :]
        self.assertEqual(((b"/usr/bin/python3", (1, 2, 3, 4, 5)),), marshal.loads(watch))
        self.assertEqual(
            (
                [b"/srv/a-very-long-name.py", b"a"],
                [b"python3", b"-u", b"/srv/a-very-long-name.py", b"a"],
                b"a-very-long-nam",
                b"/srv",
                {b"A": b"\xff"},
                0o27,
                1,
                0,
                0,
            ),
            marshal.loads(rest),
        )

    def test_warm_request_unfit(self) -> None:
        """What only exec can refuse, or pass on, makes no packet."""
        self.assertIsNone(request(1, 1, command(A="x\0y"), PYTHON))
        self.assertIsNone(request(1, 1, command(A="\ud800"), PYTHON))
        self.assertIsNone(request(1, 1, command(A="x" * LONGEST), PYTHON))

    def test_warm_layer(self) -> None:
        """A layer is asked for with the script and the directory of cgi_legacy."""
        packet = layer_request("/srv/x.py", "/state")
        self.assertEqual((0, 0, 0), HEAD.unpack_from(packet))
        self.assertEqual((b"/srv/x.py", b"/state"), marshal.loads(packet[HEAD.size :]))

    def test_warm_report(self) -> None:
        """Reports are read; what is none is told apart."""
        self.assertEqual(Report(3, 42, "stale: \\xff"), read_report(b"3 42 stale: \xff"))
        self.assertEqual(Report(3, 42, ""), read_report(b"3 42 "))
        for packet in (b"", b"x", b"1 2", b"1 x y", b"x 1 y", b"1  2"):
            self.assertIsNone(read_report(packet))

    @given(st.binary(max_size=64))
    def test_warm_any_report(self, packet: bytes) -> None:
        """No octets raise."""
        self.assertIsInstance(read_report(packet), Report | None)
