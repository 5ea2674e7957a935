"""What becomes of a script's output, and of its failures. The scripts are real."""

from __future__ import annotations

import re
import subprocess
from html import unescape
from typing import Any
from unittest import mock

from attrs import evolve

from netsvc.services.http.cgi.complaints import MAX_LINE, MAX_LINES
from netsvc.services.http.cgi.redirect import MAX_REDIRECTS
from netsvc.services.http.cgi.source import show_source
from tests.services.http.cgi.rig import EngineCase, FakeExchange, header, request_head

PLAIN = "#!/bin/sh\necho Content-Type: text/plain; echo; "


class AnswersTest(EngineCase):
    """CGI lines 5 and 6."""

    def test_cgi_05_page(self) -> None:
        """A script's page is the answer, with its type, and it is finished and counted."""
        exchange = self.answer(PLAIN + "echo hello")
        self.assertEqual((exchange.status, exchange.body, exchange.end), (200, b"hello\n", "finished"))
        self.assertEqual(header(exchange, b"content-type"), [b"text/plain"])
        self.assertIn(exchange.length, (None, 6))  # known where the script has exited when its answer is read
        self.assertEqual(self.metrics.metrics["cgi_scripts"].values, {(("outcome", "ok"), ("service", "http")): 1})
        self.assertEqual(self.metrics.metrics["cgi_running"].values, {(("service", "http"),): 0})

    def test_cgi_05_status(self) -> None:
        """Status and reason are the script's."""
        exchange = self.answer("#!/bin/sh\nprintf 'HTTP/1.1 404 Nope\\nContent-Type: text/html\\n\\nno'")
        self.assertEqual((exchange.status, exchange.reason, exchange.body), (404, "Nope", b"no"))

    def test_cgi_06_streams(self) -> None:
        """What a script has printed is at the peer while it still runs."""
        script = PLAIN + "echo one; read line; echo two"
        exchange = FakeExchange(body_length=100_000)
        self.engine().run(exchange, self.script(script))
        self.spin(lambda: exchange.body)
        self.assertEqual((exchange.body, exchange.end), (b"one\n", ""))
        exchange.give(b"go on\n")
        self.spin(lambda: exchange.end)
        self.assertEqual((exchange.body, exchange.end), (b"one\ntwo\n", "finished"))

    def test_cgi_05_length(self) -> None:
        """A right Content-Length is sent as the length of the answer."""
        exchange = self.answer("#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 5\\n\\nhello'")
        self.assertEqual((exchange.length, exchange.body, exchange.end), (5, b"hello", "finished"))

    def test_cgi_05_length_too_small(self) -> None:
        """What goes beyond the Content-Length is not sent, and is logged."""
        exchange = self.answer("#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 3\\n\\nhello'; echo more")
        self.assertEqual((exchange.length, exchange.body, exchange.end), (3, b"hel", "finished"))
        self.assertEqual(len(self.logged("cgi-length-wrong")), 1)

    def test_cgi_05_length_too_large(self) -> None:
        """With less than the Content-Length the answer is finished short, which the exchange cuts."""
        exchange = self.answer("#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 9\\n\\nhello'")
        self.assertEqual((exchange.length, exchange.body, exchange.end), (9, b"hello", "finished"))

    def test_cgi_05_length_nothing(self) -> None:
        """An answer of no octets is complete with its head."""
        exchange = self.answer("#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 0\\n\\n'")
        self.assertEqual((exchange.length, exchange.body, exchange.end), (0, b"", "finished"))

    def test_cgi_04_head(self) -> None:
        """For HEAD the length is that of GET, and whatever the script prints goes to the exchange, which drops it."""
        exchange = FakeExchange(request_head("HEAD"))
        self.answer("#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 5\\n\\n'", exchange)
        self.assertEqual((exchange.length, exchange.end), (5, "finished"))

    def test_cgi_05_no_type(self) -> None:
        """A missing Content-Type is logged once for each script, and none is made up."""
        engine = self.engine()
        script = self.script("#!/bin/sh\nprintf 'X: 1\\n\\nhello'")
        for _ in range(2):
            exchange = FakeExchange()
            engine.run(exchange, script)
            self.spin(lambda: exchange.end)  # noqa: B023
            self.assertEqual(exchange.headers, ((b"X", b"1"),))
        self.assertEqual(len(self.logged("cgi-no-content-type")), 1)

    def test_cgi_06_back_pressure(self) -> None:
        """A peer that does not read stops the script; when it reads on it gets everything."""
        exchange = FakeExchange()
        seen: list[int] = []

        def written(data: bytes) -> None:
            seen.append(len(data))
            if len(seen) == 3:
                exchange.producer.pauseProducing()

        exchange.written = written
        engine = self.engine()
        engine.run(exchange, self.script(PLAIN + "head -c 3000000 /dev/zero"))
        self.spin(lambda: len(seen) >= 3)
        for _ in range(20):
            self.reactor.iterate(0.005)
        self.assertEqual((len(seen), exchange.end), (3, ""))
        exchange.producer.resumeProducing()
        self.spin(lambda: exchange.end)
        self.assertEqual((sum(seen), exchange.end), (3_000_000, "finished"))

    def test_cgi_06_slow_peer_after_exit(self) -> None:
        """The rest in the pipe reaches a slow peer though the script has long exited."""
        exchange = FakeExchange()
        seen = bytearray()

        def written(data: bytes) -> None:
            seen.extend(data)
            exchange.producer.pauseProducing()

        exchange.written = written
        engine = self.engine()
        engine.run(exchange, self.script(PLAIN + "echo one; head -c 60000 /dev/zero"))
        self.spin(lambda: seen and not engine._all)
        self.assertEqual(exchange.end, "")
        while not exchange.end:
            exchange.producer.resumeProducing()
        self.assertEqual((len(seen), exchange.end), (60004, "finished"))

    def test_cgi_06_large(self) -> None:
        """100 MB of output arrive whole and are never in memory at once."""
        exchange = FakeExchange()
        counts = [0, 0]

        def written(data: bytes) -> None:
            counts[0] += len(data)
            counts[1] = max(counts[1], len(data))

        exchange.written = written
        self.answer(PLAIN + "head -c 100000000 /dev/zero", exchange)
        self.assertEqual((counts[0], exchange.end), (100_000_000, "finished"))
        self.assertLessEqual(counts[1], 65536)


class RedirectsTest(EngineCase):
    """Location, CGI line 5."""

    def test_cgi_05_local(self) -> None:
        """A local redirect is routed anew: GET, no body, without the fields of the body and the resource."""
        routed: list[Any] = []
        fields = ((b"content-length", b"3"), (b"content-type", b"a/b"), (b"range", b"bytes=0-"), (b"accept", b"*/*"))
        head = request_head("POST", headers=fields)
        exchange = FakeExchange(head, body_length=3, receives=lambda one: one.give_all(b"x=1"))
        engine = self.engine(extra={"route": routed.append})
        engine.run(exchange, self.script("#!/bin/sh\ncat >/dev/null; printf 'Location: /new/%%41?q=1\\n\\n'"))
        self.spin(lambda: routed and not engine._all)
        (new,) = routed
        self.assertEqual((new.head.method, new.head.path, new.head.query), ("GET", b"/new/%41", b"q=1"))
        self.assertEqual(new.head.headers, ((b"accept", b"*/*"),))
        self.assertEqual((new.body_length, new.redirects, new.request_id), (0, 1, "rq1"))
        self.assertEqual((exchange.status, exchange.end), (None, ""))
        new.status = 299  # as an nph- script there would
        self.assertEqual(exchange.status, 299)
        exchange.status = None
        new.answer(200, (), b"there")
        self.assertEqual((exchange.status, exchange.body), (200, b"there"))
        finished: list[str] = []

        class Receiver:
            def body_finished(self) -> None:
                finished.append("yes")

        new.receive_body(Receiver())
        new.pause_body()
        new.resume_body()
        new.send_continue()
        self.assertEqual(finished, ["yes"])

    def test_cgi_05_loop(self) -> None:
        """Scripts that redirect to each other end with 500 after so many rounds."""
        script = self.script("#!/bin/sh\nprintf 'Location: /cgi-bin/script\\n\\n'")
        rounds: list[Any] = []

        def route(exchange: Any) -> None:
            rounds.append(exchange)
            engine.run(exchange, script)

        engine = self.engine(extra={"route": route}, cgi_max_scripts=1)
        exchange = FakeExchange()
        engine.run(exchange, script)
        self.spin(lambda: exchange.end)
        self.assertEqual((exchange.status, exchange.end, len(rounds)), (500, "refused", MAX_REDIRECTS))

    def test_cgi_05_unrouted(self) -> None:
        """Without a way to route, and with a status, it is a redirect of the client."""
        exchange = self.answer("#!/bin/sh\nprintf 'Location: /new\\n\\n'")
        self.assertEqual((exchange.status, header(exchange, b"location")), (302, [b"/new"]))
        exchange = self.answer("#!/bin/sh\nprintf 'Status: 303 See\\nLocation: /new\\n\\n'")
        self.assertEqual((exchange.status, header(exchange, b"location")), (303, [b"/new"]))


class FailuresTest(EngineCase):
    """CGI line 7."""

    def failed(self, text: str, reason: str, **options: Any) -> FakeExchange:
        exchange = self.answer(text, **options)
        self.assertEqual((exchange.status, exchange.end), (500, "refused"))
        (event,) = self.logged("cgi-failed")
        self.assertIn(reason, event["reason"])
        self.assertEqual((event["request_id"], event["script"]), ("rq1", "/cgi-bin/script"))
        return exchange

    def test_cgi_07_silent(self) -> None:
        """A script that prints nothing is answered with 500."""
        self.failed("#!/bin/sh\nexit 0", "printed nothing")

    def test_cgi_07_crash_before_head(self) -> None:
        """A script that crashes within its head is answered with 500, and its exit status is logged."""
        self.failed("#!/bin/sh\necho Content-Type: text/html; exit 3", "not complete")
        self.assertEqual(self.logged("cgi-failed")[0]["ending"], "exit status 3")

    def test_cgi_07_signal_before_head(self) -> None:
        """The signal that ended a script is logged by name."""
        self.failed("#!/bin/sh\nkill -SEGV $$", "printed nothing")
        self.assertEqual(self.logged("cgi-failed")[0]["ending"], "signal SIGSEGV")

    def test_cgi_05_bad_head(self) -> None:
        """A script that prints no head, and goes on for ever, is cut and answered with 500."""
        self.failed("#!/bin/sh\necho hello; echo; exec sleep 1000", "not 'Name: value'")

    def test_cgi_05_endless_head(self) -> None:
        """A header line without end is cut and answered with 500."""
        self.failed("#!/bin/sh\nprintf 'A: '; exec cat /dev/zero | tr '\\0' x", "longer than")

    def test_cgi_07_crash_in_body(self) -> None:
        """A crash in the middle cuts the answer visibly and is logged, by a signal or with a complaint."""
        for text in ("echo one; kill -9 $$", "echo one; echo Traceback >&2; exit 1"):
            exchange = self.answer(PLAIN + text)
            self.assertEqual((exchange.status, exchange.end), (200, "aborted"))
        self.assertEqual([event["ending"] for event in self.logged("cgi-aborted")], ["signal SIGKILL", "exit status 1"])

    def test_cgi_07_silent_status(self) -> None:
        """An exit status other than 0 without a complaint is a crash only where cgi_crash_on says so."""
        for option, end in (("stderr", "finished"), ("signal", "finished"), ("status", "aborted")):
            exchange = self.answer(PLAIN + "echo one; exit 1", cgi_crash_on=option)
            self.assertEqual((exchange.body, exchange.end), (b"one\n", end))
        exchange = self.answer(PLAIN + "echo one; echo no >&2; exit 1", cgi_crash_on="signal")
        self.assertEqual(exchange.end, "finished")

    def test_cgi_07_whole_by_length(self) -> None:
        """An answer that has all of its Content-Length is whole, however the script ends."""
        exchange = self.answer("#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 2\\n\\nok'; kill -9 $$")
        self.assertEqual((exchange.body, exchange.end), (b"ok", "finished"))

    def test_cgi_07_stderr(self) -> None:
        """What it complains is logged line by line with script and request."""
        self.answer(PLAIN + "printf 'one\\r\\n\\ntwo' >&2; echo ok")
        self.assertEqual(
            [(event["line"], event["script"], event["request_id"]) for event in self.logged("cgi-stderr")],
            [("one", "/cgi-bin/script", "rq1"), ("two", "/cgi-bin/script", "rq1")],
        )

    def test_cgi_07_stderr_flood(self) -> None:
        """A flood on stderr neither blocks the script nor fills the log: lines are cut, the rest is counted."""
        exchange = self.answer(PLAIN + "yes complaint | head -n 200000 >&2; head -c 200000 /dev/zero >&2; echo ok")
        self.assertEqual((exchange.body, exchange.end), (b"ok\n", "finished"))
        lines = self.logged("cgi-stderr")
        self.assertEqual(len(lines), MAX_LINES)
        self.assertLessEqual(max(len(event["line"]) for event in lines), MAX_LINE)
        self.assertEqual([event["count"] for event in self.logged("cgi-stderr-cut")], [200001 - MAX_LINES])

    def test_cgi_07_debug_page(self) -> None:
        """With cgi_debug a loopback peer sees status, stderr, environment and a command that replays the run."""
        text = "#!/bin/sh\necho '<oops>' >&2\nexit 3"
        exchange = self.answer(text, FakeExchange(peer=("127.0.0.1", 1)), cgi_debug=True)
        self.assertEqual((exchange.status, exchange.end), (500, "finished"))
        page = exchange.body.decode()
        for part in ("exit status 3", "&lt;oops&gt;", "env -i", "GATEWAY_INTERFACE=CGI/1.1", "rq1"):
            self.assertIn(part, page)
        self.assertNotIn("<oops>", page)
        for peer in ("192.0.2.7", ""):
            exchange = self.answer(text, FakeExchange(peer=(peer, 1)), cgi_debug=True)
            self.assertEqual((exchange.status, exchange.end), (500, "refused"))

    def test_cgi_07_replay(self) -> None:
        """The command on that page runs the script as it was run: directory, umask, environment, arguments."""
        text = "#!/bin/sh\n{ pwd; umask; echo \"$@\"; env | grep -v '^_=' | sort; } >../seen.$HTTP_X_RUN\n"
        head = request_head(target=b"/x?a'+$(id)", headers=((b"x-run", b"it's"), (b"x-odd", b"$(id) \"`'<&>")))
        options: dict[str, Any] = {"cgi_debug": True, "cgi_query_arguments": True, "cgi_umask": 0o027}
        exchange = self.answer(text, FakeExchange(head, peer=("::1", 1)), **options)
        command = unescape(re.findall(r"<pre>(cd .*?)</pre>", exchange.body.decode(), re.DOTALL)[0])
        seen = self.directory / "www" / "seen.it's"
        first = seen.read_text()
        seen.unlink()
        subprocess.run(["sh", "-c", command], check=True, env={"SECRET": "x"}, cwd="/")
        self.assertEqual(seen.read_text(), first)
        self.assertIn("HTTP_X_ODD=$(id) \"`'<&>", first)

    def test_cgi_07_secrets(self) -> None:
        """That page shows no credentials: not the peer's, and no variable that is called a secret."""
        head = request_head(
            headers=((b"cookie", b"sid=hush"), (b"authorization", b"Basic hush"), (b"accept", b"shown"))
        )
        exchange = self.answer(
            "#!/bin/sh\nexit 3",
            FakeExchange(head, peer=("127.0.0.1", 1)),
            cgi_debug=True,
            cgi_pass_authorization=True,
            cgi_env=(("DB_PASSWORD", "hush"), ("api_key", "hush")),
        )
        page = exchange.body.decode()
        self.assertNotIn("hush", page)
        self.assertEqual(page.count("[hidden]"), 8)
        self.assertIn("HTTP_ACCEPT=shown", page)

    def test_cgi_09_source(self) -> None:
        """A file without the execute bit is shown as text where cgi_source says so, never one with it, or to POST."""
        engine = self.engine(cgi_source="text")
        script = self.script("#!/bin/sh\necho secret", mode=0o644)
        exchange = FakeExchange()
        engine.run(exchange, script)
        self.assertEqual((exchange.status, exchange.body, exchange.end), (200, b"#!/bin/sh\necho secret", "finished"))
        self.assertEqual(header(exchange, b"content-type"), [b"text/plain; charset=utf-8"])
        self.assertEqual(header(exchange, b"x-content-type-options"), [b"nosniff"])
        for status, other, head in (
            (405, script, request_head("POST")),
            (404, evolve(script, path_info="/a"), request_head()),
            (404, evolve(script, filename=script.filename.with_name("none")), request_head()),
            (403, evolve(script, filename=script.filename.parent), request_head()),
        ):
            exchange = FakeExchange(head)
            show_source(exchange, other.filename) if status != 404 else engine.run(exchange, other)
            self.assertEqual(exchange.status, status)
        script.filename.chmod(0o745)
        for exchange in (FakeExchange(), FakeExchange()):
            show_source(exchange, script.filename)
            self.assertEqual((exchange.status, exchange.body), (403, b""))
        with mock.patch("os.open", side_effect=PermissionError(13, "Permission denied")):
            exchange = FakeExchange()
            show_source(exchange, script.filename)
        self.assertEqual(exchange.status, 403)

    def test_cgi_09_not_executable(self) -> None:
        """A file without the execute bit is 403 and never read."""
        exchange = FakeExchange()
        self.engine().run(exchange, self.script(PLAIN, mode=0o644))
        self.assertEqual((exchange.status, exchange.end), (403, "refused"))
        self.assertEqual([event["request_id"] for event in self.logged("cgi-not-executable")], ["rq1"])

    def test_cgi_07_gone(self) -> None:
        """A script that was removed is 404."""
        exchange = FakeExchange()
        script = self.script(PLAIN)
        script.filename.unlink()
        self.engine().run(exchange, script)
        self.assertEqual((exchange.status, exchange.end), (404, "refused"))

    def test_cgi_07_cannot_start(self) -> None:
        """A dead or CR LF first line, and none, are 500 with a log line that says which it is."""
        for text, reason in (
            ("#!/nonexistent/python\n", "does not exist: #!/nonexistent/python"),
            ("#!/bin/sh\r\necho\r\n", "whose line ends with CR LF"),
            ("echo hello\n", "neither a program nor begins"),
        ):
            self.events.clear()
            exchange = self.answer(text)
            self.assertEqual((exchange.status, exchange.end), (500, "refused"))
            self.assertIn(reason, self.logged("cgi-start-failed")[0]["reason"])

    def test_cgi_07_nul(self) -> None:
        """A request that cannot be an environment is 400, and the engine goes on."""
        exchange = FakeExchange(request_head(headers=((b"x-nul", b"a\0b"),)))
        self.answer(PLAIN, exchange)
        self.assertEqual((exchange.status, exchange.end), (400, "refused"))

    def test_cgi_07_too_many_fields(self) -> None:
        """A field longer than the kernel passes to a program is 431."""
        exchange = FakeExchange(request_head(headers=((b"x-long", b"x" * 140_000),)))
        self.answer(PLAIN, exchange)
        self.assertEqual((exchange.status, exchange.end), (431, "refused"))
