"""``python -m tests.fuzz [--seconds N] [TARGET ...]``: N seconds in all over the targets, each in its own process.

Uses atheris (libFuzzer, guided by the coverage of netsvc) where it is installed, else hypothesis at random. What broke
a target is printed and kept in a file; the exit status is the number of targets that were broken.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ATHERIS = importlib.util.find_spec("atheris") is not None


def by_atheris(name: str, seconds: int, directory: Path) -> None:
    """Fuzz until the time is up; the process ends within."""
    import atheris  # it must be there before what it instruments

    with atheris.instrument_imports(include=["netsvc"]):
        from tests.fuzz.targets import TARGETS

    corpus = directory / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(TARGETS[name].seeds):
        (corpus / str(at)).write_bytes(seed)
    run = TARGETS[name].run
    arguments = [f"-max_total_time={seconds}", "-max_len=600", "-timeout=10", "-rss_limit_mb=1024", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *arguments, f"-artifact_prefix={directory}/{name}-", str(corpus)], run)
    atheris.Fuzz()


def by_hypothesis(name: str, seconds: int) -> None:
    """The same at random, around the seeds."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    fragments = [
        seed[at : at + size] for seed in target.seeds for size in (1, 4, 16, 999) for at in range(0, len(seed), size)
    ]
    end = time.monotonic() + seconds
    ran = 0

    @given(st.lists(st.one_of(st.sampled_from(fragments), st.binary(max_size=20)), max_size=20))
    @settings(
        derandomize=False, database=None, deadline=None, max_examples=500, suppress_health_check=list(HealthCheck)
    )
    def some(parts: list[bytes]) -> None:
        nonlocal ran
        ran += 1
        target.run(b"".join(parts))

    while time.monotonic() < end:
        some()
    print(f"Done {ran} runs in {seconds} second(s)")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="in all")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help="where octets that break a target are kept")
    parser.add_argument("targets", nargs="*")
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="netsvc-fuzz-"))
    if arguments.one:
        (
            by_atheris(arguments.one, arguments.seconds, directory)
            if ATHERIS
            else by_hypothesis(arguments.one, arguments.seconds)
        )
        return 0
    from tests.fuzz.targets import TARGETS

    names = arguments.targets or list(TARGETS)
    each = max(1, arguments.seconds // len(names))
    broken = 0
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--one", name, "--seconds", str(each), "--directory", directory],
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        said = done.stdout + done.stderr
        last = next((line for line in reversed(said.splitlines()) if line.startswith("Done ")), "")
        print(f"{name:14} {'atheris' if ATHERIS else 'hypothesis'}: {last or 'broken'}", flush=True)
        if done.returncode:
            broken += 1
            _, mark, why = said.partition("=== Uncaught Python exception: ===")
            print((mark + why if mark else said)[-4000:], flush=True)
    print(
        f"{broken} of {len(names)} targets broken; kept in {directory}"
        if broken
        else f"{len(names)} targets, none broken"
    )
    return broken


if __name__ == "__main__":
    sys.exit(main())
