"""The peers, each with the command that runs it on free loopback ports: netsvc, and what it is compared with."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import LOOPBACK, Server, free_ports

HERE = Path(__file__).parent
ETC = HERE.parent / "etc"


@dataclass
class Running:
    """A peer that runs.

    :param ports: service word ("echo") -> TCP port.
    """

    name: str
    server: Server
    ports: dict[str, int]
    directory: Path

    def stop(self) -> None:
        """End it and remove what it left."""
        self.server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def started(
    name: str,
    command: Callable[[dict[str, int], Path], list[str]],
    services: tuple[str, ...],
    files: int | None = None,
) -> Running:
    """A peer, once it listens.

    :param command: (ports, directory) -> argument list; it may write its configuration into the directory.
    :param services: service words; each gets a free port.
    :param files: the peer's limit of open files; None leaves it.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"netsvc-bench-{name}-"))
    try:
        ports = dict(zip(services, free_ports(len(services)), strict=True))
        environment = {"XDG_STATE_HOME": str(directory / "state")}
        server = Server(command(ports, directory), ports.values(), directory, environment=environment, files=files)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Running(name, server, ports, directory)


def twistd() -> str:
    """The twistd of this environment."""
    return str(Path(sys.executable).parent / "twistd")


NETSVC_INI = """\
[echo]
listen = tcp:{echo}:interface=127.0.0.1
max_connections = 50000
max_connections_per_source = 50000

[daytime]
listen = tcp:{daytime}:interface=127.0.0.1
max_connections = 50000
max_connections_per_source = 50000
"""
FILES_INI = """\
[filetransfer]
listen = tcp:{filetransfer}:interface=127.0.0.1
offer = {file}
"""


def netsvc() -> Running:
    """netsvc as users run it, with its admission, limits, counters and log; only the limits are raised."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        (directory / "netsvc.ini").write_text(NETSVC_INI.format_map(ports))
        return [twistd(), "-n", "--pidfile=", "netsvc", "--config", "netsvc.ini"]

    return started("netsvc", command, ("echo", "daytime"))


def netsvc_files(file: Path) -> Running:
    """netsvc with a filetransfer service that offers a file."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        (directory / "netsvc.ini").write_text(FILES_INI.format(file=file, **ports))
        return [twistd(), "-n", "--pidfile=", "netsvc", "--config", "netsvc.ini"]

    return started("netsvc", command, ("filetransfer",))


def netsvc_sample() -> Running:
    """netsvc with etc/netsvc.ini as it is, but for its ports."""
    text = (ETC / "netsvc.ini").read_text()
    lines = re.findall(r"^\s*(?:listen\s*=\s*)?tcp:(\d+)", text, re.MULTILINE)

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        changed = text
        for old, new in ports.items():
            changed = re.sub(rf"\b(tcp|udp):{old}\b", rf"\1:{new}", changed)
        (directory / "netsvc.ini").write_text(changed)
        for one in ETC.iterdir():
            if one.name != "netsvc.ini":
                (directory / one.name).symlink_to(one)
        return [twistd(), "-n", "--pidfile=", "netsvc", "--config", "netsvc.ini"]

    return started("netsvc", command, tuple(lines))


def _xinetd_service(name: str, port: int, process: str) -> str:
    return f"""\
service {name}
{{
    type = INTERNAL UNLISTED
    id = {name}-bench
    flags = NOLIBWRAP
    socket_type = stream
    protocol = tcp
    wait = no
    user = {process}
    port = {port}
    bind = {LOOPBACK}
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
    log_on_success =
    log_on_failure =
    disable = no
}}
"""


def xinetd() -> Running:
    """xinetd with its internal echo (a process a connection) and daytime; no limits, logs, or look-ups of names."""
    program = shutil.which("xinetd") or "/usr/sbin/xinetd"

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        import getpass

        services = "".join(_xinetd_service(name, port, getpass.getuser()) for name, port in ports.items())
        (directory / "xinetd.conf").write_text(services)
        return [
            program,
            "-dontfork",
            *("-f", str(directory / "xinetd.conf")),
            *("-pidfile", str(directory / "pid")),
            *("-filelog", str(directory / "log")),
        ]

    # Each child closes every descriptor up to the limit: with a server's limit it would fork 100 times a second.
    return started("xinetd", command, ("echo", "daytime"), files=1024)


def _python(name: str, script: str, *words: str) -> Running:
    def command(ports: dict[str, int], _: Path) -> list[str]:
        return [sys.executable, str(HERE / "peers" / script), *words, str(ports["echo"]), str(ports["daytime"])]

    return started(name, command, ("echo", "daytime"))


def twisted() -> Running:
    """Plain Twisted."""
    return _python("twisted", "twisted_plain.py")


def asyncio() -> Running:
    """Plain asyncio."""
    return _python("asyncio", "asyncio_plain.py", "asyncio")


def uvloop() -> Running:
    """asyncio Protocols on uvloop."""
    return _python("uvloop", "asyncio_plain.py", "uvloop")


def threaded_files(file: Path) -> Running:
    """The tutorials' threaded file server."""

    def command(ports: dict[str, int], _: Path) -> list[str]:
        return [sys.executable, str(HERE / "peers" / "threaded_files.py"), str(ports["filetransfer"]), str(file)]

    return started("threaded", command, ("filetransfer",))


ALL: dict[str, Callable[[], Running]] = {
    "netsvc": netsvc,
    "xinetd": xinetd,
    "twisted": twisted,
    "asyncio": asyncio,
    "uvloop": uvloop,
}
