"""Asks a daemon for every case, and gathers all that can be seen of each run: the answer, the log, the files left."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import field, frozen

from tests.live.cgi_corpus.case import ADDRESS, VARIANTS, Case
from tests.live.cgi_corpus.site import Python, Site
from tests.live.daemon import Daemon
from tests.waiting import wait_until

BOUND = 60.0  # seconds for one answer
AT_ONCE = 4  # requests
CHUNK = 10_000  # octets

LAYER_BOUND = 4.0  # seconds for a layer; a few scripts get none

Run = tuple[Case, Python]
Key = tuple[str, str, int]  # case, version of Python, number of the request from 1


@frozen(kw_only=True)
class Seen:
    """One run, as it is seen from outside.

    :param status: of the answer; 0 when it was cut before it began, -1 when there was none in time; also `reason`,
        `headers` (without Date, the ETag, which holds an inode, and the framing) and `body`.
    :param whole: whether the answer came to its proper end.
    :param stderr: its lines, from the daemon's log.
    :param events: the other events of the log that name the run, without its request id.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool
    stderr: tuple[str, ...] = ()
    events: tuple[str, ...] = ()

    @property
    def cut(self) -> bool:
        """Whether the connection was cut before a single octet of the answer."""
        return self.status == 0

    def normal(self, case: Case) -> dict[str, Any]:
        """What is compared: everything, but what the case declares to differ from run to run."""
        # The body may be no text at all; what a pattern finds in it is.
        body = normal(self.body.decode("utf-8", "surrogateescape"), case.normal)
        stderr = normal("\n".join(self.stderr), case.normal)
        return {
            "status": f"{self.status} {self.reason}",
            "headers": self.headers,
            "body": body,
            "whole": self.whole,
            "stderr": stderr,
            "events": self.events,
        }


@frozen(kw_only=True)
class Played:
    """All runs of one daemon.

    :param runs: by key.
    :param files: by case and version, what lies in the script's directory at the end.
    :param elsewhere: what lies beside the document root.
    :param layered: by case and version, the runs that a layer has forked.
    :param warm: every event of the log whose name begins with ``cgi-warm``, with its fields.
    :param log: all of the log.
    """

    runs: dict[Key, Seen] = field(factory=dict)
    files: dict[tuple[str, str], dict[str, tuple[str, bytes]]] = field(factory=dict)
    elsewhere: dict[str, tuple[str, bytes]] = field(factory=dict)
    layered: frozenset[tuple[str, str]] = frozenset()
    warm: tuple[dict[str, Any], ...] = ()
    log: str = ""


def normal(text: str, patterns: Iterable[tuple[str, str]]) -> str:
    """A text with what every run has of its own, and what the patterns match, replaced."""
    for pattern, replacement in (ADDRESS, *patterns):
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


class _Connection(http.client.HTTPConnection):
    """To a UNIX socket: both daemons are asked by the same name, and no port is in anybody's environment."""

    def __init__(self, path: Path) -> None:
        super().__init__("corpus.test", timeout=BOUND)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(BOUND)
        self.sock.connect(os.fspath(self._path))


def target(site: Site, case: Case, python: Python) -> str:
    """What stands in a request's first line for a case."""
    path = quote(os.fsencode(site.script_name(case, python))) + case.path_info
    return f"{path}?{case.query}" if case.query else path


def configuration(site: Site, first: str, options: str) -> str:
    """A section for each variant, each on a UNIX socket of its own.

    :param first: the directory where `env` finds python3.
    :param options: lines for every section.
    """
    sections = [f"[netsvc]\nlog_format = json\nstate_directory = {site.place}/state\n"]
    for name, lines in VARIANTS.items():
        text = lines.replace("{place}", str(site.place)).replace("{first}", first)
        crash = "" if "cgi_crash_on" in text else "cgi_crash_on = signal\n"  # so that answers are whole
        sections.append(
            f"[http:{name}]\nlisten = unix:{site.place}/{name}.sock\ndocroot = {site.place}/www\n"
            f"follow_symlinks = yes\n{crash}cgi_kill_grace = 1s\ncgi_warm_servers = 200\n{options}\n{text}\n"
        )
    return "\n".join(sections)


def play(site: Site, cases: Sequence[Case], interpreters: Sequence[Python], options: str) -> Played:
    """Run a daemon, ask it for every case once and for some a second time, in another order, and stop it."""
    every = [(case, python) for case in cases for python in interpreters]

    def ask_all(play: _Play, pool: ThreadPoolExecutor) -> None:
        ask = play.ask
        list(pool.map(lambda one: ask(*one, 1), every))
        twice = [one for one in reversed(every) if one[0].twice]
        for one in twice:
            site.edit(*one)
        list(pool.map(lambda one: ask(*one, 2), twice))
        for one in every:
            for turn in range(3, 3 + one[0].more):
                ask(*one, turn)

    return _played(site, every, interpreters, options, ask_all)


def play_thrice(site: Site, every: Sequence[Run], interpreters: Sequence[Python], options: str) -> Played:
    """Run a daemon, ask it three times for each of some cases: the third time a warm one has a layer for it."""

    def ask_all(play: _Play, pool: ThreadPoolExecutor) -> None:
        list(pool.map(lambda one: play.ask_thrice(*one), every))

    return _played(site, every, interpreters, options, ask_all)


class _Play:
    """A daemon that is being asked."""

    def __init__(self, site: Site, pid: int, warm: bool) -> None:
        self._site = site
        self._pid = pid
        self._warm = warm
        self.answers: dict[Key, Seen] = {}
        self.layered: set[tuple[str, str]] = set()

    def ask(self, case: Case, python: Python, turn: int) -> None:
        self.answers[case.name, python.version, turn] = _ask(self._site, case, python)

    def ask_thrice(self, case: Case, python: Python) -> None:
        self.ask(case, python, 1)
        self.ask(case, python, 2)
        layer = 0 if case.cold else self._layer(case, python)
        before = _faults(layer)
        self.ask(case, python, 3)
        if layer and _faults(layer) > before:  # a process that forks cannot but have some
            self.layered.add((case.name, python.version))

    def _layer(self, case: Case, python: Python) -> int:
        """The process of a case's layer once it waits for requests; 0 when there is none."""
        title = b"netsvc: warm " + os.fsencode(f"{self._site.place}/www{self._site.script_name(case, python)}") + b"\0"
        until = time.monotonic() + LAYER_BOUND
        while self._warm and time.monotonic() < until:
            for pid in Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title) and _stat(int(pid))[0] == "S":
                        return int(pid)
            time.sleep(0.005)
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on, proc(5); of a process that is gone, dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", *["0"] * 20]


def _faults(pid: int) -> int:
    return int(_stat(pid)[7]) if pid else 0


def _played(
    site: Site,
    every: Sequence[Run],
    interpreters: Sequence[Python],
    options: str,
    ask_all: Callable[[_Play, ThreadPoolExecutor], None],
) -> Played:
    site.lay_out()
    first = str(Path(interpreters[0].program).parent)
    with Daemon(configuration(site, first, options)) as daemon, ThreadPoolExecutor(AT_ONCE) as pool:
        play = _Play(site, daemon.pid, warm="cgi_warm = on" in options)
        ask_all(play, pool)
        # A script goes on for a moment after the last octet of its answer.
        wait_until(lambda: not _at_work(site.place / "www"), "a script of the corpus does not end")
        daemon.stop()
        events = [json.loads(line) for line in daemon.lines if line.startswith("{")]
        log = daemon.log()
    logged = _by_run(events, {target(site, *one): (one[0].name, one[1].version) for one in every})
    return Played(
        runs={key: _with_log(seen, logged[key]) for key, seen in play.answers.items()},
        files={(case.name, python.version): site.left_by(case, python) for case, python in every},
        elsewhere=site.left_elsewhere(),
        layered=frozenset(play.layered),
        warm=tuple(event for event in events if str(event.get("event", "")).startswith("cgi-warm")),
        log=log,
    )


def _ask(site: Site, case: Case, python: Python) -> Seen:
    with closing(_Connection(site.place / f"{case.variant}.sock")) as client:
        body: Any = case.body or None
        if case.chunked:
            body = (case.body[at : at + CHUNK] for at in range(0, len(case.body), CHUNK))
        elif case.method == "POST":
            body = case.body
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before the body was taken
            client.request(
                case.method, target(site, case, python), body, dict(case.headers), encode_chunked=case.chunked
            )
        try:
            answer = client.getresponse()
        except (http.client.BadStatusLine, ConnectionResetError) as error:
            return Seen(status=0, reason=repr(error), headers=(), body=b"", whole=False)
        except TimeoutError:
            return Seen(status=-1, reason="no answer", headers=(), body=b"", whole=False)
        try:
            content, whole = answer.read(), True
        except http.client.IncompleteRead as error:
            content, whole = error.partial, False
        except ConnectionResetError:
            content, whole = b"", False
        # A short answer has a length if its script has exited by then, which is between the daemon and its clock.
        framing = ("Transfer-Encoding", "chunked"), ("Content-Length", str(len(content)))
        headers = tuple(one for one in answer.getheaders() if one[0] not in ("Date", "ETag") and one not in framing)
        return Seen(status=answer.status, reason=answer.reason, headers=headers, body=content, whole=whole)


def _at_work(directory: Path) -> bool:
    """Whether a process works in a directory or beneath it."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                if Path(os.readlink(f"/proc/{entry}/cwd")).is_relative_to(directory):
                    return True
            except OSError:
                continue
    return False


def _by_run(events: list[dict[str, Any]], names: dict[str, tuple[str, str]]) -> dict[Key, list[dict[str, Any]]]:
    """The events of each run. The record of requests tells which run a request id is of."""
    runs: dict[str, Key] = {}
    turns: dict[tuple[str, str], int] = defaultdict(int)
    for event in events:
        if event.get("event") in ("http-request", "http-request-aborted"):
            name = names[event["target"]]
            turns[name] += 1
            runs[event["request_id"]] = (*name, turns[name])
    found: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        key = runs.get(event.get("request_id", ""))
        if key is not None:
            found[key].append(event)
    return found


def _with_log(seen: Seen, events: list[dict[str, Any]]) -> Seen:
    stderr, others, body = [], [], seen.body
    for event in events:
        body = body.replace(event["request_id"].encode(), b"REQUEST")
        if event["event"] == "cgi-stderr":
            stderr.append(event["line"].replace(event["request_id"], "REQUEST"))
        elif not event["event"].startswith(("http-request", "cgi-warm")):
            others.append(event["message"].replace(event["request_id"], "REQUEST"))
    # What is said of the whole run, and stderr, come on two ways.
    return Seen(
        status=seen.status,
        reason=seen.reason,
        headers=seen.headers,
        body=body,
        whole=seen.whole,
        stderr=tuple(stderr),
        events=tuple(sorted(others)),
    )
