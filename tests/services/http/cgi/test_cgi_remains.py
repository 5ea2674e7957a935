"""What scripts leave behind in sessions of their own. The scripts are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from unittest import mock

from netsvc.services.http.cgi import procfs
from netsvc.services.http.cgi.remains import Remains, remains_of
from tests.services.http.cgi.rig import EngineCase, FakeExchange, is_alive

PLAIN = "#!/bin/sh\nrm -f told; echo Content-Type: text/plain; echo; "
# Tells its number and stays; ends by SIGTERM only when asked to.
STAYS = "sh -c 'trap \"\" TERM; echo $$; echo > told; exec sleep 1000' "
ENDS = "until [ -s told ]; do sleep 0.01; done"  # the end of a script when the process that it leaves has told it


def exists(pid: int) -> bool:
    """Whether there is anything of a process, be it a zombie."""
    return procfs.status_of(pid) is not None


class RemainsTest(EngineCase):
    """CGI line 8: no zombies, no orphans, ever."""

    def pids(self, exchange: FakeExchange, count: int) -> list[int]:
        self.spin(lambda: exchange.body.count(b"\n") >= count)
        return [int(one) for one in exchange.body.split()]

    def leaves(self, text: str, count: int = 1, **options: object) -> list[int]:
        """Run a script that prints the numbers of processes; wait until nothing is left of them."""
        exchange = FakeExchange()
        self.engine(cgi_kill_grace=0.1, **options).run(exchange, self.script(PLAIN + text))
        pids = self.pids(exchange, count)
        self.assertTrue(any(map(exists, pids)), "the test is too slow to be one")
        self.spin(lambda: not any(map(exists, pids)))
        return pids

    def test_cgi_08_session_of_its_own(self) -> None:
        """A process that called setsid() ends after its script, by SIGTERM or SIGKILL, and is reaped."""
        self.leaves(f"setsid sh -c 'echo $$; echo > told; exec sleep 1000' & {ENDS}")
        self.assertEqual(len(self.logged("cgi-left-behind")), 1)
        self.leaves(f"setsid {STAYS} & {ENDS}")

    def test_cgi_08_double_fork(self) -> None:
        """A daemon as the books write it, two forks and a session, ends as well."""
        code = (
            "import os, time\n"
            "if not os.fork():\n os.setsid()\n if not os.fork():\n"
            '  print(os.getpid(), flush=True)\n  open("told", "w").write("yes")\n'
            "  os.close(0); os.close(1); os.close(2)\n  time.sleep(1000)\n os._exit(0)\n"
        )
        self.leaves(f"{sys.executable} -I -c '{code}'; {ENDS}")

    def test_cgi_08_another_environment(self) -> None:
        """One that was started without the script's environment ends when the scripts that ran by then have ended."""
        self.leaves(f"env -i setsid {STAYS} & {ENDS}")
        self.leaves(f"(env -i setsid {STAYS} &) ; {ENDS}")

    def test_cgi_08_tree(self) -> None:
        """All below it ends, too, what was forked meanwhile included."""
        self.leaves(
            'setsid sh -c \'trap "" TERM; echo $$; setsid sleep 1000 & echo $!; echo > told;'
            f" while :; do setsid sleep 0.01; done' & {ENDS}",
            2,
        )

    def test_cgi_08_within_execve(self) -> None:
        """A process has no environment while it is executed; it is looked at again before it is let live."""
        seen: set[int] = set()
        real = procfs.variable_of

        def variable_of(pid: int, name: bytes) -> bytes | None:
            if pid in seen:
                return real(pid, name)
            seen.add(pid)
            return None

        self.patch(procfs, "variable_of", variable_of)
        self.patch(procfs, "tree_of", lambda pid: [pid])  # nor was it there yet when its parent was looked at
        text = "setsid sh -c 'trap \"\" TERM; echo $$; setsid sleep 1000 & echo $!; echo > told; wait' & "
        self.leaves(text + ENDS, 2)

    def test_cgi_08_peer_leaves(self) -> None:
        """It ends when the peer leaves a script that runs."""
        exchange = FakeExchange()
        engine = self.engine(cgi_kill_grace=0.1)
        engine.run(exchange, self.script(PLAIN + f"setsid {STAYS} & sleep 1000"))
        (pid,) = self.pids(exchange, 1)
        self.spin(lambda: is_alive(pid))
        exchange.leave()
        self.spin(lambda: not exists(pid))

    def test_cgi_08_script_runs_on(self) -> None:
        """While its script runs it is let alone, whatever else ends."""
        exchange = FakeExchange()
        engine = self.engine(cgi_kill_grace=0.1)
        engine.run(exchange, self.script(PLAIN + f"(setsid {STAYS} &); (env -i setsid {STAYS} &); sleep 1000"))
        pids = self.pids(exchange, 2)
        other = FakeExchange()
        other.request_id = "rq2"
        engine.run(other, self.script(PLAIN, "other"))
        self.spin(lambda: other.end)
        end = self.reactor.seconds() + 0.6
        self.spin(lambda: self.reactor.seconds() > end)
        self.assertTrue(all(map(is_alive, pids)))
        exchange.leave()
        self.spin(lambda: not any(map(exists, pids)))

    def test_cgi_08_background(self) -> None:
        """With cgi_background it lives on."""
        for how in ("setsid", "env -i setsid"):
            exchange = FakeExchange()
            engine = self.engine(cgi_background=True)
            engine.run(exchange, self.script(PLAIN + f"{how} {STAYS} & {ENDS}"))
            (pid,) = self.pids(exchange, 1)
            self.spin(lambda: exchange.end and not engine._all)  # noqa: B023
            done: list[object] = []
            engine.stop().addCallback(done.append)
            self.spin(lambda: done)  # noqa: B023
            self.assertTrue(is_alive(pid))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def test_cgi_08_stop(self) -> None:
        """When the daemon stops nothing is left of any script."""
        exchange = FakeExchange()
        engine = self.engine(cgi_kill_grace=0.1)
        engine.run(exchange, self.script(PLAIN + f"setsid {STAYS} & sleep 1000"))
        (pid,) = self.pids(exchange, 1)
        done: list[object] = []
        engine.stop().addCallback(done.append)
        self.spin(lambda: done)
        self.assertFalse(exists(pid))

    def test_cgi_08_other_children(self) -> None:
        """Children of other parts of the daemon are neither ended nor reaped, in any session."""
        leader = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        member = subprocess.Popen(["sleep", "1000"])
        ended = subprocess.Popen(["sh", "-c", "exit 7"], start_new_session=True)
        claimed = os.posix_spawnp("sleep", ["sleep", "1000"], {}, setsid=True)
        remains_of(self.reactor).claim(claimed)
        self.spin(lambda: not is_alive(ended.pid))
        self.leaves(f"setsid {STAYS} & {ENDS}")
        self.assertTrue(all(map(is_alive, (leader.pid, member.pid, claimed))))
        self.assertEqual(ended.wait(), 7)
        for one in (leader, member):
            one.kill()
            self.assertEqual(one.wait(), -9)
        os.kill(claimed, 9)
        os.waitpid(claimed, 0)
        remains_of(self.reactor).release(claimed)

    def test_cgi_08_zombies(self) -> None:
        """Children that a script did not wait for are no zombies of ours."""
        exchange = self.answer(PLAIN + "setsid true & sh -c 'exit 3' & echo $$; kill -9 $$")
        self.assertEqual(exchange.end, "aborted")
        own = procfs.children_of(os.getpid())
        self.spin(lambda: not [pid for pid in procfs.children_of(os.getpid()) - own if not is_alive(pid)])

    def test_cgi_08_no_subreaper(self) -> None:
        """Where orphans are not inherited they are found by their environment; it is said once."""
        with mock.patch.object(procfs, "become_subreaper", return_value=False):
            exchange = FakeExchange()
            self.engine(cgi_kill_grace=0.1).run(exchange, self.script(PLAIN + f"setsid {STAYS} & {ENDS}"))
            (pid,) = self.pids(exchange, 1)
            self.spin(lambda: not is_alive(pid))
        self.assertEqual(len(self.logged("cgi-no-subreaper")), 1)

    def test_cgi_08_unkillable(self) -> None:
        """What does not die of SIGKILL is given up after a while, with an error in the log."""
        exchange = FakeExchange()
        engine = self.engine(cgi_kill_grace=0.1)
        with (
            mock.patch("netsvc.services.http.cgi.remains._signal"),
            mock.patch("netsvc.services.http.cgi.remains.LINGER", 0.1),
        ):
            engine.run(exchange, self.script(PLAIN + f"setsid {STAYS} & {ENDS}"))
            (pid,) = self.pids(exchange, 1)
            self.spin(lambda: not engine._all)
            done: list[object] = []
            remains_of(self.reactor).settle().addCallback(done.append)
            self.spin(lambda: done)
        self.assertEqual(len(self.logged("cgi-unkillable")), 1)
        os.kill(pid, 9)

    def test_cgi_08_nothing(self) -> None:
        """With no script there is nothing to wait for."""
        self.assertEqual(self.successResultOf(Remains(self.reactor).settle()), None)

    def test_cgi_08_servers_are_not_remains(self) -> None:
        """Fork servers that are still there when the engine stops are not taken for what a script left behind."""
        engine = self.engine(cgi_warm="on", cgi_kill_grace=0.1)
        script = self.script(
            f"#!{os.path.realpath(sys.executable)}\nimport json\nprint('Content-Type: text/plain\\n')\n"
        )

        def layered() -> bool:
            exchange = FakeExchange()
            engine.run(exchange, script)
            self.spin(lambda: exchange.end and not engine._all)
            return any(one.ready for one in engine._warm._layers.values())

        self.spin(layered)
        pids = [one.pid for servers in (engine._warm._servers, engine._warm._layers) for one in servers.values()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        done: list[object] = []
        engine.stop().addCallback(done.append)
        self.spin(lambda: done)
        self.assertEqual(self.logged("cgi-left-behind"), [])
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        self.spin(lambda: not any(map(exists, pids)))


class ProcfsTest(EngineCase):
    """What the kernel says."""

    def test_gone(self) -> None:
        """Of a process that is gone there is nothing to say."""
        pid = os.posix_spawnp("true", ["true"], {})
        os.waitpid(pid, 0)
        self.assertIsNone(procfs.status_of(pid))
        self.assertIsNone(procfs.variable_of(pid, b"X"))
        self.assertEqual(procfs.children_of(pid), set())

    def test_elsewhere(self) -> None:
        """Without /proc or prctl the answers are empty."""
        with mock.patch("os.listdir", side_effect=FileNotFoundError(2, "No such file")):
            self.assertEqual((procfs.all_processes(), procfs.children_of(os.getpid())), ([], set()))
        with mock.patch("ctypes.CDLL", side_effect=OSError("no")):
            self.assertFalse(procfs.become_subreaper())

    def test_variable(self) -> None:
        """A variable is found by its whole name."""
        environment = {"AB": "1", "B": "2", "C": ""}
        pid = os.posix_spawnp("sleep", ["sleep", "1000"], environment)
        self.spin(lambda: procfs.variable_of(pid, b"AB") == b"1")
        found = [procfs.variable_of(pid, name) for name in (b"B", b"C", b"D", b"A")]
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        self.assertEqual(found, [b"2", b"", None, None])
