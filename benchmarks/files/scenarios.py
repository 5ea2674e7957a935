"""What is measured of files, and the ratios that netsvc must reach. Rounds go from peer to peer, to one disk."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants import Running
from benchmarks.files import contestants
from benchmarks.processes import LOOPBACK
from benchmarks.result import MIB, Effort, Result, Target

GROWTH = 16.0  # MiB that a server may grow by, however large the file
PATIENCE = 300.0  # seconds for one transfer
SMALL = 1000  # files of the fetch of many
SMALL_OCTETS = 4096
SIZE = 200_000_000
GREAT = 1 << 30
CIPHER = "aes128-gcm@openssh.com"


@contextmanager
def _place() -> Iterator[Path]:
    """A directory on the disk, not in memory."""
    base = os.environ.get("NETSVC_BENCH_DIRECTORY", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="netsvc-bench-files-", dir=base) as directory:
        yield Path(directory)


def _random(path: Path, size: int) -> Path:
    with path.open("wb") as out:
        for left in range(size, 0, -MIB):
            out.write(os.urandom(min(MIB, left)))
    return path


def _timed(command: Sequence[str | Path], cwd: Path | None = None) -> float:
    """Seconds that a command takes, which must succeed."""
    began = time.monotonic()
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd)
    taken = time.monotonic() - began
    if ran.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {ran.returncode}: {ran.stderr.strip()[-300:]}")
    return taken


class _Growth:
    """How much a server grows while it is measured."""

    def __init__(self, server: Running) -> None:
        self._server = server.server
        self._before = self._server.resident()
        self._server.forget_peak()

    def into(self, result: Result) -> None:
        """Tell, and complain."""
        grown = (self._server.peak() - self._before) / MIB
        result.notes["netsvc"] = f"peak memory grew by {grown:.1f} MiB"
        result.memory["netsvc"] = self._server.proportional() / MIB
        if grown > GROWTH:
            result.faults.append(f"netsvc: memory grew by {grown:.1f} MiB, more than {GROWTH:g}")


def put(effort: Effort, _: list[str]) -> Result:
    """PUT with SHA-256 and fsync, by curl, beside dd conv=fsync to the same disk."""
    result = Result("files-put", "MB/s", (Target("dd", least=0.5),))
    with _place() as place:
        source, root = _random(place / "source", SIZE), place / "root"
        root.mkdir()
        (place / "keys").touch(mode=0o600)
        server = contestants.netsvc(root, place / "keys")
        try:
            url = f"http://{LOOPBACK}:{server.ports['http']}/file"
            commands: dict[str, list[str | Path]] = {
                "netsvc": ["curl", "-sS", "--fail", "-o", place / "answer", "-T", source, url],
                "dd": ["dd", f"if={source}", f"of={place / 'copy'}", "bs=1M", "conv=fsync", "status=none"],
            }
            growth = _alternate(result, effort, commands, SIZE, server)
            growth.into(result)
            if (root / "file").stat().st_size != SIZE:
                result.faults.append("netsvc: the file has another size")
        finally:
            server.stop()
    return result


def _alternate(
    result: Result, effort: Effort, commands: dict[str, list[str | Path]], octets: int, server: Running
) -> _Growth:
    for command in commands.values():
        _timed(command)
    growth = _Growth(server)
    for _ in range(effort.rounds):
        for peer, command in commands.items():
            before = server.server.processor_seconds()
            result.add(peer, octets / _timed(command) / 1e6)
            if peer == "netsvc":
                spent = server.server.processor_seconds() - before
                result.processor.setdefault(peer, []).append(spent * 1e6)
    return growth


def _sftp(upload: bool) -> Callable[[Effort, list[str]], Result]:
    def scenario(effort: Effort, _: list[str]) -> Result:
        name = "sftp-put" if upload else "sftp-get"
        result = Result(name, "MB/s", (Target("openssh", least=0.5),))
        with _place() as place:
            root = place / "root"
            root.mkdir()
            source = _random(place / "source" if upload else root / "source", SIZE)
            key = contestants.make_key(place / "key")
            keys = place / "key.pub"
            keys.chmod(0o644)
            ours = contestants.netsvc(root, keys)
            theirs = contestants.openssh(keys)
            try:

                def command(peer: Running, port: int, user: str, remote: str) -> list[str | Path]:
                    batch = place / f"batch-{peer.name}"
                    local = place / f"got-{peer.name}"
                    batch.write_text(f"put {source} {remote}\n" if upload else f"get {remote} {local}\n")
                    options = (
                        *("BatchMode=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR", "IdentitiesOnly=yes"),
                        *(f"UserKnownHostsFile={place / 'known'}", f"Ciphers={CIPHER}", f"IdentityFile={key}"),
                    )
                    flags = [word for one in options for word in ("-o", one)]
                    return ["sftp", "-q", *flags, "-P", str(port), "-b", batch, f"{user}@{LOOPBACK}"]

                other = place / "put" if upload else source
                commands = {
                    "netsvc": command(ours, ours.ports["sftp"], "bench", "/put" if upload else "/source"),
                    "openssh": command(theirs, theirs.ports["ssh"], os.environ.get("USER", "root"), str(other)),
                }
                _alternate(result, effort, commands, SIZE, ours).into(result)
                result.notes["openssh"] = CIPHER
                arrived = root / "put" if upload else place / "got-netsvc"
                if arrived.read_bytes() != source.read_bytes():
                    result.faults.append("netsvc: the file has another content")
            finally:
                ours.stop()
                theirs.stop()
        return result

    return scenario


def fetch_many(effort: Effort, _: list[str]) -> Result:
    """1,000 files of 4 KiB from one nginx. What netsvc has fetched is on the disk; so it is with peers that sync."""
    result = Result("fetch-1000", "s", (Target("aria2", most=1.0), Target("curl -Z, sync", most=1.0)))
    with _place() as place:
        root = place / "root"
        root.mkdir()
        for at in range(SMALL):
            (root / f"file{at}").write_bytes(os.urandom(SMALL_OCTETS))
        origin = contestants.nginx(root)
        try:
            urls = [f"http://{LOOPBACK}:{origin.ports['http']}/file{at}" for at in range(SMALL)]
            (place / "urls").write_text("\n".join(urls) + "\n")
            (place / "curl.conf").write_text("".join(f'url = "{url}"\nremote-name\n' for url in urls))
            many: list[str | Path] = ["curl", "-sS", "-Z", "--parallel-max", "16", "-K", place / "curl.conf"]
            commands: dict[str, list[str | Path]] = {
                "netsvc": [*_netsvc_fetch(place), "-q", "-j", "16", "--per-host", "16", "--private-addresses",
                           "--from", place / "urls"],
                "aria2": ["aria2c", "-q", "-j", "16", "--file-allocation=none", "-i", place / "urls"],
                "curl -Z": many,
                "curl -Z, sync": _then_sync(many),
            }  # fmt: skip
            for round_ in range(effort.rounds + 1):
                for peer, command in commands.items():
                    # A new one: ext4 without a journal looks at every inode that was freed in the last minutes before
                    # it makes a file, so that whoever comes after a removal would pay for it.
                    into = place / f"into-{round_}-{re.sub('[^a-zA-Z]', '', peer)}"
                    into.mkdir()
                    taken = _timed(command, into)
                    if round_:
                        result.add(peer, taken)
                    if sum(1 for _ in into.glob("file*")) != SMALL:
                        result.faults.append(f"{peer}: not all files arrived")
        finally:
            origin.stop()
    return result


def fetch_great(effort: Effort, _: list[str]) -> Result:
    """1 GiB from nginx, and on the disk, as above."""
    result = Result("fetch-1gib", "MB/s", (Target("curl, sync", least=0.9),))
    with _place() as place:
        root = place / "root"
        root.mkdir()
        _random(root / "great", GREAT)
        origin = contestants.nginx(root)
        try:
            url = f"http://{LOOPBACK}:{origin.ports['http']}/great"
            commands: dict[str, list[str | Path]] = {
                "netsvc": [*_netsvc_fetch(place), "-q", "--private-addresses", url],
                "curl": ["curl", "-sS", "-O", url],
                "curl, sync": _then_sync(["curl", "-sS", "-O", url]),
            }
            for round_ in range(min(effort.rounds, 3) + 1):
                for peer, command in commands.items():
                    into = place / f"into-{re.sub('[^a-zA-Z]', '', peer)}"
                    shutil.rmtree(into, ignore_errors=True)
                    into.mkdir()
                    taken = _timed(command, into)
                    if round_:
                        result.add(peer, GREAT / taken / 1e6)
        finally:
            origin.stop()
    return result


def _then_sync(command: list[str | Path]) -> list[str | Path]:
    """A command, and then all that it wrote on the disk, as it is with netsvc when it has ended."""
    return ["sh", "-c", shlex.join(map(str, command)) + " && sync -f ."]


def _netsvc_fetch(place: Path) -> list[str | Path]:
    """The command, its modules compiled as where it is installed; the round that is not counted does that."""
    compiled = ("env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={place / 'compiled'}")
    return [*compiled, Path(sys.executable).parent / "netsvc", "fetch"]


ALL: dict[str, Callable[[Effort, list[str]], Result | list[Result]]] = {
    "files-put": put,
    "sftp-get": _sftp(upload=False),
    "sftp-put": _sftp(upload=True),
    "fetch-1000": fetch_many,
    "fetch-1gib": fetch_great,
}
