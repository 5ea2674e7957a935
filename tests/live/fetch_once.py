"""Runs the download engine in a process of its own: ``python -m tests.live.fetch_once ROOT JSON``.

JSON is a list of {"url": ..., "names": [...], ...} behind a dictionary of terms; what comes out is a JSON line for
each: what was done, or the error. What is logged as a warning or worse comes out on stderr, and fails the test.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs


def fetch(root: Path, *wanted: dict[str, Any], **terms: Any) -> list[dict[str, Any]]:
    """Download into a store; what became of each."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(root), json.dumps([{"private_addresses": True, **terms}, *wanted])],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _main(root: Path, terms: dict[str, Any], *wanted: dict[str, Any]) -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.threads import deferToThreadPool
    from twisted.logger import (
        FilteringLogObserver,
        LogLevel,
        LogLevelFilterPredicate,
        globalLogBeginner,
        textFileLogObserver,
    )
    from twisted.python.threadpool import ThreadPool

    from netsvc.filestore.store import FileStore
    from netsvc.filestore.terms import Terms as StoreTerms
    from netsvc.services.fetch.download import Checksum, Downloader, DownloadError, Terms, Validators, Wanted

    bad = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogBeginner.beginLoggingTo([bad], redirectStandardIO=False)
    if "ca_file" in terms:
        terms["ca_file"] = Path(terms["ca_file"])
    stop_at = terms.pop("stop_at", None)
    store = FileStore(root, StoreTerms())
    disk = ThreadPool(0, 16, "disk")  # as the daemon has one: names are looked up in the reactor's
    disk.start()
    reactor.addSystemEventTrigger("during", "shutdown", disk.stop)  # type: ignore[attr-defined]
    downloader = Downloader(reactor, store, Terms(**terms), partial(deferToThreadPool, reactor, disk))

    async def one(given: dict[str, Any]) -> dict[str, Any]:
        if "names" in given:
            given["names"] = tuple(given["names"])
        if "sha256" in given:
            given["checksum"] = Checksum("sha256", bytes.fromhex(given.pop("sha256")))
        if "validators" in given:
            given["validators"] = Validators(**given["validators"])

        def progress(now: Any) -> None:
            if stop_at is not None and now.received >= stop_at:
                downloader.close()

        try:
            done = await downloader.download(Wanted(**given), progress)
        except DownloadError as error:
            return {"error": type(error).__name__, **vars(error)}
        return attrs.asdict(done) | {"sha256": done.sha256.hex()}

    async def all_of_them() -> None:
        for found in await gatherResults([Deferred.fromCoroutine(one(given)) for given in wanted]):
            print(json.dumps(found | {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}))
        await downloader.close()

    def begin() -> None:
        running = Deferred.fromCoroutine(all_of_them())
        running.addErrback(lambda failure: print(failure, file=sys.stderr))
        running.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]

    reactor.callWhenRunning(begin)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *json.loads(sys.argv[2]))
