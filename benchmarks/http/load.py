"""The loads: wrk for small answers, h2load for HTTP/2, load.c for what they do not do, a socket for one large POST."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.load import PATIENCE, program
from benchmarks.processes import LOOPBACK

SOURCE = Path(__file__).with_name("load.c")
CONNECTIONS = 32
SOURCES = 100  # client addresses where connections come and go
UPLOAD_BLOCK = 1 << 18  # octets a send


@dataclass
class Ask:
    """One request, over and over.

    :param path: target.
    :param headers: fields beside Host.
    :param status: what the answer must be.
    :param length: octets of the body that the answer must have; None is any.
    :param secure: over TLS.
    """

    path: str
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: str = ""
    status: int = 200
    length: int | None = None
    secure: bool = False


@dataclass
class Measured:
    """What a load found.

    :param failed: requests that had no good answer.
    """

    done: int
    failed: int
    seconds: float
    octets: int
    p50: float  # microseconds
    p99: float

    @property
    def per_second(self) -> float:
        """Requests."""
        return self.done / self.seconds


def check(port: int, ask: Ask) -> tuple[dict[str, str], bytes]:
    """Ask once, and look at the answer: (fields with names in lower case, body)."""
    connection: http.client.HTTPConnection
    if ask.secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request(ask.method, ask.path, ask.body or None, ask.headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != ask.status or (ask.length is not None and len(body) != ask.length):
        raise RuntimeError(f"{ask.method} {ask.path}: {answer.status} with {len(body)} octets")
    return {name.lower(): value for name, value in answer.getheaders()}, body


def _lua(ask: Ask) -> str:
    """A script of wrk that sends the request and reports JSON. The request is made once: it costs wrk nothing."""
    lines = [f"wrk.method = {json.dumps(ask.method)}"]
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in ask.headers.items()]
    if ask.body:
        lines.append(f"wrk.body = {json.dumps(ask.body)}")
    lines.append(
        "done = function(summary, latency, requests)\n"
        "  local e = summary.errors\n"
        '  io.write(string.format(\'\\nJSON{"done": %d, "failed": %d, "seconds": %f, "octets": %d,\'\n'
        '    .. \' "p50": %f, "p99": %f}\\n\', summary.requests - e.status,\n'
        "    e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6, summary.bytes,\n"
        "    latency:percentile(50), latency:percentile(99)))\n"
        "end\n"
    )
    return "\n".join(lines)


def wrk(port: int, ask: Ask, seconds: float, connections: int = CONNECTIONS) -> Measured:
    """One thread of wrk for about so long. wrk knows whole seconds only: less is ended by SIGINT, as by hand."""
    url = f"{'https' if ask.secure else 'http'}://{LOOPBACK}:{port}{ask.path}"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_lua(ask))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", "-d60s", "--timeout", "30s", "-s", script.name, url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            time.sleep(seconds)
            process.send_signal(2)
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    found = re.search(r"^JSON(\{.*\})$", out, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk: {out.strip()}")
    return Measured(**json.loads(found[1]))


def h2load(port: int, ask: Ask, seconds: float, streams: int = 10) -> Measured:
    """One thread of h2load over TLS with 32 connections of some streams each."""
    command = ["h2load", "-t1", f"-c{CONNECTIONS}", f"-m{streams}", f"-D{max(1, round(seconds))}"]
    for name, value in ask.headers.items():
        command += ["-H", f"{name}: {value}"]
    ran = subprocess.run([*command, f"https://{LOOPBACK}:{port}{ask.path}"], capture_output=True, text=True, timeout=60)
    rate = re.search(r"finished in ([\d.]+)s, ([\d.]+) req/s", ran.stdout)
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", ran.stdout)
    codes = re.search(r"status codes: (\d+) 2xx", ran.stdout)
    if rate is None or counts is None or codes is None:
        raise RuntimeError(f"h2load: {ran.stdout} {ran.stderr}")
    if "Application protocol: h2" not in ran.stdout:
        raise RuntimeError("h2load: the server did not choose h2")
    done = int(counts[1])
    failed = int(counts[2]) + int(counts[3]) + done - int(codes[1])
    mean = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ", ran.stdout)
    unit = {"us": 1.0, "ms": 1e3, "s": 1e6}
    middle = float(mean[1]) * unit[mean[2]] if mean else 0.0
    return Measured(done, failed, done / float(rate[2]) if done else 1.0, 0, middle, 0.0)


def available(name: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(name) is not None


def _command(mode: str, port: int, path: str, values: dict[str, float]) -> list[str]:
    words = [f"{key}={value}" for key, value in values.items()]
    return [str(program(SOURCE)), mode, LOOPBACK, str(port), path, *words]


def fetch(port: int, path: str, **values: float) -> Measured:
    """load.c's fetch."""
    ran = subprocess.run(_command("fetch", port, path, values), capture_output=True, text=True, timeout=PATIENCE)
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())
    found = json.loads(ran.stdout)
    return Measured(found["done"], found["failed"], found["seconds"], found["octets"], found["p50_us"], found["p99_us"])


class SlowPeers:
    """Connections that take or give next to nothing, while the context lasts."""

    def __init__(self, port: int, path: str, connections: int) -> None:
        values = {"connections": connections, "sources": SOURCES}
        self._process = subprocess.Popen(
            _command("slow", port, path, values), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.report: dict[str, Any] = {}

    def __enter__(self) -> SlowPeers:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("open "):
            raise RuntimeError(f"the slow peers could not connect: {line!r}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            out, _ = self._process.communicate(timeout=30)
            self.report = json.loads(out)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()


def upload(port: int, path: str, octets: int) -> tuple[float, str]:
    """POST so many octets once: (seconds until the answer's end, the answer's body)."""
    block = bytes(UPLOAD_BLOCK)
    with socket.create_connection((LOOPBACK, port), timeout=60) as peer:
        began = time.monotonic()
        head = f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n"
        peer.sendall(f"{head}Content-Length: {octets}\r\n\r\n".encode())
        for left in range(octets, 0, -UPLOAD_BLOCK):
            peer.sendall(block[:left] if left < UPLOAD_BLOCK else block)
        answer = http.client.HTTPResponse(peer, method="POST")
        answer.begin()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"POST {path}: {answer.status}")
        return time.monotonic() - began, body.decode().strip()
