"""``netsvc mail``, against a socket that answers what the test says."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli import mail, mail_connection, mail_send, mail_socket, mail_text
from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import (
    EX_CONFIG,
    EX_DATAERR,
    EX_NOINPUT,
    EX_NOPERM,
    EX_OK,
    EX_PROTOCOL,
    EX_SOFTWARE,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
)

PATIENCE = 180.0  # seconds until a test that waits for a thread fails
ID = "0123456789abcde"


class Service:
    """Takes one connection after another in a thread, remembers what was asked, and answers from a list.

    An answer is a reply, raw octets, or None to hang up; one list element for each request.
    """

    def __init__(self, path: Path, answers: Iterable[Any]) -> None:
        self.asked: list[tuple[dict[str, Any], bytes]] = []
        self._answers = list(answers)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._answers:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as file:
                while self._answers and (line := file.readline()):
                    head = json.loads(line)
                    answer = self._answers.pop(0)
                    body = b"" if answer == {"refused": True} else file.read(head.get("length", 0))
                    self.asked.append((head, body))
                    if answer is None:
                        break
                    if answer == {"refused": True}:
                        answer = {"ok": False, "code": "5.3.4", "text": "too large"}
                        connection.sendall(json.dumps(answer).encode() + b"\n")
                        break
                    connection.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")

    def end(self) -> None:
        self._thread.join(PATIENCE)
        self._socket.close()


class CommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-cli-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "mail.sock"
        environment = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        self.patch(os, "environ", environment)
        self.service: Service | None = None

    def serve(self, *answers: Any) -> Service:
        self.service = Service(self.path, answers)
        self.addCleanup(self.service.end)
        return self.service

    def run_mail(self, *arguments: str, stdin: bytes = b"hello\n", where: bool = True) -> tuple[int, str, str]:
        """Run the command; its status, output and errors."""
        parser = argparse.ArgumentParser(prog="netsvc mail")
        mail.configure(parser)
        words = [*arguments, *(["--socket", str(self.path)] if where else [])]
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
        with (
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                status = mail.run(parser.parse_args(words))
            except SystemExit as exiting:
                status = int(str(exiting.code))
        return status, out.buffer.getvalue().decode(), err.getvalue()  # type: ignore[attr-defined]


class Sending(CommandCase):
    accepted: ClassVar[dict[str, Any]] = {"ok": True, "id": ID, "repeated": False}

    def test_accepted(self) -> None:
        """What is accepted prints its queue id and exits with 0; envelope, key and message are as they were given."""
        service = self.serve(self.accepted)
        file = self.directory / "汇总数据.xlsx"
        file.write_bytes(bytes(range(256)))
        status, out, err = self.run_mail(
            *("send", "--from", "汤众 <a@example.com>", "--to", "张三 <b@x>, c@x", "--cc", "d@x", "--bcc", "e@x"),
            *("--subject", "汇总", "--attach", str(file), "--header", "X-A: b", "--key", "k"),
            stdin="你好\n".encode(),
        )
        self.assertEqual((status, out, err), (EX_OK, ID + "\n", ""))
        ((head, content),) = service.asked
        self.assertEqual((head["sender"], head["recipients"]), ("a@example.com", ["b@x", "c@x", "d@x", "e@x"]))
        self.assertEqual((head["key"], head["length"]), ("k", len(content)))
        message = message_from_bytes(content, policy=default)
        self.assertEqual((message["Subject"], message["X-A"]), ("汇总", "b"))

    def test_require_tls(self) -> None:
        """Verified TLS all the way is asked for where it is wanted."""
        service = self.serve(self.accepted, self.accepted)
        for words in ((), ("--require-tls",)):
            self.run_mail("send", "--from", "a@x", "--to", "b@x", *words)
        self.assertEqual([head.get("require_tls") for head, _ in service.asked], [None, True])

    def test_reply_to(self) -> None:
        """Answers may be wanted elsewhere, at several addresses."""
        words = ("--from", "a@x", "--to", "b@x", "--reply-to", "汤众 <c@x>", "--reply-to", "d@x")
        message: Any = message_from_bytes(self.run_mail("send", "--dry-run", *words)[1].encode(), policy=default)
        self.assertEqual([one.addr_spec for one in message["Reply-To"].addresses], ["c@x", "d@x"])

    def test_some_refused(self) -> None:
        """Who is not sent to, because he is suppressed, is said; the others are."""
        self.serve({**self.accepted, "refused": {"c@x": "gone\x1b"}})
        status, out, err = self.run_mail("send", "--from", "a@x", "--to", "b@x, c@x")
        self.assertEqual((status, out, err), (EX_OK, ID + "\n", "netsvc mail send: not to c@x: gone\\x1b\n"))

    def test_html(self) -> None:
        """HTML comes from standard input or from a file beside the text."""
        page = self.directory / "page.html"
        page.write_text("<p>page</p>")
        for words, plain, html in (
            (["--html"], "hello", "<b>hello</b>"),
            (["--html", str(page)], "<b>hello</b>", "<p>page</p>"),
        ):
            _, out, _ = self.run_mail(
                "send", "--dry-run", "--from", "a@x", "--to", "b@x", *words, stdin=b"<b>hello</b>\n"
            )
            message: Any = message_from_bytes(out.encode(), policy=default)
            self.assertEqual(message.get_body(("plain",)).get_content().strip(), plain)
            self.assertEqual(message.get_body(("html",)).get_content().strip(), html)

    def test_from(self) -> None:
        """Without --from it is $EMAIL, else whoever runs this at this machine."""
        words = ("send", "--dry-run", "--to", "b@x")
        os.environ["EMAIL"] = "Me <me@example.com>"
        self.assertIn("From: Me <me@example.com>\r\n", self.run_mail(*words)[1])
        del os.environ["EMAIL"]
        with mock.patch.object(socket, "gethostname", return_value="box.example"):
            self.assertRegex(self.run_mail(*words)[1], r"From: .*@box\.example")
            with mock.patch("pwd.getpwuid", side_effect=KeyError):
                self.assertIn(f"From: {os.getuid()}@box.example\r\n", self.run_mail(*words)[1])
            with mock.patch("pwd.getpwuid", return_value=mock.Mock(pw_name="jo", pw_gecos='Jo "J" Ho,Room 1')):
                self.assertIn("From: Jo J Ho <jo@box.example>\r\n", self.run_mail(*words)[1])

    def test_envelope_from(self) -> None:
        """The envelope's sender may be another, or nobody."""
        service = self.serve(self.accepted, self.accepted, self.accepted)
        for given in ("bounces@x", "<>", ""):
            self.run_mail("send", "--from", "a@x", "--to", "b@x", "--envelope-from", given)
        self.assertEqual([head["sender"] for head, _ in service.asked], ["bounces@x", "", ""])

    def test_bad_usage(self) -> None:
        """What cannot be a message is refused in one line with 65, before any service is asked."""
        for words, reason in (
            (("--from", "a@x"), "there is no recipient"),
            (("--from", "a@x", "--to", "no body"), "no valid part"),
            (("--from", "a@x, b@x", "--to", "c@x"), "from one address"),
            (("--from", "a@x", "--to", "b@x", "--subject", "a\nBcc: c@x"), "line end"),
            (("--from", "a@x", "--to", "b@x", "--header", "nonsense"), "is not 'NAME: TEXT'"),
            (("--from", "a@x", "--to", "b@x", "--header", "Bcc: c@x"), "is not set this way"),
            (("--from", "a@x", "--to", "b@x", "--envelope-from", "nobody"), "has no domain"),
        ):
            status, out, err = self.run_mail("send", *words)
            self.assertEqual((status, out, err.count("\n")), (EX_DATAERR, "", 1), err)
            self.assertIn(reason, err)

    def test_bad_input(self) -> None:
        """A file that cannot be read is 66, text that is no UTF-8 is 65."""
        words = ("send", "--from", "a@x", "--to", "b@x")
        self.assertEqual(self.run_mail(*words, "--attach", "/nonexistent")[0], EX_NOINPUT)
        self.assertEqual(self.run_mail(*words, "--attach", "a\0b")[0], EX_NOINPUT)
        status, _, err = self.run_mail(*words, stdin=b"abc\xff")
        self.assertEqual((status, err), (EX_DATAERR, "netsvc mail send: standard input is not UTF-8 text (octet 3)\n"))
        with mock.patch.object(sys, "stdin") as stdin:
            stdin.buffer.read.side_effect = OSError(5, "Input/output error")
            self.assertRaises(CommandError, mail_send._input)
        with mock.patch.object(sys, "stdin", None):
            self.assertEqual(mail_send._input(), "")

    def test_refusals(self) -> None:
        """The service's refusal decides the status: 75 for now, 65 for ever, 77 not allowed."""
        for code, status in (("4.3.1", EX_TEMPFAIL), ("5.3.4", EX_DATAERR), ("5.7.1", EX_NOPERM)):
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            self.serve({"ok": False, "code": code, "text": "because\x1b[31m"})
            found, out, err = self.run_mail("send", "--from", "a@x", "--to", "b@x")
            self.assertEqual((found, out), (status, ""))
            self.assertEqual(err, f"netsvc mail send: {code} because\\x1b[31m\n")

    def test_refused_early(self) -> None:
        """A refusal that comes before the message was sent whole is still read."""
        self.serve({"refused": True})
        status, _, err = self.run_mail("send", "--from", "a@x", "--to", "b@x", stdin=b"x" * 5_000_000)
        self.assertEqual((status, err), (EX_DATAERR, "netsvc mail send: 5.3.4 too large\n"))

    def test_no_answer(self) -> None:
        """A service that hangs up is 75: with a key the message can be sent again without harm."""
        self.serve(None)
        status, _, err = self.run_mail("send", "--from", "a@x", "--to", "b@x")
        self.assertEqual((status, "gave no answer" in err), (EX_TEMPFAIL, True))

    def test_broken_off(self) -> None:
        """A connection that fails or stands still is 75."""
        self.serve(None)
        with mock.patch.object(mail_connection.Connection, "_send", side_effect=TimeoutError("timed out")):
            status, _, err = self.run_mail("send", "--from", "a@x", "--to", "b@x")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(b"{}\n")
        self.assertEqual((status, "broke off: timed out" in err), (EX_TEMPFAIL, True))

    def test_stranger(self) -> None:
        """What answers in another way is no mail service: 76."""
        for answer in (
            b"220 hello\n",
            b"[]\n",
            b'{"ok": false}\n',
            b'{"ok": true}\n',
            b'{"ok": true, "id": "\\u001b[m"}\n',
        ):
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            self.serve(answer)
            self.assertEqual(self.run_mail("send", "--from", "a@x", "--to", "b@x")[0], EX_PROTOCOL)

    def test_nobody_there(self) -> None:
        """Without a service it is 69, without permission 77."""
        status, _, err = self.run_mail("send", "--from", "a@x", "--to", "b@x")
        self.assertEqual((status, "no mail service answers at" in err), (EX_UNAVAILABLE, True))
        self.assertIn("; --config or --socket says where one is\n", err)
        with mock.patch("socket.socket.connect", side_effect=PermissionError):
            self.assertEqual(self.run_mail("audit")[0], EX_NOPERM)


class Finding(CommandCase):
    def find(self, *words: str) -> str:
        parser = argparse.ArgumentParser()
        mail_socket.add_where(parser)
        return str(mail_socket.find_socket(parser.parse_args(words)))

    def configure(self, *sections: str) -> str:
        file = self.directory / "netsvc.ini"
        file.write_text("\n".join([f"[netsvc]\nstate_directory = {self.directory}", *sections]))
        return str(file)

    def refused(self, *words: str) -> int:
        with self.assertRaises(CommandError) as caught:
            self.find(*words)
        return caught.exception.status

    def test_default(self) -> None:
        """Without a word the socket is in the default state directory."""
        os.environ["XDG_STATE_HOME"] = "/x"
        self.assertEqual(self.find(), "/x/netsvc/mail.sock")
        self.assertEqual(self.find("--service", "smtp_client:a"), "/x/netsvc/mail-a.sock")
        os.environ["STATE_DIRECTORY"] = "/s"
        self.assertEqual(self.find(), "/s/mail.sock")

    def test_of_the_machine(self) -> None:
        """Without a daemon of one's own it is the machine's; $NETSVC_MAIL_SOCKET names one."""
        own, system = self.directory / "own", self.directory / "system"
        self.patch(mail_connection, "SYSTEM_PLACES", (str(system),))
        self.assertEqual(self.find(), str(system / "mail.sock"))
        os.environ["HOME"] = str(own)
        self.assertEqual(self.find(), str(own / ".local/state/netsvc/mail.sock"))
        system.mkdir()
        (system / "mail.sock").touch()
        self.assertEqual(self.find(), str(system / "mail.sock"))
        os.environ["NETSVC_MAIL_SOCKET"] = "/m.sock"
        self.assertEqual(self.find(), "/m.sock")
        self.assertEqual(self.find("--config", self.configure("[smtp_client]")), str(self.path))

    def test_configuration(self) -> None:
        """--config, or $NETSVC_CONFIG, names the socket."""
        config = self.configure("[smtp_client]")
        self.assertEqual(self.find("--config", config), str(self.path))
        os.environ["NETSVC_CONFIG"] = self.configure("[smtp_client]\nsocket = /run/x.sock")
        self.assertEqual(self.find(), "/run/x.sock")
        self.assertEqual(self.find("--socket", "y"), "y")

    def test_several(self) -> None:
        """Of several services one must be chosen."""
        config = self.configure("[smtp_client]", "[smtp_client:b]")
        self.assertEqual(self.refused("--config", config), EX_USAGE)
        self.assertEqual(
            self.find("--config", config, "--service", "smtp_client:b"), str(self.directory / "mail-b.sock")
        )

    def test_faults(self) -> None:
        """A configuration with faults, or without mail, is 78 with every fault."""
        self.assertEqual(self.refused("--config", self.configure("[smtp_client]\nx = 1")), EX_CONFIG)
        self.assertEqual(self.refused("--config", self.configure("")), EX_CONFIG)
        config = self.configure("[smtp_client]\nx = 1\ny = 2")
        status, _, err = self.run_mail("audit", "--config", config, where=False)
        self.assertEqual((status, err.count("error[unknown-key]")), (EX_CONFIG, 2))


class Asking(CommandCase):
    item: ClassVar[dict[str, Any]] = {
        "id": ID,
        "state": "waiting",
        "sender": "a@x",
        "submitter": "uid:1",
        "size": 2048,
        "accepted_at": 1.7e9,
        "next_at": 1.7e9 + 300,
        "attempts": 1,
        "recipients": 4,
        "states": {"waiting": 4},
        "some": ["b@x", "c@x", "d\x1b@x"],
        "last": "451 4.7.1 greylisted",
    }

    def setUp(self) -> None:
        super().setUp()
        self.patch(time, "time", lambda: 1.7e9 + 60)

    def test_queue(self) -> None:
        """The queue is a table with each message's reason, safe for a terminal."""
        leased = {**self.item, "state": "leased", "next_at": None, "last": "", "recipients": 3, "accepted_at": 1e300}
        leased["states"] = {"waiting": 2, "removed": 1}
        leased["some"] = ["b@x", "c@x"]
        done = {**self.item, "state": "done", "next_at": None, "states": {"bounced": 1, "delivered": 3}}
        unknown = {**done, "states": {"delivered": 2, "ambiguous": 2}, "some": ["b@x", "c@x"], "size": 0}
        service = self.serve({"ok": True, "items": [self.item, leased, done, unknown], "more": False})
        status, out, _ = self.run_mail("queue", "--all")
        self.assertEqual(status, EX_OK)
        self.assertTrue(service.asked[0][0]["done"])
        self.assertIn("  in 4m\n", out)
        self.assertEqual([line for line in out.splitlines() if len(line) > 80], [])
        self.assertIn("<a@x> -> b@x, c@x\n", out)
        for words in ("2.0 KiB", "<a@x> -> b@x, c@x, d\\x1b@x and 1 more", "451 4.7.1 greylisted", "in delivery"):
            self.assertIn(words, out)
        self.assertIn("bounced, delivered", out)
        self.assertIn("held, result unknown\n                 <a@x> -> b@x, c@x\n", out)
        self.assertTrue(out.endswith("4 messages, 6.0 KiB\n"))

    def test_pages(self) -> None:
        """A long queue is fetched page by page; as JSON it is a line a message."""
        service = self.serve(
            {"ok": True, "items": [self.item], "more": True}, {"ok": True, "items": [self.item], "more": False}
        )
        _, out, _ = self.run_mail("queue", "--json")
        self.assertEqual([json.loads(line) for line in out.splitlines()], [self.item] * 2)
        self.assertEqual([head["after"] for head, _ in service.asked], ["", ID])

    def test_empty(self) -> None:
        """An empty queue says so."""
        self.serve({"ok": True, "items": [], "more": False})
        self.assertEqual(self.run_mail("queue")[1], "The queue is empty.\n")

    def test_show(self) -> None:
        """A message is shown with its recipients and its ledger."""
        target = {"address": "b@x", "state": "waiting", "code": 451, "enhanced": "4.7.1", "text": "later"}
        line = {"at": 1.7e9, "target": "b@x", "result": "retry", "code": None, "enhanced": None, "text": "reset"}
        whole = {**self.item, "key": "k", "meta": {}, "sha256": "ab", "targets": [target], "ledger": [line]}
        finished = {**whole, "key": None, "next_at": None, "size": 5 << 30}
        self.serve(*({"ok": True, "item": one} for one in (whole, finished, whole)))
        out = self.run_mail("show", ID)[1]
        for words in ("recipient  b@x: waiting 451 4.7.1 later", "b@x: retry reset", "key        k", "next try"):
            self.assertIn(words, out)
        self.assertIn("5.0 GiB", self.run_mail("show", ID)[1])
        self.assertEqual(json.loads(self.run_mail("show", ID, "--json")[1]), whole)

    def test_audit(self) -> None:
        """The books are printed; if they do not balance the status says so."""
        names = ("delivered", "bounced", "expired", "removed", "waiting", "ambiguous")
        books = {**dict.fromkeys(names, 1), "accepted": 6, "unknown_attempts": 2, "balanced": True}
        wrong = {**books, "accepted": 7, "balanced": False}
        self.serve(*({"ok": True, "audit": one} for one in (books, wrong, books)))
        status, out, _ = self.run_mail("audit")
        self.assertEqual(status, EX_OK)
        self.assertRegex(out, r"accepted     6\n  delivered  1\n  bounced    1\n")
        self.assertIn("The books balance.", out)
        status, out, _ = self.run_mail("audit")
        self.assertEqual((status, "6 are accounted for" in out), (EX_SOFTWARE, True))
        self.assertEqual(json.loads(self.run_mail("audit", "--json")[1]), books)

    def test_log(self) -> None:
        """The log is the ledger, the oldest first, with where each attempt went."""
        line = {"at": 1.7e9, "target": "b@x", "result": "retry", "code": 451, "enhanced": None, "text": "later\x1b"}
        ledger = [{**line, "via": "smtp:r:25"}, {**line, "via": ""}]
        self.serve(*({"ok": True, "item": {**self.item, "ledger": ledger}} for _ in range(2)))
        out = self.run_mail("log", ID)[1]
        self.assertEqual((out.count("b@x: retry 451 later\\x1b"), out.count("via smtp:r:25")), (2, 1))
        self.assertEqual(json.loads(self.run_mail("log", ID, "--json")[1]), ledger)

    def test_explain(self) -> None:
        """Why a message waits: its schedule, its last reply, its destination, and how mail goes there."""
        parcel = {"index": 0, "destination": "x", "state": "waiting", "attempts": 1, "next_at": 1.7e9 + 300}
        words = {"rule": ["relay: mx"], "server": ["one.mx, TLS: verify", "two.mx, TLS: may"]}
        way = {"destination": "x", "closed": True, "opens_in": 90.0, "reason": "refused", "way": words}
        target = {"address": "b@x", "state": "waiting", "code": 451, "enhanced": "4.7.1", "text": "later " * 30}
        target["parcel"] = 0
        fresh = {**target, "address": "c@x", "code": None, "enhanced": None, "text": ""}
        item = {
            **self.item,
            "parcels": [
                parcel,
                {**parcel, "index": 1, "state": "held"},
                {**parcel, "index": 2, "state": "leased", "destination": ""},
            ],
            "ways": [way],
            "targets": [target, fresh, {**target, "state": "delivered", "address": "d@x"}, {**fresh, "parcel": 1}],
        }
        done = {**item, "parcels": [], "ways": [], "targets": [{**target, "state": "bounced"}]}
        unknown = {**done, "targets": [{**target, "state": "ambiguous"}]}
        answers = [{"ok": True, "item": one} for one in (item, done, unknown)]
        service = self.serve(*answers)
        out = self.run_mail("explain", ID)[1]
        for words in (
            "accepted 1m ago",
            "state      parcel 1 to x: waits after 1 try; next try 20",
            " (in\n           4m)",
            "parcel 2 to x: held by an operator",
            "state      parcel 3: in delivery right now",
            "left alone for 1m 30s more, because refused",
            "rule       relay: mx",
            "server     one.mx, TLS: verify\nserver     two.mx, TLS: may",
            "recipient  b@x: 451 4.7.1 later",
            "recipient  c@x: not tried yet\n           these 2 are tried together",
        ):
            self.assertIn(words, out)
        self.assertNotIn("d@x", out)
        self.assertEqual([line for line in out.splitlines() if len(line) > 80], [])
        out = self.run_mail("explain", ID)[1]
        self.assertIn("nothing of it waits", out)
        self.assertIn("b@x: bounced", out)
        self.assertIn("its result is unknown: netsvc mail requeue", " ".join(self.run_mail("explain", ID)[1].split()))
        self.assertEqual([head["command"] for head, _ in service.asked], ["explain"] * 3)

    def test_operate(self) -> None:
        """Operators act on messages by id, on a domain, or on everything; exactly one of these is asked for."""
        service = self.serve(*({"ok": True, "items": 1, "count": 2} for _ in range(6)))
        self.assertEqual(self.run_mail("delete", ID, ID)[1], f"{ID}: 2 recipients deleted\n" * 2)
        self.assertEqual(
            json.loads(self.run_mail("requeue", ID, "--json")[1]), {"id": ID, "messages": 1, "recipients": 2}
        )
        self.assertEqual(self.run_mail("hold", "--domain", "x")[1], "2 recipients of 1 message held\n")
        self.run_mail("release", "--all")
        self.run_mail("flush", ID)
        self.assertEqual(
            [(head.pop("v"), head.pop("command"), head)[1:] for head, _ in service.asked],
            [
                *[("remove", {"id": ID})] * 2,
                ("requeue", {"id": ID}),
                ("hold", {"domain": "x"}),
                ("release", {"all": True}),
                ("flush", {"id": ID}),
            ],
        )
        for words in ((), ("--all", "--domain", "x"), (ID, "--all")):
            self.assertEqual(self.run_mail("hold", *words)[0], EX_USAGE)

    def test_suppress(self) -> None:
        """Addresses are put on the list that nothing is taken for, listed page by page, and taken off."""
        one = {"address": "b@x", "reason": "gone\x1b", "operator": "uid:0", "since": 1.7e9}
        found = {"ok": True, "addresses": [one], "more": True}
        service = self.serve(
            {"ok": True},
            *(found, {**found, "more": False}, {**found, "more": False}),
            *({"ok": True, "found": True}, {"ok": True, "found": False}),
        )
        self.assertEqual(self.run_mail("suppress", "b@x", "--reason", "gone")[1], "b@x: suppressed\n")
        self.assertEqual(self.run_mail("suppressed")[1].count("gone\\x1b (by uid:0)"), 2)
        self.assertEqual(json.loads(self.run_mail("suppressed", "--json")[1]), one)
        self.assertIn("no more", self.run_mail("unsuppress", "b@x")[1])
        self.assertIn("was not", self.run_mail("unsuppress", "b@x", "--json")[1])
        self.assertEqual([head.get("after") for head, _ in service.asked], [None, "", "b@x", "", None, None])

    def test_no_word(self) -> None:
        """Without a subcommand the usage is printed, with status 2."""
        self.assertEqual(self.run_mail(where=False)[0], 2)


class Text(SynchronousTestCase):
    def test_spans(self) -> None:
        """Lengths of time have two units at most."""
        for seconds, shown in ((-5, "0s"), (59.4, "59s"), (60, "1m"), (61, "1m 1s"), (3600, "1h"), (90_000, "1d 1h")):
            self.assertEqual(mail_text.span(seconds), shown)

    def test_lines(self) -> None:
        """Lines are broken by what they take on a terminal: a wide character takes two columns."""
        self.assertEqual(list(mail_text.lines("汤众 汤众 a\x1b", indent=2, limit=8)), ["  汤众", "  汤众", "  a\\x1b"])
        self.assertEqual(list(mail_text.lines("x" * 20 + "\ny", indent=1, limit=5)), [" " + "x" * 20, " y"])
        self.assertEqual(mail_text.columns("e\u0301"), 1)

    def test_width(self) -> None:
        """A pipe gets the width of a small terminal."""
        with (
            mock.patch.object(sys, "stdout", mock.Mock(isatty=lambda: True)),
            mock.patch.dict(os.environ, COLUMNS="132"),
        ):
            self.assertEqual(mail_text.width(), 132)
            sys.stdout.isatty = lambda: False  # type: ignore[method-assign]
            self.assertEqual(mail_text.width(), 80)


class Start(SynchronousTestCase):
    def test_imports(self) -> None:
        """The command imports no Twisted."""
        code = "import sys, netsvc.cli.mail, netsvc.services.smtp_client.message; print('twisted' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(done.stdout, "False\n", done.stderr)
