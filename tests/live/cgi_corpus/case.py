"""What a case of the corpus is: a script, what is asked of it, and what about its answer is known beforehand.

A case says as little as it can about the right answer: the answer under exec is the right one. What it does say keeps
it from being empty: a script that does not even start is the same in both ways, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

HEAD = 'print("Content-Type: text/plain; charset=utf-8\\n", flush=True)\n'

# Waits for the limits of the variant "limited": the daemon limits a script that runs already, last of all its priority.
LIMITED = """
import os, time
until = time.monotonic() + 30
while not os.getpriority(os.PRIO_PROCESS, 0) and time.monotonic() < until:
    time.sleep(0.001)
"""

# Addresses of objects. Everything else that differs from run to run is declared by its case.
ADDRESS = (r"0x[0-9a-f]{6,16}", "0x…")

# Sections of the daemons' configuration. {place} is the directory of the corpus, {first} where `env` finds python3.
VARIANTS: dict[str, str] = {
    "plain": "",
    "strict": "cgi_crash_on = status",  # the log tells the exit status
    "lang-c": "cgi_env = LC_ALL=C",
    "lang-c-utf8": "cgi_env = LANG=C.UTF-8",
    "lang-posix": "cgi_env = LC_ALL=POSIX\n  PYTHONCOERCECLOCALE=0\n  PYTHONUTF8=0",
    "lang-nowhere": "cgi_env = LC_ALL=xx_XX.UTF-8\n  LANGUAGE=xx",
    "utf8-mode": "cgi_env = PYTHONUTF8=1\n  LC_ALL=C",
    "io-encoding": "cgi_env = PYTHONIOENCODING=latin-1:backslashreplace",
    "unbuffered": "cgi_env = PYTHONUNBUFFERED=1",
    "hash-seed": "cgi_env = PYTHONHASHSEED=42",
    "python-path": "cgi_env = PYTHONPATH={place}/modules",
    "safe-path": "cgi_env = PYTHONSAFEPATH=1",
    "user-base": "cgi_env = PYTHONUSERBASE={place}/user",
    "time-zone": "cgi_env = TZ=Asia/Tokyo",
    "warnings": "cgi_env = PYTHONWARNINGS=error::DeprecationWarning,ignore::UserWarning",
    "no-bytecode": "cgi_env = PYTHONDONTWRITEBYTECODE=1",
    "bytecode-elsewhere": "cgi_env = PYTHONPYCACHEPREFIX={place}/pycache",
    "optimised": "cgi_env = PYTHONOPTIMIZE=2",
    "dev-mode": "cgi_env = PYTHONDEVMODE=1",
    "tracemalloc": "cgi_env = PYTHONTRACEMALLOC=3\n  PYTHONFAULTHANDLER=1",
    "malloc": "cgi_env = PYTHONMALLOC=malloc\n  MALLOC_ARENA_MAX=1\n  PYTHONINTMAXSTRDIGITS=1000",
    "linker": "cgi_env = LD_LIBRARY_PATH=/nonexistent\n  OMP_NUM_THREADS=1",
    "inspect": "cgi_env = PYTHONINSPECT=1\n  PYTHONSTARTUP={place}/modules/startup.py",
    "limited": "cgi_umask = 0077\ncgi_nice = 5\ncgi_cpu_limit = 100s\ncgi_memory_limit = 4GiB",
    "arguments": "cgi_query_arguments = yes\ncgi_pass_authorization = yes",
    "no-ctypes": "cgi_env = PYTHONPATH={place}/no-ctypes",
    "by-env": "cgi_path = {first}:/usr/bin:/bin",
}


@frozen
class Link:
    """A symbolic link beside a script.

    :param target: what it says.
    """

    target: str


@frozen(kw_only=True)
class Case:
    """One script and one request to it.

    In `shebang` and the names of `edits`, and with `fill` in the texts as well, ``{python}``, ``{version}`` and
    ``{venv}`` stand for the interpreter, its version ("3.12"), and the directory of a virtual environment of it.

    :param name: the directory of the script.
    :param script: what follows the first line; `bytes` are the whole file.
    :param head: put a line that prints the answer's head before it.
    :param shebang: the first line.
    :param filename: the script's file name. None of its own: many a case has the name of a module that it imports.
    :param files: what lies beside it, by relative name.
    :param edits: what is written between the first request and the second, by names relative to the script's directory;
        "" is the script itself.
    :param fill: see above.
    :param variant: which section of the configuration it runs under; see VARIANTS.
    :param method: of the request; also `path_info`, `query`, `body`, `headers`.
    :param chunked: send the body in chunks.
    :param again: ask twice. A case with `edits` or `fresh` is always asked twice.
    :param status: what answers it under exec.
    :param expect: a pattern found in the answer's body, under exec.
    :param log: a pattern found in the log of the run, under exec.
    :param normal: (pattern, replacement) for what differs from run to run.
    :param fresh: a pattern whose first match has to differ between two runs of the same way.
    :param shared: why two warm runs may have in common what `fresh` finds.
    :param declared: what a warm run is known to show differently, and why; `normal` takes it out.
    :param cold: a pattern of the reason why it does not run warm; "" when it does.
    :param more: further requests, one after the other when all else is done.
    """

    name: str
    script: str | bytes | Link
    head: bool = True
    shebang: str = "#!{python}"
    filename: str = "script.py"
    files: Mapping[str, str | bytes | Link] = field(factory=dict)
    edits: Mapping[str, str | bytes] = field(factory=dict)
    fill: bool = False
    variant: str = "plain"
    method: str = "GET"
    path_info: str = ""
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict)
    chunked: bool = False
    again: bool = False
    status: int = 200
    expect: str = ""
    log: str = ""
    normal: tuple[tuple[str, str], ...] = ()
    fresh: str = ""
    shared: str = ""
    declared: str = ""
    cold: str = ""
    more: int = 0

    @property
    def twice(self) -> bool:
        """Whether it is asked a second time."""
        return self.again or bool(self.edits) or bool(self.fresh)


class Cases(list[Case]):
    """A list that cases are added to as they are written down."""

    def add(self, name: str, script: str | bytes | Link, **more: object) -> None:
        """One more."""
        self.append(Case(name=name, script=script, **more))  # type: ignore[arg-type]
