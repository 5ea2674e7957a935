"""What every kind promises, checked without any kind being named here.

The sample file has a section of every kind: it gives the settings. The sample of mail has the listeners that the first
leaves out.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import netsvc
from netsvc.cli.main import main
from netsvc.config.listen import TcpAddress, UdpAddress
from netsvc.config.load import load
from netsvc.config.manual import manual_lines
from netsvc.config.options import Context, Option, options
from netsvc.config.plan import Instance, Plan
from netsvc.interfaces import IServiceKind
from netsvc.registry import built_in, kinds
from tests.contract.events import table
from tests.fakes import FakeRuntime
from tests.shared import SharedCase

PACKAGE = Path(netsvc.__file__).parent
SAMPLE = PACKAGE.parent / "etc" / "netsvc.ini"
SAMPLES = (SAMPLE, SAMPLE.with_name("mail.ini"))
PEER = IPv4Address("TCP", "192.0.2.1", 40000)
NEAR = IPv4Address("TCP", "127.0.0.1", 40000)  # whom some listeners trust with more

# What peers might send to anything: nothing much, lines, requests, dialogues, binary rubbish, headers without end.
INPUTS = (
    b"x",
    b"hello\r\nworld\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /cgi-bin/none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b'{"version": 1}\n',
    b"EHLO there\r\nMAIL FROM:<a@example.com>\r\n",
    b"EHLO there\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nA: b\r\n\r\n..\n.\r\n" + b"c" * 500,
    b"EHLO there\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nBDAT 0\r\nBDAT 99999999999999999999 LAST\r\nQUIT\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer change-me-in-any-case\r\n"
    b'Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"from": "a@example.com", "to": [',
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    bytes(range(256)) * 8,
    b"\0" * 3000,
    b"\xff" * 3000,
    b"A" * 20000,
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1500,
)


class Transport(StringTransportWithDisconnection):
    """A transport that can be cut, and half-closed."""

    def __init__(self, protocol: Any, peer: IPv4Address) -> None:
        super().__init__(peerAddress=peer)
        self.protocol = protocol

    def abortConnection(self) -> None:
        if self.connected:
            self.loseConnection()

    def loseWriteConnection(self) -> None: ...

    def setTcpNoDelay(self, enabled: bool) -> None: ...


class ContractTests(SharedCase):
    """Every kind that comes with netsvc."""

    plans: tuple[Plan, ...]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.plans = tuple(load(str(one), kinds()) for one in SAMPLES)

    @property
    def instances(self) -> list[Instance]:
        """Those of both samples."""
        return [instance for plan in self.plans for instance in plan.instances]

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def options(self) -> list[tuple[str, Option]]:
        return [(word, one) for word, kind in kinds().items() for one in options(kind.load_settings())]

    def made(self, instance: Instance) -> tuple[IService, FakeRuntime]:
        runtime = FakeRuntime(self.directory / "state", instance.name)
        runtime.state_directory.mkdir(mode=0o700, exist_ok=True)
        settings = instance.settings
        if hasattr(settings, "listen"):
            settings = attrs.evolve(settings, listen=(TcpAddress(port=0, interface="127.0.0.1"),))
        return instance.kind.load_make_service()(settings, runtime), runtime

    def test_the_sample_shows_every_kind(self) -> None:
        """etc/netsvc.ini has a section of every kind that comes with netsvc, and no fault."""
        shown = {instance.kind.word for instance in self.plans[0].instances}
        self.assertEqual(shown, {candidate.word for candidate in built_in()})

    def test_the_samples_show_what_there_is(self) -> None:
        """Every option that a sample shows in a comment is one of its section."""
        for sample in SAMPLES:
            section = ""
            for line in sample.read_text().splitlines():
                if match := re.fullmatch(r"(?:# )?\[([a-z_]+)[^]]*\]", line):
                    section = match[1]
                elif (match := re.fullmatch(r"# ([a-z_]+) =(?: .*)?", line)) and section in kinds():
                    known = {one.key for one in options(kinds()[section].load_settings())}
                    self.assertIn(match[1], known, f"{sample}: [{section}]")

    def test_the_samples_are_for_loopback(self) -> None:
        """Every port of the samples is on 127.0.0.1 and needs no privilege; the sample of mail has all its ways in."""
        for instance in self.instances:
            settings = instance.settings
            ways = [getattr(settings, name, ()) for name in ("listen", "submission_listen", "http_listen")]
            if instance in self.plans[1].instances:
                self.assertTrue(all(ways[1:]), instance.name)
            for address in (one for way in ways for one in way):
                self.assertIsInstance(address, TcpAddress | UdpAddress)
                self.assertEqual(address.interface, "127.0.0.1", instance.name)
                self.assertGreater(address.port, 1023)

    def test_kinds_provide_their_interface(self) -> None:
        """A kind is an IServiceKind with a summary that is a sentence."""
        for word, kind in kinds().items():
            verifyObject(IServiceKind, kind)
            self.assertEqual(kind.word, word)
            self.assertTrue(kind.summary.endswith("."), word)

    def test_settings_are_frozen(self) -> None:
        """Nobody changes a setting: a reload compares them with ==."""
        for instance in self.instances:
            first = attrs.fields(type(instance.settings))[0].name
            with self.assertRaises(attrs.exceptions.FrozenInstanceError):
                setattr(instance.settings, first, None)
            self.assertEqual(attrs.evolve(instance.settings), instance.settings)
            hash(instance.settings)

    def test_options_are_documented(self) -> None:
        """Every option has a help line that is a sentence, and a type."""
        for word, one in self.options():
            self.assertTrue(one.help.endswith("."), f"{word}.{one.key}: {one.help!r}")
            self.assertTrue(one.value.name, f"{word}.{one.key}")

    def test_options_are_bounded(self) -> None:
        """Numbers, durations and sizes say how small and how large they may be."""
        for word, one in self.options():
            if one.value.name in ("integer", "duration", "size"):
                self.assertTrue(one.value.bounds, f"{word}.{one.key}")

    def test_defaults_can_be_written(self) -> None:
        """The text that the reference prints for a default means that default."""
        context = Context(Path("/"))
        for word, one in self.options():
            if one.default_text:
                self.assertEqual(one.value.parse(one.default_text, context), one.default, f"{word}.{one.key}")

    def test_listed_by_netsvc_kinds(self) -> None:
        """`netsvc kinds` lists every kind, `netsvc kinds KIND` every option of it."""
        import contextlib
        import io

        def printed(*arguments: str) -> str:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(main(list(arguments)), 0)
            return out.getvalue()

        listing = printed("kinds")
        for word, kind in kinds().items():
            self.assertIn(word, listing)
            reference = printed("kinds", word)
            for one in options(kind.load_settings()):
                self.assertIn(one.key, reference)

    def test_making_has_no_side_effects(self) -> None:
        """make_service gives an IService, and opens, binds and writes nothing."""
        before = set(os.listdir("/proc/self/fd"))
        for instance in self.instances:
            service, runtime = self.made(instance)
            self.assertTrue(IService.providedBy(service), instance.name)
            self.assertEqual(list(runtime.state_directory.iterdir()), [], instance.name)
            self.assertEqual(runtime.reactor.tcpServers, [])
            self.assertEqual(runtime.reactor.getDelayedCalls(), [], instance.name)
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)

    def test_every_split_of_the_input(self) -> None:
        """Whatever a peer sends, whole or octet by octet, and wherever it leaves: nothing but that connection ends."""
        for instance in self.instances:
            _, runtime = self.made(instance)
            for _, factory, _ in runtime.served:
                if factory is None:
                    continue
                for data in INPUTS:
                    for size in (len(data), 1) if len(data) < 1500 else (len(data), 999):
                        for peer in (PEER, NEAR):
                            self.feed(
                                factory, [data[at : at + size] for at in range(0, len(data), size)], runtime, peer
                            )
        self.assertEqual([str(one.value) for one in self.flushLoggedErrors()], [])

    def feed(self, factory: Any, pieces: list[bytes], runtime: FakeRuntime, peer: IPv4Address) -> None:
        protocol = factory.buildProtocol(peer)
        transport = Transport(protocol, peer)
        protocol.makeConnection(transport)
        for piece in pieces:
            if not transport.connected:
                break
            protocol.dataReceived(piece)
        runtime.reactor.advance(1)
        if transport.connected:
            transport.connected = False
            protocol.connectionLost(Failure(ConnectionDone()))
        runtime.reactor.advance(4000)

    def test_datagrams(self) -> None:
        """A responder answers anything at once, within its limit, with octets or silence."""
        for instance in self.instances:
            _, runtime = self.made(instance)
            for _, _, responder in runtime.served:
                if responder is None:
                    continue
                self.assertNotIsInstance(responder, DatagramProtocol)
                for data in (*INPUTS, b""):
                    limit = max(len(data), getattr(responder, "greatest_answer", 0))
                    answer = responder.answer(data, ("192.0.2.1", 40000), limit)
                    self.assertTrue(answer is None or len(answer) <= limit, f"{instance.name} {len(data)}")


class HouseTests(SynchronousTestCase):
    """The rules of the house that no linter knows."""

    def modules(self) -> list[tuple[Path, str]]:
        return [(file, file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))]

    def test_no_reactor_at_import(self) -> None:
        """Only tap.py takes the global reactor, and it does so inside a function."""
        for file, text in self.modules():
            for node in ast.walk(ast.parse(text)):
                match node:
                    case ast.ImportFrom(module="twisted.internet", names=names, col_offset=column):
                        if any(name.name == "reactor" for name in names):
                            self.assertEqual(file.name, "tap.py")
                            self.assertGreater(column, 0)

    def test_every_numbered_fault_has_its_test(self) -> None:
        """The 65 numbered faults of mail and the 50 abuses of files stand in the names of tests."""
        for words, count in (("mail_fault", 65), ("file_abuse", 50)):
            found = {
                int(number)
                for file in Path(__file__).parents[1].rglob("test_*.py")
                for number in re.findall(rf"def test_{words}_(\d+)", file.read_text())
            }
            self.assertEqual(sorted(found), list(range(1, count + 1)), words)

    def test_a_kinds_init_holds_its_kind(self) -> None:
        """services/X/__init__.py defines KIND and nothing else."""
        for file in sorted((PACKAGE / "services").glob("*/__init__.py")):
            body = ast.parse(file.read_text()).body
            rest = [node for node in body if not isinstance(node, ast.Expr | ast.ImportFrom)]
            self.assertEqual(len(rest), 1, file)
            assert isinstance(rest[0], ast.Assign)
            assert isinstance(rest[0].targets[0], ast.Name)
            self.assertEqual(rest[0].targets[0].id, "KIND")

    def test_modules_open_with_their_promise(self) -> None:
        """Every module begins with a docstring."""
        for file, text in self.modules():
            self.assertTrue(ast.get_docstring(ast.parse(text)), file)

    def test_events_are_in_the_table(self) -> None:
        """docs/events.md is the table of the events and metrics in the source."""
        self.assertEqual((PACKAGE.parent / "docs" / "events.md").read_text(), table())

    def test_every_log_line_has_its_event(self) -> None:
        """A call that logs names its event, so that the table and the JSON have it."""
        for file, text in self.modules():
            for node in ast.walk(ast.parse(text)):
                match node:
                    case ast.Call(
                        func=ast.Attribute(
                            value=ast.Name(id="log") | ast.Attribute(attr="_log" | "log"),
                            attr="debug" | "info" | "warn" | "error" | "failure" | "critical",
                        )
                    ):
                        words = [keyword.arg for keyword in node.keywords]
                        self.assertIn("event", words, f"{file}:{node.lineno}")

    def test_the_reference_is_current(self) -> None:
        """docs/reference.md is what `netsvc kinds --format markdown` prints."""
        here = "\n".join(manual_lines(kinds())) + "\n"
        self.assertEqual((PACKAGE.parent / "docs" / "reference.md").read_text(), here)
