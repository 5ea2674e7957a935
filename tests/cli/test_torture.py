"""The torture's own instruments: what it calls lost, doubled or altered, and how its server reads what comes."""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import socket
import ssl
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli import main
from netsvc.cli.instances import instance_of
from netsvc.cli.torture.content import digest, mark_of
from netsvc.cli.torture.faults import FAULTS
from netsvc.cli.torture.options import KEPT, LEFT, PLAYED, SET, Own, own
from netsvc.cli.torture.peer import Over, Peer, flaws
from netsvc.cli.torture.report import as_json, catalogue, notes, summary, table
from netsvc.cli.torture.server import Server
from netsvc.cli.torture.stage import HOST, Stage, Taken
from netsvc.cli.torture.terms import Fault, Message, Way, as_given
from netsvc.cli.torture.verdict import (
    ALTERED,
    DOUBLED,
    LOST,
    PASSED,
    STUCK,
    WRONG,
    Handed,
    Verdict,
    judge,
)
from netsvc.config.options import options
from netsvc.services.smtp_client.settings import SmtpClientSettings

TO = "one@torture.example"
LATER = Fault(4, "busy", "is busy", Server, (Message(),), False, as_given)
UNKNOWN = Fault(38, "cut", "cuts", Server, (Message({TO: "ambiguous delivered"}),), True, as_given)
PATIENCE = 10.0  # seconds


def item(state: str, *results: str) -> dict[str, Any]:
    """What ``netsvc mail show --json`` says, as far as it is looked at."""
    return {
        "targets": [{"address": TO, "state": state}],
        "ledger": [{"target": TO, "result": result} for result in results],
    }


class Verdicts(SynchronousTestCase):
    def kinds(
        self,
        fault: Fault,
        state: str,
        results: str,
        copies: int,
        *,
        flaw: tuple[str, ...] = (),
        balanced: bool = True,
        content: str = "d",
        problems: tuple[str, ...] = (),
    ) -> set[str]:
        """The kinds of findings."""
        handed = [Handed(fault.messages[0], "m", "d", "q", item(state, *results.split()))]
        taken = [Taken("m", content, (TO,), problems)] * copies
        return {kind for kind, _ in judge(fault, handed, taken, flaw, balanced).findings}

    def test_passed(self) -> None:
        """Delivered once after a retry; or twice, with an attempt of unknown result, where the fault allows it."""
        self.assertEqual(self.kinds(LATER, "delivered", "retry delivered", 1), set())
        self.assertEqual(self.kinds(LATER, "delivered", "retry retry delivered", 1), set())
        self.assertEqual(self.kinds(UNKNOWN, "delivered", "ambiguous delivered", 1), set())
        self.assertEqual(self.kinds(UNKNOWN, "delivered", "ambiguous delivered", 2), set())
        self.assertEqual(self.kinds(UNKNOWN, "ambiguous", "ambiguous", 0), set())

    def test_lost(self) -> None:
        """Said to be delivered and not there; given up; or books that do not balance."""
        self.assertEqual(self.kinds(LATER, "delivered", "retry delivered", 0), {LOST})
        self.assertIn(LOST, self.kinds(LATER, "bounced", "retry permanent", 0))
        self.assertIn(LOST, self.kinds(LATER, "expired", "retry", 0))
        self.assertEqual(self.kinds(LATER, "delivered", "retry delivered", 1, balanced=False), {LOST})
        gone = Handed(LATER.messages[0], "m", "d", "q", {"targets": [], "ledger": []})
        self.assertEqual(judge(LATER, [gone], [], (), True).kind, LOST)

    def test_doubled(self) -> None:
        """A second copy where nothing was unknown, or more copies than attempts account for."""
        self.assertEqual(self.kinds(LATER, "delivered", "retry delivered", 2), {DOUBLED})
        self.assertEqual(self.kinds(UNKNOWN, "delivered", "ambiguous delivered", 3), {DOUBLED})
        self.assertIn(DOUBLED, self.kinds(LATER, "ambiguous", "retry ambiguous", 1))

    def test_altered(self) -> None:
        """Another content, or one that SMTP forbids."""
        self.assertEqual(self.kinds(LATER, "delivered", "retry delivered", 1, content="e"), {ALTERED})
        self.assertEqual(self.kinds(LATER, "delivered", "retry delivered", 1, problems=("NUL",)), {ALTERED})

    def test_rest(self) -> None:
        """What still waits is stuck; another way than the fault's, and a client's misdeed, are wrong."""
        self.assertEqual(self.kinds(LATER, "waiting", "retry", 0), {STUCK})
        self.assertEqual(self.kinds(LATER, "delivered", "delivered", 1), {WRONG})
        self.assertEqual(self.kinds(LATER, "delivered", "retry delivered", 1, flaw=("password in clear",)), {WRONG})

    def test_refused(self) -> None:
        """A message that must not be taken in is not, and no other is refused."""
        must = Message({TO: "refused"})
        self.assertEqual(judge(LATER, [Handed(must, "m", "d", "")], [], (), True).kind, PASSED)
        self.assertEqual(judge(LATER, [Handed(must, "m", "d", "q", item("waiting"))], [], (), True).kind, WRONG)
        self.assertEqual(judge(LATER, [Handed(Message(), "m", "d", "")], [], (), True).kind, WRONG)

    def test_report(self) -> None:
        """The table and its last words fit 80 columns and name what was lost."""
        lost = Verdict(LATER, ((LOST, f"message 4.1 for {TO} is said to be delivered and did not arrive"),), 0)
        fine = Verdict(UNKNOWN, (), 2, {"ambiguous": 1, "delivered": 1})
        lines = [*table([lost, fine]), *summary([lost, fine], Way()), *catalogue(FAULTS)]
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertIn("MAIL WAS LOST in 4.", " ".join(lines))
        self.assertEqual(as_json([lost, fine], Way())["lost"], [4])
        altered = Verdict(LATER, ((ALTERED, "message 4.1 arrived with another content"),), 1)
        self.assertIn("MAIL WAS ALTERED in 4.", " ".join(summary([altered, fine], Way())))
        self.assertEqual(as_json([altered], Way())["altered"], [4])
        self.assertIn("Proven", " ".join(summary([fine], Way())))


class Contents(SynchronousTestCase):
    def test_codings(self) -> None:
        """The digest is of what is meant: not of the coding, nor of line ends, nor of the header."""
        text = "déjà\r\nvu\r\n".encode()
        plain = digest(b"A: b\r\n\r\n" + text)
        coded = base64.encodebytes(text).replace(b"\n", b"\r\n")
        self.assertEqual(digest(b"Content-Transfer-Encoding: base64\r\n\r\n" + coded), plain)
        quoted = b"d=C3=A9j=\r\n=C3=A0\r\nvu\r\n"
        self.assertEqual(digest(b"content-transfer-encoding: Quoted-Printable\r\n\r\n" + quoted), plain)
        self.assertEqual(digest(b"B: c\n\nd\xc3\xa9j\xc3\xa0\nvu"), plain)
        self.assertNotEqual(digest(b"A: b\r\n\r\n" + text + b".\r\n"), plain)

    def test_marks(self) -> None:
        """A message is known by its mark, in the header only."""
        self.assertEqual(mark_of(Message().content("38.1.x")), "38.1.x")
        self.assertEqual(mark_of(b"A: b\r\n\r\nX-Netsvc-Torture: 1\r\n"), "")

    def test_flaws(self) -> None:
        """Bare line ends, long lines, NUL and octets that were not announced are seen."""
        self.assertEqual(flaws(b"a\r\nb\r\n" + b"x" * 998 + b"\r\n", False), [])
        self.assertEqual(len(flaws(b"a\nb\0" + b"x" * 999 + b"\xff\r\n", False)), 4)
        self.assertEqual(flaws(b"\xff\r\n", True), [])


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, Peer]]:
    """A client and the adversary's end."""
    ours, theirs = socket.socketpair()
    with ours:
        peer = Peer(theirs, PATIENCE)
        try:
            yield ours, peer
        finally:
            peer.close()


class Peers(SynchronousTestCase):
    def test_gone_before_the_handshake(self) -> None:
        """A client that was cut before the handshake ends the conversation, and leaves no open socket behind."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            connection, _ = listening.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        peer = Peer(connection, PATIENCE)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            self.assertRaises(Over, peer.encrypt, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            peer.close()
            gc.collect()
        self.assertEqual([one for one in warned if one.category is ResourceWarning], [])

    @given(st.binary(max_size=200).map(lambda octets: octets.replace(b"x", b"\r\n.")), st.integers(1, 50))
    def test_message(self, octets: bytes, size: int) -> None:
        """What was stuffed comes out as it was, in pieces of any size, and what follows it stays."""
        content = octets + b"\r\n"
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\nQUIT\r\n"
        with pair() as (ours, peer):

            def send() -> None:
                for at in range(0, len(stuffed), size):
                    ours.sendall(stuffed[at : at + size])

            thread = threading.Thread(target=send)
            thread.start()
            self.assertEqual(peer.message(), content)
            self.assertEqual(peer.line(), b"QUIT")
            thread.join()

    def test_octets(self) -> None:
        """A chunk is counted, not looked at; what follows it stays."""
        with pair() as (ours, peer):
            ours.sendall(b"BDAT 5\r\n.\r\nQU")
            self.assertEqual(peer.line(), b"BDAT 5")
            ours.sendall(b"IT\r\n")
            self.assertEqual((peer.octets(5), peer.line(), peer.octets(0)), (b".\r\nQU", b"IT", b""))

    def test_empty(self) -> None:
        """A dot at once is an empty message."""
        with pair() as (ours, peer):
            ours.sendall(b".\r\n")
            self.assertEqual(peer.message(), b"")

    def test_gone(self) -> None:
        """A client that leaves ends whatever is waited for."""
        for wait in (Peer.line, Peer.message, Peer.wait_for_end, Peer.wait_unread):
            with pair() as (ours, peer):
                ours.sendall(b"abc")
                ours.close()
                self.assertRaises(Over, wait, peer)


class Stages(SynchronousTestCase):
    def test_catalogue(self) -> None:
        """All of 1 to 52 are there, each with a name that fits its column and a sentence of its own."""
        self.assertEqual([one.number for one in FAULTS], list(range(1, 53)))
        self.assertLessEqual(max(len(one.name) for one in FAULTS), 30)
        self.assertEqual(len({one.does for one in FAULTS}), len(FAULTS))

    def test_black_hole(self) -> None:
        """Before it is opened the one port refuses and the other swallows; then both greet."""
        faults = [one for one in FAULTS if one.number in (1, 2)]
        with Stage(faults, Way(), password="", contexts={}, patience=PATIENCE) as stage:
            for number, error in ((1, ConnectionRefusedError), (2, TimeoutError)):
                port = stage.scenes[number].port
                self.assertRaises(error, socket.create_connection, (HOST, port), 0.3)
                self.assertIn(number, stage.closed)
                stage.open(number)
                with socket.create_connection((HOST, port), PATIENCE) as client:
                    self.assertTrue(client.recv(1000).startswith(b"220 "))
            self.assertEqual(stage.closed, frozenset())

    def test_chunks(self) -> None:
        """A message comes in chunks, each answered; what refuses DATA refuses the first, and the last is the dot."""
        refuses, late = (next(one for one in FAULTS if one.number == number) for number in (34, 40))
        chunks = (b"BDAT 27\r\nX-Netsvc-Torture: m\r\n\r\nhell", b"DATA\r\n", b"BDAT 3 LAST\r\no\r\n")
        for fault, codes in ((LATER, (250, 503, 250)), (refuses, (554, 503, 503)), (late, (250, 503, 451))):
            with Stage([fault], Way(), password="", contexts={}, patience=PATIENCE) as stage:
                scene = stage.scenes[fault.number]
                with socket.create_connection((HOST, scene.port), PATIENCE) as client, client.makefile("rwb") as stream:
                    stream.readline()
                    for line in (b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<never@torture.example>\r\n"):
                        stream.write(line)
                        stream.flush()
                        self.assertTrue(stream.readline().startswith(b"250"))
                    for chunk, code in zip(chunks, codes, strict=True):
                        stream.write(chunk)
                        stream.flush()
                        self.assertEqual(int(stream.readline()[:3]), code, (fault.name, chunk))
                expected = [digest(b"\n\nhello\n")] if codes[-1] == 250 else []
                self.assertEqual([one.digest for one in scene.ledger], expected)

    def test_server(self) -> None:
        """The server without a fault takes a message, with its envelope, and says what it offers."""
        with Stage([LATER], Way(), password="", contexts={}, patience=PATIENCE) as stage:
            scene = stage.scenes[4]
            with socket.create_connection((HOST, scene.port), PATIENCE) as client, client.makefile("rwb") as stream:
                said = [stream.readline()]
                for line in (
                    *(b"DATA", b"EHLO me", b"RCPT TO:<x@y>", b"MAIL FROM:<a@b> SIZE=3", b"RCPT TO:<one@x>"),
                    *(b"DATA", b"X-Netsvc-Torture: m\r\n\r\nhello\r\n.", b"WHAT", b"QUIT"),
                ):
                    stream.write(line + b"\r\n")
                    stream.flush()
                    said.append(stream.readline())
                    while said[-1][3:4] == b"-":
                        said.append(stream.readline())
                self.assertEqual(stream.readline(), b"")
            codes = [int(line[:3]) for line in said if line[3:4] == b" "]
            self.assertEqual(codes, [220, 503, 250, 503, 250, 250, 354, 250, 500, 221])
            self.assertIn(b"250-PIPELINING\r\n", said)
            self.assertIn(b"250-CHUNKING\r\n", said)
            (taken,) = scene.ledger
            self.assertEqual((taken.mark, taken.recipients, taken.problems), ("m", ("one@x",), ()))
            self.assertEqual(taken.digest, digest(b"\n\nhello\n"))


class Options(SynchronousTestCase):
    def own(self, section: str) -> Own:
        """What a section of the user's means for the play."""
        directory = Path(self.mktemp())
        directory.mkdir()
        config = directory / "netsvc.ini"
        config.write_text(f"[netsvc]\nstate_directory = {directory}/state\n[smtp_client]\n{section}")
        return own(instance_of(str(config), "smtp_client", None, plural="mail services")[1].settings)

    def test_each_is_decided(self) -> None:
        """Every option goes along, is played in the user's way, is the play's own, or is left out for a reason."""
        decided = sorted([*KEPT, *PLAYED, *SET, *(one for names in LEFT.values() for one in names)])
        self.assertEqual(decided, sorted(set(decided)))
        self.assertEqual({one.key for one in options(SmtpClientSettings)} - set(decided), set())

    def test_own(self) -> None:
        """What is set and decides how servers are spoken to goes along; what is left out is named, with the reason."""
        found = self.own("ambiguous = hold\nkeep_idle = 9s\nconcurrency = 100\norigin = x.example\nmta_sts = no\n")
        self.assertEqual(found.kept, {"ambiguous": "hold", "keep_idle": "9s"})
        self.assertEqual((str(found.way), found.left), ("plain SMTP", ("mta_sts", "origin")))
        self.assertIn("mta_sts: left out, as the adversary is the one server there is.", list(notes(found.left)))
        self.assertEqual(list(notes(())), [])

    def test_way(self) -> None:
        """The way is that to the first server, with its own rule of TLS and its own login, if it has them."""
        smarthost = "relay = smtp:a.example login=joe\ncredentials = joe joe literal:x\n"
        for section, way in (
            ("relay = mx", "STARTTLS (may)"),
            ("relay = maildir:mail", "plain SMTP"),
            ("relay = smtp:a.example\ntls = none", "plain SMTP"),
            ("relay = smtps:a.example", "TLS from the first octet (verify)"),
            (smarthost, "STARTTLS (verify) with login"),
            (f"{smarthost}tls = none\ntls_policies = a.example require\n", "STARTTLS (require) with login"),
        ):
            self.assertEqual(str(self.own(f"{section}\n").way), way, section)


class Command(SynchronousTestCase):
    def run_it(self, *words: str) -> tuple[int, str, str]:
        """The status and what was written."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main.main(["mail", "torture", *words])
        return status, out.getvalue(), err.getvalue()

    def test_list(self) -> None:
        """--list says what the adversary does."""
        status, out, _ = self.run_it("--list", "--only", "1,38")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"\A  1  connection refused\n     Nobody listens at first\.\n 38  cut after the dot\n")
        self.assertIn('"number": 52', self.run_it("--list", "--json")[1])

    def test_usage(self) -> None:
        """A number that is none, or is no fault's, and a configuration that is not there, are told."""
        self.assertEqual(self.run_it("--only", "x")[0], 2)
        self.assertEqual(
            self.run_it("--only", "99")[::2], (64, "netsvc mail torture: there is no fault 99; --list shows all\n")
        )
        self.assertEqual(self.run_it("--config", "/nonexistent/x.ini")[0], 78)

    def test_light(self) -> None:
        """``netsvc mail`` loads nothing of it, nor Twisted, before it runs."""
        code = "import sys, netsvc.cli.mail; print([m for m in sys.modules if 'torture.' in m or 'twisted' in m])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(done.stdout, "[]\n", done.stderr)
