"""The warm interpreter as scripts see it: the same scripts by two daemons, one that executes and one that is warm."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import ClassVar

from tests.live.daemon import Daemon
from tests.shared import SharedCase
from tests.waiting import wait_until

BOUND = 180.0  # seconds
PYTHON = Path(os.environ.get("NETSVC_TEST_PYTHON", Path(sys.base_prefix) / "bin" / "python3"))
FALLBACK = "not run warm"
TITLE = b"netsvc: warm "  # of fork servers


def children_of(pid: int) -> list[int]:
    """What a process has started and not reaped."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> bytes:
    """The command line of a process; empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


class Case(SharedCase):
    """Two daemons that serve one directory."""

    directory: ClassVar[Path]
    cold: ClassVar[Daemon]
    warm: ClassVar[Daemon]
    options: ClassVar[str] = ""

    @classmethod
    def set_up_shared(cls) -> None:
        cls.directory = Path(tempfile.mkdtemp(prefix="netsvc-warm-"))
        (cls.directory / "cgi-bin").mkdir()
        cls.cold, cls.warm = (Daemon(cls.ini(one)).__enter__() for one in ("off", "on"))

    @classmethod
    def ini(cls, warm: str) -> str:
        """A configuration."""
        return (
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.directory}\ncgi_warm = {warm}\n"
            f"cgi_legacy = no\n{cls.options}"
        )

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.cold.close()
        cls.warm.close()
        shutil.rmtree(cls.directory)

    def script(self, text: str, name: str = "", first: str = f"#!{PYTHON}") -> str:
        """Write a script; its path below the server."""
        name = name or self.id().rpartition(".")[2] + ".py"
        file = self.directory / "cgi-bin" / name
        temporary = file.with_name(f".{name}.new")
        temporary.write_text(f"{first}\n{textwrap.dedent(text)}")
        temporary.chmod(0o755)
        os.replace(temporary, file)
        return f"/cgi-bin/{name}"

    def ask(self, daemon: Daemon, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body."""
        client = http.client.HTTPConnection("127.0.0.1", daemon.port("http"), timeout=BOUND)
        with contextlib.closing(client):
            try:
                client.request("GET" if body is None else "POST", path, body)
                answer = client.getresponse()
                return answer.status, re.sub(rb"<code>\w+</code>", b"", answer.read())
            except (http.client.IncompleteRead, ConnectionResetError):
                return -1, b""  # how much arrives before it is cut is the network's affair

    def same(self, text: str, body: bytes | None = None, first: str = f"#!{PYTHON}", warm: bool = True) -> bytes:
        """What a script prints: executed, warm, and warm from a layer, where it must be the same."""
        path = self.script("print('Content-Type: text/plain\\n')\n" + textwrap.dedent(text), first=first)
        return self.compare(path, body, warm=warm)

    def compare(self, path: str, body: bytes | None = None, warm: bool = True) -> bytes:
        before = len(self.cold.lines)
        expected = self.ask(self.cold, path, body)
        self._wait_for_record(self.cold, path, before)
        complaints = self.complaints(self.cold, path, before)
        for _ in range(4):
            before = len(self.warm.lines)
            self.assertEqual(expected, self.ask(self.warm, path, body))
            self._wait_for_record(self.warm, path, before)
            self.assertEqual(complaints, self.complaints(self.warm, path, before))
        refused = [line for line in self.warm.lines if path in line and FALLBACK in line]
        self.assertEqual(warm, not refused, refused)
        return expected[1]

    @staticmethod
    def _wait_for_record(daemon: Daemon, path: str, start: int) -> None:
        """What a script has complained is logged before the request is."""
        wait_until(lambda: any(f" {path} " in line for line in daemon.lines[start:]), "the record of the request")

    @staticmethod
    def complaints(daemon: Daemon, path: str, start: int = 0) -> list[str]:
        lines = [line for line in daemon.lines[start:] if f"[http] {path}:" in line]
        return [re.sub(r" \(request \w+\)|^\S+ ", "", line) for line in lines]

    def servers(self) -> list[int]:
        """The fork servers."""
        return [pid for pid in children_of(self.warm.pid) if command_line(pid).startswith(TITLE)]


class WarmIdentityTest(Case):
    """A script cannot tell the difference."""

    def test_warm_interpreter(self) -> None:
        """Arguments, path, flags, modules, namespace, streams and the frames below are those of an executed script."""
        self.same(
            """
            import re, sys
            for name in ("argv", "orig_argv", "path", "flags", "executable", "prefix", "warnoptions", "_xoptions",
                         "path_importer_cache", "meta_path", "dont_write_bytecode", "stdin", "stdout", "stderr"):
                print(name, re.sub(" at 0x[0-9a-f]+", "", str(getattr(sys, name))))
            print(list(sys.modules))
            print({name: str(value).split(" at ")[0] for name, value in globals().items()})
            print(sys._getframe().f_back, sys._getframe().f_code.co_filename)
            print(sys.stdin is sys.__stdin__, sys.stdin.buffer.raw, sys.stdout.buffer.raw, sys.stderr.buffer.raw)
            for one in (sys.stdin, sys.stdout, sys.stderr):
                print(one.line_buffering, one.write_through, one.errors, one.encoding, one.newlines, one.isatty())
            import traceback
            traceback.print_stack(file=sys.stdout)
            import threading
            print(threading.current_thread().name, threading.main_thread() is threading.current_thread())
            """
        )

    def test_warm_process(self) -> None:
        """Session, parent, name, command line, directory, umask, signals, descriptors: those of an executed one."""
        output = self.same(
            """
            import os, signal
            me = os.getpid()
            print(os.getsid(0) == os.getpgid(0) == me, open(f"/proc/{os.getppid()}/comm").read())
            print(open("/proc/self/comm").read(), open("/proc/self/cmdline").read().rstrip("\\0").split("\\0"))
            print(os.getcwd(), os.umask(0), sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
            print([(one.name, signal.getsignal(one)) for one in signal.Signals], signal.pthread_sigmask(0, []))
            print([line for line in open("/proc/self/status") if line.startswith(("Sig", "Shd", "NoNewPrivs"))][1:])
            try:
                print(os.wait())
            except ChildProcessError as error:
                print(error)
            print(os.popen("echo of a shell; ps -o stat= -p $PPID | cut -c1 | tr R S").read())
            """
        )
        self.assertIn(b"True twistd", output)

    def test_warm_environment(self) -> None:
        """The environment is the request's, in os.environ, in the C library and in /proc."""
        output = self.same(
            """
            import os, subprocess
            skip = ("UNIQUE_ID", "SERVER_PORT", "REMOTE_PORT", "HTTP_HOST")
            print([pair for pair in os.environ.items() if pair[0] not in skip])
            lines = subprocess.check_output(["env"], text=True).split("\\n")
            print([line for line in lines if not line.startswith(skip)])
            shown = open("/proc/self/environ").read().rstrip("\\0").split("\\0")
            print([line for line in shown if not line.startswith(skip)])
            """
        )
        self.assertIn(b"GATEWAY_INTERFACE", output)

    def test_warm_stdin(self) -> None:
        """A body arrives whole, large or small, by text and by octets."""
        for body in (b"", b"a=1\r\n\xff", b"x" * 300_000):
            self.same(
                """
                import sys, hashlib
                data = sys.stdin.buffer.read()
                print(len(data), hashlib.sha256(data).hexdigest(), sys.stdin.read())
                """,
                body,
            )

    def test_warm_endings(self) -> None:
        """Exit statuses, messages, tracebacks, atexit, threads and signals end a script as they end an executed one."""
        for number, ending in enumerate(
            (
                "import sys; sys.exit(3)",
                "import sys; sys.exit('last words')",
                "raise SystemExit",
                "raise SystemExit(-1)",
                "raise KeyError('x')",
                "def f():\n    try:\n        1/0\n    except Exception as e:\n        raise ValueError(2) from e\nf()",
                "raise KeyboardInterrupt",
                "import os; os._exit(5)",
                "import os; os.kill(os.getpid(), 9)",
                "import os; os.abort()",
                "import atexit; atexit.register(print, 'at exit'); print('before')",
                "import threading, time\ndef f():\n    time.sleep(1e-1); print(1)\nthreading.Thread(target=f).start()",
                "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\n1/0",
                "import sys\nclass D:\n    def __del__(self): print('gone', sys.meta_path)\nd = D()\ne = D(); e.e = e",
                "import builtins\nclass D:\n    def __del__(self, print=print): print('late')\nbuiltins.d = D()",
                "f = open('/tmp/netsvc-warm-unclosed', 'w'); f.write('x' * 10)",
                "import sys; sys.stdout.close()",
                "import os; os.close(1)",
                "import os\nif os.fork() == 0:\n    print('child')\nelse:\n    os.wait(); print('parent')",
                "import sys\ndef f(): f()\ntry:\n    f()\nexcept RecursionError as e:\n    print(e)",
                "print(",
                "x = '\\d'; x is 5",
                "import nowhere",
                "import sys; sys.stdout.write('no end'); sys.stderr.write('neither\\n')",
                "import gc, weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'final')",
                "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\ng = g(); next(g)",
            )
        ):
            with self.subTest(ending):
                path = self.script("print('Content-Type: text/plain\\n', flush=True)\n" + ending, f"ending{number}.py")
                self.compare(path, warm=ending != "print(")

    def test_warm_flags(self) -> None:
        """Flags of the first line hold: buffering, isolation, optimisation, warnings."""
        text = "import sys; print(sys.flags, sys.path, sys.warnoptions, sys.stdout.write_through, sys.stdin.buffer)"
        for flags in ("-u", "-I", "-EsB", "-S", "-O", "-Wignore", "-P", "-bb"):
            with self.subTest(flags):
                self.same(text, first=f"#!{PYTHON} {flags}")
        self.same(text, first=f"#!/usr/bin/env -S {PYTHON} -u -W error")
        self.same(text, first="#!/usr/bin/env python3")

    def test_warm_not(self) -> None:
        """What cannot be warm is executed, and the log says why."""
        self.same("print(1)", first=f"#!{PYTHON} -x", warm=False)
        self.same("import sys; print(sys.flags)", first=f"#!{PYTHON} -Xdev", warm=False)
        self.warm.wait_for("test_warm_not.py: executed, not run warm: the flag -Xdev")

    def test_warm_state(self) -> None:
        """Nothing carries from one request to the next; random state is fresh."""
        path = self.script(
            """
            import builtins, json, os, random, sys, tempfile
            print("Content-Type: text/plain\\n")
            print([hasattr(builtins, "left"), hasattr(json, "left"), "LEFT" in os.environ, len(sys.path)])
            builtins.left = json.left = 1
            os.environ["LEFT"] = "1"
            sys.path.append("left")
            os.set_blocking(0, False)
            print(random.random(), os.path.basename(tempfile.mkdtemp()))
            """
        )
        answers = [self.ask(self.warm, path)[1].splitlines() for _ in range(6)]
        self.assertEqual(1, len({one[0] for one in answers}))
        self.assertTrue(answers[0][0].startswith(b"[False, False, False"))
        self.assertEqual(6, len({one[1].split()[0] for one in answers}))
        self.assertEqual(6, len({one[1].split()[1] for one in answers}))


class WarmLimitsTest(Case):
    """Limits hold from the first statement."""

    options = "cgi_cpu_limit = 7s\ncgi_memory_limit = 1GiB\ncgi_nice = 3\ncgi_umask = 027\n"

    def test_warm_limits(self) -> None:
        """CPU, memory, nice and umask are set before the script runs."""
        path = self.script(
            """
            import os, resource
            print("Content-Type: text/plain\\n")
            print(*map(resource.getrlimit, (resource.RLIMIT_CPU, resource.RLIMIT_AS)), os.nice(0), os.umask(0))
            """
        )
        self.assertEqual((200, b"(7, 8) (1073741824, 1073741824) 3 23\n"), self.ask(self.warm, path))


class WarmChangesTest(Case):
    """Edits are seen at the next request."""

    def test_warm_edits(self) -> None:
        """Of the script, of a module beside it, and of one that begins to hide the library's."""
        for number in range(8):
            path = self.script(f"import json\nprint('Content-Type: text/plain\\n')\nprint({number})")
            self.assertEqual(f"{number}\n".encode(), self.ask(self.warm, path)[1])
        text = "import cmd\nimport json\nprint('Content-Type: text/plain\\n')\nprint(getattr(json, 'mine', 'library'))"
        path = self.script(text.replace("import cmd\n", ""), "hidden.py")
        for _ in range(4):
            self.assertEqual(b"library\n", self.ask(self.warm, path)[1])
        module = self.directory / "cgi-bin" / "json.py"
        module.write_text("mine = 'mine'\n")
        self.addCleanup(module.unlink)
        for _ in range(4):
            self.assertEqual(b"mine\n", self.ask(self.warm, path)[1])

    def test_warm_venv(self) -> None:
        """A virtual environment is its own; what is installed in it is there at the next request."""
        venv = self.directory / "venv"
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True)
        path = self.script(
            """
            import sys
            print("Content-Type: text/plain\\n")
            print(sys.prefix, sys.executable, [one for one in sys.path if "packages" in one])
            try:
                import later
                print(later.__file__, "injected" in sys.modules)
            except ImportError as error:
                print(error)
            """,
            first=f"#!{venv}/bin/python3",
        )
        self.assertIn(b"No module named", self.compare(path))
        packages = next(venv.glob("lib/python3*/site-packages"))
        (packages / "later.py").write_text("")
        (packages / "injected.py").write_text("")
        (packages / "x.pth").write_text("import injected\n")
        answers = [self.ask(self.warm, path) for _ in range(4)]
        self.assertEqual([self.ask(self.cold, path)] * 4, answers)
        self.assertIn(b"later.py True", answers[0][1])


class WarmServersTest(Case):
    """The fork servers themselves."""

    options = "cgi_max_scripts = 64\ncgi_queue = 1000\n"

    def test_warm_crash(self) -> None:
        """A fork server that is killed, before or during requests, costs nobody the answer, and no zombies stay."""
        path = self.script("import time\nprint('Content-Type: text/plain\\n')\ntime.sleep(0.2)\nprint('whole')")
        self.assertEqual((200, b"whole\n"), self.ask(self.warm, path))
        answers: list[tuple[int, bytes]] = []
        for _ in range(3):
            answers.clear()
            threads = [threading.Thread(target=lambda: answers.append(self.ask(self.warm, path))) for _ in range(8)]
            for one in threads:
                one.start()
            time.sleep(0.05)
            for pid in self.servers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for one in threads:
                one.join()
            self.assertEqual([(200, b"whole\n")] * 8, answers)
        self._settles()

    def test_warm_many(self) -> None:
        """200 requests at once are all answered, each with its own; no descriptor, zombie or process is left."""
        path = self.script("import os, json\nprint('Content-Type: text/plain\\n')\nprint(os.environ['QUERY_STRING'])")
        self.ask(self.warm, path)
        self._settles()
        before = len(os.listdir(f"/proc/{self.warm.pid}/fd"))
        answers: dict[int, tuple[int, bytes]] = {}
        threads = [
            threading.Thread(target=lambda n=n: answers.update({n: self.ask(self.warm, f"{path}?{n}")}))  # type: ignore[misc]
            for n in range(200)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        self.assertEqual({n: (200, b"%d\n" % n) for n in range(200)}, answers)
        self._settles()
        # One socket and one pidfd more: the script's layer.
        wait_until(lambda: len(os.listdir(f"/proc/{self.warm.pid}/fd")) <= before + 4, "descriptors")

    def test_warm_stop(self) -> None:
        """A daemon that ends takes its fork servers with it."""
        with Daemon(self.ini("auto")) as daemon:
            path = self.script("print('Content-Type: text/plain\\n')")
            self.assertEqual(200, self.ask(daemon, path)[0])
            servers = children_of(daemon.pid)
            self.assertTrue(servers)
            self.assertIn(daemon.stop(), (0, -signal.SIGTERM))
            wait_until(lambda: not any(command_line(pid).startswith(TITLE) for pid in servers), "their end")

    def _settles(self) -> None:
        """Nothing but fork servers is left, and none is a zombie."""

        def rest() -> list[bytes]:
            return [line for pid in children_of(self.warm.pid) if not (line := command_line(pid)).startswith(TITLE)]

        wait_until(lambda: not rest(), "nothing but fork servers")
