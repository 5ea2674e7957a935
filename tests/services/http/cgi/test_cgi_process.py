"""How scripts run, are limited and end. The scripts are real."""

from __future__ import annotations

import os
import re
from typing import Any
from unittest import mock

import netsvc
from netsvc.services.http.cgi.process import Ending
from netsvc.services.http.cgi.settings import SANE_PATH
from tests.services.http.cgi.rig import EngineCase, FakeExchange, header, is_alive, request_head

PLAIN = "#!/bin/sh\necho Content-Type: text/plain; echo; "


class SurroundingsTest(EngineCase):
    """CGI lines 3 and 9."""

    def test_cgi_03_environment(self) -> None:
        """A script sees its variables and nothing of the daemon's."""
        script = (
            "#!/usr/bin/env -S python3 -I\nimport os\nprint('Content-Type: a/b\\n')\nprint(sorted(os.environ.items()))"
        )
        with mock.patch.dict(os.environ, {"SECRET": "x", "NOTIFY_SOCKET": "/x"}):
            exchange = self.answer(script)
        found = dict(eval(exchange.body.decode()))
        for name in ("LC_CTYPE",):  # Python's own, PEP 538
            found.pop(name, None)
        place = self.directory / "www"
        self.assertEqual(
            found,
            {
                "PATH": SANE_PATH,
                "HTTP_ACCEPT": "",
                "GATEWAY_INTERFACE": "CGI/1.1",
                "SERVER_SOFTWARE": f"netsvc/{netsvc.__version__}",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "SERVER_NAME": "example.com",
                "SERVER_ADDR": "192.0.2.1",
                "SERVER_PORT": "8000",
                "REMOTE_ADDR": "192.0.2.7",
                "REMOTE_PORT": "40000",
                "REQUEST_METHOD": "GET",
                "REQUEST_SCHEME": "http",
                "REQUEST_URI": "/cgi-bin/script",
                "QUERY_STRING": "",
                "DOCUMENT_ROOT": str(place),
                "SCRIPT_NAME": "/cgi-bin/script",
                "SCRIPT_FILENAME": str(place / "cgi-bin" / "script"),
                "UNIQUE_ID": "rq1",
            },
        )

    def test_cgi_03_inherited(self) -> None:
        """cgi_pass_env passes what it names, but nothing that systemd said to the daemon."""
        exchange = self.answer(
            PLAIN + "env",
            environ={"TZ": "Asia/Tokyo", "SECRET": "x", "NOTIFY_SOCKET": "/x"},
            cgi_pass_env=("TZ", "NOTIFY_SOCKET"),
        )
        self.assertIn(b"\nTZ=Asia/Tokyo\n", exchange.body)
        self.assertNotRegex(exchange.body, rb"SECRET|NOTIFY")

    def test_cgi_09_descriptors(self) -> None:
        """A script has stdin, stdout and stderr and no other descriptor, with and without a body."""
        held = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(held, True)
        self.addCleanup(os.close, held)
        for exchange in (
            FakeExchange(),
            FakeExchange(request_head("POST"), body_length=3, receives=lambda one: one.give_all(b"abc")),
            FakeExchange(request_head("POST"), body_length=None, receives=lambda one: one.give_all(b"x" * 100_000)),
        ):
            text = PLAIN + "for n in $(seq 0 99); do [ -e /proc/$$/fd/$n ] && echo $n; done; true"
            self.answer(text, exchange)
            # dash keeps its script open at 10.
            self.assertEqual(exchange.body.split(), [b"0", b"1", b"2", b"10"])

    def test_cgi_09_directory_session_umask_nice(self) -> None:
        """The working directory is the script's; it leads a session; umask and nice are as the options say."""
        exchange = self.answer(
            PLAIN
            + "read go; pwd; umask; nice; read -r _ _ _ _ _ session _ </proc/$$/stat; [ $session = $$ ] && echo own",
            FakeExchange(request_head("POST"), body_length=3, receives=lambda one: one.give_all(b"go\n")),
            cgi_umask=0o027,
            cgi_nice=7,
        )
        self.assertEqual(exchange.body.decode(), f"{self.directory}/www/cgi-bin\n0027\n7\nown\n")

    def test_cgi_09_signals(self) -> None:
        """A script gets no ignored and no blocked signals: SIGPIPE ends it as it would anywhere."""
        exchange = self.answer(PLAIN + "grep -E 'Sig(Blk|Ign)' /proc/self/status")
        masks = [int(line.split()[1], 16) for line in exchange.body.splitlines()]
        # Signals 32 and 33 are glibc's own; its posix_spawn, which make uses, leaves them ignored for all below.
        self.assertEqual([mask & ~(0b11 << 31) for mask in masks], [0, 0])

    def test_cgi_04_arguments(self) -> None:
        """A query without "=" is arguments only when asked, and no shell reads it."""
        head = request_head(target=b"/x?a+$(id)+%3Bls")
        self.assertEqual(self.answer(PLAIN + 'printf "%s," "$@"', FakeExchange(head)).body, b",")
        exchange = self.answer(PLAIN + 'printf "%s," "$@"', FakeExchange(head), cgi_query_arguments=True)
        self.assertEqual(exchange.body, b"a,$(id),;ls,")

    def test_cgi_08_limits(self) -> None:
        """CPU and memory limits hold for the script and its children."""
        exchange = self.answer(
            PLAIN + "read line; sh -c 'ulimit -t; ulimit -v'",
            FakeExchange(request_head("POST"), body_length=3, receives=lambda one: one.give_all(b"go\n")),
            cgi_cpu_limit=6.5,
            cgi_memory_limit=1 << 30,
        )
        self.assertEqual(exchange.body, b"7\n1048576\n")

    def test_cgi_08_limits_fail(self) -> None:
        """A script whose limits cannot be set does not run on: 500."""
        with mock.patch("resource.prlimit", side_effect=PermissionError(1, "Operation not permitted")):
            exchange = self.answer(PLAIN + "exec sleep 1000", cgi_cpu_limit=7.0)
        self.assertEqual((exchange.status, exchange.end), (500, "refused"))
        self.assertIn("limits", self.logged("cgi-start-failed")[0]["reason"])

    def test_cgi_08_cpu_limit(self) -> None:
        """A script that only computes is ended by its CPU limit."""
        exchange = self.answer(PLAIN + "while :; do :; done", cgi_cpu_limit=1.0)
        self.assertEqual(exchange.end, "aborted")
        self.assertEqual(self.logged("cgi-aborted")[0]["ending"], "signal SIGXCPU")


class EndingsTest(EngineCase):
    """CGI lines 6 and 8."""

    def pid(self, exchange: FakeExchange) -> int:
        self.spin(lambda: b"\n" in exchange.body)
        return int(exchange.body.split()[0])

    def pids_end(self, *pids: int) -> None:
        self.spin(lambda: not any(map(is_alive, pids)))

    def test_cgi_08_silent(self) -> None:
        """A script that prints nothing is ended by cgi_idle_timeout, with 504."""
        exchange = self.answer("#!/bin/sh\nexec sleep 1000", cgi_idle_timeout=0.2)
        self.assertEqual((exchange.status, exchange.end), (504, "refused"))
        self.assertEqual(self.logged("cgi-time-up")[0]["limit"], "cgi_idle_timeout")

    def test_cgi_08_idle_in_body(self) -> None:
        """One that falls silent within its answer is cut."""
        exchange = self.answer(PLAIN + "echo one; exec sleep 1000", cgi_idle_timeout=4.0)
        self.assertEqual((exchange.body, exchange.end), (b"one\n", "aborted"))

    def test_cgi_08_wall(self) -> None:
        """One that prints for ever is ended by cgi_timeout."""
        exchange = self.answer(PLAIN + "while :; do echo x; sleep 0.02; done", cgi_timeout=4.0, cgi_idle_timeout=60.0)
        self.assertEqual((exchange.end, self.logged("cgi-time-up")[0]["limit"]), ("aborted", "cgi_timeout"))

    def test_cgi_08_no_limits(self) -> None:
        """Both limits can be off."""
        exchange = self.answer(PLAIN + "echo x", cgi_timeout=0.0, cgi_idle_timeout=0.0)
        self.assertEqual(exchange.end, "finished")

    def test_cgi_08_waiting_for_peer(self) -> None:
        """Time in which the peer is waited for, to send or to read, is not the script's."""
        exchange = FakeExchange(request_head("POST"), body_length=100_000)
        engine = self.engine(cgi_idle_timeout=3.0)
        engine.run(exchange, self.script(PLAIN + "echo one; cat >/dev/null; head -c 200000 /dev/zero; echo two"))
        self.spin(lambda: exchange.body)
        end = self.reactor.seconds() + 3.5
        self.spin(lambda: self.reactor.seconds() > end)
        exchange.producer.pauseProducing()
        exchange.give_all(b"x" * 100_000)
        end = self.reactor.seconds() + 3.5
        self.spin(lambda: self.reactor.seconds() > end)
        self.assertEqual(exchange.end, "")
        exchange.producer.resumeProducing()
        self.spin(lambda: exchange.end)
        self.assertEqual((len(exchange.body), exchange.end), (200_008, "finished"))

    def test_cgi_08_spooled_body_is_progress(self) -> None:
        """A script that reads a spooled body slowly is not idle."""
        exchange = FakeExchange(
            request_head("POST"), body_length=None, receives=lambda one: one.give_all(b"x" * 100_000)
        )
        text = (
            "#!/bin/sh\nfor i in $(seq 12); do dd bs=4096 count=1 of=/dev/null 2>/dev/null; sleep 0.5; done\n"
            "printf 'Content-Type: a/b\\n\\nok'"
        )
        self.answer(text, exchange, cgi_idle_timeout=5.0)
        self.assertEqual((exchange.body, exchange.end), (b"ok", "finished"))

    def test_cgi_08_peer_leaves(self) -> None:
        """When the peer leaves the script and its children end; nothing is written to the exchange any more."""
        exchange = FakeExchange()
        engine = self.engine()
        engine.run(exchange, self.script(PLAIN + "sleep 1000 & echo $$ $!; wait"))
        self.spin(lambda: b"\n" in exchange.body)
        pids = [int(one) for one in exchange.body.split()]
        exchange.leave()
        self.spin(lambda: not engine._all)
        self.pids_end(*pids)
        self.assertEqual(exchange.end, "left")
        self.assertEqual(
            self.metrics.metrics["cgi_scripts"].values, {(("outcome", "peer-left"), ("service", "http")): 1}
        )

    def test_cgi_08_peer_leaves_before_head(self) -> None:
        """When the peer leaves before there is an answer the script ends, too, and none is made."""
        exchange = FakeExchange()
        engine = self.engine()
        engine.run(exchange, self.script("#!/bin/sh\nexec sleep 1000"))
        exchange.leave()
        self.spin(lambda: not engine._all)
        self.assertIsNone(exchange.status)

    def test_cgi_08_peer_left_before(self) -> None:
        """For a peer that has left already no script starts."""
        exchange = FakeExchange()
        exchange.lost.callback(None)
        engine = self.engine()
        engine.run(exchange, self.script(PLAIN))
        self.assertEqual((len(engine._all), len(engine._running), exchange.status), (0, 0, None))

    def test_cgi_08_ignores_term(self) -> None:
        """A script that ignores SIGTERM gets SIGKILL when its grace is over, and so do its children."""
        exchange = FakeExchange()
        engine = self.engine(cgi_kill_grace=0.2)
        engine.run(
            exchange,
            self.script("#!/bin/sh\ntrap '' TERM\n" + PLAIN[10:] + "sleep 1000 & echo $$ $!; wait; sleep 1000"),
        )
        self.spin(lambda: b"\n" in exchange.body)
        pids = [int(one) for one in exchange.body.split()]
        exchange.leave()
        self.spin(lambda: not engine._all)
        self.pids_end(*pids)
        self.assertTrue(self.logged("cgi-killed"))

    def test_cgi_06_background_child(self) -> None:
        """A child that holds stdout open does not hold the answer, and is ended with the script."""
        exchange = FakeExchange()
        engine = self.engine()
        engine.run(exchange, self.script(PLAIN + "sleep 1000 & echo $!"))
        self.spin(lambda: exchange.end)
        self.assertEqual(exchange.end, "finished")
        self.spin(lambda: not engine._all)
        self.pids_end(self.pid(exchange))

    def test_cgi_08_stubborn_background_child(self) -> None:
        """A child that ignores SIGTERM as well is killed after the grace."""
        exchange = FakeExchange()
        engine = self.engine(cgi_kill_grace=0.2)
        engine.run(exchange, self.script(PLAIN + "(trap '' TERM; sleep 1000) & echo $!; sleep 0.05"))
        self.spin(lambda: exchange.end and not engine._all)
        self.pids_end(self.pid(exchange))

    def test_cgi_08_background_child_allowed(self) -> None:
        """With cgi_background it lives on."""
        exchange = FakeExchange()
        engine = self.engine(cgi_background=True)
        engine.run(exchange, self.script(PLAIN + "sleep 1000 & echo $!"))
        self.spin(lambda: exchange.end and not engine._all)
        pid = self.pid(exchange)
        self.assertTrue(is_alive(pid))
        os.kill(pid, 9)

    def test_cgi_06_closes_stdout(self) -> None:
        """The answer is over when stdout is, though the script works on."""
        exchange = FakeExchange()
        engine = self.engine()
        engine.run(
            exchange, self.script(PLAIN + "echo one; exec >&-; mkfifo ../gate; read line <../gate; touch ../done")
        )
        self.spin(lambda: exchange.end)
        self.assertEqual((exchange.body, exchange.end), (b"one\n", "finished"))
        self.assertTrue(engine._all)
        self.open_gate()
        self.spin(lambda: not engine._all)
        self.assertTrue((self.directory / "www" / "done").exists())

    def test_cgi_06_closes_stdout_for_ever(self) -> None:
        """Such a script is ended by cgi_timeout; the answer stays as it is."""
        exchange = self.answer(PLAIN + "echo one; exec >&- 2>&-; exec sleep 1000", cgi_timeout=4.0)
        self.assertEqual((exchange.body, exchange.end), (b"one\n", "finished"))

    def test_cgi_08_peer_leaves_after_close(self) -> None:
        """A peer that leaves while the exit of a script that closed stdout is awaited leaves nothing behind."""
        exchange = FakeExchange()
        engine = self.engine()
        engine.run(exchange, self.script(PLAIN + "echo one; exec >&-; exec sleep 1000"))
        (run,) = engine._all
        self.spin(lambda: run._process is not None and run._process._patience)
        exchange.leave()
        self.spin(lambda: not engine._all)
        self.assertEqual(exchange.end, "left")

    def test_cgi_08_endless_surplus(self) -> None:
        """A script that goes on printing when its answer is complete is not read for ever."""
        exchange = self.answer("#!/bin/sh\nprintf 'Content-Type: a/b\\nContent-Length: 2\\n\\nok'; exec cat /dev/zero")
        self.assertEqual((exchange.body, exchange.end), (b"ok", "finished"))

    def test_cgi_08_other_user(self) -> None:
        """A group that may not be signalled is given up: nothing waits for it."""
        with mock.patch("os.killpg", side_effect=PermissionError(1, "Operation not permitted")):
            exchange = self.answer(PLAIN + "echo one")
        self.assertEqual((exchange.body, exchange.end), (b"one\n", "finished"))

    def test_cgi_08_unkillable(self) -> None:
        """What is left and does not even end by SIGKILL is given up after a while."""
        with (
            mock.patch("netsvc.services.http.cgi.process.group_lives", return_value=True),
            mock.patch("netsvc.services.http.cgi.process.KILLED_LINGER", 0.1),
            mock.patch("os.killpg"),
        ):
            exchange = self.answer(PLAIN + "echo one", cgi_kill_grace=0.1)
        self.assertEqual((exchange.body, exchange.end), (b"one\n", "finished"))

    def test_cgi_06_background_output(self) -> None:
        """What a child adds after the script's exit is not waited for, even if it never stops printing."""
        text = PLAIN + "echo one; (while :; do echo x; done) & exit 0"
        exchange = self.answer(text, cgi_background=True)
        self.assertEqual(exchange.end, "finished")
        self.assertTrue(exchange.body.startswith(b"one\n"))

    def test_cgi_08_without_pidfd(self) -> None:
        """Where the kernel has no pidfd the exit is seen by looking."""
        with mock.patch("os.pidfd_open", side_effect=OSError(38, "Function not implemented")):
            exchange = self.answer(PLAIN + "sleep 1000 & echo one; sleep 0.1")
        self.assertEqual((exchange.body, exchange.end), (b"one\n", "finished"))

    def test_cgi_08_reaped_by_another(self) -> None:
        """A child that somebody else has reaped counts as ended."""
        exchange = FakeExchange()
        engine = self.engine()
        engine.run(exchange, self.script(PLAIN + "echo $$"))
        os.waitpid(next(iter(engine._all))._process.pid, 0)  # type: ignore[union-attr]
        self.spin(lambda: exchange.end and not engine._all)
        self.assertEqual(exchange.end, "finished")

    def test_cgi_08_no_descriptors_left(self) -> None:
        """Without descriptors for pipes the answer is 503, and none leaks."""
        with mock.patch("os.pipe", side_effect=OSError(24, "Too many open files")):
            exchange = self.answer(PLAIN)
        self.assertEqual((exchange.status, exchange.end), (503, "refused"))

    def test_cgi_08_names(self) -> None:
        """An ending is told in words."""
        self.assertEqual(
            [str(Ending(status)) for status in (None, 0, 3, -15, -63)],
            ["still running", "exit status 0", "exit status 3", "signal SIGTERM", "signal 63"],
        )


class QueueTest(EngineCase):
    """Concurrent scripts, CGI line 8."""

    WAITS = PLAIN + "mkfifo ../gate 2>/dev/null; read line <../gate; echo done"

    def many(self, count: int, **options: Any) -> tuple[Any, list[FakeExchange]]:
        engine = self.engine(**options)
        exchanges = [FakeExchange() for _ in range(count)]
        script = self.script(self.WAITS)
        for exchange in exchanges:
            engine.run(exchange, script)
        return engine, exchanges

    def test_cgi_08_queue(self) -> None:
        """As many run as may, as many wait as may, in order; the rest is 503 with Retry-After."""
        engine, (first, second, third, fourth) = self.many(4, cgi_max_scripts=1, cgi_queue=2)
        self.assertEqual((fourth.status, fourth.end), (503, "refused"))
        (event,) = self.logged("cgi-busy")
        self.assertEqual(
            (event["script"], event["running"], event["queued"], event["request_id"]), ("/cgi-bin/script", 1, 2, "rq1")
        )
        self.assertRegex(header(fourth, b"retry-after")[0], rb"\A[0-9]+\Z")
        self.assertEqual((first.end, second.end, third.end), ("", "", ""))
        self.assertEqual(self.metrics.metrics["cgi_queued"].values, {(("service", "http"),): 2})
        for exchange in (first, second, third):
            self.assertEqual(exchange.end, "")
            self.open_gate()
            self.spin(lambda: exchange.end)  # noqa: B023
        self.spin(lambda: not engine._all)
        self.assertEqual(self.metrics.metrics["cgi_queued"].values, {(("service", "http"),): 0})

    def test_cgi_08_queue_timeout(self) -> None:
        """Who waits too long in the queue is answered with 503."""
        _, (first, second) = self.many(2, cgi_max_scripts=1, cgi_queue_timeout=0.1)
        self.spin(lambda: second.end)
        self.assertEqual((second.status, first.end), (503, ""))

    def test_cgi_08_leaves_queue(self) -> None:
        """A peer that leaves the queue makes room in it, and its script never starts."""
        engine, (first, second) = self.many(2, cgi_max_scripts=1)
        second.leave()
        self.assertEqual((len(engine._queue), len(engine._all)), (0, 1))
        self.open_gate()
        self.spin(lambda: first.end and not engine._all)
        self.assertIsNone(second.status)

    def test_cgi_08_failing_scripts_in_queue(self) -> None:
        """Scripts that cannot start make way for those behind them."""
        engine = self.engine(cgi_max_scripts=1)
        exchanges = [FakeExchange() for _ in range(5)]
        engine.run(exchanges[0], self.script(self.WAITS))
        bad = self.script("#!/nonexistent\n", "bad")
        for exchange in exchanges[1:]:
            engine.run(exchange, bad)
        self.open_gate()
        self.spin(lambda: not engine._all)
        self.assertEqual([exchange.status for exchange in exchanges], [200, 500, 500, 500, 500])

    def test_cgi_08_stop(self) -> None:
        """Stopping ends all: what runs is cut, what waits is refused; afterwards nothing is left or begun."""
        engine, exchanges = self.many(3, cgi_max_scripts=2)
        begun = FakeExchange()
        engine.run(begun, self.script(PLAIN + "echo $$; exec sleep 1000", "long"))
        collecting = FakeExchange(request_head("POST"), body_length=3)
        engine.run(collecting, self.script(PLAIN, "other"))
        self.spin(lambda: sum(bool(one.body) or one.status == 200 for one in exchanges) == 2)
        done: list[object] = []
        engine.stop().addCallback(done.append)
        self.spin(lambda: done)
        self.assertEqual([exchange.end for exchange in exchanges], ["aborted", "aborted", "refused"])
        self.assertEqual((begun.status, collecting.status), (503, 503))
        self.assertEqual(len(engine._all), 0)
        late = FakeExchange()
        engine.run(late, self.script(PLAIN))
        self.assertEqual(late.status, 503)

    def test_cgi_08_many(self) -> None:
        """A hundred requests at once are all answered."""
        engine = self.engine(cgi_max_scripts=8)
        script = self.script(PLAIN + "echo $$; echo x >&2")
        exchanges = [FakeExchange() for _ in range(100)]
        for exchange in exchanges:
            engine.run(exchange, script)
        self.spin(lambda: all(exchange.end for exchange in exchanges))
        self.assertEqual({exchange.end for exchange in exchanges}, {"finished"})
        self.assertEqual(len({bytes(exchange.body) for exchange in exchanges}), 100)
        self.assertTrue(all(re.fullmatch(rb"\d+\n", exchange.body) for exchange in exchanges))
