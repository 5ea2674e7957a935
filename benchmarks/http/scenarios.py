"""What is measured of HTTP and CGI, and the ratios that netsvc must reach.

Rounds go from peer to peer, so that noise hits all alike. Every peer is asked once before, and its answer looked at.
The processor time is that of the server with all its descendants, also those that have ended.
"""

from __future__ import annotations

import atexit
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

from benchmarks.contestants import Running
from benchmarks.http import contestants
from benchmarks.http.load import (
    SOURCES,
    Ask,
    Measured,
    SlowPeers,
    check,
    fetch,
    h2load,
    upload,
    wrk,
)
from benchmarks.http.site import ENTRIES, LARGE, SMALL, Site, interpreter
from benchmarks.result import MIB, Effort, Result, Target

SETTLE = 10.0  # seconds, at most, for scripts to end
QUIET = 0.05  # seconds in which a server does nothing: it is at rest
SCRIPT_SECONDS = 5.0  # at least, where 32 interpreters start before the first answers
SCRIPT_ROUNDS = 3  # at most, of those
WARM_UP = 0.3  # seconds with each peer before the rounds
LARGE_CONNECTIONS = 4  # as many transfers at the same time
SLOW_PEERS = 1000
SLOW_SETTLE = 2.0  # seconds until the send buffers of all slow readers are full
UPLOAD = 100_000_000  # octets
PYTHON = list(contestants.PYTHON)
PER_SECOND = "requests/s"


@cache
def site() -> Site:
    """The site, made when the first scenario needs it."""
    made = Site(Path(tempfile.mkdtemp(prefix="netsvc-bench-site-")))
    atexit.register(made.remove)
    return made


@contextmanager
def _running(names: list[str], of: list[str]) -> Iterator[list[Running]]:
    """The peers that are asked for, of those that a scenario has."""
    with ExitStack() as stack:
        peers = []
        for name in of:
            if name in names:
                peer = contestants.ALL[name](site())
                stack.callback(peer.stop)
                peers.append(peer)
        yield peers


def _settle(peer: Running) -> None:
    """Wait until the scripts that a load left behind have ended, so that they do not cost the next peer."""
    patience = time.monotonic() + SETTLE
    used = peer.server.processor_seconds()
    while time.monotonic() < patience:
        time.sleep(QUIET)
        before, used = used, peer.server.processor_seconds()
        if used - before < QUIET / 4:
            return


def _measure(result: Result, peer: Running, one: Callable[[Running], Measured]) -> Measured:
    """One round with one peer: requests a second, processor time of each, failures."""
    before = peer.server.processor_seconds()
    found = one(peer)
    used = peer.server.processor_seconds() - before
    result.add(peer.name, found.per_second)
    result.processor.setdefault(peer.name, []).append(used / max(1, found.done) * 1e6)
    if found.failed:
        result.faults.append(f"{peer.name}: {found.failed} of {found.done + found.failed} requests failed")
    result.notes[peer.name] = f"p50 {found.p50:,.0f} us" + (f", p99 {found.p99:,.0f} us" if found.p99 else "")
    return found


def _rounds(
    result: Result,
    effort: Effort,
    names: list[str],
    of: list[str],
    ask: Ask,
    *,
    load: Callable[[int, Ask, float], Measured] = wrk,
    validator: str = "",
) -> Result:
    """Medians of one request's rate.

    :param validator: a field of the peer's own 200 answer whose value goes into If-None-Match or If-Modified-Since.
    """
    with _running(names, of) as peers:
        asks = {}
        for peer in peers:
            own = asks[peer.name] = _own(peer, ask) if validator else ask
            check(_port(peer, ask), own)
            load(_port(peer, ask), own, WARM_UP)
            _settle(peer)
        for _ in range(effort.rounds):
            for peer in peers:
                _measure(result, peer, lambda peer: load(_port(peer, ask), asks[peer.name], effort.seconds))
                _settle(peer)
        for peer in peers:
            result.memory[peer.name] = peer.server.proportional() / MIB
    return result


def _port(peer: Running, ask: Ask) -> int:
    return peer.ports["https" if ask.secure else "http"]


def _own(peer: Running, ask: Ask) -> Ask:
    """The request with the validator that this peer gave the file."""
    fields, _ = check(_port(peer, ask), Ask(ask.path))
    if "etag" in fields:
        return Ask(ask.path, {"If-None-Match": fields["etag"]}, status=ask.status, length=ask.length)
    return Ask(ask.path, {"If-Modified-Since": fields["last-modified"]}, status=ask.status, length=ask.length)


def _best_python(result: Result) -> str | None:
    measured = [name for name in PYTHON if name in result.values]
    return max(measured, key=result.median, default=None)


def static_small(effort: Effort, names: list[str]) -> Result:
    """1 KiB over 32 connections that stay: 6 times the best Python server, 0.8 of nginx."""
    result = Result("http-static", PER_SECOND)
    _rounds(result, effort, names, ["netsvc", "nginx", *PYTHON], Ask("/small.txt", length=SMALL))
    best = _best_python(result)
    result.targets = (Target("nginx", least=0.8), *((Target(best, least=6),) if best else ()))
    return result


def static_close(effort: Effort, names: list[str]) -> Result:
    """1 KiB, a connection for each request, until its end."""
    result = Result("http-close", PER_SECOND)

    def load(port: int, ask: Ask, seconds: float) -> Measured:
        return fetch(port, ask.path, close=1, seconds=seconds, sources=SOURCES, connections=32)

    return _rounds(result, effort, names, ["netsvc", "nginx", "aiohttp"], Ask("/small.txt", length=SMALL), load=load)


def not_modified(effort: Effort, names: list[str]) -> Result:
    """304 to the validator of 1 KiB."""
    ask = Ask("/small.txt", status=304, length=0)
    of = ["netsvc", "nginx", "aiohttp", "starlette"]
    return _rounds(Result("http-304", PER_SECOND), effort, names, of, ask, validator="etag")


def ranges(effort: Effort, names: list[str]) -> Result:
    """1,000 octets from the middle of 200 MB."""
    ask = Ask("/large.bin", {"Range": "bytes=100000000-100000999"}, status=206, length=1000)
    return _rounds(Result("http-range", PER_SECOND), effort, names, ["netsvc", "nginx", "aiohttp", "starlette"], ask)


def listing(effort: Effort, names: list[str]) -> Result:
    """The page of a directory of 10,000."""
    result = Result("http-listing", PER_SECOND)

    def load(port: int, ask: Ask, seconds: float) -> Measured:
        return wrk(port, ask, seconds, connections=1)  # lighttpd refuses a second while it makes one

    _rounds(result, effort, names, ["netsvc", "nginx", "lighttpd", "http.server"], Ask("/entries/"), load=load)
    with _running(names, ["netsvc", "nginx", "lighttpd", "http.server"]) as peers:
        for peer in peers:
            _, body = check(peer.ports["http"], Ask("/entries/"))
            result.notes[peer.name] += f", {len(body):,} octets"
            if body.count(b"entry-") < ENTRIES:
                result.faults.append(f"{peer.name}: the listing has not all {ENTRIES} entries")
    return result


def tls(effort: Effort, names: list[str]) -> Result:
    """1 KiB over TLS on 32 connections that stay."""
    ask = Ask("/small.txt", length=SMALL, secure=True)
    return _rounds(Result("http-tls", PER_SECOND), effort, names, ["netsvc", "nginx"], ask)


def http2(effort: Effort, names: list[str]) -> Result:
    """1 KiB over HTTP/2, 32 connections of 10 streams."""
    ask = Ask("/small.txt", length=SMALL, secure=True)
    return _rounds(Result("http-h2", PER_SECOND), effort, names, ["netsvc", "nginx"], ask, load=h2load)


def static_large(effort: Effort, names: list[str]) -> list[Result]:
    """200 MB on 4 connections: 1.3 times nginx, 0.8 of its processor time, and no growth."""
    result = Result("http-large", "MB/s", (Target("nginx", least=1.3),))
    cost = Result("http-large-cpu", "CPU ms/GB", (Target("nginx", most=0.8),))
    growth = Result("http-large-growth", "MiB", (Target(most=16),))
    with _running(names, ["netsvc", "nginx"]) as peers:
        for peer in peers:
            fetch(peer.ports["http"], "/large.bin", connections=1, seconds=WARM_UP)
        before = {peer.name: peer.server.resident() for peer in peers}
        for peer in peers:
            peer.server.forget_peak()
        for _ in range(effort.rounds):
            for peer in peers:
                used = peer.server.processor_seconds()
                found = fetch(peer.ports["http"], "/large.bin", connections=LARGE_CONNECTIONS, seconds=effort.seconds)
                used = peer.server.processor_seconds() - used
                result.add(peer.name, found.octets / found.seconds / 1e6)
                cost.add(peer.name, used * 1000 / (found.octets / 1e9))
                if found.failed or found.octets < LARGE:
                    result.faults.append(f"{peer.name}: {found.failed} transfers failed, {found.done} were whole")
        for peer in peers:
            if peer.name == "netsvc":  # nginx's worker is a child
                growth.add(peer.name, (peer.server.peak() - before[peer.name]) / MIB)
            result.memory[peer.name] = peer.server.proportional() / MIB
    return [result, cost, growth]


def cgi_shell(effort: Effort, names: list[str]) -> Result:
    """A shell script that prints a line: as fast as lighttpd's mod_cgi."""
    result = Result("cgi-sh", PER_SECOND, (Target("lighttpd", least=1.0),))
    return _rounds(result, effort, names, ["netsvc", "apache", "lighttpd"], Ask("/cgi-bin/hello.sh"))


def _cgi_python(result: Result, effort: Effort, names: list[str], ask: Ask) -> Result:
    of = ["netsvc", "netsvc-exec", "apache", "lighttpd"]
    if not contestants.offers("cgi_warm"):
        of.remove("netsvc-exec")

    def load(port: int, ask: Ask, seconds: float) -> Measured:
        return wrk(port, ask, max(seconds, SCRIPT_SECONDS))

    _rounds(result, replace(effort, rounds=min(SCRIPT_ROUNDS, effort.rounds)), names, of, ask, load=load)
    for name in result.notes:
        result.notes[name] += f", {interpreter()}"
    return result


def cgi_python(effort: Effort, names: list[str]) -> Result:
    """A Python script that prints a page: 12 times mod_cgid."""
    result = Result("cgi-python", PER_SECOND, (Target("apache", least=12),))
    return _cgi_python(result, effort, names, Ask("/cgi-bin/page.py"))


def cgi_form(effort: Effort, names: list[str]) -> Result:
    """A Python script with ``import cgi`` that takes a form: 12 times mod_cgid."""
    result = Result("cgi-form", PER_SECOND, (Target("apache", least=12),))
    ask = Ask(
        "/cgi-bin/form.py",
        {"Content-Type": "application/x-www-form-urlencoded"},
        method="POST",
        body="name=Ada&comment=" + "+".join(["words"] * 40),
    )
    return _cgi_python(result, effort, names, ask)


def cgi_upload(effort: Effort, names: list[str]) -> list[Result]:
    """POST of 100 MB to a script that counts them: whole, and with flat memory."""
    result = Result("cgi-upload", "MB/s")
    growth = Result("cgi-upload-growth", "MiB", (Target(most=16),))
    with _running(names, ["netsvc", "apache", "lighttpd"]) as peers:
        for peer in peers:
            upload(peer.ports["http"], "/cgi-bin/count.sh", MIB)
        before = {peer.name: peer.server.resident() for peer in peers}
        for peer in peers:
            peer.server.forget_peak()
        for _ in range(min(3, effort.rounds)):
            for peer in peers:
                used = peer.server.processor_seconds()
                seconds, told = upload(peer.ports["http"], "/cgi-bin/count.sh", UPLOAD)
                used = peer.server.processor_seconds() - used
                result.add(peer.name, UPLOAD / seconds / 1e6)
                result.notes[peer.name] = f"CPU {used * 1000 / (UPLOAD / 1e9):,.0f} ms/GB with the script"
                if told != str(UPLOAD):
                    result.faults.append(f"{peer.name}: the script counted {told!r}")
        for peer in peers:
            if peer.name == "netsvc":
                growth.add(peer.name, (peer.server.peak() - before[peer.name]) / MIB)
            result.memory[peer.name] = peer.server.proportional() / MIB
    return [result, growth]


def slow_peers(effort: Effort, names: list[str]) -> list[Result]:
    """Latency of others while 1,000 peers send heads or read answers an octet at a time: p99 at most doubles."""
    alone = Result("http-slow-without", "p99 us")
    among = Result("http-slow-peers", "p99 us")
    factor = Result("http-slow-factor", "p99 with/without", (Target(most=2.0),))
    ask = Ask("/small.txt", length=SMALL)
    with _running(names, ["netsvc", "nginx"]) as peers:
        for peer in peers:
            wrk(peer.ports["http"], ask, WARM_UP)
        for _ in range(effort.rounds):
            for peer in peers:
                _latency(alone, peer, ask, effort)
                with SlowPeers(peer.ports["http"], "/large.bin", SLOW_PEERS) as slow:
                    time.sleep(SLOW_SETTLE)
                    _latency(among, peer, ask, effort)
                    among.memory[peer.name] = peer.server.proportional() / MIB
                among.notes[peer.name] += f"; {slow.report['reopened']} slow connections cut"
        for peer in peers:
            factor.add(peer.name, median(among.values[peer.name]) / median(alone.values[peer.name]))
    return [alone, among, factor]


def _latency(result: Result, peer: Running, ask: Ask, effort: Effort) -> None:
    found = wrk(peer.ports["http"], ask, effort.seconds)
    result.add(peer.name, found.p99)
    result.notes[peer.name] = f"{found.per_second:,.0f} requests/s, p50 {found.p50:,.0f} us"
    if found.failed:
        result.faults.append(f"{peer.name}: {found.failed} requests failed")


ALL: dict[str, Callable[[Effort, list[str]], Result | list[Result]]] = {
    "http-static": static_small,
    "http-close": static_close,
    "http-304": not_modified,
    "http-range": ranges,
    "http-listing": listing,
    "http-tls": tls,
    "http-h2": http2,
    "http-large": static_large,
    "cgi-sh": cgi_shell,
    "cgi-python": cgi_python,
    "cgi-form": cgi_form,
    "cgi-upload": cgi_upload,
    "http-slow": slow_peers,
}
