"""Runs scripts as the daemon would, without a network: each with exec, with exec again, and warm.

A program of its own, `python -m netsvc.services.http.cgi.rehearsal`: ``netsvc cgi-check`` itself imports no Twisted.
It reads one JSON object, a job, from stdin, and prints one JSON object a run, a line each.
The settings are a CgiSettings, pickled, in base64: they come from the command that starts this.

    {"scripts": [{"file": "/srv/www/cgi-bin/a.py", "name": "/cgi-bin/a.py", "docroot": "/srv/www"}],
     "settings": "...", "host": "", "state": "/tmp/x", "timeout": 30}
    {"file": "/srv/www/cgi-bin/a.py", "way": "exec", "last": false, "status": 200, ...}
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from netsvc.interfaces import ICounter, IGauge, IHistogram, IMetrics
from netsvc.services.http.cgi.engine import CgiEngine
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.exchange import IExchange, RequestHead
from netsvc.services.http.site.paths import Script
from netsvc.services.http.site.style import PLAIN, AnswerStyle

WAYS = ("exec", "again", "warm")
MAX_BODY = 1 << 20  # octets of a body that are told; of more, only how many there are
GRACE = 1.0  # seconds from SIGTERM to SIGKILL for a script that takes too long

Pairs = tuple[tuple[bytes, bytes], ...]


@implementer(ICounter, IGauge, IHistogram)
class Silent:
    """A metric of any kind, which counts nothing."""

    def bind(self, **labels: str) -> Silent:  # noqa: ARG002
        """As ICounter, IGauge and IHistogram."""
        return self

    def inc(self, amount: float = 1, **labels: str) -> None:
        """As ICounter and IGauge."""

    def set(self, value: float, **labels: str) -> None:
        """As IGauge."""

    def remove(self, **labels: str) -> None:
        """As IGauge."""

    def observe(self, value: float, **labels: str) -> None:
        """As IHistogram."""


class Finished(Silent):
    """The counter of runs.

    :param over: called with the outcome when nothing of a run is left.
    """

    def __init__(self, over: Callable[[str], object]) -> None:
        self._over = over

    def inc(self, amount: float = 1, **labels: str) -> None:  # noqa: ARG002
        self._over(labels["outcome"])


@implementer(IMetrics)
class Metrics:
    """The metrics of an engine: one of them tells when a run is over.

    :param over: as Finished's.
    """

    def __init__(self, over: Callable[[str], object]) -> None:
        self._finished = Finished(over)

    def counter(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Silent:  # noqa: ARG002
        return self._finished if name == "cgi_scripts" else Silent()

    def gauge(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Silent:  # noqa: ARG002
        return Silent()

    def histogram(
        self,
        name: str,  # noqa: ARG002
        help: str,  # noqa: ARG002
        labels: tuple[str, ...] = (),  # noqa: ARG002
        buckets: tuple[float, ...] | None = None,  # noqa: ARG002
    ) -> Silent:
        return Silent()


@implementer(IExchange)
class Rehearsed:
    """A plain GET from this machine whose answer is remembered."""

    peer = ("127.0.0.1", 50_000)
    local = ("127.0.0.1", 80)
    secure = False
    body_length = 0
    style: AnswerStyle = PLAIN
    user = ""

    def __init__(self, script: Script, host: str, request_id: str) -> None:
        path = quote(os.fsencode(script.script_name)).encode()
        authority = host or "localhost"
        self.head = RequestHead(
            method="GET",
            target=path,
            path=path,
            query=b"",
            version=(1, 1),
            headers=((b"host", authority.encode()), (b"accept", b"*/*"), (b"user-agent", b"netsvc cgi-check")),
            host=authority,
        )
        self.request_id = request_id
        self.lost: Deferred[None] = Deferred()
        self.status = 0
        self.headers: Pairs = ()
        self.body = b""
        self.octets = 0
        self.end = ""

    def receive_body(self, receiver: Any) -> None:
        receiver.body_finished()

    def pause_body(self) -> None:
        """There is none."""

    resume_body = send_continue = unregister_producer = pause_body

    def send_file(self, descriptor: int, offset: int, length: int) -> Deferred[None]:
        self.write(os.pread(descriptor, length, offset))
        return succeed(None)

    def register_producer(self, producer: Any, streaming: bool) -> None:
        """It takes all at once."""

    def inform(self, status: int, headers: Pairs, reason: str | None) -> None:
        """Only the answer itself is remembered."""

    def begin(self, status: int, headers: Pairs, length: int | None = None, reason: str | None = None) -> None:  # noqa: ARG002
        self.status, self.headers = status, tuple(headers)

    def take_over(self) -> bool:
        self.status = 200  # what a nph- script says is in the body
        return True

    def write(self, data: bytes) -> None:
        self.octets += len(data)
        self.body += data[: MAX_BODY - len(self.body)]

    def answer(self, status: int, headers: Pairs, body: bytes, reason: str | None = None) -> None:
        self.begin(status, headers, len(body), reason)
        self.write(body)
        self.finish()

    def finish(self) -> None:
        self.end = "finished"

    def abort(self) -> None:
        self.end = "aborted"

    def refuse(self, status: int, reason: str | None = None, headers: Pairs = ()) -> None:  # noqa: ARG002
        self.status, self.headers = status, tuple(headers)
        self.end = "refused"


class Rehearsal:
    """Runs scripts, one after the other.

    :param settings: the options of CGI.
    :param state: a directory for what `cgi_legacy` offers.
    :param host: of the site.
    :param timeout: seconds for each run.
    """

    def __init__(self, settings: CgiSettings, *, state: Path, host: str, timeout: float) -> None:
        self._reactor = EPollReactor()
        self._host = host
        self._events: list[dict[str, Any]] = []
        self._outcome = ""
        self._work: Iterator[None] = iter(())
        self._runs = 0
        self._ways = WAYS if settings.cgi_warm != "off" else WAYS[:2]
        self._engines = {
            way: CgiEngine(
                evolve(
                    settings,
                    cgi_warm=warm,
                    cgi_timeout=timeout,
                    cgi_idle_timeout=timeout,
                    cgi_kill_grace=GRACE,
                    cgi_crash_on="signal",  # so that what was printed before an error is seen
                    cgi_debug=False,
                ),
                self._reactor,
                Metrics(self._over),
                state_directory=state,
            )
            for way, warm in (("exec", "off"), ("warm", "auto"))
        }

    def run(self, scripts: Iterable[Script], tell: Callable[[dict[str, Any]], object]) -> None:
        """Run all; `tell` is called with what each run gave."""
        self._work = self._runs_of(scripts, tell)

        @implementer(ILogObserver)
        def observer(event: dict[str, Any]) -> None:
            self._events.append(event)

        globalLogPublisher.addObserver(observer)
        self._reactor.callWhenRunning(self._go_on)
        try:
            self._reactor.run(installSignalHandlers=False)
        finally:
            globalLogPublisher.removeObserver(observer)

    def _over(self, outcome: str) -> None:
        self._outcome = outcome
        self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        try:
            next(self._work)
        except StopIteration:
            ends = DeferredList([engine.stop() for engine in self._engines.values()])
            ends.addBoth(lambda _: self._reactor.stop())

    def _runs_of(self, scripts: Iterable[Script], tell: Callable[[dict[str, Any]], object]) -> Iterator[None]:
        for script in scripts:
            for way in self._ways:
                told: dict[str, Any] = {}
                while not told or told["fallback"].endswith("has changed"):
                    # Stale: the modules of cgi_legacy were compiled by the run before, as they are once in a life.
                    retried = bool(told)
                    self._events.clear()
                    self._runs += 1
                    exchange = Rehearsed(script, self._host, f"check{self._runs:07}")
                    self._engines["warm" if way == "warm" else "exec"].run(exchange, script)
                    yield  # until nothing of it is left
                    told = self._told(script, way, exchange)
                    if retried:
                        break
                tell({**told, "last": way == self._ways[-1]})

    def _told(self, script: Script, way: str, exchange: Rehearsed) -> dict[str, Any]:
        mark, mine = exchange.request_id, "check-run"
        stderr, said, fallback = [], [], ""
        for event in self._events:
            name = event.get("event")
            if name == "cgi-stderr":
                stderr.append(str(event["line"]).replace(mark, mine))
            elif name == "cgi-warm-fallback":
                fallback = str(event["reason"])
            elif name in ("cgi-failed", "cgi-start-failed", "cgi-aborted", "cgi-time-up"):
                said.append(", ".join(str(event[key]) for key in ("reason", "ending", "limit") if key in event))
        return {
            "file": str(script.filename),
            "way": way,
            "status": exchange.status,
            "headers": [[one.decode("latin-1").replace(mark, mine) for one in pair] for pair in exchange.headers],
            "body": base64.b64encode(exchange.body.replace(mark.encode(), mine.encode())).decode(),
            "octets": exchange.octets,
            "end": exchange.end,
            "outcome": self._outcome,
            "typed": any(name.lower() == b"content-type" for name, _ in exchange.headers),
            "stderr": stderr,
            "said": said,
            "fallback": fallback,
        }


def main(source: TextIO, target: TextIO) -> None:
    """Do the job that stands in `source`."""
    job = json.load(source)
    scripts = [
        Script(filename=Path(one["file"]), script_name=one["name"], path_info="", docroot=Path(one["docroot"]))
        for one in job["scripts"]
    ]
    if scripts:
        Rehearsal(
            pickle.loads(base64.b64decode(job["settings"])),  # noqa: S301 - see above
            state=Path(job["state"]),
            host=job["host"],
            timeout=job["timeout"],
        ).run(scripts, lambda told: print(json.dumps(told), file=target, flush=True))


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
