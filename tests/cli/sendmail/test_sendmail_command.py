"""netsvc-sendmail, against a socket that answers what the test says."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from netsvc.cli import mail_connection
from netsvc.cli.connection import CommandError, Unreachable
from netsvc.cli.mail_connection import (
    EX_DATAERR,
    EX_IOERR,
    EX_NOHOST,
    EX_NOPERM,
    EX_NOUSER,
    EX_OK,
    EX_PROTOCOL,
    EX_TEMPFAIL,
    EX_USAGE,
)
from netsvc.cli.sendmail import main, submit
from netsvc.services.smtp_client import submission_wire
from tests.cli.test_mail import ID, Service

ACCEPTED = {"ok": True, "id": ID, "repeated": False}


class SendmailCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-sendmail-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "mail.sock"
        self.patch(os, "environ", {"NETSVC_MAIL_SOCKET": str(self.path)})
        self.patch(submit, "PATIENCE", 0.0)
        self.patch(main.people, "origin", lambda: "box.example")
        self.patch(main.people, "user", lambda environ: ("jo", environ.get("NAME", "Jo Ho")))

    def serve(self, *answers: Any) -> Service:
        service = Service(self.path, answers)
        self.addCleanup(service.end)
        return service

    def run_sendmail(self, *words: str, stdin: bytes = b"", program: str = "sendmail") -> tuple[int, str, str]:
        """Run the command; its status, output and errors."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
        with (
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = main.main([f"/usr/sbin/{program}", *words])
        return status, out.buffer.getvalue().decode(), err.getvalue()  # type: ignore[attr-defined]

    def send(self, *words: str, stdin: bytes) -> tuple[dict[str, Any], bytes]:
        """What the service was asked."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        service = self.serve(ACCEPTED)
        self.assertEqual(self.run_sendmail(*words, stdin=stdin), (EX_OK, "", ""))
        (asked,) = service.asked
        return asked


class Delivering(SendmailCase):
    def test_command_line(self) -> None:
        """Recipients of the command line get the message as it was; bare names are for the daemon to complete, which is
        told the machine's domain.
        """
        content = b"From: a@x\nTo: nobody\nBcc: eve@x\n\n\xe4\xb8\xad\n.\n..\n"
        head, got = self.send("-i", "-f", "A <a@x>", "root", "B <b@x>, c@x", "root", stdin=content)
        self.assertEqual((head["sender"], head["recipients"]), ("a@x", ["root", "b@x", "c@x"]))
        self.assertEqual(head["domain"], "box.example")
        self.assertEqual(got, content)
        self.assertEqual(submission_wire.parse_head(json.dumps(head).encode()).length, len(content))  # type: ignore[union-attr]

    def test_dot(self) -> None:
        """Without -i a line with only a dot ends the message, with either line end; two dots are two dots."""
        for end in (b"\n", b"\r\n"):
            text = b"From: a@x" + end * 2 + b"..one" + end
            for rest in (b"." + end + b"two" + end, b".", b""):
                self.assertEqual(self.send("b@x", stdin=text + rest)[1], text)
                self.assertEqual(self.send("-oi", "b@x", stdin=text + rest)[1], text + rest)

    def test_from_header(self) -> None:
        """With -t recipients come from To, Cc and Bcc as well as from the command line; each once."""
        content = b"From: a@x\nto: B <b@x>, c\nCc: (x) d@x,\n e@x\nBCC: f@x\n\n"
        head, _ = self.send("-t", "b@x", "g@x", stdin=content)
        self.assertEqual(head["recipients"], ["b@x", "g@x", "c", "d@x", "e@x", "f@x"])
        head, _ = self.send("-t", stdin=b"Resent-To: r@x\n" + content)
        self.assertEqual(head["recipients"], ["r@x"])

    def test_sender(self) -> None:
        """The sender is of -f or -r, else the user; <> is nobody."""
        for words, sender in (
            ((), "jo@box.example"),
            (("-f", "a@x"), "a@x"),
            (("-r", "www"), "www@box.example"),
            (("-f", "<>"), ""),
            (("-f", ""), ""),
            (("-f", "a@münchen.example"), "a@xn--mnchen-3ya.example"),
        ):
            self.assertEqual(self.send(*words, "b@x", stdin=b"From: a@x\n\n")[0]["sender"], sender, words)

    def test_from(self) -> None:
        """A missing From is made of the sender and the name of -F, $NAME or the user."""
        for words, shown in (
            ((), "Jo Ho <jo@box.example>"),
            (("-F", "汤众", "-f", "a@x"), "汤众 <a@x>"),
            (("-F", "", "-f", "a@x"), "a@x"),
            (("-f", "<>"), "Jo Ho <jo@box.example>"),
        ):
            for content in (b"Subject: s\r\n\r\ntext", b"", b"no header\n", b"From jo Mon Jan 1\nSubject: s\n\ntext"):
                _, got = self.send(*words, "b@x", stdin=content)
                message: Any = message_from_bytes(got, policy=default)
                self.assertEqual(str(message["From"]), shown)
                self.assertEqual(message.defects, [])
        os.environ["NAME"] = "J"
        self.assertIn(b"From: J <jo@box.example>\n", self.send("b@x", stdin=b"\n")[1])

    def test_wishes(self) -> None:
        """-N, -R and -V are passed on as the protocol has them; -B means nothing."""
        head, _ = self.send("-N", "success,delay", "-R", "hdrs", "-V", "id", "-B8BITMIME", "b@x", "c@x", stdin=b"\n")
        said: Any = submission_wire.parse_head(json.dumps(head).encode())
        self.assertEqual((said.ret, said.envid), ("hdrs", "id"))
        self.assertEqual(said.notices, dict.fromkeys(("b@x", "c@x"), (("success", "delay"), "")))

    def test_key(self) -> None:
        """A message that brings an idempotency key is sent with it; any other gets one of its own."""
        head, got = self.send("b@x", stdin=b"From: a@x\nNetsvc-Idempotency-Key: k\n\n")
        self.assertEqual((head["key"], got), ("k", b"From: a@x\n\n"))
        first, second = (self.send("b@x", stdin=b"\n")[0]["key"] for _ in range(2))
        self.assertNotEqual(first, second)

    def test_verbose(self) -> None:
        """-v says the queue id."""
        self.serve(ACCEPTED)
        self.assertEqual(self.run_sendmail("-v", "b@x", stdin=b"\n")[1], f"queued as {ID}\n")

    def test_usage(self) -> None:
        """A command line without recipients, or with what is none, is 64 and one line; nothing is asked."""
        for words, stdin, reason in (
            ((), b"", "recipients stand on the command line"),
            (("-t",), b"Subject: s\n\nTo: a@x\n", "names no recipient"),
            (("<>",), b"\n", "names no recipient"),
            (("a b",), b"\n", "a comma is missing"),
            (("-f", "a, b", "c"), b"\n", "-f has one address"),
            (("a@\x1bé",), b"\n", "is not a domain"),
            (("-Z", "a"), b"\n", "there is no option -Z"),
            (("--help",), b"", "the flags are those of sendmail(8), as in: printf 'To: "),
        ):
            status, out, err = self.run_sendmail(*words, stdin=stdin)
            self.assertEqual((status, out, err.count("\n")), (EX_USAGE, "", 1), words)
            self.assertTrue(err.startswith("sendmail: "))
            self.assertIn(reason, err)
            self.assertNotIn("\x1b", err)

    def test_bad_field(self) -> None:
        """With -t a field that cannot be read is 65: nobody gets the message rather than somebody else."""
        self.assertEqual(self.run_sendmail("-t", stdin=b"To: a@x\nCc: <b@x\n\n")[0], EX_DATAERR)

    def test_refusals(self) -> None:
        """The daemon's refusal is in the status: 75 for now, 65 for ever, 77 not allowed, 76 for a stranger."""
        for answer, status in (
            ({"ok": False, "code": "4.3.1", "text": "disk full"}, EX_TEMPFAIL),
            ({"ok": False, "code": "5.3.4", "text": "too large"}, EX_DATAERR),
            ({"ok": False, "code": "5.7.1", "text": "no"}, EX_NOPERM),
            (b"220 hello\n", EX_PROTOCOL),
            ({"ok": True, "id": "\x1b"}, EX_PROTOCOL),
            (None, EX_TEMPFAIL),
        ):
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            self.serve(answer)
            found, out, err = self.run_sendmail("b@x", stdin=b"\n")
            self.assertEqual((found, out, err.count("\n")), (status, "", 1), answer)

    def test_too_large(self) -> None:
        """What no daemon takes is not read to its end."""
        self.patch(main, "MAX_MESSAGE", 10)
        for words in (("b@x",), ("-i", "b@x")):
            self.assertEqual(self.run_sendmail(*words, stdin=b"a\n" * 100)[0], EX_DATAERR)

    def test_no_input(self) -> None:
        """Without a standard input the message is empty, but for its From."""
        service = self.serve(ACCEPTED)
        with mock.patch.object(sys, "stdin", None):
            self.assertEqual(main.main(["sendmail", "b@x"]), EX_OK)
        self.assertEqual(service.asked[0][1], b"From: Jo Ho <jo@box.example>\r\n\r\n")

    def test_terminal(self) -> None:
        """A terminal that cannot show a character is no failure."""
        out = io.TextIOWrapper(io.BytesIO(), "ascii")
        with contextlib.redirect_stdout(out):
            self.serve({"ok": True, "recipients": [{"address": "用户@x", "result": "unknown", "text": ""}]})
            self.assertEqual(main.main(["sendmail", "-bv", "用户@x"]), EX_TEMPFAIL)
        self.assertIn(b"\\u7528", out.buffer.getvalue())  # type: ignore[attr-defined]

    def test_interrupted(self) -> None:
        """Ctrl-C sends nothing; input that cannot be read is 74."""
        for error, status in ((KeyboardInterrupt(), 130), (OSError(5, "Input/output error"), EX_IOERR)):
            with mock.patch.object(main, "_read", side_effect=error):
                self.assertEqual(self.run_sendmail("b@x")[0], status)


class Reaching(SendmailCase):
    def test_nobody(self) -> None:
        """Without a daemon it is 75: try again later."""
        status, _, err = self.run_sendmail("b@x", stdin=b"\n")
        self.assertEqual((status, "no mail service answers at" in err), (EX_TEMPFAIL, True))

    def test_restart(self) -> None:
        """A daemon that goes away and comes back costs nothing; the second try has the same key."""
        service = self.serve(None, ACCEPTED)
        slept: list[float] = []
        self.patch(submit, "PATIENCE", 5.0)
        found = submit.hand_in(
            {"sender": "", "recipients": ["b@x"]}, b"x", os.environ, clock=lambda: 0.0, sleep=slept.append
        )
        self.assertEqual((found, slept), (ID, [submit.PAUSE]))
        self.assertEqual(len({head["key"] for head, _ in service.asked}), 1)
        self.assertEqual([body for _, body in service.asked], [b"x", b"x"])

    def test_patience_ends(self) -> None:
        """After some seconds it gives up."""
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        self.patch(submit, "PATIENCE", 5.0)
        with self.assertRaises(Unreachable):
            submit.hand_in({}, b"", os.environ, clock=lambda: now[0], sleep=sleep)
        self.assertEqual(round(now[0]), 5)

    def test_places(self) -> None:
        """Without a word the caller's own daemon is asked, then the machine's; a forbidden socket is the reason."""
        own, system = self.directory / "own", self.directory / "system"
        (system).mkdir()
        self.patch(mail_connection, "SYSTEM_PLACES", (str(system),))
        environ = {"XDG_STATE_HOME": str(own)}
        with self.assertRaises(Unreachable) as caught:
            submit.connect(environ)
        self.assertIn(f"{own}/netsvc/mail.sock", str(caught.exception))
        self.path = system / "mail.sock"
        self.serve({"ok": True})
        with submit.connect(environ) as connection:
            connection.ask({"command": "audit"})
        with mock.patch("socket.socket.connect", side_effect=[FileNotFoundError(2, "no"), PermissionError]):
            with self.assertRaises(CommandError) as forbidden:
                submit.connect(environ)
        self.assertEqual(forbidden.exception.status, EX_NOPERM)


class Others(SendmailCase):
    item: ClassVar[dict[str, Any]] = {
        "id": ID,
        "state": "waiting",
        "sender": "a@x",
        "size": 2048,
        "accepted_at": 1.7e9,
        "targets": [
            {"address": "b@x", "state": "waiting", "code": 451, "enhanced": "4.7.1", "text": "later\x1b"},
            {"address": "c@x", "state": "waiting", "code": 451, "enhanced": "4.7.1", "text": "later\x1b"},
            {"address": "d@x", "state": "delivered", "code": 250, "enhanced": "", "text": "ok"},
            {"address": "e@x", "state": "waiting", "code": None, "enhanced": None, "text": ""},
        ],
    }

    def test_mailq(self) -> None:
        """The list has Postfix's columns: who still waits, under the reason, safe for a terminal."""
        active = {**self.item, "state": "leased", "sender": "", "id": "f" * 15, "targets": self.item["targets"][3:]}
        held = {**active, "state": "held"}
        target = {**self.item["targets"][2], "address": "f@x", "state": "ambiguous", "code": None, "text": "cut off"}
        unknown = {**active, "state": "done", "targets": [target, self.item["targets"][2]]}
        items = [active, held, unknown]
        self.serve({"ok": True, "items": [self.item], "more": True}, {"ok": True, "items": items, "more": False})
        with mock.patch("time.localtime", side_effect=__import__("time").gmtime):
            status, out, _ = self.run_sendmail(program="mailq")
        self.assertEqual(status, EX_OK)
        self.assertEqual(
            out,
            "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
            f"{ID}       2048 Tue Nov 14 22:13:20 a@x\n"
            "(451 4.7.1 later\\x1b)\n"
            f"{'':47}b@x\n{'':47}c@x\n{'':47}e@x\n\n"
            f"{'f' * 15}*      2048 Tue Nov 14 22:13:20 MAILER-DAEMON\n{'':47}e@x\n\n"
            f"{'f' * 15}!      2048 Tue Nov 14 22:13:20 MAILER-DAEMON\n{'':47}e@x\n\n"
            f"{'f' * 15}!      2048 Tue Nov 14 22:13:20 MAILER-DAEMON\n(cut off)\n{'':47}f@x\n\n"
            "-- 8 Kbytes in 4 Requests.\n",
        )

    def test_empty(self) -> None:
        """An empty queue is said as Postfix says it."""
        self.serve({"ok": True, "items": [], "more": False})
        self.assertEqual(self.run_sendmail("-bp")[1], "Mail queue is empty\n")

    def test_flush(self) -> None:
        """-q tries everything now, -qI a message, -qR a domain."""
        service = self.serve(*({"ok": True, "count": 1} for _ in range(3)))
        for words in ("-q", f"-qI{ID}", "-qRu@example.com"):
            self.assertEqual(self.run_sendmail(words), (EX_OK, "", ""))
        self.assertEqual(
            [{name: value for name, value in head.items() if name != "v"} for head, _ in service.asked],
            [
                {"command": "flush", "all": True},
                {"command": "flush", "id": ID},
                {"command": "flush", "domain": "example.com"},
            ],
        )

    def test_verify(self) -> None:
        """-bv asks the daemon whom a message would reach, and how: a line for each recipient, the worst status."""
        by_smtp = {"result": "deliverable", "text": "", "hosts": ["mx.x [::1]", "my.x"], "way": {"server": []}}
        local = {"result": "deliverable", "text": "", "hosts": ["maildir:m"], "way": {"kept in": ["maildir:m"]}}
        service = self.serve(
            {"ok": True, "recipients": [{"address": "jo@x", **by_smtp}, {"address": "ed@box.example", **local}]},
            {"ok": True, "recipients": [{"address": "a@x", **by_smtp}]},
        )
        status, out, _ = self.run_sendmail("-bv", "-f", "me@y", "root", "A <a@x>")
        self.assertEqual(status, EX_OK)
        self.assertEqual(
            out.splitlines(),
            [
                "jo@x... deliverable: mailer smtp, host mx.x [::1], user jo@x",
                "ed@box.example... deliverable: mailer local, user ed@box.example",
                "a@x... deliverable: mailer smtp, host mx.x [::1], user a@x",
            ],
        )
        heads = [(head["command"], head["address"], head["sender"], head["domain"]) for head, _ in service.asked]
        self.assertEqual(heads, [("route", "root", "me@y", "box.example"), ("route", "a@x", "me@y", "box.example")])
        self.assertEqual(self.run_sendmail("-bv")[0], EX_USAGE)

    def test_verify_failures(self) -> None:
        """-bv ends with 67 for what is no address or suppressed, 68 for domains without mail, 75 for perhaps later."""
        refused = {"ok": False, "code": "5.1.3", "text": "the address is none"}

        def told(result: str) -> dict[str, Any]:
            return {"ok": True, "recipients": [{"address": "b@x", "result": result, "text": f"{result}\x1b"}]}

        for answers, expected in (
            ([refused], EX_NOUSER),
            ([told("suppressed")], EX_NOUSER),
            ([told("permanent")], EX_NOHOST),
            ([told("retry")], EX_TEMPFAIL),
            ([told("unknown")], EX_TEMPFAIL),
            ([told("retry"), told("permanent"), refused], EX_NOUSER),
            ([{"ok": False, "code": "4.3.0", "text": "x"}], EX_TEMPFAIL),
        ):
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            self.serve(*answers)
            status, out, _ = self.run_sendmail("-bv", *["b@x"] * len(answers))
            self.assertEqual((status, "deliverable" in out, "\x1b" in out), (expected, False, False))
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.serve()
        status, out, _ = self.run_sendmail("-bv", "b c")
        self.assertEqual((status, "a comma is missing" in out), (EX_NOUSER, True))

    def test_newaliases(self) -> None:
        """There is nothing to do for newaliases, and it succeeds: scripts of packages call it."""
        self.assertEqual(self.run_sendmail(program="newaliases")[0], EX_OK)


class Smtp(SendmailCase):
    def talk(self, octets: bytes, step: int = 1 << 16) -> bytes:
        """The replies to a conversation that arrives in pieces."""
        pieces = [octets[at : at + step] for at in range(0, len(octets), step)]
        out = io.TextIOWrapper(io.BytesIO())
        with (
            mock.patch.object(os, "read", side_effect=[*pieces, b""]),
            mock.patch.object(sys, "stdin", mock.Mock()),
            contextlib.redirect_stdout(out),
        ):
            self.assertEqual(main.main(["sendmail", "-bs"]), EX_OK)
        return out.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]

    def test_conversation(self) -> None:
        """SMTP on standard input and output hands messages in, whole or octet by octet, with DSN and dots."""
        said = (
            b"EHLO x\r\nMAIL FROM:<a@x> RET=HDRS ENVID=id BODY=8BITMIME\r\nRCPT TO:<b@x> NOTIFY=SUCCESS,DELAY\r\n"
            b"RCPT TO:<c@x>\r\nDATA\r\nSubject: s\r\n\r\n..\r\n.\r\nQUIT\r\n"
        )
        for step in (1, 7, 1 << 16):
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            service = self.serve(ACCEPTED)
            self.assertIn(b"kept as " + ID.encode(), self.talk(said, step))
            ((head, content),) = service.asked
            self.assertEqual(content, b"Subject: s\r\n\r\n.\r\n")
            self.assertEqual((head["sender"], head["recipients"]), ("a@x", ["b@x", "c@x"]))
            self.assertEqual((head["ret"], head["envid"]), ("hdrs", "id"))
            self.assertEqual(head["notices"], {"b@x": [["success", "delay"], ""]})

    def test_refused(self) -> None:
        """A refusal, or no daemon, is the reply to the message."""
        said = b"HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n\r\n.\r\n"
        self.assertIn(b"\r\n451 4.3.0 no mail service answers at", self.talk(said))
        self.serve({"ok": False, "code": "5.3.4", "text": "too large"})
        self.assertIn(b"\r\n552 5.3.4 too large\r\n", self.talk(said))

    def test_strict(self) -> None:
        """What is no end of a message for all servers is none here, and nothing is sent."""
        self.assertIn(
            b"554 5.5.2",
            self.talk(b"HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n\r\nx\n.\r\nMAIL FROM:<>\r\n"),
        )


class Start(SynchronousTestCase):
    def imported(self, *words: str, stdin: bytes = b"From: a@x\nTo: b@x\n\n") -> set[str]:
        """The modules that a call imports, in an interpreter of its own, against a daemon that answers."""
        with tempfile.TemporaryDirectory() as directory:
            service = Service(Path(directory, "s"), [ACCEPTED])
            code = (
                "import sys; before = set(sys.modules); from netsvc.cli.sendmail.main import main;"
                " status = main(['sendmail', *sys.argv[1:]]);"
                " print(status, *sorted(set(sys.modules) - before), sep='\\n')"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, *words],
                input=stdin,
                capture_output=True,
                env={"NETSVC_MAIL_SOCKET": f"{directory}/s", "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            service.end()
        status, *modules = done.stdout.decode().split()
        self.assertEqual(status, "0", done.stderr)
        return set(modules)

    def test_imports(self) -> None:
        """Handing a message in needs little of the standard library: no email, no argparse, and no attrs or Twisted."""
        for words in (("-i", "b@x"), ("-t", "-F", "汤众"), ("-f", "a@x", "-N", "delay", "b@x")):
            modules = self.imported(*words)
            ours = {one for one in modules if one.startswith("netsvc")}
            self.assertEqual(
                ours
                - {"netsvc", "netsvc.cli", "netsvc.printable", "netsvc.cli.connection", "netsvc.cli.mail_connection"},
                {"netsvc.cli.sendmail"}
                | {
                    f"netsvc.cli.sendmail.{one}" for one in ("addresses", "head", "main", "options", "people", "submit")
                },
            )
            self.assertEqual({one.partition(".")[0] for one in modules} - {"netsvc"} - sys.stdlib_module_names, set())
            for heavy in (
                "email",
                "argparse",
                "pathlib",
                "subprocess",
                "asyncio",
                "ssl",
                "logging",
                "inspect",
                "base64",
            ):
                self.assertNotIn(heavy, modules)
