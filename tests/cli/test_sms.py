"""``netsvc sms`` without a daemon: what it prints, and with which status it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli.main import main

ITEM = {
    "id": "0a",
    "state": "done",
    "submitter": "uid:0",
    "template": "login",
    "mail": "",
    "segments": 2,
    "accepted_at": 0.0,
    "next_at": None,
    "attempts": 1,
    "key": "k",
    "targets": [
        {
            "address": "+86*********00",
            "state": "bounced",
            "code": 200,
            "text": "code 4030",
            "receipt": {"result": "failed", "at": 0.0, "text": "UNDELIV"},
        }
    ],
    "ledger": [{"at": 0.0, "target": "+86*********00", "result": "permanent", "code": 200, "text": "code 4030"}],
}
LINE = {**ITEM, "recipients": 4, "states": {"bounced": 4}, "some": ["+86*********00"], "last": "code 4030\x1b"}


class SmsCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-sms-")
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "s.sock"
        self.asked: list[dict[str, Any]] = []

    def run_command(self, *words: str, replies: list[Any] | None = None, text: bytes = b"") -> tuple[int, str, str]:
        """The status and what is printed; a service that says these replies."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        arguments = list(words)
        thread = None
        if replies is not None:
            self.path.unlink(missing_ok=True)
            listener.bind(os.fspath(self.path))
            listener.listen()
            thread = threading.Thread(target=self.serve, args=(listener, replies), daemon=True)
            thread.start()
            arguments += ["--socket", os.fspath(self.path)]
        stdin = mock.Mock(buffer=io.BytesIO(text))
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.object(sys, "stdin", stdin), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["sms", *arguments])
        if thread is not None:
            thread.join(30)
        return status, out.getvalue(), err.getvalue()

    def serve(self, listener: socket.socket, replies: list[Any]) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            for reply in replies:
                self.asked.append(json.loads(lines.readline()))
                connection.sendall(reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n")

    def test_send(self) -> None:
        """The queue id is printed; text from standard input loses the last line end only."""
        status, out, _ = self.run_command(
            "send",
            "--to",
            "+1",
            "--to",
            "2",
            "--key",
            "k",
            "-",
            replies=[{"ok": True, "id": "0a"}],
            text="é\n\n".encode(),
        )
        self.assertEqual((status, out), (0, "0a\n"))
        asked = {"v": 1, "command": "send", "to": ["+1", "2"], "text": "é\n", "template": "", "key": "k"}
        self.assertEqual(self.asked, [asked])
        self.assertEqual(
            self.run_command("send", "--socket", "/nonexistent", "--to", "1", "-", text=b"\xff")[0], os.EX_DATAERR
        )

    def test_refused(self) -> None:
        """A refusal's code decides the status: later 75, not allowed 77, never 65, nonsense 76, no answer 75."""
        for reply, status in (
            ({"ok": False, "code": "4.7.1", "text": "limit"}, 75),
            ({"ok": False, "code": "5.7.1", "text": "no"}, 77),
            ({"ok": False, "code": "5.1.3", "text": "no"}, 65),
            ({"ok": True, "id": "NO!"}, 76),
            (b"220 mail.example ESMTP\n", 76),
            (b"", 75),
        ):
            found, out, err = self.run_command("send", "--to", "1", "x", replies=[reply])
            self.assertEqual((found, out), (status, ""), reply)
            self.assertTrue(err.startswith("netsvc sms send: "))
        status, _, err = self.run_command("audit", "--socket", "/nonexistent")
        self.assertEqual((status, "; --config or --socket says where one is" in err), (69, True))

    def test_wait(self) -> None:
        """--wait ends with the gateway's word: 69 and a line when it refused, 75 when it has not come."""
        taken = {"ok": True, "id": "0a"}
        status, out, err = self.run_command(
            "send", "--to", "1", "--wait", "9", "x", replies=[taken, {"ok": True, "item": ITEM}]
        )
        self.assertEqual((status, out, err), (69, "0a\n", "+86*********00: bounced 200 code 4030\n"))
        waiting = {**ITEM, "state": "waiting", "targets": [{**ITEM["targets"][0], "state": "waiting"}]}  # type: ignore[index,dict-item]
        replies = [taken, {"ok": True, "item": waiting}]
        self.assertEqual(self.run_command("send", "--to", "1", "--wait", "0", "x", replies=replies)[0], 75)

    def test_looks(self) -> None:
        """Queue, show and audit, for people and as JSON; what could move a cursor is spelled out."""
        page = [{"ok": True, "items": [LINE], "more": True}, {"ok": True, "items": [], "more": False}]
        _, out, _ = self.run_command("queue", "--all", replies=page)
        self.assertIn("+86*********00 and 3 more", out)
        self.assertIn("code 4030\\x1b", out)
        self.assertTrue(out.endswith("1 message\n"))
        unknown = {**LINE, "states": {"delivered": 1, "ambiguous": 3}}
        _, out, _ = self.run_command("queue", replies=[{"ok": True, "items": [unknown], "more": False}])
        self.assertIn("  result unknown  ", out)
        _, out, _ = self.run_command("show", "0a", replies=[{"ok": True, "item": ITEM}])
        self.assertIn("number     +86*********00: bounced 200 code 4030", out)
        self.assertIn("template   login", out)
        older = {name: value for name, value in ITEM.items() if name not in {"mail", "template"}}
        _, out, _ = self.run_command("show", "0a", replies=[{"ok": True, "item": older}])
        self.assertIn("number     +86*********00: bounced 200 code 4030", out)
        _, out, _ = self.run_command("show", "--json", "0a", replies=[{"ok": True, "item": ITEM}])
        self.assertEqual(json.loads(out), ITEM)
        names = ("accepted", "delivered", "bounced", "expired", "removed", "ambiguous", "waiting")
        books = {**dict.fromkeys(names, 0), "balanced": False}
        status, out, _ = self.run_command("audit", replies=[{"ok": True, "audit": books}])
        self.assertEqual((status, out.splitlines()[-1]), (70, "THE BOOKS DO NOT BALANCE"))

    def test_operate(self) -> None:
        """Each id is asked for; the status is that of what failed."""
        replies = [{"ok": True, "count": 2}, {"ok": False, "code": "5.0.0", "text": "there is no message 0b"}]
        status, out, err = self.run_command("requeue", "0a", "0b", replies=replies)
        self.assertEqual((status, out), (65, "0a: 2 numbers\n"))
        self.assertIn("there is no message 0b", err)

    def test_segments(self) -> None:
        """Counted without a service, with what makes a text dear."""
        status, out, _ = self.run_command("segments", "€" * 81)
        self.assertEqual((status, out), (0, "2 segments in GSM 7-bit: 162 septets, 153 fit into each, 143 are left\n"))
        _, out, _ = self.run_command("segments", "-", text="aê\n".encode())
        self.assertIn("not in GSM 7-bit: ê", out)
        _, out, _ = self.run_command("segments", "--json", "a")
        self.assertEqual(json.loads(out), {"alphabet": "gsm7", "units": 1, "left": 159, "parts": ["a"]})

    def test_which_service(self) -> None:
        """The socket of the configuration; several need a choice; none is a fault of the configuration."""
        config = self.path.with_name("a.ini")
        section = "preset = ihuyi\naccount = a\npassword = literal:b\ncountry_code = 86\n"
        config.write_text(f"[netsvc]\nstate_directory = /nonexistent/state\n[sms]\n{section}[sms:b]\n{section}")
        status, _, err = self.run_command("audit", "--config", os.fspath(config))
        self.assertEqual(status, 64)
        self.assertIn("(sms, sms:b)", err)
        status, _, err = self.run_command("audit", "--config", os.fspath(config), "--service", "sms:b")
        self.assertEqual(status, 69)
        self.assertIn("/nonexistent/state/sms-b.sock", err)
        config.write_text("[netsvc]\n")
        self.assertEqual(self.run_command("audit", "--config", os.fspath(config))[0], 78)

    def test_without_twisted(self) -> None:
        """The command starts without Twisted."""
        code = "import sys, netsvc.cli.sms; print('twisted' in sys.modules)"
        self.assertEqual(subprocess.check_output([sys.executable, "-c", code]).strip(), b"False")
