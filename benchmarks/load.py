"""Compiles load.c when it has changed, and runs it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.processes import LOOPBACK

SOURCE = Path(__file__).with_name("load.c")
SOURCES = 100  # client addresses 127.0.0.1 to 127.0.0.100: 28,000 ports each
PATIENCE = 660.0  # seconds; load.c stops by itself before


def program(source: Path = SOURCE) -> Path:
    """A load generator, compiled into the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netsvc-bench"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    binary = cache / f"load-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    if not binary.exists():
        compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            fresh = Path(directory) / "load"
            subprocess.run([compiler, "-O2", "-Wall", "-o", str(fresh), str(source)], check=True)
            fresh.replace(binary)
    return binary


def _command(mode: str, port: int, values: dict[str, float]) -> list[str]:
    return [str(program()), mode, LOOPBACK, str(port), *(f"{key}={value}" for key, value in values.items())]


def load(mode: str, port: int, **values: float) -> dict[str, Any]:
    """Run one load to its end; what it reports."""
    ran = subprocess.run(_command(mode, port, values), capture_output=True, text=True, timeout=PATIENCE)
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


class IdleLoad:
    """Connections that are open and say nothing, until `finish` echoes once on each."""

    def __init__(self, port: int, connections: int) -> None:
        self._process = subprocess.Popen(
            _command("idle", port, {"connections": connections, "sources": SOURCES}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> IdleLoad:
        return self

    def wait_open(self) -> None:
        """Return once every connection is open."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("open "):
            raise RuntimeError(f"the idle load could not open its connections: {line!r}")

    def finish(self) -> dict[str, Any]:
        """Echo once on every connection; what the load reports: done are those that were answered."""
        out, _ = self._process.communicate("go\n", timeout=PATIENCE)
        found: dict[str, Any] = json.loads(out)
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
