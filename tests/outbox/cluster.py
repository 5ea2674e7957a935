"""A PostgreSQL of the tests' own: a private cluster in a temporary directory, never the system's."""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.outbox.postgres_database import PostgresDatabase
from netsvc.outbox.postgres_schema import connect, set_up
from tests.waiting import wait_until

STOP_BOUND = 180.0  # seconds

_schemas = itertools.count()
_shared: list[Cluster] = []


def _programs() -> Path:
    """Where Debian keeps initdb and postgres, of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: int(one.parts[4]))
    assert found, "PostgreSQL is not installed: tests/install-peers"
    return found[-1].parent


class Cluster:
    """One server on a UNIX socket in its own directory; as an unprivileged user, as it insists on."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-pg-"))
        self._bin = _programs()
        self._as: list[str] = []
        if os.geteuid() == 0:
            user = "postgres" if any(one.pw_name == "postgres" for one in pwd.getpwall()) else "nobody"
            shutil.chown(self.directory, user)
            self._as = ["runuser", "-u", user, "--"]
        data = self.directory / "data"
        command = [self._bin / "initdb", "-D", data, "--auth=trust", "--username=netsvc", "--no-sync", "-E", "UTF8"]
        self._call([*command, "--locale=C"])
        self.start()

    @property
    def conninfo(self) -> str:
        return f"host={self.directory} dbname=postgres user=netsvc"

    def start(self) -> None:
        # Not by pg_ctl, which leaves the server an orphan: where this process runs scripts, it inherits orphans and
        # takes them for what scripts have left behind.
        options = {"listen_addresses": "", "unix_socket_directories": str(self.directory), "fsync": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [*self._as, str(self._bin / "postgres"), "-D", str(self.directory / "data"), *settings]
        with open(self.directory / "log", "ab") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        ready = [self._bin / "pg_isready", "-q", "-h", self.directory]
        wait_until(lambda: subprocess.run(ready).returncode == 0, "PostgreSQL is not ready")

    def restart(self, mode: str = "immediate") -> None:
        self.stop(mode)
        self.start()

    def stop(self, mode: str = "immediate") -> None:
        self._call([self._bin / "pg_ctl", "-D", self.directory / "data", "-w", "-s", "stop", "-m", mode])
        self._server.wait(STOP_BOUND)

    def remove(self) -> None:
        if self._server.poll() is None:
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _call(self, command: list[Any]) -> None:
        with tempfile.TemporaryFile() as output:
            done = subprocess.run([*self._as, *command], stdout=output, stderr=output, cwd="/")
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


def shared() -> Cluster:
    """The one of this process, which goes with it."""
    if not _shared:
        _shared.append(Cluster())
        atexit.register(_shared[0].remove)
    return _shared[0]


def new_schema() -> str:
    """A name for a queue that no other test has."""
    return f"outbox_{next(_schemas)}"


def open_postgres(case: SynchronousTestCase, schema: str | None = None) -> PostgresDatabase:
    """A database in autocommit mode: every step stands at once."""
    schema = schema or new_schema()
    connection: Any = wait_until(lambda: connect(shared().conninfo, schema))
    case.addCleanup(connection.close)
    set_up(connection, schema, "test")
    return PostgresDatabase(connection, random.Random(1).random, "test")
