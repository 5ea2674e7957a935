"""One point: lives that are killed, one that is not, and the look at what is left."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from benchmarks.file_deaths.sendings import CutError, Doors, Sending, sendings
from benchmarks.files.contestants import make_key
from benchmarks.lives import Kill, Life, LifeFailedError
from benchmarks.processes import LOOPBACK
from netsvc.filestore.errors import StoreError
from netsvc.filestore.records import id_of_part
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import WEEK, Terms

INI = """\
[netsvc]
state_directory = {directory}/state

[http]
listen = tcp:0:interface={host}
docroot = {directory}/root
upload = yes
upload_anonymous = yes

[sftp]
listen = tcp:0:interface={host}
root = {directory}/root
users = deaths
authorized_keys = {directory}/client/key.pub

[filetransfer:inbox]
listen = tcp:0:interface={host}
receive = yes
store = {directory}/root
replace = yes
"""
DYING = 10.0  # seconds until strace has ended, too
TRIES = 3  # of each sending in a life that is not killed

_PORTS = re.compile(rf"\[(http|sftp|filetransfer:inbox)\] listening on tcp:{re.escape(LOOPBACK)}:(\d+)")


@frozen
class Point:
    """What is to be done.

    :param kills: the ends of the first lives.
    """

    number: int
    kills: tuple[Kill, ...]

    def __str__(self) -> str:
        return f"point {self.number} ({', then '.join(map(str, self.kills))})"


@frozen(kw_only=True)
class Found:
    """What came of it.

    :param killed: lives that strace ended.
    :param acknowledged: uploads, before the last life.
    :param published: names, before the last life, of which nobody was told.
    :param continued: partial files, before the last life.
    """

    killed: int
    acknowledged: int = 0
    published: int = 0
    continued: int = 0
    faults: tuple[str, ...] = ()


def prepare(directory: Path) -> None:
    """Lay out a store, a client and a configuration."""
    (directory / "root").mkdir(parents=True)
    (directory / "client").mkdir(mode=0o700)
    make_key(directory / "client" / "key")
    (directory / "netsvc.ini").write_text(INI.format(directory=directory, host=LOOPBACK))


def doors_of(directory: Path, life: Life) -> Doors:
    """Where a life listens."""
    ports = {name: int(port) for name, port in _PORTS.findall(life.log())}
    return Doors(ports["http"], ports["sftp"], ports["filetransfer:inbox"], directory / "client")


def visit(directory: Path, point: Point) -> Found:
    """Do it.

    :param directory: is made; what is in it in the end can be studied.
    """
    prepare(directory)
    script = sendings()
    killed = 0
    faults: list[str] = []
    try:
        for number, kill in enumerate(point.kills):
            with Life(directory, f"life-{number}", kill) as life:
                if life.ready() and send_all(script, doors_of(directory, life), 1):
                    life.wait(DYING)  # its peers hear of its death before we do
                killed += life.end()
            faults += judge(directory, script, whole=False)
        acknowledged = sum(one.acknowledged for each in script for one in each)
        published = len(_names(directory))
        parts = _parts(directory)
        with Life(directory, "life-last") as life:
            if not life.ready():
                raise LifeFailedError(f"it ended by itself:\n{life.log()[-2000:]}")
            faults += send_all(script, doors_of(directory, life), TRIES)
        faults += judge(directory, script, whole=True)
    except (LifeFailedError, OSError, KeyError) as error:
        return Found(killed=killed, faults=(*faults, f"{type(error).__name__}: {error}"))
    return Found(
        killed=killed,
        acknowledged=acknowledged,
        published=published - acknowledged,
        continued=len(parts),
        faults=tuple(faults),
    )


def send_all(script: Sequence[Sequence[Sending]], doors: Doors, tries: int) -> list[str]:
    """Send what is not acknowledged; what could not be, in words."""
    failed: list[str] = []

    def send(sending: Sending) -> None:
        said = []
        for _ in range(tries):
            try:
                sending.send(doors)
            except CutError as error:
                said.append(str(error))
            else:
                sending.acknowledged = True
                return
        failed.append(f"{sending.name} was not taken: {said}")

    def send_one_after_the_other(each: Sequence[Sending]) -> None:
        for one in each:
            if not one.acknowledged:
                send(one)

    threads = [threading.Thread(target=send_one_after_the_other, args=(each,)) for each in script]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return failed


def judge(directory: Path, script: Sequence[Sequence[Sending]], *, whole: bool) -> Iterator[str]:
    """What is wrong with what is there, one sentence each.

    :param whole: nothing may be missing, and after a sweep nothing may be left over.
    """
    by_name = {one.name: one for each in script for one in each}
    names = _names(directory)
    store = FileStore(directory / "root", Terms())
    for name in names:
        sending = by_name.get(name)
        if sending is None:
            yield f"{name!r} is nobody's"
            continue
        if (directory / "root" / name).read_bytes() != sending.content:
            yield f"{name} is published with another content"
        file = store.open((name,))
        if file.digest() not in (None, sending.digest):
            yield f"{name} has a wrong digest"
        if file.digest() is None:
            yield f"{name} has no digest"
        file.close()
    for one in by_name.values():
        if (one.acknowledged or whole) and one.name not in names:
            yield f"{one.name} was acknowledged and is not there"
    del store  # another with other clocks follows
    if whole:
        yield from _sweep(directory)


def _sweep(directory: Path) -> Iterator[str]:
    """After the time of all uploads nothing hidden is left."""
    now = (directory / "netsvc.ini").stat().st_mtime
    store = FileStore(
        directory / "root", Terms(), wall_clock=lambda: now + 2 * WEEK, steady_clock=lambda: now + 2 * WEEK
    )
    try:
        store.sweep()
    except StoreError as error:
        yield f"the sweep failed: {error}"
    left = [one.name for one in (directory / "root").iterdir() if one.name.startswith(".")]
    if left:
        yield f"left over after a sweep: {left}"


def _names(directory: Path) -> list[str]:
    return [one.name for one in (directory / "root").iterdir() if not one.name.startswith(".")]


def _parts(directory: Path) -> list[str]:
    return [one.name for one in (directory / "root").iterdir() if id_of_part(one.name)]
